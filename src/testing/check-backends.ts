/**
 * A function, and its gradient, on backends against the reference in f64. In: a function of trees and its
 * arguments. Out: a report, or a CheckError that names the backend and the worst element.
 */
import { grad } from '../autodiff/grad.ts'
import type { Backend } from '../backend/backend.ts'
import { unwrap } from '../backend/compile.ts'
import { interpret } from '../backend/cpu/reference.ts'
import type { NDArray } from '../dsl/array.ts'
import { isFloat } from '../dsl/dtype.ts'
import type { Graph } from '../dsl/graph.ts'
import { isTensor, trace } from '../dsl/trace.ts'
import { leaves } from '../dsl/tree.ts'
import { agreement } from './agreement.ts'
import { scalarOf, traceList } from './check-grads.ts'
import { arrayLeaves, CheckError, showPlace, wide } from './numbers.ts'
import { oracleOf } from './widen.ts'

/** What is compared. */
export interface BackendOptions {
  /** Whether gradients are compared too (true); they need floats among the arguments and the results. */
  readonly gradients?: boolean
  readonly seed?: number
}

/** What was compared. */
export interface BackendReport {
  /** Arrays that were compared, over all backends. */
  readonly compared: number
  /** Arrays that agree only within what the function makes of rounding errors. */
  readonly illConditioned: number
  /** The largest error relative to its array's magnitude. */
  readonly worst: number
}

/** Runs a graph on a backend. */
export async function runGraph(
  backend: Backend,
  graph: Graph,
  args: readonly NDArray[],
): Promise<readonly NDArray[]> {
  const program = await unwrap(backend.compile(graph))
  const out = await program.run(
    args,
    args.map(() => false),
  )
  const arrays = await Promise.all(out.map(r => r.read()))
  for (const r of out) r.dispose()
  return arrays
}

/**
 * Compares a function's values and gradients on each backend with the reference in f64.
 * @param f     (...trees) => tree of tensors
 * @param args  trees of arrays, in the dtypes that the backends compute with
 * @throws CheckError with the backend, the worst element and what was allowed
 * @example await checkBackends((x: Tensor) => softmax(x), [array([2], 'f32', [1, 2])], [await unwrap(openBackend('cpu'))])
 */
export async function checkBackends(
  f: (...args: never[]) => unknown,
  args: readonly unknown[],
  backends: readonly Backend[],
  { gradients = true, seed = 0 }: BackendOptions = {},
): Promise<BackendReport> {
  const arrays = arrayLeaves(args).map(l => l.leaf)
  const { graph, result } = trace(f, args)
  const graphs = [{ graph, arrays, paths: leaves(result, isTensor).map(l => `result ${l.path}`.trimEnd()) }]
  if (gradients && arrays.some(a => isFloat(a.dtype))) {
    const { loss, xs, paths } = scalarOf(f, args, seed)
    graphs.push({
      graph: traceList(ts => grad(loss)(ts), xs),
      arrays: [...xs],
      paths: paths.map(p => `the gradient of argument ${p}`),
    })
  }
  let [compared, illConditioned, worst] = [0, 0, 0]
  for (const { graph, arrays, paths } of graphs) {
    const float = arrays.some(a => a.dtype === 'f64') ? 'f64' : 'f32'
    const oracle = oracleOf(graph, float)
    const wideArgs = arrays.map(wide)
    const want = interpret(oracle, wideArgs)
    for (const backend of backends) {
      const got = await runGraph(backend, graph, arrays)
      const wrongShape = got.findIndex((a, i) => a.shape.join() !== want[i].shape.join())
      if (wrongShape >= 0)
        throw new CheckError(
          `checkBackends: on ${backend.name} ${paths[wrongShape]} has the shape [${got[wrongShape].shape}], expected [${want[wrongShape].shape}]`,
        )
      const r = agreement(oracle, wideArgs, got, want, float, paths)
      if (r.failure)
        throw new CheckError(
          `checkBackends: on ${backend.name} (${backend.description}) ${showPlace(r.failure)} by the reference in f64 (tolerance ${r.failure.tolerance.toExponential(1)})`,
        )
      compared += got.length
      illConditioned += r.illConditioned
      worst = Math.max(worst, r.worst)
    }
  }
  return { compared, illConditioned, worst }
}
