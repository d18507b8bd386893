/**
 * How far results may lie from those of the f64 reference. Rounding of f32 moves a result by what the function
 * amplifies: where results differ by more than a few roundings, noise of that size is put on every operation of the
 * oracle, and the movement it causes is what rounding may cause too.
 */
import { interpret } from '../backend/cpu/reference.ts'
import { array, type NDArray } from '../dsl/array.ts'
import * as b from '../dsl/build.ts'
import { type FloatDType, isFloat } from '../dsl/dtype.ts'
import { type Graph, rebind, rewrite } from '../dsl/graph.ts'
import { range, size } from '../dsl/shape.ts'
import { constant, type Eqn } from '../dsl/tensor.ts'
import { key, uniformAt } from '../dsl/threefry.ts'
import { magnitude, type Place, unflatten } from './numbers.ts'

/** Primitives that compute; the others move or choose values. */
const computing = new Set(['map', 'reduce', 'contract', 'fold', 'scatterAdd'])
const exact = new Set([
  'select',
  'neg',
  'abs',
  'cast',
  'bitcast',
  'max',
  'min',
  'floor',
  'ceil',
  'round',
  'trunc',
  'sign',
  'opaque',
])
const rounds = (e: Eqn): boolean =>
  computing.has(e.op) &&
  e.types.every(t => isFloat(t.dtype)) &&
  !(e.op === 'map' && exact.has(e.params.fn)) &&
  !(e.op === 'reduce' && e.params.how !== 'sum' && e.params.how !== 'prod')

/** What is done to each computed value: noise of some roundings, and rounding to f32, by which values become equal. */
interface Draw {
  readonly roundings: number
  readonly toF32: boolean
}

/** The graph with each computed value times 1 + noise, |noise| <= amplitude. */
const noisy = (g: Graph, amplitude: number, toF32: boolean, seed: number): Graph => {
  let n = 0
  return rewrite(g, (e, xs) => {
    if (!rounds(e)) return null
    const { shape, dtype } = e.types[0]
    const k = key(seed * 100_003 + n++)
    const factors = range(size(shape)).map(i => 1 + amplitude * (2 * uniformAt(k, i) - 1))
    const noise = array(shape, dtype, factors)
    return rebind(e, xs).map(y => {
      const moved = b.mul(y, constant(shape, dtype, noise.data))
      return toF32 ? b.cast(b.cast(moved, 'f32'), dtype) : moved
    })
  })
}

/** The relative error of one rounding. */
const rounding = { f32: 2 ** -24, f64: 2 ** -53 } as const
const drawsOf = (roundings: readonly number[], toF32: boolean): Draw[] =>
  roundings.map(n => ({ roundings: n, toF32 }))
/**
 * Noise of a few roundings, and of many. A tie that rounding decides flips in about half of the draws: the second
 * lot, drawn only where the first does not explain a difference, misses it once in 2^28.
 */
const lots = [
  [...drawsOf([4, 16, 64], false), ...drawsOf([0, 4], true)],
  [
    ...drawsOf([4, 4, 4, 4, 4, 4, 4, 4, 16, 16, 64, 64], false),
    ...drawsOf([1, 1, 1, 1, 4, 4, 4, 4, 16, 16, 64, 64], true),
  ],
] as const

/**
 * How far rounding errors may move each result of a graph in f64: the largest movement of any element.
 * @param want  the results without noise
 * @param lot   which draws of noise: 0, the first few, or 1, many more
 */
export function movement(
  g: Graph,
  args: readonly NDArray[],
  want: readonly NDArray[],
  float: FloatDType,
  lot: 0 | 1 = 0,
): number[] {
  const moved = want.map(() => 0)
  lots[lot].forEach(({ roundings, toF32 }, draw) => {
    const h = noisy(g, roundings * rounding[float], toF32 && float === 'f32', 100 * lot + draw + 1)
    interpret(h, args).forEach((got, i) => {
      moved[i] = Math.max(moved[i], distance(got, want[i]).absolute)
    })
  })
  return moved
}

/** The largest difference of elements, where it is, and what it is relative to: the largest magnitude. */
export function distance(
  got: NDArray,
  want: NDArray,
): { readonly absolute: number; readonly scale: number; readonly at: number } {
  let [absolute, at] = [0, 0]
  for (let i = 0; i < want.data.length; i++) {
    const [x, y] = [got.data[i], want.data[i]]
    if (x === y || (Number.isNaN(x) && Number.isNaN(y))) continue
    const d = Math.abs(x - y)
    if (!(d <= absolute)) {
      absolute = Number.isNaN(d) ? Number.POSITIVE_INFINITY : d
      at = i
    }
  }
  // An array of tiny values is compared as one of size 1e-3: cancellation leaves no more.
  return { absolute, scale: Math.max(1e-3, magnitude(want)), at }
}

/** Rounding errors may add up where noise cancels. */
const margin = 16

/** The outcome of a comparison. */
export interface Agreement {
  /** The largest difference relative to its array's magnitude. */
  readonly worst: number
  /** Results that only agree within what the function makes of rounding errors. */
  readonly illConditioned: number
  /** The worst element beyond its tolerance, if there is one. */
  readonly failure: (Place & { readonly tolerance: number }) | null
}

/**
 * Compares results with those of the oracle.
 * @param g          the oracle: a graph in f64 (`oracleOf`)
 * @param float      the dtype of the results: roundings of f32 or of f64 are allowed
 * @param paths      names of the results
 */
export function agreement(
  g: Graph,
  args: readonly NDArray[],
  got: readonly NDArray[],
  want: readonly NDArray[],
  float: FloatDType,
  paths: readonly string[],
): Agreement {
  // Rounding of tens of operations: 2e-5 of the magnitude in f32, 1e-10 in f64.
  const base = float === 'f32' ? 2e-5 : 1e-10
  const distances = want.map((w, i) => distance(got[i], w))
  const plain = distances.map(d => d.absolute <= base * d.scale)
  const worst = Math.max(0, ...distances.map((d, i) => (plain[i] ? d.absolute / d.scale : 0)))
  if (plain.every(ok => ok)) return { worst, illConditioned: 0, failure: null }
  let tolerances: readonly number[] = distances.map(d => base * d.scale)
  let bad = -1
  for (const lot of [0, 1] as const) {
    const moved = movement(g, args, want, float, lot)
    tolerances = tolerances.map((t, i) => Math.max(t, base * distances[i].scale + margin * moved[i]))
    bad = distances.findIndex((d, i) => !(d.absolute <= tolerances[i]))
    if (bad < 0) break
  }
  const failure =
    bad < 0
      ? null
      : {
          path: paths[bad],
          index: unflatten(want[bad].shape, distances[bad].at),
          got: got[bad].data[distances[bad].at],
          want: want[bad].data[distances[bad].at],
          tolerance: tolerances[bad],
        }
  return { worst, illConditioned: plain.filter(ok => !ok).length, failure }
}
