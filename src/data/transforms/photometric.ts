/**
 * Photometric distortion. In: a key and a sample in 0..1. Out: the sample with other colours, its label untouched.
 * @see MMSegmentation's PhotoMetricDistortion, after Liu et al. 2016 (SSD), arXiv:1512.02325, and Howard 2013. It rounds to
 *   8 bits after each step; here nothing is rounded
 */
import { UsageError } from '../../dsl/errors.ts'
import { uniformAt } from '../../dsl/threefry.ts'
import { remade } from '../recipe.ts'
import type { Transform } from './transform.ts'

type Range = readonly [low: number, high: number]

export interface Photometric {
  /** The largest shift, in units of the full range; 32/255 by default. */
  readonly brightness?: number
  /** The range of the factor; [0.5, 1.5] by default. */
  readonly contrast?: Range
  /** The range of the factor of HSV's saturation; [0.5, 1.5] by default. */
  readonly saturation?: Range
  /** The largest shift of HSV's hue, in degrees; 36 by default (18 of the 180 units of 8-bit images). */
  readonly hue?: number
}

/**
 * Brightness, contrast, saturation, hue, in this order, each half of the time; half of the time contrast comes last.
 *   brightness  x + U(-b, b)      contrast  U(low, high) x      saturation  U(low, high) S      hue  H + U(-h, h)
 * After each step values are cut to 0..1. Put it before `normalise` and `pad`.
 * @throws UsageError  on a range that is none; from the transform, if the sample is normalised already
 * @example photometric({ hue: 0 })
 */
export function photometric(options: Photometric = {}): Transform {
  const { brightness = 32 / 255, contrast = [0.5, 1.5], saturation = [0.5, 1.5], hue = 36 } = options
  const ranges = [contrast, saturation, [-brightness, brightness], [-hue, hue]]
  if (!ranges.every(([low, high]) => low <= high) || contrast[0] < 0 || saturation[0] < 0 || hue > 180)
    throw new UsageError(
      `photometric: need brightness >= 0, hue in 0..180 and ranges 0 <= low <= high, got brightness ${brightness}, ` +
        `contrast [${contrast.join(', ')}], saturation [${saturation.join(', ')}], hue ${hue}`,
    )
  return remade({ module: import.meta.url, make: 'photometric', args: [options] }, (key, sample) => {
    if (sample.normalisation)
      throw new UsageError(
        `photometric: ${sample.name} is normalised already; put photometric before normalise`,
      )
    const coin = (i: number): boolean => uniformAt(key, i) < 0.5
    const draw = (i: number, [low, high]: Range): number => low + (high - low) * uniformAt(key, i)
    const shift = coin(0) ? draw(1, [-brightness, brightness]) : 0
    const factor = coin(2) ? draw(3, contrast) : 1
    const contrastLast = coin(4)
    const [first, last] = contrastLast ? [1, factor] : [factor, 1]
    const colourful = coin(5) ? draw(6, saturation) : 1
    const turn = coin(7) ? draw(8, [-hue, hue]) : 0
    const image = sample.image.map(x => cut(cut(x + shift) * first))
    if (colourful !== 1 || turn !== 0) recolour(image, colourful, turn / 60)
    return { ...sample, image: last === 1 ? image : image.map(x => cut(x * last)) }
  })
}

const cut = (x: number): number => (x < 0 ? 0 : x > 1 ? 1 : x)

/**
 * Scales saturation and turns hue, in place. With V the largest channel and S, H (in 0..6) of HSV,
 *   channel n of (5, 3, 1) = V - V S max(0, min(k, 4 - k, 1)),   k = (n + H) mod 6
 */
function recolour(image: Float32Array, factor: number, turn: number): void {
  const plane = image.length / 3
  for (let p = 0; p < plane; p++) {
    const [r, g, b] = [image[p], image[plane + p], image[2 * plane + p]]
    const v = Math.max(r, g, b)
    const chroma = v - Math.min(r, g, b)
    if (chroma === 0) continue
    const sector = v === r ? (g - b) / chroma : v === g ? 2 + (b - r) / chroma : 4 + (r - g) / chroma
    // 12: the sum is positive before the remainder, for any turn up to a full one.
    const h = sector + turn + 12
    const vs = Math.min(v, chroma * factor)
    for (let c = 0; c < 3; c++) {
      const k = (h + 5 - 2 * c) % 6
      image[c * plane + p] = v - vs * Math.max(0, Math.min(k, 4 - k, 1))
    }
  }
}
