/**
 * The orientation of a photograph. In: the EXIF segment of a JPEG, or the eXIf chunk of a PNG; pixels as they are
 * stored. Out: pixels as they are to be seen. Pure.
 * @see CIPA DC-008 (EXIF 2.32), 4.5 and tag 0x0112; TIFF 6.0, section 2; PNG specification, third edition, 11.3.2.8
 */
/** How the stored image lies: 1 upright, 2 to 4 mirrored or upside down, 5 to 8 with rows and columns exchanged. */
export type Orientation = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8

/** Samples of pixels, row by row. */
interface Grid<T> {
  readonly height: number
  readonly width: number
  readonly data: T
}

const orientations: readonly Orientation[] = [1, 2, 3, 4, 5, 6, 7, 8]

/**
 * The orientation that an APP1 segment names. 1 where it is no EXIF, or has none, or one that does not exist:
 * it is advice about the picture, no part of it, and cameras write it wrong.
 * @param segment  the payload of the segment, after its length
 * @example exifOrientation(bytes.subarray(4, 4 + length - 2))
 */
export function exifOrientation(segment: Uint8Array): Orientation {
  const exif = [0x45, 0x78, 0x69, 0x66, 0, 0].every((b, i) => segment[i] === b)
  return exif ? tiffOrientation(segment.subarray(6)) : 1
}

/**
 * The orientation that EXIF data name, without the mark before them: the payload of a PNG's eXIf chunk. 1 as above.
 * @example tiffOrientation(chunk)
 */
export function tiffOrientation(data: Uint8Array): Orientation {
  if (data.length < 8) return 1
  const tiff = new DataView(data.buffer, data.byteOffset, data.byteLength)
  const little = tiff.getUint16(0) === 0x4949
  if (!little && tiff.getUint16(0) !== 0x4d4d) return 1
  const directory = tiff.getUint32(4, little)
  if (directory + 2 > tiff.byteLength) return 1
  const entries = tiff.getUint16(directory, little)
  for (let i = 0, at = directory + 2; i < entries && at + 12 <= tiff.byteLength; i++, at += 12)
    if (tiff.getUint16(at, little) === 0x0112)
      return orientations.find(o => o === tiff.getUint16(at + 8, little)) ?? 1
  return 1
}

/**
 * Turns stored pixels upright.
 * @param pixels  [h, w, channels], interleaved
 * @returns [h, w, channels], or [w, h, channels] for orientations 5 to 8
 * @example upright(decoded, 3, 6) // a camera held upright: the stored image turned clockwise
 */
export function upright<T extends Uint8Array | Uint16Array>(
  pixels: Grid<T>,
  channels: number,
  orientation: Orientation,
): Grid<T> {
  if (orientation === 1) return pixels
  const { height: h, width: w, data } = pixels
  const exchanged = orientation > 4
  const [height, width] = exchanged ? [w, h] : [h, w]
  const upsideDown = [3, 4, 6, 7].includes(orientation)
  const mirrored = [2, 3, 7, 8].includes(orientation)
  // as long as the stored pixels, and all of it is written
  const out = data.slice() as T
  for (let y = 0, i = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const [row, column] = exchanged ? [x, y] : [y, x]
      const from = channels * ((upsideDown ? h - 1 - row : row) * w + (mirrored ? w - 1 - column : column))
      for (let c = 0; c < channels; c++) out[i++] = data[from + c]
    }
  return { height, width, data: out }
}
