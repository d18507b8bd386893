/**
 * A student's whole training step. In: two networks, a distillation, an optimiser. Out: a pair of pure functions:
 * the state before the first step, and the step, to be compiled once. Task loss and distillation add up; one
 * optimiser has the student's parameters and the aligners'.
 */
import { valueAuxAndGrad } from '../autodiff/grad.ts'
import { add } from '../dsl/build.ts'
import { crossEntropy } from '../dsl/ops/loss.ts'
import type { Shape } from '../dsl/shape.ts'
import { scope, type Tensor } from '../dsl/tensor.ts'
import { type Key, split } from '../dsl/threefry.ts'
import { type Floats, floats } from '../nn/feature.ts'
import type { Module, Tensors } from '../nn/module.ts'
import type { Optimiser, OptimiserState } from '../nn/optim.ts'
import type { SegmentationOutput } from '../nn/segmentation.ts'
import { constantTeacher, type Distillation } from './distil.ts'

/** What changes from step to step besides the state. */
export type LearningInput = {
  /** [n, 3, h, w] */
  readonly image: Tensor
  /** [n, h, w] */
  readonly label: Tensor<Shape, 'i32'>
  /** A scalar: the learning rate. */
  readonly rate: Tensor
  /** u32[2]: dropout, and what the distillation draws. */
  readonly key: Tensor
}

/** A training state of arrays: N the student's parameters, S its running state, P and M the distillation's. */
export type LearningState<N, S, P, M> = {
  readonly params: { readonly net: N; readonly aligners: P }
  readonly running: S
  readonly memory: M
  readonly optimiser: OptimiserState<{ readonly net: N; readonly aligners: P }>
}
/** The same, traced. */
export type TracedState<N, S, P, M> = {
  readonly params: { readonly net: Tensors<N>; readonly aligners: Tensors<P> }
  readonly running: Tensors<S>
  readonly memory: Tensors<M>
  readonly optimiser: {
    readonly step: Tensor
    readonly moments: readonly { readonly net: Tensors<N>; readonly aligners: Tensors<P> }[]
  }
}

/** What learns from what. */
export interface Learning<STaps, TTaps, N, S, TN, TS, P, M> {
  readonly student: Module<Tensor, SegmentationOutput<STaps>, N, S>
  readonly teacher: Pick<Module<Tensor, SegmentationOutput<TTaps>, TN, TS>, 'apply'>
  readonly distillation: Distillation<STaps, TTaps, P, M>
  readonly optimiser: Optimiser
  /** The loss of the labels: cross-entropy without the pixels of label 255. */
  readonly task?: (logits: Floats, label: Tensor<Shape, 'i32'>) => Tensor
}

/**
 * The training step task(student, label) + distillation(student, teacher) as a pure function.
 * @returns `init(key)`, the state before the first step (its parameters may be replaced by weights from a file), and
 *   `step(state, input, taught)`, which gives the new state and the logs: `loss`, `task` and those of the distillation
 * @example const { init, step } = learning({ student, teacher, distillation, optimiser: sgd({ momentum: 0.9 }) })
 */
export function learning<STaps, TTaps, N, S, TN, TS, P, M>({
  student,
  teacher,
  distillation,
  optimiser,
  task = (logits, label) => crossEntropy(logits, label),
}: Learning<STaps, TTaps, N, S, TN, TS, P, M>) {
  const teach = constantTeacher(teacher)
  return {
    init: (key: Key): LearningState<N, S, P, M> => {
      const [netKey, alignerKey] = split(key)
      const net = student.init(netKey)
      const own = distillation.init(alignerKey)
      const params = { net: net.params, aligners: own.params }
      return { params, running: net.state, memory: own.state, optimiser: optimiser.init(params) }
    },
    step: (
      state: TracedState<N, S, P, M>,
      { image, label, rate, key }: LearningInput,
      taught: { readonly params: Tensors<TN>; readonly state: Tensors<TS> },
    ): { readonly state: TracedState<N, S, P, M>; readonly logs: { readonly [name: string]: Tensor } } => {
      const target = teach(taught.params, taught.state, image)
      const lossOf = (p: typeof state.params) => {
        const mode = { training: true, key }
        const { out, state: running } = scope('student', () =>
          student.apply(p.net, state.running, image, mode),
        )
        const labels = task(out.logits, label)
        const context = { label, key, step: state.optimiser.step }
        const d = distillation.loss(p.aligners, state.memory, out, target, context)
        const loss = floats('learning', add(labels, d.loss))
        return [loss, { running, memory: d.state, logs: { loss, task: labels, ...d.logs } }] as const
      }
      const [[, { running, memory, logs }], grads] = valueAuxAndGrad(lossOf)(state.params)
      const after = optimiser.update(grads, state.optimiser, state.params, rate)
      return { state: { params: after.params, running, memory, optimiser: after.state }, logs }
    },
  }
}
