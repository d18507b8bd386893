/**
 * The report of a finished run. In: scores, curves, example predictions and the setup, as plain data.
 * Out: one HTML document that needs no network: `report.html` of a run folder.
 */
import { encode } from 'fast-png'
import { encodePng } from '../data/image.ts'
import { confusionMatrix, type Scores, scores, update } from '../data/metrics.ts'
import { type Colour, type Dataset, ignored, type Sample } from '../data/sample.ts'
import { imageTile } from '../data/sheet.ts'
import { type Html, html } from './html.ts'
import { chartsOf, type Point } from './report-charts.ts'
import { flatten, large, legend, page, pairs, percent, swatch, threeDigits } from './report-parts.ts'
import type { Json } from './run-folder.ts'

/** What a trained network shows in the report. */
export interface ModelReport {
  /** Such as `Teacher`, `Student alone`, `Student + NFD`. */
  readonly name: string
  /** `plain` is the student trained alone: what `distilled` is compared with. */
  readonly role: 'teacher' | 'plain' | 'distilled'
  /** On the validation set. */
  readonly scores: Scores
  /** [step, training loss]; empty if the network was not trained in this run. */
  readonly loss: readonly Point[]
  /** [step, mIoU in 0..1 on the validation set]. */
  readonly miou: readonly Point[]
  readonly parameters: number
  /** Milliseconds a training step; null if the network was not trained in this run. */
  readonly msPerStep: number | null
}

/** One row of the gallery. */
export interface Example {
  readonly sample: Sample
  /** [height, width], class numbers, one map a model, in the order of `ReportData.models`. */
  readonly predictions: readonly ArrayLike<number>[]
}

/** All that the report shows. */
export interface ReportData {
  readonly title: string
  readonly date: Date
  readonly dataset: Pick<Dataset, 'name' | 'classes' | 'palette'>
  readonly models: readonly ModelReport[]
  /** Of always answering the most frequent class. */
  readonly baseline: Scores
  readonly gallery: readonly Example[]
  readonly config: Json
  /** The adapter's own name, such as `NVIDIA H200 (Vulkan)`. */
  readonly device: string
  /** Such as { cotangent: '0.1.0', node: '20.11.0' }. */
  readonly versions: Readonly<Record<string, string>>
  /** Bytes on the device at the highest; null if unknown. */
  readonly peakMemory: number | null
}

/**
 * The report as an HTML document.
 * @throws DataError if an example's prediction does not fit its label
 * @example run.write('report.html', renderReport(data))
 */
export function renderReport(data: ReportData): string {
  return page({
    title: data.title,
    kind: 'feature distillation report',
    date: data.date,
    facts: [data.dataset.name, data.device],
    sections: [verdict(data), summary(data), classTable(data)],
    charts: chartsOf(data.models),
    rest: [gallery(data), setup(data)],
  })
}

/** Of the values as printed, so that a reader who subtracts finds the same. */
const difference = (was: number, is: number): number => (Math.round(1000 * is) - Math.round(1000 * was)) / 10
const signed = (x: number): string => `${x < 0 ? '−' : x > 0 ? '+' : '±'}${Math.abs(x).toFixed(1)}`
const key = (model: number): Html => html`<i class="key k${model % 6}"></i>`

/** The scores in large figures, and what they say in a sentence. */
function verdict({ models, baseline }: ReportData): Html {
  const miouOf = (role: ModelReport['role']): number | undefined =>
    models.find(m => m.role === role)?.scores.miou
  const [teacher, plain, distilled] = [miouOf('teacher'), miouOf('plain'), miouOf('distilled')]
  return html`<section aria-label="Result">
<ul class="figures">${models.map(
    (model, i) => html`
<li class="${model.role}"><h2>${key(i)}${model.name}</h2><p><strong>${percent(model.scores.miou)}</strong> % mIoU</p></li>`,
  )}
</ul>
${plain === undefined || distilled === undefined ? '' : html`<p class="lede">${sentence(plain, distilled, teacher)} Always answering the most frequent class would score ${percent(baseline.miou)}. One run with one seed shows what happened here, not what the method does on average.</p>`}
</section>`
}

function sentence(plain: number, distilled: number, teacher: number | undefined): string {
  const gain = difference(plain, distilled)
  const verb = gain > 0 ? 'raises' : gain < 0 ? 'lowers' : 'leaves'
  const change = `Distillation ${verb} the student’s mIoU from ${percent(plain)} to ${percent(distilled)} (${signed(gain)} points)`
  if (teacher === undefined || gain <= 0 || difference(plain, teacher) <= 0) return `${change}.`
  if (distilled >= teacher) return `${change}, to the level of its teacher or above.`
  return `${change} and closes ${Math.round((100 * gain) / difference(plain, teacher))} % of the gap to its teacher.`
}

/** Cells of numbers of which the best (as printed) stand out, unless all are the same. */
function cells(values: readonly (number | null)[]): Html[] {
  const shown = values.map(percent)
  const best = Math.max(...shown.map(Number).filter(Number.isFinite))
  return shown.map(text =>
    Number(text) === best && shown.some(other => other !== text)
      ? html`<td class="best">${text}</td>`
      : html`<td>${text}</td>`,
  )
}

function summary({ models, baseline }: ReportData): Html {
  const columns = (['miou', 'pixelAccuracy', 'classAccuracy'] as const).map(metric =>
    cells(models.map(m => m.scores[metric])),
  )
  return html`<section>
<h2>Scores</h2>
<p class="note">On the validation set, in per cent; the best of each column stands out. The means run over the classes that occur in the labels.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Scores">
<table class="numbers">
<thead><tr><th scope="col">Model</th><th scope="col">mIoU</th><th scope="col">Pixel accuracy</th><th scope="col">Class accuracy</th><th scope="col">Parameters</th><th scope="col">ms / step</th></tr></thead>
<tbody>${models.map(
    (model, i) => html`
<tr><th scope="row">${key(i)}${model.name}</th>${columns.map(column => column[i])}<td>${large(model.parameters)}</td><td>${model.msPerStep === null ? '–' : threeDigits(model.msPerStep)}</td></tr>`,
  )}
<tr class="aside"><th scope="row"><i class="key"></i>Most frequent class</th><td>${percent(baseline.miou)}</td><td>${percent(baseline.pixelAccuracy)}</td><td>${percent(baseline.classAccuracy)}</td><td>–</td><td>–</td></tr>
</tbody>
</table>
</div>
</section>`
}

function classTable({ models, dataset }: ReportData): Html {
  const plain = models.find(m => m.role === 'plain')
  const distilled = models.find(m => m.role === 'distilled')
  const gain = (c: number): Html => {
    const [was, is] = [plain?.scores.iou[c] ?? null, distilled?.scores.iou[c] ?? null]
    if (was === null || is === null) return html`<td>–</td>`
    const change = difference(was, is)
    return html`<td class="${change > 0 ? 'up' : change < 0 ? 'down' : ''}">${signed(change)}</td>`
  }
  return html`<section>
<h2>IoU by class</h2>
<p class="note">In per cent; the best of each class stands out. The last column is what distillation changes for the student.</p>
<div class="scroll" tabindex="0" role="region" aria-label="IoU by class">
<table class="numbers">
<thead><tr><th scope="col">Class</th>${models.map(m => html`<th scope="col">${m.name}</th>`)}<th scope="col">Gain</th></tr></thead>
<tbody>${dataset.classes.map(
    (name, c) => html`
<tr><th scope="row">${swatch(dataset.palette[c])}${name}</th>${cells(models.map(m => m.scores.iou[c]))}${gain(c)}</tr>`,
  )}
</tbody>
</table>
</div>
</section>`
}

function gallery({ gallery: examples, models, dataset }: ReportData): Html {
  if (examples.length === 0) return html``
  const { classes, palette } = dataset
  const seen = new Set(
    examples.flatMap(e => [e.sample.label, ...e.predictions].flatMap(map => [...new Set(Array.from(map))])),
  )
  return html`<section>
<h2>Examples</h2>
<p class="note">Beside each name, the per cent of labelled pixels that the model gets right.</p>
${legend(dataset, seen, seen.has(ignored) ? html`${swatch([0, 0, 0])}void` : undefined)}
<ol class="gallery">${examples.map(
    ({ sample, predictions }) => html`
<li role="group" aria-label="${sample.name}">
${picture(sample, imagePng(sample), sample.name, `Input image ${sample.name}`)}
${picture(sample, mapPng(sample, sample.label, palette), 'Label', `Labelled classes of ${sample.name}`)}
${predictions.map((map, i) => picture(sample, mapPng(sample, map, palette), html`${models[i].name} <b>${rightPixels(sample, map, classes.length)}</b>`, `Classes of ${sample.name} as predicted by ${models[i].name}`))}
</li>`,
  )}
</ol>
</section>`
}

function picture({ height, width }: Sample, png: Uint8Array, caption: Html | string, alt: string): Html {
  const source = `data:image/png;base64,${Buffer.from(png).toString('base64')}`
  return html`<figure><img src="${source}" width="${width}" height="${height}" alt="${alt}"${width < 200 ? html` class="small"` : ''}><figcaption>${caption}</figcaption></figure>`
}

const imagePng = (sample: Sample): Uint8Array => {
  const { data, height, width } = imageTile(sample)
  return encodePng(data, height, width)
}

/** A class map as a palette PNG; what is no class (void) is black. */
function mapPng({ height, width }: Sample, map: ArrayLike<number>, palette: readonly Colour[]): Uint8Array {
  const colours = Array.from({ length: 256 }, (_, c) => [...(palette[c] ?? [0, 0, 0])])
  return encode({ height, width, data: Uint8Array.from(map), depth: 8, channels: 1, palette: colours })
}

function rightPixels({ label }: Sample, prediction: ArrayLike<number>, classes: number): string {
  if (label.every(c => c === ignored)) return '–'
  const matrix = confusionMatrix(classes)
  update(matrix, label, prediction, classes)
  return percent(scores(matrix, classes).pixelAccuracy)
}

function setup({ config, device, versions, peakMemory }: ReportData): Html {
  const machine: [string, string][] = [
    ['device', device],
    ['peak device memory', peakMemory === null ? 'unknown' : `${(peakMemory / 2 ** 20).toFixed(0)} MiB`],
    ...Object.entries(versions),
  ]
  return html`<section>
<h2>Setup</h2>
<h3>Machine</h3>
${pairs(machine)}
<h3>Configuration</h3>
${pairs(flatten(config))}
</section>`
}
