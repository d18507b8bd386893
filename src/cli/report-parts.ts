/** What reports share. In: plain data. Out: the frame of an HTML document that needs no network, and parts of it. */
import type { Colour, Dataset } from '../data/sample.ts'
import { documentOf, type Html, html } from './html.ts'
import { type Chart, chartScript, plots } from './report-charts.ts'
import { styleSheet } from './report-style.ts'
import type { Json } from './run-folder.ts'

/** A document. */
export interface Page {
  readonly title: string
  /** Such as `training report`. */
  readonly kind: string
  readonly date: Date
  /** Short facts below the title: the data, the device. */
  readonly facts: readonly string[]
  readonly sections: readonly Html[]
  readonly charts: readonly Chart[]
  /** The sections below the charts. */
  readonly rest: readonly Html[]
}

/** The whole document as text; it loads nothing. */
export const page = ({ title, kind, date, facts, sections, charts, rest }: Page): string =>
  documentOf(
    {
      title,
      style: styleSheet(),
      policy: "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'",
    },
    html`<header>
<p class="eyebrow">Cotangent · ${kind}</p>
<h1>${title}</h1>
<p class="meta"><time datetime="${date.toISOString()}">${day(date)}</time>${facts.map(fact => html`<span>${fact}</span>`)}</p>
</header>
<main>
${sections}
${plots(charts)}
${rest}
</main>
<footer>Written by Cotangent. Curves drawn by uPlot.</footer>
${chartScript(charts)}`,
  )

const day = (date: Date): string =>
  `${date.toLocaleDateString('en-GB', { dateStyle: 'long', timeZone: 'UTC' })}, ${date.toISOString().slice(11, 16)} UTC`

/** A part of 1 as per cent with a digit; a dash for what does not exist. */
export const percent = (x: number | null): string =>
  x === null || !Number.isFinite(x) ? '–' : (100 * x).toFixed(1)

/** A count in the unit that suits: `12.3 M`. */
export const large = (n: number): string => {
  if (n >= 1e6) return `${(n / 1e6).toFixed(1)} M`
  return n >= 1e4 ? `${(n / 1e3).toFixed(0)} k` : String(n)
}

/** Three digits, and no exponent. @example threeDigits(1043.7) // 1040 */
export const threeDigits = (x: number): number => Number(x.toPrecision(3))

/** A square of a colour. */
export const swatch = ([red, green, blue]: Colour): Html =>
  html`<i class="swatch" style="background:rgb(${red},${green},${blue})"></i>`

/**
 * The colours and names of the classes that occur.
 * @param seen   class numbers
 * @param blank  what pixels of no class look like, if there are such
 * @example legend(dataset, new Set(prediction), html`no colour: void`)
 */
export const legend = (
  { classes, palette }: Pick<Dataset, 'classes' | 'palette'>,
  seen: ReadonlySet<number>,
  blank?: Html,
): Html =>
  html`<ul class="classes" aria-label="Colours of the classes">${classes.map((name, c) => (seen.has(c) ? html`<li>${swatch(palette[c])}${name}</li>` : ''))}${blank ? html`<li>${blank}</li>` : ''}</ul>`

/** Names and values. */
export const pairs = (entries: readonly (readonly [string, string])[]): Html =>
  html`<dl class="pairs">${entries.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`

/** The leaves of a configuration by their dotted path. */
export function flatten(value: Json, name = ''): [string, string][] {
  if (typeof value !== 'object' || value === null) return [[name, String(value)]]
  if (Array.isArray(value) && value.every(x => typeof x !== 'object')) return [[name, value.join(', ')]]
  return Object.entries(value).flatMap(([k, child]) => flatten(child, name === '' ? k : `${name}.${k}`))
}
