/**
 * How a sample is made ready for a batch, in whatever thread. In: a draw. Out: the sample, transformed and normalised.
 * The loader works through a `Preparer`, and cannot tell this thread from others.
 */
import type { Key } from '../dsl/threefry.ts'
import type { Dataset, Normalisation, Sample } from './sample.ts'
import { normalised } from './transforms/normalise.ts'
import type { Transform } from './transforms/transform.ts'

/** A sample of a batch: its index in the dataset and the key of its augmentation (together, a cache's key). */
export interface Drawn {
  readonly index: number
  readonly key: Key
}

/** What is done with a sample after it is read. */
export interface Steps {
  readonly augment?: Transform
  readonly normalisation: Normalisation
}

/** Makes samples ready; the order of the calls does not matter. */
export interface Preparer {
  readonly prepare: (drawn: Drawn) => Promise<Sample>
  /** Ends its threads; resolves when they have ended. */
  readonly close: () => Promise<void>
}

/**
 * Augments and normalises. A sample that the augmentation has normalised stays as it is.
 * @example finish(sample, key, { normalisation: imagenet })
 */
export function finish(sample: Sample, key: Key, { augment, normalisation }: Steps): Sample {
  const changed = augment ? augment(key, sample) : sample
  if (changed.normalisation) return changed
  return { ...changed, image: normalised(changed.image, normalisation), normalisation }
}

/** Prepares in this thread. */
export const inThisThread = (dataset: Dataset, steps: Steps): Preparer => ({
  prepare: async ({ index, key }) => finish(await dataset.get(index), key, steps),
  close: async () => {},
})
