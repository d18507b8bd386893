/**
 * The kernel IR: one loop nest, the only thing that renderers see. A kernel runs `body` at every point of its
 * axes, folds `accumulators` over the reduce axes, runs `epilogue` at every parallel point and stores.
 * Maps, reductions, matrix products, convolutions, gathers and scatters are all of this form.
 *
 *   for every parallel point:
 *     accumulators = identity
 *     for every reduce point, in order:
 *       body; accumulators = how(accumulators, value); stores of mode 'add'
 *     epilogue; stores of mode 'set'
 *
 * Instructions are SSA: an instruction's id is its position in body ++ epilogue. Only core scalar operations
 * occur; derived ones are expanded before.
 */
import type { DType } from '../dsl/dtype.ts'
import type { ScalarOp } from '../dsl/scalar.ts'
import { type Affine, type Condition, show } from './affine.ts'

export interface Axis {
  readonly extent: number
  readonly kind: 'parallel' | 'reduce'
}

/** A buffer as the kernel sees it: `size` in elements, row-major. Distinct buffers never overlap. */
export interface KernelBuffer {
  readonly dtype: DType
  readonly size: number
  /** 'add' is read and written: an accumulated result, zero before. */
  readonly access: 'read' | 'write' | 'add'
  /** 'f16': elements, f32 in the kernel, are rounded to f16 in memory, on targets that have it. */
  readonly storage?: 'f16'
}

/** One instruction. */
export type Instr =
  | { readonly k: 'lit'; readonly value: number; readonly dtype: DType }
  /** The value of an index expression, i32. */
  | { readonly k: 'index'; readonly index: Affine; readonly dtype: 'i32' }
  /** Whether every condition holds. */
  | { readonly k: 'inside'; readonly guard: readonly Condition[]; readonly dtype: 'bool' }
  /** buffer[index]; 0, and no access at all, where the guard does not hold. */
  | {
      readonly k: 'load'
      readonly buffer: number
      readonly index: Affine
      readonly guard: readonly Condition[]
      readonly dtype: DType
    }
  | { readonly k: 'scalar'; readonly fn: ScalarOp; readonly args: readonly number[]; readonly dtype: DType }
  /** Only in the epilogue: the result of an accumulator. */
  | { readonly k: 'acc'; readonly accumulator: number; readonly dtype: DType }

/** Combines `value` over the reduce axes; arg reductions give the flat position of the first extremum, i32. */
export interface Accumulator {
  readonly how: 'sum' | 'prod' | 'max' | 'min' | 'argmax' | 'argmin'
  readonly value: number
  /** The dtype in which it is accumulated. */
  readonly dtype: DType
}

export interface Store {
  readonly buffer: number
  readonly index: Affine
  readonly value: number
  /** 'add' happens at every reduce point, in order; the guard keeps bad run-time indices out. */
  readonly mode: 'set' | 'add'
  readonly guard: readonly Condition[]
}

export interface Kernel {
  readonly name: string
  readonly axes: readonly Axis[]
  readonly buffers: readonly KernelBuffer[]
  readonly body: readonly Instr[]
  readonly accumulators: readonly Accumulator[]
  readonly epilogue: readonly Instr[]
  readonly stores: readonly Store[]
}

/**
 * How a kernel's loops are laid on a machine. Correctness never depends on it.
 * `vector`: the axis over which SIMD lanes run (parallel: several results at once; reduce: lanes are combined
 * at the end). `tiles`: axes of which one invocation computes several positions at once, in registers, each with
 * accumulators of its own; positions beyond the extent are computed at the last one and not stored.
 * `team`: invocations (a power of two) that share the reduce axes of one result, where a target has such.
 * `stage`: how a contraction goes through memory that invocations share; then the others do not matter. A target
 * without such memory, and kernels that are no contraction, follow the others.
 */
export interface Schedule {
  readonly vector: number | null
  readonly tiles: readonly { readonly axis: number; readonly size: number }[]
  readonly team?: number
  readonly stage?: Stage
}

/** A workgroup computes a block of results, each of its invocations a tile of them, in steps along the summed axes. */
export interface Stage {
  /** Results of a workgroup: rows (of the first operand, or of the second) times columns. Multiples of the tile. */
  readonly block: readonly [rows: number, columns: number]
  /** Results of an invocation: multiples of 4. */
  readonly tile: readonly [rows: number, columns: number]
  /** Terms of a step: a multiple of 4. */
  readonly depth: number
  /** 2: while one step is computed, the next is on its way. */
  readonly buffers: 1 | 2
  /** The matrices that subgroups multiply, on targets that have such: operands are rounded to f16. Absent: f32. */
  readonly matrix?: MatrixShape
}

/** The sizes of a product of matrices: m x k times k x n. */
export interface MatrixShape {
  readonly m: number
  readonly n: number
  readonly k: number
}

/** A load. */
export type Load = Extract<Instr, { k: 'load' }>
/** The loads of a kernel's body, with their positions. */
export const loadsOf = (k: Kernel): readonly { readonly id: number; readonly x: Load }[] =>
  k.body.flatMap((x, id) => (x.k === 'load' ? [{ id, x }] : []))

/** All instructions, by id. */
export const instructions = (k: Kernel): readonly Instr[] => [...k.body, ...k.epilogue]

/** A readable listing, and (without the name) the content by which compiled kernels are cached. */
export function printKernel(k: Kernel): string {
  const guard = (g: readonly Condition[]) =>
    g.length ? ` if ${g.map(c => `${c.lo} <= ${show(c.index)} < ${c.hi}`).join(' and ')}` : ''
  const text = (x: Instr): string => {
    switch (x.k) {
      case 'lit':
        return Object.is(x.value, -0) ? '-0' : String(x.value)
      case 'index':
        return show(x.index)
      case 'inside':
        return `inside${guard(x.guard)}`
      case 'load':
        return `b${x.buffer}[${show(x.index)}]${guard(x.guard)}`
      case 'scalar':
        return `${x.fn}(${x.args.map(a => `v${a}`).join(', ')})`
      case 'acc':
        return `a${x.accumulator}`
    }
  }
  return [
    `axes ${k.axes.map((a, i) => `i${i}:${a.extent}${a.kind === 'reduce' ? '+' : ''}`).join(' ')}`,
    ...k.buffers.map(
      (b, i) => `b${i}: ${b.access} ${b.dtype}[${b.size}]${b.storage ? ` as ${b.storage}` : ''}`,
    ),
    ...k.body.map((x, i) => `v${i}: ${x.dtype} = ${text(x)}`),
    ...k.accumulators.map((a, i) => `a${i}: ${a.dtype} ${a.how}= v${a.value}`),
    ...k.epilogue.map((x, i) => `v${i + k.body.length}: ${x.dtype} = ${text(x)}`),
    ...k.stores.map(
      s => `b${s.buffer}[${show(s.index)}] ${s.mode === 'add' ? '+=' : '='} v${s.value}${guard(s.guard)}`,
    ),
  ].join('\n')
}
