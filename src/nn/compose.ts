/**
 * Building networks from networks: named children (`compose`) and chains (`sequential`). In: modules. Out: a module
 * whose parameters are the tree of its children's, under the names that checkpoints use. Each child gets its own
 * key for initial values and for dropout, and its running state is passed on, so that a network's body reads
 * `pipe(x, child.conv1, child.bn1, relu)`.
 */

import { foldIn } from '../dsl/ops/random.ts'
import { scope, type Tensor } from '../dsl/tensor.ts'
import { foldIn as foldInKey, type Key } from '../dsl/threefry.ts'
import { type FeatureMap, type Floats, featureMap, floats } from './feature.ts'
import { keyOf } from './mode.ts'
import type { Applied, Mode, Module, Tensors, Variables } from './module.ts'

/** Any module, as a constraint. */
export interface AnyModule {
  readonly init: (key: Key) => Variables<unknown, unknown>
  readonly apply: (
    params: never,
    state: never,
    x: never,
    mode: Mode,
  ) => { readonly out: unknown; readonly state: unknown }
}
/** The tree of arrays of a module's parameters. */
export type ParamsOf<M> = M extends { readonly init: (key: Key) => Variables<infer P, unknown> } ? P : None
/** The tree of arrays of a module's running state. */
export type StateOf<M> = M extends { readonly init: (key: Key) => Variables<unknown, infer S> } ? S : None
/** No parameters, or no state. */
export type None = Record<never, never>

/** A module with its parameters, state and mode in place: a function. */
export type Call<M> = M extends {
  readonly apply: (
    params: never,
    state: never,
    x: infer In,
    mode: Mode,
  ) => { readonly out: infer Out; readonly state: unknown }
}
  ? (x: In) => Out
  : never

type ChildParams<C> = { readonly [K in keyof C]: C[K] extends AnyModule ? ParamsOf<C[K]> : undefined }
type ChildStates<C> = { readonly [K in keyof C]: C[K] extends AnyModule ? StateOf<C[K]> : undefined }
/** The children as functions; one that a configuration leaves out is undefined. */
export type Calls<C> = { readonly [K in keyof C]: C[K] extends AnyModule ? Call<C[K]> : undefined }

/** A module as it is at run time, its trees' types forgotten. */
type Untyped = Module<unknown, unknown, unknown, unknown>
type Tree = Readonly<Record<string, unknown>>

/** The mode of the n-th call inside a module: dropout gets a key of its own, derived only when it is asked for. */
const modeOfCall = (mode: Mode, n: number): Mode => ({
  training: mode.training,
  get key() {
    return mode.key && foldIn(keyOf(mode.key), n)
  },
})

/**
 * A module of named children. `forward` sees each child as a function of tensors; the children's running states
 * are handed on behind the scene (a child that is called twice shares its parameters and sees its new state).
 * @param children  the names become the keys of the trees of parameters and state
 * @param forward   (call, x, mode) => result, pure
 * @example
 * const block = compose({ conv: conv(3, 8, { kernel: 3 }), bn: batchNorm(8) }, (call, x: Tensor) =>
 *   pipe(x, call.conv, call.bn, relu))
 */
export function compose<const C extends { readonly [K in keyof C]: AnyModule | undefined }, In, Out>(
  children: C,
  forward: (call: Calls<C>, x: In, mode: Mode) => Out,
): Module<In, Out, ChildParams<C>, ChildStates<C>> {
  // The trees below hold, under each child's name, what that child made; the compiler cannot follow names.
  const entries = Object.entries(children).filter(([, m]) => m !== undefined) as unknown as (readonly [
    string,
    Untyped,
  ])[]
  return {
    init: key => {
      const made = entries.map(([name, m], i) => [name, m.init(foldInKey(key, i))] as const)
      return {
        params: Object.fromEntries(made.map(([name, v]) => [name, v.params])),
        state: Object.fromEntries(made.map(([name, v]) => [name, v.state])),
      } as unknown as Variables<ChildParams<C>, ChildStates<C>>
    },
    apply: (params, state, x, mode) => {
      const values = params as Tree
      const states: Record<string, unknown> = { ...(state as Tree) }
      let count = 0
      const calls = entries.map(([name, m]) => [
        name,
        (input: unknown) =>
          scope(name, () => {
            const done = m.apply(values[name], states[name], input, modeOfCall(mode, count++))
            states[name] = done.state
            return done.out
          }),
      ])
      const out = forward(Object.fromEntries(calls) as Calls<C>, x, mode)
      return { out, state: states as Tensors<ChildStates<C>> }
    },
  }
}

/** A step of a chain: a module, or a function without parameters such as `relu`. */
export type Step = (AnyModule & { readonly apply: LayerApply }) | ((x: Floats) => Floats)
type LayerApply = (
  params: never,
  state: never,
  x: Tensor,
  mode: Mode,
) => { readonly out: Floats; readonly state: unknown }

type StepParams<M> = { readonly [I in keyof M]: ParamsOf<M[I]> }
type StepStates<M> = { readonly [I in keyof M]: StateOf<M[I]> }
type Last<M> = M extends readonly [...unknown[], infer L] ? L : M extends readonly (infer E)[] ? E : never
type OutOf<M> =
  Last<M> extends { readonly apply: (...args: never) => { readonly out: infer Out extends Floats } }
    ? Out
    : Floats

/**
 * A chain of layers: each gets the result of the one before. Parameters and states are lists, so that names are
 * positions as in PyTorch's `Sequential` (a function takes a position, without parameters).
 * @example sequential(conv(64, 64, { kernel: 3, padding: 1 }), batchNorm(64), relu, conv(64, 11, { kernel: 1 }))
 */
export function sequential<const M extends readonly Step[]>(
  ...steps: M
): Module<Tensor, OutOf<M>, StepParams<M>, StepStates<M>> {
  // As in `compose`: position i of each tree belongs to step i.
  const list = steps as unknown as readonly (Untyped | ((x: Floats) => Floats))[]
  return {
    init: key => {
      const made = list.map((m, i) =>
        typeof m === 'function' ? { params: {}, state: {} } : m.init(foldInKey(key, i)),
      )
      return {
        params: made.map(v => v.params),
        state: made.map(v => v.state),
      } as unknown as Variables<StepParams<M>, StepStates<M>>
    },
    apply: (params, state, x, mode) => {
      const values = params as readonly unknown[]
      const states = [...(state as readonly unknown[])]
      const out = list.reduce<unknown>(
        (y, m, i) =>
          scope(String(i), () => {
            if (typeof m === 'function') return m(floats('sequential', y as Tensor))
            const done = m.apply(values[i], states[i], y, modeOfCall(mode, i))
            states[i] = done.state
            return done.out
          }),
        x,
      )
      return { out, state: states } as unknown as Applied<OutOf<M>, StepStates<M>>
    },
  }
}

/**
 * A module that reads one of several named tensors; its parameters keep their names.
 * @example onTap('stage3', fcnHead(1024, 21)) // from a backbone's features
 */
export const onTap = <K extends string, In, Out, P, S>(
  tap: K,
  { init, apply }: Module<In, Out, P, S>,
): Module<{ readonly [N in K]: In }, Out, P, S> => ({
  init,
  apply: (params, state, x, mode) => apply(params, state, x[tap], mode),
})

/**
 * A module and then a function of its result; its parameters keep their names.
 * @example followedBy(chain(layers), all => ({ first: all[0], last: all[5] }))
 */
export const followedBy = <In, A, B, P, S>(
  { init, apply }: Module<In, A, P, S>,
  f: (out: A) => B,
): Module<In, B, P, S> => ({
  init,
  apply: (...args) => {
    const { out, state } = apply(...args)
    return { out: f(out), state }
  },
})

/**
 * A chain that gives the result of every layer, for networks that are tapped along the way. Names are positions.
 * @example chain([stem, block1, block2]) // x to [stem(x), block1(stem(x)), ...]
 */
export const chain = <const M extends Step & AnyModule>(layers: readonly M[]) =>
  compose(Object.fromEntries(layers.map((m, i) => [i, m])), (call, x: Tensor): readonly FeatureMap[] => {
    const all: FeatureMap[] = []
    for (const i of layers.keys()) {
      // a layer's result as `Step` has it; the compiler does not look through a union of layers
      const layer = call[i] as (x: Tensor) => Floats
      all.push(featureMap('chain', layer(all[i - 1] ?? x)))
    }
    return all
  })

/** A layer on feature maps. */
export type Layer<P, S = None> = Module<Tensor, FeatureMap, P, S>
