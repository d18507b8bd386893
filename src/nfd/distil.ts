/**
 * Distillations as values. In: parts. Out: `Distillation`s, each a pair of pure functions: `init` makes its aligners'
 * parameters, so that they always reach the optimiser, and `loss` compares what student and teacher gave. They add
 * up (`sum`) and scale (`weighted`). Meant to be imported whole: `import * as distil from './distil.ts'`.
 */
import { add, mul, stopGradient } from '../dsl/build.ts'
import { UsageError } from '../dsl/errors.ts'
import { scope, type Tensor } from '../dsl/tensor.ts'
import { foldIn, type Key } from '../dsl/threefry.ts'
import { isTensor } from '../dsl/trace.ts'
import { mapTree } from '../dsl/tree.ts'
import type { Module, Tensors } from '../nn/module.ts'
import type { SegmentationNet, SegmentationOutput } from '../nn/pspnet.ts'

/** What a loss may know of the batch: the labels, i32 [batch, height, width]. */
export type DistillationBatch = {
  readonly label: Tensor
}

/** A loss and what a report shows of it. */
export type Distilled = {
  /** A scalar: what training minimises, weights included. */
  readonly loss: Tensor
  /** Scalars by name, before weights: `nfd`, `nfd/stage4-stage4`. */
  readonly logs: { readonly [name: string]: Tensor }
}

/**
 * A way to distil.
 * @typeParam STaps the student's taps that it reads, @typeParam TTaps the teacher's
 * @typeParam P the parameters of its aligners: a tree of arrays
 */
export interface Distillation<STaps, TTaps, P> {
  readonly init: (key: Key) => P
  /** Pure; called while a step is traced. No gradient reaches the teacher's output. */
  readonly loss: (
    params: Tensors<P>,
    student: SegmentationOutput<STaps>,
    teacher: SegmentationOutput<TTaps>,
    batch: DistillationBatch,
  ) => Distilled
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

/**
 * A distillation whose loss is multiplied by a weight; its logs stay.
 * @throws UsageError if the weight is negative or not finite
 * @example weighted(5, nfd({ student, teacher, taps: [['stage4', 'stage4']] }))
 */
export function weighted<STaps, TTaps, P>(
  weight: number,
  d: Distillation<STaps, TTaps, P>,
): Distillation<STaps, TTaps, P> {
  checkWeight('weighted', weight)
  return {
    init: d.init,
    loss: (...args) => {
      const { loss, logs } = d.loss(...args)
      return { loss: mul(loss, weight), logs }
    },
  }
}

/** @throws UsageError if the weight is negative or not finite */
export function checkWeight(op: string, weight: number): void {
  if (!(weight >= 0 && Number.isFinite(weight)))
    throw new UsageError(`${op}: the weight must be 0 or more, got ${weight}`)
}

/** Any distillation, as a constraint. */
export interface AnyDistillation {
  readonly init: (key: Key) => unknown
  readonly loss: (params: never, student: never, teacher: never, batch: DistillationBatch) => Distilled
}
type TapsOf<O> = O extends SegmentationOutput<infer Taps> ? Taps : never
/** All the taps that the terms read, of the student (0) or of the teacher (1). */
type TapsRead<D, Who extends 0 | 1> = D extends readonly [infer H, ...infer T]
  ? (H extends {
      readonly loss: (params: never, student: infer S, teacher: infer R, batch: never) => Distilled
    }
      ? TapsOf<[S, R][Who]>
      : never) &
      TapsRead<T, Who>
  : unknown
type Params<D> = {
  readonly [I in keyof D]: D[I] extends { readonly init: (key: Key) => infer P } ? P : never
}

/**
 * Several distillations at once: the losses add up, the parameters are a list, the logs are joined (a name that
 * occurs again gets `#2`).
 * @throws UsageError without a term
 * @example distil.sum(nfd({ student, teacher, taps, weight: 5 }), kd({ temperature: 1, weight: 0.5 }))
 */
export function sum<const D extends readonly AnyDistillation[]>(
  ...terms: D
): Distillation<TapsRead<D, 0>, TapsRead<D, 1>, Params<D>> {
  if (terms.length === 0) throw new UsageError('distil.sum: needs at least one distillation')
  // Term i belongs to position i of the list of parameters; the compiler cannot follow positions.
  const list = terms as unknown as readonly Distillation<unknown, unknown, unknown>[]
  return {
    init: key => list.map((d, i) => d.init(foldIn(key, i))) as Params<D>,
    loss: (params, student, teacher, batch) => {
      const values = params as readonly unknown[]
      const parts = list.map((d, i) => d.loss(values[i], student, teacher, batch))
      const logs: Record<string, Tensor> = {}
      for (const [name, value] of parts.flatMap(p => Object.entries(p.logs))) logs[unused(name, logs)] = value
      return { loss: parts.map(p => p.loss).reduce((a, b) => add(a, b)), logs }
    },
  }
}
const unused = (name: string, taken: object): string => {
  let n = 1
  const numbered = () => (n === 1 ? name : `${name}#${n}`)
  while (numbered() in taken) n++
  return numbered()
}

/** What a feature distillation needs to know of a network: its taps, by name, and their channels. */
export interface Tapped<Taps> extends Pick<SegmentationNet<Taps, never, never>, 'name' | 'tapChannels'> {
  readonly apply: (
    params: never,
    state: never,
    x: Tensor,
    mode: { readonly training: boolean },
  ) => { readonly out: SegmentationOutput<Taps> }
}

/** No parameters. */
export type NoParams = Readonly<Record<string, never>>
