/**
 * The statistics of paired runs. In: numbers, one a seed. Out: intervals and p-values. Pure functions; nothing here knows
 * what was measured.
 */
import { UsageError } from '../../dsl/errors.ts'

// Lanczos' approximation with g = 7 and 9 terms, relative error below 1e-14 for x > 0.5. @see Lanczos 1964; Godfrey 2001
// biome-ignore format: a table
const lanczos = [
  0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
  12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
] as const

/** log Gamma(x), x >= 0.5. */
const logGamma = (x: number): number => {
  const series = lanczos.reduce((s, c, i) => s + (i === 0 ? c : c / (x - 1 + i)), 0)
  const t = x + 6.5
  return 0.5 * Math.log(2 * Math.PI) + (x - 0.5) * Math.log(t) - t + Math.log(series)
}

/**
 * The regularised incomplete beta function I_x(a, b), for a, b >= 0.5 and 0 <= x <= 1: the continued fraction of DLMF
 * 8.17.22, by Lentz's method; where it converges slowly, 1 - I_{1-x}(b, a).
 * @see https://dlmf.nist.gov/8.17
 * @example incompleteBeta(0.5, 0.5, 0.5) // 0.5
 */
export function incompleteBeta(a: number, b: number, x: number): number {
  if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(b, a, 1 - x)
  const front = Math.exp(
    a * Math.log(x) + b * Math.log1p(-x) + logGamma(a + b) - logGamma(a) - logGamma(b) - Math.log(a),
  )
  const kept = (v: number): number => (Math.abs(v) < 1e-300 ? 1e-300 : v)
  let [c, d] = [1, 1 / kept(1 - ((a + b) * x) / (a + 1))]
  let fraction = d
  for (let m = 1; m < 500; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m))
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1))
    let change = 1
    for (const term of [even, odd]) {
      d = 1 / kept(1 + term * d)
      c = kept(1 + term / c)
      change = c * d
      fraction *= change
    }
    if (Math.abs(change - 1) < 1e-15) break
  }
  return front * fraction
}

/**
 * P(|T| >= |t|) of Student's t with `df` degrees of freedom.
 * @example tTail(2.776, 4) // 0.05
 */
export const tTail = (t: number, df: number): number => incompleteBeta(df / 2, 0.5, df / (df + t * t))

/**
 * The t with P(|T| <= t) = confidence, by bisection.
 * @example tQuantile(0.95, 4) // 2.776
 */
export function tQuantile(confidence: number, df: number): number {
  let [low, high] = [0, 1]
  while (tTail(high, df) > 1 - confidence) high *= 2
  for (let i = 0; i < 200 && high - low > 1e-13 * high; i++) {
    const middle = (low + high) / 2
    if (tTail(middle, df) > 1 - confidence) low = middle
    else high = middle
  }
  return (low + high) / 2
}

/** @example mean([1, 2]) // 1.5 */
export const mean = (xs: readonly number[]): number => xs.reduce((a, b) => a + b, 0) / xs.length

/** The standard deviation with n - 1. @example deviation([1, 3]) // 1.414 */
export const deviation = (xs: readonly number[]): number => {
  const m = mean(xs)
  return Math.sqrt(xs.reduce((s, x) => s + (x - m) ** 2, 0) / (xs.length - 1))
}

/** What paired differences say. */
export interface Paired {
  /** Pairs. */
  readonly n: number
  readonly mean: number
  /** Of the differences; null with one pair. */
  readonly deviation: number | null
  /** The confidence interval of the mean, by Student's t; null with one pair. */
  readonly interval: readonly [low: number, high: number] | null
  /** Two-sided, of the paired t-test; null with one pair. */
  readonly p: number | null
  /** Two-sided, of the exact sign-flip test; at least 2 / 2^n. */
  readonly signFlip: number
}

/**
 * The mean of paired differences, its interval and the tests of its being 0.
 * @param differences  one a pair, at least one
 * @throws UsageError without a difference
 * @example paired([0.5, 1.2, 0.9], 0.95).interval
 */
export function paired(differences: readonly number[], confidence = 0.95): Paired {
  const n = differences.length
  if (n === 0) throw new UsageError('paired: there is no pair')
  const m = mean(differences)
  const signFlip = signFlipTest(differences)
  if (n === 1) return { n, mean: m, deviation: null, interval: null, p: null, signFlip }
  const s = deviation(differences)
  const error = s / Math.sqrt(n)
  const half = tQuantile(confidence, n - 1) * error
  // equal differences: an interval of one point, and no doubt unless they are 0
  const p = error === 0 ? (m === 0 ? 1 : 0) : tTail(m / error, n - 1)
  return { n, mean: m, deviation: s, interval: [m - half, m + half], p, signFlip }
}

/** Beyond so many pairs all 2^n signs are too many to try: the test would say no more than the t-test. */
const mostFlipped = 20

/**
 * The exact sign-flip (permutation) test: the part of all 2^n ways to sign the differences whose mean is at least as far
 * from 0. It assumes that differences are symmetric, not that they are normal; with n pairs no p is below 2 / 2^n.
 * @returns p, two-sided; NaN for more than 20 pairs
 * @example signFlipTest([1, 2, 3]) // 0.25
 */
export function signFlipTest(differences: readonly number[]): number {
  const n = differences.length
  if (n > mostFlipped) return Number.NaN
  const size = differences.reduce((s, d) => s + Math.abs(d), 0)
  const seen = Math.abs(differences.reduce((a, b) => a + b, 0))
  let extreme = 0
  for (let signs = 0; signs < 2 ** n; signs++) {
    const total = differences.reduce((s, d, i) => s + ((signs >> i) & 1 ? -d : d), 0)
    // the same sum in another order may differ in its last bits
    if (Math.abs(total) >= seen - 1e-12 * size) extreme++
  }
  return extreme / 2 ** n
}

/**
 * Holm's correction: p-values of m tests so that rejecting those below alpha errs in any with probability at most alpha.
 *   adjusted p_(i) = max over j <= i of min(1, (m - j + 1) p_(j)),  p sorted
 * @returns in the order given
 * @see Holm 1979, "A simple sequentially rejective multiple test procedure"
 * @example holm([0.01, 0.04, 0.03]) // [0.03, 0.06, 0.06]
 */
export function holm(ps: readonly number[]): readonly number[] {
  const order = ps.map((_, i) => i).sort((a, b) => ps[a] - ps[b])
  const adjusted: number[] = []
  let largest = 0
  order.forEach((i, rank) => {
    largest = Math.max(largest, Math.min(1, (ps.length - rank) * ps[i]))
    adjusted[i] = largest
  })
  return adjusted
}
