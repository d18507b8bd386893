/**
 * Scores of semantic segmentation. In: label maps and predicted class maps, one after another. Out: a
 * confusion matrix over the whole data set, and from it IoU and accuracies. Pixels labelled void do not count.
 * @see Everingham et al. 2010 (PASCAL VOC); Long, Shelhamer, Darrell 2015, arXiv:1411.4038, section 5
 */
import { DataError } from '../dsl/errors.ts'
import { ignored } from './sample.ts'

/** Pixel counts, row-major [label, prediction]; float64 counts exactly up to 2^53. */
export type ConfusionMatrix = Float64Array

/**
 * Which classes the mean runs over: `labelled`, those that occur in the labels; `present`, those that occur
 * in the labels or in the predictions (a class that is only predicted counts with an IoU of 0).
 */
export type MeanOver = 'labelled' | 'present'

/** Scores in [0, 1]. Per class, null where it is 0 / 0: the class does not occur. */
export interface Scores {
  /** The mean of `iou` over the classes that MeanOver names. */
  readonly miou: number
  /** Correct pixels / labelled pixels. */
  readonly pixelAccuracy: number
  /** The mean of `accuracy` over the labelled classes. */
  readonly classAccuracy: number
  /** TP / (TP + FP + FN) of each class. */
  readonly iou: readonly (number | null)[]
  /** TP / (TP + FN) of each class (its recall). */
  readonly accuracy: readonly (number | null)[]
}

/**
 * An empty matrix.
 * @example confusionMatrix(21)
 */
export const confusionMatrix = (classes: number): ConfusionMatrix => new Float64Array(classes * classes)

/**
 * Counts the pixels of one image (or batch) into `matrix`, in place. Void labels are skipped.
 * @param label       class ids 0 .. classes - 1 or 255, any layout
 * @param prediction  class ids 0 .. classes - 1, the same layout
 * @throws DataError if the lengths differ or an id is out of range; the matrix is then partly updated
 * @example update(matrix, label, prediction, 21)
 */
export function update(
  matrix: ConfusionMatrix,
  label: ArrayLike<number>,
  prediction: ArrayLike<number>,
  classes: number,
): void {
  if (matrix.length !== classes * classes)
    throw new DataError(`update: a matrix of ${matrix.length} counts is not that of ${classes} classes`)
  if (label.length !== prediction.length)
    throw new DataError(`update: ${label.length} labels, but ${prediction.length} predictions`)
  for (let i = 0; i < label.length; i++) {
    const want = label[i]
    if (want === ignored) continue
    const got = prediction[i]
    if (!isClass(want, classes) || !isClass(got, classes))
      throw new DataError(
        `update: pixel ${i} has label ${want} and prediction ${got}; classes are 0 .. ${classes - 1}, void is ${ignored}`,
      )
    matrix[want * classes + got]++
  }
}

/**
 * The scores of a matrix. By default the mean IoU runs over the classes that occur in the labels.
 * @throws DataError if no labelled pixel was counted
 * @example scores(matrix, 21).miou
 */
export function scores(matrix: ConfusionMatrix, classes: number, over: MeanOver = 'labelled'): Scores {
  const ids = Array.from({ length: classes }, (_, c) => c)
  const hits = ids.map(c => matrix[c * classes + c])
  const labelled = ids.map(c => sum(ids.map(p => matrix[c * classes + p])))
  const predicted = ids.map(c => sum(ids.map(l => matrix[l * classes + c])))
  const total = sum(labelled)
  if (total === 0) throw new DataError('scores: no labelled pixel was counted; is every label void?')
  const iou = ids.map(c => ratio(hits[c], labelled[c] + predicted[c] - hits[c]))
  const accuracy = ids.map(c => ratio(hits[c], labelled[c]))
  const counted = over === 'labelled' ? iou.filter((_, c) => labelled[c] > 0) : iou
  return {
    miou: mean(counted),
    pixelAccuracy: sum(hits) / total,
    classAccuracy: mean(accuracy),
    iou,
    accuracy,
  }
}

/**
 * The matrix of a model that always answers the most frequent class (the first of equals): the baseline
 * that any trained model must beat.
 * @example scores(majorityMatrix(matrix, 21), 21).pixelAccuracy
 */
export function majorityMatrix(matrix: ConfusionMatrix, classes: number): ConfusionMatrix {
  const labelled = Array.from({ length: classes }, (_, c) =>
    sum(matrix.subarray(c * classes, (c + 1) * classes)),
  )
  const answer = labelled.indexOf(Math.max(...labelled))
  const out = confusionMatrix(classes)
  labelled.forEach((n, c) => {
    out[c * classes + answer] = n
  })
  return out
}

/**
 * The mean IoU of always answering the most frequent class.
 * @throws DataError if no labelled pixel was counted
 * @example majorityMiou(matrix, 21)
 */
export const majorityMiou = (matrix: ConfusionMatrix, classes: number, over: MeanOver = 'labelled'): number =>
  scores(majorityMatrix(matrix, classes), classes, over).miou

const isClass = (x: number, classes: number): boolean => Number.isInteger(x) && x >= 0 && x < classes
const sum = (xs: Iterable<number>): number => {
  let total = 0
  for (const x of xs) total += x
  return total
}
const ratio = (a: number, b: number): number | null => (b === 0 ? null : a / b)
const mean = (xs: readonly (number | null)[]): number => {
  const known = xs.filter(x => x !== null)
  return sum(known) / known.length
}
