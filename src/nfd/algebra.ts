/**
 * The algebra of feature distillation: align, normalise over axes, compare. In: student's and teacher's features.
 * Out: a scalar. A method is a row of three functions; `nfd.ts` and its relatives are such rows.
 */
import { pipe } from 'fp-ts/lib/function.js'
import { div, map } from '../dsl/build.ts'
import { UsageError } from '../dsl/errors.ts'
import { conv2d } from '../dsl/ops/conv.ts'
import { cast, mul, notEqual, square, sub, where } from '../dsl/ops/elementwise.ts'
import { standardise } from '../dsl/ops/norm.ts'
import { mean, sum } from '../dsl/ops/reduce.ts'
import { resizeBilinear, resizeNearest } from '../dsl/ops/resize.ts'
import { reshape } from '../dsl/ops/shape.ts'
import { sameShape } from '../dsl/shape.ts'
import type { Tensor } from '../dsl/tensor.ts'
import { type FeatureMap, type Floats, featureMap } from '../nn/feature.ts'

/** Which pixels count: bool [batch, 1, height, width]. */
export type Mask = Tensor<readonly [number, number, number, number], 'bool'>

/** The axes that share a mean and a variance; `none` leaves the features as they are. */
export type NormAxes = 'HW' | 'NHW' | 'C' | 'CHW' | 'none'
const axisNumbers = {
  HW: [2, 3],
  NHW: [0, 2, 3],
  C: [1],
  CHW: [1, 2, 3],
  none: null,
} as const satisfies { [A in NormAxes]: readonly number[] | null }

/** How features are standardised. */
export interface NormaliseOptions {
  /** 'HW' */
  readonly axes?: NormAxes
  /** Added to the variance: 1e-5. */
  readonly eps?: number
  /** 'absolute', as in PyTorch's norms; 'relative': in units of the feature's mean variance. */
  readonly epsMode?: 'absolute' | 'relative'
}

/** A function of features; pixels that the mask leaves out enter no statistics. */
export type Normalise = (x: FeatureMap, mask?: Mask) => FeatureMap

/**
 * Standardisation: (F - mean) / sqrt(var + eps) over the axes, population variance.
 * @returns  features [batch, channels, h, w], the type of its argument
 * @throws UsageError if the axes are none of `NormAxes` or eps is negative
 * @example normalise({ axes: 'NHW', epsMode: 'relative' })(feature)
 */
export function normalise({
  axes = 'HW',
  eps = 1e-5,
  epsMode = 'absolute',
}: NormaliseOptions = {}): Normalise {
  if (!(axes in axisNumbers))
    throw new UsageError(`normalise: the axes are ${Object.keys(axisNumbers).join(', ')}; got ${axes}`)
  if (!(eps >= 0)) throw new UsageError(`normalise: eps must be 0 or more, got ${eps}`)
  const numbers = axisNumbers[axes]
  return (x, mask) => (numbers === null ? x : standardise(x, { axes: numbers, eps, epsMode, mask }))
}

/**
 * The student's feature at the teacher's size and channels: bilinear resizing where the sizes differ, then a 1 x 1
 * convolution without bias (none where `weight` is undefined).
 * @param x       [batch, c, h, w]
 * @param weight  [c', c, 1, 1]
 * @param like    [batch, c', h', w'], whose size is taken
 * @returns  [batch, c', h', w']
 * @throws ShapeError if the channels disagree
 * @example align(student.taps.stage4, params.weight, teacher.taps.stage4)
 */
export function align(x: FeatureMap, weight: Tensor | undefined, like: FeatureMap): FeatureMap {
  const [h, w] = like.shape.slice(2)
  const resized = sameShape(x.shape.slice(2), [h, w]) ? x : pipe(x, resizeBilinear({ size: [h, w] }))
  return weight === undefined ? resized : conv2d(resized, featureMap('align', weight))
}

/** How far two features of one type are from each other: a scalar. Pixels that the mask leaves out do not count. */
export type Compare = (student: FeatureMap, teacher: FeatureMap, mask?: Mask) => Floats

/**
 * mean of (s - t)^2 over the elements that count; 0 if none does.
 * @param s  [batch, channels, h, w], as `t`
 * @throws ShapeError if the shapes do not broadcast
 * @example meanSquaredError(normalise()(s), normalise()(t))
 */
export const meanSquaredError: Compare = (s, t, mask) => maskedMean(pipe(s, sub(t), square), mask)

/** The mean over the elements that count; 0 if none does. */
function maskedMean(x: FeatureMap, mask?: Mask): Floats {
  if (!mask) return mean(x)
  const counted = sum(cast(mask, x.dtype)) // one per pixel
  const divisor = map('max', mul(counted, x.shape[1]), 1)
  return div(sum(where(mask, x, 0)), divisor) as Floats // of x's dtype
}

/**
 * The pixels of a feature whose label counts: nearest neighbour of label != ignoreIndex.
 * @param label  i32 [batch, height, width]
 * @param like   [batch, channels, h, w]
 * @returns  bool [batch, 1, h, w]
 * @example validPixels(batch.label, 255, feature)
 */
export function validPixels(label: Tensor, ignoreIndex: number, like: FeatureMap): Mask {
  const [n, h, w] = label.shape
  const valid = reshape(notEqual(label, ignoreIndex), [n, 1, h, w])
  return resizeNearest(valid, { size: [like.shape[2], like.shape[3]] })
}
