/**
 * Device buffers that are used again. In: a device. Out: buffers by size, for arguments, results and uploads, so
 * that a training loop which donates its state goes back and forth between the same few buffers.
 */
import type { Device } from './device.ts'

/** A buffer with an identity by which bind groups are cached. Never reused for another size. */
export interface PooledBuffer {
  readonly id: number
  readonly gpu: GPUBuffer
  readonly bytes: number
}

export interface Pool {
  /** A buffer of this size, of undefined content. @throws DeviceError when the device is out of memory */
  take(bytes: number): Promise<PooledBuffer>
  /** Gives buffers back, to be taken in the same order. Work submitted before still reads them. */
  give(buffers: readonly PooledBuffer[]): void
}

/** Free bytes that are always kept; beyond it the pool keeps as many bytes as are in use. */
const KEEP = 2 ** 28

/** Makes an empty pool. */
export function makePool(device: Device): Pool {
  /** By size; the size that was used longest ago comes first. */
  const free = new Map<number, PooledBuffer[]>()
  let freeBytes = 0
  let usedBytes = 0
  let count = 0

  /** Frees the buffers of sizes that nobody asked for lately. */
  const trim = (limit: number): void => {
    for (const [size, list] of free) {
      while (freeBytes > limit) {
        const oldest = list.shift()
        if (oldest === undefined) break
        freeBytes -= size
        device.release(oldest.gpu)
      }
      if (list.length === 0) free.delete(size)
      if (freeBytes <= limit) return
    }
  }

  const allocate = (bytes: number): Promise<PooledBuffer> =>
    device.createBuffer(bytes, `pool ${bytes}`).then(gpu => ({ id: count++, gpu, bytes }))

  return {
    async take(bytes) {
      usedBytes += bytes
      const list = free.get(bytes)
      const found = list?.pop()
      if (list !== undefined && found !== undefined) {
        freeBytes -= bytes
        free.delete(bytes)
        if (list.length > 0) free.set(bytes, list)
        return found
      }
      try {
        return await allocate(bytes).catch(() => {
          trim(0)
          return allocate(bytes)
        })
      } catch (e) {
        usedBytes -= bytes
        throw e
      }
    },
    give(buffers) {
      for (const b of [...buffers].reverse()) {
        const list = free.get(b.bytes) ?? []
        list.push(b)
        free.delete(b.bytes)
        free.set(b.bytes, list)
        freeBytes += b.bytes
        usedBytes -= b.bytes
      }
      trim(Math.max(KEEP, usedBytes))
    },
  }
}
