/**
 * Loss scaling for intermediates in f16, whose gradients below 6e-8 would be 0. In: gradients of a loss that was multiplied
 * by a scale, as tensors of a step. Out: whether they are finite, and the scale of the next step. Dynamic: it begins at
 * 65,536, halves when a gradient overflows (that update is left out) and doubles after 2000 without.
 */
import { array, type NDArray } from '../dsl/array.ts'
import { add, applyEx, cast, eq, map, mul, select, sum } from '../dsl/build.ts'
import { bitcast, type Ex, lit, s } from '../dsl/scalar.ts'
import type { Tensor } from '../dsl/tensor.ts'
import { isTensor } from '../dsl/trace.ts'
import { leaves } from '../dsl/tree.ts'
import { both } from './tree-maps.ts'

/** A scale that follows the gradients, or a constant one. */
export type LossScale = 'dynamic' | number

/** The scale of the loss, and how many updates in a row were finite. (A type: trees are made of types.) */
export type Scaling<L> = { readonly scale: L; readonly finite: L }
/** The scaling before the first step. @example firstScaling('dynamic').scale.data[0] // 65536 */
export const firstScaling = (lossScale: LossScale): Scaling<NDArray> => ({
  scale: array([], 'f32', [lossScale === 'dynamic' ? 2 ** 16 : lossScale]),
  finite: array([], 'i32', [0]),
})
/** Doubled after so many finite updates, at most to 2^24. */
const growthInterval = 2000

/**
 * Halves the scale when a gradient overflowed, doubles it after 2000 updates without.
 * @param finite  whether all gradients are: `allFinite`
 * @param ends    whether this batch ends an update; undefined: each does
 * @see Micikevicius et al. 2018, arXiv:1710.03740; torch.amp.GradScaler's constants
 */
export function nextScaling(
  { scale, finite: count }: Scaling<Tensor>,
  finite: Tensor,
  ends: Tensor | undefined,
  dynamic: boolean,
): Scaling<Tensor> {
  if (!dynamic) return { scale, finite: count }
  const counted = ends ? select(ends, add(count, 1), count) : add(count, 1)
  const grows = map('le', growthInterval, counted)
  const grown = select(grows, map('min', mul(scale, 2), 2 ** 24), scale)
  // An overflow shows in every batch up to the end of the update: the scale is halved there.
  const shrinks = both(map('not', finite), ends)
  const kept = select(finite, grown, scale)
  return {
    scale: shrinks ? select(shrinks, map('max', mul(scale, 0.5), 1), kept) : kept,
    finite: select(finite, select(grows, 0, counted), 0),
  }
}

/**
 * Whether every gradient of a tree is finite.
 * @returns  bool[]
 * @example chosen(allFinite(grads), after, before)
 */
export const allFinite = (grads: unknown): Tensor =>
  eq(
    leaves(grads, isTensor)
      .map(l => countNotFinite(l.leaf))
      .reduce((a, b) => add(a, b)),
    0,
  )

/**
 * The number of values that are infinite or NaN, by their bits: a compiler may fold a comparison away.
 * @param x  f32, any shape
 * @returns  i32[]
 */
function countNotFinite(x: Tensor): Tensor {
  const exponent: Ex = s.and(bitcast({ k: 'arg', i: 0, dtype: 'f32' }, 'u32'), lit(infinity, 'u32'))
  return sum(cast(applyEx(s.eq(exponent, lit(infinity, 'u32')), [x]), 'i32'))
}
/** All exponent bits of an f32 set. */
const infinity = 0x7f800000
