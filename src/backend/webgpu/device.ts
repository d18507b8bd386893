/**
 * A WebGPU device: buffers, copies to and from them, compute pipelines, and the wait for all of it. In: an
 * adapter (dawn.ts). Out: a `Device`, on which the executor records and submits its dispatches.
 *
 * Errors: WebGPU reports most of them later and elsewhere. `guard` ties what its function did wrong to the call;
 * what happened outside a guard is kept, and thrown by the next `read` or `check`. All are `DeviceError`.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import * as TE from 'fp-ts/lib/TaskEither.js'
import { DeviceError } from '../../dsl/errors.ts'
import { type BufferUsage, bufferTools } from './buffers.ts'
import { type AdapterInfo, type AdapterOptions, limitsOf, messageOf, openAdapter } from './dawn.ts'
import { MATRIX_FEATURE } from './matrix-feature.ts'
import { type PipelineSource, pipelineCache } from './pipelines.ts'
import { napUntil } from './wait.ts'

/** Features that the device asks for where the adapter has them; that of subgroup matrices only if it is to. */
export const WANTED_FEATURES = ['timestamp-query', 'shader-f16', 'subgroups'] as const

/** What a device holds now; for leak tests and budgets. */
export interface Usage extends BufferUsage {
  /** Pipelines in the cache. */
  readonly pipelines: number
}

/** An open WebGPU device. Its promises reject with `DeviceError` and nothing else. */
export interface Device extends Disposable {
  /** The device itself, for encoders, bind groups and query sets. */
  readonly gpu: GPUDevice
  readonly queue: GPUQueue
  /** The adapter's description, with the limits and features that the device was granted. */
  readonly info: AdapterInfo
  /** Resolves when the device is lost (driver reset, watchdog); never by `close`. */
  readonly lost: Promise<DeviceError>
  /** Throws what is wrong by now: closed, lost, or an error that nobody caught (which is then forgotten). */
  readonly check: () => void
  /** Awaits a promise of Dawn's without burning a core: see wait.ts. A rejection becomes a `DeviceError`. */
  readonly wait: <A>(promise: Promise<A>) => Promise<A>
  /** Runs `f` at once and rejects with the validation, memory or internal error that it caused, if any. */
  readonly guard: <A>(what: string, f: () => A) => Promise<A>
  /**
   * A buffer of zeros, its size rounded up to 4 bytes.
   * @param usage  bits of `BUFFER_USAGE`; default storage, both ways copied
   */
  readonly createBuffer: (bytes: number, label: string, usage?: number) => Promise<GPUBuffer>
  /** Frees a buffer's memory now; releasing twice is nothing. Buffers that nobody reaches are freed by the collector. */
  readonly release: (buffer: GPUBuffer) => void
  /** Copies `data` into the buffer at `offset` (a multiple of 4), before everything submitted later; zeros pad the last word. */
  readonly write: (buffer: GPUBuffer, offset: number, data: ArrayBufferView | ArrayBuffer) => void
  /** Copies bytes out of a buffer (usage copySource), after everything submitted before. Any offset, any length. */
  readonly read: (buffer: GPUBuffer, offset: number, bytes: number) => Promise<ArrayBuffer>
  /** Compiles in parallel what the cache does not have; the result is in the order of the sources. */
  readonly pipelines: (sources: readonly PipelineSource[]) => Promise<readonly GPUComputePipeline[]>
  readonly usage: () => Usage
  /**
   * Has V8 collect garbage, so that dead arrays give their memory back. By itself it counts bytes of the JavaScript
   * heap only: a loop that drops 1 GiB of the device in every turn gives it no reason to.
   */
  readonly collectGarbage: () => Promise<void>
  /** Destroys the device and its buffers. Closing twice is nothing. */
  readonly close: () => void
}

/**
 * Opens a device with the adapter's own limits and the features of `WANTED_FEATURES` that it has.
 * @returns  Left(DeviceError) when no adapter fits the options or the driver refuses
 * @example  const device = await openDevice({ adapter: 'swiftshader' })()
 *           if (E.isRight(device)) using d = device.right
 */
export const openDevice = (options: AdapterOptions = {}): TE.TaskEither<DeviceError, Device> =>
  TE.tryCatch(
    () => open(options),
    e => (e instanceof DeviceError ? e : new DeviceError(`webgpu: no device: ${messageOf(e)}`)),
  )

// ---------------------------------------------------------------------------------------------------------

/** Errors kept for the next `check`; the first ones tell most. */
const MAX_UNCAUGHT = 8
/** Innermost last: an error goes to the innermost scope of its kind. */
const ERROR_FILTERS = ['internal', 'out-of-memory', 'validation'] as const

/** Dawn's message without the places in its own sources. */
const tidy = (message: string): string => message.replace(/\n\s+at .*$/gm, '').trim()

const open = async (options: AdapterOptions): Promise<Device> => {
  const opened = await openAdapter(options)()
  if (opened._tag === 'Left') throw opened.left
  const { adapter, info: offered } = opened.right
  // @webgpu/types does not know Dawn's experimental features
  const more = options.subgroupMatrices ? [MATRIX_FEATURE as GPUFeatureName] : []
  const wanted: readonly GPUFeatureName[] = [...WANTED_FEATURES, ...more]
  const gpu = await adapter.requestDevice({
    label: offered.name,
    requiredFeatures: wanted.filter(feature => adapter.features.has(feature)),
    requiredLimits: { ...offered.limits },
  })
  const info = { ...offered, limits: limitsOf(gpu.limits), features: [...gpu.features].sort() }
  return deviceOf(gpu, info)
}

const deviceOf = (gpu: GPUDevice, info: AdapterInfo): Device => {
  const fail = (what: string) => new DeviceError(`webgpu: ${tidy(what)} (adapter ${info.name})`)

  let closed = false
  let loss: DeviceError | undefined
  let uncaught: string[] = []
  gpu.addEventListener('uncapturederror', event => {
    // Else Dawn prints it on stderr.
    event.preventDefault()
    if (uncaught.length < MAX_UNCAUGHT) uncaught.push(event.error.message)
  })
  const lost = new Promise<DeviceError>(resolve => {
    gpu.lost.then(({ reason, message }) => {
      if (closed) return
      loss = fail(`the device was lost (${reason}): ${message}; what it held is gone, open another`)
      resolve(loss)
    })
  })
  const check = () => {
    if (closed) throw fail('the device is closed')
    if (loss) throw loss
    const messages = uncaught
    uncaught = []
    if (messages.length) throw fail(messages.join('\n'))
  }

  const wait = async <A>(promise: Promise<A>): Promise<A> => {
    try {
      return await napUntil(promise)
    } catch (e) {
      check()
      throw e instanceof DeviceError ? e : fail(messageOf(e))
    }
  }
  const guard = async <A>(what: string, f: () => A): Promise<A> => {
    check()
    for (const filter of ERROR_FILTERS) gpu.pushErrorScope(filter)
    const { result, scopes } = (() => {
      try {
        return { result: f(), scopes: ERROR_FILTERS.map(() => gpu.popErrorScope()) }
      } catch (e) {
        for (const _ of ERROR_FILTERS) gpu.popErrorScope().catch(() => {})
        throw fail(`${what}: ${messageOf(e)}`)
      }
    })()
    const [internal, memory, validation] = await wait(Promise.all(scopes))
    // A lost device finds no fault with anything.
    if (closed || loss) check()
    if (memory)
      throw fail(
        `${what}: the device is out of memory; use a smaller batch or close what else runs\n${memory.message}`,
      )
    const error = validation ?? internal
    if (error) throw fail(`${what}: ${error.message}`)
    return result
  }

  const faults = { check, wait, guard, fail }
  const { clear, usage, ...buffers } = bufferTools(gpu, info.limits.maxBufferSize, faults)
  const { pipelines, size, clear: clearPipelines } = pipelineCache(gpu, faults)
  const close = () => {
    if (closed) return
    closed = true
    gpu.destroy()
    clear()
    clearPipelines()
  }
  return {
    gpu,
    queue: gpu.queue,
    info,
    lost,
    check,
    wait,
    guard,
    ...buffers,
    pipelines,
    usage: () => ({ ...usage(), pipelines: size() }),
    collectGarbage,
    close,
    [Symbol.dispose]: close,
  }
}

let gc: (() => void) | undefined

const collectGarbage = async (): Promise<void> => {
  gc ??= exposedGC()
  gc()
  // V8 posts the callbacks of `FinalizationRegistry` as tasks
  for (let turn = 0; turn < 2; turn++) await new Promise(resolve => setImmediate(resolve))
}

/** `gc` of a context that is made after the flag was set. */
const exposedGC = (): (() => void) => {
  setFlagsFromString('--expose_gc')
  const found: unknown = runInNewContext('gc')
  return typeof found === 'function' ? () => void found() : () => {}
}
