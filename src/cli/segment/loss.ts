/**
 * The loss of a segmentation network. In: its logits, the auxiliary head's where there is one, and labels. Out: a sum and
 * the weight that it is to be divided by, kept apart so that sums of several batches make the mean of the large one.
 */
import {
  add,
  applyEx,
  barrier,
  cast,
  div,
  less,
  map,
  mul,
  reshape,
  select,
  stopGradient,
  sum,
} from '../../dsl/build.ts'
import { take } from '../../dsl/ops/index.ts'
import { crossEntropy } from '../../dsl/ops/loss.ts'
import { bitcast } from '../../dsl/scalar.ts'
import { type Shape, size } from '../../dsl/shape.ts'
import { type Tensor, tensor } from '../../dsl/tensor.ts'

/** What the loss is made of. */
export interface LossOptions {
  /** A weight a class; null: all 1. */
  readonly classWeights: readonly number[] | null
  readonly labelSmoothing: number
  /** Of the auxiliary head: 0.4 is usual. */
  readonly auxiliaryWeight: number
  /** Online hard example mining; null: every labelled pixel counts. */
  readonly ohem: { readonly threshold: number; readonly minKept: number } | null
}

/** A loss as a sum over pixels and the sum of their weights; the mean is total / weight. */
export interface SummedLoss {
  readonly total: Tensor
  readonly weight: Tensor
  /** Means, for the log. */
  readonly parts: Readonly<Record<string, Tensor>>
}

type Labels = Tensor<Shape, 'i32'>
type Logits = Tensor<Shape, 'f32'>
/** The label of pixels that do not count. */
const ignored = 255

/**
 * Cross-entropy of the head plus `auxiliaryWeight` times that of the auxiliary head. With hard example mining (of the head
 * only) the kept pixels are averaged here and the weight is 1: which are kept depends on the whole batch.
 * @param logits     f32[n, classes, h, w]
 * @param auxiliary  the same, if the network has such a head
 * @param label      i32[n, h, w]; 255 does not count. A batch without a labelled pixel has the loss 0
 * @example const { total, weight } = segmentationLoss(out.logits, out.auxiliary, label, options)
 */
export function segmentationLoss(
  logits: Tensor,
  auxiliary: Tensor | undefined,
  label: Labels,
  options: LossOptions,
): SummedLoss {
  const { auxiliaryWeight, ohem } = options
  const weight = sum(pixelWeights(label, options.classWeights))
  const plain = (x: Tensor): Tensor =>
    crossEntropy(f32(x), label, { ...ceOptions(options), reduction: 'sum' })
  const main = ohem ? hardest(logits, label, options, ohem) : { total: plain(logits), weight }
  const mean = quotient(main.total, main.weight)
  if (auxiliary === undefined || auxiliaryWeight === 0)
    return ohem ? { total: mean, weight: one(), parts: {} } : { total: main.total, weight, parts: {} }
  const side = plain(auxiliary)
  const sideMean = quotient(side, weight)
  const parts = { head: mean, auxiliary: sideMean }
  return ohem
    ? { total: add(mean, mul(sideMean, auxiliaryWeight)), weight: one(), parts }
    : { total: add(main.total, mul(side, auxiliaryWeight)), weight, parts }
}

/**
 * a / b, and 0 where b is 0: no pixel counts.
 * @example quotient(total, weight)
 */
export const quotient = (a: Tensor, b: Tensor): Tensor => div(a, select(less(0, b), b, 1))

const one = (): Tensor => tensor(1)
// logits are f32: the training step is compiled for f32 parameters
const f32 = (x: Tensor): Logits => x as Logits
const ceOptions = ({ classWeights, labelSmoothing }: LossOptions) => ({
  ignoreIndex: ignored,
  labelSmoothing,
  ...(classWeights ? { weights: weightsTensor(classWeights) } : {}),
})
const weightsTensor = (weights: readonly number[]): Logits => f32(tensor(weights))

/** The weight of each pixel: that of its class, 0 where it does not count. [n, h, w] */
function pixelWeights(label: Labels, classWeights: readonly number[] | null): Tensor {
  const kept = map('ne', label, ignored)
  if (!classWeights) return cast(kept, 'f32')
  // i32, as the labels are
  const classes = reshape(select(kept, label, 0), [size(label.shape)]) as Tensor<readonly [number], 'i32'>
  return select(kept, reshape(take(weightsTensor(classWeights), classes), label.shape), 0)
}

/**
 * The pixels whose class gets a probability of at most max(threshold, the minKept-th lowest in the batch).
 * @see Shrivastava, Gupta, Girshick 2016, arXiv:1604.03540; per pixel as in Wu, Shen, van den Hengel 2016, arXiv:1604.04339
 */
function hardest(
  logits: Tensor,
  label: Labels,
  options: LossOptions,
  { threshold, minKept }: NonNullable<LossOptions['ohem']>,
): Pick<SummedLoss, 'total' | 'weight'> {
  const losses = crossEntropy(f32(logits), label, { ...ceOptions(options), reduction: 'none' })
  const counts = map('ne', label, ignored)
  const own = crossEntropy(f32(logits), label, { ignoreIndex: ignored, reduction: 'none' })
  // pixels that do not count lie above every probability
  const p = barrier(stopGradient(select(counts, map('exp', map('neg', own)), 2)))
  const limit = map('max', smallest(p, minKept), threshold)
  const kept = map('and', counts, map('le', p, limit))
  return {
    total: sum(select(kept, losses, 0)),
    weight: sum(select(kept, pixelWeights(label, options.classWeights), 0)),
  }
}

/**
 * The k-th smallest of non-negative values by halving: as bits they have the order of integers, so 31 counts find it.
 * The largest finite value if there are fewer than k; 0 if k is 0.
 */
function smallest(x: Tensor, k: number): Tensor {
  if (k === 0) return tensor(0)
  let [low, high]: readonly [Tensor, Tensor] = [tensor(0, 'i32'), tensor(largestBits, 'i32')]
  for (let i = 0; i < 31; i++) {
    const middle = add(low, map('shr', map('sub', high, low), 1))
    const enough = map('le', k, sum(cast(map('le', x, asFloat(middle)), 'i32')))
    ;[low, high] = [select(enough, low, add(middle, 1)), select(enough, middle, high)]
  }
  return asFloat(low)
}

/** The bits of the largest finite f32. */
const largestBits = 0x7f7fffff
const asFloat = (bits: Tensor): Tensor => applyEx(bitcast({ k: 'arg', i: 0, dtype: 'i32' }, 'f32'), [bits])
