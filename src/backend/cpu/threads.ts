/**
 * Threads for the CPU backend, in Node. A kernel's slices do not depend on each other, so results do not depend on
 * the number of threads, nor on which of them runs what.
 *
 * Note [Claims]. A job is a kernel and a range of slices, cut into chunks. The word `claim` holds the job's number
 * and the next chunk; a thread takes a chunk by compare-and-exchange, after it has copied the job's words. A thread
 * that wakes late, and copied words of two jobs, fails in its exchange. The thread that made the job works too and
 * then waits for chunks that were claimed, never for threads that were not there: a busy core costs no more than
 * the help it would have given.
 */
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { DeviceError } from '../../dsl/errors.ts'

/** Runs slices of kernels on several threads, this one among them. */
export interface ThreadPool {
  readonly threads: number
  /** Whether all threads have started. They need turns of this thread's event loop for it, many with a loader. */
  ready(): boolean
  /** Makes a program's kernels known to every thread. */
  load(program: number, module: WebAssembly.Module): void
  unload(program: number): void
  /** Runs a job; `own` runs slices on this thread. */
  run(job: Job, own: (from: number, to: number) => void): void
  close(): void
}
/** Slices `from` to `to` of a kernel, in so many chunks. */
export interface Job {
  readonly program: number
  readonly kernel: number
  readonly addresses: readonly number[]
  /** Each thread has `scratchBytes` of its own at `scratch`. */
  readonly scratch: number
  readonly scratchBytes: number
  readonly from: number
  readonly to: number
  readonly chunks: number
}

/** The control words, by position. */
// biome-ignore format: a table
const words = {
  claim: 0, done: 1, failed: 2, chunks: 3, program: 4, kernel: 5, from: 6, to: 7, scratch: 8, scratchBytes: 9, count: 10, ready: 11,
  addresses: 12,
  /** The claim that ends a thread. */
  STOP: -1,
} as const
/** Bindings that a kernel may have. */
const maxAddresses = 64
/** Polls before a thread sleeps: about 0.1 ms, more than the gap between two kernels. */
const spins = 20_000
/** A chunk takes milliseconds: a thread that holds one for so long is gone. */
const patience = 60_000

/** The cores of this machine. */
export const cores = (): number => availableParallelism()

/**
 * Starts `threads - 1` workers on a shared memory. They do not keep the process alive.
 * @example const pool = startThreads(cores(), memory)
 */
export function startThreads(threads: number, memory: WebAssembly.Memory): ThreadPool {
  const control = new SharedArrayBuffer(4 * (words.addresses + maxAddresses))
  const c = new Int32Array(control)
  const workers = Array.from({ length: threads - 1 }, (_, i) => {
    const workerData = { control, memory, index: i + 1, words, spins }
    const worker = new Worker(new URL('./worker.js', import.meta.url), { workerData, execArgv: [] })
    worker.unref()
    return worker
  })
  const post = (message: { readonly program: number; readonly module: WebAssembly.Module | null }): void => {
    for (const w of workers) w.postMessage(message)
  }
  let number = 0
  const join = (chunks: number): void => {
    for (let i = 0; ; i++) {
      const done = Atomics.load(c, words.done)
      if (done === chunks) break
      if (i > spins && Atomics.wait(c, words.done, done, patience) === 'timed-out')
        throw new DeviceError('cpu: a thread of the backend does not answer')
    }
    if (Atomics.exchange(c, words.failed, 0) !== 0)
      throw new DeviceError('cpu: a kernel failed on a thread of the backend')
  }
  return {
    threads,
    ready: () => Atomics.load(c, words.ready) >= threads - 1,
    load: (program, module) => post({ program, module }),
    unload: program => post({ program, module: null }),
    run(job, own) {
      // Closed while the words change: what a thread copies now it cannot claim.
      Atomics.store(c, words.claim, (number << 16) | 0xffff)
      for (const name of ['program', 'kernel', 'from', 'to', 'scratch', 'scratchBytes', 'chunks'] as const)
        c[words[name]] = job[name]
      c[words.count] = job.addresses.length
      c.set(job.addresses, words.addresses)
      c[words.done] = 0
      // The number wraps after 15 bits: a claim stays positive, and no thread sleeps through 32,768 jobs.
      number = (number + 1) & 0x7fff
      const first = number << 16
      Atomics.store(c, words.claim, first)
      Atomics.notify(c, words.claim)
      const n = job.to - job.from
      const at = (k: number): number => job.from + Math.floor((n * k) / job.chunks)
      for (let chunk = 0; chunk < job.chunks; ) {
        const seen = Atomics.compareExchange(c, words.claim, first + chunk, first + chunk + 1)
        if (seen !== first + chunk) {
          chunk = seen - first
          continue
        }
        own(at(chunk), at(chunk + 1))
        Atomics.add(c, words.done, 1)
        chunk++
      }
      join(job.chunks)
    },
    close() {
      Atomics.store(c, words.claim, words.STOP)
      Atomics.notify(c, words.claim)
    },
  }
}
