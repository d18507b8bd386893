/**
 * Gradients against independent witnesses: reverse against forward mode, and both against central differences in
 * f64, to the second order. In: a function of trees and its arguments. Out: a report, or a CheckError that names
 * the worst element.
 */
import { grad, jvp } from '../autodiff/grad.ts'
import { interpret } from '../backend/cpu/reference.ts'
import type { NDArray } from '../dsl/array.ts'
import * as b from '../dsl/build.ts'
import { isFloat } from '../dsl/dtype.ts'
import { ShapeError } from '../dsl/errors.ts'
import { type Graph, makeGraph } from '../dsl/graph.ts'
import { constant, type Tensor } from '../dsl/tensor.ts'
import { key } from '../dsl/threefry.ts'
import { isTensor, isType, trace } from '../dsl/trace.ts'
import { fillTree, leaves } from '../dsl/tree.ts'
import { movement } from './agreement.ts'
import {
  arrayLeaves,
  CheckError,
  constantOf,
  directionLike,
  moved,
  type Place,
  product,
  unflatten,
  wide,
} from './numbers.ts'
import { type Slope, slope } from './slope.ts'
import { freeze, widen } from './widen.ts'

/** What is compared, and how closely. */
export interface GradOptions {
  /** 2: derivatives of the gradient too (default). */
  readonly order?: 1 | 2
  /** `reverse` alone for a function whose custom rule has no forward mode. Default: both. */
  readonly modes?: readonly ('reverse' | 'forward')[]
  /** Random directions (2). */
  readonly directions?: number
  /** The relative difference that is allowed, beyond the measurement's own error (1e-6). */
  readonly tolerance?: number
  readonly seed?: number
}

/** What was compared. */
export interface GradReport {
  /** Directional derivatives compared with differences. */
  readonly compared: number
  /** Directions in which a kink or a jump lies so near that differences say nothing. */
  readonly kinks: number
  /** The largest difference, relative to the derivative's terms. */
  readonly worst: number
  /** Whether any gradient was other than 0. */
  readonly moving: boolean
}

type Scalar = (xs: readonly Tensor[]) => Tensor
/** The untyped form of `trace`: a function of lists. */
export const traceList = (f: (xs: readonly Tensor[]) => unknown, types: readonly unknown[]): Graph =>
  trace(f as (...a: never[]) => unknown, [types]).graph

/** A function of trees as a scalar function of the floats among their leaves. */
export function scalarOf(
  f: (...args: never[]) => unknown,
  args: readonly unknown[],
  seed: number,
): { readonly loss: Scalar; readonly xs: readonly NDArray[]; readonly paths: readonly string[] } {
  const all = arrayLeaves(args)
  const floats = all.filter(l => isFloat(l.leaf.dtype))
  const loss: Scalar = xs => {
    let i = 0
    const given = all.map(({ leaf }) =>
      isFloat(leaf.dtype) ? xs[i++] : constant(leaf.shape, leaf.dtype, leaf.data),
    )
    const filled = fillTree(args, isType, given) as readonly unknown[]
    const result = (f as (...a: unknown[]) => unknown)(...filled)
    const ys = leaves(result, isTensor).flatMap(l => (isFloat(l.leaf.dtype) ? [l.leaf] : []))
    if (ys.length === 0) throw new CheckError('checkGrads: the function returns no float tensor')
    if (ys.length === 1 && ys[0].rank === 0) return ys[0]
    // Results that are no scalar count with random weights: their cotangents.
    const weights = directionLike(
      ys.map(y => ({ ...y, data: new Float64Array(y.shape.reduce((m, n) => m * n, 1)) }) as NDArray),
      key(seed + 1000),
    )
    return ys
      .map((y, k) => b.sum(b.mul(y, constantOf(weights[k], y.dtype))))
      .reduce((x, y) => b.add(x, b.cast(y, x.dtype)))
  }
  return { loss, xs: floats.map(l => l.leaf), paths: floats.map(l => l.path) }
}

const along = (g: readonly Tensor[], v: readonly NDArray[]): Tensor =>
  g.map((d, i) => b.sum(b.mul(d, constantOf(v[i], d.dtype)))).reduce((x, y) => b.add(x, b.cast(y, x.dtype)))
const gradient = (loss: Scalar) => (xs: readonly Tensor[]) => grad(loss)(xs)

/**
 * Compares the derivatives of a function, on the reference in f64 (a function that insists on f32 is widened).
 * What `stopGradient` stops counts as constant. A kink near the arguments hides what differences would say: it is
 * counted, and if every direction has one, that is an error.
 * @param f     (...trees) => tensor or tree; results that are no scalar are weighted at random
 * @param args  trees of arrays; integers and bools among them stay fixed
 * @throws CheckError with the worst element, its gradient and its difference
 * @example checkGrads((x: Tensor) => mean(tanh(x)), [array([2], 'f64', [0.3, -1])])
 */
export function checkGrads(
  f: (...args: never[]) => unknown,
  args: readonly unknown[],
  options: GradOptions = {},
): GradReport {
  const report = compareGrads(f, args, options)
  if (report.compared === 0)
    throw new CheckError(
      `checkGrads: a kink or a jump lies within 1e-6 of the arguments in each of ${report.kinks} directions, so differences say nothing; choose other arguments`,
    )
  return report
}

/** As `checkGrads`, but kinks in every direction are counted only: for those who have many arguments to look at. */
export function compareGrads(
  f: (...args: never[]) => unknown,
  args: readonly unknown[],
  options: GradOptions = {},
): GradReport {
  const { seed = 0 } = options
  const { loss, xs: given, paths } = scalarOf(f, args, seed)
  if (given.length === 0) throw new CheckError('checkGrads: the arguments hold no float array')
  const xs = follows(loss, given) ? given.map(wide) : given
  const first = checkOrder(loss, xs, paths, options, 'the gradient')
  if ((options.order ?? 2) === 1 || !first.moving) return first
  // A gradient may be constant, or constant almost everywhere: 0 x says that its derivative is then meant to be 0.
  const directional: Scalar = ys =>
    ys
      .map(y => b.mul(b.sum(y), 0))
      .reduce(
        (x, y) => b.add(x, b.cast(y, x.dtype)),
        along(gradient(loss)(ys), directionLike(xs, key(seed + 2000))),
      )
  const once = { ...options, directions: 1 }
  const second = checkOrder(directional, xs, paths, once, 'the derivative of the gradient')
  return {
    compared: first.compared + second.compared,
    kinks: first.kinks + second.kinks,
    worst: Math.max(first.worst, second.worst),
    moving: first.moving,
  }
}

/** Whether a function follows its arguments to f64; one with f32 tensors of its own does not, and is widened as it is. */
function follows(loss: Scalar, xs: readonly NDArray[]): boolean {
  try {
    traceList(ts => loss(ts), xs.map(wide))
    return true
  } catch (e) {
    if (e instanceof ShapeError) return false
    throw e
  }
}

/** Compares the gradient of one scalar function in random directions. */
function checkOrder(
  loss: Scalar,
  narrow: readonly NDArray[],
  paths: readonly string[],
  { modes = ['reverse', 'forward'], directions = 2, tolerance = 1e-6, seed = 0 }: GradOptions,
  what: string,
): GradReport {
  const xs = narrow.map(wide)
  // Constants of f32 rules are rounded: 2^-24 of what may cancel.
  const allowed = narrow.every(x => x.dtype === 'f64') ? tolerance : Math.max(tolerance, 1e-5)
  const reversed = widen(traceList(gradient(loss), narrow))
  const g = interpret(reversed, xs)
  const primal = freeze(widen(traceList(ts => loss(ts), narrow)), xs)
  let [compared, kinks, worst] = [0, 0, 0]
  for (let k = 0; k < directions; k++) {
    const v = directionLike(xs, key(seed + 31 * k))
    const { value: reverse, scale } = product(g, v)
    if (modes.includes('forward')) {
      const forward = interpret(widen(forwardGraph(loss, narrow, v)), xs)[0].data[0]
      const apart = Math.abs(forward - reverse)
      const agree = apart <= 1e-9 * (scale + Math.abs(forward)) || bothNaN(forward, reverse)
      // Where terms cancel to nothing, what is left is rounding: as much as noise of that size makes.
      if (!agree && !(apart <= 64 * reach(movement(reversed, xs, g, 'f64'), v)))
        throw new CheckError(
          `${what}: reverse mode gives ${reverse} along a random direction, forward mode ${forward}`,
        )
    }
    const measured = slopeAlong(primal, xs, v, scale)
    if (measured.kink) {
      kinks++
      continue
    }
    const error = Math.abs(measured.value - reverse)
    const within = measured.error + allowed * (scale + Math.abs(measured.value))
    // Where terms cancel, the loss is small and its rounding is not.
    if (!(error <= within || error <= within + (64 * noiseOf(primal, xs)) / measured.step)) {
      const at = worstElement(primal, xs, paths, g)
      throw new CheckError(
        `${what}: ${reverse} along a random direction, central differences give ${measured.value} (within ${measured.error.toExponential(1)})\n` +
          `  the worst element: ${at ? `argument ${at.path}[${at.index.join(', ')}], where the gradient is ${at.got} and differences give ${Number(at.want.toPrecision(7))}` : 'none can be told: kinks'}`,
      )
    }
    compared++
    worst = Math.max(worst, scale > 0 ? error / scale : 0)
  }
  return { compared, kinks, worst, moving: g.some(a => a.data.some(v => v !== 0)) }
}

/** How far rounding moves a graph's first result. */
function noiseOf(g: Graph, xs: readonly NDArray[]): number {
  const first = makeGraph(g.inputs, [g.outputs[0]])
  return movement(first, xs, interpret(first, xs), 'f64')[0]
}

/** How far movements of arrays' elements reach along a direction. */
const reach = (moved: readonly number[], v: readonly NDArray[]): number =>
  moved.reduce((n, m, k) => n + m * Array.from<number>(v[k].data).reduce((t, x) => t + Math.abs(x), 0), 0)
const bothNaN = (x: number, y: number): boolean => Number.isNaN(x) && Number.isNaN(y)

/** The function's tangent along v. */
export const forwardGraph = (loss: Scalar, xs: readonly NDArray[], v: readonly NDArray[]): Graph =>
  traceList(
    ts =>
      jvp(
        loss,
        ts,
        ts.map((t, i) => constantOf(v[i], t.dtype)),
      )[1],
    xs,
  )

/** The slope of a graph's first result along v, by differences. */
export const slopeAlong = (g: Graph, xs: readonly NDArray[], v: readonly NDArray[], scale: number): Slope =>
  slope(h => interpret(makeGraph(g.inputs, [g.outputs[0]]), moved(xs, v, h))[0].data[0], scale)

/** The element whose gradient is the farthest from its difference; of large arguments some are looked at. */
function worstElement(
  primal: Graph,
  xs: readonly NDArray[],
  paths: readonly string[],
  g: readonly NDArray[],
): Place | null {
  let worst: Place | null = null
  const looked = 256
  xs.forEach((x, k) => {
    const stride = Math.max(1, Math.ceil(x.data.length / looked))
    for (let i = 0; i < x.data.length; i += stride) {
      const unit = xs.map((y, j) => {
        const data = new Float64Array(y.data.length)
        if (j === k) data[i] = 1
        return { shape: y.shape, dtype: 'f64', data } as NDArray
      })
      const d = slopeAlong(primal, xs, unit, Math.abs(g[k].data[i]))
      if (d.kink) continue
      const place = { path: paths[k], index: unflatten(x.shape, i), got: g[k].data[i], want: d.value }
      if (worst === null || Math.abs(place.got - place.want) > Math.abs(worst.got - worst.want)) worst = place
    }
  })
  return worst
}
