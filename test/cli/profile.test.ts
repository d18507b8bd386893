/** The profile's table and trace, on times that are given. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as ix from '../../src/backend/affine.ts'
import type { Kernel } from '../../src/backend/kernel.ts'
import { workOf } from '../../src/backend/work.ts'
import { makeProfiler } from '../../src/cli/profile.ts'

/** y[i] = sum over k of x[i, k] x[i, k] */
const squares = (m: number, n: number): Kernel => ({
  name: 'squares',
  axes: [
    { extent: m, kind: 'parallel' },
    { extent: n, kind: 'reduce' },
  ],
  buffers: [
    { dtype: 'f32', size: m * n, access: 'read' },
    { dtype: 'f32', size: m, access: 'write' },
  ],
  body: [
    { k: 'load', buffer: 0, index: ix.addScaled(ix.axis(1, n), ix.axis(0, m), n), guard: [], dtype: 'f32' },
    { k: 'scalar', fn: 'mul', args: [0, 0], dtype: 'f32' },
  ],
  accumulators: [{ how: 'sum', value: 1, dtype: 'f32' }],
  epilogue: [{ k: 'acc', accumulator: 0, dtype: 'f32' }],
  stores: [{ buffer: 1, index: ix.axis(0, m), value: 2, mode: 'set', guard: [] }],
})

test('a sum of products counts two operations a term, and each buffer once', () => {
  assert.deepEqual(workOf(squares(10, 1000)), { flops: 20_000, bytes: 40_040 })
})

test('the table has rates and shares, the dearest kernel first, and leaves the first run out', () => {
  const [small, large] = [squares(10, 1000), squares(10, 100_000)]
  const run = (scale: number) =>
    [small, large].map((kernel, i) => ({
      kernel,
      scope: 'net',
      start: 100 * i,
      time: scale * [250, 750][i],
      ...workOf(kernel),
    }))
  const profiler = makeProfiler()
  for (const scale of [1000, 1, 1]) profiler.record(run(scale))
  const lines = profiler.table().split('\n')
  assert.match(lines[2], /^net \/ squares +10 x 100000\+ +2 +1\.50 +2\.67 +5\.33 +75$/)
  assert.match(lines[3], /10 x 1000\+ +2 +0\.50 +0\.08 +0\.16 +25$/)
  assert.match(lines[4], /^all 2 kernels +4 +2\.00/)
})

test('a trace has an event for each dispatch, and its runs do not overlap', () => {
  const kernel = squares(2, 2)
  const profiler = makeProfiler()
  for (let i = 0; i < 3; i++) profiler.record([{ kernel, scope: '', start: 5, time: 10, ...workOf(kernel) }])
  const { traceEvents } = profiler.trace()
  assert.deepEqual(
    traceEvents.map(e => [e.ph, e.dur, e.args.axes]),
    Array.from({ length: 3 }, () => ['X', 10, '2 x 2+']),
  )
  for (const [i, e] of traceEvents.slice(1).entries())
    assert.ok(e.ts >= traceEvents[i].ts + traceEvents[i].dur)
})
