/**
 * What the cores can do at a moment. In: nothing. Out: the speed of a loop that only multiplies and adds, on one thread
 * and on all. A virtual machine's cores may share one of the host's, with each other or with strangers, and change
 * every few seconds; no load average shows it. Contenders with several threads then lose more than those with one.
 */
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { type Code, EMPTY, encodeModule, put } from '../src/backend/cpu/wasm.ts'
import { spin } from './cores-thread.mjs'
import { quantile, summarise } from './statistics.ts'

/** GFLOP/s of one thread alone, and of all together. */
export interface CoreSpeed {
  readonly one: number
  readonly all: number
}
/** Measures; its threads sleep in between. */
export interface Probe {
  /** Takes about 20 ms. */
  measure(): CoreSpeed
  stop(): void
}

/** Independent sums: enough to hide the latency of each, few enough for registers. */
const SUMS = 14
const ROUNDS = 20_000
/** GFLOP/s of one call in a millisecond. */
const GFLOP = (ROUNDS * SUMS * 4 * 2) / 1e6
/** ms of a measurement. */
const SPAN = 10
/** Looks that count for nothing. */
const WARM = 3
/** Looks before the first wait. */
const FIRST = 25

/** A function that does `x = x * 0.5 + 0.5` in the lanes of 14 vectors. */
function loop(): Uint8Array<ArrayBuffer> {
  const code: Code = []
  const [half, counter] = [SUMS, SUMS + 1]
  put(code, 'f32.const', 0.5)
  put(code, 'f32x4.splat')
  put(code, 'local.set', half)
  put(code, 'loop', EMPTY)
  for (let i = 0; i < SUMS; i++) {
    put(code, 'local.get', i)
    put(code, 'local.get', half)
    put(code, 'f32x4.mul')
    put(code, 'local.get', half)
    put(code, 'f32x4.add')
    put(code, 'local.set', i)
  }
  put(code, 'local.get', counter)
  put(code, 'i32.const', 1)
  put(code, 'i32.add')
  put(code, 'local.tee', counter)
  put(code, 'i32.const', ROUNDS)
  put(code, 'i32.lt_u')
  put(code, 'br_if', 0)
  put(code, 'end')
  // what is stored cannot be left out
  put(code, 'i32.const', 0)
  for (let i = 0; i < SUMS; i++) {
    put(code, 'local.get', i)
    if (i > 0) put(code, 'f32x4.add')
  }
  put(code, 'v128.store', 4, 0)
  const locals = [...Array.from({ length: SUMS }, () => 'v128' as const), 'v128', 'i32'] as const
  return encodeModule([{ name: 'run', params: [], locals, code }])
}

/**
 * Starts the probe's threads, one fewer than there are cores.
 * @example const probe = startProbe(); probe.measure().all; probe.stop()
 */
export function startProbe(threads = availableParallelism()): Probe {
  const module = new WebAssembly.Module(loop())
  const memory = new WebAssembly.Memory({ initial: 1 })
  // the one export, as encoded above
  const run = new WebAssembly.Instance(module, { env: { memory } }).exports.run as () => void
  const words = new Int32Array(new SharedArrayBuffer(8))
  const rates = new Float64Array(new SharedArrayBuffer(8 * threads))
  const workers = Array.from({ length: threads - 1 }, (_, i) => {
    const workerData = { probe: { words, rates, module, index: i + 1, span: SPAN } }
    const worker = new Worker(new URL('./cores-thread.mjs', import.meta.url), { workerData, execArgv: [] })
    worker.unref()
    return worker
  })
  const probe: Probe = {
    measure() {
      const one = spin(run, SPAN)
      Atomics.store(words, 1, 0)
      Atomics.add(words, 0, 1)
      Atomics.notify(words, 0)
      rates[0] = spin(run, SPAN)
      for (let done = Atomics.load(words, 1); done < threads - 1; done = Atomics.load(words, 1))
        if (Atomics.wait(words, 1, done, 10_000) === 'timed-out')
          throw new Error('bench: a thread does not answer')
      return { one: one * GFLOP, all: rates.reduce((n, x) => n + x, 0) * GFLOP }
    },
    stop() {
      for (const w of workers) void w.terminate()
    },
  }
  // V8 compiles the loop anew when it is warm
  for (let i = 0; i < WARM; i++) probe.measure()
  return probe
}

/** Of the cores that there are, the part from which every thread counts as having one of its own. */
export const WHOLE = 0.92
/** What a thread keeps of its speed, at least, where all work and each has a core: clocks fall. */
const CLOCK = 0.75
/** Looks from which the speed of a core is known: the last ones. */
const KNOWN = 500
/** The part of the looks that may be better than what counts as the best: timers err. */
const ERRORS = 0.1

/**
 * How many whole cores the threads had together. One core is what a thread does at the run's best moments while all work,
 * and at least three quarters of what one alone does: less are cores that others have a part of all the time.
 * @param samples  of the moments that matter: their median
 * @param run      of the whole run
 * @param cores    those that there are
 */
export function wholeCores(samples: readonly CoreSpeed[], run: readonly CoreSpeed[], cores: number): number {
  const best = (of: (x: CoreSpeed) => number) =>
    quantile(
      run
        .slice(-KNOWN)
        .map(of)
        .sort((a, b) => a - b),
      1 - ERRORS,
    )
  const core = Math.max(best(x => x.all) / cores, CLOCK * best(x => x.one))
  return summarise(samples.map(x => x.all)).median / core
}

/**
 * Looks at the cores again and again, until all of them are whole; then once more, and gives that look, which nobody chose.
 * It works all the time: a host that laid two cores onto one of its own while they slept parts them only while both are
 * awake.
 * @param seen    the looks of the run; new ones are added
 * @param budget  `ms` that may yet be waited in the whole run
 * @param cores   those that there are
 */
export async function waitForCores(
  probe: Probe,
  seen: CoreSpeed[],
  budget: { ms: number },
  cores: number,
): Promise<CoreSpeed> {
  const look = (): CoreSpeed => {
    const sample = probe.measure()
    seen.push(sample)
    return sample
  }
  // what a core can do has to be known before it is waited for
  while (budget.ms > 0 && seen.length < FIRST) look()
  for (let told = Infinity; budget.ms > 0 && wholeCores([look()], seen, cores) < WHOLE * cores; ) {
    const begin = performance.now()
    const seconds = Math.ceil(budget.ms / 1000)
    if (seconds < told) process.stderr.write(`\r\x1b[2Kwaiting for the cores, ${seconds} s at most `)
    told = seconds
    // Ctrl-C is heard in between
    await nextTurn()
    budget.ms -= SPAN * 2 + performance.now() - begin
  }
  return look()
}

/** The cores of this machine without the second threads of each, where Linux tells them apart. */
export function wholeCoresOf(): number {
  const threads = availableParallelism()
  const siblings = Array.from({ length: threads }, (_, i) => {
    try {
      return readFileSync(`/sys/devices/system/cpu/cpu${i}/topology/thread_siblings_list`, 'utf8')
    } catch {
      return String(i)
    }
  })
  return new Set(siblings).size
}
