/**
 * A reader of TensorBoard event files that shares no code with the writer. In: a file, or a folder of them. Out: its events,
 * with all checksums checked; and what TensorBoard shows of a folder.
 * @see TensorFlow's record_writer.h (framing), event.proto and summary.proto (field numbers); protobuf.dev/programming-guides/encoding
 */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** A value of a summary. */
export interface Value {
  readonly tag: string
  readonly scalar?: number
  readonly image?: {
    readonly height: number
    readonly width: number
    readonly colours: number
    readonly png: Uint8Array
  }
}

/** A record. */
export interface Event {
  /** Seconds since 1970. */
  readonly time: number
  readonly step: number
  readonly version?: string
  /** SessionLog.SessionStatus: 1 is START. */
  readonly status?: number
  readonly values: readonly Value[]
}

/** CRC-32C bit by bit (RFC 3720, reflected polynomial 0x82f63b78): the oracle of the library's tables. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) {
    crc ^= byte
    for (let k = 0; k < 8; k++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
  }
  return ~crc >>> 0
}
const masked = (bytes: Uint8Array): number => {
  const crc = crc32c(bytes)
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0
}

/** The events of a file, in order; every checksum must hold, and the last record must end with the file. */
export function eventsOf(path: string): readonly Event[] {
  const bytes = new Uint8Array(readFileSync(path))
  const view = new DataView(bytes.buffer)
  const out: Event[] = []
  for (let at = 0; at < bytes.length; ) {
    const length = Number(view.getBigUint64(at, true))
    assert.equal(view.getUint32(at + 8, true), masked(bytes.subarray(at, at + 8)), 'checksum of the length')
    const data = bytes.subarray(at + 12, at + 12 + length)
    assert.equal(view.getUint32(at + 12 + length, true), masked(data), 'checksum of the data')
    at += length + 16
    out.push(eventIn(message(data)))
  }
  return out
}

/**
 * The scalars that TensorBoard shows of a folder, tag by tag, as [step, value]: files in the order of their names, and
 * the start of a session drops what earlier ones have from its step on.
 */
export function shownIn(folder: string): Readonly<Record<string, readonly (readonly [number, number])[]>> {
  const files = readdirSync(folder).filter(name => name.includes('tfevents'))
  const shown = new Map<string, (readonly [number, number])[]>()
  for (const { step, status, values } of files.sort().flatMap(name => eventsOf(join(folder, name)))) {
    if (status === 1)
      for (const [tag, list] of shown)
        shown.set(
          tag,
          list.filter(([at]) => at < step),
        )
    for (const { tag, scalar } of values)
      if (scalar !== undefined) shown.set(tag, [...(shown.get(tag) ?? []), [step, scalar]])
  }
  return Object.fromEntries(shown)
}

/** Fields of a message by number: varints as numbers, all else as bytes, in the order in which they stand. */
type Message = ReadonlyMap<number, readonly (number | Uint8Array)[]>

function message(bytes: Uint8Array): Message {
  const fields = new Map<number, (number | Uint8Array)[]>()
  let at = 0
  const varint = (): number => {
    // 64 bits, the lowest seven first; numbers hold them exactly up to 2^53
    for (let value = 0, scale = 1; ; scale *= 128) {
      assert(at < bytes.length, 'a number ends within the message')
      const byte = bytes[at++]
      value += (byte & 127) * scale
      if (byte < 128) return value
    }
  }
  const take = (n: number): Uint8Array => {
    at += n
    assert(at <= bytes.length, 'a field ends within the message')
    return bytes.subarray(at - n, at)
  }
  while (at < bytes.length) {
    const key = varint()
    const [field, wire] = [Math.floor(key / 8), key % 8]
    assert([0, 1, 2, 5].includes(wire), `wire type ${wire}`)
    const value = wire === 0 ? varint() : take(wire === 1 ? 8 : wire === 5 ? 4 : varint())
    fields.set(field, [...(fields.get(field) ?? []), value])
  }
  return fields
}

const whole = (m: Message, field: number): number | undefined => {
  const value = m.get(field)?.at(-1)
  assert(value === undefined || typeof value === 'number')
  return value
}
const bytesIn = (m: Message, field: number): Uint8Array | undefined => {
  const value = m.get(field)?.at(-1)
  assert(typeof value !== 'number')
  return value
}
const text = (bytes: Uint8Array): string => new TextDecoder('utf-8', { fatal: true }).decode(bytes)
const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length)

/** Event: 1 wall_time (double), 2 step, 3 file_version, 5 summary, 7 session_log. */
function eventIn(m: Message): Event {
  const [time, version, summary, session] = [1, 3, 5, 7].map(field => bytesIn(m, field))
  assert(time)
  const status = session && whole(message(session), 1)
  return {
    time: viewOf(time).getFloat64(0, true),
    step: whole(m, 2) ?? 0,
    ...(version ? { version: text(version) } : {}),
    ...(status === undefined ? {} : { status }),
    values: summary ? (message(summary).get(1) ?? []).map(valueIn) : [],
  }
}

/** Summary.Value: 1 tag, 2 simple_value (float), 4 image (1 height, 2 width, 3 colorspace, 4 encoded_image_string). */
function valueIn(bytes: number | Uint8Array): Value {
  assert(typeof bytes !== 'number')
  const m = message(bytes)
  const [tag, scalar, picture] = [1, 2, 4].map(field => bytesIn(m, field))
  const image = picture && message(picture)
  return {
    tag: text(tag ?? new Uint8Array()),
    ...(scalar ? { scalar: viewOf(scalar).getFloat32(0, true) } : {}),
    ...(image
      ? {
          image: {
            height: whole(image, 1) ?? 0,
            width: whole(image, 2) ?? 0,
            colours: whole(image, 3) ?? 0,
            png: bytesIn(image, 4) ?? new Uint8Array(),
          },
        }
      : {}),
  }
}
