/**
 * Pixels, and the bounds that every image file must keep. In: sizes read from a file's header, before anything
 * is decoded. Out: nothing, or an error with the numbers. Below the codecs `png.ts` and `jpeg.ts`.
 */
import { DataError } from '../dsl/errors.ts'

/** `data` is interleaved, [height, width, channels]; 3 channels for RGB. */
export interface Pixels {
  readonly height: number
  readonly width: number
  readonly data: Uint8Array
}

/** One channel of class numbers, [height, width]; 16 bits where the file has them. */
export interface LabelPixels {
  readonly height: number
  readonly width: number
  readonly data: Uint8Array | Uint16Array
}

/** Larger images are refused before they are decoded: a JPEG of this size takes up to 2 GB to decode. */
export const maxPixels = 64e6
/** Larger files are refused before they are read: 64 megapixels, 4 bytes each, not compressed at all. */
export const maxFileBytes = 2 ** 28

/**
 * Refuses an image without pixels, or with more than `maxPixels`.
 * @throws DataError  that begins with the name
 * @example checkSize(20_000, 20_000, 'scan.png') // throws: more than 64 megapixels
 */
export function checkSize(height: number, width: number, name: string): void {
  if (height === 0 || width === 0) throw new DataError(`${name}: ${height} x ${width} pixels, an empty image`)
  if (height * width > maxPixels)
    throw new DataError(
      `${name}: ${height} x ${width} pixels, more than ${maxPixels / 1e6} megapixels; shrink it first`,
    )
}

/**
 * Runs a decoder and turns what it throws into a DataError that names the file.
 * @example decoding('PNG', 'a.png', () => decodePng(bytes))
 */
export function decoding<T>(format: string, name: string, decode: () => T): T {
  try {
    return decode()
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new DataError(`${name}: damaged ${format}: ${reason}`, { cause: error })
  }
}

/**
 * From [h, w, c] to [c, h, w].
 * @example planar(decodeImage(bytes, 'frame.jpg'), 3)
 */
export function planar({ height, width, data }: Pixels, channels: number): Uint8Array {
  const plane = height * width
  const out = new Uint8Array(channels * plane)
  for (let p = 0, i = 0; p < plane; p++) for (let c = 0; c < channels; c++) out[c * plane + p] = data[i++]
  return out
}
