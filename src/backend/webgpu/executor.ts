/**
 * The WebGPU backend. In: a device, and the way from a graph to a plan. Out: a `Backend`, whose programs run a
 * whole plan as one command buffer.
 *
 * Intermediates lie in one arena buffer per program. A buffer must not be bound both for reading and for writing
 * in one dispatch, so ranges of the arena are always bound `read_write`, equal ones once. Bind groups live as
 * long as the program; those with arguments or results in them are cached by the identity of these buffers.
 */
import * as TE from 'fp-ts/lib/TaskEither.js'
import type { NDArray } from '../../dsl/array.ts'
import { type DType, makeData } from '../../dsl/dtype.ts'
import { CompileError, CotangentError, DeviceError, ShapeError } from '../../dsl/errors.ts'
import type { Graph } from '../../dsl/graph.ts'
import { sameShape, showType, size } from '../../dsl/shape.ts'
import type { TensorType } from '../../dsl/tensor.ts'
import { type Argument, type Backend, isResident, type Program, type Resident } from '../backend.ts'
import type { Plan } from '../plan.ts'
import { describe } from './dawn.ts'
import type { Device } from './device.ts'
import { submit } from './encode.ts'
import { bytesOf, webgpuDTypes } from './layout.ts'
import { type Executable, fillWithNaN, load, toWords } from './load.ts'
import type { WebGPUOptions } from './options.ts'
import { makePool, type Pool, type PooledBuffer } from './pool.ts'

/** Runs that may be submitted without a wait: back-pressure for loops that never read. */
const RUNS_AHEAD = 32

/**
 * The backend on an open device.
 * @param toPlan  from a graph to kernels and memory; may throw CompileError
 * @example webgpuBackend(device, graph => planGraph(graph, k => chooseSchedule(k, target)))
 */
export function webgpuBackend(
  device: Device,
  toPlan: (graph: Graph, donated: readonly boolean[]) => Plan,
  options: WebGPUOptions = {},
): Backend {
  const shared: Shared = {
    device,
    pool: makePool(device, options.memoryBudget),
    arrays: new WeakMap(),
    options,
    ahead: 0,
  }
  return {
    name: 'webgpu',
    description: describe(device.info),
    dtypes: webgpuDTypes,
    compile: (graph, donated = []) =>
      TE.tryCatch(
        async () => {
          const plan = toPlan(graph, donated)
          const program = await load(device, shared.pool, (await options.refine?.(plan)) ?? plan, options)
          const run: Program['run'] = (args, donate) => runPlan(shared, program, args, donate)
          return { stats: program.stats, run }
        },
        e => (e instanceof CotangentError ? e : new CompileError(`webgpu: ${e}`, { cause: e })),
      ),
    memory: () => device.usage(),
    close: () => device.close(),
  }
}

/** What programs of one backend have in common. */
interface Shared {
  readonly device: Device
  readonly pool: Pool
  /** The buffers of this backend's arrays; none once it is donated or disposed of. */
  readonly arrays: WeakMap<Resident, Owner>
  readonly options: WebGPUOptions
  /** Runs submitted since the last wait. */
  ahead: number
}

/** Who holds a buffer. */
interface Owner {
  buffer: PooledBuffer | null
}

/** The reads under way: until they end, a buffer that was given up is not used again. */
const reads = new WeakMap<PooledBuffer, Promise<unknown>>()
const giveWhenRead = (pool: Pool, buffers: Iterable<PooledBuffer>): void => {
  const idle: PooledBuffer[] = []
  for (const b of buffers) {
    const read = reads.get(b)
    if (read === undefined) idle.push(b)
    else read.then(() => giveWhenRead(pool, [b]))
  }
  pool.give(idle)
}

// ---- run -----------------------------------------------------------------------------------------------

async function runPlan(
  shared: Shared,
  program: Executable,
  args: readonly Argument[],
  donate: readonly boolean[],
): Promise<readonly Resident[]> {
  const { device, pool, options } = shared
  const { steps } = program
  device.check()
  const owners = args.map((a, i) => ownerOf(shared, a, program.inputs[i], i))
  checkTakenOver(program, owners, donate)
  // From here on nobody else can use or free what is donated, whatever we wait for.
  const held = owners.map(o => o?.buffer ?? null)
  const spent = new Set<PooledBuffer>()
  for (const [i, owner] of owners.entries())
    if (owner?.buffer && donate[i]) {
      spent.add(owner.buffer)
      owner.buffer = null
    }
  const fresh: PooledBuffer[] = []
  const take = async (t: TensorType) => {
    const b = await pool.take(bytesOf(t))
    fresh.push(b)
    return b
  }
  try {
    const inputs: PooledBuffer[] = []
    for (const [i, a] of args.entries()) {
      const buffer = held[i] ?? (await take(program.inputs[i]))
      inputs.push(buffer)
      if (held[i] !== null || isResident(a)) continue
      device.write(buffer.gpu, 0, toWords(a.dtype, a.data))
      spent.add(buffer)
    }
    const outputs = await Promise.all(
      program.outputs.map((t, o) => {
        const input = program.takenOver.get(o)
        return input === undefined ? take(t) : inputs[input]
      }),
    )
    if (options.poison) {
      program.poison()
      for (const [o, b] of outputs.entries())
        if (!program.takenOver.has(o)) fillWithNaN(device, b.gpu, b.bytes)
    }
    const buffers = { input: inputs, output: outputs }
    const most = options.maxDispatchesPerSubmit ?? Infinity
    const go = () => submit(device, steps, buffers, most, program.profile?.timer ?? null)
    // Validation fails in the first run or never; asking costs a wait.
    if (program.proven) go()
    else await device.guard('run', go)
    program.proven = true
    await program.profile?.report()
    for (const input of program.takenOver.values()) spent.delete(inputs[input])
    giveWhenRead(pool, spent)
    fresh.length = 0
    spent.clear()
    if (++shared.ahead >= RUNS_AHEAD) {
      shared.ahead = 0
      await device.wait(device.queue.onSubmittedWorkDone())
    }
    return outputs.map((b, i) => makeArray(shared, program.outputs[i], b))
  } catch (e) {
    giveWhenRead(pool, new Set([...fresh, ...spent]))
    throw e
  }
}

/** @throws DeviceError if an argument that the program overwrites is not donated, or is another argument too */
function checkTakenOver(
  { takenOver }: Executable,
  owners: readonly (Owner | null)[],
  donate: readonly boolean[],
): void {
  for (const i of takenOver.values()) {
    if (!donate[i])
      throw new DeviceError(
        `webgpu: the program writes a result in argument ${i}; run it with this argument donated`,
      )
    const again = owners.findIndex((o, j) => o !== null && j !== i && o === owners[i])
    if (again >= 0)
      throw new DeviceError(
        `webgpu: argument ${i} is donated and is argument ${again} too; pass a copy of it`,
      )
  }
}

/** Who holds an argument's buffer; null for host data. */
function ownerOf(shared: Shared, a: Argument, type: TensorType, i: number): Owner | null {
  const given = isResident(a) ? a.type : a
  if (given.dtype !== type.dtype || !sameShape(given.shape, type.shape))
    throw new ShapeError(
      'run',
      `argument ${i} is ${showType(given)}, the program was compiled for ${showType(type)}`,
    )
  if (!isResident(a)) return null
  const owner = shared.arrays.get(a)
  if (owner === undefined)
    throw new DeviceError(`webgpu: argument ${i} lives on another device; read() it first`)
  if (owner.buffer === null)
    throw new DeviceError(`webgpu: argument ${i}, ${showType(type)}, was donated or disposed of before`)
  return owner
}

// ---- arrays --------------------------------------------------------------------------------------------

/** Gives the buffers of arrays that nobody reaches back to their pool. */
const collected = new FinalizationRegistry<{ readonly pool: Pool; readonly owner: Owner }>(
  ({ pool, owner }) => giveUp(pool, owner),
)

const giveUp = (pool: Pool, owner: Owner): void => {
  if (owner.buffer === null) return
  giveWhenRead(pool, [owner.buffer])
  owner.buffer = null
}

function makeArray(shared: Shared, type: TensorType, buffer: PooledBuffer): Resident {
  const owner: Owner = { buffer }
  const array: Resident = {
    type,
    async read() {
      const { buffer } = owner
      if (buffer === null)
        throw new DeviceError(`webgpu: this ${showType(type)} was donated or disposed of; read it before`)
      const n = size(type.shape)
      const copied = shared.device.read(buffer.gpu, 0, n * 4)
      const ended = Promise.allSettled([copied, reads.get(buffer)]).then(() => {
        if (reads.get(buffer) === ended) reads.delete(buffer)
      })
      reads.set(buffer, ended)
      const words = await copied
      shared.ahead = 0
      return { shape: type.shape, dtype: type.dtype, data: fromWords(type.dtype, words, n) }
    },
    dispose: () => giveUp(shared.pool, owner),
  }
  shared.arrays.set(array, owner)
  collected.register(array, { pool: shared.pool, owner })
  return array
}

const fromWords = (dtype: DType, words: ArrayBuffer, n: number): NDArray['data'] => {
  if (dtype === 'f32') return new Float32Array(words)
  if (dtype === 'i32') return new Int32Array(words)
  if (dtype === 'u32') return new Uint32Array(words)
  const data = makeData(dtype, n)
  data.set(new Uint32Array(words))
  return data
}
