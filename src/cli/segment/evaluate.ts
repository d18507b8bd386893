/**
 * Scores of weights on a dataset. In: a predictor and a dataset. Out: one confusion matrix over the whole set, the scores
 * from it, boundary IoU if asked for, and the images that went best and worst with their predictions.
 */
import type { Argument } from '../../backend/backend.ts'
import { type BoundaryScores, boundaryCounts, boundaryScores, updateBoundary } from '../../data/boundary.ts'
import { evaluation } from '../../data/loader.ts'
import { confusionMatrix, type MeanOver, scores, update } from '../../data/metrics.ts'
import { type Dataset, ignored, type Size } from '../../data/sample.ts'
import type { Evaluation } from '../evaluate-model.ts'
import { type Interrupt, nextTurn } from '../interrupt.ts'
import type { Named } from '../named.ts'
import type { Planes, Predictor } from './infer.ts'

/** How one image went. */
export interface ImageScore {
  /** In the dataset. */
  readonly index: number
  /** Over the classes that its label has. */
  readonly miou: number
  /** [height, width] */
  readonly prediction: Uint8Array
}

/** What an evaluation gives. */
export interface SegmentEvaluation extends Evaluation {
  readonly boundary: BoundaryScores | null
  /** The best first. */
  readonly best: readonly ImageScore[]
  /** The worst first; no image is in both lists. */
  readonly worst: readonly ImageScore[]
}

/** How to evaluate. */
export interface EvaluateOptions {
  readonly batch: number
  readonly workers: number
  readonly boundary: boolean
  readonly meanOver: MeanOver
  /** Images in `best`, in `worst`, and predictions of the first images. */
  readonly keep: number
  readonly interrupt: Interrupt
  /** Told of the images that are done. */
  readonly onImage?: (done: number) => void
}

/**
 * Scores weights on every sample of a dataset.
 * @returns undefined if it was interrupted
 * @throws DataError if a sample cannot be read or no pixel is labelled; DeviceError
 * @example const result = await evaluateOn(predictor, weights, val, options)
 */
export async function evaluateOn(
  { maps }: Predictor,
  weights: Named<Argument>,
  dataset: Dataset,
  options: EvaluateOptions,
): Promise<SegmentEvaluation | undefined> {
  const { batch, workers, boundary, meanOver, keep, interrupt, onImage = () => {} } = options
  const classes = dataset.classes.length
  const matrix = confusionMatrix(classes)
  const edges = boundary ? boundaryCounts(classes) : undefined
  const first: Uint8Array[] = []
  const [best, worst] = [
    ranking(2 * keep, (a, b) => b.miou - a.miou),
    ranking(2 * keep, (a, b) => a.miou - b.miou),
  ]
  let done = 0
  for await (const group of groups(dataset, batch, workers)) {
    const predictions = await maps(weights, group)
    group.forEach(({ label, size }, i) => {
      const prediction = predictions[i]
      update(matrix, label, prediction, classes)
      if (edges) updateBoundary(edges, label, prediction, size)
      const miou = imageScore(label, prediction, classes)
      if (miou !== null) for (const list of [best, worst]) list.add({ index: done, miou, prediction })
      if (first.length < keep) first.push(prediction)
      onImage(++done)
    })
    await nextTurn()
    if (interrupt.requested) return undefined
  }
  const top = best.list().slice(0, keep)
  const boundaryScore = edges ? boundaryScores(edges) : null
  return {
    scores: scores(matrix, classes, meanOver),
    matrix,
    predictions: first,
    boundary: boundaryScore,
    ...(boundaryScore ? { extra: { boundaryMiou: boundaryScore.miou } } : {}),
    best: top,
    worst: worst
      .list()
      .filter(w => top.every(b => b.index !== w.index))
      .slice(0, keep),
  }
}

type Labelled = Planes & { readonly label: Int32Array }

/** The samples in order, in groups of one size and at most `most`. */
async function* groups(dataset: Dataset, most: number, workers: number): AsyncGenerator<readonly Labelled[]> {
  let group: Labelled[] = []
  for await (const { image, label } of evaluation(dataset, { batch: 1, workers, ahead: 2 * most })) {
    const size: Size = [image.shape[2], image.shape[3]]
    const same = group.length === 0 || (group[0].size[0] === size[0] && group[0].size[1] === size[1])
    if (!same || group.length === most) {
      yield group
      group = []
    }
    group.push({ size, image: image.data, label: label.data })
  }
  if (group.length > 0) yield group
}

/** The mean IoU over the classes of the label; null if every pixel is void. */
function imageScore(label: ArrayLike<number>, prediction: ArrayLike<number>, classes: number): number | null {
  const [hits, labelled, predicted] = [0, 1, 2].map(() => new Float64Array(classes))
  for (let p = 0; p < label.length; p++) {
    if (label[p] === ignored) continue
    labelled[label[p]]++
    predicted[prediction[p]]++
    if (label[p] === prediction[p]) hits[label[p]]++
  }
  const ious = Array.from(labelled, (n, c) => ({ n, iou: hits[c] / (n + predicted[c] - hits[c]) })).filter(
    x => x.n > 0,
  )
  return ious.length === 0 ? null : ious.reduce((a, x) => a + x.iou, 0) / ious.length
}

/** The first few of a sequence in an order; no more than those are held. */
function ranking(most: number, order: (a: ImageScore, b: ImageScore) => number) {
  let list: ImageScore[] = []
  return {
    list: () => list,
    add(score: ImageScore) {
      list = [...list, score].sort((a, b) => order(a, b) || a.index - b.index).slice(0, most)
    },
  }
}
