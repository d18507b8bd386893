/**
 * The inside of a worker: runs the suite on one mutant after another. In: messages { id, checks }. Out: messages
 * { id, by }: the check that failed, or null; 'alive' after each check in between. The first message back is the
 * survey of the suite as it is.
 */
import { createRequire } from 'node:module'
import { parentPort, workerData } from 'node:worker_threads'
import fc from 'fast-check'
import type { Property } from '../../test/support/property.ts'

/** What a worker is given. */
export interface WorkerData {
  readonly script: string
  readonly root: string
  readonly seed: number
  /** Whether it surveys the suite first. */
  readonly survey: boolean
  /** Mutants that take effect while the modules load: they need modules of their own. */
  readonly early: readonly number[]
}
/** A mutant to run: the numbers of the checks that reach it, the quickest first, and the turns of loops of each. */
export interface Job {
  readonly id: number
  readonly checks: readonly { readonly index: number; readonly ticks: number }[]
}
/** What became of it. */
export interface Outcome {
  readonly id: number
  readonly by: string | null
  readonly why: string
  readonly ms: number
}
/** A check of the suite, with the first ids of the places that it reaches. */
export interface Surveyed {
  readonly name: string
  readonly ms: number
  /** Turns of the mutated files' loops. */
  readonly ticks: number
  readonly reached: readonly number[]
}
export interface Survey {
  readonly checks: readonly Surveyed[]
  /** The first ids of the places that are reached while the modules load. */
  readonly early: readonly number[]
}

const { script, root, seed, survey, early } = workerData as WorkerData
if (parentPort === null) throw new Error('worker.ts runs in a worker')
const port = parentPort
fc.configureGlobal({ seed, endOnFailure: true, verbose: 0 })

let hits: Set<number> | null = null
let ticks = 0
/** Turns of a mutated file's own loops, after which it counts as endless. */
let maxTicks = Number.POSITIVE_INFINITY
const control = {
  active: -1,
  hit: (from: number, to: number): boolean => {
    if (hits !== null) hits.add(from)
    return control.active >= from && control.active <= to
  },
  tick: (): void => {
    if (++ticks > maxTicks) throw new Error('an endless loop')
  },
}
Object.assign(globalThis, { __mutation: control })

/** Elements of typed arrays that one check may make: a mutant that asks for more has gone astray. */
const maxElements = 2 ** 27
let elements = 0
for (const name of ['Float64Array', 'Float32Array', 'Int32Array', 'Uint32Array', 'Uint8Array'] as const)
  Object.assign(globalThis, {
    [name]: new Proxy(globalThis[name], {
      construct: (array, [length, ...rest], target) => {
        if (typeof length === 'number') elements += length
        if (elements > maxElements) throw new RangeError('more memory than the program needs')
        return Reflect.construct(array, [length, ...rest], target)
      },
    }),
  })

const load = new Function('require', 'module', 'exports', script)
const require = createRequire(`${root}/package.json`)
/** A fresh copy of all modules. */
const fresh = (): readonly Property[] => {
  const module = { exports: {} as { readonly properties?: readonly Property[] } }
  load(require, module, module.exports)
  return module.exports.properties ?? []
}

function surveySuite(): Survey {
  const onLoad = new Set<number>()
  hits = onLoad
  const checks = fresh()
  const out = checks.map(check => {
    hits = new Set()
    ticks = 0
    elements = 0
    const start = performance.now()
    try {
      check.run(check.quick)
    } catch (e) {
      throw new Error(`the check '${check.name}' fails without a mutant`, { cause: e })
    }
    const ms = performance.now() - start
    return { name: check.name, ms, ticks, reached: [...hits] }
  })
  hits = null
  return { checks: out, early: [...onLoad] }
}

let warm: readonly Property[] | null = null
function run({ id, checks }: Job): Outcome {
  const start = performance.now()
  const end = (by: string | null, e?: unknown): Outcome => {
    control.active = -1
    const why = e instanceof Error ? e.message.split('\n')[0] : String(e ?? '')
    return { id, by, why, ms: performance.now() - start }
  }
  if (!early.includes(id)) warm ??= fresh()
  ticks = 0
  control.active = id
  let suite: readonly Property[]
  try {
    suite = early.includes(id) ? fresh() : (warm ?? [])
  } catch (e) {
    return end('loading the modules', e)
  }
  for (const { index, ticks: usual } of checks) {
    ticks = 0
    elements = 0
    maxTicks = 200 + 4 * usual
    const check = suite[index]
    try {
      check.run(check.quick)
    } catch (e) {
      return end(check.name, e)
    }
    port.postMessage('alive')
  }
  return end(null)
}

port.on('message', (job: Job) => port.postMessage(run(job)))
port.postMessage(survey ? surveySuite() : null)
