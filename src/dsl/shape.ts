/** Shapes: readonly lists of extents. A leaf module; no operation lives here. */

/** The extents of a tensor, outermost first; `[]` is a scalar. */
export type Shape = readonly number[]

/** The number of elements. */
export const size = (s: Shape): number => {
  let n = 1
  for (const d of s) n *= d
  return n
}

/** Row-major strides, in elements. `strides([2, 3, 4])` is `[12, 4, 1]`. */
export const strides = (s: Shape): number[] => {
  const out = new Array<number>(s.length)
  let n = 1
  for (let i = s.length - 1; i >= 0; i--) {
    out[i] = n
    n *= s[i]
  }
  return out
}

export const sameShape = (a: Shape, b: Shape): boolean =>
  a.length === b.length && a.every((d, i) => d === b[i])

/** `f32[8, 3, 64, 64]` */
export const showType = (t: { readonly dtype: string; readonly shape: Shape }): string =>
  `${t.dtype}[${t.shape.join(', ')}]`

/** Integers from 0 to n - 1. */
export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)
