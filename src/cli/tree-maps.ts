/** Trees of tensors, leaf by leaf. In: trees of one form. Out: a tree of that form. Below the training steps. */
import { map, select } from '../dsl/build.ts'
import type { Tensor } from '../dsl/tensor.ts'
import { isTensor } from '../dsl/trace.ts'
import { leaves, mapTree } from '../dsl/tree.ts'

// Trees keep their form: each leaf is replaced by one of its own type.

/** A function of every leaf. @example eachOf(grads, g => div(g, scale)) */
export const eachOf = <T>(tree: T, f: (x: Tensor) => Tensor): T => mapTree(tree, isTensor, f) as T

/** A function of every leaf and the one of the same name in another tree, where there is one. @example eachPair(sums, grads, add) */
export const eachPair = <T>(a: T, b: unknown, f: (x: Tensor, y: Tensor) => Tensor): T => {
  const other = new Map(leaves(b, isTensor).map(l => [l.path, l.leaf]))
  return mapTree(a, isTensor, (x, path) => {
    const y = other.get(path)
    return y ? f(x, y) : x
  }) as T
}

/** `yes` where the condition (a scalar) holds, else `no`; without a condition `yes`. @example chosen(finite, after, before) */
export const chosen = <T>(condition: Tensor | undefined, yes: T, no: unknown): T =>
  condition ? eachPair(yes, no, (x, y) => select(condition, x, y)) : yes

/** Both of two conditions, of which either may be absent. @example both(finite, ends) */
export const both = (a: Tensor | undefined, b: Tensor | undefined): Tensor | undefined =>
  a && b ? map('and', a, b) : (a ?? b)
