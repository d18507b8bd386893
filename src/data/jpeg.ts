/**
 * JPEG files, made safe for the decoder. In: bytes of a JPEG. Out: upright RGB. The segments are walked first,
 * for the size, the orientation and the end: the decoder would give a truncated file as an image with a grey
 * rest, and would decode a picture as often as the file has scans.
 * @see ITU-T T.81, B.1.1 (markers), B.2.2 (frame header)
 */
import jpeg from 'jpeg-js'
import { DataError } from '../dsl/errors.ts'
import { exifOrientation, type Orientation, upright } from './exif.ts'
import { checkSize, decoding, maxPixels, type Pixels } from './pixels.ts'

/** Pixels times scans: a progressive photograph has about 10 scans; a file of nothing but scans would take hours. */
const maxScanned = 16 * maxPixels

/** True if the bytes begin as a JPEG does. */
export const isJpeg = (bytes: Uint8Array): boolean => [0xff, 0xd8, 0xff].every((b, i) => bytes[i] === b)

/**
 * Decodes a JPEG, baseline or progressive, grey, colour or CMYK, 8 bits, and turns it as its EXIF orientation says.
 * @returns RGB, [height, width, 3]
 * @throws DataError  if it is truncated, damaged, larger than the bounds of `pixels.ts`, or of a kind that is not read
 * @example readJpeg(await readFile('frame.jpg'), 'frame.jpg')
 */
export function readJpeg(bytes: Uint8Array, name: string): Pixels {
  const { height, width, orientation } = readHeader(bytes, name)
  const decoded = decoding('JPEG', name, () =>
    jpeg.decode(bytes, {
      useTArray: true,
      formatAsRGBA: false,
      tolerantDecoding: false,
      maxResolutionInMP: maxPixels / 1e6,
      maxMemoryUsageInMB: 1024,
    }),
  )
  if (decoded.height !== height || decoded.width !== width)
    throw new DataError(
      `${name}: damaged JPEG: ${height} x ${width} by its header, decoded ${decoded.height} x ${decoded.width}`,
    )
  return upright({ height, width, data: decoded.data }, 3, orientation)
}

interface Header {
  readonly height: number
  readonly width: number
  readonly orientation: Orientation
}

/** Walks the markers to the end of the image. */
function readHeader(bytes: Uint8Array, name: string): Header {
  const u16 = (at: number): number => (bytes[at] << 8) | bytes[at + 1]
  let size: readonly [height: number, width: number] | undefined
  let orientation: Orientation = 1
  for (let at = 2; at + 1 < bytes.length; ) {
    const marker = bytes[at + 1]
    // Compressed data, a stuffed byte, a restart, or fill: none of them has a length.
    if (bytes[at] !== 0xff || marker === 0 || (marker >= 0xd0 && marker <= 0xd7) || marker === 0xff) {
      at++
      continue
    }
    if (marker === 0xd9) {
      if (!size) throw new DataError(`${name}: damaged JPEG: it has no frame`)
      checkWork(bytes, size, name)
      return { height: size[0], width: size[1], orientation }
    }
    if (marker === 0xe1 && orientation === 1)
      orientation = exifOrientation(bytes.subarray(at + 4, at + 2 + u16(at + 2)))
    if (isFrame(marker) && at + 9 <= bytes.length) {
      size = [u16(at + 5), u16(at + 7)]
      checkSize(...size, name)
      if (bytes[at + 4] !== 8)
        throw new DataError(`${name}: a JPEG of ${bytes[at + 4]} bits a sample; save it with 8`)
    }
    at += 2 + u16(at + 2)
  }
  throw new DataError(`${name}: truncated JPEG, the end-of-image marker is missing (${bytes.length} bytes)`)
}

/**
 * Refuses what would take the decoder long for nothing. Scans are counted wherever one could begin, for the decoder
 * does not trust the lengths of segments as this walk does; in compressed data the marker cannot occur. Each 8 x 8
 * block takes at least a bit, the shortest Huffman code.
 */
function checkWork(bytes: Uint8Array, [height, width]: readonly [number, number], name: string): void {
  let scans = 0
  for (let i = bytes.indexOf(0xff); i >= 0; i = bytes.indexOf(0xff, i + 1)) if (bytes[i + 1] === 0xda) scans++
  if (scans * height * width > maxScanned)
    throw new DataError(
      `${name}: damaged JPEG: ${scans} scans of ${height} x ${width} pixels, more than any picture needs`,
    )
  if (height * width > 8 * 64 * bytes.length)
    throw new DataError(
      `${name}: damaged JPEG: ${bytes.length} bytes cannot hold ${height} x ${width} pixels`,
    )
}

/** SOF0 to SOF15; three codes between them are tables and extensions. */
const isFrame = (marker: number): boolean =>
  marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc
