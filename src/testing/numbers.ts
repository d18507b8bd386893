/** Lists of host arrays as vectors in f64, and the error that every check throws. */
import { array, type NDArray } from '../dsl/array.ts'
import { type DType, isFloat } from '../dsl/dtype.ts'
import { CotangentError } from '../dsl/errors.ts'
import { range, size, strides } from '../dsl/shape.ts'
import { constant, type Tensor } from '../dsl/tensor.ts'
import { type Key, uniformAt } from '../dsl/threefry.ts'
import { isType } from '../dsl/trace.ts'
import { leaves } from '../dsl/tree.ts'

/** What a check found; the message has both values and where they are. */
export class CheckError extends CotangentError {
  readonly tag = 'CheckError'
}

/** An element of an argument or a result. */
export interface Place {
  /** The path of the array in the tree, such as `0.weights`. */
  readonly path: string
  readonly index: readonly number[]
  readonly got: number
  readonly want: number
}

/** `0.weights[2, 1] is 3, expected 4` */
export const showPlace = (p: Place): string =>
  `${p.path}[${p.index.join(', ')}] is ${p.got}, expected ${p.want}`

const isArray = (x: unknown): x is NDArray => isType(x) && 'data' in x

/** The arrays of a tree, with their paths. */
export const arrayLeaves = (tree: unknown): { readonly path: string; readonly leaf: NDArray }[] =>
  leaves(tree, isArray)

/** Floats in f64; integers and bools as they are. */
export const wide = (a: NDArray): NDArray =>
  isFloat(a.dtype) ? array(a.shape, 'f64', Float64Array.from(a.data)) : a

/** Uniform f32 numbers in [-1, 1], one array per given one; zeros where that holds no floats. */
export const directionLike = (xs: readonly NDArray[], [k0, k1]: Key): NDArray[] =>
  xs.map((x, k) =>
    array(
      x.shape,
      'f64',
      range(x.data.length).map(i => (isFloat(x.dtype) ? Math.fround(2 * uniformAt([k0 + k, k1], i) - 1) : 0)),
    ),
  )

/** An array as a constant of a float dtype. */
export const constantOf = (a: NDArray, dtype: DType): Tensor =>
  constant(a.shape, dtype, dtype === 'f32' ? Float32Array.from(a.data) : Float64Array.from(a.data))

/** x + h v for the floats. */
export const moved = (xs: readonly NDArray[], by: readonly NDArray[], h: number): NDArray[] =>
  xs.map((x, k) =>
    isFloat(x.dtype)
      ? array(
          x.shape,
          'f64',
          Array.from(x.data, (v, i) => v + h * by[k].data[i]),
        )
      : x,
  )

/** The scalar product of two lists, and the sum of its terms' magnitudes: what its rounding is relative to. */
export function product(
  xs: readonly NDArray[],
  ys: readonly NDArray[],
): { readonly value: number; readonly scale: number } {
  let [value, scale] = [0, 0]
  xs.forEach((x, k) => {
    for (let i = 0; i < x.data.length; i++) {
      const term = x.data[i] * ys[k].data[i]
      value += term
      scale += Math.abs(term)
    }
  })
  return { value, scale }
}

/** The largest magnitude among finite values. */
export const magnitude = (a: NDArray): number => {
  let m = 0
  for (const v of a.data) if (Number.isFinite(v)) m = Math.max(m, Math.abs(v))
  return m
}

/** The index of a flat position. */
export const unflatten = (shape: readonly number[], flat: number): number[] =>
  size(shape) === 0 ? [] : strides(shape).map((by, a) => Math.floor(flat / by) % shape[a])
