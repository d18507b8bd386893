/** Mirror images. In: a sample, or a key and a sample. Out: the sample with left and right exchanged. */
import { UsageError } from '../../dsl/errors.ts'
import { uniformAt } from '../../dsl/threefry.ts'
import { remade } from '../recipe.ts'
import type { Sample } from '../sample.ts'
import type { Transform } from './transform.ts'

/**
 * The mirror image, left and right exchanged; `flip(flip(s))` equals `s`.
 * @example flip(sample)
 */
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

/**
 * `flip` with a probability, 1/2 by default.
 * @throws UsageError  unless it lies in 0..1
 * @example randomFlip()
 */
export function randomFlip(probability = 0.5): Transform {
  if (!(probability >= 0 && probability <= 1))
    throw new UsageError(`randomFlip: the probability must be in 0..1, got ${probability}`)
  return remade({ module: import.meta.url, make: 'randomFlip', args: [probability] }, (key, sample) =>
    uniformAt(key, 0) < probability ? flip(sample) : sample,
  )
}
