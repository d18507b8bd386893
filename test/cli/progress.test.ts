import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import { duration, progress } from '../../src/cli/progress.ts'

const capture = (isTTY: boolean) => {
  const stream = Object.assign(new PassThrough(), { isTTY, columns: 120 })
  return { stream, text: () => String(stream.read() ?? '') }
}

test('without a terminal a plain line appears every tenth, with the time left', () => {
  const { stream, text } = capture(false)
  let time = 0
  const bar = progress(200, 'teacher', { stream, now: () => time })
  for (let step = 1; step <= 200; step++) {
    bar.update(step, { loss: 1.25, imagesPerSecond: 16 })
    time += 1000
  }
  bar.stop()
  const lines = text().trimEnd().split('\n')
  assert.equal(lines.length, 10)
  assert.equal(lines[0], 'teacher  20/200 (10 %)  loss 1.250  16.0 images/s  3 min 00 s left')
  assert.match(lines[9], /^teacher {2}200\/200 \(100 %\).* 0 s left$/)
})

test('a resumed phase is timed from where it began and prints only what it does', () => {
  const { stream, text } = capture(false)
  let time = 0
  const bar = progress(100, 'student', { stream, now: () => time })
  bar.update(75)
  time = 5000
  bar.update(80)
  assert.equal(text(), 'student  80/100 (80 %)  20 s left\n')
})

test('on a terminal a bar shows phase, step, loss and speed, and stop ends the line', () => {
  const { stream, text } = capture(true)
  const bar = progress(10, 'teacher', { stream })
  bar.update(10, { loss: 0.5, imagesPerSecond: 8 })
  bar.stop()
  const shown = text()
  assert.match(shown, /teacher .*█+.*10\/10 {2}loss 0\.5000 {2}8\.00 images\/s/)
  assert(shown.endsWith('\n'))
})

test('durations show two units', () => {
  assert.deepEqual([0, 59_400, 200_000, 3_725_000].map(duration), ['0 s', '59 s', '3 min 20 s', '1 h 02 min'])
})
