/**
 * Pictures for reports. In: samples and label maps. Out: RGB tiles, and one sheet of them for `encodePng`.
 * Pure; runs in a browser.
 */
import { ShapeError } from '../dsl/errors.ts'
import type { Pixels } from './pixels.ts'
import { type Colour, ignored, type Sample } from './sample.ts'

/**
 * A sample's image as 8-bit RGB.
 * @returns data [height, width, 3], interleaved
 */
export function imageTile({ height, width, image }: Pick<Sample, 'height' | 'width' | 'image'>): Pixels {
  const plane = height * width
  const data = new Uint8Array(3 * plane)
  for (let p = 0; p < plane; p++)
    for (let c = 0; c < 3; c++)
      data[3 * p + c] = Math.round(255 * Math.min(1, Math.max(0, image[c * plane + p])))
  return { height, width, data }
}

/**
 * A label map, or a prediction, in the classes' colours; ignored pixels are white.
 * @param label  [height, width], class numbers
 * @returns data [height, width, 3], interleaved
 * @throws ShapeError  if a class has no colour in the palette
 */
export function labelTile(
  { height, width, label }: { height: number; width: number; label: ArrayLike<number> },
  palette: readonly Colour[],
): Pixels {
  const data = new Uint8Array(3 * height * width)
  for (let p = 0; p < height * width; p++) {
    if (label[p] !== ignored && !(label[p] in palette))
      throw new ShapeError('labelTile', `class ${label[p]} has no colour; the palette has ${palette.length}`)
    data.set(label[p] === ignored ? [255, 255, 255] : palette[label[p]], 3 * p)
  }
  return { height, width, data }
}

/**
 * Rows of tiles as one picture, each enlarged by a whole factor, on dark grey with a gap of 2 pixels.
 * @param rows  tiles of one size
 * @throws ShapeError  if the tiles differ in size
 * @example
 *   const { data, height, width } = sheet([[imageTile(s), labelTile(s, scenes.palette)]], 3)
 *   writeFile('scenes.png', encodePng(data, height, width))
 */
export function sheet(rows: readonly (readonly Pixels[])[], zoom = 1): Pixels {
  const { height: h, width: w } = rows[0][0]
  const cell = [h * zoom + 2, w * zoom + 2]
  const height = rows.length * cell[0]
  const width = Math.max(...rows.map(r => r.length)) * cell[1]
  const data = new Uint8Array(3 * height * width).fill(32)
  rows.forEach((row, i) => {
    row.forEach((tile, j) => {
      if (tile.height !== h || tile.width !== w)
        throw new ShapeError('sheet', `tiles of ${h} x ${w} and of ${tile.height} x ${tile.width}`)
      for (let y = 0; y < h * zoom; y++)
        for (let x = 0; x < w * zoom; x++) {
          const from = 3 * (Math.floor(y / zoom) * w + Math.floor(x / zoom))
          data.set(tile.data.subarray(from, from + 3), 3 * ((i * cell[0] + y) * width + j * cell[1] + x))
        }
    })
  })
  return { height, width, data }
}
