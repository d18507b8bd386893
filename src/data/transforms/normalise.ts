/**
 * The last steps before a network. In: a sample. Out: the sample with mean and deviation taken out, or enlarged to a
 * size. No randomness: the key is not used.
 */
import { UsageError } from '../../dsl/errors.ts'
import { remade } from '../recipe.ts'
import { ignored, type Normalisation, type Sample, type Size } from '../sample.ts'
import type { Transform } from './transform.ts'

/** ImageNet's statistics, which published backbones expect. */
export const imagenet: Normalisation = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }

/**
 * y[c,i,j] = (x[c,i,j] - mean[c]) / std[c]
 * @param image  [3, h, w] in 0..1
 * @returns [3, h, w]
 * @example normalised(sample.image)
 */
export function normalised(image: Float32Array, { mean, std }: Normalisation = imagenet): Float32Array {
  const plane = image.length / 3
  const out = new Float32Array(image.length)
  for (let c = 0; c < 3; c++)
    for (let i = c * plane; i < (c + 1) * plane; i++) out[i] = (image[i] - mean[c]) / std[c]
  return out
}

/**
 * Takes mean and deviation out of the image; ImageNet's by default. The loader does so itself with samples that are
 * in 0..1 still; a pipeline that pads after it pads with the mean, as MMSegmentation does.
 * @throws UsageError  from the transform, if the sample is normalised already
 * @example pipeline([randomFlip(), normalise(), pad({ size: [512, 512] })])
 */
export const normalise = (stats: Normalisation = imagenet): Transform =>
  remade({ module: import.meta.url, make: 'normalise', args: [stats] }, (_key, sample) => {
    if (sample.normalisation) throw new UsageError(`normalise: ${sample.name} is normalised already`)
    return { ...sample, image: normalised(sample.image, stats), normalisation: stats }
  })

/** How far `pad` enlarges: to a size, or to the next multiple of a number. */
export type PadTo = { readonly size: Size } | { readonly multiple: number }

/**
 * Enlarges to the right and below, the image with 0 and the label with 255 (ignored). An extent that is large enough
 * stays.
 * @throws UsageError  unless the extents, or the multiple, are positive integers
 * @example pad({ multiple: 32 })
 */
export function pad(to: PadTo): Transform {
  const asked = 'size' in to ? to.size : [to.multiple]
  if (!asked.every(n => Number.isInteger(n) && n > 0))
    throw new UsageError(`pad: need positive integers, got ${asked.join(', ')}`)
  const enlarged = (extent: number, axis: 0 | 1): number =>
    'size' in to ? Math.max(extent, to.size[axis]) : Math.ceil(extent / to.multiple) * to.multiple
  return remade({ module: import.meta.url, make: 'pad', args: [to] }, (_key, sample): Sample => {
    const [height, width] = [enlarged(sample.height, 0), enlarged(sample.width, 1)]
    if (height === sample.height && width === sample.width) return sample
    const image = new Float32Array(3 * height * width)
    const label = new Uint8Array(height * width).fill(ignored)
    const rows = (from: Float32Array | Uint8Array, out: Float32Array | Uint8Array, planes: number): void => {
      for (let c = 0; c < planes; c++)
        for (let y = 0; y < sample.height; y++) {
          const start = (c * sample.height + y) * sample.width
          out.set(from.subarray(start, start + sample.width), (c * height + y) * width)
        }
    }
    rows(sample.image, image, 3)
    rows(sample.label, label, 1)
    return { ...sample, height, width, image, label }
  })
}
