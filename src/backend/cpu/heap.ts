/** The one memory of the CPU backend: a growing WebAssembly memory and the ranges of it that are in use. */
import { CompileError, DeviceError } from '../../dsl/errors.ts'

const PAGE = 65536
/** WebAssembly with 32-bit addresses ends here. */
export const MEMORY_LIMIT = 2 ** 32 - PAGE
const ALIGN = 256
/** Address 0 is never given out, and vector loads may read this far beyond a buffer. */
const SLACK = 256

/** Ranges of the memory; addresses are multiples of 256. */
export interface Heap {
  readonly memory: WebAssembly.Memory
  /** @throws DeviceError if the memory cannot grow any more */
  allocate(bytes: number): number
  free(address: number): void
  live(): { readonly buffers: number; readonly bytes: number }
}

const aligned = (bytes: number): number => Math.ceil((Math.max(bytes, 1) + SLACK) / ALIGN) * ALIGN

/**
 * @param what says what takes the bytes
 * @throws CompileError if that many bytes can never be held at once
 */
export function checkFits(bytes: number, what: () => string): void {
  if (bytes <= MEMORY_LIMIT) return
  const mib = Math.ceil(bytes / 2 ** 20)
  throw new CompileError(
    `cpu: the program needs ${mib} MiB; a WebAssembly memory ends at 4096 MiB. ${what()}. Use a smaller batch, checkpoint(), or the webgpu backend`,
  )
}

/** First fit over a list of free ranges, neighbours joined. `shared`: threads may work in it. */
export function makeHeap(shared = false): Heap {
  const memory = new WebAssembly.Memory({ initial: 16, maximum: 65536, shared })
  let free: { at: number; bytes: number }[] = []
  let top = ALIGN
  const used = new Map<number, number>()
  let bytesUsed = 0
  const take = (n: number): number => {
    const i = free.findIndex(f => f.bytes >= n)
    if (i >= 0) {
      const { at, bytes } = free[i]
      if (bytes === n) free.splice(i, 1)
      else free[i] = { at: at + n, bytes: bytes - n }
      return at
    }
    const end = top + n + SLACK
    const missing = Math.ceil((end - memory.buffer.byteLength) / PAGE)
    if (missing > 0) grow(missing, n)
    const at = top
    top += n
    return at
  }
  const grow = (pages: number, n: number) => {
    // growing by a quarter at least keeps the number of growths small; exactly what is missing is the last resort
    const most = (MEMORY_LIMIT - memory.buffer.byteLength) / PAGE
    const wanted = Math.min(most, Math.max(pages, Math.ceil(memory.buffer.byteLength / PAGE / 4)))
    for (const p of [wanted, pages]) {
      try {
        if (p <= most) {
          memory.grow(p)
          return
        }
      } catch {
        // the system gave less: try the smaller step, then report
      }
    }
    throw new DeviceError(
      `cpu: no memory for ${n} bytes more beside ${bytesUsed} in use (limit ${MEMORY_LIMIT}); dispose of arrays or use a smaller batch`,
    )
  }
  return {
    memory,
    allocate(bytes) {
      const n = aligned(bytes)
      const at = take(n)
      used.set(at, n)
      bytesUsed += n
      return at
    },
    free(at) {
      const n = used.get(at)
      if (n === undefined) return
      used.delete(at)
      bytesUsed -= n
      free = joined([...free, { at, bytes: n }])
      const last = free[free.length - 1]
      if (last !== undefined && last.at + last.bytes === top) {
        top = last.at
        free.pop()
      }
    },
    live: () => ({ buffers: used.size, bytes: bytesUsed }),
  }
}

function joined(ranges: readonly { at: number; bytes: number }[]): { at: number; bytes: number }[] {
  const out: { at: number; bytes: number }[] = []
  for (const r of [...ranges].sort((a, b) => a.at - b.at)) {
    const last = out[out.length - 1]
    if (last !== undefined && last.at + last.bytes === r.at) last.bytes += r.bytes
    else out.push({ ...r })
  }
  return out
}
