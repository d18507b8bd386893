/**
 * The orientation of a photograph. In: the EXIF segment of a JPEG; pixels as they are stored. Out: pixels as they
 * are to be seen. Pure.
 * @see CIPA DC-008 (EXIF 2.32), 4.5 and tag 0x0112; TIFF 6.0, section 2
 */
import type { Pixels } from './pixels.ts'

/** How the stored image lies: 1 upright, 2 to 4 mirrored or upside down, 5 to 8 with rows and columns exchanged. */
export type Orientation = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8

const orientations: readonly Orientation[] = [1, 2, 3, 4, 5, 6, 7, 8]

/**
 * The orientation that an APP1 segment names. 1 where it is no EXIF, or has none, or one that does not exist:
 * it is advice about the picture, no part of it, and cameras write it wrong.
 * @param segment  the payload of the segment, after its length
 * @example exifOrientation(bytes.subarray(4, 4 + length - 2))
 */
export function exifOrientation(segment: Uint8Array): Orientation {
  const exif = [0x45, 0x78, 0x69, 0x66, 0, 0].every((b, i) => segment[i] === b)
  if (!exif || segment.length < 14) return 1
  const tiff = new DataView(segment.buffer, segment.byteOffset + 6, segment.byteLength - 6)
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
 * @param pixels  RGB, [h, w, 3]
 * @returns [h, w, 3], or [w, h, 3] for orientations 5 to 8
 * @example upright(decoded, 6) // a camera held upright: the stored image turned clockwise
 */
export function upright(pixels: Pixels, orientation: Orientation): Pixels {
  if (orientation === 1) return pixels
  const { height: h, width: w, data } = pixels
  const exchanged = orientation > 4
  const [height, width] = exchanged ? [w, h] : [h, w]
  const upsideDown = [3, 4, 6, 7].includes(orientation)
  const mirrored = [2, 3, 7, 8].includes(orientation)
  const out = new Uint8Array(data.length)
  for (let y = 0, i = 0; y < height; y++)
    for (let x = 0; x < width; x++, i += 3) {
      const [row, column] = exchanged ? [x, y] : [y, x]
      const from = 3 * ((upsideDown ? h - 1 - row : row) * w + (mirrored ? w - 1 - column : column))
      out[i] = data[from]
      out[i + 1] = data[from + 1]
      out[i + 2] = data[from + 2]
    }
  return { height, width, data: out }
}
