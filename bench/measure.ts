/**
 * One workload, all contenders in turn: each sets it up, its results are compared with Cotangent's, then they are
 * timed in rounds (A B C, A B C, ...), so that what disturbs the machine disturbs all. Out: a summary or a reason
 * for each contender.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Answer, Child } from './child.ts'
import type { Contender } from './contenders.ts'
import { summarise } from './statistics.ts'
import type { Outcome, Workload } from './types.ts'

/** How long to measure. */
export interface Budget {
  /** Repetitions a contender, at most. */
  readonly reps: number
  /** Seconds a contender, at most (but one repetition a round, for two rounds). */
  readonly seconds: number
}

const ROUNDS = 5
/** Between two turns, in ms: thread pools spin on for a while after their work, and would slow the next contender. */
const SETTLE = 250
const FEWEST_ROUNDS = 2

/** A contender and its process. */
export interface Entrant {
  readonly contender: Contender
  readonly child: Child
}

/** Measures a workload; `tell` is called when a contender is set up or has its turn, `before` before a turn. */
export async function measure(
  workload: Workload,
  entrants: readonly Entrant[],
  budget: Budget,
  tell: (contender: string) => void,
  before: () => Promise<void>,
): Promise<readonly Outcome[]> {
  if (workload.kind === 'start') return measureStart(entrants, budget)
  if (workload.kind === 'compile') return measureCompile(workload, entrants, budget, tell)
  const folder = mkdtempSync(join(tmpdir(), 'cotangent-bench-'))
  try {
    return await measureRun(workload, entrants, budget, folder, tell, before)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function measureRun(
  { name, inputs, state, tolerance }: Workload,
  entrants: readonly Entrant[],
  budget: Budget,
  folder: string,
  tell: (contender: string) => void,
  before: () => Promise<void>,
): Promise<readonly Outcome[]> {
  const outcomes = new Map<string, Outcome>()
  const ready: { readonly entrant: Entrant; readonly times: number[]; spent: number }[] = []
  let reference: Float32Array | undefined
  for (const entrant of entrants) {
    const { name: contender, own, tolerance: least = 0 } = entrant.contender
    const allowed = Math.max(tolerance, least)
    tell(contender)
    const out = join(folder, 'results.f32')
    // Cotangent's own processes know the inputs; the list of a large network is long
    const task = { name, inputs: own ? [] : inputs, state }
    const { error, firstMs, facts } = await entrant.child.ask({
      op: 'setup',
      workload: task,
      out,
    })
    if (error !== undefined) {
      outcomes.set(contender, { contender, error })
      await entrant.child.ask({ op: 'drop' })
      continue
    }
    const results = floatsOf(out)
    if (own) reference ??= results
    const difference = reference && largestDifference(results, reference)
    if (difference !== undefined && !(difference <= allowed)) {
      const said = `its results differ from Cotangent's by ${difference.toExponential(1)}, ${allowed} is allowed`
      outcomes.set(contender, { contender, difference, error: said })
      await entrant.child.ask({ op: 'drop' })
      continue
    }
    outcomes.set(contender, { contender, firstMs, difference, facts })
    ready.push({ entrant, times: [], spent: 0 })
  }
  const [reps, ms] = [Math.max(1, Math.ceil(budget.reps / ROUNDS)), (budget.seconds * 1000) / ROUNDS]
  for (let round = 0; round < ROUNDS; round++)
    for (const r of ready) {
      if (r.spent > budget.seconds * 1000 && round >= FEWEST_ROUNDS) continue
      await sleep(SETTLE)
      await before()
      tell(r.entrant.contender.name)
      const { error, times = [] } = await r.entrant.child.ask({ op: 'measure', reps, ms })
      r.spent += times.reduce((sum, t) => sum + t, 0)
      r.times.push(...times)
      const contender = r.entrant.contender.name
      if (error !== undefined) outcomes.set(contender, { contender, error })
    }
  for (const { entrant, times } of ready) {
    await entrant.child.ask({ op: 'drop' })
    const outcome = outcomes.get(entrant.contender.name)
    if (outcome && outcome.error === undefined && times.length > 0)
      outcomes.set(outcome.contender, { ...outcome, ...summarise(times) })
  }
  return [...outcomes.values()]
}

const floatsOf = (path: string): Float32Array => {
  const { buffer, byteOffset, byteLength } = readFileSync(path)
  return new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength))
}

/** max |a - b| over the larger of 1 and max |b|; infinite if the lengths differ or a value is no number. */
function largestDifference(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY
  let [most, scale] = [0, 1]
  for (let i = 0; i < a.length; i++) {
    const d = Math.abs(a[i] - b[i])
    if (!(d <= most)) most = Number.isNaN(d) ? Number.POSITIVE_INFINITY : d
    scale = Math.max(scale, Math.abs(b[i]))
  }
  return most / scale
}

/** Fresh processes of Cotangent, each compiling once. */
async function measureCompile(
  { name, state }: Workload,
  entrants: readonly Entrant[],
  budget: Budget,
  tell: (contender: string) => void,
): Promise<readonly Outcome[]> {
  const own = entrants
    .filter(e => e.contender.own)
    .map(entrant => ({ entrant, times: [] as number[], last: {} as Answer }))
  for (let round = 0; round < Math.min(budget.reps, ROUNDS); round++)
    for (const o of own) {
      if (o.last.error !== undefined) continue
      tell(o.entrant.contender.name)
      o.entrant.child.stop()
      o.last = await o.entrant.child.ask({ op: 'setup', workload: { name, inputs: [], state } })
      if (o.last.firstMs !== undefined) o.times.push(o.last.firstMs)
    }
  return own.map(({ entrant, times, last: { error, facts } }): Outcome => {
    const contender = entrant.contender.name
    return error === undefined ? { contender, facts, ...summarise(times) } : { contender, error }
  })
}

/** Fresh processes, from their start to the first line that they print. */
async function measureStart(entrants: readonly Entrant[], budget: Budget): Promise<readonly Outcome[]> {
  const times = new Map<string, number[]>()
  const errors = new Map<string, string>()
  const rounds = Math.max(3, Math.min(budget.reps, 7))
  for (let round = 0; round <= rounds; round++)
    for (const { contender } of entrants) {
      if (!contender.start || errors.has(contender.name)) continue
      const result = await timeToFirstLine(contender.start, contender.env ?? {})
      if (typeof result === 'string') errors.set(contender.name, result)
      // the first round fills the file cache
      else if (round > 0) times.set(contender.name, [...(times.get(contender.name) ?? []), result])
    }
  return entrants.flatMap(({ contender: { name } }): Outcome[] => {
    const error = errors.get(name)
    if (error !== undefined) return [{ contender: name, error }]
    const all = times.get(name)
    return all ? [{ contender: name, ...summarise(all) }] : []
  })
}

/** How long a start may take, to the process's end, in ms. */
const START_LIMIT = 60_000

/** In ms; the process has ended when it is given, so that nobody starts while another still gives back its memory. */
const timeToFirstLine = (
  [program, ...args]: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<number | string> =>
  new Promise(resolve => {
    const begin = performance.now()
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
      timeout: START_LIMIT,
    })
    let time: number | undefined
    let said = ''
    child.stdout.once('data', () => {
      time = performance.now() - begin
    })
    child.stderr.on('data', chunk => {
      said = `${said}${chunk}`.slice(-2000)
    })
    child.on('error', e => resolve(e.message))
    child.on('close', (code, signal) => {
      const why = said.split('\n').find(l => /error/i.test(l)) ?? ''
      resolve(code === 0 && time !== undefined ? time : `ended with ${signal ?? code}: ${why}`)
    })
  })
