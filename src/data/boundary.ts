/**
 * Boundary IoU: how well the outlines agree, whatever the size of what they enclose. In: label maps and predicted class
 * maps, one after another. Out: counts over the whole data set, and from them a score per class.
 * @see Cheng, Girshick, Dollár, Berg, Kirillov 2021, "Boundary IoU: improving object-centric image segmentation
 *   evaluation", arXiv:2103.16562, equation 4
 */
import { DataError } from '../dsl/errors.ts'
import { ignored, type Size } from './sample.ts'

/** Pixels of boundary regions, by class. */
export interface BoundaryCounts {
  /** In the label's region and in the prediction's, of the same class. */
  readonly both: Float64Array
  readonly labelled: Float64Array
  readonly predicted: Float64Array
}

/**
 * Empty counts.
 * @example boundaryCounts(21)
 */
export const boundaryCounts = (classes: number): BoundaryCounts => ({
  both: new Float64Array(classes),
  labelled: new Float64Array(classes),
  predicted: new Float64Array(classes),
})

/**
 * The width of the boundary region, in pixels: a share of the image's diagonal, at least 1.
 * @example boundaryWidth([1024, 2048]) // 46
 */
export const boundaryWidth = ([height, width]: Size, share = 0.02): number =>
  Math.max(1, Math.round(share * Math.hypot(height, width)))

/**
 * Which pixels lie in the boundary region of their own class: those with a pixel of another class, or the edge of the
 * image, within d rows and d columns (erosion by a square, as in the authors' code).
 * @param map  [height, width], class ids; 255 is a class like any other
 * @returns [height, width], 1 inside the region
 * @example boundaryRegion(Uint8Array.of(0, 0, 0, 1), [1, 4], 1) // 1, 1, 1, 1: one row is all edge
 */
export function boundaryRegion(map: ArrayLike<number>, [height, width]: Size, d: number): Uint8Array {
  // A square is of one class if each of its rows is, and the middles of the rows are of one class.
  const all = new Uint8Array(height * width).fill(1)
  const rows = uniform(map, all, { lines: height, length: width, nextLine: width, next: 1 }, d)
  const squares = uniform(map, rows, { lines: width, length: height, nextLine: 1, next: width }, d)
  return squares.map(x => 1 - x)
}

/** 1 where the pixel, and the d before and after it on its line, are there, count, and are of one class. */
function uniform(
  map: ArrayLike<number>,
  counts: Uint8Array,
  { lines, length, nextLine, next }: { lines: number; length: number; nextLine: number; next: number },
  d: number,
): Uint8Array {
  const out = new Uint8Array(lines * length)
  for (let line = 0; line < lines; line++)
    for (let i = 0, run = 0, p = line * nextLine; i < length; i++, p += next) {
      if (!counts[p]) run = 0
      else run = run > 0 && map[p] === map[p - next] ? run + 1 : 1
      if (run > 2 * d) out[p - d * next] = 1
    }
  return out
}

/**
 * Counts one image into `counts`, in place. Where the label is void the prediction is void too, so that the rim of a
 * void region is a boundary of both.
 * @param label       [height, width], class ids 0 .. classes - 1 or 255
 * @param prediction  [height, width], class ids 0 .. classes - 1
 * @param d           width of the region in pixels; 2 % of the diagonal by default
 * @throws DataError  if the lengths are not height * width or an id is out of range
 * @example updateBoundary(counts, label, prediction, [360, 480])
 */
export function updateBoundary(
  counts: BoundaryCounts,
  label: ArrayLike<number>,
  prediction: ArrayLike<number>,
  size: Size,
  d: number = boundaryWidth(size),
): void {
  const n = size[0] * size[1]
  if (label.length !== n || prediction.length !== n)
    throw new DataError(
      `updateBoundary: ${label.length} labels and ${prediction.length} predictions for ${size[0]} x ${size[1]} pixels`,
    )
  const classes = counts.both.length
  const valid = (c: number): boolean => Number.isInteger(c) && c >= 0 && c < classes
  const seen = Uint16Array.from({ length: n }, (_, i) => (label[i] === ignored ? ignored : prediction[i]))
  const bad = seen.findIndex((_, i) => label[i] !== ignored && !(valid(label[i]) && valid(prediction[i])))
  if (bad >= 0)
    throw new DataError(
      `updateBoundary: pixel ${bad} has label ${label[bad]} and prediction ${prediction[bad]}; classes are 0 .. ${classes - 1}, void is ${ignored}`,
    )
  const ofLabel = boundaryRegion(label, size, d)
  const ofPrediction = boundaryRegion(seen, size, d)
  for (let i = 0; i < n; i++) {
    if (label[i] === ignored) continue
    if (ofLabel[i]) counts.labelled[label[i]]++
    if (ofPrediction[i]) counts.predicted[seen[i]]++
    if (ofLabel[i] && ofPrediction[i] && label[i] === seen[i]) counts.both[label[i]]++
  }
}

/** Boundary IoU in [0, 1]: of each class (null where it does not occur), and the mean over the labelled ones. */
export interface BoundaryScores {
  readonly iou: readonly (number | null)[]
  readonly miou: number
}

/**
 * both / (labelled + predicted - both), per class; a class that is only predicted has 0 and does not count in the mean.
 * @throws DataError  if no labelled pixel was counted
 * @example boundaryScores(counts).miou
 */
export function boundaryScores({ both, labelled, predicted }: BoundaryCounts): BoundaryScores {
  const iou = Array.from(both, (n, c) => {
    const union = labelled[c] + predicted[c] - n
    return union === 0 ? null : n / union
  })
  const known = iou.flatMap((x, c) => (x !== null && labelled[c] > 0 ? [x] : []))
  if (known.length === 0)
    throw new DataError('boundaryScores: no labelled pixel was counted; is every label void?')
  return { iou, miou: known.reduce((a, b) => a + b, 0) / known.length }
}
