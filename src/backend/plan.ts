/** The plan: kernels in order, and where each of their buffers lies. What the executors run. */
import type { DType, TypedArray } from '../dsl/dtype.ts'
import { showType, size } from '../dsl/shape.ts'
import type { TensorType } from '../dsl/tensor.ts'
import { instructions, type Kernel, type Schedule } from './kernel.ts'

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
  /** One per buffer of the kernel. What is both read and written is an argument that a result takes over. */
  readonly bindings: readonly BufferRef[]
  /** The place in the user's function, for profiles and errors. */
  readonly scope: string
  /** Why its results are stored and not computed where they are used. */
  readonly why?: string
}

export interface Plan {
  readonly inputs: readonly TensorType[]
  readonly outputs: readonly TensorType[]
  /** The results that are written in the memory of a donated argument: result -> argument. Absent: none. */
  readonly takenOver?: ReadonlyMap<number, number>
  readonly constants: readonly { readonly type: TensorType; readonly data: TypedArray }[]
  readonly steps: readonly Dispatch[]
  readonly arenaBytes: number
}

/** The bytes that a run holds at most: arguments, constants, results and intermediates. */
export function peakBytes({ inputs, outputs, takenOver, constants, arenaBytes }: Plan): number {
  const own = outputs.filter((_, o) => takenOver?.has(o) !== true)
  const types = [...inputs, ...own, ...constants.map(c => c.type)]
  return types.reduce((n, t) => n + deviceBytes(t.dtype, size(t.shape)), arenaBytes)
}

/** A line per kernel: its axes (+ reduced), buffers, instructions, its place in the user's function, and why it is one. */
export function printPlan(plan: Plan): string {
  const place = (b: BufferRef): string => {
    if (b.k === 'arena') return `arena@${b.offset}`
    return `${b.k}${b.index}`
  }
  const lines = plan.steps.map(({ kernel, bindings, scope, why = '' }) => {
    const axes = kernel.axes.map(a => `${a.extent}${a.kind === 'reduce' ? '+' : ''}`).join(' ')
    const by = (access: 'read' | 'write') =>
      bindings.flatMap((b, i) =>
        (kernel.buffers[i].access === 'read') === (access === 'read') ? [place(b)] : [],
      )
    const work = instructions(kernel).length
    return `${kernel.name} [${axes}] ${by('read').join(' ')} -> ${by('write').join(' ')}  (${work} instructions) ${scope}\n    ${why}`
  })
  const mib = (n: number) => `${(n / 2 ** 20).toFixed(1)} MiB`
  return [
    ...lines,
    `${plan.steps.length} kernels; intermediates ${mib(plan.arenaBytes)}, all ${mib(peakBytes(plan))}`,
  ].join('\n')
}

/** What takes most of a plan's memory, in words: for errors. */
export function largest({ inputs, outputs, steps }: Plan, count = 3): string {
  const types = (what: string, all: readonly TensorType[]) =>
    all.map((t, i) => ({ what: `${what} ${i}, ${showType(t)}`, bytes: deviceBytes(t.dtype, size(t.shape)) }))
  const intermediates = new Map(
    steps.flatMap(({ kernel, bindings, scope }) =>
      bindings.flatMap((b, i) =>
        b.k === 'arena' && kernel.buffers[i].access !== 'read'
          ? [
              [
                `${b.offset} ${scope}`,
                { what: `an intermediate of ${scope || kernel.name}`, bytes: b.bytes },
              ] as const,
            ]
          : [],
      ),
    ),
  )
  const all = [...types('argument', inputs), ...types('result', outputs), ...intermediates.values()]
  const top = all.sort((a, b) => b.bytes - a.bytes).slice(0, count)
  return `The largest: ${top.map(t => `${t.what}: ${(t.bytes / 2 ** 20).toFixed(1)} MiB`).join('; ')}`
}

/** Bytes of a buffer of n elements on a device, where bool takes a 32-bit word. */
export const deviceBytes = (dtype: DType, n: number): number => Math.max(n, 1) * (dtype === 'f64' ? 8 : 4)
