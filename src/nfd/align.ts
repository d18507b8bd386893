/**
 * The first primitive: align. In: a student's feature and the teacher's that it is compared with. Out: the
 * student's at the teacher's size and channels: resized bilinearly where the sizes differ, then a 1 x 1 convolution
 * or a small adapter, whose parameters `init` makes. They are trained with the student and thrown away after it:
 * leave them out of weight decay.
 */
import { pipe } from 'fp-ts/lib/function.js'
import type { NDArray } from '../dsl/array.ts'
import { add, mean, mul, reduce, reshape, select } from '../dsl/build.ts'
import { relu, sigmoid } from '../dsl/ops/activation.ts'
import { conv2d } from '../dsl/ops/conv.ts'
import { standardise } from '../dsl/ops/norm.ts'
import { bernoulli } from '../dsl/ops/random.ts'
import { resizeBilinear } from '../dsl/ops/resize.ts'
import { concat } from '../dsl/ops/shape.ts'
import { sameShape } from '../dsl/shape.ts'
import type { Tensor } from '../dsl/tensor.ts'
import { foldIn, type Key } from '../dsl/threefry.ts'
import { type FeatureMap, featureMap, floats } from '../nn/feature.ts'
import { filled, kaimingNormal } from '../nn/init.ts'
import { keyOf } from '../nn/mode.ts'
import type { Tensors } from '../nn/module.ts'
import { maskAt } from './compare.ts'
import type { Context, None } from './distil.ts'

/** Whether an aligner takes taps of any channels, or leaves the channels alone, so that they must be equal. */
export type Fit = 'any' | 'equal'

/** A way to align. @typeParam P its parameters, for one pair of taps: a tree of arrays */
export interface Align<P, F extends Fit = 'any'> {
  readonly fit: F
  /** The parameters for `from` channels of the student's and `to` of the teacher's. */
  readonly init: (key: Key, from: number, to: number) => P
  /** x [batch, from, h, w] at the size and channels of `like` [batch, to, h', w']. */
  readonly apply: (params: Tensors<P>, x: FeatureMap, like: FeatureMap, context: Context) => FeatureMap
}

/** x at the size of another feature. */
export function resized(x: FeatureMap, like: FeatureMap): FeatureMap {
  const [h, w] = like.shape.slice(2)
  return sameShape(x.shape.slice(2), [h, w]) ? x : pipe(x, resizeBilinear({ size: [h, w] }))
}
const convolved = (
  x: FeatureMap,
  weight: Tensor,
  options: { readonly bias?: Tensor; readonly padding?: number } = {},
) => conv2d(x, featureMap('align', weight), options)

/** `weight` [to, from, 1, 1] */
export type Conv1x1 = { readonly weight: NDArray }
const pointwise = (key: Key, from: number, to: number, gain = 1): NDArray =>
  kaimingNormal(key, [to, from, 1, 1], { gain })

/** Resizing, then a 1 x 1 convolution without bias: what a method takes unless it says otherwise. */
export const conv1x1: Align<Conv1x1> = {
  fit: 'any',
  init: (key, from, to) => ({ weight: pointwise(key, from, to) }),
  apply: ({ weight }, x, like) => convolved(resized(x, like), weight),
}

/** Resizing alone: the taps have equal channels, or it does not compile. */
export const sameChannels: Align<None, 'equal'> = {
  fit: 'equal',
  init: () => ({}),
  apply: (_, x, like) => resized(x, like),
}

/** Resizing alone, for methods that compare what does not depend on the number of channels. */
export const anyChannels: Align<None> = { ...sameChannels, fit: 'any' }

/** x at the size of another feature, 0 where the mask leaves pixels out: for aligners that mix pixels. */
function shown(x: FeatureMap, like: FeatureMap, { mask }: Context): FeatureMap {
  const y = resized(x, like)
  return mask ? featureMap('align', select(maskAt(mask, like), y, 0)) : y
}

/** Batch normalisation with the batch's own statistics, of the pixels that count. */
function normed(
  x: FeatureMap,
  { gain, bias }: Tensors<Norm>,
  like: FeatureMap,
  context: Context,
): FeatureMap {
  const mask = context.mask && maskAt(context.mask, like)
  const perChannel = (v: Tensor) => reshape(v, [1, x.shape[1], 1, 1])
  const y = add(mul(standardise(x, { axes: [0, 2, 3], mask }), perChannel(gain)), perChannel(bias))
  return featureMap('normed', y)
}
type Norm = { readonly gain: NDArray; readonly bias: NDArray }
const norm = (channels: number): Norm => ({ gain: filled([channels], 1), bias: filled([channels], 0) })

/** A small adapter: 1 x 1 convolution, batch norm, rectifier, 1 x 1 convolution (CIRKD's projection head). */
export const adapter: Align<{ readonly first: NDArray; readonly bn: Norm; readonly second: NDArray }> = {
  fit: 'any',
  init: (key, from, to) => ({
    first: pointwise(foldIn(key, 0), from, to, Math.SQRT2),
    bn: norm(to),
    second: pointwise(foldIn(key, 1), to, to),
  }),
  apply: ({ first, bn, second }, x, like, context) =>
    convolved(relu(normed(convolved(resized(x, like), first), bn, like, context)), second),
}

/**
 * What attention leaves of a feature: F' = F sigmoid(mean + max over the pixels), F'' = F' sigmoid(mean + max over
 * the channels). Without parameters: the teacher's in AttnFD.
 */
export function refined(x: FeatureMap): FeatureMap {
  const gated = mul(x, gate(add(reduceOver('mean', x, [2, 3]), reduceOver('max', x, [2, 3]))))
  return featureMap(
    'refined',
    mul(gated, gate(add(reduceOver('mean', gated, [1]), reduceOver('max', gated, [1])))),
  )
}
const gate = (x: Tensor): Tensor => sigmoid(floats('gate', x))
const reduceOver = (how: 'mean' | 'max', x: Tensor, axes: readonly number[]): Tensor =>
  how === 'mean' ? mean(x, axes, true) : reduce('max', x, axes, true)

/**
 * AttnFD's aligner: learned channel and spatial attention (CBAM) on the student's feature, then a 1 x 1 convolution
 * and batch norm. The attention over channels has a hidden layer of channels / 16 (one at least), that over pixels
 * a 7 x 7 convolution.
 * @see Woo et al. 2018, arXiv:1807.06521 (CBAM); github.com/AmirMansurian/AttnFD
 */
export const attentive: Align<{
  readonly hidden: NDArray
  readonly channels: NDArray
  readonly pixels: NDArray
  readonly weight: NDArray
  readonly bn: Norm
}> = {
  fit: 'any',
  init: (key, from, to) => {
    const hidden = Math.max(Math.floor(from / 16), 1)
    return {
      hidden: pointwise(foldIn(key, 0), from, hidden, Math.SQRT2),
      channels: pointwise(foldIn(key, 1), hidden, from),
      pixels: kaimingNormal(foldIn(key, 2), [1, 2, 7, 7], { gain: 1 }),
      weight: pointwise(foldIn(key, 3), from, to),
      bn: norm(to),
    }
  },
  apply: ({ hidden, channels, pixels, weight, bn }, source, like, context) => {
    const x = shown(source, like, context)
    const score = (how: 'mean' | 'max') =>
      convolved(relu(convolved(featureMap('attentive', reduceOver(how, x, [2, 3])), hidden)), channels)
    const gated = mul(x, gate(add(score('mean'), score('max'))))
    const both = concat([reduceOver('max', gated, [1]), reduceOver('mean', gated, [1])], { axis: 1 })
    const focused = mul(gated, gate(convolved(featureMap('attentive', both), pixels, { padding: 3 })))
    return normed(convolved(featureMap('attentive', focused), weight), bn, like, context)
  },
}

/** MGD's generator: the parameters of its convolutions; `project` where the channels differ. */
export type Generator = {
  readonly project?: NDArray
  readonly first: NDArray
  readonly firstBias: NDArray
  readonly second: NDArray
  readonly secondBias: NDArray
}

/**
 * MGD's aligner: pixels of the student's feature are dropped with a probability, and two 3 x 3 convolutions make the
 * teacher's whole feature of the rest.
 * @param rate  the probability of a dropped pixel
 * @example mgd({ student, teacher, taps, align: generator(0.5) })
 */
export const generator = (rate: number): Align<Generator> => ({
  fit: 'any',
  init: (key, from, to) => ({
    ...(from === to ? {} : { project: pointwise(foldIn(key, 0), from, to) }),
    first: kaimingNormal(foldIn(key, 1), [to, to, 3, 3]),
    firstBias: filled([to], 0),
    second: kaimingNormal(foldIn(key, 2), [to, to, 3, 3], { gain: 1 }),
    secondBias: filled([to], 0),
  }),
  apply: ({ project, first, firstBias, second, secondBias }, source, like, context) => {
    const x = shown(source, like, context)
    const aligned = project ? convolved(x, project) : x
    const [n, , h, w] = aligned.shape
    const dropped = select(bernoulli(keyOf(context.key), [n, 1, h, w], 1 - rate), aligned, 0)
    const hidden = relu(convolved(featureMap('generator', dropped), first, { bias: firstBias, padding: 1 }))
    return convolved(hidden, second, { bias: secondBias, padding: 1 })
  },
})
