/**
 * The results of a run: as JSON for programs, as tables for the terminal and for the docs. In: outcomes by workload.
 * Out: text.
 */
import { type Cell, table } from '../src/cli/table.ts'
import { WHOLE, wholeCores } from './cores.ts'
import { isBusy, type Machine } from './machine.ts'
import { limits, memoryRatio, mostMemory, ownTime, standings } from './targets.ts'
import type { Outcome, Result } from './types.ts'

/** All of a run; what bench/results/*.json holds. */
export interface Run {
  readonly machine: Machine
  /** What each contender says of itself: versions, threads, the adapter. */
  readonly contenders: Readonly<Record<string, string>>
  /** Rivals that took no part, and why. */
  readonly absent: Readonly<Record<string, string>>
  readonly results: readonly Result[]
}

/** A table before it is laid out. */
interface Sheet {
  readonly header: readonly string[]
  readonly rows: readonly (readonly Cell[])[]
}

/** Three significant digits, not in powers of ten. */
export const short = (x: number): string =>
  x >= 100 ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x >= 1 ? x.toFixed(2) : x.toFixed(3)

const columnsOf = (results: readonly Result[]): readonly string[] => [
  ...new Set(results.flatMap(r => r.outcomes.map(o => o.contender))),
]
const outcomeOf = (r: Result, contender: string) => r.outcomes.find(o => o.contender === contender)

/** Medians in ms, and how much they spread. */
export function timesSheet(results: readonly Result[]): Sheet {
  const columns = columnsOf(results)
  const cell = (o: Outcome | undefined): Cell =>
    o?.median === undefined || o.spread === undefined
      ? o?.error
        ? 'failed'
        : null
      : `${short(o.median)} ±${(100 * o.spread).toFixed(0)}%`
  return {
    header: ['ms', ...columns],
    rows: results.map(r => [r.title, ...columns.map(c => cell(outcomeOf(r, c)))]),
  }
}

/** GFLOP/s, or GB/s where memory is what limits. */
export function ratesSheet(results: readonly Result[]): Sheet {
  const columns = columnsOf(results)
  const rate = (r: Result, o: Outcome | undefined): Cell => {
    if (o?.median === undefined) return null
    return short((r.flop ?? r.bytes ?? 0) / o.median / 1e6)
  }
  return {
    header: ['GFLOP/s or GB/s', ...columns],
    rows: results
      .filter(r => (r.flop ?? r.bytes) !== undefined)
      .map(r => [
        `${r.title} (${r.flop ? 'GFLOP/s' : 'GB/s'})`,
        ...columns.map(c => rate(r, outcomeOf(r, c))),
      ]),
  }
}

/** The rival's time over Cotangent's on the same kind of device, the CPU's with all cores. */
export function ratiosSheet(results: readonly Result[]): Sheet {
  const columns = columnsOf(results)
  const ownOn = (device: 'cpu' | 'webgpu') => columns.find(c => c.startsWith(`ct ${device}`))
  const others = columns.filter(c => !c.startsWith('ct '))
  const ratio = (r: Result, rival: string): Cell => {
    const own = ownOn(/webgpu|cuda/.test(rival) ? 'webgpu' : 'cpu')
    const mine = own === undefined ? undefined : outcomeOf(r, own)?.median
    const theirs = outcomeOf(r, rival)?.median
    return mine === undefined || theirs === undefined ? null : `${short(theirs / mine)}x`
  }
  return {
    header: ['rival / Cotangent', ...others],
    rows: results.map(r => [r.title, ...others.map(c => ratio(r, c))]),
  }
}

/** The whole cores that a workload's turns had, in the median; undefined where nobody looked. */
function coresOf({ results, machine }: Run, workload: string): number | undefined {
  const samples = results.find(r => r.workload === workload)?.cores ?? []
  const run = results.flatMap(r => r.cores)
  return samples.length === 0 ? undefined : wholeCores(samples, run, machine.wholeCores)
}

/** What the cores did before the turns: multiplications and additions in registers. */
export function coresSheet(run: Run): Sheet {
  const { results, machine } = run
  const range = (xs: readonly number[]) => `${short(Math.min(...xs))} to ${short(Math.max(...xs))}`
  return {
    header: ['GFLOP/s', '1 thread', `${machine.cores} threads`, 'whole cores, median'],
    rows: results.flatMap(r => {
      const cores = coresOf(run, r.workload)
      if (cores === undefined) return []
      return [[r.title, range(r.cores.map(x => x.one)), range(r.cores.map(x => x.all)), short(cores)]]
    }),
  }
}

/** The targets, and where Cotangent stands; no verdict where others had the machine, or a part of its cores. */
export function targetsSheet(run: Run): Sheet {
  const { results, machine } = run
  const busy = isBusy(machine)
  const verdict = (workload: string, reached: boolean): string => {
    if (busy) return 'not judged: the machine was busy'
    const cores = coresOf(run, workload)
    if (cores !== undefined && cores < WHOLE * machine.wholeCores)
      return `not judged: ${machine.cores} threads had ${short(cores)} cores`
    return reached ? 'reached' : 'missed'
  }
  const memory = memoryRatio(results)
  return {
    header: ['target', 'against', 'on', 'wanted', 'measured', ''],
    rows: [
      ...standings(results).map(({ target: t, ratio }) => [
        t.workload,
        t.title,
        t.own,
        `${short(t.least)}x as fast`,
        ratio === undefined ? 'not measured' : `${short(ratio)}x`,
        ratio === undefined ? '' : verdict(t.workload, ratio >= t.least),
      ]),
      ...limits.flatMap(l => {
        const ms = ownTime(results, l.workload, l.own)
        if (ms === undefined) return []
        return [
          [
            l.workload,
            l.title,
            l.own,
            `${l.mostMs} ms or less`,
            `${short(ms)} ms`,
            verdict(l.workload, ms <= l.mostMs),
          ],
        ]
      }),
      ...(memory === undefined
        ? []
        : [
            [
              'pspnet',
              "PyTorch's peak memory",
              'cpu',
              `${mostMemory}x or less`,
              `${short(memory)}x`,
              memory <= mostMemory ? 'reached' : 'missed',
            ],
          ]),
    ],
  }
}

/** How far each contender's results are from those of Cotangent's first backend, relative to the largest value. */
export function agreementSheet(results: readonly Result[]): Sheet {
  const columns = columnsOf(results)
  const rows = results.filter(r => r.outcomes.some(o => o.difference !== undefined))
  return {
    header: ['largest difference', ...columns],
    rows: rows.map(r => [
      r.title,
      ...columns.map(c => {
        const difference = outcomeOf(r, c)?.difference
        return difference === undefined ? null : difference.toExponential(1)
      }),
    ]),
  }
}

/** Numbers beside the times: operations, kernels, memory. */
export function factsSheet(results: readonly Result[]): Sheet {
  const rows = results.flatMap(r =>
    r.outcomes.flatMap(o => {
      const { kernels, operations, peakBytes } = o.facts ?? {}
      if (operations === undefined && !(peakBytes !== undefined && /step/.test(r.title))) return []
      const mib = peakBytes === undefined ? null : short(peakBytes / 2 ** 20)
      return [[r.title, o.contender, operations ?? null, kernels ?? null, mib]]
    }),
  )
  return { header: ['', 'contender', 'operations', 'kernels', 'peak MiB'], rows }
}

/** Why there are gaps, a line each. */
export const gaps = ({ absent, results }: Run): readonly string[] => [
  ...Object.entries(absent).map(([name, why]) => `${name}: ${why}`),
  ...results.flatMap(r =>
    r.outcomes.flatMap(o => (o.error ? [`${r.title}, ${o.contender}: ${o.error}`] : [])),
  ),
]

const sheetsOf = (run: Run): readonly (readonly [title: string, sheet: Sheet])[] => [
  ['Median times', timesSheet(run.results)],
  ['Rates', ratesSheet(run.results)],
  ['Ratios', ratiosSheet(run.results)],
  ['Targets', targetsSheet(run)],
  ['Cores', coresSheet(run)],
  ['Sizes', factsSheet(run.results)],
  ['Agreement', agreementSheet(run.results)],
]

const head = ({ machine: m }: Run): string =>
  `${m.date} UTC, ${m.cpu}, ${m.cores} cores, ${m.memoryGiB} GiB, ${m.system}, Node ${m.node}, load average before ${m.load}`

/** The run for a terminal. */
export const toText = (run: Run): string =>
  [
    head(run),
    ...Object.entries(run.contenders).map(([name, what]) => `  ${name}: ${what}`),
    ...sheetsOf(run).flatMap(([title, { header, rows }]) =>
      rows.length ? ['', title, table(header, rows)] : [],
    ),
    ...(gaps(run).length ? ['', 'Not measured', ...gaps(run).map(g => `  ${g}`)] : []),
  ].join('\n')

/** The run as Markdown. */
export const toMarkdown = (run: Run): string => {
  const line = (cells: readonly Cell[]) =>
    `| ${cells.map(c => String(c ?? '–').replaceAll('|', '/')).join(' | ')} |`
  const sheet = ({ header, rows }: Sheet) => [line(header), line(header.map(() => '---')), ...rows.map(line)]
  return [
    head(run),
    '',
    ...Object.entries(run.contenders).map(([name, what]) => `- ${name}: ${what}`),
    ...sheetsOf(run).flatMap(([title, s]) => (s.rows.length ? ['', `### ${title}`, '', ...sheet(s)] : [])),
    ...(gaps(run).length ? ['', '### Not measured', '', ...gaps(run).map(g => `- ${g}`)] : []),
    '',
  ].join('\n')
}
