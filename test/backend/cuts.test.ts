import assert from 'node:assert/strict'
import test from 'node:test'
import { renderKernel } from '../../src/backend/cpu/render.ts'
import { chooseSchedule } from '../../src/backend/cpu/schedule.ts'
import type { Schedule } from '../../src/backend/kernel.ts'
import { planGraph } from '../../src/backend/pipeline.ts'
import { trace } from '../../src/dsl/trace.ts'
import { matmul, spec } from '../../src/index.ts'
import { seeded } from './random-kernel.ts'
import { runWasm } from './run-kernel.ts'

/** A product of matrices over so many terms, and its schedule. */
const product = (terms: number) =>
  planGraph(trace(matmul, [spec([40, terms], 'f32'), spec([terms, 64], 'f32')]).graph, k => chooseSchedule(k))
    .steps[0]
const { kernel, schedule: chosen } = product(70)

/** i32.eq and a jump out of the loop. */
const cutsIn = (s: Schedule, k = kernel): number => {
  const { code } = renderKernel(k, s, 'k').fn
  return code.filter((b, i) => b === 0x46 && code[i + 1] === 0x0d && code[i + 2] === 1).length
}
const tiled = (rows: number, vectors: number, steps: number): Schedule => ({
  vector: 1,
  tiles: [
    { axis: 0, size: rows },
    { axis: 1, size: vectors },
    { axis: 2, size: steps },
  ],
})

test('a body is cut where what it loads exceeds the registers, and only there', () => {
  assert.equal(cutsIn(tiled(4, 2, 1)), 0)
  assert.equal(cutsIn(tiled(3, 3, 1)), 1)
  // 6 loads a step, and room for 6
  assert.equal(cutsIn(tiled(4, 2, 4)), 3)
  assert.ok(cutsIn(chosen) > 0, JSON.stringify(chosen))
  // few terms: a loop remains, for without one there are no cuts
  for (const terms of [4, 6, 8, 12, 15]) {
    const { kernel: k, schedule: s } = product(terms)
    const steps = s.tiles.find(t => k.axes[t.axis].kind === 'reduce')?.size ?? 1
    assert.ok(2 * steps <= terms, JSON.stringify(s))
    assert.equal(cutsIn(s, k) > 0, steps > 1, JSON.stringify(s))
  }
})

test('cuts and unrolled steps leave the bits of a sum', () => {
  const draw = seeded(5)
  const data = kernel.buffers.map(b => Float32Array.from({ length: b.size }, () => draw(-1000, 1000) / 997))
  const result = (s: Schedule) => runWasm(kernel, s, data)[kernel.stores[0].buffer]
  const expected = result({ vector: null, tiles: [] })
  for (const s of [chosen, tiled(4, 2, 1), tiled(3, 3, 1), tiled(4, 2, 4), tiled(2, 4, 4), tiled(3, 3, 2)])
    assert.deepEqual(result(s), expected, JSON.stringify(s))
})
