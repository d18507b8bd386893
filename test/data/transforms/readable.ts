/** Samples whose label can be read off the image, for tests that both are moved together. */
import type { Sample } from '../../../src/data/sample.ts'

/** Every channel is label / 8, for classes 1 to 7: 0 is what comes from outside. */
export const readable = (
  height: number,
  width: number,
  classAt: (y: number, x: number) => number,
): Sample => {
  const label = Uint8Array.from({ length: height * width }, (_, p) =>
    classAt(Math.floor(p / width), p % width),
  )
  const image = Float32Array.from({ length: 3 * label.length }, (_, i) => label[i % label.length] / 8)
  return { name: 'readable', height, width, image, label }
}
