/**
 * The executor of the CPU backend: a plan becomes one WebAssembly module (kernels with equal content share a
 * function) and a program that runs it on arrays in one WebAssembly memory. Large kernels are split over a pool of
 * threads where there is one; long runs give way to the event loop.
 */
import { tryCatch } from 'fp-ts/lib/TaskEither.js'
import { CotangentError, DeviceError } from '../../dsl/errors.ts'
import type { Graph } from '../../dsl/graph.ts'
import type { Backend, Program, Resident } from '../backend.ts'
import { instructions, printKernel } from '../kernel.ts'
import { type BufferRef, type Dispatch, largest, type Plan, peakBytes } from '../plan.ts'
import { type KernelTime, workOf } from '../work.ts'
import { checkFits, makeHeap } from './heap.ts'
import { renderKernel } from './render.ts'
import { Residents, type Taken, typeBytes, upload } from './residents.ts'
import type { ThreadPool } from './threads.ts'
import { encodeModule } from './wasm.ts'

/** Loads plans. Runs of all programs of one executor happen one after another. */
export interface CpuExecutor {
  /** @throws CompileError if the plan needs more than a WebAssembly memory can hold */
  load(plan: Plan): Promise<Program>
  memory(): { readonly buffers: number; readonly bytes: number }
  close(): void
}

/** Starts threads on a memory; called once, when the first kernel is large enough. */
export type StartThreads = {
  readonly threads: number
  readonly start: (memory: WebAssembly.Memory) => ThreadPool
}

/** Is called after every run with the time of each kernel. */
export type ProfileHook = (times: readonly KernelTime[]) => void

/**
 * The compiled CPU backend; `toPlan` is the pipeline from graphs to plans. Without `threads` (in a browser) one
 * thread does it all.
 */
export function cpuBackend(
  toPlan: (graph: Graph, donated: readonly boolean[]) => Plan,
  threads?: StartThreads,
  profile?: ProfileHook,
): Backend {
  const executor = cpuExecutor(threads, profile)
  const n = threads?.threads ?? 1
  return {
    name: 'cpu',
    description: `WebAssembly SIMD, ${n} thread${n === 1 ? '' : 's'}`,
    dtypes: ['f32', 'f64', 'i32', 'u32', 'bool'],
    compile: (graph, donated = []) =>
      tryCatch(
        async () => executor.load(toPlan(graph, donated)),
        error => {
          if (error instanceof CotangentError) return error
          throw error
        },
      ),
    memory: executor.memory,
    close: executor.close,
  }
}

/** Runs `from` to `to` of a kernel's slices on buffers at the given addresses, the scratch memory last. */
type KernelFunction = (...addresses: readonly number[]) => void
interface Step {
  readonly run: KernelFunction
  /** The function's number in its module. */
  readonly number: number
  readonly slices: number
  /** What a slice takes in ms, with the threads that share them: guessed at first, then measured. */
  time: number
  /** The least number of parts that threads share; 1: not worth several threads. */
  readonly chunks: number
  /** Whether every chunk costs something of its own. */
  readonly packs: boolean
  readonly bindings: readonly BufferRef[]
}
/** A program in memory. */
interface Loaded {
  readonly id: number
  readonly module: WebAssembly.Module
  readonly steps: readonly Step[]
  readonly scratchBytes: number
  readonly constants: readonly number[]
}
interface Compiled {
  readonly module: WebAssembly.Module
  readonly slices: readonly number[]
  /** Whether a kernel copies an operand into scratch memory at each call, however short. */
  readonly packs: readonly boolean[]
  readonly scratchBytes: number
}

/** How long a run keeps the thread before others get a turn, in ms. */
const TURN = 20

/**
 * Chunks a thread: enough that a core that is slow, busy or late costs little (2 chunks of a product of 512 take 5.0 ms where 16
 * take 2.5, in the second after a pause). A kernel that packs its whole operand does so once a chunk, and gets one.
 */
const CHUNKS = 8
/** What a chunk of a long kernel takes, in ms: the last one is waited for. */
const CHUNK = 0.1
/** A guess of a kernel's time from which threads pay for the fork and join, in ms. */
const WORTH_THREADS = 0.02
/** Milliseconds of such kernels after which threads are started: a first small result does not wait for them. */
const WORTH_STARTING = 20

/** A fresh executor with a memory of its own. */
export function cpuExecutor(starter?: StartThreads, profile?: ProfileHook): CpuExecutor {
  const threads = starter?.threads ?? 1
  const heap = makeHeap(threads > 1)
  let pool: ThreadPool | null = null
  /** What kernels that are worth threads took without them, in ms. */
  let busy = 0
  const inPool = new Set<number>()
  let programs = 0
  const residents = new Residents(heap)
  const modules = new Map<string, Promise<Compiled>>()
  const unloaded = new FinalizationRegistry<Loaded>(({ id, constants }) => {
    for (const at of constants) heap.free(at)
    if (inPool.delete(id)) pool?.unload(id)
  })
  // one arena for all programs (intermediates, then scratch memory), as large as the largest needs: nothing in it
  // outlives a run
  let arena = { at: 0, bytes: -1 }
  let queue: Promise<unknown> = Promise.resolve()
  let closed = false

  const compiled = (texts: readonly string[], dispatches: readonly Dispatch[]): Promise<Compiled> => {
    const key = texts.join('\n\n')
    const known = modules.get(key)
    if (known) {
      modules.delete(key)
      modules.set(key, known)
      return known
    }
    const fresh = compileKernels(dispatches, threads > 1)
    modules.set(key, fresh)
    const oldest = modules.keys().next().value
    if (modules.size > 64 && oldest !== undefined) modules.delete(oldest)
    return fresh
  }

  async function load(plan: Plan): Promise<Program> {
    const peak = peakBytes(plan)
    checkFits(peak, () => largest(plan))
    const distinct = new Map<string, { readonly number: number; readonly dispatch: Dispatch }>()
    const numbers = plan.steps.map(dispatch => {
      const text = `${printKernel(dispatch.kernel)}\n${JSON.stringify(dispatch.schedule)}`
      const found = distinct.get(text) ?? { number: distinct.size, dispatch }
      distinct.set(text, found)
      return found.number
    })
    const { module, slices, packs, scratchBytes } = await compiled(
      [...distinct.keys()],
      [...distinct.values()].map(d => d.dispatch),
    )
    const { exports } = await WebAssembly.instantiate(module, { env: { memory: heap.memory } })
    const steps = plan.steps.map((d, i): Step => {
      // the module exports one function per distinct kernel under these names
      const run = exports[`k${numbers[i]}`] as KernelFunction
      const n = slices[numbers[i]]
      const ms = guess(d)
      const wide = threads > 1 && n > 1 && ms > WORTH_THREADS
      return {
        run,
        number: numbers[i],
        slices: n,
        time: ms / n / (wide ? threads : 1),
        chunks: wide ? threads * (packs[numbers[i]] ? 1 : CHUNKS) : 1,
        packs: packs[numbers[i]],
        bindings: d.bindings,
      }
    })
    const loaded: Loaded = {
      id: programs++,
      module,
      steps,
      scratchBytes,
      constants: plan.constants.map(c => upload(heap, c.type, c.data)),
    }
    const program: Program = {
      stats: {
        kernels: plan.steps.length,
        arenaBytes: plan.arenaBytes,
        peakBytes: peak + threads * scratchBytes,
      },
      run: (args, donate) => {
        if (closed) return Promise.reject(new DeviceError('cpu: the backend was closed'))
        let taken: Taken
        try {
          taken = residents.take(plan, args, donate)
        } catch (error) {
          return Promise.reject(error)
        }
        const result = queue.then(() => runNow(plan, loaded, taken))
        queue = result.catch(() => undefined)
        return result
      },
    }
    unloaded.register(program, loaded)
    return program
  }

  /** The threads, if they are up and know the program's kernels. */
  const threadsFor = ({ id, module }: Loaded): ThreadPool | null => {
    if (starter === undefined) return null
    if (pool === null && busy < WORTH_STARTING) return null
    pool ??= starter.start(heap.memory)
    if (!inPool.has(id)) pool.load(id, module)
    inPool.add(id)
    return pool
  }

  async function runNow(plan: Plan, loaded: Loaded, inputs: Taken): Promise<Resident[]> {
    const { steps, scratchBytes, constants } = loaded
    const outputs: number[] = []
    const own = (o: number) => plan.takenOver?.has(o) !== true
    try {
      const scratch = Math.ceil(plan.arenaBytes / 256) * 256
      const needed = scratch + threads * scratchBytes
      if (needed > arena.bytes) {
        if (arena.bytes >= 0) heap.free(arena.at)
        arena = { at: 0, bytes: -1 }
        arena = { at: heap.allocate(needed), bytes: needed }
      }
      const places = inputs.addresses(heap)
      for (const [o, t] of plan.outputs.entries()) {
        const input = plan.takenOver?.get(o)
        outputs.push(input === undefined ? heap.allocate(typeBytes(t)) : places[input])
      }
      const address = (b: BufferRef): number => {
        if (b.k === 'arena') return arena.at + b.offset
        return { input: places, output: outputs, const: constants }[b.k][b.index]
      }
      let turn = performance.now()
      const begin = turn
      const times: KernelTime[] = []
      const starting = () => pool !== null && !pool.ready()
      for (const [i, s] of steps.entries()) {
        const start = profile ? performance.now() : 0
        let away = 0
        const addresses = s.bindings.map(address)
        let now = performance.now()
        for (let from = 0; from < s.slices; ) {
          if (now - turn > TURN || starting()) {
            await giveWay()
            turn = performance.now()
            away += turn - now
            now = turn
          }
          const to = Math.min(s.slices, from + slicesPerCall(s))
          const at = arena.at + scratch
          const own = (a: number, b: number) => s.run(...addresses, at, a, b)
          const workers = s.chunks > 1 ? threadsFor(loaded) : null
          if (workers)
            workers.run(
              {
                program: loaded.id,
                kernel: s.number,
                addresses,
                scratch: at,
                scratchBytes,
                from,
                to,
                chunks: chunksOf(s, to - from, threads),
              },
              own,
            )
          else own(from, to)
          const before = now
          now = performance.now()
          if (s.chunks > 1 && pool === null) busy += now - before
          s.time = (now - before) / (to - from)
          from = to
        }
        if (profile) {
          const { kernel, scope } = plan.steps[i]
          const time = 1000 * (performance.now() - start - away)
          times.push({ kernel, scope, start: 1000 * (start - begin), time, ...workOf(kernel) })
        }
      }
      profile?.(times)
      return outputs.map((at, i) => residents.make(plan.outputs[i], at))
    } catch (error) {
      for (const [o, at] of outputs.entries()) if (own(o)) heap.free(at)
      throw error
    } finally {
      inputs.release()
    }
  }

  return {
    load,
    memory: heap.live,
    close() {
      closed = true
      modules.clear()
      pool?.close()
      pool = null
    },
  }
}

async function compileKernels(dispatches: readonly Dispatch[], shared: boolean): Promise<Compiled> {
  const rendered = dispatches.map((d, i) => renderKernel(d.kernel, d.schedule, `k${i}`))
  const module = await WebAssembly.compile(
    encodeModule(
      rendered.map(r => r.fn),
      shared,
    ),
  )
  const scratchBytes = rendered.reduce((n, r) => Math.max(n, r.scratchBytes), 0)
  return {
    module,
    slices: rendered.map(r => r.slices),
    packs: rendered.map(r => r.packsEachCall),
    scratchBytes,
  }
}

/** A kernel's time in ms, by a guess: 0.4 ns an instruction, a tenth of that in lanes and tiles. */
const guess = ({ kernel: k, schedule }: Dispatch): number =>
  (k.axes.reduce((n, a) => n * a.extent, 1) *
    Math.max(1, instructions(k).length) *
    (schedule.vector === null ? 0.4 : 0.04)) /
  1e6

/** Slices that take about half a turn; at least one for each chunk. */
const slicesPerCall = ({ time, chunks }: Step): number =>
  Math.max(chunks, Math.floor(TURN / 2 / Math.max(time, 1e-6)))

/** The chunks of so many slices. */
const chunksOf = (s: Step, slices: number, threads: number): number => {
  const short = s.packs ? 0 : Math.floor((threads * slices * s.time) / CHUNK)
  return Math.min(Math.max(s.chunks, short), slices)
}

const giveWay = (): Promise<void> =>
  new Promise(resolve => {
    if (typeof setImmediate === 'function') setImmediate(resolve)
    else setTimeout(resolve, 0)
  })
