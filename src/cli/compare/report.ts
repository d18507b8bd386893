/**
 * The report of a study. In: its summary and settings. Out: report.html, which needs no network, and table.md for pages.
 */
import { existsSync, readFileSync } from 'node:fs'
import { camvidPalette } from '../../data/datasets/camvid.ts'
import type { Colour } from '../../data/sample.ts'
import { scenePalette } from '../../data/synthetic.ts'
import { documentOf, type Html, html, raw } from '../html.ts'
import { flatten, legend, pairs, swatch } from '../report-parts.ts'
import { styleSheet } from '../report-style.ts'
import type { Entry } from './ledger.ts'
import { pictureOf } from './pictures.ts'
import { panels } from './plot.ts'
import type { Study } from './study.ts'
import { classMeans, conclusions, notesOf, rowsOf, type Summary } from './summary.ts'

/** All that the report shows. */
export interface StudyReport {
  readonly study: Study
  readonly summary: Summary
  readonly teacher: Entry
  readonly classes: readonly string[]
  /** Of always answering the most frequent class: mIoU in 0..1. */
  readonly majority: number
  /** The study's folder, where the pictures are. */
  readonly folder: string
  readonly command: string
}

const percent = (x: number): string => (100 * x).toFixed(2)

/** The teacher and the floor, in a sentence. */
const frame = ({ teacher, majority }: StudyReport): string =>
  `The teacher scores ${percent(teacher.miou)}; always answering the most frequent class, ${percent(majority)}.`

/**
 * The table as Markdown, with the sentences that belong to it.
 * @example writeAtomic('table.md', [markdown(report)])
 */
export function markdown(report: StudyReport): string {
  const { header, rows } = rowsOf(report.summary)
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [
    line(header),
    line(header.map((_, i) => (i === 0 || i === header.length - 1 ? '---' : '---:'))),
    ...rows.map(line),
    '',
    frame(report),
    ...notesOf(report.summary),
    '',
    perClass(report),
    '',
  ].join('\n')
}

/** The IoU of each class, means over seeds, as Markdown. */
function perClass({ summary, teacher, classes }: StudyReport): string {
  const columns = [
    ['teacher', teacher.iou.map(x => (x === null ? null : 100 * x))] as const,
    ...summary.methods.map(m => [m.label, classMeans(m, classes.length)] as const),
  ]
  const cell = (x: number | null | undefined): string => (typeof x === 'number' ? x.toFixed(1) : '–')
  return [
    `| IoU in % | ${columns.map(([name]) => name).join(' | ')} |`,
    `| --- | ${columns.map(() => '---:').join(' | ')} |`,
    ...classes.map((name, c) => `| ${name} | ${columns.map(([, xs]) => cell(xs[c])).join(' | ')} |`),
  ].join('\n')
}

/** The colours of each dataset's classes. */
const palettes = { synthetic: scenePalette, camvid: camvidPalette } as const satisfies Record<
  Study['dataset'],
  readonly Colour[]
>

/** A table. @param icons  before the name of each row; without them names begin at the edge */
function grid(
  about: string,
  header: readonly string[],
  rows: readonly (readonly string[])[],
  { icons, told = false }: { readonly icons?: readonly Html[]; readonly told?: boolean } = {},
): Html {
  const kinds = `numbers${icons ? '' : ' plain'}${told ? ' told' : ''}`
  return html`<div class="scroll" tabindex="0" role="region" aria-label="${about}"><table class="${kinds}">
<thead><tr>${header.map(h => html`<th scope="col">${h}</th>`)}</tr></thead>
<tbody>${rows.map(
    (row, r) =>
      html`<tr>${row.map((c, i) => (i === 0 ? html`<th scope="row">${icons?.[r] ?? ''}${c}</th>` : html`<td>${c}</td>`))}</tr>`,
  )}</tbody></table></div>`
}

/**
 * The report as an HTML document.
 * @example writeAtomic('report.html', [renderStudy(report)])
 */
export function renderStudy(report: StudyReport): string {
  const { study, summary, teacher, classes, folder, command } = report
  const palette = palettes[study.dataset]
  const { header, rows } = rowsOf(summary)
  const names = ['teacher', ...summary.methods.map(m => m.label)]
  const byClass = classes.map((name, c) => [
    name,
    ...[teacher.iou[c], ...summary.methods.map(m => scaled(classMeans(m, classes.length)[c]))].map(x =>
      typeof x === 'number' ? (100 * x).toFixed(1) : '–',
    ),
  ])
  const title = `Methods compared on ${study.dataset}`
  const policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
  return documentOf(
    { title, style: styleSheet(), policy },
    html`<header><p class="eyebrow">Cotangent · comparison of methods</p><h1>${title}</h1>
<p class="lede">${frame(report)}</p>${conclusions(summary).map(c => html`<p class="lede">${c[0].toUpperCase()}${c.slice(1)}</p>`)}</header>
<section><h2>Scores</h2>${grid('Scores', header, rows, { told: true })}${notesOf(summary).map(n => html`<p class="note">${n}</p>`)}</section>
<section><h2>Every run</h2><div class="panels">${panels(summary).map(raw)}</div></section>
<section><h2>Classes</h2><p class="note">IoU in %, means over seeds.</p>${grid('Classes', ['class', ...names], byClass, { icons: classes.map((_, c) => swatch(palette[c])) })}</section>
${gallery(folder, names, { classes, palette })}
<section><h2>Setup</h2><p class="note command">${command}</p>${pairs([...flatten(study), ...summary.methods.map(m => [m.label, m.full] as const)])}</section>`,
  )
}
const scaled = (x: number | null | undefined): number | null => (typeof x === 'number' ? x / 100 : null)

/** Predictions of the runs with seed 0, beside images and labels: a column of tiles each. */
function gallery(
  folder: string,
  names: readonly string[],
  about: { readonly classes: readonly string[]; readonly palette: readonly Colour[] },
): Html | string {
  const columns = ['images', ...names].flatMap(name => {
    const path = pictureOf(folder, name)
    return existsSync(path) ? [{ name, data: readFileSync(path).toString('base64') }] : []
  })
  if (columns.length === 0) return ''
  const all = new Set(about.classes.keys())
  return html`<section><h2>Predictions of seed 0</h2>${legend(about, all, html`${swatch([255, 255, 255])}void`)}
<div class="scroll" tabindex="0" role="region" aria-label="Predictions"><div class="columns">${columns.map(
    ({ name, data }) =>
      html`<figure${name === 'images' ? html` class="pair"` : ''}><figcaption>${name === 'images' ? 'image and label' : name}</figcaption><img alt="${name}" src="data:image/png;base64,${data}"></figure>`,
  )}</div></div></section>`
}
