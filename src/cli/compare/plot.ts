/**
 * The plot of a study: every run as a point. In: its summary. Out: an SVG file that needs nothing else. Left: mIoU by method;
 * right: paired differences to the baseline with their means and 95% intervals.
 */
import { type Html, html, raw } from '../html.ts'
import type { MethodSummary, Summary } from './summary.ts'

const width = 960
const rowHeight = 34
const top = 56
const panels = { scores: { from: 150, to: 520 }, differences: { from: 580, to: 930 } } as const

/** A linear scale, and round values along it. */
interface Scale {
  readonly at: (x: number) => number
  readonly ticks: readonly number[]
}

/**
 * A scale over values, with a margin; ticks are 1, 2 or 5 times a power of ten apart.
 * @param always  a value that must lie within
 */
export function scaleOf(values: readonly number[], from: number, to: number, always?: number): Scale {
  const all = always === undefined ? values : [...values, always]
  const [least, most] = all.length > 0 ? [Math.min(...all), Math.max(...all)] : [0, 1]
  const margin = Math.max((most - least) * 0.08, 0.05)
  const [low, high] = [least - margin, most + margin]
  const rough = (high - low) / 5
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].map(k => k * power).find(s => s >= rough) ?? 10 * power
  const first = Math.ceil(low / step)
  const ticks = Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step)
  return { at: x => from + ((x - low) / (high - low)) * (to - from), ticks }
}

const shown = (x: number): string => String(Number(x.toPrecision(6)))

function axis(
  { at, ticks }: Scale,
  bottom: number,
  title: string,
  panel: { from: number; to: number },
): Html {
  return html`<text class="title" x="${panel.from}" y="28">${title}</text>
${ticks.map(
  t => html`<line class="grid" x1="${at(t)}" x2="${at(t)}" y1="${top - 12}" y2="${bottom}"/>
<text class="tick" x="${at(t)}" y="${bottom + 18}">${shown(t)}</text>
`,
)}`
}

/** Points of equal value lie beside each other: seeds are spread over a few pixels. */
const lift = (seed: number, seeds: number): number => (seeds < 2 ? 0 : 10 * (seed / (seeds - 1) - 0.5))

/**
 * The plot.
 * @example writeAtomic('plot.svg', [plot(summary)])
 */
export function plot(summary: Summary): string {
  const { methods, seeds } = summary
  const bottom = top + methods.length * rowHeight
  const scores = methods.flatMap(m => m.runs.map(r => 100 * r.entry.miou))
  const differences = methods.flatMap(m => [
    ...(m.difference?.points ?? []),
    ...(m.difference?.interval ?? []),
  ])
  const left = scaleOf(scores, panels.scores.from, panels.scores.to)
  const right = scaleOf(differences, panels.differences.from, panels.differences.to, 0)
  const row = (m: MethodSummary, i: number): Html => {
    const y = top + (i + 0.5) * rowHeight
    const d = m.difference
    return html`<text class="name" x="${panels.scores.from - 16}" y="${y + 4}">${m.label}</text>
${m.runs.map(
  ({ seed, entry }) =>
    html`<circle class="run" cx="${left.at(100 * entry.miou)}" cy="${y + lift(seed, seeds)}" r="3.5"><title>${m.label}, seed ${seed}: ${(100 * entry.miou).toFixed(2)}</title></circle>
`,
)}${m.mean === null ? '' : html`<line class="mean" x1="${left.at(m.mean)}" x2="${left.at(m.mean)}" y1="${y - 10}" y2="${y + 10}"/>`}
${
  d === null
    ? ''
    : html`${d.interval ? html`<line class="interval" x1="${right.at(d.interval[0])}" x2="${right.at(d.interval[1])}" y1="${y}" y2="${y}"/>` : ''}
<line class="mean" x1="${right.at(d.mean)}" x2="${right.at(d.mean)}" y1="${y - 10}" y2="${y + 10}"/>
${d.points.map((x, k) => html`<circle class="run" cx="${right.at(x)}" cy="${y + lift(k, d.points.length)}" r="3.5"><title>${m.label}: ${x.toFixed(2)} points</title></circle>`)}`
}
`
  }
  return html`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${bottom + 34}" role="img" aria-label="mIoU of every run, and paired differences to cross-entropy">
<style>${raw(style)}</style>
<rect class="page" width="${width}" height="${bottom + 34}"/>
${axis(left, bottom, 'mIoU in %, every run', panels.scores)}
${axis(right, bottom, 'difference to ce in points, 95% interval', panels.differences)}
<line class="zero" x1="${right.at(0)}" x2="${right.at(0)}" y1="${top - 12}" y2="${bottom}"/>
${methods.map(row)}</svg>
`.html
}

const style = `
.page { fill: #fff } text { font: 13px system-ui, sans-serif; fill: #1a1d21 }
.title { font-weight: 600 } .name { text-anchor: end } .tick { text-anchor: middle; fill: #5d646e; font-size: 12px }
.grid { stroke: #e3e6ea } .zero { stroke: #5d646e; stroke-dasharray: 4 3 } .run { fill: #2459d6; fill-opacity: .55 }
.mean { stroke: #1a1d21; stroke-width: 2 } .interval { stroke: #1a1d21; stroke-width: 2; stroke-opacity: .35 }
@media (prefers-color-scheme: dark) {
  .page { fill: #14171a } text { fill: #e8eaed } .tick { fill: #9aa2ac } .grid { stroke: #2c3138 }
  .zero { stroke: #9aa2ac } .run { fill: #7ca7ff } .mean, .interval { stroke: #e8eaed }
}`
