/**
 * Image files. In: bytes of a JPEG or PNG, recognised by content. Out: pixels; and pixels to PNG, for reports.
 * Pure, runs in a browser; `name` (the file's path) is only for the messages.
 */
import { decode as decodePng, encode } from 'fast-png'
import jpeg from 'jpeg-js'
import { DataError } from '../dsl/errors.ts'

/** `data` is interleaved, [height, width, channels]; 3 channels for RGB, 1 for label maps. */
export interface Pixels {
  readonly height: number
  readonly width: number
  readonly data: Uint8Array
}

/** Larger images are refused before they are decoded: a 64-megapixel JPEG takes about a gigabyte to decode. */
const maxMegapixels = 64

/**
 * Decodes a photograph, JPEG or PNG (8 bits: grey, RGB, with or without alpha, palette). Alpha is dropped,
 * grey is repeated into three channels.
 * @returns RGB, [height, width, 3]
 * @throws DataError  if the bytes are no image, are damaged or truncated, or the image is too large
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
 * Decodes a label map: a PNG of one channel, 1 to 8 bits. A grey value, or a palette index, is a class number.
 * @returns [height, width]
 * @throws DataError  if the bytes are no PNG, are damaged, or hold colours instead of class numbers
 * @example decodeLabel(await readFile('frame_L.png'), 'frame_L.png')
 */
export function decodeLabel(bytes: Uint8Array, name: string): Pixels {
  if (!isPng(bytes))
    throw new DataError(
      `${name}: a label map must be PNG, which keeps class numbers exact (${firstBytes(bytes)})`,
    )
  const png = readPng(bytes, name)
  if (png.channels !== 1)
    throw new DataError(
      `${name}: a label map has one channel of class numbers, this one has ${png.channels}; ` +
        'save it as grey or palette PNG, not as colours',
    )
  return png
}

/**
 * Encodes RGB as PNG.
 * @param rgb  [height, width, 3], interleaved
 * @throws DataError  if the number of bytes is not height * width * 3
 * @example writeFile('report.png', encodePng(rgb, 64, 64))
 */
export function encodePng(rgb: Uint8Array, height: number, width: number): Uint8Array {
  if (rgb.length !== height * width * 3)
    throw new DataError(`encodePng: ${rgb.length} bytes are not ${height} x ${width} x 3`)
  return encode({ width, height, data: rgb, depth: 8, channels: 3 })
}

/** From [h, w, c] to [c, h, w]. */
export function planar({ height, width, data }: Pixels, channels: number): Uint8Array {
  const plane = height * width
  const out = new Uint8Array(channels * plane)
  for (let p = 0, i = 0; p < plane; p++) for (let c = 0; c < channels; c++) out[c * plane + p] = data[i++]
  return out
}

interface Png extends Pixels {
  readonly channels: number
  readonly depth: number
  readonly palette: readonly (readonly number[])[] | undefined
}

function readPng(bytes: Uint8Array, name: string): Png {
  // IHDR is the first chunk: width and height lie at bytes 16 and 20 (PNG, third edition, 11.2.1).
  if (bytes.length < 24) throw new DataError(`${name}: truncated PNG, ${bytes.length} bytes`)
  const header = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  checkSize(header.getUint32(16), header.getUint32(20), name)
  const png = reading('PNG', name, () => decodePng(bytes, { checkCrc: true }))
  const { width, height, channels, depth } = png
  if (!(png.data instanceof Uint8Array) || depth === 16)
    throw new DataError(`${name}: ${depth} bits a channel; save the PNG with 8`)
  if (depth < 8 && channels !== 1)
    throw new DataError(`${name}: ${channels} channels of ${depth} bits; save the PNG with 8 bits a channel`)
  const data = depth < 8 ? unpack(png.data, height, width, depth) : png.data
  return { height, width, channels, depth, data, palette: png.palette }
}

/** Rows of packed samples, the leftmost in the high bits, each row starting at a byte (PNG 7.2). */
function unpack(packed: Uint8Array, height: number, width: number, depth: number): Uint8Array {
  const stride = Math.ceil((width * depth) / 8)
  const out = new Uint8Array(height * width)
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const bit = x * depth
      out[y * width + x] = (packed[y * stride + (bit >> 3)] >> (8 - depth - (bit & 7))) & (2 ** depth - 1)
    }
  return out
}

function rgbOf({ height, width, channels, depth, data, palette }: Png, name: string): Pixels {
  const rgb = new Uint8Array(height * width * 3)
  const scale = depth < 8 ? 255 / (2 ** depth - 1) : 1
  for (let p = 0; p < height * width; p++)
    for (let c = 0; c < 3; c++) {
      const value = data[p * channels + (channels < 3 ? 0 : c)]
      if (palette && value >= palette.length)
        throw new DataError(`${name}: palette index ${value}, but the palette has ${palette.length} colours`)
      rgb[3 * p + c] = palette ? palette[value][c] : value * scale
    }
  return { height, width, data: rgb }
}

function readJpeg(bytes: Uint8Array, name: string): Pixels {
  if (!isComplete(bytes))
    throw new DataError(`${name}: truncated JPEG, the end-of-image marker is missing (${bytes.length} bytes)`)
  const { width, height, data } = reading('JPEG', name, () =>
    jpeg.decode(bytes, {
      useTArray: true,
      formatAsRGBA: false,
      tolerantDecoding: false,
      maxResolutionInMP: maxMegapixels,
      maxMemoryUsageInMB: 1024,
    }),
  )
  return { width, height, data }
}

/**
 * Whether the segments of a JPEG lead to its end-of-image marker. The decoder reads zeros past the end, so it
 * would give a truncated file as an image with a grey rest.
 * @see ITU-T T.81, B.1.1: marker codes and stuffed bytes
 */
function isComplete(bytes: Uint8Array): boolean {
  let at = 2
  while (at + 1 < bytes.length) {
    const marker = bytes[at + 1]
    if (bytes[at] !== 0xff || marker === 0x00 || (marker >= 0xd0 && marker <= 0xd7)) at++
    else if (marker === 0xff) at++
    else if (marker === 0xd9) return true
    else at += 2 + ((bytes[at + 2] << 8) | bytes[at + 3])
  }
  return false
}

function reading<T>(format: string, name: string, decode: () => T): T {
  try {
    return decode()
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new DataError(`${name}: damaged ${format}: ${reason}`, { cause: error })
  }
}

function checkSize(width: number, height: number, name: string): void {
  if (width * height > maxMegapixels * 1e6)
    throw new DataError(
      `${name}: ${height} x ${width} pixels, more than ${maxMegapixels} megapixels; shrink it first`,
    )
}

const starts = (bytes: Uint8Array, signature: readonly number[]): boolean =>
  signature.every((b, i) => bytes[i] === b)
const isPng = (bytes: Uint8Array): boolean => starts(bytes, [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])
const isJpeg = (bytes: Uint8Array): boolean => starts(bytes, [0xff, 0xd8, 0xff])

const firstBytes = (bytes: Uint8Array): string =>
  bytes.length === 0
    ? 'the file is empty'
    : `it begins with ${Array.from(bytes.subarray(0, 4), b => b.toString(16).padStart(2, '0')).join(' ')}`
