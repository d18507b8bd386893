/**
 * The data of a configuration. In: its `data` and `augment` parts. Out: a training and a validation set, and the random
 * changes of training samples.
 */
import { openDataset } from '../../data/datasets/named.ts'
import { vocColour } from '../../data/datasets/voc.ts'
import { type FolderOptions, listedFolder, pairedFolders } from '../../data/folder.ts'
import { type Dataset, ignored, type Size, subset } from '../../data/sample.ts'
import { syntheticScenes } from '../../data/synthetic.ts'
import { randomCrop, randomScaleCrop } from '../../data/transforms/crop.ts'
import { randomFlip } from '../../data/transforms/flip.ts'
import { imagenet, normalise, pad } from '../../data/transforms/normalise.ts'
import { photometric } from '../../data/transforms/photometric.ts'
import { randomRotation } from '../../data/transforms/rotation.ts'
import { pipeline, type Transform } from '../../data/transforms/transform.ts'
import { UsageError } from '../../dsl/errors.ts'
import type { Config } from '../config.ts'

type Data = Config['data']
/** Which part of the data. */
export type Part = 'train' | 'val'

/**
 * Opens a part of the data, limited to its first images where the configuration says so.
 * @throws DataError if a folder or a list is missing; UsageError if a split is, or a limit exceeds the set
 * @example const val = await openPart(config, 'val')
 */
export async function openPart({ data, seed }: Pick<Config, 'data' | 'seed'>, part: Part): Promise<Dataset> {
  if (data.kind === 'synthetic') {
    const [n, m] = [data.trainImages, data.valImages]
    const scenes = syntheticScenes({ seed, size: data.size, count: n + m })
    return part === 'train' ? subset(scenes, 0, n) : subset(scenes, n, n + m)
  }
  const key = `${part}Images` as const
  const limit = data[key]
  const dataset = await openFiles(data, part)
  if (limit === null || limit === dataset.size) return dataset
  if (limit > dataset.size)
    throw new UsageError(`data.${key}: is ${limit}; ${dataset.name} has ${dataset.size}`)
  return subset(dataset, 0, limit)
}

function openFiles(data: Exclude<Data, { readonly kind: 'synthetic' }>, part: Part): Promise<Dataset> {
  const { folder, size, cacheMiB } = data
  const options = { cache: cacheMiB * 2 ** 20, ...(size ? { size } : {}) }
  if (data.kind !== 'folder' && data.kind !== 'list')
    return openDataset(data.kind, folder, part === 'train' ? data.trainSplit : data.valSplit, options)
  const { classes, palette, ignore } = data
  const about: FolderOptions = {
    ...options,
    name: data[part],
    folder,
    classes,
    palette: palette ?? classes.map((_, c) => vocColour(c + 1)),
    classOf: classOf(classes.length, ignore),
  }
  if (data.kind === 'list') return listedFolder({ ...about, list: data[part] })
  const images = { folder: `${data[part]}/images` }
  return pairedFolders({ ...about, images, labels: { folder: `${data[part]}/labels` } })
}

/** Value c is class c, unless it is to be ignored. */
function classOf(classes: number, ignore: readonly number[]): readonly number[] {
  return Array.from({ length: Math.max(classes, ...ignore.map(v => v + 1)) }, (_, value) =>
    ignore.includes(value) ? ignored : value < classes ? value : -1,
  )
}

/**
 * The random changes of training samples, in the order of MMSegmentation's baselines, and the size of what they give;
 * null where that is each image's own.
 * @throws UsageError if images of their own sizes are to stand in one batch
 */
export function augmentationOf({ augment, data, train }: Config): {
  readonly transform: Transform
  readonly size: Size | null
} {
  const { scale, maxShare, flip, rotate } = augment
  const size = augment.crop ?? data.size
  if (size === null) {
    if (train.batch > 1 || scale !== null)
      throw new UsageError(
        'augment.crop: is null, and so is data.size; give one of them, so that the images of a batch have one size',
      )
  }
  const cropped = size && (augment.crop !== null || scale !== null)
  const steps = [
    ...(cropped && scale ? [randomScaleCrop({ size, scale, maxShare })] : []),
    ...(cropped && !scale ? [randomCrop({ size, maxShare })] : []),
    ...(rotate > 0 ? [randomRotation({ degrees: rotate })] : []),
    ...(flip ? [randomFlip()] : []),
    ...(augment.photometric ? [photometric()] : []),
    normalise(imagenet),
    ...(cropped ? [pad({ size })] : []),
  ]
  return { transform: pipeline(steps), size }
}
