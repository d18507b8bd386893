/**
 * Random scale and random windows. In: a key and a sample. Out: a sample. Images are resampled bilinearly with
 * antialiasing, labels by the nearest pixel.
 * @see MMSegmentation's RandomResize (ratio 0.5 to 2.0) and RandomCrop (cat_max_ratio 0.75, 10 more attempts)
 */
import { UsageError } from '../../dsl/errors.ts'
import { type Key, uniformAt } from '../../dsl/threefry.ts'
import { remade } from '../recipe.ts'
import { resampleLinear, resampleNearest, type View, whole } from '../resize.ts'
import { ignored, type Sample, type Size } from '../sample.ts'
import type { Transform } from './transform.ts'

/** A uniform factor of scale lies in this range; [0.5, 2] by default. */
export interface ScaleRange {
  readonly scale?: readonly [low: number, high: number]
}

export interface Crop {
  /** Height and width of the window; an image that is smaller stays as it is, `pad` enlarges it. */
  readonly size: Size
  /** Positions are drawn again, up to 10 times, while one class has more than this share; 1 (never) by default. */
  readonly maxShare?: number
}

/** Draws after the first; the last is taken as it is. */
const attempts = 10

/**
 * Scales by a random factor.
 * @throws UsageError  unless 0 < low <= high
 * @example randomScale({ scale: [0.5, 2] })
 */
export function randomScale(options: ScaleRange = {}): Transform {
  const range = scaleRange('randomScale', options)
  return remade({ module: import.meta.url, make: 'randomScale', args: [options] }, (key, sample) =>
    cut(sample, whole(scaledSize(sample, range, key))),
  )
}

/**
 * Cuts a random window, or what there is of it where the image is smaller.
 * @throws UsageError  unless the extents are positive integers and 0 < maxShare <= 1
 * @example randomCrop({ size: [512, 1024], maxShare: 0.75 })
 */
export function randomCrop(options: Crop): Transform {
  checkCrop('randomCrop', options)
  return remade({ module: import.meta.url, make: 'randomCrop', args: [options] }, (key, sample) =>
    randomWindow(key, sample, [sample.height, sample.width], options),
  )
}

/**
 * `randomScale`, then `randomCrop`, in one resampling: only the pixels of the window are computed.
 * @throws UsageError  as both
 * @example randomScaleCrop({ size: [256, 256], scale: [0.5, 2], maxShare: 0.75 })
 */
export function randomScaleCrop(options: ScaleRange & Crop): Transform {
  const range = scaleRange('randomScaleCrop', options)
  checkCrop('randomScaleCrop', options)
  return remade({ module: import.meta.url, make: 'randomScaleCrop', args: [options] }, (key, sample) =>
    randomWindow(key, sample, scaledSize(sample, range, key), options),
  )
}

/** Draw 0 of a key is the factor; the windows take the draws from 2 on, with or without one. */
function scaledSize({ height, width }: Sample, [low, high]: readonly [number, number], key: Key): Size {
  const factor = low + (high - low) * uniformAt(key, 0)
  return [Math.max(1, Math.round(factor * height)), Math.max(1, Math.round(factor * width))]
}

function randomWindow(key: Key, sample: Sample, scaled: Size, { size, maxShare = 1 }: Crop): Sample {
  const window: Size = [Math.min(size[0], scaled[0]), Math.min(size[1], scaled[1])]
  const from: Size = [sample.height, sample.width]
  for (let attempt = 0; ; attempt++) {
    const offset = (axis: 0 | 1): number =>
      Math.floor(uniformAt(key, 2 + 2 * attempt + axis) * (scaled[axis] - window[axis] + 1))
    const view: View = { scaled, size: window, top: offset(0), left: offset(1) }
    if (attempt === attempts || maxShare === 1) return cut(sample, view)
    if (largestShare(resampleNearest(sample.label, from, view)) <= maxShare) return cut(sample, view)
  }
}

/** The view of a sample. */
function cut(sample: Sample, view: View): Sample {
  const from: Size = [sample.height, sample.width]
  const [height, width] = view.size
  const image = resampleLinear(sample.image, 3, from, view)
  return { ...sample, height, width, image, label: resampleNearest(sample.label, from, view) }
}

/** The share of the most frequent class among the pixels that are not ignored; 1 where all are. */
function largestShare(label: Uint8Array): number {
  const counts = new Uint32Array(256)
  for (const c of label) counts[c]++
  const counted = label.length - counts[ignored]
  counts[ignored] = 0
  return counted === 0 ? 1 : Math.max(...counts) / counted
}

function scaleRange(name: string, { scale = [0.5, 2] }: ScaleRange): readonly [number, number] {
  const [low, high] = scale
  if (!(low > 0 && low <= high && high < Infinity))
    throw new UsageError(`${name}: the scale needs 0 < low <= high, got [${scale.join(', ')}]`)
  return scale
}

function checkCrop(name: string, { size, maxShare = 1 }: Crop): void {
  if (!size.every(n => Number.isInteger(n) && n > 0))
    throw new UsageError(`${name}: the size must be two positive integers, got [${size.join(', ')}]`)
  if (!(maxShare > 0 && maxShare <= 1))
    throw new UsageError(`${name}: maxShare must be in (0, 1], got ${maxShare}`)
}
