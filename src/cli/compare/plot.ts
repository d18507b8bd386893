/**
 * The plot of a study: every run as a point. In: its summary. Out: SVG that needs nothing else. One panel: mIoU by method;
 * the other: paired differences to the baseline with their means and 95% intervals.
 */
import { type Html, html, raw } from '../html.ts'
import type { MethodSummary, Summary } from './summary.ts'

const rowHeight = 34
const top = 56
const panelWidth = 480
/** Where values are drawn in a panel; left of it stand the names. */
const [from, to] = [130, 462]

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

const shown = (x: number): string => `${x < 0 ? '−' : ''}${Number(Math.abs(x).toPrecision(6))}`

/** Points of equal value lie beside each other: seeds are spread over a few pixels. */
const lift = (seed: number, seeds: number): number => (seeds < 2 ? 0 : 10 * (seed / (seeds - 1) - 0.5))

const point = (x: number, y: number, about: string): Html =>
  html`<circle class="run" cx="${x}" cy="${y}" r="3.5"><title>${about}</title></circle>
`
const bar = (x: number, y: number): Html =>
  html`<line class="mean" x1="${x}" x2="${x}" y1="${y - 10}" y2="${y + 10}"/>`

const bottomOf = ({ methods }: Summary): number => top + methods.length * rowHeight
const heightOf = (summary: Summary): number => bottomOf(summary) + 34

/** A panel: title, scale, names, and what `draw` makes of each method at a height. */
function panel(
  summary: Summary,
  title: string,
  { at, ticks }: Scale,
  draw: (m: MethodSummary, y: number) => Html | string,
): Html {
  const bottom = bottomOf(summary)
  return html`<text class="title" x="12" y="28">${title}</text>
${ticks.map(
  t => html`<line class="${t === 0 ? 'zero' : 'grid'}" x1="${at(t)}" x2="${at(t)}" y1="${top - 12}" y2="${bottom}"/>
<text class="tick" x="${at(t)}" y="${bottom + 18}">${shown(t)}</text>
`,
)}${summary.methods.map((m, i) => {
  const y = top + (i + 0.5) * rowHeight
  return html`<text class="name" x="${from - 14}" y="${y + 4}">${m.label}</text>
${draw(m, y)}
`
})}`
}

function scorePanel(summary: Summary): Html {
  const scale = scaleOf(
    summary.methods.flatMap(m => m.runs.map(r => 100 * r.entry.miou)),
    from,
    to,
  )
  return panel(
    summary,
    'mIoU in %, every run',
    scale,
    (m, y) =>
      html`${m.runs.map(({ seed, entry }) => {
        const x = 100 * entry.miou
        return point(scale.at(x), y + lift(seed, summary.seeds), `${m.label}, seed ${seed}: ${x.toFixed(2)}`)
      })}${m.mean === null ? '' : bar(scale.at(m.mean), y)}`,
  )
}

function differencePanel(summary: Summary): Html {
  const values = summary.methods.flatMap(m => [
    ...(m.difference?.points ?? []),
    ...(m.difference?.interval ?? []),
  ])
  const { at, ticks } = scaleOf(values, from, to, 0)
  return panel(summary, 'difference to ce in points, 95% interval', { at, ticks }, (m, y) => {
    const d = m.difference
    if (d === null) return ''
    const interval = d.interval?.map(at)
    return html`${interval ? html`<line class="interval" x1="${interval[0]}" x2="${interval[1]}" y1="${y}" y2="${y}"/>` : ''}
${bar(at(d.mean), y)}
${d.points.map((x, k) => point(at(x), y + lift(k, d.points.length), `${m.label}: ${x.toFixed(2)} points`))}`
  })
}

const svg = (width: number, height: number, about: string, content: Html): string =>
  html`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${about}">
<style>${raw(style)}</style>
<rect class="page" width="${width}" height="${height}"/>
${content}</svg>
`.html

/**
 * Both panels side by side.
 * @example writeAtomic('plot.svg', [plot(summary)])
 */
export const plot = (summary: Summary): string =>
  svg(
    2 * panelWidth,
    heightOf(summary),
    'mIoU of every run, and paired differences to cross-entropy',
    html`${scorePanel(summary)}<g transform="translate(${panelWidth} 0)">
${differencePanel(summary)}</g>`,
  )

/**
 * The panels one by one, for pages that may be narrow.
 * @example html`<div class="panels">${panels(summary).map(raw)}</div>`
 */
export const panels = (summary: Summary): readonly string[] => [
  svg(panelWidth, heightOf(summary), 'mIoU of every run', scorePanel(summary)),
  svg(panelWidth, heightOf(summary), 'Paired differences to cross-entropy', differencePanel(summary)),
]

const style = `
.page { fill: #fff } text { font: 13px system-ui, sans-serif; fill: #1a1d21 }
.title { font-weight: 600 } .name { text-anchor: end } .tick { text-anchor: middle; fill: #5d646e; font-size: 12px }
.grid { stroke: #e3e6ea } .zero { stroke: #5d646e; stroke-dasharray: 4 3 } .run { fill: #2459d6; fill-opacity: .55 }
.mean { stroke: #1a1d21; stroke-width: 2 } .interval { stroke: #1a1d21; stroke-width: 2; stroke-opacity: .35 }
@media (prefers-color-scheme: dark) {
  .page { fill: #14171a } text { fill: #e8eaed } .tick { fill: #9aa2ac } .grid { stroke: #2c3138 }
  .zero { stroke: #9aa2ac } .run { fill: #7ca7ff } .mean, .interval { stroke: #e8eaed }
}`
