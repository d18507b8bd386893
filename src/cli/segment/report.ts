/**
 * The report of a training run. In: scores, curves, pictures and the setup, as plain data. Out: one HTML document that
 * needs no network: `report.html` of a run folder.
 */
import type { BoundaryScores } from '../../data/boundary.ts'
import { type ConfusionMatrix, majorityMatrix, type Scores, scores } from '../../data/metrics.ts'
import { type Dataset, ignored } from '../../data/sample.ts'
import { type Html, html } from '../html.ts'
import { inPerCent, type Point } from '../report-charts.ts'
import { flatten, large, legend, page, pairs, percent, swatch } from '../report-parts.ts'
import type { Json } from '../run-folder.ts'
import { confusionPicture } from './confusion.ts'
import { dataUrl, overlay, type Rgb, shrunk } from './overlay.ts'

/** An image with its label and what the network made of it. */
export interface Shown {
  readonly name: string
  readonly rgb: Rgb & { readonly image: Float32Array }
  readonly label: Uint8Array
  readonly prediction: Uint8Array
  /** mIoU of this image alone. */
  readonly miou: number
}

/** All that the report shows. */
export interface SegmentReport {
  readonly title: string
  readonly date: Date
  readonly dataset: Pick<Dataset, 'name' | 'classes' | 'palette' | 'size'>
  readonly network: { readonly name: string; readonly parameters: number }
  /** Of the weights that are kept as the best. */
  readonly scores: Scores
  readonly boundary: BoundaryScores | null
  readonly matrix: ConfusionMatrix
  /** The iteration of those weights, and the last. */
  readonly iteration: number
  readonly iterations: number
  readonly curves: {
    readonly loss: readonly Point[]
    readonly miou: readonly Point[]
    readonly learningRate: readonly Point[]
  }
  readonly best: readonly Shown[]
  readonly worst: readonly Shown[]
  readonly config: Json
  /** The device, versions, speed, memory, by name. */
  readonly machine: Readonly<Record<string, string>>
  /** A table of kernels with their times; empty where nothing was profiled. */
  readonly kernels: string
}

/**
 * The report as an HTML document.
 * @throws ShapeError if a class has no colour
 * @example run.write('report.html', renderSegmentReport(data))
 */
export const renderSegmentReport = (data: SegmentReport): string =>
  page({
    title: data.title,
    kind: 'training report',
    date: data.date,
    facts: [data.dataset.name, data.network.name, data.machine.device ?? ''],
    sections: [verdict(data), classTable(data)],
    charts: [
      {
        title: 'Loss',
        about: 'on the training set',
        curves: [{ name: 'loss', model: 2, points: data.curves.loss }],
        digits: 3,
        mayBeLog: true,
      },
      {
        title: 'mIoU',
        about: 'on the validation set, in per cent',
        curves: [{ name: 'mIoU', model: 2, points: inPerCent(data.curves.miou) }],
        digits: 1,
      },
      {
        title: 'Learning rate',
        about: 'by iteration',
        curves: [{ name: 'rate', model: 0, points: data.curves.learningRate }],
        digits: 6,
      },
    ],
    rest: [
      confusion(data),
      gallery('Best images', data.best, data),
      gallery('Worst images', data.worst, data),
      setup(data),
    ],
  })

function verdict({
  scores: s,
  boundary,
  matrix,
  dataset,
  network,
  iteration,
  iterations,
}: SegmentReport): Html {
  const baseline = scores(majorityMatrix(matrix, dataset.classes.length), dataset.classes.length)
  const figures: readonly (readonly [string, number, string])[] = [
    ['mIoU', s.miou, 'distilled'],
    ['Pixel accuracy', s.pixelAccuracy, ''],
    ['Class accuracy', s.classAccuracy, ''],
    ...(boundary ? [['Boundary mIoU', boundary.miou, ''] as const] : []),
  ]
  const kept = iteration === iterations ? 'the last iteration' : `iteration ${iteration} of ${iterations}`
  return html`<section aria-label="Result">
<ul class="figures">${figures.map(
    ([name, value, role]) => html`
<li class="${role}"><h2>${name}</h2><p><strong>${percent(value)}</strong> %</p></li>`,
  )}
</ul>
<p class="lede">${network.name} with ${large(network.parameters)} parameters, scored on ${dataset.size} held-out images with the weights of ${kept}, its best. Always answering the most frequent class would score ${percent(baseline.miou)} mIoU and ${percent(baseline.pixelAccuracy)} pixel accuracy.</p>
</section>`
}

function classTable({ scores: s, boundary, matrix, dataset }: SegmentReport): Html {
  const n = dataset.classes.length
  const labelled = dataset.classes.map((_, c) =>
    matrix.subarray(c * n, (c + 1) * n).reduce((a, b) => a + b, 0),
  )
  const all = labelled.reduce((a, b) => a + b, 0)
  return html`<section>
<h2>Classes</h2>
<p class="note">In per cent. Accuracy is the part of a class’s pixels that is found; share is its part of all labelled pixels. A dash: the class does not occur.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Classes">
<table class="numbers">
<thead><tr><th scope="col">Class</th><th scope="col">IoU</th><th class="bars" aria-hidden="true"></th><th scope="col">Accuracy</th>${boundary ? html`<th scope="col">Boundary IoU</th>` : ''}<th scope="col">Share</th></tr></thead>
<tbody>${dataset.classes.map(
    (name, c) => html`
<tr><th scope="row">${swatch(dataset.palette[c])}${name}</th><td class="best">${percent(s.iou[c])}</td><td class="bars" aria-hidden="true"><i style="width:${percent(s.iou[c] ?? 0)}%"></i></td><td>${percent(s.accuracy[c])}</td>${boundary ? html`<td>${percent(boundary.iou[c])}</td>` : ''}<td>${percent(labelled[c] / all)}</td></tr>`,
  )}
</tbody>
</table>
</div>
</section>`
}

const confusion = ({ matrix, dataset }: SegmentReport): Html =>
  html`<section>
<h2>Confusion</h2>
<p class="note">Rows are labels, columns are predictions: what becomes of the pixels of each class, in per cent. Blue is right, orange is wrong.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Confusion matrix">
${confusionPicture(matrix, dataset.classes)}
</div>
</section>`

/** Pictures in the report are at most so wide. */
const pictureWidth = 640

function gallery(title: string, images: readonly Shown[], { dataset }: SegmentReport): Html {
  if (images.length === 0) return html``
  const { palette } = dataset
  const seen = new Set(images.flatMap(i => [...i.label, ...i.prediction]))
  return html`<section>
<h2>${title}</h2>
${legend(dataset, seen, seen.has(ignored) ? html`no colour: void` : undefined)}
<ol class="gallery">${images.map(image => {
    const { rgb, maps } = shrunk(image.rgb, [image.label, image.prediction], pictureWidth)
    const draw = (map: ArrayLike<number>, alpha: number): string =>
      dataUrl(overlay(rgb, map, palette, alpha), rgb.size)
    return html`
<li role="group" aria-label="${image.name}">
${picture(draw([], 0), rgb, image.name, `Input image ${image.name}`)}
${picture(draw(maps[0], 0.65), rgb, 'Label', `Labelled classes of ${image.name}`)}
${picture(draw(maps[1], 0.65), rgb, html`Prediction <b>${percent(image.miou)} % mIoU</b>`, `Predicted classes of ${image.name}`)}
</li>`
  })}
</ol>
</section>`
}

const picture = (source: string, { size: [h, w] }: Rgb, caption: Html | string, alt: string): Html =>
  html`<figure><img src="${source}" width="${w}" height="${h}" alt="${alt}"${w < 200 ? html` class="small"` : ''}><figcaption><span>${caption}</span></figcaption></figure>`

const setup = ({ config, machine, kernels }: SegmentReport): Html =>
  html`<section>
<h2>Setup</h2>
<h3>Machine</h3>
${pairs(Object.entries(machine))}
<h3>Configuration</h3>
${pairs(flatten(config))}
${
  kernels === ''
    ? ''
    : html`<h3>Kernels</h3>
<div class="scroll" tabindex="0" role="region" aria-label="Times of kernels"><pre class="kernels">${kernels}</pre></div>`
}
</section>`
