/**
 * Buffers of a WebGPU device: who is alive, and the way in and out of them. In: a `GPUDevice` and what device.ts
 * does about waiting and errors. Out: `bufferTools`, the part of `Device` that concerns buffers.
 */
import type { DeviceError } from '../../dsl/errors.ts'

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

/** What device.ts lends to its parts: waiting, and errors as `DeviceError`. */
export interface Faults {
  /** Throws if the device is closed, lost, or has an error that nobody caught. */
  readonly check: () => void
  /** Awaits, napping; rejects with `DeviceError` only. */
  readonly wait: <A>(promise: Promise<A>) => Promise<A>
  /** Runs `f` at once; rejects with the error of WebGPU's that it caused. */
  readonly guard: <A>(what: string, f: () => A) => Promise<A>
  /** An error that names the device. */
  readonly fail: (what: string) => DeviceError
}

/** What a device holds now; for leak tests and budgets. */
export interface BufferUsage {
  /** Buffers made by `createBuffer` that were neither released nor collected. */
  readonly buffers: number
  /** Their bytes. */
  readonly bytes: number
  /** Bytes of staging buffers kept for later reads. */
  readonly staging: number
}

/** Creation, release and copies; see `Device`, which offers these. */
export interface BufferTools {
  readonly createBuffer: (bytes: number, label: string, usage?: number) => Promise<GPUBuffer>
  readonly release: (buffer: GPUBuffer) => void
  readonly write: (buffer: GPUBuffer, offset: number, data: ArrayBufferView | ArrayBuffer) => void
  readonly read: (buffer: GPUBuffer, offset: number, bytes: number) => Promise<ArrayBuffer>
  readonly usage: () => BufferUsage
  /** Forgets all; the device has destroyed them. */
  readonly clear: () => void
}

/**
 * The buffer part of a device.
 * @param maxBytes  the device's `maxBufferSize`
 */
export const bufferTools = (gpu: GPUDevice, maxBytes: number, faults: Faults): BufferTools => {
  const { check, wait, guard, fail } = faults
  const ledger = bufferLedger()
  const staging = stagingPool(gpu)

  const createBuffer = async (bytes: number, label: string, usage: number = STORAGE) => {
    const size = Math.max(4, roundUp(bytes, 4))
    if (!(size <= maxBytes))
      throw fail(`buffer "${label}" of ${size} bytes: this adapter's limit is ${maxBytes} bytes a buffer`)
    const what = `buffer "${label}" of ${size} bytes`
    const buffer = await guard(what, () => gpu.createBuffer({ size, usage, label }))
    ledger.add(buffer)
    return buffer
  }

  const write = (buffer: GPUBuffer, offset: number, data: ArrayBufferView | ArrayBuffer) => {
    check()
    const bytes = ArrayBuffer.isView(data)
      ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
      : new Uint8Array(data)
    const whole = bytes.length - (bytes.length % 4)
    if (whole > 0) gpu.queue.writeBuffer(buffer, offset, bytes, 0, whole)
    if (whole === bytes.length) return
    const last = new Uint8Array(4)
    last.set(bytes.subarray(whole))
    gpu.queue.writeBuffer(buffer, offset + whole, last)
  }

  /** One part, at most `MAX_STAGING` bytes, into `into`. */
  const readPart = async (buffer: GPUBuffer, offset: number, into: Uint8Array) => {
    const skip = offset % 4
    const size = roundUp(skip + into.length, 4)
    const target = staging.take(size)
    const encoder = gpu.createCommandEncoder()
    encoder.copyBufferToBuffer(buffer, offset - skip, target, 0, size)
    gpu.queue.submit([encoder.finish()])
    try {
      await wait(target.mapAsync(MAP_READ, 0, size))
      check()
      // Copied and unmapped at once: Dawn would leave a mapping of a destroyed device pointing at freed memory.
      into.set(new Uint8Array(target.getMappedRange(0, size), skip, into.length))
      target.unmap()
    } catch (e) {
      target.destroy()
      throw e
    }
    staging.give(target)
  }
  const read = async (buffer: GPUBuffer, offset: number, bytes: number) => {
    check()
    if (!(offset >= 0 && bytes >= 0 && offset + bytes <= buffer.size))
      throw fail(`read of bytes ${offset} to ${offset + bytes}: buffer "${buffer.label}" has ${buffer.size}`)
    const result = new ArrayBuffer(bytes)
    for (let at = 0; at < bytes; at += MAX_STAGING)
      await readPart(buffer, offset + at, new Uint8Array(result, at, Math.min(MAX_STAGING, bytes - at)))
    return result
  }

  return {
    createBuffer,
    release: ledger.release,
    write,
    read,
    usage: () => ({ ...ledger.count(), staging: staging.bytes() }),
    clear: () => {
      ledger.clear()
      staging.clear()
    },
  }
}

// ---------------------------------------------------------------------------------------------------------

const STORAGE = BUFFER_USAGE.storage | BUFFER_USAGE.copySource | BUFFER_USAGE.copyTarget
/** `GPUMapMode.READ`. */
const MAP_READ = 1
/** Bytes of the largest staging buffer; longer reads go in parts, so that reading needs little memory. */
const MAX_STAGING = 2 ** 26
/** Bytes of staging buffers kept between reads. */
const MAX_POOLED = 2 ** 27

const roundUp = (n: number, unit: number) => Math.ceil(n / unit) * unit

/** Counts the live buffers; the collector's work counts as a release. */
const bufferLedger = () => {
  interface Entry {
    readonly bytes: number
  }
  const entries = new WeakMap<GPUBuffer, Entry>()
  const live = new Set<Entry>()
  let bytes = 0
  const leave = (entry: Entry) => {
    if (live.delete(entry)) bytes -= entry.bytes
  }
  const collected = new FinalizationRegistry<Entry>(leave)
  return {
    add: (buffer: GPUBuffer) => {
      const entry = { bytes: buffer.size }
      entries.set(buffer, entry)
      live.add(entry)
      collected.register(buffer, entry)
      bytes += entry.bytes
    },
    release: (buffer: GPUBuffer) => {
      const entry = entries.get(buffer)
      if (entry) leave(entry)
      buffer.destroy()
    },
    count: () => ({ buffers: live.size, bytes }),
    clear: () => {
      live.clear()
      bytes = 0
    },
  }
}

/** Buffers to map, reused by size: powers of two, so that any read finds one of at most twice its size. */
const stagingPool = (gpu: GPUDevice) => {
  const free = new Map<number, GPUBuffer[]>()
  let pooled = 0
  return {
    take: (bytes: number): GPUBuffer => {
      const size = Math.max(256, 2 ** Math.ceil(Math.log2(bytes)))
      const known = free.get(size)?.pop()
      if (known) pooled -= size
      const usage = BUFFER_USAGE.mapRead | BUFFER_USAGE.copyTarget
      return known ?? gpu.createBuffer({ size, usage, label: 'staging' })
    },
    give: (buffer: GPUBuffer) => {
      if (pooled + buffer.size > MAX_POOLED) return buffer.destroy()
      pooled += buffer.size
      free.set(buffer.size, [...(free.get(buffer.size) ?? []), buffer])
    },
    bytes: () => pooled,
    clear: () => {
      free.clear()
      pooled = 0
    },
  }
}
