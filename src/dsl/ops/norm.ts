/**
 * Normalisation: (x - mean) / sqrt(variance + eps) over some axes. In: features, and parameters or running
 * statistics as values. Out: normalised features, and new statistics as values. No variance is E[x^2] - E[x]^2: see
 * `moments`; under a mask the mean is taken first, then the squared differences.
 */
import {
  add,
  broadcastTo,
  cast,
  div,
  less,
  lessEqual,
  map,
  mean,
  mul,
  normalAxes,
  reshape,
  select,
  stopGradient,
  sub,
  sum,
} from '../build.ts'
import type { DType, FloatDType } from '../dtype.ts'
import { dual, withData } from '../dual.ts'
import { ShapeError } from '../errors.ts'
import { range, type Shape, sameShape, showType, size } from '../shape.ts'
import { currentScope, scope, type Tensor } from '../tensor.ts'
import { type UnaryWith, unaryWith } from './activation.ts'
import { type Moments, moments } from './moments.ts'

/** The moments over the axes, and x minus its mean. */
function centred(x: Tensor, axes: readonly number[]): Moments & { readonly offset: Tensor } {
  const { mean, variance } = moments(x, axes)
  return { mean, variance, offset: sub(x, mean) }
}
const reciprocalRoot = (v: Tensor): Tensor => div(1, map('sqrt', v))

/** x scale + shift, either of which may be left out. */
function affine(x: Tensor, scale?: Tensor, shift?: Tensor): Tensor {
  const y = scale ? mul(x, scale) : x
  return shift ? add(y, shift) : y
}

/** @throws ShapeError if a vector has not one value per channel (axis 1) of x */
function checkChannels(op: string, x: Tensor, vectors: Readonly<Record<string, Tensor | undefined>>): void {
  for (const [name, v] of Object.entries(vectors))
    if (v && !sameShape(v.shape, [x.shape[1]]))
      throw new ShapeError(
        op,
        `${name} is ${showType(v)}, the input has ${x.shape[1]} channels`,
        [`input  ${showType(x)}  [batch, channels, ...]`, `${name}  ${showType(v)}  [channels]`],
        currentScope(),
      )
}
/** A vector per channel, laid along axis 1 of x. */
const perChannel = <V extends Tensor | undefined>(v: V, x: Tensor): Tensor | V =>
  v && reshape(v, [v.shape[0], ...x.shape.slice(2).map(() => 1)])

/** Batch norm's values: a gain, an offset and running statistics per channel. */
export interface BatchNormValues<C extends Shape, D extends DType> {
  readonly weight?: Tensor<C, D>
  readonly bias?: Tensor<C, D>
  readonly mean: Tensor<C, D>
  readonly variance: Tensor<C, D>
}

/** `momentum` is the part of the new statistics in the running ones. */
export interface BatchNormOptions {
  readonly training: boolean
  readonly eps?: number
  readonly momentum?: number
}

/**
 * Batch normalisation.
 *   y = (x - m) / sqrt(v + eps) * weight + bias
 * In training m and v are the batch's mean and population variance over every axis but 1, and the running
 * statistics move: mean' = (1 - momentum) mean + momentum m, variance' likewise with the unbiased variance;
 * they carry no gradient. Otherwise m and v are the running statistics, which stay.
 * @param x       [batch, channels, ...]
 * @param values  weight, bias (either may be left out), mean, variance: [channels]
 * @returns `y` of x's type and the new `mean` and `variance`
 * @throws ShapeError if the channels disagree, or in training if a channel has fewer than two values
 * @see Ioffe & Szegedy 2015, arXiv:1502.03167
 * @example const { y, mean, variance } = batchNorm(x, { weight, bias, mean, variance }, { training: true })
 */
export function batchNorm<S extends Shape, D extends FloatDType, C extends Shape>(
  x: Tensor<S, D>,
  values: BatchNormValues<C, D>,
  { training, eps = 1e-5, momentum = 0.1 }: BatchNormOptions,
): { readonly y: Tensor<S, D>; readonly mean: Tensor<C, D>; readonly variance: Tensor<C, D> } {
  if (!training) return { y: batchNormEval(x, values, { eps }), mean: values.mean, variance: values.variance }
  return scope('batchNorm', () => {
    const axes = range(x.shape.length).filter(a => a !== 1)
    const n = size(axes.map(a => x.shape[a]))
    if (x.shape.length < 2 || n < 2)
      throw new ShapeError(
        'batchNorm',
        `training needs [batch, channels, ...] with two values or more a channel, got ${showType(x)}`,
        ['use a larger batch, or training: false'],
        currentScope(),
      )
    checkChannels('batchNorm', x, { ...values })
    const weight = perChannel(values.weight, x)
    const { mean: m, offset, variance } = centred(x, axes)
    const root = reciprocalRoot(add(variance, eps))
    const y = affine(offset, weight ? mul(root, weight) : root, perChannel(values.bias, x))
    const moved = (running: Tensor<C, D>, batch: Tensor): Tensor<C, D> =>
      // as `running`, by the check above
      add(mul(running, 1 - momentum), mul(stopGradient(reshape(batch, running.shape)), momentum)) as Tensor<
        C,
        D
      >
    return {
      y: y as Tensor<S, D>, // offset's shape
      mean: moved(values.mean, m),
      variance: moved(values.variance, mul(variance, n / (n - 1))),
    }
  })
}

/** Batch norm by running statistics: `f(x, values, options)`, or `pipe(x, f(values, options))`. */
export interface BatchNormEval {
  <S extends Shape, D extends FloatDType>(
    x: Tensor<S, D>,
    values: BatchNormValues<Shape, D>,
    options?: { readonly eps?: number },
  ): Tensor<S, D>
  <D extends FloatDType>(
    values: BatchNormValues<Shape, D>,
    options?: { readonly eps?: number },
  ): <S extends Shape>(x: Tensor<S, D>) => Tensor<S, D>
}

/**
 * Batch normalisation by running statistics, folded into one multiplication and one addition a value:
 *   y = x scale + shift,  scale = weight / sqrt(variance + eps),  shift = bias - mean scale
 * @param x       [batch, channels, ...]
 * @param values  weight, bias (either may be left out), mean, variance: [channels]
 * @throws ShapeError if the channels disagree
 * @example pipe(x, batchNormEval({ weight, bias, mean, variance }))
 */
export const batchNormEval = dual<BatchNormEval>(
  withData,
  (x: Tensor, values: BatchNormValues<Shape, DType>, { eps = 1e-5 }: { eps?: number } = {}) =>
    scope('batchNorm', () => {
      checkChannels('batchNorm', x, { ...values })
      const root = reciprocalRoot(add(values.variance, eps))
      const scale = values.weight ? mul(root, values.weight) : root
      const drift = mul(values.mean, scale)
      const shift = values.bias ? sub(values.bias, drift) : map('neg', drift)
      return affine(x, perChannel(scale, x), perChannel(shift, x))
    }),
)

/** Gain and offset after a normalisation, and what is added to the variance (1e-5). */
export interface AffineOptions {
  readonly eps?: number
  readonly weight?: Tensor
  readonly bias?: Tensor
}

/**
 * Layer normalisation: standardises over the axes (the last one) and applies a gain and an offset.
 * @param x  any shape; `weight` and `bias` have the extents of the axes
 * @throws ShapeError if `weight` or `bias` do not fill the axes
 * @see Ba, Kiros, Hinton 2016, arXiv:1607.06450
 * @example pipe(tokens, layerNorm({ weight, bias }))      // [batch, tokens, channels]
 */
export const layerNorm: UnaryWith<AffineOptions & { readonly axes?: number | readonly number[] }> = unaryWith(
  'layerNorm',
  (x, { axes = -1, eps = 1e-5, weight, bias }) => {
    const list = normalAxes('layerNorm', axes, x.shape.length).sort((a, b) => a - b)
    const along = (v?: Tensor) =>
      v &&
      reshape(
        v,
        x.shape.map((n, a) => (list.includes(a) ? n : 1)),
      )
    const { offset, variance } = centred(x, list)
    return affine(mul(offset, reciprocalRoot(add(variance, eps))), along(weight), along(bias))
  },
)

/**
 * Group normalisation: standardises each group of channels of each sample; gain and offset per channel.
 * @param x  [batch, channels, ...]; `weight` and `bias` are [channels]
 * @throws ShapeError if `groups` does not divide the channels
 * @see Wu & He 2018, arXiv:1803.08494
 * @example pipe(x, groupNorm({ groups: 32, weight, bias }))
 */
export const groupNorm: UnaryWith<AffineOptions & { readonly groups: number }> = unaryWith(
  'groupNorm',
  (x, { groups, eps = 1e-5, weight, bias }) => {
    const [n, c, ...rest] = x.shape
    if (c === undefined || !Number.isInteger(groups) || groups < 1 || c % groups !== 0)
      throw new ShapeError(
        'groupNorm',
        `${groups} groups do not divide the channels of ${showType(x)}`,
        ['the input is [batch, channels, ...]'],
        currentScope(),
      )
    checkChannels('groupNorm', x, { weight, bias })
    const { offset, variance } = centred(reshape(x, [n, groups, size([c / groups, ...rest])]), [2])
    return affine(
      reshape(mul(offset, reciprocalRoot(add(variance, eps))), x.shape),
      perChannel(weight, x),
      perChannel(bias, x),
    )
  },
)

/**
 * Instance normalisation: standardises each channel of each sample over its positions.
 * @param x  [batch, channels, ...]; `weight` and `bias` are [channels]
 * @throws ShapeError if x has no positions (rank below 3)
 * @see Ulyanov, Vedaldi, Lempitsky 2016, arXiv:1607.08022
 * @example instanceNorm(x)
 */
export const instanceNorm: UnaryWith<AffineOptions> = unaryWith(
  'instanceNorm',
  (x, { eps = 1e-5, weight, bias }) => {
    if (x.shape.length < 3)
      throw new ShapeError(
        'instanceNorm',
        `takes [batch, channels, positions...], got ${showType(x)}`,
        [],
        currentScope(),
      )
    checkChannels('instanceNorm', x, { weight, bias })
    const { offset, variance } = centred(x, range(x.shape.length).slice(2))
    return affine(mul(offset, reciprocalRoot(add(variance, eps))), perChannel(weight, x), perChannel(bias, x))
  },
)

/** How `standardise` normalises. */
export interface StandardiseOptions {
  /** The axes whose elements share a mean and a variance. */
  readonly axes: number | readonly number[]
  /** Added to the variance: 1e-5. */
  readonly eps?: number
  /** `relative`: eps is in units of the tensor's mean variance, so scaling x changes nothing. */
  readonly epsMode?: 'absolute' | 'relative'
  /** Which positions count: bool, or weights >= 0; broadcasts to x. */
  readonly mask?: Tensor
}

/**
 * y = (x - mean) / sqrt(variance + eps) over the axes, with the population variance: what NFD compares.
 * Where variance + eps is 0 (a constant group, eps 0) y is 0. Positions that the mask leaves out (0 or false)
 * enter no statistics, take no gradient and are 0 in y, whatever x holds there.
 * @param x  any shape; the result has its type
 * @throws ShapeError if x lacks an axis, or the mask does not broadcast to x
 * @see Liu, Yang, Chen 2022, arXiv:2207.05256
 * @example pipe(feature, standardise({ axes: [2, 3], epsMode: 'relative' }))
 */
export const standardise: UnaryWith<StandardiseOptions> = unaryWith(
  'standardise',
  (x, { axes, eps = 1e-5, epsMode = 'absolute', mask }) => {
    const list = normalAxes('standardise', axes, x.shape.length)
    const { offset, variance, meanVariance } = mask ? maskedCentred(x, list, mask) : wholeCentred(x, list)
    const under = add(variance, epsMode === 'relative' ? mul(meanVariance(), eps) : eps)
    // sqrt at 0 has an infinite slope: it sees a 1 there, and the offset is 0
    return mul(offset, reciprocalRoot(select(lessEqual(under, 0), 1, under)))
  },
)

interface Centred {
  readonly offset: Tensor
  readonly variance: Tensor
  /** The mean of the variances: a scalar. */
  readonly meanVariance: () => Tensor
}
function wholeCentred(x: Tensor, axes: readonly number[]): Centred {
  const { offset, variance } = centred(x, axes)
  return { offset, variance, meanVariance: () => mean(variance) }
}
function maskedCentred(x: Tensor, axes: readonly number[], mask: Tensor): Centred {
  const bool = broadcastTo(mask.dtype === 'bool' ? mask : less(0, mask), x.shape)
  const weight = mask.dtype === 'bool' ? undefined : cast(mask, x.dtype)
  const weighted = (v: Tensor): Tensor => (weight ? mul(v, weight) : v)
  const total = (v: Tensor): Tensor => sum(v, axes, true)
  const count = total(weighted(cast(bool, x.dtype)))
  const used = less(0, count)
  const divisor = select(used, count, 1)
  const kept = select(bool, x, 0) // before any arithmetic: x may be NaN where it is masked
  const offset = select(bool, sub(kept, div(total(weighted(kept)), divisor)), 0)
  const variance = div(total(weighted(mul(offset, offset))), divisor)
  const groups = sum(cast(used, x.dtype))
  return { offset, variance, meanVariance: () => div(sum(variance), select(less(0, groups), groups, 1)) }
}

/**
 * y = x / max(|x|, eps), with |x| the Euclidean norm over the axes (eps 1e-12); 0 stays 0, with a finite gradient.
 * @param x  any shape; the result has its type
 * @throws ShapeError if x lacks an axis
 * @example pipe(pixels, l2Normalise({ axes: 1 }))
 */
export const l2Normalise: UnaryWith<{ readonly axes: number | readonly number[]; readonly eps?: number }> =
  unaryWith('l2Normalise', (x, { axes, eps = 1e-12 }) => mul(x, reciprocalRoot(squaredNorm(x, axes, eps))))

/**
 * max(|x|^2, eps^2) over the axes, which are kept with extent 1; no gradient where eps wins.
 * @example squaredNorm(x, 1, 1e-8)
 */
export function squaredNorm(x: Tensor, axes: number | readonly number[], eps: number): Tensor {
  const squares = sum(mul(x, x), axes, true)
  return select(lessEqual(squares, eps * eps), eps * eps, squares)
}
