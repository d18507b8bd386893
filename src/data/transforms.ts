/**
 * Augmentation. In: a key and a sample. Out: a sample; a pure function of both. Image and label are moved by
 * the same geometry, so they stay aligned. Second stage of the data side: readers -> transforms -> loader.
 * The recipe is the one of MMSegmentation's Cityscapes baselines (scale 0.5 to 2, crop, flip, photometric).
 */
import { UsageError } from '../dsl/errors.ts'
import { foldIn, type Key, uniformAt } from '../dsl/threefry.ts'
import { resampleLinear, resampleNearest, type View } from './resize.ts'
import { ignored, type Sample, type Size } from './sample.ts'

/** A random change of a sample: the same key and sample give equal numbers. */
export type Transform = (key: Key, sample: Sample) => Sample

/**
 * Transforms one after the other, each under a key of its own (`foldIn(key, position)`).
 * @example compose(jitter(), randomScaleCrop({ size: [256, 256] }), mirror)
 */
export const compose =
  (...transforms: readonly Transform[]): Transform =>
  (key, sample) =>
    transforms.reduce((s, t, i) => t(foldIn(key, i), s), sample)

/**
 * The usual augmentation for segmentation: jitter, random scale and crop, mirror.
 * @example batchAt(train, { batch: 16, key: key(1), augment: augmentation({ size: [256, 256] }) }, 0)
 */
export const augmentation = (options: ScaleCrop & { readonly jitter?: Jitter }): Transform =>
  compose(jitter(options.jitter), randomScaleCrop(options), mirror)

/** The mirror image, left and right exchanged; `flip(flip(s))` equals `s`. */
export function flip(sample: Sample): Sample {
  const { height, width } = sample
  const image = new Float32Array(sample.image.length)
  const label = new Uint8Array(sample.label.length)
  const mirrored = (from: ArrayLike<number>, to: Float32Array | Uint8Array, rows: number) => {
    for (let y = 0; y < rows; y++)
      for (let x = 0; x < width; x++) to[y * width + x] = from[y * width + (width - 1 - x)]
  }
  mirrored(sample.image, image, 3 * height)
  mirrored(sample.label, label, height)
  return { ...sample, image, label }
}

/** `flip` with probability 1/2. */
export const mirror: Transform = (key, sample) => (uniformAt(key, 0) < 0.5 ? flip(sample) : sample)

export interface ScaleCrop {
  /** Height and width of the result. */
  readonly size: Size
  /** The range of the uniform factor of scale; [0.5, 2] by default. */
  readonly scale?: readonly [low: number, high: number]
  /** Positions are drawn again, up to 10 times, while one class has more than this share; 1 (never) by default. */
  readonly maxShare?: number
}

/**
 * Scales by a random factor (antialiased bilinear for the image, nearest for the label) and cuts a random
 * window. Where the scaled image is smaller than the window, the image is padded with 0 (black), the label
 * with 255 (ignored).
 * @returns a sample of height and width `size`
 * @throws UsageError  unless the extents are positive integers, 0 < low <= high, and 0 < maxShare <= 1
 * @example randomScaleCrop({ size: [256, 256], scale: [0.5, 2], maxShare: 0.75 })
 */
export function randomScaleCrop(options: ScaleCrop): Transform {
  const { size, scale = [0.5, 2], maxShare = 1 } = options
  const [low, high] = scale
  if (!size.every(n => Number.isInteger(n) && n > 0) || !(low > 0 && low <= high && high < Infinity))
    throw new UsageError(
      `randomScaleCrop: need positive integers as size and 0 < low <= high as scale, got size [${size.join(', ')}], scale [${scale.join(', ')}]`,
    )
  if (!(maxShare > 0 && maxShare <= 1))
    throw new UsageError(`randomScaleCrop: maxShare must be in (0, 1], got ${maxShare}`)
  return (key, sample) => {
    const from: Size = [sample.height, sample.width]
    const factor = low + (high - low) * uniformAt(key, 0)
    const scaled: Size = [
      Math.max(1, Math.round(factor * sample.height)),
      Math.max(1, Math.round(factor * sample.width)),
    ]
    for (let attempt = 1; ; attempt++) {
      const view: View = {
        scaled,
        size,
        top: offset(scaled[0], size[0], uniformAt(key, 2 * attempt)),
        left: offset(scaled[1], size[1], uniformAt(key, 2 * attempt + 1)),
      }
      const label = resampleNearest(sample.label, from, view)
      if (attempt < 10 && maxShare < 1 && largestShare(label) > maxShare) continue
      const image = resampleLinear(sample.image, 3, from, view)
      return { ...sample, height: size[0], width: size[1], image, label }
    }
  }
}

/** Where the window begins: inside the image if it fits there, else so that the image lies inside the window. */
function offset(extent: number, window: number, u: number): number {
  const slack = extent - window
  return Math.min(0, slack) + Math.floor(u * (Math.abs(slack) + 1))
}

/** The share of the most frequent class among the pixels that are not ignored. */
function largestShare(label: Uint8Array): number {
  const counts = new Uint32Array(256)
  for (const c of label) counts[c]++
  const counted = label.length - counts[ignored]
  counts[ignored] = 0
  return counted === 0 ? 1 : Math.max(...counts) / counted
}

export interface Jitter {
  /** The largest shift, in units of the full range; 32/255 by default, as in MMSegmentation. */
  readonly brightness?: number
  /** The factor of contrast lies in 1 - contrast .. 1 + contrast; 0.5 by default. */
  readonly contrast?: number
}

/**
 * Photometric jitter: random brightness and contrast; the label is untouched. Put it before
 * `randomScaleCrop`, so that padding stays 0.
 *   y = clamp((x - mean) * factor + mean + shift, 0, 1),   mean over the whole image
 * @throws UsageError  unless 0 <= brightness and 0 <= contrast <= 1
 * @example jitter({ brightness: 0.1, contrast: 0.3 })
 */
export function jitter({ brightness = 32 / 255, contrast = 0.5 }: Jitter = {}): Transform {
  if (!(brightness >= 0 && contrast >= 0 && contrast <= 1))
    throw new UsageError(
      `jitter: need brightness >= 0 and contrast in 0..1, got brightness ${brightness}, contrast ${contrast}`,
    )
  return (key, sample) => {
    const shift = brightness * (2 * uniformAt(key, 0) - 1)
    const factor = 1 + contrast * (2 * uniformAt(key, 1) - 1)
    const mean = sample.image.reduce((a, b) => a + b, 0) / sample.image.length
    const image = sample.image.map(x => Math.min(1, Math.max(0, (x - mean) * factor + mean + shift)))
    return { ...sample, image }
  }
}

/** The mean and the standard deviation that `normalised` takes out, per channel, of an image in 0..1. */
export interface Normalisation {
  readonly mean: readonly [number, number, number]
  readonly std: readonly [number, number, number]
}

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
  return image.map((x, i) => {
    const c = Math.floor(i / plane)
    return (x - mean[c]) / std[c]
  })
}
