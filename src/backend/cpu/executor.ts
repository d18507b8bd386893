/**
 * The executor of the CPU backend: a plan becomes one WebAssembly module (kernels with equal content share a
 * function) and a program that runs it on arrays in one WebAssembly memory. Large kernels are split over a pool of
 * threads where there is one; long runs give way to the event loop.
 */
import { tryCatch } from 'fp-ts/lib/TaskEither.js'
import type { NDArray } from '../../dsl/array.ts'
import { type DType, makeData, type TypedArray } from '../../dsl/dtype.ts'
import { CotangentError, DeviceError, ShapeError } from '../../dsl/errors.ts'
import type { Graph } from '../../dsl/graph.ts'
import { showType, size } from '../../dsl/shape.ts'
import type { TensorType } from '../../dsl/tensor.ts'
import type { Argument, Backend, Program, Resident } from '../backend.ts'
import { instructions, type Kernel, printKernel } from '../kernel.ts'
import { type BufferRef, type Dispatch, deviceBytes, type Plan } from '../plan.ts'
import { checkFits, type Heap, makeHeap } from './heap.ts'
import { renderKernel } from './render.ts'
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

/**
 * The compiled CPU backend; `toPlan` is the pipeline from graphs to plans. Without `threads` (in a browser) one
 * thread does it all.
 */
export function cpuBackend(toPlan: (graph: Graph) => Plan, threads?: StartThreads): Backend {
  const executor = cpuExecutor(threads)
  const n = threads?.threads ?? 1
  return {
    name: 'cpu',
    description: `WebAssembly SIMD, ${n} thread${n === 1 ? '' : 's'}`,
    dtypes: ['f32', 'f64', 'i32', 'u32', 'bool'],
    compile: graph =>
      tryCatch(
        async () => executor.load(toPlan(graph)),
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
  readonly perCall: number
  /** The parts that threads share; 1: not worth several threads. */
  readonly chunks: number
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
  /** Whether a kernel copies an operand into scratch memory first. */
  readonly packs: readonly boolean[]
  readonly scratchBytes: number
}

/** How long a run keeps the thread before others get a turn, in ms. */
const TURN = 20

/** Chunks a thread: enough that a busy core costs little. A kernel that packs its operand does so once a chunk. */
const CHUNKS = 4
/** A guess of a kernel's time from which threads pay for the fork and join, in ms. */
const WORTH_THREADS = 0.05

/** A fresh executor with a memory of its own. */
export function cpuExecutor(starter?: StartThreads): CpuExecutor {
  const threads = starter?.threads ?? 1
  const heap = makeHeap(threads > 1)
  let pool: ThreadPool | null = null
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
    const types = [...plan.inputs, ...plan.outputs, ...plan.constants.map(c => c.type)]
    checkFits(types.reduce((n, t) => n + typeBytes(t), plan.arenaBytes))
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
      const ms = guess(d.kernel)
      const wide = threads > 1 && n > 1 && ms > WORTH_THREADS
      return {
        run,
        number: numbers[i],
        slices: n,
        perCall: slicesPerCall(ms / (wide ? threads : 1), n),
        chunks: wide ? threads * (packs[numbers[i]] ? 1 : CHUNKS) : 1,
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
      stats: { kernels: plan.steps.length, arenaBytes: plan.arenaBytes },
      run: (args, donate) => {
        if (closed) return Promise.reject(new DeviceError('cpu: the backend was closed'))
        let taken: Taken
        try {
          taken = residents.take(plan.inputs, args, donate)
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
  const threadsFor = ({ id, module, steps }: Loaded): ThreadPool | null => {
    if (starter === undefined || !steps.some(s => s.chunks > 1)) return null
    pool ??= starter.start(heap.memory)
    if (!inPool.has(id)) pool.load(id, module)
    inPool.add(id)
    return pool
  }

  async function runNow(plan: Plan, loaded: Loaded, inputs: Taken): Promise<Resident[]> {
    const { steps, scratchBytes, constants } = loaded
    const outputs: number[] = []
    try {
      const scratch = Math.ceil(plan.arenaBytes / 256) * 256
      const needed = scratch + threads * scratchBytes
      if (needed > arena.bytes) {
        if (arena.bytes >= 0) heap.free(arena.at)
        arena = { at: 0, bytes: -1 }
        arena = { at: heap.allocate(needed), bytes: needed }
      }
      const places = inputs.addresses(heap)
      for (const t of plan.outputs) outputs.push(heap.allocate(typeBytes(t)))
      const address = (b: BufferRef): number => {
        if (b.k === 'arena') return arena.at + b.offset
        return { input: places, output: outputs, const: constants }[b.k][b.index]
      }
      let turn = performance.now()
      const workers = threadsFor(loaded)
      for (const s of steps) {
        const addresses = s.bindings.map(address)
        for (let from = 0; from < s.slices; from += s.perCall) {
          if (performance.now() - turn > TURN) {
            await giveWay()
            turn = performance.now()
          }
          const to = Math.min(s.slices, from + s.perCall)
          const at = arena.at + scratch
          const own = (a: number, b: number) => s.run(...addresses, at, a, b)
          if (workers && s.chunks > 1)
            workers.run(
              {
                program: loaded.id,
                kernel: s.number,
                addresses,
                scratch: at,
                scratchBytes,
                from,
                to,
                chunks: Math.min(s.chunks, to - from),
              },
              own,
            )
          else own(from, to)
        }
      }
      return outputs.map((at, i) => residents.make(plan.outputs[i], at))
    } catch (error) {
      for (const at of outputs) heap.free(at)
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
    packs: rendered.map(r => r.scratchBytes > 0),
    scratchBytes,
  }
}

/** A kernel's time in ms, by a guess of 1 ns an instruction. */
const guess = (k: Kernel): number =>
  (k.axes.reduce((n, a) => n * a.extent, 1) * Math.max(1, instructions(k).length)) / 1e6

/** Slices that take about half a turn, of a kernel that takes so many ms. */
const slicesPerCall = (ms: number, slices: number): number =>
  Math.max(1, ms < TURN / 2 ? slices : Math.floor((slices * TURN) / 2 / ms))

const giveWay = (): Promise<void> =>
  new Promise(resolve => {
    if (typeof setImmediate === 'function') setImmediate(resolve)
    else setTimeout(resolve, 0)
  })

const typeBytes = (t: TensorType): number => deviceBytes(t.dtype, size(t.shape))

/** Copies host data into fresh device memory. */
function upload(heap: Heap, type: TensorType, data: TypedArray): number {
  const at = heap.allocate(typeBytes(type))
  view(heap, type.dtype, at, data.length).set(data)
  return at
}
/** The device's words of an array; bool as i32. Valid until the memory grows. */
function view(heap: Heap, dtype: DType, at: number, n: number): TypedArray {
  const { buffer } = heap.memory
  if (dtype === 'f32') return new Float32Array(buffer, at, n)
  if (dtype === 'f64') return new Float64Array(buffer, at, n)
  return dtype === 'u32' ? new Uint32Array(buffer, at, n) : new Int32Array(buffer, at, n)
}

/** The arguments of one run: held until it is over. */
interface Taken {
  addresses(heap: Heap): readonly number[]
  release(): void
}

/** The arrays that live in the memory. One is freed when it was dropped and no run holds it. */
class Residents {
  readonly heap: Heap
  /** Owners of an address: its array, and runs in the queue. */
  readonly owners = new Map<number, number>()
  readonly places = new WeakMap<Resident, { at: number | null; readonly type: TensorType }>()
  readonly dropped = new FinalizationRegistry<number>(at => this.release(at))

  constructor(heap: Heap) {
    this.heap = heap
  }

  release(at: number): void {
    const left = (this.owners.get(at) ?? 0) - 1
    if (left > 0) this.owners.set(at, left)
    else {
      this.owners.delete(at)
      this.heap.free(at)
    }
  }

  /** An array over memory that a run has filled. */
  make(type: TensorType, at: number): Resident {
    const place: { at: number | null; readonly type: TensorType } = { at, type }
    this.owners.set(at, 1)
    const resident: Resident = {
      type,
      read: async () => {
        if (place.at === null) throw gone(type)
        const words = view(this.heap, type.dtype, place.at, size(type.shape))
        const data = makeData(type.dtype, words.length)
        data.set(words)
        return { shape: type.shape, dtype: type.dtype, data }
      },
      dispose: () => this.drop(resident),
    }
    this.places.set(resident, place)
    this.dropped.register(resident, at, place)
    return resident
  }

  drop(resident: Resident): void {
    const place = this.places.get(resident)
    if (place === undefined || place.at === null) return
    const { at } = place
    place.at = null
    this.dropped.unregister(place)
    this.release(at)
  }

  /** Checks the arguments and holds the resident ones; donated ones are gone from now on. */
  take(types: readonly TensorType[], args: readonly Argument[], donate: readonly boolean[]): Taken {
    if (args.length !== types.length)
      throw new ShapeError('run', `the program takes ${types.length} arguments, got ${args.length}`)
    const held: (number | NDArray)[] = args.map((a, i) => {
      const type = 'read' in a ? a.type : a
      if (showType(type) !== showType(types[i]))
        throw new ShapeError('run', `argument ${i} must be ${showType(types[i])}, got ${showType(type)}`)
      if (!('read' in a)) return a
      const place = this.places.get(a)
      if (place === undefined)
        throw new DeviceError(`cpu: argument ${i} lives on another device; read() it there first`)
      if (place.at === null) throw gone(place.type)
      return place.at
    })
    for (const at of held) if (typeof at === 'number') this.owners.set(at, (this.owners.get(at) ?? 0) + 1)
    for (const [i, a] of args.entries()) if (donate[i] && 'read' in a) this.drop(a)
    const mine: number[] = held.filter(at => typeof at === 'number')
    return {
      addresses: heap =>
        held.map((a, i) => {
          if (typeof a === 'number') return a
          const at = upload(heap, types[i], a.data)
          this.owners.set(at, 1)
          mine.push(at)
          return at
        }),
      release: () => {
        for (const at of mine) this.release(at)
      },
    }
  }
}

const gone = (type: TensorType) =>
  new DeviceError(
    `cpu: the array ${showType(type)} was donated to a call or disposed of; keep the call's result instead`,
  )
