/** Claims on TensorBoard event files, read back by the formats' own definitions. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { decode } from 'fast-png'
import { openEvents } from '../../src/cli/events.ts'
import { encodePng } from '../../src/data/image.ts'
import { crc32c, eventsOf, shownIn } from './event-reader.ts'

const root = mkdtempSync(join(tmpdir(), 'events-'))
after(() => rmSync(root, { recursive: true }))
let made = 0
const fresh = (): string => join(root, String(made++))

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

test('of a session that goes on, TensorBoard shows what the first has before that step, and then its own', () => {
  const folder = fresh()
  const now = (): number => 100
  const first = openEvents(folder, { now })
  for (const step of [10, 20, 30]) first.scalars(step, { loss: step })
  const second = openEvents(folder, { now, step: 21 })
  for (const step of [30, 40]) second.scalars(step, { loss: -step })
  assert.deepEqual(shownIn(folder), {
    loss: [
      [10, 10],
      [20, 20],
      [30, -30],
      [40, -40],
    ],
  })
})
