/**
 * Image files. In: bytes of a JPEG or PNG, recognised by content. Out: pixels; and pixels to PNG, for reports.
 * `name` (the file's path) is only for the messages.
 */
import { encode } from 'fast-png'
import { DataError } from '../dsl/errors.ts'
import { isJpeg, readJpeg } from './jpeg.ts'
import { checkSize, type LabelPixels, type Pixels } from './pixels.ts'
import { isPng, type Png, readPng } from './png.ts'

/**
 * Decodes a photograph, turned upright by its EXIF orientation. JPEG: grey, colour or CMYK. PNG: grey, RGB or
 * palette, 1 to 16 bits; alpha is dropped, 16 bits are rounded to 8. Grey is repeated into three channels.
 * @returns RGB, [height, width, 3]
 * @throws DataError  if the bytes are no image, are damaged or truncated, or the image is beyond 64 megapixels
 * @example decodeImage(await readFile('frame.jpg'), 'frame.jpg')
 */
export function decodeImage(bytes: Uint8Array, name: string): Pixels {
  if (isPng(bytes)) return rgbOf(readPng(bytes, name), name)
  if (isJpeg(bytes)) return readJpeg(bytes, name)
  throw new DataError(
    `${name}: neither JPEG nor PNG (${firstBytes(bytes)}); convert the image to one of them`,
  )
}

/**
 * Decodes a label map: a PNG of one channel, 1 to 16 bits, turned upright as images are. A grey value, or a palette
 * index, is a class number.
 * @returns [height, width]
 * @throws DataError  if the bytes are no PNG, are damaged, or hold colours instead of class numbers
 * @example decodeLabel(await readFile('frame_L.png'), 'frame_L.png')
 */
export function decodeLabel(bytes: Uint8Array, name: string): LabelPixels {
  if (!isPng(bytes))
    throw new DataError(
      `${name}: a label map must be PNG, which keeps class numbers exact (${firstBytes(bytes)})`,
    )
  const { channels, height, width, data } = readPng(bytes, name)
  if (channels !== 1)
    throw new DataError(
      `${name}: a label map has one channel of class numbers, this one has ${channels}; ` +
        'save it as grey or palette PNG, not as colours',
    )
  return { height, width, data }
}

/**
 * Encodes RGB as PNG.
 * @param rgb  [height, width, 3], interleaved
 * @throws DataError  if the number of bytes is not height * width * 3, or the size is beyond 64 megapixels
 * @example writeFile('report.png', encodePng(rgb, 64, 64))
 */
export function encodePng(rgb: Uint8Array, height: number, width: number): Uint8Array {
  checkSize(height, width, 'encodePng')
  if (rgb.length !== height * width * 3)
    throw new DataError(`encodePng: ${rgb.length} bytes are not ${height} x ${width} x 3`)
  return encode({ width, height, data: rgb, depth: 8, channels: 3 })
}

function rgbOf({ height, width, channels, depth, data, palette }: Png, name: string): Pixels {
  const rgb = new Uint8Array(height * width * 3)
  const scale = 255 / (2 ** depth - 1)
  for (let p = 0; p < height * width; p++)
    for (let c = 0; c < 3; c++) {
      const value = data[p * channels + (channels < 3 ? 0 : c)]
      if (palette && value >= palette.length)
        throw new DataError(`${name}: palette index ${value}, but the palette has ${palette.length} colours`)
      rgb[3 * p + c] = palette ? palette[value][c] : Math.round(value * scale)
    }
  return { height, width, data: rgb }
}

const firstBytes = (bytes: Uint8Array): string =>
  bytes.length === 0
    ? 'the file is empty'
    : `it begins with ${Array.from(bytes.subarray(0, 4), b => b.toString(16).padStart(2, '0')).join(' ')}`
