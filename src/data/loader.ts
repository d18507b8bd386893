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
import { ahead } from './ahead.ts'
import { type Drawn, inThisThread, type Preparer } from './prepare.ts'
import { type Dataset, ignored, type Normalisation, type Sample } from './sample.ts'
import { inThreads } from './threads.ts'
import { imagenet } from './transforms/normalise.ts'
import type { Transform } from './transforms/transform.ts'

/** The arrays of one step. */
export interface Batch {
  /** [n, 3, h, w], normalised */
  readonly image: NDArray<readonly [number, 3, number, number], 'f32'>
  /** [n, h, w]; 255 is ignored */
  readonly label: NDArray<readonly [number, number, number], 'i32'>
  /** Where each row comes from; shorter than n in the last batch of `evaluation`. */
  readonly drawn: readonly Drawn[]
}

export interface BatchOptions {
  /** Samples a step; it may exceed the size of the dataset. */
  readonly batch: number
  readonly key: Key
  /** None by default. */
  readonly augment?: Transform
  /** ImageNet's by default. An augmentation that normalises must do so with the same. */
  readonly normalisation?: Normalisation
}

/** How batches are prepared while the caller computes. Nothing of it changes a number. */
export interface LoadOptions {
  /**
   * Threads that read, decode and transform; 0 (the default): this thread does. With threads, the dataset and the
   * augmentation must have recipes (see `recipe.ts`).
   */
  readonly workers?: number
  /**
   * Batches that are ready or in preparation, besides the one that the caller holds; 2 by default. The loader holds
   * no more: it begins the next when the caller asks for one. (A thread holds one sample in the making, and its share
   * of the dataset's cache.)
   */
  readonly ahead?: number
  /** Stops the loader: what is awaited rejects with the signal's reason, and the threads end. */
  readonly signal?: AbortSignal
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
 *   const options = { batch: 8, key: key(1), augment: randomFlip() }
 *   const { image, label } = await batchAt(scenes, options, 0)
 */
export async function batchAt(dataset: Dataset, options: BatchOptions, step: number): Promise<Batch> {
  return trainingBatch(dataset, options, step, inThisThread(dataset, stepsFor(options)))
}

/**
 * The batches of steps `start` to `steps` - 1; the next ones are prepared while the caller computes. Stop by
 * leaving the loop, or by the signal.
 * @param options.steps  the length of the whole run, counted from step 0; `stepsOf` gives that of epochs
 * @param options.start  the step to resume at, 0 by default
 * @throws as `batchAt`, at the step that it concerns; UsageError if `steps`, `start` or `workers` is no natural number,
 *   `ahead` no positive one, or something without a recipe is to go to threads; the signal's reason
 * @example for await (const { image, label } of batches(scenes, { batch: 8, key: key(1), steps: 100, workers: 2 })) ...
 */
export async function* batches(
  dataset: Dataset,
  options: BatchOptions & LoadOptions & { readonly steps: number; readonly start?: number },
): AsyncGenerator<Batch, void, undefined> {
  const { start = 0, steps } = options
  if (![start, steps].every(n => Number.isInteger(n) && n >= 0))
    throw new UsageError(`batches: start and steps must be natural numbers, got ${start} and ${steps}`)
  const count = Math.max(0, steps - start)
  yield* loaded(dataset, options, count, (i, preparer) =>
    trainingBatch(dataset, options, start + i, preparer),
  )
}

/**
 * The number of steps in which every sample is seen at least `epochs` times.
 * @example stepsOf(scenes, 8, 10)
 */
export const stepsOf = (dataset: Dataset, batch: number, epochs: number): number =>
  Math.ceil((epochs * dataset.size) / batch)

/**
 * The whole dataset once, in order. Every batch has the same shape, so one compiled function serves them all: the last
 * is filled up with images of 0 and labels of 255, which count in no score, and its `drawn` lists the real rows only.
 * @param options.augment  a transform without randomness, such as `pad({ multiple: 32 })`: its key is always the same
 * @throws UsageError  if the batch is no positive integer; else as `batches`
 * @example for await (const { image, label } of evaluation(val, { batch: 8 })) ...
 */
export async function* evaluation(
  dataset: Dataset,
  options: Omit<BatchOptions, 'key'> & LoadOptions,
): AsyncGenerator<Batch, void, undefined> {
  const { batch } = options
  checkBatch(batch)
  yield* loaded(dataset, options, Math.ceil(dataset.size / batch), (i, preparer) => {
    const count = Math.min(batch, dataset.size - i * batch)
    const drawn = Array.from({ length: count }, (_, j): Drawn => ({ index: i * batch + j, key: [0, 0] }))
    return batchOf(dataset, options, drawn, preparer)
  })
}

type Shared = Omit<BatchOptions, 'key'>

/** `count` batches in order, prepared ahead, by threads or not. */
async function* loaded(
  dataset: Dataset,
  options: Shared & LoadOptions,
  count: number,
  make: (i: number, preparer: Preparer) => Promise<Batch>,
): AsyncGenerator<Batch, void, undefined> {
  const { workers = 0, ahead: depth = 2, signal } = options
  if (!Number.isInteger(workers) || workers < 0 || !Number.isInteger(depth) || depth < 1)
    throw new UsageError(`loader: need workers >= 0 and ahead >= 1, integers, got ${workers} and ${depth}`)
  if (count === 0) return
  signal?.throwIfAborted()
  const preparer =
    workers === 0
      ? inThisThread(dataset, stepsFor(options))
      : inThreads(dataset, stepsFor(options), Math.min(workers, dataset.size))
  const stop = (): void => void preparer.close()
  signal?.addEventListener('abort', stop)
  try {
    yield* ahead(count, depth, i => make(i, preparer), signal)
  } finally {
    signal?.removeEventListener('abort', stop)
    await preparer.close()
  }
}

const stepsFor = ({ augment, normalisation = imagenet }: Shared) => ({
  normalisation,
  ...(augment ? { augment } : {}),
})

async function trainingBatch(dataset: Dataset, options: BatchOptions, step: number, preparer: Preparer) {
  return batchOf(dataset, options, drawsAt(dataset.size, options, step), preparer)
}

/** Stacks prepared samples into arrays of n rows; rows without a sample are 0 and ignored. */
async function batchOf(
  dataset: Dataset,
  { batch, normalisation = imagenet }: Shared,
  drawn: readonly Drawn[],
  preparer: Preparer,
): Promise<Batch> {
  const samples = await Promise.all(drawn.map(preparer.prepare))
  const { height, width } = samples[0]
  const plane = height * width
  const image = new Float32Array(batch * 3 * plane)
  const label = new Int32Array(batch * plane).fill(ignored)
  samples.forEach((s, i) => {
    checkFits(dataset, s, samples[0], normalisation)
    image.set(s.image, i * 3 * plane)
    label.set(s.label, i * plane)
  })
  return {
    image: array([batch, 3, height, width], 'f32', image),
    label: array([batch, height, width], 'i32', label),
    drawn,
  }
}

function checkFits(dataset: Dataset, s: Sample, first: Sample, asked: Normalisation): void {
  if (s.height !== first.height || s.width !== first.width)
    throw new DataError(
      `${dataset.name}: the samples of a batch differ in size: ${first.name} is ${first.height} x ${first.width}, ` +
        `${s.name} is ${s.height} x ${s.width}; give the reader a size, or augment with randomScaleCrop and pad`,
    )
  if (s.normalisation && String(parts(s.normalisation)) !== String(parts(asked)))
    throw new UsageError(
      `loader: the augmentation normalises with ${parts(s.normalisation).join(' / ')}, the loader with ` +
        `${parts(asked).join(' / ')}; give both the same`,
    )
}

const parts = ({ mean, std }: Normalisation): readonly string[] => [mean.join(', '), std.join(', ')]

function checkBatch(batch: number): void {
  if (!Number.isInteger(batch) || batch < 1)
    throw new UsageError(`batch: the batch must be a positive integer, got ${batch}`)
}
