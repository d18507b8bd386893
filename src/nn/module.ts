/**
 * Networks as values. A module is plain data and two pure functions: `init` makes its parameters and its running
 * state from a key, `apply` maps tensors to tensors and gives the state back as a value. Nothing is registered,
 * nothing is mutated; composing modules is composing functions.
 */
import type { NDArray } from '../dsl/array.ts'
import type { Tensor } from '../dsl/tensor.ts'
import type { Key } from '../dsl/threefry.ts'
import type { MapTree } from '../dsl/tree.ts'

/** A tree of host arrays as the tree of tensors that a traced function sees. */
export type Tensors<T> = MapTree<T, NDArray, Tensor>

/** How a module runs: `training` uses batch statistics and dropout, whose masks come from `key` (u32[2]). */
export interface Mode {
  readonly training: boolean
  readonly key?: Tensor
}

/** What `init` gives: trees of host arrays. Gradients are taken with respect to `params` only. */
export interface Variables<P, S> {
  readonly params: P
  readonly state: S
}

/** What `apply` gives: the result and the new running state (the old one where not training). */
export interface Applied<Out, S> {
  readonly out: Out
  readonly state: Tensors<S>
}

/**
 * @typeParam In the argument, @typeParam Out the result: tensors, or trees of them (named taps)
 * @typeParam P the parameters, @typeParam S the running state: trees of host arrays
 */
export interface Module<In, Out, P, S> {
  readonly init: (key: Key) => Variables<P, S>
  readonly apply: (params: Tensors<P>, state: Tensors<S>, x: In, mode: Mode) => Applied<Out, S>
}
