/** Trees of arrays in tests: in f64, as flat vectors, and functions of them on the reference backend. */
import { jit } from '../../src/backend/compile.ts'
import { referenceBackend } from '../../src/backend/cpu/reference-backend.ts'
import { array, type NDArray } from '../../src/dsl/array.ts'
import { isType } from '../../src/dsl/trace.ts'
import { leaves, mapTree } from '../../src/dsl/tree.ts'
import { normal } from '../../src/nn/init.ts'

const isArray = (x: unknown): x is NDArray => isType(x) && 'data' in x

/** The arrays of a tree, in order, with their paths. */
export const arraysOf = (tree: unknown) => leaves(tree, isArray)
/** The number of values in a tree. */
export const countOf = (tree: unknown): number => arraysOf(tree).reduce((n, l) => n + l.leaf.data.length, 0)

/** The tree with each array replaced by one of its shape. */
export const mapArrays = <T>(tree: T, f: (a: NDArray, path: string) => NDArray): T =>
  mapTree(tree, isArray, f) as T

/** The tree with its floats as f64. */
export const wide = <T>(tree: T): T =>
  mapArrays(tree, a => (a.dtype === 'f32' ? array(a.shape, 'f64', Array.from(a.data)) : a))

/** The tree plus h times a direction of its form. */
export const moved = <T>(tree: T, direction: T, h: number): T => {
  const along = arraysOf(direction).map(l => l.leaf)
  let i = 0
  return mapArrays(tree, a => {
    const d = along[i++]
    return array(
      a.shape,
      a.dtype,
      Array.from(a.data, (v, j) => v + h * d.data[j]),
    )
  })
}

/** The scalar product of two trees of one form. */
export const innerProduct = (x: unknown, y: unknown): number => {
  const b = arraysOf(y).map(l => l.leaf)
  return arraysOf(x).reduce(
    (s, { leaf }, i) =>
      s + Array.from(leaf.data).reduce<number>((t, v, j) => t + Number(v) * b[i].data[j], 0),
    0,
  )
}

/** Normal values in f64. */
export const normals = (seed: number, shape: readonly number[], std = 1): NDArray =>
  normal([seed, 77], shape, { std, dtype: 'f64' })

/** A function of tensors as a function of arrays, on the reference backend. */
export const onReference = <A extends readonly unknown[], R>(fn: (...args: A) => R) =>
  jit(fn, referenceBackend())
