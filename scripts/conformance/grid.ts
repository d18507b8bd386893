/**
 * Arrays of plain numbers for the conformance cases: made index by index, in f64, from a seeded generator. Nothing
 * here or beside it imports Cotangent, so that the cases are an oracle of their own.
 */

/** A dense array, row-major; without a dtype it holds floats. */
export interface Grid {
  readonly shape: readonly number[]
  readonly data: readonly number[]
  readonly dtype?: 'int64' | 'bool'
}
export type Index = readonly number[]

/** Every index of a shape, in row-major order. */
export function* indices(shape: readonly number[]): Generator<Index> {
  const n = shape.reduce((a, b) => a * b, 1)
  for (let flat = 0; flat < n; flat++) {
    let rest = flat
    const index = shape.map(() => 0)
    for (let a = shape.length - 1; a >= 0; a--) {
      index[a] = rest % shape[a]
      rest = Math.floor(rest / shape[a])
    }
    yield index
  }
}

/** y[i] = f(i) @example grid([2, 3], ([i, j]) => 10 * i + j) */
export const grid = (shape: readonly number[], f: (i: Index) => number): Grid => ({
  shape,
  data: [...indices(shape)].map(f),
})

/** x[i], an index of x's rank; NaN outside. */
export const at = (x: Grid, i: Index): number => {
  let flat = 0
  for (let a = 0; a < x.shape.length; a++) {
    if (i[a] < 0 || i[a] >= x.shape[a]) return Number.NaN
    flat = flat * x.shape[a] + i[a]
  }
  return x.data[flat]
}
/** x[i], or `otherwise` outside. */
export const padded = (x: Grid, i: Index, otherwise = 0): number =>
  i.every((v, a) => v >= 0 && v < x.shape[a]) ? at(x, i) : otherwise

/** The index with position `axis` replaced. */
export const put = (i: Index, axis: number, v: number): Index => i.map((x, a) => (a === axis ? v : x))
/** An axis counted from the front. */
export const front = (axis: number, x: Grid): number => (axis < 0 ? axis + x.shape.length : axis)

/** Sum of f over 0 ... n - 1. */
export function total(n: number, f: (k: number) => number): number {
  let sum = 0
  for (let k = 0; k < n; k++) sum += f(k)
  return sum
}

/** The seed of every value. */
export const seed = 20240611
let state = seed
/** Uniform in [0, 1): Mulberry32. */
export function random(): number {
  state = (state + 0x6d2b79f5) >>> 0
  let t = Math.imul(state ^ (state >>> 15), state | 1)
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
}

/** Floats in [low, high], with three decimals so that the file stays small. */
export const floats = (shape: readonly number[], low = -2, high = 2): Grid =>
  grid(shape, () => Number((low + (high - low) * random()).toFixed(3)))
/** Integers in [0, below). */
export const ints = (shape: readonly number[], below: number): Grid => ({
  ...grid(shape, () => Math.floor(random() * below)),
  dtype: 'int64',
})
/** Given numbers. */
export const given = (shape: readonly number[], data: readonly number[], dtype?: Grid['dtype']): Grid => ({
  shape,
  data,
  ...(dtype ? { dtype } : {}),
})
/** Coin tosses. */
export const bools = (shape: readonly number[]): Grid => ({
  ...grid(shape, () => Number(random() < 0.5)),
  dtype: 'bool',
})
/** Floats that lie at least 0.05 apart, in random order: no ties within reach of a small step. */
export function spaced(shape: readonly number[]): Grid {
  const g = grid(shape, () => 0)
  const order = g.data.map((_, i) => i)
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    ;[order[i], order[j]] = [order[j], order[i]]
  }
  return {
    shape,
    data: order.map(k => Number(((k - order.length / 2) * 0.07 + 0.02 * random()).toFixed(3))),
  }
}
