/** PNG files of any header and any chunks, with right checksums, for tests of what a reader refuses. */
import { deflateSync } from 'node:zlib'

export interface PngHeader {
  readonly height: number
  readonly width: number
  readonly depth: number
  /** 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha. */
  readonly colour: number
  readonly interlace?: number
}

/** A PNG whose data are the given scanlines (a filter byte before each row), with chunks between header and data. */
export const pngOf = (
  header: PngHeader,
  scanlines: Uint8Array,
  extra: readonly Uint8Array[] = [],
): Uint8Array => {
  const { height, width, depth, colour, interlace = 0 } = header
  return Buffer.concat([
    Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a),
    chunk('IHDR', Uint8Array.of(...u32(width), ...u32(height), depth, colour, 0, 0, interlace)),
    ...extra,
    chunk('IDAT', deflateSync(scanlines)),
    chunk('IEND', new Uint8Array(0)),
  ])
}

/** A chunk: length, type, payload, checksum. */
export const chunk = (type: string, payload: Uint8Array): Uint8Array => {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), payload])
  return Buffer.concat([Uint8Array.from(u32(payload.length)), body, Uint8Array.from(u32(crc32(body)))])
}

const u32 = (x: number): number[] => [x >>> 24, (x >>> 16) & 255, (x >>> 8) & 255, x & 255]

/** CRC-32, the remainder by the polynomial of PNG (annex D) and zip, bit by bit. */
export function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1
  }
  return ~crc >>> 0
}
