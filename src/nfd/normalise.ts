/**
 * The second primitive: normalise. In: a feature [batch, channels, h, w], and which of its pixels count. Out: the
 * feature (or its log-probabilities, or its attention map) with what is not compared taken out of it.
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
  scalar,
  select,
  sub,
  sum,
} from '../dsl/build.ts'
import { UsageError } from '../dsl/errors.ts'
import { l2Normalise, standardise } from '../dsl/ops/norm.ts'
import { logSoftmax, softmax } from '../dsl/ops/softmax.ts'
import { size } from '../dsl/shape.ts'
import type { Tensor } from '../dsl/tensor.ts'
import { type FeatureMap, featureMap } from '../nn/feature.ts'

/** Which pixels count: bool [batch or 1, 1, height, width]. */
export type Mask = Tensor<readonly [number, number, number, number], 'bool'>

/** A function of features; pixels that the mask leaves out enter no statistics. */
export type Normalise = (x: FeatureMap, mask?: Mask) => FeatureMap

/** The axes that share statistics; `none` leaves the features as they are. */
export type NormAxes = 'HW' | 'NHW' | 'C' | 'CHW' | 'none'
/** The numbers of the axes of [batch, channels, height, width]. */
export const axisNumbers = {
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

/** The feature itself. */
export const asIs: Normalise = x => x

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
 * Standardisation as PyTorch's `std` makes it: (F - mean) / (std + eps), the unbiased deviation.
 * @example byDeviation('NHW', 1e-6)(feature)
 */
export const byDeviation =
  (axes: Exclude<NormAxes, 'none'>, eps: number): Normalise =>
  (x, mask) => {
    const { offset, variance, count } = moments(x, axisNumbers[axes], mask)
    const unbiased = mul(variance, div(count, map('max', sub(count, 1), 1)))
    return featureMap('byDeviation', div(offset, add(root(unbiased), eps)))
  }

/** F / max(|F|, eps) over the axes, |F| the Euclidean norm. @example unit('C')(feature) */
export const unit =
  (axes: 'C' | 'HW' | 'NCHW', eps = 1e-12): Normalise =>
  x =>
    l2Normalise(x, { axes: axes === 'NCHW' ? [0, 1, 2, 3] : axisNumbers[axes], eps })

/** F - mean over the axes, divided by its norm: the product of two such is their Pearson correlation. */
export const centredUnit =
  (axes: 'C' | 'NHW'): Normalise =>
  (x, mask) =>
    l2Normalise(
      featureMap('centredUnit', moments(x, axisNumbers[axes], axes === 'C' ? undefined : mask).offset),
      {
        axes: axisNumbers[axes],
        eps: 1e-8,
      },
    )

/** Probabilities over the classes: softmax(F / temperature) over C. @example classProbabilities(4)(logits) */
export const classProbabilities =
  (temperature: number): Normalise =>
  x =>
    softmax(x, { axis: 1, temperature })

/**
 * Log-probabilities: logSoftmax(F / temperature) over the classes (C) or over the pixels of each plane (HW), of
 * which those that the mask leaves out have the probability 0.
 * @throws UsageError if the temperature is not positive
 * @example logProbabilities('HW', 4)(feature)
 */
export function logProbabilities(axes: 'C' | 'HW', temperature: number): Normalise {
  if (!(temperature > 0)) throw new UsageError(`the temperature must be positive, got ${temperature}`)
  if (axes === 'C') return x => logSoftmax(x, { axis: 1, temperature })
  return (x, mask) => {
    const [n, c, h, w] = x.shape
    const kept = featureMap('logProbabilities', mask ? select(mask, x, impossible) : x)
    const planes = featureMap('logProbabilities', reshape(kept, [n, c, 1, h * w]))
    return featureMap('logProbabilities', reshape(logSoftmax(planes, { axis: 3, temperature }), x.shape))
  }
}
/** A logit whose probability is 0 in f32 and f64; not -infinity, for differences of two must be finite. */
export const impossible = -1e30

/** Attention: the mean over the channels of F^2, [batch, 1, h, w]. */
export const attention: Normalise = x => featureMap('attention', mean(mul(x, x), [1], true))

/** The mean over the pixels that count, [batch, channels, 1, 1]. */
export const pooled: Normalise = (x, mask) => featureMap('pooled', moments(x, [2, 3], mask).mean)

/** Standardisation of each channel over the samples that have a pixel that counts: (F - mean) / sqrt(var + 1e-5). */
export const overSamples: Normalise = (x, mask) => {
  const used = mask && map('lt', 0, sum(cast(mask, x.dtype), [2, 3], true))
  return standardise(x, { axes: [0, 2, 3], mask: used })
}

/** One after the other. @example inTurn(pooled, overSamples)(feature) */
export const inTurn =
  (...steps: readonly Normalise[]): Normalise =>
  (x, mask) =>
    steps.reduce((y, f) => f(y, mask), x)

/** The population's moments over the axes, kept with extent 1; the offsets of pixels that do not count are 0. */
function moments(
  x: Tensor,
  axes: readonly number[],
  mask?: Mask,
): { readonly mean: Tensor; readonly offset: Tensor; readonly variance: Tensor; readonly count: Tensor } {
  const total = (v: Tensor): Tensor => sum(v, axes, true)
  const bool = mask ? broadcastTo(mask, x.shape) : undefined
  const kept = (v: Tensor): Tensor => (bool ? select(bool, v, 0) : v)
  const count = bool ? total(cast(bool, x.dtype)) : scalar(size(axes.map(a => x.shape[a])), x.dtype)
  const divisor = map('max', count, 1)
  const mu = div(total(kept(x)), divisor)
  const offset = kept(sub(x, mu))
  return { mean: mu, offset, variance: div(total(mul(offset, offset)), divisor), count }
}

/** sqrt, with the gradient 0 at 0, where the true one is infinite. */
function root(x: Tensor): Tensor {
  const zero = eq(x, 0)
  return select(zero, 0, map('sqrt', select(zero, 1, x)))
}
