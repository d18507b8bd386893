/**
 * A WebGPU device: buffers, copies to and from them, compute pipelines, and the wait for all of it. In: an
 * adapter (dawn.ts). Out: a `Device`, on which the executor records and submits its dispatches.
 *
 * Errors: WebGPU reports most of them later and elsewhere. `guard` ties what its function did wrong to the call;
 * what happened outside a guard is kept, and thrown by the next `read` or `check`. All are `DeviceError`.
 */
import * as TE from 'fp-ts/lib/TaskEither.js'
import { DeviceError } from '../../dsl/errors.ts'
import {
  type AdapterInfo,
  type AdapterOptions,
  COMPUTE_LIMITS,
  limitsOf,
  messageOf,
  openAdapter,
} from './dawn.ts'
import { napUntil } from './wait.ts'

/** WebGPU's buffer usage bits: the global `GPUBufferUsage` of browsers. @see https://www.w3.org/TR/webgpu/#buffer-usage */
export const BUFFER_USAGE = {
  mapRead: 0x1,
  copySource: 0x4,
  copyTarget: 0x8,
  uniform: 0x40,
  storage: 0x80,
  indirect: 0x100,
  queryResolve: 0x200,
} as const

/** Features that the device asks for where the adapter has them. */
export const WANTED_FEATURES = ['timestamp-query', 'shader-f16', 'subgroups'] as const

/** A compute pipeline to compile. Equal text, entry point, constants and layout share one pipeline. */
export interface PipelineSource {
  /** For errors and debuggers; no part of the identity. */
  readonly label: string
  readonly wgsl: string
  /** Default `main`. */
  readonly entryPoint?: string
  /** Values of the shader's `override` declarations. */
  readonly constants?: Readonly<Record<string, number>>
  /** Default `auto`: derived from the shader. */
  readonly layout?: GPUPipelineLayout
}

/** What a device holds now; for leak tests and budgets. */
export interface Usage {
  /** Buffers made by `createBuffer` that were neither released nor collected. */
  readonly buffers: number
  /** Their bytes. */
  readonly bytes: number
  /** Bytes of staging buffers kept for reading. */
  readonly staging: number
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
const MAX_ERRORS = 8
/** Compiled pipelines kept, the least recently used go first: a network needs tens, tuning hundreds. */
const MAX_PIPELINES = 1024

const open = async (options: AdapterOptions): Promise<Device> => {
  const opened = await openAdapter(options)()
  if (opened._tag === 'Left') throw opened.left
  const { adapter, info: offered } = opened.right
  const gpu = await adapter.requestDevice({
    label: offered.name,
    requiredFeatures: WANTED_FEATURES.filter(feature => adapter.features.has(feature)),
    requiredLimits: { ...offered.limits },
  })
  const info = { ...offered, limits: limitsOf(gpu.limits), features: [...gpu.features].sort() }
  return deviceOf(gpu, info)
}

const deviceOf = (gpu: GPUDevice, info: AdapterInfo): Device => {
  const { queue } = gpu
  const fail = (what: string) => new DeviceError(`webgpu: ${what} (adapter ${info.name})`)

  let closed = false
  let loss: DeviceError | undefined
  let errors: DeviceError[] = []
  gpu.addEventListener('uncapturederror', event => {
    if (errors.length < MAX_ERRORS) errors.push(fail(event.error.message))
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
    const [first, ...rest] = errors
    errors = []
    if (first) throw rest.length ? fail([first, ...rest].map(e => e.message).join('\n')) : first
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
    let scopes: Promise<GPUError | null>[] = []
    let result: A
    try {
      result = f()
    } finally {
      scopes = ERROR_FILTERS.map(() => gpu.popErrorScope())
    }
    const error = (await wait(Promise.all(scopes))).find(e => e !== null)
    if (error) throw fail(`${what}: ${error.message}`)
    return result
  }

  const ledger = bufferLedger()
  const createBuffer = async (bytes: number, label: string, usage: number = STORAGE) => {
    const size = Math.max(4, roundUp(bytes, 4))
    if (size > info.limits.maxBufferSize)
      throw fail(`buffer "${label}" of ${size} bytes: the limit is ${info.limits.maxBufferSize} bytes a buffer`)
    const buffer = await guard(`buffer "${label}" of ${size} bytes`, () =>
      gpu.createBuffer({ size, usage, label }),
    )
    ledger.add(buffer)
    return buffer
  }

  const write = (buffer: GPUBuffer, offset: number, data: ArrayBufferView | ArrayBuffer) => {
    check()
    const bytes = ArrayBuffer.isView(data)
      ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
      : new Uint8Array(data)
    const whole = bytes.length - (bytes.length % 4)
    queue.writeBuffer(buffer, offset, bytes, 0, whole)
    if (whole === bytes.length) return
    const last = new Uint8Array(4)
    last.set(bytes.subarray(whole))
    queue.writeBuffer(buffer, offset + whole, last)
  }

  const staging = stagingPool(gpu)
  const read = async (buffer: GPUBuffer, offset: number, bytes: number) => {
    check()
    if (offset < 0 || bytes < 0 || offset + bytes > buffer.size)
      throw fail(`read of bytes ${offset} to ${offset + bytes}: buffer "${buffer.label}" has ${buffer.size}`)
    const result = new Uint8Array(new ArrayBuffer(bytes))
    for (let at = 0; at < bytes; at += MAX_STAGING) {
      const part = result.subarray(at, at + MAX_STAGING)
      const skip = (offset + at) % 4
      const size = roundUp(skip + part.length, 4)
      const target = staging.take(size)
      const encoder = gpu.createCommandEncoder()
      encoder.copyBufferToBuffer(buffer, offset + at - skip, target, 0, size)
      queue.submit([encoder.finish()])
      try {
        await wait(target.mapAsync(MAP_READ, 0, size))
        check()
        part.set(new Uint8Array(target.getMappedRange(0, size), skip, part.length))
        target.unmap()
      } catch (e) {
        target.destroy()
        throw e
      }
      staging.give(target)
    }
    return result.buffer
  }

  const cache = new Map<string, Promise<GPUComputePipeline>>()
  const layouts = new WeakMap<GPUPipelineLayout, number>()
  let layoutCount = 0
  const layoutId = (layout: GPUPipelineLayout) => {
    if (!layouts.has(layout)) layouts.set(layout, ++layoutCount)
    return layouts.get(layout)
  }
  const compile = async ({ label, wgsl, entryPoint = 'main', constants, layout }: PipelineSource) => {
    const module = await guard(`shader "${label}"`, () => gpu.createShaderModule({ label, code: wgsl }))
    const descriptor: GPUComputePipelineDescriptor = {
      label,
      layout: layout ?? 'auto',
      compute: { module, entryPoint, constants: { ...constants } },
    }
    return wait(gpu.createComputePipelineAsync(descriptor)).catch(e => {
      throw e instanceof DeviceError ? fail(`pipeline "${label}": ${e.message}`) : e
    })
  }
  const pipeline = (source: PipelineSource) => {
    const { wgsl, entryPoint = 'main', constants = {}, layout } = source
    const key = JSON.stringify([wgsl, entryPoint, Object.entries(constants).sort(), layout && layoutId(layout)])
    const compiled = cache.get(key) ?? compile(source)
    cache.delete(key)
    cache.set(key, compiled)
    compiled.catch(() => cache.delete(key))
    if (cache.size > MAX_PIPELINES) for (const oldest of cache.keys()) return cache.delete(oldest), compiled
    return compiled
  }

  const close = () => {
    if (closed) return
    closed = true
    gpu.destroy()
    staging.clear()
    ledger.clear()
    cache.clear()
  }
  return {
    gpu,
    queue,
    info,
    lost,
    check,
    wait,
    guard,
    createBuffer,
    release: ledger.release,
    write,
    read,
    pipelines: sources => Promise.all(sources.map(pipeline)),
    usage: () => ({ ...ledger.count(), staging: staging.bytes(), pipelines: cache.size }),
    close,
    [Symbol.dispose]: close,
  }
}
