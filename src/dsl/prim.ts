/**
 * The structural primitives: a closed union. Every stage (inference, derivatives, lowering, the reference
 * interpreter) has one table keyed by it, so the compiler names what a new primitive still lacks.
 *
 * The set is closed under transposition: pad and slice, gather and scatterAdd, broadcast and sum, unfold and
 * fold, contract and contract (with its operands' roles exchanged) are each other's adjoints.
 */
import type { DType, TypedArray } from './dtype.ts'
import type { ScalarOp } from './scalar.ts'
import type { Shape } from './shape.ts'
import type { Tensor, TensorType } from './tensor.ts'

/** `max` and `min` propagate NaN; `argmax` and `argmin` give the first, as i32, and take one axis. */
export type Reduction = 'sum' | 'prod' | 'max' | 'min' | 'argmax' | 'argmin'

/**
 * Ties three indices of a contraction: `big = stride * out + dilation * tap - padding`.
 * Terms whose `big` falls outside its extent (or whose `out` is fractional or outside) are left out.
 */
export interface Window {
  readonly big: number
  readonly out: number
  readonly tap: number
  readonly stride: number
  readonly dilation: number
  readonly padding: number
}

/**
 * A contraction, as an einsum with windows: indices are numbers, `extents[i]` is the size of index i, and
 *   y[out] = sum over every index not in `out` of lhs[lhs] * rhs[rhs], under all windows.
 * Matrix products, convolutions, their input and weight gradients and transposed convolutions are all this.
 * Each index of an operand occurs in the other operand, in `out`, or in a window.
 */
export interface Contraction {
  readonly extents: readonly number[]
  readonly lhs: readonly number[]
  readonly rhs: readonly number[]
  readonly out: readonly number[]
  readonly windows: readonly Window[]
}

/** Sliding windows along some axes: `y[.., o.., t..] = x[.., stride * o + dilation * t, ..]`. */
export interface Sliding {
  readonly axes: readonly number[]
  readonly size: readonly number[]
  readonly stride: readonly number[]
  readonly dilation: readonly number[]
}

/** A derivative that the user gives: cotangents of the inputs, from inputs, outputs and their cotangents. */
export interface CustomRule {
  readonly vjp?: (
    inputs: readonly Tensor[],
    outputs: readonly Tensor[],
    cotangents: readonly Tensor[],
  ) => readonly (Tensor | null)[]
  readonly jvp?: (
    inputs: readonly Tensor[],
    outputs: readonly Tensor[],
    tangents: readonly Tensor[],
  ) => readonly Tensor[]
}

/** A function as data: results over parameters, and over nothing else. */
export interface Closed {
  readonly params: readonly Tensor[]
  readonly body: readonly Tensor[]
}

/** A primitive's parameters, by its name. */
export interface Prims {
  /** An argument of the function being traced. */
  input: { readonly name: string; readonly type: TensorType }
  /** Host data, row-major. */
  const: { readonly data: TypedArray; readonly shape: Shape; readonly dtype: DType }
  /** y[i] = i[axis] */
  iota: { readonly shape: Shape; readonly axis: number; readonly dtype: DType }
  /** Threefry: u32 word 0 at counter (flat index in `shape`, 0) under each key of u32[..., 2]. */
  randomBits: { readonly shape: Shape }
  /** A scalar operation on tensors of one shape. */
  map: { readonly fn: ScalarOp; readonly to?: DType }
  /** Drops the reduced axes. */
  reduce: { readonly how: Reduction; readonly axes: readonly number[] }
  reshape: { readonly shape: Shape }
  /** y's axis i is x's axis order[i]. */
  permute: { readonly order: readonly number[] }
  /** x's axis i becomes y's axis dims[i] (extent 1 or equal); y's other axes repeat. dims ascend. */
  broadcast: { readonly shape: Shape; readonly dims: readonly number[] }
  /** `interior` zeros between elements; negative low or high crop. */
  pad: {
    readonly low: readonly number[]
    readonly high: readonly number[]
    readonly interior: readonly number[]
    readonly value: number
  }
  /** Half-open, positive steps. */
  slice: {
    readonly start: readonly number[]
    readonly stop: readonly number[]
    readonly step: readonly number[]
  }
  flip: { readonly axes: readonly number[] }
  concat: { readonly axis: number }
  contract: { readonly spec: Contraction }
  unfold: { readonly sliding: Sliding }
  /** The adjoint of unfold: overlapping windows add up into `shape`. */
  fold: { readonly sliding: Sliding; readonly shape: Shape }
  /** y[.., k, ..] = x[.., index[.., k, ..], ..]; index has x's shape but on the axis. */
  gather: { readonly axis: number }
  /** Inputs (index, updates): y[.., index[.., k, ..], ..] += updates[.., k, ..], y zero before; deterministic. */
  scatterAdd: { readonly axis: number; readonly extent: number }
  /** The identity, without a derivative. */
  stopGradient: Record<never, never>
  /** The identity that no pass removes or shares: what lies behind it is computed again. */
  barrier: Record<never, never>
  /** A function with a derivative of its own; `remat` computes it again in the backward pass. */
  call: Closed & { readonly name: string; readonly rule: CustomRule; readonly remat?: boolean }
  /** Inputs (condition, operands): one of two functions of the operands. */
  cond: { readonly onTrue: Closed; readonly onFalse: Closed }
  /**
   * Inputs (constants, initial carries, sequences): applies `step` to (constants, carries, slice t of each sequence)
   * for every t, forwards or backwards; it gives (carries, slices). Results: last carries, stacked slices.
   */
  scan: {
    readonly step: Closed
    readonly length: number
    readonly constants: number
    readonly carries: number
    readonly reverse: boolean
  }
}

/** The name of a structural primitive. */
export type Op = keyof Prims
