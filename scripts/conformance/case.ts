/**
 * A conformance case from a plain formula: inputs and a function of them. Cotangents are drawn; gradients are an
 * analytic formula where one is given, else differences of the formula, extrapolated until their error estimate is
 * below 1e-10 of the gradient's largest magnitude.
 */
import { type Grid, random } from './grid.ts'

/** A tensor and a case as the file has them. */
interface Written {
  readonly dtype: 'float64' | 'int64' | 'bool'
  readonly shape: readonly number[]
  readonly data: readonly (number | string)[]
}
export interface WrittenCase {
  readonly id: string
  readonly op: string
  readonly attrs: Readonly<Record<string, unknown>>
  readonly inputs: readonly Written[]
  readonly outputs: readonly Written[]
  readonly cotangents: readonly (Written | null)[]
  readonly grads: readonly (Written | null)[]
}

export type Formula = (...xs: readonly Grid[]) => Grid | readonly Grid[]
/** Cotangents of the inputs from the inputs and the cotangent of the (first) output. */
export type Pullback = (xs: readonly Grid[], dy: Grid) => readonly (Grid | null)[]

export interface CaseOptions {
  /** Which inputs get a gradient; every float by default, none with []. */
  readonly wrt?: readonly number[]
  /** The first step of the differences: below the distance to the nearest kink. 0.25 */
  readonly step?: number
  /** The gradient's formula. */
  readonly pullback?: Pullback
  /** How many outputs carry a cotangent: 1 */
  readonly seeded?: number
  readonly note?: string
}

/** Of outputs and gradients: the comparison allows 1e-9. */
const digits = 12
const cases: WrittenCase[] = []
/** The cases made so far. */
export const made = (): readonly WrittenCase[] => cases
/** The largest error estimate of a gradient by differences, relative to its largest magnitude. */
export let worstEstimate = 0

/** Adds a case. @throws Error if a gradient cannot be had to 1e-10 */
export function define(
  op: string,
  attrs: Readonly<Record<string, unknown>>,
  inputs: readonly Grid[],
  f: Formula,
  { wrt, step = 0.25, pullback, seeded = 1, note }: CaseOptions = {},
): void {
  const id = `${op}-own-${cases.filter(c => c.op === op).length}`
  const outputs = list(f(...inputs))
  const wanted = wrt ?? inputs.flatMap((x, i) => (x.dtype === undefined ? [i] : []))
  const cotangents = outputs.map((y, i) =>
    wanted.length > 0 && i < seeded
      ? { shape: y.shape, data: y.data.map(() => Number((4 * random() - 2).toFixed(2))) }
      : null,
  )
  const analytic = pullback?.(inputs, cotangents[0] ?? outputs[0])
  const grads = inputs.map((_, i) =>
    wanted.includes(i) ? (analytic?.[i] ?? differences(id, inputs, i, f, cotangents, step)) : null,
  )
  const round = (g: Grid | null): Written | null => g && write(g, digits)
  cases.push({
    id,
    op,
    attrs: note ? { ...attrs, note } : attrs,
    inputs: inputs.map(x => write(x)),
    outputs: outputs.map(y => write(y, digits)),
    cotangents: cotangents.map(round),
    grads: grads.map(round),
  })
}

const list = (y: Grid | readonly Grid[]): readonly Grid[] => ('data' in y ? [y] : y)

const write = (g: Grid, precision = 17): Written => ({
  dtype: g.dtype ?? 'float64',
  shape: g.shape,
  data: g.data.map(v =>
    Number.isNaN(v)
      ? 'nan'
      : Number.isFinite(v)
        ? Number(v.toPrecision(precision)) + 0
        : v > 0
          ? 'inf'
          : '-inf',
  ),
})

/** The gradient of sum over the outputs of (cotangent, f) in input i, by Ridders' method (1982). */
function differences(
  id: string,
  inputs: readonly Grid[],
  i: number,
  f: Formula,
  cotangents: readonly (Grid | null)[],
  step: number,
): Grid {
  const x = inputs[i]
  const moved = (e: number, v: number): readonly Grid[] =>
    list(
      f(...inputs.map((g, k) => (k === i ? { ...g, data: g.data.map((old, j) => (j === e ? v : old)) } : g))),
    )
  const slope = (e: number, h: number): number => {
    const [up, down] = [x.data[e] + h, x.data[e] - h]
    const [above, below] = [moved(e, up), moved(e, down)]
    let sum = 0
    cotangents.forEach((c, o) => {
      c?.data.forEach((w, k) => {
        sum += w * (above[o].data[k] - below[o].data[k])
      })
    })
    return sum / (up - down)
  }
  const found = x.data.map((_, e) => extrapolate(h => slope(e, h), step))
  const scale = Math.max(...found.map(v => Math.abs(v.value)), 1e-3)
  const estimate = Math.max(0, ...found.map(v => v.error)) / scale
  if (!(estimate < 1e-10))
    throw new Error(`${id}: the gradient of input ${i} by differences is good to ${estimate} only`)
  worstEstimate = Math.max(worstEstimate, estimate)
  return { shape: x.shape, data: found.map(v => v.value) }
}

/** The limit of g(h), an even function of h, as h goes to 0, with an estimate of its error. */
function extrapolate(g: (h: number) => number, first: number): { value: number; error: number } {
  const ratio = 1.6
  let before: number[] = []
  let best = { value: Number.NaN, error: Number.POSITIVE_INFINITY }
  for (let n = 0; n < 10; n++) {
    const row = [g(first / ratio ** n)]
    for (let k = 1; k <= n; k++) {
      const weight = ratio ** (2 * k)
      row.push((row[k - 1] * weight - before[k - 1]) / (weight - 1))
      const error = Math.max(Math.abs(row[k] - row[k - 1]), Math.abs(row[k] - before[k - 1]))
      if (error < best.error) best = { value: row[k], error }
    }
    before = row
  }
  return best
}
