/**
 * The third primitive: compare. In: a student's and a teacher's normalised features. Out: errors, which `average`
 * makes a scalar of: masked pixels do not count, weights multiply. A `Term` is normalise and compare together.
 */
import {
  add,
  broadcastTo,
  cast,
  div,
  eq,
  map,
  mean,
  mul,
  reshape,
  select,
  stopGradient,
  sub,
  sum,
} from '../dsl/build.ts'
import { smoothL1Loss } from '../dsl/ops/loss.ts'
import { resizeNearest } from '../dsl/ops/resize.ts'
import { sameShape, showType } from '../dsl/shape.ts'
import type { Tensor } from '../dsl/tensor.ts'
import { mismatch } from '../dsl/types/mismatch.ts'
import { type FeatureMap, type Floats, featureMap, floats } from '../nn/feature.ts'
import type { Context } from './distil.ts'
import type { Mask, Normalise } from './normalise.ts'

/**
 * How far two features are from each other: errors [batch or 1, channels or 1, h or 1, w or 1]. An axis of extent 1
 * was compared as a whole.
 */
export type Compare = (student: FeatureMap, teacher: FeatureMap, mask?: Mask) => Tensor

/** (s - t)^2 of each element. */
export const squaredError: Compare = (s, t) => {
  const d = sub(s, t)
  return mul(d, d)
}

/**
 * The sum of (s - t)^2 over a sample, as C H W times each element's: where pixels do not count, the rest stands
 * for them.
 */
export const sumOfSquares: Compare = (s, t) => mul(squaredError(s, t), t.shape[1] * t.shape[2] * t.shape[3])

/** Huber's: d^2 / (2 beta) where |d| < beta, else |d| - beta / 2. @example smoothL1(2)(s, t) */
export const smoothL1 =
  (beta: number): Compare =>
  (s, t) =>
    smoothL1Loss(s, t, { beta, reduction: 'none' })

/** KL(p || q) = sum over the axes of p (log p - log q), from log q (the student's) and log p. A p of 0 adds 0. */
export const divergence =
  (axes: 'C' | 'HW'): Compare =>
  (logQ, logP) => {
    const p = map('exp', logP)
    return sum(select(eq(p, 0), 0, mul(p, sub(logP, logQ))), axes === 'C' ? [1] : [2, 3], true)
  }

/** 1 - s . t over the axes: of centred unit vectors, 1 - Pearson's correlation. */
export const oneMinusProduct =
  (axes: 'C' | 'NHW'): Compare =>
  (s, t) =>
    sub(1, sum(mul(s, t), axes === 'C' ? [1] : [0, 2, 3], true))

/** log of the sum over everything of |s - t|^4; not below log 1e-20, for equal features have no logarithm. */
export const logSumOfFourths: Compare = (s, t) => {
  const squares = squaredError(s, t)
  return map('log', map('max', sum(mul(squares, squares), [0, 1, 2, 3], true), 1e-20))
}

/** A comparison whose errors are multiplied. @example scaled(0.5, squaredError) */
export const scaled =
  (factor: number, compare: Compare): Compare =>
  (s, t, mask) =>
    factor === 1 ? compare(s, t, mask) : mul(compare(s, t, mask), factor)

/** The distance of two aligned features: a scalar. */
export type Term = (student: FeatureMap, teacher: FeatureMap, context: Context) => Floats

/**
 * A term of normalise and compare: average(compare(N(s), N(t))). What the mask leaves out is 0 before anything
 * else, so that it reaches neither value nor gradient, whatever it holds. The teacher is constant.
 * @param teacherNormalise  where the two differ
 * @example term(normalise(), squaredError)(student, teacher, context)
 */
export const term =
  (normalise: Normalise, compare: Compare, teacherNormalise = normalise): Term =>
  (student, teacher, context) => {
    const mask = context.mask && maskAt(context.mask, teacher)
    const kept = (x: FeatureMap) => (mask ? featureMap('mask', select(mask, x, 0)) : x)
    const s = normalise(kept(student), mask)
    const t = stopGradient(teacherNormalise(kept(teacher), mask))
    checkShapes(s, t)
    return average(compare(s, t, mask), teacher, mask, context.weights)
  }

/** @throws ShapeError if what is compared differs in shape: nothing is broadcast */
export function checkShapes(student: Tensor, teacher: Tensor): void {
  if (!sameShape(student.shape, teacher.shape))
    mismatch('compare', 'student and teacher differ in shape', [
      `student  ${showType(student)}  [batch, channels, height, width]`,
      `teacher  ${showType(teacher)}`,
      'an aligner makes the channels equal: align: conv1x1',
    ])
}

/** Terms added, each with a weight. @example plus([1, inter], [1, intra]) */
export const plus =
  (...terms: readonly (readonly [weight: number, term: Term])[]): Term =>
  (s, t, context) =>
    floats(
      'plus',
      terms.map(([weight, f]) => mul(f(s, t, context), weight)).reduce((a, b) => add(a, b)),
    )

/** The mask at the size of a feature, by nearest neighbours. */
export const maskAt = (mask: Mask, like: FeatureMap): Mask =>
  resizeNearest(mask, { size: [like.shape[2], like.shape[3]] })

/**
 * The mean of errors over what counts, times their weights; 0 if nothing counts. What was compared as a whole
 * counts if one of its pixels does.
 * @param like     the feature that was compared
 * @param weights  [batch or 1, 1, h or 1, w or 1], brought to the feature's size by nearest neighbours
 * @throws ShapeError if there are weights for pixels, or for samples, and these were compared as a whole
 */
export function average(errors: Tensor, like: FeatureMap, mask?: Mask, weights?: Floats): Floats {
  const weighted = weights ? mul(errors, weightsFor(errors, like, weights)) : errors
  if (!mask) return floats('average', mean(weighted))
  const joint = [0, 2, 3].filter(a => errors.shape[a] === 1)
  const used = map('lt', 0, sum(cast(mask, errors.dtype), joint, true))
  const counted = broadcastTo(used, [errors.shape[0], 1, errors.shape[2], errors.shape[3]])
  const count = map('max', sum(cast(counted, errors.dtype)), 1)
  return floats('average', div(sum(select(counted, weighted, 0)), mul(count, errors.shape[1])))
}

function weightsFor(errors: Tensor, like: FeatureMap, weights: Floats): Tensor {
  const [n, , h, w] = weights.shape
  const asPixels = h === 1 && w === 1
  if (!asPixels && !sameShape(errors.shape.slice(2), like.shape.slice(2)))
    mismatch('weights', 'this method compares whole planes, pixels have no weights of their own in it', [
      `weights  ${showType(weights)}`,
      'weigh samples instead: [batch, 1, 1, 1]',
    ])
  if (n !== 1 && errors.shape[0] === 1)
    mismatch('weights', 'this method compares the whole batch, samples have no weights of their own in it', [
      `weights  ${showType(weights)}`,
    ])
  const at = asPixels
    ? weights
    : resizeNearest(featureMap('weights', weights), { size: [like.shape[2], like.shape[3]] })
  return cast(reshape(at, [n, 1, ...at.shape.slice(2)]), errors.dtype)
}
