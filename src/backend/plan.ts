/** The plan: kernels in order, and where each of their buffers lies. What the executors run. */
import type { DType, TypedArray } from '../dsl/dtype.ts'
import type { TensorType } from '../dsl/tensor.ts'
import type { Kernel, Schedule } from './kernel.ts'

/**
 * Where a buffer lies: an argument, a result, a constant, or a range of the arena of intermediates (bytes,
 * aligned to 256). Arena ranges of values that live at the same time are disjoint.
 */
export type BufferRef =
  | { readonly k: 'input'; readonly index: number }
  | { readonly k: 'output'; readonly index: number }
  | { readonly k: 'const'; readonly index: number }
  | { readonly k: 'arena'; readonly offset: number; readonly bytes: number }

export interface Dispatch {
  readonly kernel: Kernel
  readonly schedule: Schedule
  /** One per buffer of the kernel. No buffer is bound both for reading and for writing. */
  readonly bindings: readonly BufferRef[]
  /** The place in the user's function, for profiles and errors. */
  readonly scope: string
}

export interface Plan {
  readonly inputs: readonly TensorType[]
  readonly outputs: readonly TensorType[]
  readonly constants: readonly { readonly type: TensorType; readonly data: TypedArray }[]
  readonly steps: readonly Dispatch[]
  readonly arenaBytes: number
}

/** Bytes of a buffer of n elements on a device, where bool takes a 32-bit word. */
export const deviceBytes = (dtype: DType, n: number): number => Math.max(n, 1) * (dtype === 'f64' ? 8 : 4)
