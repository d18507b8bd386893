/**
 * `cotangent/testing`: the kit with which Cotangent tests itself, for functions of one's own. Needs fast-check.
 */
export {
  broadcastable,
  dtype,
  floatDType,
  key,
  parameters,
  type ShapeOptions,
  shape,
  type TensorOptions,
  tensor,
  tensors,
} from './arbitraries.ts'
export { type BackendOptions, type BackendReport, checkBackends } from './check-backends.ts'
export { checkGrads, type GradOptions, type GradReport } from './check-grads.ts'
export { checkLaws, type Law, type LawReport } from './check-laws.ts'
export { checkTransforms, checkVmap, type TransformReport } from './check-transforms.ts'
export {
  checkProgram,
  type FuzzFailure,
  type FuzzOptions,
  type FuzzSummary,
  fuzz,
  programOf,
  replay,
} from './fuzz.ts'
export { CheckError, type Place } from './numbers.ts'
export { closed, type PrintOptions, primitive, printCheck } from './print.ts'
export {
  countOps,
  type Program,
  type ProgramOptions,
  programArguments,
  programLoss,
  programSteps,
  programs,
  runProgram,
  type StepName,
} from './programs.ts'
export { cubeRule } from './steps.ts'
