/**
 * What a study says. In: methods, seeds and the entries of finished runs. Out: for each method its scores and its paired
 * differences to the baseline, in points of mIoU, and what they say in words. Pure.
 */
import { table } from '../table.ts'
import type { Entry } from './ledger.ts'
import { baseline, type Method } from './methods.ts'
import { deviation, holm, mean, type Paired, paired } from './statistics.ts'

/** The probability of erring that is accepted, over all methods together. */
export const alpha = 0.05

/** A method's runs. */
export interface MethodSummary {
  readonly label: string
  readonly full: string
  /** Finished runs by seed, in order. */
  readonly runs: readonly { readonly seed: number; readonly entry: Entry }[]
  /** Of mIoU, in per cent; null without a run. */
  readonly mean: number | null
  /** Null with fewer than two runs. */
  readonly deviation: number | null
  /** Of the differences to the baseline with the same seed, in points; null for the baseline, and without a pair. */
  readonly difference:
    | (Paired & { readonly points: readonly number[]; readonly adjusted: number | null })
    | null
  /** A sentence. */
  readonly verdict: string
}

/** A study. */
export interface Summary {
  readonly seeds: number
  readonly methods: readonly MethodSummary[]
  /** Runs that are not finished. */
  readonly missing: number
  /** Devices of the runs, each once. */
  readonly devices: readonly string[]
}

/**
 * The summary of the runs that are finished.
 * @param find  the entry of a method and a seed, if there is one
 * @example summarise(parseMethods('ce,nfd'), 5, (method, seed) => entries.get(hashOf(method, seed)))
 */
export function summarise(
  methods: readonly Method[],
  seeds: number,
  find: (method: Method, seed: number) => Entry | undefined,
): Summary {
  const all = methods.map(method => ({
    ...method,
    runs: Array.from({ length: seeds }, (_, seed) => ({ seed, entry: find(method, seed) })).flatMap(
      ({ seed, entry }) => (entry ? [{ seed, entry }] : []),
    ),
  }))
  const reference = new Map(
    all.find(m => m.full === baseline.full)?.runs.map(r => [r.seed, r.entry.miou]) ?? [],
  )
  const differences = all.map(m => {
    if (m.full === baseline.full) return null
    const points = m.runs.flatMap(({ seed, entry }) => {
      const plain = reference.get(seed)
      return plain === undefined ? [] : [100 * (entry.miou - plain)]
    })
    return points.length === 0 ? null : { ...paired(points), points }
  })
  const tested = differences.flatMap((d, i) => (d !== null && d.p !== null ? [{ i, p: d.p }] : []))
  const corrected = holm(tested.map(t => t.p))
  const adjusted = new Map(tested.map(({ i }, k) => [i, corrected[k]]))
  const summaries = all.map(({ label, full, runs }, i): MethodSummary => {
    const scores = runs.map(r => 100 * r.entry.miou)
    const difference = differences[i] && { ...differences[i], adjusted: adjusted.get(i) ?? null }
    return {
      ...{ label, full, runs, difference },
      mean: scores.length > 0 ? mean(scores) : null,
      deviation: scores.length > 1 ? deviation(scores) : null,
      verdict: full === baseline.full ? 'the baseline' : verdictOf(difference),
    }
  })
  const done = all.reduce((n, m) => n + m.runs.length, 0)
  return {
    seeds,
    methods: summaries,
    missing: methods.length * seeds - done,
    devices: [...new Set(all.flatMap(m => m.runs.map(r => r.entry.device)))],
  }
}

const inPart = (verdict: string): string => verdict.replace(/ by [\d.]+ points$/, '')

/**
 * The methods by what is said of them, in a sentence each.
 * @example conclusions(summary) // ['better than labels alone: nfd, nfd+kd.', 'no evidence of a difference: kd.']
 */
export function conclusions({ methods }: Summary): readonly string[] {
  const tested = methods.filter(m => m.full !== baseline.full)
  return [...new Set(tested.map(m => inPart(m.verdict)))].map(verdict => {
    const names = tested.filter(m => inPart(m.verdict) === verdict).map(m => m.label)
    return `${verdict}: ${names.join(', ')}.`
  })
}

function verdictOf(d: MethodSummary['difference']): string {
  if (d === null) return 'no pair is finished yet'
  if (d.n === 1 || d.adjusted === null) return 'one pair says nothing about another seed'
  if (d.adjusted >= alpha) return 'no evidence of a difference'
  return `${d.mean > 0 ? 'better' : 'worse'} than labels alone by ${Math.abs(d.mean).toFixed(2)} points`
}

const signed = (x: number, digits = 2): string => `${x < 0 ? '−' : '+'}${Math.abs(x).toFixed(digits)}`
const probability = (p: number | null): string =>
  p === null || Number.isNaN(p) ? '–' : p < 0.001 ? '< 0.001' : p.toFixed(3)

/** The header and the rows of a study's table, as text. */
export function rowsOf({ methods }: Summary): {
  readonly header: readonly string[]
  readonly rows: readonly (readonly string[])[]
} {
  return {
    header: [
      'method',
      'n',
      'mIoU in %',
      'difference in points',
      '95% interval',
      'p (t)',
      'p (Holm)',
      'p (signs)',
      'what it says',
    ],
    rows: methods.map(m => [
      m.label,
      String(m.difference?.n ?? m.runs.length),
      m.mean === null
        ? '–'
        : `${m.mean.toFixed(2)}${m.deviation === null ? '' : ` ± ${m.deviation.toFixed(2)}`}`,
      m.difference === null ? '–' : signed(m.difference.mean),
      m.difference?.interval ? `[${m.difference.interval.map(x => signed(x)).join(', ')}]` : '–',
      probability(m.difference?.p ?? null),
      probability(m.difference?.adjusted ?? null),
      probability(m.difference?.signFlip ?? null),
      m.verdict,
    ]),
  }
}

/** The table for a terminal. */
export const textTable = (summary: Summary): string => {
  const { header, rows } = rowsOf(summary)
  return table(header, rows)
}

/** How the numbers were made, in sentences. */
export function notesOf(summary: Summary): readonly string[] {
  const { seeds, missing, devices } = summary
  const pairs = summary.methods.flatMap(m => (m.difference ? [m.difference.n] : []))
  const n = pairs.length > 0 ? Math.min(...pairs) : 0
  return [
    `Runs are paired by seed: with the same seed every method has equal initial weights, data order and augmentation, and equally many steps. ± is the standard deviation over seeds.`,
    `Differences are to cross-entropy with the same seed. Their 95% intervals and p (t) are those of the paired t-test, each method by itself; p (Holm) corrects for testing ${pairs.length} ${pairs.length === 1 ? 'method' : 'methods'}, and "no evidence" means p (Holm) of ${alpha} or more. p (signs) is the exact sign-flip test, uncorrected${n > 1 ? `; with ${n} pairs it cannot be below ${2 / 2 ** n}` : ''}.`,
    ...(missing > 0
      ? [`${missing} of ${seeds * summary.methods.length} runs are not finished: run the same command again.`]
      : []),
    ...(devices.length > 1
      ? [`Runs were done on ${devices.length} devices, which round differently: ${devices.join('; ')}.`]
      : []),
  ]
}

/** The mean IoU of each class over a method's runs, in per cent; null where it never occurs. */
export function classMeans({ runs }: MethodSummary, classes: number): readonly (number | null)[] {
  return Array.from({ length: classes }, (_, c) => {
    const known = runs.flatMap(({ entry }) =>
      entry.iou[c] === null || entry.iou[c] === undefined ? [] : [entry.iou[c]],
    )
    return known.length === 0 ? null : 100 * mean(known)
  })
}
