/**
 * Plots for the docs. In: results. Out: SVG text, readable on light and dark pages: a block of bars per workload on
 * one logarithmic axis of milliseconds, and compile time against the number of operations.
 */
import { html, raw } from '../src/cli/html.ts'
import { short } from './results.ts'
import type { Result } from './types.ts'

const WIDTH = 860
const LEFT = 250
const RIGHT = 70
const BAR = 13
/** Colours of Okabe and Ito, told apart by the colour-blind too; Cotangent's are the strong ones. */
const colours = [
  '#0072B2',
  '#56B4E9',
  '#009E73',
  '#E69F00',
  '#D55E00',
  '#CC79A7',
  '#999999',
  '#B8A800',
  '#7A5CB0',
]

const style = raw('text{font:12px system-ui,sans-serif;fill:#888}.t{font-weight:600}line{stroke:#8884}')
const svg = (title: string, height: number, parts: readonly string[]): string =>
  html`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}"><title>${title}</title><style>${style}</style>${raw(parts.join(''))}</svg>\n`
    .html

/** Powers of ten from below `low` to above `high`. */
const decades = (low: number, high: number): readonly number[] => {
  const [a, b] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))]
  return Array.from({ length: b - a + 1 }, (_, i) => 10 ** (a + i))
}

/** Bars: the median time of every contender on every workload. */
export function barPlot(results: readonly Result[]): string {
  const shown = results
    .map(r => ({ ...r, bars: r.outcomes.flatMap(o => (o.median ? [{ ...o, median: o.median }] : [])) }))
    .filter(r => r.bars.length > 0)
  const names = [...new Set(shown.flatMap(r => r.bars.map(b => b.contender)))]
  const medians = shown.flatMap(r => r.bars.map(b => b.median))
  if (medians.length === 0) return svg('No times', 20, [])
  const ticks = decades(Math.min(...medians) * 0.9, Math.max(...medians))
  const [low, high] = [Math.log10(ticks[0]), Math.log10(ticks[ticks.length - 1])]
  const x = (ms: number) => LEFT + ((Math.log10(ms) - low) / (high - low)) * (WIDTH - LEFT - RIGHT)
  const parts: string[] = []
  let y = 30
  for (const r of shown) {
    parts.push(html`<text class="t" x="8" y="${y + BAR - 2}">${r.title}</text>`.html)
    for (const bar of r.bars) {
      const fill = colours[names.indexOf(bar.contender) % colours.length]
      const end = x(bar.median)
      parts.push(
        html`<rect x="${LEFT}" y="${y}" width="${Math.max(1, end - LEFT).toFixed(1)}" height="${BAR - 2}" fill="${fill}"/>`
          .html,
        html`<text x="${(end + 4).toFixed(1)}" y="${y + BAR - 3}">${short(bar.median)} ${bar.contender}</text>`
          .html,
      )
      y += BAR
    }
    y += 10
  }
  const axis = ticks.map(
    t =>
      html`<line x1="${x(t).toFixed(1)}" x2="${x(t).toFixed(1)}" y1="24" y2="${y}"/><text x="${x(t).toFixed(1)}" y="16" text-anchor="middle">${t} ms</text>`
        .html,
  )
  return svg('Median times in ms, on a logarithmic axis', y + 6, [...axis, ...parts])
}

/** Points: compile time against the number of operations traced; a straight line through 0 is linear growth. */
export function compilePlot(results: readonly Result[]): string | undefined {
  const points = results.flatMap(r =>
    r.outcomes.flatMap(o =>
      o.median !== undefined && o.facts?.operations !== undefined
        ? [
            {
              operations: o.facts.operations,
              ms: o.median,
              name: `${r.title.split('-').at(-1)}, ${o.contender}`,
            },
          ]
        : [],
    ),
  )
  if (points.length < 3) return undefined
  const [most, slowest] = [Math.max(...points.map(p => p.operations)), Math.max(...points.map(p => p.ms))]
  const [left, bottom, top] = [70, 300, 20]
  const x = (n: number) => left + (n / most) * (WIDTH - left - 220)
  const y = (ms: number) => bottom - (ms / slowest) * (bottom - top)
  return svg('Compile time against the number of operations', bottom + 40, [
    html`<line x1="${left}" y1="${bottom}" x2="${WIDTH - 220}" y2="${bottom}"/><line x1="${left}" y1="${top}" x2="${left}" y2="${bottom}"/>`
      .html,
    html`<text x="${left}" y="${bottom + 20}">0</text><text x="${x(most).toFixed(0)}" y="${bottom + 20}" text-anchor="middle">${most} operations</text>`
      .html,
    html`<text x="4" y="${top + 4}">${short(slowest)} ms</text>`.html,
    ...points.map(
      (p, i) =>
        html`<circle cx="${x(p.operations).toFixed(1)}" cy="${y(p.ms).toFixed(1)}" r="4" fill="${colours[i % colours.length]}"/><text x="${(x(p.operations) + 8).toFixed(1)}" y="${(y(p.ms) + 4).toFixed(1)}">${p.name} ${short(p.ms)} ms</text>`
          .html,
    ),
  ])
}
