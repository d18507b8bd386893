/** Trees of parameters: nested readonly objects and arrays whose leaves are tensors (or arrays, or types). */
import { CompileError } from './errors.ts'

/**
 * Replaces the leaves’ type. Interfaces (which have no index signature) stay as they are: make trees of type aliases.
 */
export type MapTree<T, From, To> = T extends From
  ? To
  : T extends readonly unknown[] | { readonly [k: string]: unknown }
    ? { readonly [K in keyof T]: MapTree<T[K], From, To> }
    : T

type IsLeaf<L> = (x: unknown) => x is L

const isPlain = (x: unknown): x is Record<string, unknown> =>
  typeof x === 'object' && x !== null && Object.getPrototypeOf(x) === Object.prototype

/**
 * The leaves in a fixed order (keys in their own order), each with its dotted path.
 * @throws CompileError at a value that is neither a leaf, a plain object, an array nor a static (number, string, boolean, null, undefined, function)
 */
export function leaves<L>(
  tree: unknown,
  isLeaf: IsLeaf<L>,
  path = '',
): { readonly path: string; readonly leaf: L }[] {
  if (isLeaf(tree)) return [{ path, leaf: tree }]
  const join = (k: string) => (path ? `${path}.${k}` : k)
  if (Array.isArray(tree)) return tree.flatMap((t, i) => leaves(t, isLeaf, join(String(i))))
  if (isPlain(tree)) return Object.keys(tree).flatMap(k => leaves(tree[k], isLeaf, join(k)))
  if (typeof tree === 'object' && tree !== null)
    throw new CompileError(
      `a tree may hold tensors, arrays and plain objects; at '${path}' it holds ${tree.constructor?.name}`,
    )
  return []
}

/** The tree with each leaf replaced; other values stay. `f` gets the dotted path too. */
export function mapTree<L>(
  tree: unknown,
  isLeaf: IsLeaf<L>,
  f: (leaf: L, path: string) => unknown,
  path = '',
): unknown {
  if (isLeaf(tree)) return f(tree, path)
  const join = (k: string) => (path ? `${path}.${k}` : k)
  if (Array.isArray(tree)) return tree.map((t, i) => mapTree(t, isLeaf, f, join(String(i))))
  if (isPlain(tree))
    return Object.fromEntries(Object.keys(tree).map(k => [k, mapTree(tree[k], isLeaf, f, join(k))]))
  return tree
}

/** The tree with its leaves replaced, in order, from a list. */
export function fillTree<L>(tree: unknown, isLeaf: IsLeaf<L>, values: readonly unknown[]): unknown {
  let i = 0
  return mapTree(tree, isLeaf, () => values[i++])
}
