/**
 * Rotation about the centre. In: a sample, or a key and a sample. Out: a sample of the same size. The image is
 * interpolated bilinearly, the label takes the nearest pixel; what comes from outside is 0 and 255 (ignored).
 * @see MMSegmentation's RandomRotate; PSPNet's training (Zhao et al.) turns by -10 to 10 degrees, half of the time
 */
import { UsageError } from '../../dsl/errors.ts'
import { uniformAt } from '../../dsl/threefry.ts'
import { remade } from '../recipe.ts'
import { ignored, type Sample } from '../sample.ts'
import type { Transform } from './transform.ts'

export interface Rotation {
  /** The angle is uniform in -degrees .. degrees; 10 by default. */
  readonly degrees?: number
  /** How often a sample is turned at all; 1/2 by default. */
  readonly probability?: number
}

/**
 * Turns by a random angle.
 * @throws UsageError  unless 0 <= degrees <= 180 and the probability lies in 0..1
 * @example randomRotation({ degrees: 10, probability: 0.5 })
 */
export function randomRotation(options: Rotation = {}): Transform {
  const { degrees = 10, probability = 0.5 } = options
  if (!(degrees >= 0 && degrees <= 180 && probability >= 0 && probability <= 1))
    throw new UsageError(
      `randomRotation: need degrees in 0..180 and a probability in 0..1, got ${degrees} and ${probability}`,
    )
  return remade({ module: import.meta.url, make: 'randomRotation', args: [options] }, (key, sample) =>
    uniformAt(key, 0) < probability ? rotate(sample, degrees * (2 * uniformAt(key, 1) - 1)) : sample,
  )
}

/**
 * Turns clockwise about the centre, within the same frame.
 *   (u, v) = c + R(-angle) ((x, y) - c),   the pixel (x, y) shows what was at (u, v)
 * @example rotate(sample, 10)
 */
export function rotate(sample: Sample, degrees: number): Sample {
  const { height, width } = sample
  const plane = height * width
  const [sin, cos] = [Math.sin((degrees * Math.PI) / 180), Math.cos((degrees * Math.PI) / 180)]
  const image = new Float32Array(3 * plane)
  const label = new Uint8Array(plane).fill(ignored)
  for (let y = 0, p = 0; y < height; y++)
    for (let x = 0; x < width; x++, p++) {
      // Centres of pixels lie at integers here, the centre of the frame at (size - 1) / 2.
      const [dx, dy] = [x - (width - 1) / 2, y - (height - 1) / 2]
      const u = (width - 1) / 2 + cos * dx + sin * dy
      const v = (height - 1) / 2 - sin * dx + cos * dy
      const [left, top] = [Math.floor(u), Math.floor(v)]
      for (let corner = 0; corner < 4; corner++) {
        const [column, row] = [left + (corner & 1), top + (corner >> 1)]
        if (column < 0 || column >= width || row < 0 || row >= height) continue
        const weight = (1 - Math.abs(u - column)) * (1 - Math.abs(v - row))
        const from = row * width + column
        for (let c = 0; c < 3; c++) image[c * plane + p] += weight * sample.image[c * plane + from]
      }
      const [column, row] = [Math.round(u), Math.round(v)]
      if (column >= 0 && column < width && row >= 0 && row < height)
        label[p] = sample.label[row * width + column]
    }
  return { ...sample, image, label }
}
