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
  /**
   * Before so many bytes are allocated: back-pressure. Where the device would hold more than the budget, and more
   * than twice what it held after the last collection, dead arrays are collected first.
   */
  makeRoom(bytes: number): Promise<void>
  /** Gives buffers back, to be taken in the same order. Work submitted before still reads them. */
  give(buffers: readonly PooledBuffer[]): void
}

/** Free bytes that are always kept; beyond it the pool keeps as many bytes as are in use. */
const KEEP = 2 ** 28

/** Bytes on the device up to which the garbage collector is left alone. */
const BUDGET = 2 ** 30

/**
 * Makes an empty pool.
 * @param budget  bytes on the device up to which the garbage collector is left alone
 */
export function makePool(device: Device, budget: number = BUDGET): Pool {
  /** By size; the size that was used longest ago comes first. */
  const free = new Map<number, PooledBuffer[]>()
  let freeBytes = 0
  let usedBytes = 0
  let count = 0
  let limit = budget

  /** Frees the buffers of sizes that nobody asked for lately. */
  const trim = (most: number): void => {
    for (const [size, list] of free) {
      while (freeBytes > most) {
        const oldest = list.shift()
        if (oldest === undefined) break
        freeBytes -= size
        device.release(oldest.gpu)
      }
      if (list.length === 0) free.delete(size)
      if (freeBytes <= most) return
    }
  }

  const allocate = (bytes: number): Promise<PooledBuffer> =>
    device.createBuffer(bytes, `pool ${bytes}`).then(gpu => ({ id: count++, gpu, bytes }))

  const reuse = (bytes: number): PooledBuffer | undefined => {
    const list = free.get(bytes)
    const found = list?.pop()
    if (list === undefined || found === undefined) return undefined
    freeBytes -= bytes
    free.delete(bytes)
    if (list.length > 0) free.set(bytes, list)
    return found
  }

  const relieve = async (): Promise<void> => {
    await device.collectGarbage()
    limit = Math.max(budget, 2 * (device.usage().bytes - freeBytes))
  }
  const makeRoom = async (bytes: number): Promise<void> => {
    if (device.usage().bytes - freeBytes + bytes > limit) await relieve()
  }

  return {
    makeRoom,
    async take(bytes) {
      usedBytes += bytes
      const found = reuse(bytes)
      if (found !== undefined) return found
      try {
        await makeRoom(bytes)
        return (
          reuse(bytes) ??
          (await allocate(bytes).catch(async () => {
            await relieve()
            trim(0)
            return allocate(bytes)
          }))
        )
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
