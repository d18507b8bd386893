/** The data of a run. In: settings. Out: a training and a validation set, and how training samples are changed. */
import { camvid } from '../data/datasets/camvid.ts'
import { type Dataset, subset } from '../data/sample.ts'
import { syntheticScenes } from '../data/synthetic.ts'
import { augmentation } from '../data/transforms/augmentation.ts'
import { randomFlip } from '../data/transforms/flip.ts'
import type { Transform } from '../data/transforms/transform.ts'
import { UsageError } from '../dsl/errors.ts'
import type { Settings } from './settings.ts'

/** A training set, a validation set that shares no sample with it, and the augmentation. */
export interface Data {
  readonly train: Dataset
  readonly val: Dataset
  readonly augment: Transform
}

/**
 * Opens the data of the settings, limited to the first `trainImages` and `valImages`.
 * @throws DataError if a folder or a list is missing; UsageError if a limit exceeds the set
 * @example const { train, val, augment } = await openData(settings)
 */
export async function openData(settings: Settings): Promise<Data> {
  const { dataset, size, seed, trainImages, valImages } = settings
  if (dataset === 'synthetic') {
    const [n, m] = [trainImages ?? 1000, valImages ?? 100]
    const scenes = syntheticScenes({ seed, size, count: n + m })
    return { train: subset(scenes, 0, n), val: subset(scenes, n, n + m), augment: randomFlip() }
  }
  const folder = settings.data ?? ''
  return {
    train: first(await camvid(folder, 'train', { size }), trainImages, '--train-images'),
    val: first(await camvid(folder, 'val', { size }), valImages, '--val-images'),
    augment: augmentation({ size }),
  }
}

function first(dataset: Dataset, limit: number | null, option: string): Dataset {
  if (limit === null || limit === dataset.size) return dataset
  if (limit > dataset.size)
    throw new UsageError(`${option} ${limit}: ${dataset.name} has ${dataset.size} samples`)
  return subset(dataset, 0, limit)
}
