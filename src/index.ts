/**
 * Cotangent's public API. Everything here runs in a browser as well as in Node; what needs Node is in
 * `cotangent/node`.
 */

// 3. Derivatives
export { checkpoint } from './autodiff/checkpoint.ts'
export { custom, grad, jvp, valueAndGrad, valueAuxAndGrad, vjp } from './autodiff/grad.ts'
export { vmap } from './autodiff/vmap.ts'
// 4. Backends
export type { Argument, Backend, Program, Resident } from './backend/backend.ts'
export {
  type Arguments,
  type Arrays,
  compile,
  dispose,
  type Executable,
  jit,
  type Residents,
  read,
  unwrap,
} from './backend/compile.ts'
export { evaluate, referenceBackend } from './backend/cpu/reference-backend.ts'
/** `debug.nans(f)` names the first operation that makes a NaN or an infinity. */
export * as debug from './backend/debug.ts'
// 1. Tensors and tracing
export { array, type NDArray } from './dsl/array.ts'
export { stopGradient } from './dsl/build.ts'
export type { DType, FloatDType } from './dsl/dtype.ts'
export {
  CompileError,
  CotangentError,
  DataError,
  DeviceError,
  GradientError,
  RunError,
  ShapeError,
  UsageError,
} from './dsl/errors.ts'
export type { Graph } from './dsl/graph.ts'
// 2. Operations
export * from './dsl/ops/activation.ts'
/** Control flow: loops with a carry, and one of two functions. */
export { cond, scan } from './dsl/ops/control.ts'
export * from './dsl/ops/conv.ts'
export * from './dsl/ops/elementwise.ts'
// The same name in ops/loss.ts: one axis each, 0 and 1 by default.
export type { AxisOptions } from './dsl/ops/index.ts'
export * from './dsl/ops/index.ts'
export * from './dsl/ops/linalg.ts'
export * from './dsl/ops/loss.ts'
export * from './dsl/ops/norm.ts'
export * from './dsl/ops/pool.ts'
/** Randomness from key tensors: `random.uniform(key, [2, 3])`, `random.normal`, `random.dropout`. */
export * as random from './dsl/ops/random.ts'
export * from './dsl/ops/reduce.ts'
export * from './dsl/ops/resize.ts'
export * from './dsl/ops/shape.ts'
export { logSoftmax, type SoftmaxOptions, softmax } from './dsl/ops/softmax.ts'
export { printGraph } from './dsl/print.ts'
export type { Shape } from './dsl/shape.ts'
export { type Nested, scope, Tensor, type TensorType, tensor } from './dsl/tensor.ts'
/** Keys on the host: `keys.key(42)`, `keys.split`, `keys.foldIn`, `keys.permutationOf`. */
export * as keys from './dsl/threefry.ts'
export { spec, trace } from './dsl/trace.ts'
// Distillation
/** The algebra of distillation and its methods: `distil.nfd`, `distil.kd`, `distil.sum`; see src/nfd/README.md. */
export * as distil from './nfd/index.ts'
// Networks
/** Layers, networks, optimisers and schedules as pure functions: `nn.pspnet`, `nn.conv`, `nn.sgd`. */
export * as nn from './nn/index.ts'
