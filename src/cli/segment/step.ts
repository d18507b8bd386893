/**
 * The training step of a segmentation network, as a pure function over named tensors. In: a network, an optimiser, the
 * loss, and what surrounds them: accumulation, averaged weights, loss scaling. Out: the state at step 0 and the step
 * that the loop compiles.
 *
 * State: `params`, `state` (running statistics), `optimiser`; `ema.params` and `ema.state` with averaged weights;
 * `sums` with accumulation; `scaling` with loss scaling. A step in which nothing is to be updated, because more batches
 * are to come or a gradient overflowed, selects the old values.
 */
import { valueAuxAndGrad } from '../../autodiff/grad.ts'
import { array, type NDArray } from '../../dsl/array.ts'
import { add, cast, div, less, map, mul, select, sub, zerosLike } from '../../dsl/build.ts'
import { makeData } from '../../dsl/dtype.ts'
import { size } from '../../dsl/shape.ts'
import { type Tensor, tensor } from '../../dsl/tensor.ts'
import { mapTree } from '../../dsl/tree.ts'
import { clipByGlobalNorm, type Optimiser } from '../../nn/optim.ts'
import { allFinite, firstScaling, type LossScale, nextScaling } from '../loss-scaling.ts'
import type { Network } from '../models.ts'
import { type Named, namedArrays, namedTensors, tensorsLike } from '../named.ts'
import type { Step } from '../train-loop.ts'
import { both, chosen, eachOf, eachPair } from '../tree-maps.ts'
import { type LossOptions, quotient, segmentationLoss } from './loss.ts'

/** Trees of host arrays, as a network's `init` or `loadWeights` gives them. */
export interface Variables {
  readonly params: unknown
  readonly state: unknown
}

/** What a step is made of. */
export interface StepOptions {
  readonly net: Network
  readonly optimiser: Optimiser
  readonly loss: LossOptions
  /** Batches an update; their mean is that of one large batch (running statistics are each batch's own). */
  readonly accumulate: number
  readonly ema: { readonly decay: number } | null
  /** Of mixed precision; null: the loss is not scaled. */
  readonly lossScale: LossScale | null
  /** The largest norm of all gradients together; null: any. */
  readonly clip: number | null
}

/**
 * The state at step 0 and the step. The step's `input.last` is 1 in the batch that ends an update.
 * @param variables  the initial values
 * @example const { initial, step } = trainingStep(options, net.init(key(0)))
 */
export function trainingStep(
  options: StepOptions,
  variables: Variables,
): { readonly initial: Named<NDArray>; readonly step: Step } {
  const { net, optimiser, accumulate, ema, lossScale, clip } = options
  const { params, state } = variables
  const template = {
    params,
    state,
    optimiser: optimiser.init(params),
    ema: ema ? { params, state } : undefined,
    sums: accumulate > 1 ? { grads: zerosOf(params), total: zero(), weight: zero() } : undefined,
    scaling: lossScale === null ? undefined : firstScaling(lossScale),
  }

  const step: Step = (named, { image, label, learningRate, key, last }) => {
    const before = tensorsLike(template, named)
    const { scaling, sums } = before
    const forward = (p: typeof before.params): readonly [Tensor, Forward] => {
      const { out, state: next } = net.apply(p, before.state, image, { training: true, key })
      const { total, weight, parts } = segmentationLoss(out.logits, out.auxiliary, label, options.loss)
      // A mean where the batch stands alone; with others, a sum over a constant number of pixels.
      const objective = sums ? div(total, size(label.shape)) : quotient(total, weight)
      return [scaling ? mul(objective, scaling.scale) : objective, { next, total, weight, parts }]
    }
    const [[, { next, total, weight, parts }], scaled] = valueAuxAndGrad(forward)(before.params)
    const own = scaling ? eachOf(scaled, g => div(g, scaling.scale)) : scaled

    // This batch's gradients joined to those before it.
    const grads = sums ? eachPair(sums.grads, own, add) : own
    const sum = sums ? { total: add(sums.total, total), weight: add(sums.weight, weight) } : { total, weight }
    const mean = sums ? eachOf(grads, g => quotient(mul(g, size(label.shape)), sum.weight)) : grads
    const clipped = clip === null ? undefined : clipByGlobalNorm(mean, clip)
    const finite = scaling && allFinite(grads)
    const ends = sums ? map('ne', last, 0) : undefined
    const updates = both(finite, ends)

    const after = optimiser.update(clipped?.grads ?? mean, before.optimiser, before.params, learningRate)
    const updated = chosen(updates, after, { params: before.params, state: before.optimiser })
    const running = chosen(finite, next, before.state)
    const now = { params: after.params, state: next }
    const averaged = ema && chosen(updates, average(before.ema, now, ema.decay, after.state.step), before.ema)
    const rest = sums && {
      grads: chosen(ends, eachOf(grads, zerosLike), grads),
      total: chosen(ends, tensor(0), sum.total),
      weight: chosen(ends, tensor(0), sum.weight),
    }
    return {
      state: namedTensors({
        params: updated.params,
        state: running,
        optimiser: updated.state,
        ema: averaged,
        sums: rest,
        scaling: scaling && finite ? nextScaling(scaling, finite, ends, lossScale === 'dynamic') : undefined,
      }),
      logs: {
        loss: quotient(sum.total, sum.weight),
        ...(sums ? {} : parts),
        learningRate,
        ...(clipped ? { gradientNorm: clipped.norm } : {}),
        ...(scaling ? { lossScale: scaling.scale } : {}),
      },
    }
  }
  return { initial: namedArrays(template), step }
}

/** What a forward pass gives beside the objective. */
interface Forward {
  readonly next: unknown
  readonly total: Tensor
  readonly weight: Tensor
  readonly parts: Named<Tensor>
}

const zero = (): NDArray => array([], 'f32', [0])
const zerosOf = (tree: unknown): unknown =>
  mapTree(tree, isArray, a => array(a.shape, a.dtype, makeData(a.dtype, size(a.shape))))
const isArray = (x: unknown): x is NDArray =>
  typeof x === 'object' && x !== null && 'shape' in x && 'dtype' in x && 'data' in x

/**
 * ema <- d ema + (1 - d) x,  d = min(decay, (1 + t) / (10 + t)) after t updates, so that the first values are forgotten.
 * @see tf.train.ExponentialMovingAverage, num_updates
 */
function average<T>(ema: T, now: unknown, decay: number, updates: Tensor): T {
  const t = cast(updates, 'f32')
  const early = div(add(t, 1), add(t, 10))
  const d = select(less(early, decay), early, decay)
  return eachPair(ema, now, (old, x) => add(x, mul(sub(old, x), d)))
}
