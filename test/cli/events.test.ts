/** Claims on TensorBoard event files, read back by the formats' own definitions. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { decode } from 'fast-png'
import { PbfReader } from 'pbf'
import { openEvents } from '../../src/cli/events.ts'
import { encodePng } from '../../src/data/image.ts'

const root = mkdtempSync(join(tmpdir(), 'events-'))
after(() => rmSync(root, { recursive: true }))
let made = 0
const fresh = (): string => join(root, String(made++))

/** CRC-32C bit by bit (RFC 3720, reflected polynomial 0x82f63b78): the oracle of the library's tables. */
function crc32c(bytes: Uint8Array): number {
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

interface Value {
  tag: string
  scalar?: number
  image?: { height: number; width: number; colours: number; png: Uint8Array }
}
interface Read {
  time: number
  step: number
  version?: string
  status?: number
  values: Value[]
}

/** The records of a file, their checksums checked. */
function eventsOf(path: string): Read[] {
  const bytes = new Uint8Array(readFileSync(path))
  const view = new DataView(bytes.buffer)
  const out: Read[] = []
  for (let at = 0; at < bytes.length; ) {
    const length = Number(view.getBigUint64(at, true))
    assert.equal(view.getUint32(at + 8, true), masked(bytes.subarray(at, at + 8)), 'checksum of the length')
    const data = bytes.subarray(at + 12, at + 12 + length)
    assert.equal(view.getUint32(at + 12 + length, true), masked(data), 'checksum of the data')
    at += length + 16
    out.push(new PbfReader(data).readFields(readEvent, { time: 0, step: 0, values: [] }))
  }
  return out
}

const readEvent = (tag: number, event: Read, pbf: PbfReader): void => {
  if (tag === 1) event.time = pbf.readDouble()
  else if (tag === 2) event.step = pbf.readVarint()
  else if (tag === 3) event.version = pbf.readString()
  else if (tag === 5) pbf.readMessage(readSummary, event)
  else if (tag === 7) pbf.readMessage(readSession, event)
}
const readSession = (tag: number, event: Read, pbf: PbfReader): void => {
  if (tag === 1) event.status = pbf.readVarint()
}
const readSummary = (tag: number, event: Read, pbf: PbfReader): void => {
  if (tag === 1) event.values.push(pbf.readMessage(readValue, { tag: '' }))
}
const readValue = (tag: number, value: Value, pbf: PbfReader): void => {
  if (tag === 1) value.tag = pbf.readString()
  else if (tag === 2) value.scalar = pbf.readFloat()
  else if (tag === 4) {
    value.image = { height: 0, width: 0, colours: 0, png: new Uint8Array() }
    pbf.readMessage((t, image, p) => {
      if (t === 1) image.height = p.readVarint()
      else if (t === 2) image.width = p.readVarint()
      else if (t === 3) image.colours = p.readVarint()
      else if (t === 4) image.png = p.readBytes()
    }, value.image)
  }
}

test('the oracle of the checksums gives the published check value', () => {
  assert.equal(crc32c(Buffer.from('123456789')), 0xe3069283)
})

test('scalars are read back: step, time, tag and the nearest f32; what is not finite is left out', () => {
  const entry = fc.record({
    step: fc.integer({ min: 0, max: 2 ** 40 }),
    tag: fc.string({ minLength: 1, maxLength: 20 }).filter(t => t !== '__proto__'),
    value: fc.option(fc.double({ noNaN: true, min: -1e30, max: 1e30 })),
  })
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 20 }), entries => {
      const events = openEvents(fresh(), { now: () => 1234.5 })
      for (const { step, tag, value } of entries) events.scalars(step, { [tag]: value })
      const [first, ...rest] = eventsOf(events.path)
      assert.deepEqual(first, { time: 1234.5, step: 0, version: 'brain.Event:2', values: [] })
      const want = entries.flatMap(({ step, tag, value }) =>
        value === null ? [] : [{ time: 1234.5, step, values: [{ tag, scalar: Math.fround(value) }] }],
      )
      assert.deepEqual(rest, want)
    }),
    { numRuns: 30 },
  )
})

test('several scalars of a step are one event', () => {
  const events = openEvents(fresh())
  events.scalars(3, { 'train/loss': 0.5, 'train/learningRate': null, 'val/miou': 0.25 })
  assert.deepEqual(eventsOf(events.path)[1].values, [
    { tag: 'train/loss', scalar: 0.5 },
    { tag: 'val/miou', scalar: 0.25 },
  ])
})

test('pictures are read back as RGB files of their size', () => {
  const events = openEvents(fresh())
  const rgb = Uint8Array.from({ length: 18 }, (_, i) => 13 * i)
  events.images(7, { 'val/a': { height: 2, width: 3, png: encodePng(rgb, 2, 3) } })
  const [, { step, values }] = eventsOf(events.path)
  const [{ tag, image }] = values
  assert.deepEqual([step, tag, image?.height, image?.width, image?.colours], [7, 'val/a', 2, 3, 3])
  assert.deepEqual(decode(image?.png ?? new Uint8Array()).data, rgb)
})

test('a session that goes on says from where, in a file of its own that sorts behind the first', () => {
  const folder = fresh()
  const now = (): number => 100
  const [a, b] = [openEvents(folder, { now }), openEvents(folder, { now, step: 40 })]
  assert(basename(a.path) < basename(b.path))
  assert.match(basename(b.path), /tfevents/)
  const [version, start] = eventsOf(b.path)
  assert.equal(version.version, 'brain.Event:2')
  // SessionLog.SessionStatus: START is 1
  assert.deepEqual([start.step, start.status], [40, 1])
})
