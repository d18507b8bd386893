/** `vmap` against the function example by example, and each pass against the graph before it. */
import { grad } from '../autodiff/grad.ts'
import { vmap } from '../autodiff/vmap.ts'
import { interpret } from '../backend/cpu/reference.ts'
import { optimise, type Pass, passes } from '../backend/pipeline.ts'
import { array, type NDArray } from '../dsl/array.ts'
import { type DType, isFloat, makeData } from '../dsl/dtype.ts'
import type { Graph } from '../dsl/graph.ts'
import { range } from '../dsl/shape.ts'
import type { Tensor } from '../dsl/tensor.ts'
import { isTensor, isType, trace } from '../dsl/trace.ts'
import { fillTree, leaves } from '../dsl/tree.ts'
import { verify } from '../dsl/verify.ts'
import { distance } from './agreement.ts'
import { scalarOf, traceList } from './check-grads.ts'
import { arrayLeaves, CheckError, showPlace, unflatten, wide } from './numbers.ts'
import { oracleOf, widen } from './widen.ts'

/** What was compared. */
export interface TransformReport {
  readonly compared: number
  /** The largest error relative to its array's magnitude. */
  readonly worst: number
}

/** Throws where results differ by more than the roundings of f64 in another order. */
function close(what: string, got: readonly NDArray[], want: readonly NDArray[], tolerance = 1e-10): number {
  let worst = 0
  want.forEach((w, i) => {
    if (got[i].shape.join() !== w.shape.join())
      throw new CheckError(`${what}: result ${i} has the shape [${got[i].shape}], expected [${w.shape}]`)
    const d = distance(got[i], w)
    if (!(d.absolute <= tolerance * d.scale))
      throw new CheckError(
        `${what}: ${showPlace({ path: `result ${i}`, index: unflatten(w.shape, d.at), got: got[i].data[d.at], want: w.data[d.at] })}`,
      )
    worst = Math.max(worst, d.absolute / d.scale)
  })
  return worst
}

const flat = (f: (...args: never[]) => unknown, args: readonly unknown[]) => (xs: readonly Tensor[]) =>
  leaves(
    (f as (...a: unknown[]) => unknown)(...(fillTree(args, isType, xs) as readonly unknown[])),
    isTensor,
  ).map(l => l.leaf)

const slices = (a: NDArray, n: number): NDArray[] =>
  range(n).map(i => {
    const step = a.data.length / n
    return { shape: a.shape.slice(1), dtype: a.dtype, data: a.data.slice(i * step, (i + 1) * step) }
  })
function stack(rows: readonly NDArray[]): NDArray {
  const [{ shape, dtype }] = rows
  const data = makeData<DType>(dtype, rows.length * rows[0].data.length)
  rows.forEach((r, i) => {
    data.set(r.data, i * r.data.length)
  })
  return array([rows.length, ...shape], dtype, data)
}

/**
 * Compares `vmap(f)`, and `vmap` of f's gradient, with f example by example, in f64.
 * @param args  trees of arrays, each with the batch (at least 1 example) as its first axis
 * @throws CheckError with the first element that differs
 * @example checkVmap((x: Tensor) => softmax(x), [array([3, 2], 'f32', [1, 2, 3, 4, 5, 6])])
 */
export function checkVmap(f: (...args: never[]) => unknown, args: readonly unknown[]): TransformReport {
  const batches = arrayLeaves(args).map(l => l.leaf)
  const n = batches[0]?.shape[0] ?? 0
  if (n === 0) throw new CheckError('checkVmap: the arguments need a batch of at least one example')
  const compare = (what: string, g: (xs: readonly Tensor[]) => readonly Tensor[], xs: readonly NDArray[]) => {
    const rows = range(n).map(i => xs.map(x => slices(x, n)[i]))
    const one = widen(traceList(g, rows[0]))
    const want = rows.map(r => interpret(one, r.map(wide)))
    const got = interpret(widen(traceList(ts => vmap(g)(ts), xs)), xs.map(wide))
    return close(
      what,
      got,
      got.map((_, k) => stack(want.map(r => r[k]))),
    )
  }
  const worst = compare('vmap', flat(f, args), batches)
  const floats = batches.filter(a => isFloat(a.dtype))
  if (floats.length !== batches.length || floats.length === 0) return { compared: n, worst }
  const example = fillTree(
    args,
    isType,
    batches.map(x => slices(x, n)[0]),
  ) as readonly unknown[]
  const { loss } = scalarOf(f, example, 0)
  return {
    compared: 2 * n,
    worst: Math.max(
      worst,
      compare('vmap of the gradient', xs => grad(loss)(xs), batches),
    ),
  }
}

/**
 * Runs the passes one after another on a function and on its gradient: each must give a valid graph with the same
 * values (in f64 to 1e-10 of the magnitude: sums may
 * be taken in another order; in f32 to 1e-6: constants may be folded).
 * @param list  the passes, the pipeline's own by default
 * @throws CheckError that names the pass
 * @example checkTransforms((x: Tensor) => softmax(x), [array([2], 'f32', [1, 2])])
 */
export function checkTransforms(
  f: (...args: never[]) => unknown,
  args: readonly unknown[],
  list: readonly Pass[] = passes,
): TransformReport {
  let [compared, worst] = [0, 0]
  const arrays = arrayLeaves(args).map(l => l.leaf)
  const check = (g: Graph, xs: readonly NDArray[], what: string): void => {
    const values = xs.map(wide)
    const float = arrays.some(a => a.dtype === 'f64') ? 'f64' : 'f32'
    const want = interpret(oracleOf(g, float), values)
    const observe = (pass: Pass, h: Graph): void => {
      try {
        verify(h)
      } catch (e) {
        throw new CheckError(`the pass ${pass.name}, on ${what}: ${e instanceof Error ? e.message : e}`)
      }
      worst = Math.max(
        worst,
        close(
          `the pass ${pass.name}, on ${what}`,
          interpret(oracleOf(h, float), values),
          want,
          float === 'f64' ? 1e-10 : 1e-6,
        ),
      )
      compared++
    }
    optimise(g, observe, list)
  }
  check(trace(f, args).graph, arrays, 'the function')
  if (arrays.some(a => isFloat(a.dtype))) {
    const { loss, xs } = scalarOf(f, args, 0)
    check(
      traceList(ts => grad(loss)(ts), xs),
      xs,
      'its gradient',
    )
  }
  return { compared, worst }
}
