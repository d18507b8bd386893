/** How much a kernel does, and how long it took. In: a kernel. Out: what profiles show: time says little without work. */
import { isFloat } from '../dsl/dtype.ts'
import { dependencies } from './depend.ts'
import { instructions, type Kernel } from './kernel.ts'
import { deviceBytes } from './plan.ts'

/** Floating-point operations, and the bytes of the buffers, each counted once. */
export interface Work {
  readonly flops: number
  readonly bytes: number
}

/** One kernel of a run. */
export interface KernelTime extends Work {
  readonly kernel: Kernel
  /** The place in the user's function. */
  readonly scope: string
  /** From the start of the run, in microseconds. */
  readonly start: number
  /** Microseconds. */
  readonly time: number
}

/**
 * The work of one run of a kernel: each scalar operation on floats counts as one (as does each term of a sum), at
 * every point on which it depends.
 * @example workOf(matmulKernel).flops // 2 m n k
 */
export function workOf(kernel: Kernel): Work {
  const all = instructions(kernel)
  const masks = dependencies(kernel)
  const count = (kind: 'parallel' | 'reduce') =>
    kernel.axes.reduce((n, a) => (a.kind === kind ? n * a.extent : n), 1)
  const [results, terms] = [count('parallel'), count('reduce')]
  const reduce = kernel.axes.reduce((m, a, i) => (a.kind === 'reduce' ? m | (1 << i) : m), 0)
  const times = (id: number) => (masks[id] & reduce ? results * terms : results)
  const scalars = all.reduce((n, x, id) => {
    const counted = x.k === 'scalar' && isFloat(all[x.args[x.args.length - 1]].dtype)
    return counted ? n + times(id) : n
  }, 0)
  const folds = kernel.accumulators.filter(a => isFloat(a.dtype)).length * results * terms
  return {
    flops: scalars + folds,
    bytes: kernel.buffers.reduce((n, b) => n + deviceBytes(b.dtype, b.size) / (b.storage ? 2 : 1), 0),
  }
}
