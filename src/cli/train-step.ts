/**
 * The training step and the prediction, as pure functions over named tensors. In: a network, an optimiser and,
 * for a distilled student, a teacher and a method. Out: the state at step 0, the step that the loop
 * compiles, and the prediction that the evaluation compiles.
 */
import { valueAuxAndGrad } from '../autodiff/grad.ts'
import type { NDArray } from '../dsl/array.ts'
import { add, div, mul } from '../dsl/build.ts'
import { crossEntropy } from '../dsl/ops/loss.ts'
import { argmax } from '../dsl/ops/reduce.ts'
import { scope, type Tensor } from '../dsl/tensor.ts'
import { type Key, split } from '../dsl/threefry.ts'
import { constantTeacher } from '../nfd/distil.ts'
import type { Optimiser } from '../nn/optim.ts'
import { allFinite, firstScaling, type LossScale, nextScaling } from './loss-scaling.ts'
import type { Method, Network } from './models.ts'
import { below, type Named, namedArrays, namedTensors, tensorsLike } from './named.ts'
import type { Step } from './train-loop.ts'
import { chosen, eachOf } from './tree-maps.ts'

/** What a network learns from. */
export interface Lesson {
  readonly net: Network
  readonly optimiser: Optimiser
  /** Absent: cross-entropy with the labels alone. */
  readonly distillation?: { readonly teacher: Network; readonly method: Method }
  /** Of intermediates in f16; absent: the loss is not scaled. */
  readonly lossScale?: LossScale
}

/** A lesson as the training loop takes it. */
export interface Compilable {
  readonly initial: Named<NDArray>
  readonly step: Step
  /** (what `inferenceOf` keeps of a state, image [n, 3, h, w]) => classes i32[n, h, w] */
  readonly predict: (state: Named<Tensor>, image: Tensor) => Tensor
}

/**
 * The state at step 0, the step and the prediction of a lesson. The step minimises
 *   crossEntropy(logits, label) + method.loss(student, teacher),
 * the teacher in evaluation mode and constant (batches that bring what it says of them, `taught`, need none).
 * Parameters are `params.net` and `params.aligners`: one optimiser has both. With a scaled loss, a step whose gradients
 * overflow changes nothing but the scale. The network's initial values depend on `key` alone, not on whether there is a
 * teacher.
 * @throws UsageError if the networks do not fit the method
 * @example lessonOf({ net, optimiser }, key(0)).initial
 */
export function lessonOf({ net, optimiser, distillation, lossScale }: Lesson, key: Key): Compilable {
  const [netKey, alignerKey] = split(key)
  const { params, state } = net.init(netKey)
  const made = distillation?.method.init(alignerKey)
  const all = { net: params, aligners: made?.params ?? {} }
  const template = {
    params: all,
    state,
    optimiser: optimiser.init(all),
    distillation: made?.state ?? {},
    scaling: lossScale === undefined ? undefined : firstScaling(lossScale),
  }
  const teacher = distillation && inference(distillation.teacher)

  const step: Step = (named, { image, label, learningRate, key: stepKey, taught }, fixed) => {
    const before = tensorsLike(template, named)
    const { scaling } = before
    const scaled = (loss: Tensor): Tensor => (scaling ? mul(loss, scaling.scale) : loss)
    const lossOf = (p: typeof before.params): readonly [Tensor, Forward] => {
      const mode = { training: true, key: stepKey }
      const { out, state: next } = scope('student', () => net.apply(p.net, before.state, image, mode))
      const ce = crossEntropy(out.logits, label, { ignoreIndex: 255 })
      if (!distillation || !teacher)
        return [scaled(ce), { next, distillation: before.distillation, logs: { loss: ce } }]
      const distilled = distillation.method.loss(
        p.aligners,
        before.distillation,
        out,
        taught ? outputOf(taught) : teacher(fixed, image),
        { label, key: stepKey, step: before.optimiser.step },
      )
      const total = add(ce, distilled.loss)
      const logs = { loss: total, ce, ...distilled.logs }
      return [scaled(total), { next, distillation: distilled.state, logs }]
    }
    const [[, { next, distillation: remembered, logs }], raw] = valueAuxAndGrad(lossOf)(before.params)
    const grads = scaling ? eachOf(raw, g => div(g, scaling.scale)) : raw
    const finite = scaling && allFinite(grads)
    const { params, state: moments } = optimiser.update(grads, before.optimiser, before.params, learningRate)
    const after = { params, state: next, optimiser: moments, distillation: remembered }
    return {
      state: namedTensors({
        ...chosen(finite, after, before),
        scaling: scaling && finite && nextScaling(scaling, finite, undefined, lossScale === 'dynamic'),
      }),
      logs: { ...logs, ...(scaling ? { lossScale: scaling.scale } : {}) },
    }
  }

  const run = inference(net)
  return {
    initial: namedArrays(template),
    step,
    predict: (named, image) => argmax(run(named, image).logits, { axis: 1 }),
  }
}

/** What a teacher said, from its outputs by name (`logits`, `taps.stage4`): those that the method reads. */
const outputOf = (taught: Named<Tensor>): ReturnType<Network['apply']>['out'] =>
  // these were a network's output once
  ({ ...taught, taps: below('taps', taught) }) as unknown as ReturnType<Network['apply']>['out']

/** What a forward pass gives beside the loss. */
interface Forward {
  readonly next: unknown
  /** The distillation's state. */
  readonly distillation: unknown
  readonly logs: Named<Tensor>
}

/** The part of a training state that a network needs to run: its parameters and its running state. */
export const inferenceOf = <L>(state: Named<L>): Named<L> =>
  Object.fromEntries(
    Object.entries(state).filter(([name]) => name.startsWith('params.net.') || name.startsWith('state.')),
  )

/** A network in evaluation mode, as a function of what `inferenceOf` keeps; no gradient reaches it. */
function inference(net: Network) {
  const { params, state } = net.init([0, 0])
  const run = constantTeacher(net)
  return (named: Named<Tensor>, image: Tensor) =>
    run(tensorsLike(params, below('params.net', named)), tensorsLike(state, below('state', named)), image)
}
