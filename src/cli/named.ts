/**
 * Trees as flat records. In: a tree of parameters and running state. Out: its leaves by dotted name, which is
 * what the training loop carries and what a checkpoint holds; and back onto the tree's form.
 */
import type { Argument, Backend, Resident } from '../backend/backend.ts'
import { compile, isArgument, unwrap } from '../backend/compile.ts'
import type { NDArray } from '../dsl/array.ts'
import { size } from '../dsl/shape.ts'
import type { Tensor } from '../dsl/tensor.ts'
import { isTensor } from '../dsl/trace.ts'
import { leaves, type MapTree, mapTree } from '../dsl/tree.ts'

/** Leaves by dotted name, such as `params.student.stem.weight`. */
export interface Named<L> {
  readonly [name: string]: L
}

const isArray = (x: unknown): x is NDArray => isArgument(x) && 'data' in x

/**
 * The arrays of a tree by name.
 * @example namedArrays({ params: { w } }) // { 'params.w': w }
 */
export const namedArrays = (tree: unknown): Named<NDArray> => {
  return Object.fromEntries(leaves(tree, isArray).map(({ path, leaf }) => [path, leaf]))
}

/**
 * The tensors of a tree by name.
 * @example namedTensors({ params: { w } }) // { 'params.w': w }
 */
export const namedTensors = (tree: unknown): Named<Tensor> =>
  Object.fromEntries(leaves(tree, isTensor).map(({ path, leaf }) => [path, leaf]))

/**
 * A tree of tensors in the form of `template`, a tree of arrays, from tensors by name.
 * @example tensorsLike({ params: { w } }, { 'params.w': tensor }).params.w
 */
export const tensorsLike = <T>(template: T, named: Named<Tensor>): MapTree<T, NDArray, Tensor> => {
  // The form is the template's; only the leaves change.
  return mapTree(template, isArray, (_, path) => named[path]) as MapTree<T, NDArray, Tensor>
}

/**
 * The entries below a prefix, without it.
 * @example below('params', { 'params.w': w, 'state.m': m }) // { w }
 */
export const below = <L>(prefix: string, named: Named<L>): Named<L> =>
  Object.fromEntries(
    Object.entries(named)
      .filter(([name]) => name.startsWith(`${prefix}.`))
      .map(([name, leaf]) => [name.slice(prefix.length + 1), leaf]),
  )

/** The number of numbers in a tree of arrays: a network's parameter count. */
export const countElements = (tree: unknown): number =>
  Object.values(namedArrays(tree)).reduce((n, a) => n + size(a.shape), 0)

/**
 * Copies arrays to a backend's device, where they stay.
 * @throws what compiling and running throw
 */
export async function upload(arrays: Named<NDArray>, backend: Backend): Promise<Named<Resident>> {
  if (Object.keys(arrays).length === 0) return {}
  const copy = await unwrap(compile((x: Named<Tensor>) => x, [arrays], backend))
  return copy.resident([arrays as Named<Argument>])
}
