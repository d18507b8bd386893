/**
 * Random programs for as long as one wants: values and gradients on a backend against the reference in f64, reverse
 * against forward mode, both against differences. In: a backend and a seed. Out: a summary, and the first failure,
 * shrunk. Program k of a run is drawn with the seed + k, so any one of them can be replayed alone.
 */
import fc from 'fast-check'
import { valueAuxAndGrad } from '../autodiff/grad.ts'
import type { Backend } from '../backend/backend.ts'
import { interpret } from '../backend/cpu/reference.ts'
import type { NDArray } from '../dsl/array.ts'
import type { FloatDType } from '../dsl/dtype.ts'
import type { Graph } from '../dsl/graph.ts'
import type { Tensor } from '../dsl/tensor.ts'
import { agreement } from './agreement.ts'
import { runGraph } from './check-backends.ts'
import { compareGrads, traceList } from './check-grads.ts'
import { CheckError, showPlace, wide } from './numbers.ts'
import {
  countOps,
  lossOf,
  type Program,
  programArguments,
  programLoss,
  programs,
  runProgram,
} from './programs.ts'
import { oracleOf } from './widen.ts'

/** How long, where, and from which seed. */
export interface FuzzOptions {
  readonly backend: Backend
  readonly seed: number
  /** Ends after so many programs ... */
  readonly programs: number
  /** ... or so many seconds, whichever comes first. */
  readonly seconds: number
  /** Called after each program; true ends the run. */
  readonly onProgram?: (summary: FuzzSummary) => boolean | Promise<boolean>
  /** The time in ms. */
  readonly now?: () => number
}

/** What a run reached. */
export interface FuzzSummary {
  readonly programs: number
  /** Programs whose gradient was compared with differences. */
  readonly gradients: number
  /** Programs with a kink near their arguments, or with ties, whose gradients were compared between modes only. */
  readonly kinks: number
  /** Programs whose gradient is finite and not all 0. */
  readonly moving: number
  /** Results that only agree within what the program makes of rounding errors. */
  readonly illConditioned: number
  /** The largest error of the backend, relative to the magnitude of its array. */
  readonly worst: number
  /** How often each primitive and each scalar operation was reached. */
  readonly ops: ReadonlyMap<string, number>
  /** Bytes that the backend holds: now, and at most. */
  readonly bytes: number
  readonly peakBytes: number
  readonly seconds: number
}

/** A failing program, shrunk. */
export interface FuzzFailure {
  readonly program: Program
  readonly float: FloatDType
  readonly message: string
  /** Where to begin a run, and fast-check's path, that lead to this program. */
  readonly seed: number
  readonly path: string
}

const drawing = (seed: number) => ({ seed, numRuns: 1, unbiased: true })
/** The program of a seed. */
export const programOf = (seed: number): Program => fc.sample(programs(), drawing(seed))[0]
/** Every fourth program computes in f64 where the backend can. */
const floatOf = (seed: number, backend: Backend): FloatDType =>
  backend.dtypes.includes('f64') && seed % 4 === 3 ? 'f64' : 'f32'
/** Every 32nd is differentiated twice. */
const orderOf = (seed: number): 1 | 2 => (seed % 32 === 0 ? 2 : 1)

interface Prepared {
  readonly graph: Graph
  readonly args: readonly NDArray[]
  readonly paths: readonly string[]
  readonly float: FloatDType
  readonly values: readonly Tensor[]
}

/** A program with its loss and gradients as one graph. */
function prepare(program: Program, float: FloatDType): Prepared {
  const args = programArguments(program, float)
  let values: readonly Tensor[] = []
  const all = (xs: readonly Tensor[]) => {
    const [[loss, ys], gs] = valueAuxAndGrad((ts: readonly Tensor[]) => {
      const made = runProgram(program)(ts)
      return [lossOf(made), made] as const
    })(xs)
    values = ys
    return [loss, ...ys, ...gs]
  }
  const graph = traceList(all, args)
  const paths = [
    'the loss',
    ...values.map((_, i) => `value ${i}`),
    ...args.map((_, i) => `the gradient of argument ${i}`),
  ]
  return { graph, args, paths, float, values }
}

/** What came of a program that passed. */
export interface Outcome {
  /** The program's results: what `countOps` counts. */
  readonly values: readonly Tensor[]
  readonly finite: boolean
  readonly moving: boolean
  readonly compared: boolean
  readonly illConditioned: number
  readonly worst: number
}

/** Compares what a backend computed with the oracle, and the oracle's derivatives with each other. */
function judge(program: Program, p: Prepared, got: readonly NDArray[], order: 1 | 2): Outcome {
  const args = p.args.map(wide)
  const oracle = oracleOf(p.graph, p.float)
  const want = interpret(oracle, args)
  const r = agreement(oracle, args, got, want, p.float, p.paths)
  if (r.failure)
    throw new CheckError(
      `${showPlace(r.failure)} by the reference in f64 (tolerance ${r.failure.tolerance.toExponential(1)})`,
    )
  const gradients = want.slice(-p.args.length).flatMap(g => Array.from<number>(g.data))
  const finite = gradients.every(Number.isFinite)
  // Where elements are equal on purpose the derivative is a convention, and differences say nothing.
  const smooth = program.values === 'uniform'
  const report = compareGrads(programLoss(program), [p.args], {
    order: smooth ? order : 1,
    directions: smooth ? 1 : 0,
    seed: program.seed,
  })
  return {
    values: p.values,
    finite,
    moving: finite && gradients.some(v => v !== 0),
    compared: report.compared > 0,
    illConditioned: r.illConditioned,
    worst: r.worst,
  }
}

/**
 * Checks one program.
 * @throws CheckError with the first wrong element
 */
export async function checkProgram(
  program: Program,
  backend: Backend,
  float: FloatDType = 'f32',
  order: 1 | 2 = 1,
): Promise<Outcome> {
  const p = prepare(program, float)
  return judge(program, p, await runGraph(backend, p.graph, p.args), order)
}

/** Draws the program of a seed again, and shrinks it if it fails. */
export async function replay(backend: Backend, seed: number, path?: string): Promise<FuzzFailure | null> {
  const [float, order] = [floatOf(seed, backend), orderOf(seed)]
  const found = await fc.check(
    fc.asyncProperty(programs(), async p => {
      await checkProgram(p, backend, float, order)
    }),
    { ...drawing(seed), ...(path !== undefined && { path }) },
  )
  if (!found.failed || found.counterexample === null) return null
  const error = found.errorInstance
  return {
    program: found.counterexample[0],
    float,
    message: error instanceof Error ? error.message : String(error),
    seed,
    path: found.counterexamplePath ?? '',
  }
}

/**
 * Runs random programs until the number, the time or a failure ends it.
 * @returns the summary, and the first failure, shrunk, or null
 * @example const { summary, failure } = await fuzz({ backend, seed: 1, programs: 1000, seconds: 60 })
 */
export async function fuzz({
  backend,
  seed,
  programs: limit,
  seconds,
  onProgram = () => false,
  now = () => performance.now(),
}: FuzzOptions): Promise<{ readonly summary: FuzzSummary; readonly failure: FuzzFailure | null }> {
  const start = now()
  const ops = new Map<string, number>()
  let [count, gradients, kinks, moving, illConditioned, worst, peakBytes] = [0, 0, 0, 0, 0, 0, 0]
  const summary = (): FuzzSummary => {
    const { bytes } = backend.memory()
    peakBytes = Math.max(peakBytes, bytes)
    const time = (now() - start) / 1000
    return {
      programs: count,
      gradients,
      kinks,
      moving,
      illConditioned,
      worst,
      ops,
      bytes,
      peakBytes,
      seconds: time,
    }
  }
  while (count < limit && (now() - start) / 1000 < seconds) {
    const own = seed + count
    let o: Outcome
    try {
      o = await checkProgram(programOf(own), backend, floatOf(own, backend), orderOf(own))
    } catch (error) {
      const failure = await replay(backend, own)
      if (failure) return { summary: summary(), failure }
      throw new CheckError(`fuzz: the program of seed ${own} failed once and passes now: ${error}`, {
        cause: error,
      })
    }
    count++
    if (o.compared) gradients++
    else kinks++
    if (o.moving) moving++
    illConditioned += o.illConditioned
    worst = Math.max(worst, o.worst)
    countOps(o.values, ops)
    if (await onProgram(summary())) break
  }
  return { summary: summary(), failure: null }
}
