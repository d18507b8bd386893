/**
 * Changes of distillations, to stand in a `pipe`: schedules, masks, weights, balance, stages. In: a distillation.
 * Out: one of the same parameters and state.
 */
import { pipe } from 'fp-ts/lib/function.js'
import { grad } from '../autodiff/grad.ts'
import { add, div, eq, less, map, mul, reshape, select, stopGradient, sum as total } from '../dsl/build.ts'
import { UsageError } from '../dsl/errors.ts'
import { logicalAnd, notEqual } from '../dsl/ops/elementwise.ts'
import { scope, type Tensor } from '../dsl/tensor.ts'
import { isTensor } from '../dsl/trace.ts'
import { fillTree, leaves } from '../dsl/tree.ts'
import { type Floats, featureMap, floats } from '../nn/feature.ts'
import type { SegmentationOutput } from '../nn/segmentation.ts'
import {
  type AnyDistillation,
  type Change,
  type Context,
  type Distillation,
  type ListOf,
  sum,
  type TapsRead,
} from './distil.ts'
import type { Mask } from './normalise.ts'
import { type Factor, factorAt, startAt, stopAt } from './schedule.ts'

/**
 * Multiplies the loss by factors of the step. While the product is 0 the state stays as it is.
 * @example pipe(kd(), scheduled(warmUp(1000), stopAt(30000)))
 */
export const scheduled =
  (...factors: readonly Factor[]): Change =>
  d => ({
    init: d.init,
    loss: (params, state, student, teacher, context) => {
      const out = d.loss(params, state, student, teacher, context)
      const factor = factorAt(factors, context.step, out.loss)
      const off = eq(factor, 0)
      const before = leaves(state, isTensor).map(l => l.leaf)
      const after = leaves(out.state, isTensor).map(l => l.leaf)
      const kept = after.map((x, i) => select(off, before[i], x))
      return {
        ...out,
        loss: floats('scheduled', select(off, 0, mul(out.loss, factor))),
        // each leaf is replaced by one of its type
        state: fillTree(out.state, isTensor, kept) as typeof out.state,
      }
    },
  })

/** The same distillation with another context. */
const within =
  (
    change: (
      context: Context,
      student: SegmentationOutput<unknown>,
      teacher: SegmentationOutput<unknown>,
    ) => Context,
  ): Change =>
  d => ({
    init: d.init,
    loss: (params, state, student, teacher, context) =>
      d.loss(params, state, student, teacher, change(context, student, teacher)),
  })

/**
 * Leaves pixels of the label `ignoreIndex` (255: ignored pixels and padding) out of statistics and means. At a
 * feature's size a pixel has the label of its nearest neighbour. Masks add up: a pixel counts where all say so.
 * @example pipe(nfd({ student, teacher, taps }), masked())
 */
export const masked = ({ ignoreIndex = 255 }: { readonly ignoreIndex?: number } = {}): Change =>
  maskedBy(({ label }) => reshape(notEqual(label, ignoreIndex), [label.shape[0], 1, ...label.shape.slice(1)]))

/**
 * Leaves out the pixels where a function of the context and of the outputs is false.
 * @param which  bool [batch or 1, 1, height, width]
 * @example pipe(kd(), maskedBy((_, __, teacher) => isConfident(teacher.logits)))
 */
export const maskedBy = (
  which: (
    context: Context,
    student: SegmentationOutput<unknown>,
    teacher: SegmentationOutput<unknown>,
  ) => Tensor,
): Change =>
  within((context, student, teacher) => {
    const mask = maskOf(which(context, student, teacher))
    return { ...context, mask: context.mask ? maskOf(logicalAnd(context.mask, mask)) : mask }
  })

const isMask = (x: Tensor): x is Mask => x.dtype === 'bool' && x.shape.length === 4 && x.shape[1] === 1
function maskOf(x: Tensor): Mask {
  if (isMask(x)) return x
  throw new UsageError(`maskedBy: a mask is bool [batch or 1, 1, height, width], got ${x}`)
}

/**
 * Multiplies the errors of samples or pixels by weights; those of several add up as products. No gradient flows to
 * them.
 * @param weigh  floats [batch or 1, 1, height or 1, width or 1]
 * @throws ShapeError while tracing, if a method compares as a whole what has weights of its own
 * @example pipe(kd(), weightedBy((_, __, teacher) => teacherConfidence(teacher.logits)))
 */
export const weightedBy = (
  weigh: (
    context: Context,
    student: SegmentationOutput<unknown>,
    teacher: SegmentationOutput<unknown>,
  ) => Tensor,
): Change =>
  within((context, student, teacher) => {
    const weights: Floats = featureMap('weightedBy', stopGradient(weigh(context, student, teacher)))
    return {
      ...context,
      weights: context.weights ? floats('weightedBy', mul(context.weights, weights)) : weights,
    }
  })

/**
 * Divides the loss by the norm of its gradient with respect to the student's output (taps and logits), which counts
 * as constant: terms of wildly different scale then pull equally hard. A loss whose gradient is 0 stays.
 * @example distil.sum(pipe(fitnet({ student, teacher, taps }), balanced), pipe(kd(), balanced, weighted(0.5)))
 */
export const balanced: Change = <STaps, TTaps, P, S>(d: Distillation<STaps, TTaps, P, S>) => ({
  init: d.init,
  loss: (...args: Parameters<typeof d.loss>) =>
    scope('balanced', () => {
      const [params, state, student, teacher, context] = args
      const out = d.loss(...args)
      const g = grad((s: typeof student) => d.loss(params, state, s, teacher, context).loss)(student)
      const squares = leaves(g, isTensor).map(({ leaf }) => total(mul(leaf, leaf)))
      const norm = stopGradient(
        map(
          'sqrt',
          squares.reduce((a, b) => add(a, b)),
        ),
      )
      return { ...out, loss: floats('balanced', div(out.loss, select(less(0, norm), norm, 1))) }
    }),
})

/** The parts of a list of stages: [first step, distillation]. */
type Terms<St extends readonly (readonly [number, AnyDistillation])[]> = {
  readonly [I in keyof St]: St[I][1]
}

/**
 * One distillation after another: each from its first step to that of the next.
 * @throws UsageError if the steps do not ascend
 * @example staged([0, fitnet({ student, teacher, taps })], [10000, kd()])
 */
export function staged<const St extends readonly (readonly [number, AnyDistillation])[]>(
  ...stages: St
): Distillation<
  TapsRead<Terms<St>, 0>,
  TapsRead<Terms<St>, 1>,
  ListOf<Terms<St>, 'params'>,
  ListOf<Terms<St>, 'state'>
> {
  const starts = stages.map(([start]) => start)
  if (starts.some((s, i) => i > 0 && !(s > starts[i - 1])))
    throw new UsageError(`staged: the first steps must ascend, got ${starts.join(', ')}`)
  const parts = stages.map(([start, d], i) => {
    const next = starts[i + 1]
    // `sum` gives each part its own parameters, whatever their type
    const part = d as unknown as Distillation<unknown, unknown, unknown, unknown>
    return pipe(
      part,
      next === undefined ? scheduled(startAt(start)) : scheduled(startAt(start), stopAt(next)),
    )
  })
  // the parts in their order, with the parameters, states and taps of the stages
  return sum(...parts) as unknown as ReturnType<typeof staged<St>>
}
