/** Properties of derivatives, of batching and of the passes: on each primitive alone, and on programs of all. */
import fc from 'fast-check'
import { checkGrads } from '../../src/testing/check-grads.ts'
import { checkTransforms, checkVmap } from '../../src/testing/check-transforms.ts'
import { CheckError } from '../../src/testing/numbers.ts'
import {
  type Program,
  type ProgramOptions,
  programArguments,
  programLoss,
  programSteps,
  programs,
  runProgram,
  type StepName,
} from '../../src/testing/programs.ts'
import { primSteps } from '../../src/testing/steps.ts'
import { type Property, property } from './property.ts'

const names = Object.keys(programSteps) as StepName[]
/** Programs of one step, used twice at most. */
const only = (op: StepName): ProgramOptions => ({ length: 2, without: names.filter(n => n !== op) })

const onPrograms = (options: ProgramOptions, numRuns: number, check: (p: Program) => void): void => {
  fc.assert(
    fc.property(programs(options), p => check(p)),
    { numRuns },
  )
}
/** A program of which differences say nothing, for a kink is near in every direction, is none to compare. */
const gradients = (p: Program): void => {
  try {
    checkGrads(programLoss(p), [programArguments(p, 'f64')], { directions: 1 })
  } catch (e) {
    if (!(e instanceof CheckError && /kink or a jump lies/.test(e.message))) throw e
  }
}
const batches = (p: Program): void => {
  const batch = { ...p, shapes: p.shapes.map(s => [2, ...s]) }
  checkVmap(runProgram(p), [programArguments(batch, 'f64')])
}
const passes = (p: Program): void => {
  checkTransforms(runProgram(p), [programArguments(p, 'f64')])
}

const structural = (Object.keys(primSteps) as StepName[]).filter(n => n !== 'map')

export const gradientProperties: readonly Property[] = [
  ...structural.flatMap(op => [
    property(`${op}: reverse mode, forward mode and differences agree, to the second order`, [20, 40], n =>
      onPrograms({ ...only(op), ties: false }, n, gradients),
    ),
    property(`${op}: vmap is the function example by example`, [15, 30], n => onPrograms(only(op), n, batches)),
    property(`${op}: every pass gives a valid graph with the same values`, [15, 30], n =>
      onPrograms(only(op), n, passes),
    ),
  ]),
  property('derivatives agree on random programs', [30, 60], n =>
    onPrograms({ length: 4, ties: false }, n, gradients),
  ),
  property('vmap of a random program is the program example by example', [30, 60], n =>
    onPrograms({ length: 4, empty: false }, n, batches),
  ),
  property('every pass gives a valid graph with the same values, on random programs', [30, 60], n =>
    onPrograms({ length: 4 }, n, passes),
  ),
]
