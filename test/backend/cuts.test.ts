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

const [{ kernel, schedule: chosen }] = planGraph(
  trace(matmul, [spec([40, 70], 'f32'), spec([70, 50], 'f32')]).graph,
  k => chooseSchedule(k),
).steps

/** i32.eq and a jump out of the loop. */
const cutsIn = (s: Schedule): number => {
  const { code } = renderKernel(kernel, s, 'k').fn
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
})

test('cuts and unrolled steps leave the bits of a sum', () => {
  const draw = seeded(5)
  const data = kernel.buffers.map(b => Float32Array.from({ length: b.size }, () => draw(-1000, 1000) / 997))
  const result = (s: Schedule) => runWasm(kernel, s, data)[kernel.stores[0].buffer]
  const expected = result({ vector: null, tiles: [] })
  for (const s of [chosen, tiled(4, 2, 1), tiled(3, 3, 1), tiled(4, 2, 4), tiled(2, 4, 4), tiled(3, 3, 2)])
    assert.deepEqual(result(s), expected, JSON.stringify(s))
})
