/**
 * Scores of a network on a dataset. In: a compiled prediction and the dataset. Out: one confusion matrix over
 * the whole set, the scores from it, and the first few predictions for the gallery.
 */
import type { Argument, Backend } from '../backend/backend.ts'
import { compile, unwrap } from '../backend/compile.ts'
import { evaluation } from '../data/loader.ts'
import { type ConfusionMatrix, confusionMatrix, type Scores, scores, update } from '../data/metrics.ts'
import type { Dataset } from '../data/sample.ts'
import type { NDArray } from '../dsl/array.ts'
import type { Tensor, TensorType } from '../dsl/tensor.ts'
import { type Interrupt, nextTurn } from './interrupt.ts'
import type { Named } from './named.ts'

/** What an evaluation gives. */
export interface Evaluation {
  readonly scores: Scores
  readonly matrix: ConfusionMatrix
  /** The class maps, [height, width], of the first samples. */
  readonly predictions: readonly Uint8Array[]
  /** What else is measured, for the log. */
  readonly extra?: Readonly<Record<string, number>>
}

/** Class maps i32[n, h, w] of images [n, 3, h, w], under a state on the device. */
export type Predict = (state: Named<Argument>, image: NDArray) => Promise<NDArray>

/**
 * Compiles a prediction.
 * @param predict  (state, image [n, 3, h, w]) => i32[n, h, w]
 * @throws what compiling throws
 */
export async function compilePredict(
  predict: (state: Named<Tensor>, image: Tensor) => Tensor,
  state: Named<TensorType>,
  image: TensorType,
  backend: Backend,
): Promise<Predict> {
  return unwrap(compile(predict, [state, image], backend))
}

/**
 * Scores a state on every sample of a dataset, batch by batch.
 * @param options.workers  threads that decode: none
 * @param options.keep  how many predictions are kept, from the first sample on
 * @returns undefined if it was interrupted
 * @throws DataError if a sample cannot be read or no pixel is labelled; DeviceError
 * @example const result = await evaluateModel(predict, state, val, { batch: 8, keep: 4, interrupt })
 */
export async function evaluateModel(
  predict: Predict,
  state: Named<Argument>,
  dataset: Dataset,
  options: {
    readonly batch: number
    readonly workers?: number
    readonly keep: number
    readonly interrupt: Interrupt
  },
): Promise<Evaluation | undefined> {
  const { batch, workers = 0 } = options
  const classes = dataset.classes.length
  const matrix = confusionMatrix(classes)
  const predictions: Uint8Array[] = []
  for await (const { image, label, drawn } of evaluation(dataset, { batch, workers })) {
    const { data } = await predict(state, image)
    update(matrix, label.data, data, classes)
    const plane = data.length / batch
    for (let i = 0; i < drawn.length && predictions.length < options.keep; i++)
      predictions.push(Uint8Array.from(data.subarray(i * plane, (i + 1) * plane)))
    await nextTurn()
    if (options.interrupt.requested) return undefined
  }
  return { scores: scores(matrix, classes), matrix, predictions }
}
