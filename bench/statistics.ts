/** Summaries of repeated times. In: ms. Out: median and quartiles. */

/** `spread` is half the interquartile range over the median: about how much one repetition differs from another. */
export interface Summary {
  readonly median: number
  readonly low: number
  readonly high: number
  readonly spread: number
  readonly count: number
}

/** The value below which a part `q` of the sorted values lies, interpolated linearly. */
export function quantile(sorted: readonly number[], q: number): number {
  const at = (sorted.length - 1) * q
  const low = Math.floor(at)
  const high = Math.min(low + 1, sorted.length - 1)
  return sorted[low] + (sorted[high] - sorted[low]) * (at - low)
}

/** @example summarise([3, 1, 2]).median // 2 */
export function summarise(times: readonly number[]): Summary {
  const sorted = [...times].sort((a, b) => a - b)
  const [low, median, high] = [0.25, 0.5, 0.75].map(q => quantile(sorted, q))
  return { median, low, high, spread: (high - low) / 2 / median, count: times.length }
}
