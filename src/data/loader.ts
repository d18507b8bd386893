/**
 * Batches. In: a dataset, a key, a step. Out: the arrays of that step, a pure function of the three: a run
 * that is resumed at step k sees the numbers it would have seen. Last stage of the data side.
 *
 * Training walks one endless stream of samples: position p belongs to epoch floor(p / size), each epoch is a
 * permutation of its own, and step i takes positions i * batch to (i + 1) * batch - 1. A batch may reach into
 * the next epoch, so none is short and every sample is seen once an epoch.
 */
import { array, type NDArray } from '../dsl/array.ts'
import { DataError, UsageError } from '../dsl/errors.ts'
import { foldIn, type Key, permutationOf, split } from '../dsl/threefry.ts'
import { type Dataset, ignored, type Sample } from './sample.ts'
import { imagenet, type Normalisation, normalised, type Transform } from './transforms.ts'

/** The arrays of one step. */
export interface Batch {
  /** [n, 3, h, w], normalised */
  readonly image: NDArray<readonly [number, 3, number, number], 'f32'>
  /** [n, h, w]; 255 is ignored */
  readonly label: NDArray<readonly [number, number, number], 'i32'>
  /** Where each row comes from; shorter than n in the last batch of `evaluation`. */
  readonly drawn: readonly Drawn[]
}

/** A sample of a batch: its index in the dataset and the key of its augmentation (together, a cache's key). */
export interface Drawn {
  readonly index: number
  readonly key: Key
}

export interface BatchOptions {
  /** Samples a step; it may exceed the size of the dataset. */
  readonly batch: number
  readonly key: Key
  /** None by default. */
  readonly augment?: Transform
  /** ImageNet's by default. */
  readonly normalisation?: Normalisation
}

/**
 * Which samples step i takes, and the keys that augment them.
 *   index(p) = permutationOf(foldIn(order, floor(p / size)), size)[p mod size],   key(p) = foldIn(changes, p)
 * with `[order, changes] = split(key)`. Takes time in proportion to `size`.
 * @param size  the number of samples of the dataset
 * @throws UsageError  if the batch is no positive integer or the step no natural number
 * @example drawsAt(367, { batch: 8, key: key(1) }, 0) // 8 of { index, key }
 */
export function drawsAt(size: number, options: Pick<BatchOptions, 'batch' | 'key'>, step: number): Drawn[] {
  const { batch, key } = options
  checkBatch(batch)
  if (!Number.isInteger(step) || step < 0)
    throw new UsageError(`batch: the step must be 0, 1, 2, ..., got ${step}`)
  const [order, changes] = split(key)
  const epochs = new Map<number, number[]>()
  return Array.from({ length: batch }, (_, j) => {
    const position = step * batch + j
    const epoch = Math.floor(position / size)
    const permutation = epochs.get(epoch) ?? permutationOf(foldIn(order, epoch), size)
    epochs.set(epoch, permutation)
    return { index: permutation[position % size], key: foldIn(changes, position) }
  })
}

/**
 * The batch of one step of training.
 * @returns image f32[batch, 3, h, w], label i32[batch, h, w]
 * @throws UsageError  on a bad option; DataError if a sample cannot be read or samples differ in size
 * @example
 *   const options = { batch: 8, key: key(1), augment: mirror }
 *   const { image, label } = await batchAt(scenes, options, 0)
 */
export async function batchAt(dataset: Dataset, options: BatchOptions, step: number): Promise<Batch> {
  const { augment = (_, sample) => sample, normalisation } = options
  const drawn = drawsAt(dataset.size, options, step)
  const samples = await Promise.all(drawn.map(async d => augment(d.key, await dataset.get(d.index))))
  return collate(dataset, samples, drawn, options.batch, normalisation)
}

/**
 * The batches of steps `start` to `steps` - 1; the next one is prepared while the caller computes. Stop by
 * leaving the loop.
 * @param options.steps  the length of the whole run, counted from step 0; `stepsOf` gives that of epochs
 * @param options.start  the step to resume at, 0 by default
 * @throws as `batchAt`; UsageError if `steps` or `start` is no natural number
 * @example for await (const { image, label } of batches(scenes, { batch: 8, key: key(1), steps: 100 })) ...
 */
export async function* batches(
  dataset: Dataset,
  options: BatchOptions & { readonly steps: number; readonly start?: number },
): AsyncGenerator<Batch, void, undefined> {
  const { start = 0, steps } = options
  if (![start, steps].every(n => Number.isInteger(n) && n >= 0))
    throw new UsageError(`batches: start and steps must be natural numbers, got ${start} and ${steps}`)
  const prepare = (step: number): Promise<Batch> => {
    const batch = batchAt(dataset, options, step)
    // If the caller leaves the loop, nobody awaits the batch ahead: its failure must not end the process.
    batch.catch(() => {})
    return batch
  }
  if (start >= steps) return
  let next = prepare(start)
  for (let step = start; step < steps; step++) {
    const batch = await next
    if (step + 1 < steps) next = prepare(step + 1)
    yield batch
  }
}

/**
 * The number of steps in which every sample is seen at least `epochs` times.
 * @example stepsOf(scenes, 8, 10)
 */
export const stepsOf = (dataset: Dataset, batch: number, epochs: number): number =>
  Math.ceil((epochs * dataset.size) / batch)

/**
 * The whole dataset once, in order, without augmentation. Every batch has the same shape, so one compiled
 * function serves them all: the last is filled up with images of 0 and labels of 255, which count in no
 * score, and its `drawn` lists the real rows only.
 * @throws UsageError  if the batch is no positive integer; DataError as `batchAt`
 * @example for await (const { image, label } of evaluation(val, { batch: 8 })) ...
 */
export async function* evaluation(
  dataset: Dataset,
  options: Pick<BatchOptions, 'batch' | 'normalisation'>,
): AsyncGenerator<Batch, void, undefined> {
  const { batch, normalisation } = options
  checkBatch(batch)
  for (let from = 0; from < dataset.size; from += batch) {
    const count = Math.min(batch, dataset.size - from)
    const drawn = Array.from({ length: count }, (_, j): Drawn => ({ index: from + j, key: [0, 0] }))
    const samples = await Promise.all(drawn.map(d => dataset.get(d.index)))
    yield collate(dataset, samples, drawn, batch, normalisation)
  }
}

/** Stacks samples, normalised, into arrays of n rows; rows without a sample are 0 and ignored. */
function collate(
  dataset: Dataset,
  samples: readonly Sample[],
  drawn: readonly Drawn[],
  n: number,
  normalisation: Normalisation = imagenet,
): Batch {
  const { height, width, name } = samples[0]
  const plane = height * width
  const image = new Float32Array(n * 3 * plane)
  const label = new Int32Array(n * plane).fill(ignored)
  samples.forEach((s, i) => {
    if (s.height !== height || s.width !== width)
      throw new DataError(
        `${dataset.name}: the samples of a batch differ in size: ${name} is ${height} x ${width}, ` +
          `${s.name} is ${s.height} x ${s.width}; give the reader a size, or augment with randomScaleCrop`,
      )
    image.set(normalised(s.image, normalisation), i * 3 * plane)
    label.set(s.label, i * plane)
  })
  return {
    image: array([n, 3, height, width], 'f32', image),
    label: array([n, height, width], 'i32', label),
    drawn,
  }
}

function checkBatch(batch: number): void {
  if (!Number.isInteger(batch) || batch < 1)
    throw new UsageError(`batch: the batch must be a positive integer, got ${batch}`)
}
