/**
 * Distillations as values. In: parts. Out: `Distillation`s, each a pair of pure functions: `init` makes its aligners'
 * parameters, so that they always reach the optimiser, and its state; `loss` compares what student and teacher gave.
 * They add up (`sum`), scale (`weighted`) and change (`combine.ts`). Meant to be imported whole:
 * `import * as distil from './distil.ts'`.
 */
import { add, mul, stopGradient } from '../dsl/build.ts'
import { UsageError } from '../dsl/errors.ts'
import { scope, type Tensor } from '../dsl/tensor.ts'
import { foldIn, type Key } from '../dsl/threefry.ts'
import { isTensor } from '../dsl/trace.ts'
import { mapTree } from '../dsl/tree.ts'
import { type Floats, floats } from '../nn/feature.ts'
import type { Module, Tensors, Variables } from '../nn/module.ts'
import type { SegmentationOutput } from '../nn/segmentation.ts'
import type { Mask } from './normalise.ts'

/** What a loss may know beside the networks' outputs: the batch, the step's randomness, the step. */
export type Context = {
  /** i32 [batch, height, width] */
  readonly label: Tensor
  /** u32[2] */
  readonly key: Tensor
  /** A scalar, i32 or f32: the steps done, from 0. */
  readonly step: Tensor
  /** Which pixels count, bool [batch or 1, 1, height, width]: all. The combinator `masked` sets it. */
  readonly mask?: Mask
  /** What the errors are multiplied by, [batch or 1, 1, height or 1, width or 1]: 1. `weightedBy` sets it. */
  readonly weights?: Floats
}

/** A loss and what a report shows of it. */
export type Distilled<S> = {
  /** A scalar: what training minimises, weights included. */
  readonly loss: Floats
  /** Scalars by name, before weights: `nfd`, `nfd/stage4-stage4`. */
  readonly logs: { readonly [name: string]: Tensor }
  /** The state after this step, in the form of the one before. */
  readonly state: Tensors<S>
}

/** No parameters, or no state. */
export type None = Readonly<Record<string, never>>

/**
 * A way to distil.
 * @typeParam STaps the student's taps that it reads, @typeParam TTaps the teacher's
 * @typeParam P the parameters of its aligners, @typeParam S its state (a memory): trees of arrays, most often empty
 */
export interface Distillation<STaps, TTaps, P, S = None> {
  readonly init: (key: Key) => Variables<P, S>
  /** Pure; called while a step is traced. No gradient reaches the teacher's output. */
  readonly loss: (
    params: Tensors<P>,
    state: Tensors<S>,
    student: SegmentationOutput<STaps>,
    teacher: SegmentationOutput<TTaps>,
    context: Context,
  ) => Distilled<S>
}

/**
 * The teacher as a function, in evaluation mode and under stopGradient by construction: no dropout, no moving
 * statistics, no gradient to its parameters or through them.
 * @example const teach = constantTeacher(net); const out = teach(params, state, image)
 */
export const constantTeacher =
  <Out, P, S>(net: Pick<Module<Tensor, Out, P, S>, 'apply'>) =>
  (params: Tensors<P>, state: Tensors<S>, x: Tensor): Out =>
    scope('teacher', () =>
      // stopGradient keeps every leaf's type, so the tree keeps its own
      mapTree(net.apply(params, state, x, { training: false }).out, isTensor, stopGradient),
    ) as Out

/** A distillation as it is changed into another of its own type: what stands in a `pipe`. */
export type Change = <STaps, TTaps, P, S>(
  d: Distillation<STaps, TTaps, P, S>,
) => Distillation<STaps, TTaps, P, S>

/**
 * Multiplies the loss by a weight; the logs stay.
 * @throws UsageError if the weight is negative or not finite
 * @example pipe(nfd({ student, teacher, taps: [['stage4', 'stage4']] }), weighted(5))
 */
export function weighted(weight: number): Change {
  checkWeight('weighted', weight)
  return d => ({
    init: d.init,
    loss: (...args) => {
      const out = d.loss(...args)
      return { ...out, loss: floats('weighted', mul(out.loss, weight)) }
    },
  })
}

/** @throws UsageError if the weight is negative or not finite */
export function checkWeight(op: string, weight: number): void {
  if (!(weight >= 0 && Number.isFinite(weight)))
    throw new UsageError(`${op}: the weight must be 0 or more, got ${weight}`)
}

/** Any distillation, as a constraint. */
export interface AnyDistillation {
  readonly init: (key: Key) => Variables<unknown, unknown>
  readonly loss: (
    params: never,
    state: never,
    student: never,
    teacher: never,
    context: Context,
  ) => { readonly loss: Floats; readonly logs: Distilled<None>['logs']; readonly state: unknown }
}
type TapsOf<O> = O extends SegmentationOutput<infer Taps> ? Taps : never
/** All the taps that the terms read, of the student (0) or of the teacher (1). */
export type TapsRead<D, Who extends 0 | 1> = D extends readonly [infer H, ...infer T]
  ? (H extends {
      readonly loss: (
        params: never,
        state: never,
        student: infer S,
        teacher: infer R,
        context: never,
      ) => unknown
    }
      ? TapsOf<[S, R][Who]>
      : never) &
      TapsRead<T, Who>
  : unknown
/** The parameters, or the states, of a list of distillations: a list. */
export type ListOf<D, What extends 'params' | 'state'> = {
  readonly [I in keyof D]: D[I] extends {
    readonly init: (key: Key) => infer V extends Variables<unknown, unknown>
  }
    ? V[What]
    : never
}

/**
 * Several distillations at once: the losses add up, parameters and states are lists, the logs are joined (a name that
 * occurs again gets `#2`).
 * @throws UsageError without a term
 * @example distil.sum(nfd({ student, teacher, taps, weight: 5 }), kd({ temperature: 1, weight: 0.5 }))
 */
export function sum<const D extends readonly AnyDistillation[]>(
  ...terms: D
): Distillation<TapsRead<D, 0>, TapsRead<D, 1>, ListOf<D, 'params'>, ListOf<D, 'state'>> {
  if (terms.length === 0) throw new UsageError('distil.sum: needs at least one distillation')
  // Term i belongs to position i of the lists of parameters and states; the compiler cannot follow positions.
  const list = terms as unknown as readonly Distillation<unknown, unknown, unknown, unknown>[]
  return {
    init: key => {
      const made = list.map((d, i) => d.init(foldIn(key, i)))
      return { params: made.map(v => v.params), state: made.map(v => v.state) } as unknown as Variables<
        ListOf<D, 'params'>,
        ListOf<D, 'state'>
      >
    },
    loss: (params, state, student, teacher, context) => {
      const [values, states] = [params as readonly unknown[], state as readonly unknown[]]
      const parts = list.map((d, i) => d.loss(values[i], states[i], student, teacher, context))
      const logs: Record<string, Tensor> = {}
      for (const [name, value] of parts.flatMap(p => Object.entries(p.logs))) logs[unused(name, logs)] = value
      const loss = parts.map((p): Tensor => p.loss).reduce((a, b) => add(a, b))
      return {
        loss: floats('sum', loss),
        logs,
        state: parts.map(p => p.state) as unknown as Tensors<ListOf<D, 'state'>>,
      }
    },
  }
}
const unused = (name: string, taken: object): string => {
  let n = 1
  const numbered = () => (n === 1 ? name : `${name}#${n}`)
  while (numbered() in taken) n++
  return numbered()
}
