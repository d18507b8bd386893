/** The usual augmentation for segmentation. In: a size. Out: a transform. */

import type { Normalisation } from '../sample.ts'
import { type Crop, randomScaleCrop, type ScaleRange } from './crop.ts'
import { randomFlip } from './flip.ts'
import { imagenet, normalise, pad } from './normalise.ts'
import { type Photometric, photometric } from './photometric.ts'
import { pipeline, type Transform } from './transform.ts'

export interface Augmentation extends ScaleRange, Crop, Photometric {
  /** ImageNet's by default; give the loader the same. */
  readonly normalisation?: Normalisation
}

/**
 * Random scale 0.5 to 2.0, random crop with at most 75 % of one class, flip, photometric distortion, normalisation,
 * padding with 0 and 255: the recipe and the order of MMSegmentation's Cityscapes baselines.
 * @returns samples of height and width `size`
 * @throws UsageError  on a bad option
 * @example batches(train, { batch: 16, key: key(1), augment: augmentation({ size: [512, 1024] }), steps: 80_000 })
 */
export const augmentation = (options: Augmentation): Transform =>
  pipeline([
    randomScaleCrop({ maxShare: 0.75, ...options }),
    randomFlip(),
    photometric(options),
    normalise(options.normalisation ?? imagenet),
    pad({ size: options.size }),
  ])
