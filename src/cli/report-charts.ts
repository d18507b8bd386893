/**
 * The curves of the report. In: the models' losses and scores by step. Out: the places where charts go, and
 * the script that draws them with uPlot, library included.
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { type Html, html, raw } from './html.ts'

/** [step, value]; null for a value that was not finite. */
export type Point = readonly [step: number, value: number | null]

/** A curve, in the colour of model 0 .. 5. */
export interface Curve {
  readonly name: string
  readonly model: number
  readonly points: readonly Point[]
}

/** A chart, as wide as its place allows. */
export interface Chart {
  /** What is drawn, in bold, and how. */
  readonly title: string
  readonly about: string
  readonly curves: readonly Curve[]
  /** Digits behind the point. */
  readonly digits: number
  /** A curve that falls by more than a decade gets a logarithmic axis. */
  readonly mayBeLog?: boolean
}

interface Curves {
  readonly name: string
  readonly loss: readonly Point[]
  readonly miou: readonly Point[]
}

/** Loss and mIoU of several models. */
export const chartsOf = (models: readonly Curves[]): readonly Chart[] => [
  {
    title: 'Loss',
    about: 'on the training set, by step',
    curves: models.map(({ name, loss }, model) => ({ name, model, points: loss })),
    digits: 3,
    mayBeLog: true,
  },
  {
    title: 'mIoU',
    about: 'on the validation set in per cent, by step',
    curves: models.map(({ name, miou }, model) => ({ name, model, points: inPerCent(miou) })),
    digits: 1,
  },
]

/** Points in 0..1 as per cent. */
export const inPerCent = (points: readonly Point[]): readonly Point[] =>
  points.map(([step, x]) => [step, x === null ? null : 100 * x])

/** The section of the charts; without the script it shows only their titles. */
export function plots(charts: readonly Chart[]): Html {
  const faint = charts.some(chart => chart.curves.some(c => c.points.length > noisy))
  return html`<section>
<h2>Training</h2>
${faint ? html`<p class="note">Faint lines are values as logged, strong ones their running mean.</p>` : ''}
<div class="charts">
${charts.map(
  ({ title, about, curves, digits }) => html`<figure><figcaption><b>${title}</b> ${about}</figcaption>
<div class="plot" role="img" aria-label="${title} ${about}. ${curves.map(c => describe(c, digits))}"></div></figure>
`,
)}</div>
<noscript><p class="note">The curves need JavaScript.</p></noscript>
</section>`
}

/** The data, uPlot and the drawing code, in the order in which they must stand at the end of the body. */
export function chartScript(charts: readonly Chart[]): Html {
  const data = JSON.stringify(charts.map(drawn)).replaceAll('<', '\\u003c')
  return html`<script type="application/json" id="curves">${raw(data)}</script>
<script>${raw(uPlot('uPlot.iife.min.js'))}</script>
<script>${raw(drawing)}</script>`
}

/** uPlot's style sheet. */
export const chartStyle = (): string => uPlot('uPlot.min.css')

/** Curves of more points than this get a running mean, and are thinned to `maxPoints` means. */
const noisy = 80
const maxPoints = 600

/** uPlot's own form: the steps of all series merged, and for each series a value or null at each of them. */
function drawn({ curves, digits, mayBeLog = false }: Chart) {
  const series = curves.flatMap(({ name, model, points }) => {
    const thinned = thin(points)
    if (points.length <= noisy) return [{ name, model, faint: false, points: thinned }]
    return [
      { name, model, faint: true, points: thinned },
      { name, model, faint: false, points: smooth(thinned) },
    ]
  })
  const steps = [...new Set(series.flatMap(s => s.points.map(([step]) => step)))].sort((a, b) => a - b)
  const values = series.flatMap(s => s.points.flatMap(([, y]) => (y === null ? [] : [y])))
  const [low, high] = values.reduce(([a, b], y) => [Math.min(a, y), Math.max(b, y)], [Infinity, -Infinity])
  return {
    series: series.map(({ name, model, faint }) => ({ name, model, faint })),
    data: [
      steps,
      ...series.map(({ points }) => {
        const at = new Map(points)
        return steps.map(step => at.get(step) ?? null)
      }),
    ],
    digits,
    // A loss that falls by more than a decade shows its end only on a logarithmic axis.
    log: mayBeLog && low > 0 && high > 10 * low,
  }
}

/** Means of equal parts, so that a long run stays a small file. */
function thin(points: readonly Point[]): readonly Point[] {
  const size = Math.ceil(points.length / maxPoints)
  if (size <= 1) return points.map(([step, y]) => [step, round(y)])
  return Array.from({ length: Math.ceil(points.length / size) }, (_, i) => {
    const part = points.slice(i * size, (i + 1) * size)
    return [part[part.length - 1][0], round(mean(part))]
  })
}

/** A centred running mean over a twentieth of the curve. */
function smooth(points: readonly Point[]): Point[] {
  const half = Math.ceil(points.length / 40)
  return points.map(([step], i) => [step, round(mean(points.slice(Math.max(0, i - half), i + half + 1)))])
}

function mean(points: readonly Point[]): number | null {
  const known = points.flatMap(([, y]) => (y === null ? [] : [y]))
  return known.length === 0 ? null : known.reduce((a, b) => a + b, 0) / known.length
}

const round = (y: number | null): number | null =>
  y === null || !Number.isFinite(y) ? null : Number(y.toPrecision(4))

function describe({ name, points }: Curve, digits: number): string {
  const [first, last] = [points[0]?.[1], points.at(-1)?.[1]]
  if (typeof first !== 'number' || typeof last !== 'number') return ''
  return `${name}: from ${first.toFixed(digits)} to ${last.toFixed(digits)}. `
}

/** A file of the library, its licence in front; the address in its own comment is dropped: a report names no network. */
function uPlot(file: string): string {
  const folder = dirname(createRequire(import.meta.url).resolve('uplot/package.json'))
  const code = readFileSync(join(folder, 'dist', file), 'utf8').replace(/^\/\*![^*]*\*\/\s*/, '')
  return `/*! uPlot\n${readFileSync(join(folder, 'LICENSE'), 'utf8')}*/\n${code}`
}

// Runs in the reader's browser. Colours come from the style sheet, so a change of scheme or a print draws anew.
const drawing = `
'use strict'
{
  const charts = JSON.parse(document.getElementById('curves').textContent)
  const places = [...document.querySelectorAll('.plot')]
  const root = document.documentElement
  const dashes = [[6, 4], [], [], [2, 3], [8, 3, 2, 3], [1, 3]]
  const font = '12px system-ui, sans-serif'
  let drawn = []

  const short = x => x >= 1e6 ? x / 1e6 + ' M' : x >= 1e4 ? x / 1e3 + ' k' : String(x)

  function options(chart, width) {
    const colour = name => getComputedStyle(root).getPropertyValue('--' + name).trim()
    const axis = { stroke: colour('muted'), font, ticks: { show: false }, grid: { stroke: colour('line'), width: 1 } }
    // Where the pointer is, or else at the end.
    const at = (u, i, idx) => idx == null ? u.data[i].findLast(y => y != null) : u.data[i][idx]
    const show = y => y == null ? '–' : y.toFixed(chart.digits)
    const padded = (u, low, high) => uPlot.rangeNum(Math.min(0, low), high || 1, 0.05, true)
    const decades = (u, low, high) => [low / 1.15, high * 1.15]
    const digits = (u, ys) => ys.map(y => short(Number(y.toPrecision(3))))
    const majors = (u, splits) => splits.map(y => '125'.includes(y.toExponential()[0]) ? y : null)
    return {
      width,
      height: Math.round(Math.min(340, Math.max(230, width * 0.6))),
      scales: { x: { time: false }, y: chart.log ? { distr: 3, range: decades } : { range: padded } },
      axes: [
        { ...axis, grid: { show: false }, size: 32, values: (u, xs) => xs.map(short), space: 60 },
        { ...axis, size: 48, ...(chart.log ? { grid: { ...axis.grid, filter: majors } } : { values: digits }) },
      ],
      cursor: { drag: { x: false, y: false }, points: { size: 6 }, hover: { prox: null, skip: [undefined, null] } },
      legend: { markers: { width: 0 } },
      series: [
        { label: 'Step', value: (u, x, i, idx) => String(at(u, i, idx) ?? '–') },
        ...chart.series.map(({ name, model, faint }) => ({
          label: name,
          class: faint ? 'faint' : 'k' + model % 6,
          stroke: colour('k' + model % 6) + (faint ? '38' : ''),
          width: faint ? 1 : 2,
          dash: faint ? [] : dashes[model % 6],
          spanGaps: true,
          points: { show: false },
          value: (u, y, i, idx) => show(at(u, i, idx)),
        })),
      ],
    }
  }

  function draw(width) {
    for (const plot of drawn) plot.destroy()
    drawn = places.map((place, i) => new uPlot(options(charts[i], width ?? place.clientWidth), charts[i].data, place))
  }

  draw()
  let last = places[0].clientWidth
  addEventListener('resize', () => {
    if (places[0].clientWidth === last) return
    last = places[0].clientWidth
    draw()
  })
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => draw())
  addEventListener('beforeprint', () => { root.classList.add('printing'); draw(330) })
  addEventListener('afterprint', () => { root.classList.remove('printing'); draw() })
}
`
