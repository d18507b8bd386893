/**
 * Places intermediates in one arena: values that live at the same time never overlap, others share space.
 * In: sizes and lifetimes in steps. Out: offsets, and the arena's size, known at compile time.
 */

/** A value that lives from the step that writes it to the last that reads it, both included. */
export interface Lifetime {
  readonly bytes: number
  readonly first: number
  readonly last: number
}

/** WebGPU's minStorageBufferOffsetAlignment; SIMD needs less. */
export const alignment = 256
const align = (n: number): number => Math.ceil(n / alignment) * alignment

/**
 * First fit in order of size: the large ones find their places first, the small ones fill the gaps.
 * @returns an offset per value, and the arena's bytes
 */
export function placeInArena(values: readonly Lifetime[]): {
  readonly offsets: readonly number[]
  readonly bytes: number
} {
  const order = values.map((_, i) => i).sort((a, b) => values[b].bytes - values[a].bytes)
  const offsets = values.map(() => 0)
  const placed: number[] = []
  let bytes = 0
  for (const i of order) {
    const v = values[i]
    const busy = placed
      .filter(j => values[j].first <= v.last && v.first <= values[j].last)
      .map(j => [offsets[j], offsets[j] + align(values[j].bytes)] as const)
      .sort((a, b) => a[0] - b[0])
    let at = 0
    for (const [from, to] of busy) {
      if (from - at >= align(v.bytes)) break
      at = Math.max(at, to)
    }
    offsets[i] = at
    placed.push(i)
    bytes = Math.max(bytes, at + align(v.bytes))
  }
  return { offsets, bytes }
}
