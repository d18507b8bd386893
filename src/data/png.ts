/**
 * PNG files, made safe for the decoder. In: bytes of a PNG. Out: its samples, one array element each. Before
 * fast-png sees them, the file is checked here: one header, a size within bounds, chunks that lie inside the
 * file, and image data that inflate to exactly what the header promises. Text, colour profiles and whatever
 * else could inflate without end is left out. Of the EXIF data only the orientation is read.
 * @see PNG specification, third edition: 5.3 chunks, 7.2 scanlines, 8 interlacing, 11.2 critical chunks, 11.3.2.8 eXIf
 */
import { inflateSync } from 'node:zlib'
import crc32 from 'crc-32'
import { decode } from 'fast-png'
import { DataError } from '../dsl/errors.ts'
import { type Orientation, tiffOrientation, upright } from './exif.ts'
import { checkSize, decoding, maxFileBytes } from './pixels.ts'

/** Samples as the file has them, turned upright, [height, width, channels], interleaved. */
export interface Png {
  readonly height: number
  readonly width: number
  /** 1 grey or palette index, 2 grey and alpha, 3 RGB, 4 RGB and alpha. */
  readonly channels: number
  /** Bits of a sample: 1, 2, 4, 8 or 16. */
  readonly depth: number
  readonly data: Uint8Array | Uint16Array
  /** RGB by index, where the samples are indexes. */
  readonly palette: readonly (readonly number[])[] | undefined
}

const signature = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a] as const

/** True if the bytes begin as a PNG does. */
export const isPng = (bytes: Uint8Array): boolean => signature.every((b, i) => bytes[i] === b)

/**
 * Decodes a PNG: grey, palette, RGB, with or without alpha, 1 to 16 bits, interlaced from 8 bits on, and turns it as its
 * EXIF orientation says, which is what Pillow's `ImageOps.exif_transpose` gives.
 * @throws DataError  if it is truncated, damaged, larger than the bounds of `pixels.ts`, or of a kind that is not read
 * @example readPng(await readFile('frame_L.png'), 'frame_L.png')
 */
export function readPng(bytes: Uint8Array, name: string): Png {
  const { header, file, packed, orientation } = checkedChunks(bytes, name)
  const { height, width, channels, depth } = header
  decoding('PNG', name, () => checkData(packed, header))
  const png = decoding('PNG', name, () => decode(file, { checkCrc: true }))
  const data = depth < 8 ? unpack(asBytes(png.data), height, width, depth) : asSamples(png.data)
  return { ...upright({ height, width, data }, channels, orientation), channels, depth, palette: png.palette }
}

interface Header {
  readonly height: number
  readonly width: number
  readonly channels: number
  readonly depth: number
  readonly interlaced: boolean
  readonly indexed: boolean
}

/** The header, the file reduced to what decoding needs, and its compressed data. */
function checkedChunks(bytes: Uint8Array, name: string) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let header: Header | undefined
  let orientation: Orientation = 1
  const kept: Uint8Array[] = [bytes.subarray(0, 8)]
  const packed: Uint8Array[] = []
  for (let at = 8; ; ) {
    const end = at + 12 <= bytes.length ? at + 12 + view.getUint32(at) : Infinity
    if (end > bytes.length) throw new DataError(`${name}: truncated PNG, ${bytes.length} bytes`)
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8))
    if ((header === undefined) !== (type === 'IHDR'))
      throw new DataError(`${name}: damaged PNG: the header IHDR must be there once, as the first chunk`)
    const keep = type === 'PLTE' ? header?.indexed : ['IHDR', 'IDAT', 'IEND'].includes(type)
    if (keep) kept.push(bytes.subarray(at, end))
    else if (type !== 'PLTE' && type < 'a')
      throw new DataError(`${name}: damaged PNG: unknown critical chunk ${JSON.stringify(type)}`)
    if (type === 'IHDR') header = readHeader(bytes.subarray(at + 8, end - 4), name)
    else if (type === 'PLTE' && end - at > 12 + 3 * 256)
      throw new DataError(`${name}: damaged PNG: a palette of more than 256 colours`)
    else if (type === 'eXIf') {
      if (crc32.buf(bytes.subarray(at + 4, end - 4)) >>> 0 !== view.getUint32(end - 4))
        throw new DataError(`${name}: damaged PNG: the checksum of its chunk eXIf is wrong`)
      orientation = tiffOrientation(bytes.subarray(at + 8, end - 4))
    } else if (type === 'IDAT') packed.push(bytes.subarray(at + 8, end - 4))
    else if (type === 'IEND' && header)
      return { header, file: Buffer.concat(kept), packed: Buffer.concat(packed), orientation }
    at = end
  }
}

/** Channels by colour type (11.2.1); 1 and 5 do not exist. */
const channelsOf: readonly (number | undefined)[] = [1, undefined, 3, 1, 2, undefined, 4]

function readHeader(chunk: Uint8Array, name: string): Header {
  if (chunk.length !== 13) throw new DataError(`${name}: damaged PNG: a header of ${chunk.length} bytes`)
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength)
  const [width, height] = [view.getUint32(0), view.getUint32(4)]
  const [depth, colour, , , interlace] = chunk.subarray(8)
  const channels = channelsOf[colour]
  checkSize(height, width, name)
  if (channels === undefined || ![1, 2, 4, 8, 16].includes(depth) || interlace > 1)
    throw new DataError(
      `${name}: damaged PNG: no such kind (colour type ${colour}, ${depth} bits, interlace ${interlace})`,
    )
  if (depth < 8 && channels !== 1)
    throw new DataError(`${name}: ${channels} channels of ${depth} bits; save the PNG with 8 bits a channel`)
  if (depth < 8 && interlace === 1)
    throw new DataError(`${name}: an interlaced PNG of ${depth} bits; save it without interlacing`)
  if (height * width * channels * depth > 8 * maxFileBytes)
    throw new DataError(
      `${name}: ${height} x ${width} pixels of ${channels} channels of ${depth} bits unpack to more than ` +
        `${maxFileBytes / 2 ** 20} MiB; save it with 8 bits, or shrink it`,
    )
  return { height, width, channels, depth, interlaced: interlace === 1, indexed: colour === 3 }
}

/** Inflates once with a limit: a small file may hold terabytes of zeros, and the decoder has no limit. */
function checkData(packed: Uint8Array, header: Header): void {
  const expected = dataBytes(header)
  let bytes: number
  try {
    bytes = inflateSync(packed, { maxOutputLength: expected }).length
  } catch (error) {
    if (error instanceof RangeError) throw new Error(`the data inflate to more than ${expected} bytes`)
    throw error
  }
  if (bytes !== expected) throw new Error(`the data inflate to ${bytes} bytes, the header needs ${expected}`)
}

/** First position and step of each pass of interlacing, [x, y, dx, dy] (8.1, Adam7). */
const adam7 = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const

/** Bytes of the inflated data: each row of each pass is whole bytes, after one byte that names its filter. */
function dataBytes({ height, width, channels, depth, interlaced }: Header): number {
  const passes = interlaced ? adam7 : ([[0, 0, 1, 1]] as const)
  return passes.reduce((sum, [x, y, dx, dy]) => {
    const columns = Math.ceil((width - x) / dx)
    const rows = Math.ceil((height - y) / dy)
    return columns > 0 && rows > 0 ? sum + rows * (1 + Math.ceil((columns * channels * depth) / 8)) : sum
  }, 0)
}

/** Rows of packed samples, the leftmost in the high bits, each row starting at a byte (7.2). */
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

type Data = ReturnType<typeof decode>['data']
const asBytes = (data: Data): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
const asSamples = (data: Data): Uint8Array | Uint16Array =>
  data instanceof Uint16Array ? data : asBytes(data)
