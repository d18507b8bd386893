/**
 * TensorBoard event files. In: scalars and pictures by tag and step. Out: `events.out.tfevents.*` in a folder, appended
 * to as training goes on. A file is a sequence of records, each a protocol-buffer `Event`:
 *   u64 length | u32 masked CRC-32C of the length | data | u32 masked CRC-32C of the data     (little-endian)
 * A crash leaves at most a torn record at the end, where readers stop; each session writes a file of its own.
 * @see TensorFlow's record_writer.h (framing), event.proto and summary.proto (field numbers)
 */
import { appendFileSync, existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import crc32c from 'crc-32/crc32c.js'
import { PbfWriter } from 'pbf'
import { onDisk } from '../data/atomic.ts'

/** A picture as a PNG file. */
export interface Picture {
  readonly height: number
  readonly width: number
  readonly png: Uint8Array
}

/** An open event file. */
export interface EventFile {
  readonly path: string
  /** Appends scalars of one step, such as `{ 'train/loss': 0.5 }`; a null (a value that was not finite) is left out. */
  scalars(step: number, values: Readonly<Record<string, number | null>>): void
  /** Appends pictures of one step. */
  images(step: number, pictures: Readonly<Record<string, Picture>>): void
}

/**
 * Starts an event file in a folder.
 * @param options.step  the first that this session measures: TensorBoard then drops what earlier files have from there on
 * @param options.now   seconds since 1970
 * @throws DataError if it cannot be written, such as on a full disk
 * @example const events = openEvents('runs/camvid'); events.scalars(10, { 'train/loss': 1.5 })
 */
export function openEvents(
  folder: string,
  { step = 0, now = () => Date.now() / 1000 }: { readonly step?: number; readonly now?: () => number } = {},
): EventFile {
  onDisk(`cannot make ${folder}`, () => mkdirSync(folder, { recursive: true }))
  const path = freePath(folder, Math.floor(now()))
  const append = (at: number, fill: (pbf: PbfWriter) => void): void =>
    onDisk(`cannot write ${path}`, () => appendFileSync(path, record(event(now(), at, fill))))
  append(0, pbf => pbf.writeStringField(3, 'brain.Event:2'))
  // SessionLog.START: purges steps from here on that an earlier session wrote
  if (step > 0) append(step, pbf => pbf.writeMessage(7, (_, log) => log.writeVarintField(1, 1), null))
  return {
    path,
    scalars(at, values) {
      const known = Object.entries(values).filter((v): v is [string, number] => v[1] !== null)
      if (known.length > 0) append(at, pbf => pbf.writeMessage(5, scalarSummary, known))
    },
    images(at, pictures) {
      const all = Object.entries(pictures)
      if (all.length > 0) append(at, pbf => pbf.writeMessage(5, imageSummary, all))
    },
  }
}

/** TensorBoard reads every file whose name has `tfevents` in it, in the order of their names. */
function freePath(folder: string, seconds: number): string {
  for (let n = seconds; ; n++) {
    const path = join(folder, `events.out.tfevents.${n}.cotangent`)
    if (!existsSync(path)) return path
  }
}

function event(time: number, step: number, fill: (pbf: PbfWriter) => void): Uint8Array {
  const pbf = new PbfWriter()
  pbf.writeDoubleField(1, time)
  pbf.writeVarintField(2, step)
  fill(pbf)
  return pbf.finish()
}

function scalarSummary(values: readonly (readonly [string, number])[], pbf: PbfWriter): void {
  for (const [tag, value] of values)
    pbf.writeMessage(
      1,
      (_, entry) => {
        entry.writeStringField(1, tag)
        entry.writeFloatField(2, value)
      },
      null,
    )
}

function imageSummary(pictures: readonly (readonly [string, Picture])[], pbf: PbfWriter): void {
  for (const [tag, { height, width, png }] of pictures)
    pbf.writeMessage(
      1,
      (_, entry) => {
        entry.writeStringField(1, tag)
        entry.writeMessage(4, writeImage, { height, width, png })
      },
      null,
    )
}

function writeImage({ height, width, png }: Picture, pbf: PbfWriter): void {
  pbf.writeVarintField(1, height)
  pbf.writeVarintField(2, width)
  // 3: RGB
  pbf.writeVarintField(3, 3)
  pbf.writeBytesField(4, png)
}

/** A record with its two checksums. */
function record(data: Uint8Array): Uint8Array {
  const out = new Uint8Array(data.length + 16)
  const view = new DataView(out.buffer)
  view.setBigUint64(0, BigInt(data.length), true)
  view.setUint32(8, masked(out.subarray(0, 8)), true)
  out.set(data, 12)
  view.setUint32(12 + data.length, masked(data), true)
  return out
}

/** Rotated and shifted, because a checksum of data that holds checksums is weak (crc32c.h: kMaskDelta). */
function masked(bytes: Uint8Array): number {
  const crc = crc32c.buf(bytes) >>> 0
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0
}
