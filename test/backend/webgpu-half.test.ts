/** Claims on intermediates held as f16: which, how exact, and what says no. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { Backend } from '../../src/backend/backend.ts'
import { planGraph } from '../../src/backend/pipeline.ts'
import type { Plan } from '../../src/backend/plan.ts'
import { storeHalf } from '../../src/backend/webgpu/half.ts'
import { spec, trace } from '../../src/dsl/trace.ts'
import type { Shape, Tensor } from '../../src/index.ts'
import * as ct from '../../src/index.ts'
import { openBackend } from '../../src/node.ts'
import { plainSchedule } from './webgpu-support.ts'

type F32 = Tensor<Shape, 'f32'>
const adapter = process.env.COTANGENT_TEST_ADAPTER
const on = adapter ? { adapter } : {}
const opened = await openBackend('webgpu', { ...on, poison: true, storage: 'f16' })()
const plain = await openBackend('webgpu', { ...on, poison: true })()
after(() => {
  for (const b of [opened, plain]) if (b._tag === 'Right') b.right.close()
})

/** The backend in f16; null where the adapter has none, which was said in words. */
function half(): Backend | null {
  if (opened._tag === 'Right') return opened.right
  assert.match(opened.left.message, /storage f16 needs the feature shader-f16, which .* has not/)
  return null
}
function single(): Backend {
  if (plain._tag === 'Left') throw plain.left
  return plain.right
}

const planOf = (f: (...xs: never[]) => unknown, ...shapes: Shape[]): Plan =>
  planGraph(
    trace(
      f,
      shapes.map(s => spec(s)),
    ).graph,
    () => plainSchedule,
  )
/** Elements of each intermediate, with how it is held, in the order in which they are written. */
const held = (plan: Plan): string[] =>
  plan.steps.flatMap(({ kernel, bindings }) =>
    kernel.buffers.flatMap((b, i) =>
      bindings[i].k === 'arena' && b.access !== 'read' ? [`${b.storage ?? b.dtype} ${b.size}`] : [],
    ),
  )

/** Two layers with a normalisation: contractions, statistics, small and large values. */
const network = (x: F32, v: F32, w: F32) => {
  const y = ct.relu(ct.matmul(x, v))
  const mean = ct.mean(y, { axes: [0], keepdims: true })
  return ct.matmul(ct.sub(y, mean), w)
}
const shapes: Shape[] = [
  [64, 100],
  [100, 96],
  [96, 10],
]

test('large values are held as f16; small ones and statistics stay f32', () => {
  const before = planOf(network as never, ...shapes)
  const after = storeHalf(before)
  assert.ok(held(before).every(h => h.startsWith('f32')))
  assert.ok(held(after).includes('f16 6144'), held(after).join())
  assert.ok(held(after).every(h => h.startsWith('f16') === Number(h.split(' ')[1]) > 1024))
  assert.ok(after.arenaBytes <= 0.6 * before.arenaBytes)
})

test('parts of a sum that was cut in two, and what reductions write, stay f32 whatever their size', () => {
  const cut = storeHalf(planOf(((x: F32) => ct.sum(x, { axes: [0] })) as never, [4096, 2048]))
  assert.ok(held(cut).length > 0 && held(cut).every(h => h.startsWith('f32')), held(cut).join())
  const rows = storeHalf(planOf(((x: F32) => ct.softmax(x, { axis: 1 })) as never, [3000, 40]))
  assert.ok(held(rows).includes('f32 3000'), held(rows).join())
  assert.ok(held(rows).every(h => h !== 'f16 3000'))
})

test('what an optimiser computes element by element stays f32: squares of gradients are too small for f16', () => {
  const adam = (x: F32, y: F32, w: F32, m: F32, v: F32) => {
    const g = ct.mul(ct.matmul(x, y), 2 ** -16)
    const finite = ct.less(ct.max(ct.abs(g)), 1e9)
    const [m2, v2] = [ct.add(ct.mul(m, 0.9), g), ct.add(ct.mul(v, 0.999), ct.square(g))]
    const moved = ct.sub(w, ct.div(m2, ct.add(ct.sqrt(v2), 1e-8)))
    return { w: ct.where(finite, moved, w), m: ct.where(finite, m2, m), v: ct.where(finite, v2, v) }
  }
  const side: Shape = [64, 64]
  const after = held(storeHalf(planOf(adam as never, side, side, side, side, side)))
  assert.ok(after.includes('f32 4096'), after.join())
  assert.ok(!after.includes('f16 4096'), after.join())
})

test('values that live at the same time do not overlap', () => {
  const plan = storeHalf(planOf(network as never, ...shapes))
  const lives = new Map<string, { from: number; to: number; first: number; last: number }>()
  for (const [step, { bindings }] of plan.steps.entries())
    for (const b of bindings)
      if (b.k === 'arena') {
        const key = `${b.offset} ${b.bytes}`
        const life = lives.get(key) ?? { from: b.offset, to: b.offset + b.bytes, first: step, last: step }
        lives.set(key, { ...life, last: step })
      }
  const all = [...lives.values()]
  for (const [i, a] of all.entries()) {
    assert.ok(a.to <= plan.arenaBytes)
    for (const b of all.slice(i + 1))
      assert.ok(a.last < b.first || b.last < a.first || a.to <= b.from || b.to <= a.from)
  }
})

const random = (shape: readonly number[], seed: number, scale: number) =>
  ct.array(
    shape,
    'f32',
    Float32Array.from(
      { length: shape.reduce((n, d) => n * d, 1) },
      (_, i) => scale * (((Math.imul(i + 1000 * seed + 1, 2654435761) >>> 8) % 2001) / 1000 - 1),
    ),
  )

test('results differ from those in f32 by the rounding of f16, and not more', async t => {
  const backend = half()
  if (backend === null) return t.diagnostic('no f16 here: the error was checked')
  const args = shapes.map((s, i) => random(s, i, 0.3))
  const [got, want] = await Promise.all(
    [backend, single()].map(async b => {
      const run = await ct.unwrap(ct.compile(network, [spec(shapes[0]), spec(shapes[1]), spec(shapes[2])], b))
      return run(args[0], args[1], args[2])
    }),
  )
  const largest = Math.max(...Array.from(want.data, Math.abs))
  const errors = Array.from(want.data, (w, i) => Math.abs(w - got.data[i]))
  assert.ok(
    errors.some(e => e > 0),
    'f16 was used',
  )
  // 96 terms of y, each within 2^-11 of itself
  assert.ok(Math.max(...errors) <= 2 ** -11 * largest * Math.sqrt(96), `${Math.max(...errors)} of ${largest}`)
})

test('sums of values in f16 are made in f32', async t => {
  const backend = half()
  if (backend === null) return t.diagnostic('no f16 here: the error was checked')
  // 8192 ones in a row: f16 stops counting at 2048. A result of its own, so that the ones are an intermediate.
  const f = (x: F32) => {
    const ones = ct.matmul(x, ct.full([2, 8192], 0.5))
    return { sum: ct.sum(ones, { axes: [1] }), dot: ct.matmul(ones, ct.transpose(ones)) }
  }
  const run = await ct.unwrap(ct.compile(f, [spec([4, 2])], backend))
  const { sum, dot } = await run(ct.array([4, 2], 'f32', new Float32Array(8).fill(1)))
  assert.deepEqual([...sum.data], Array(4).fill(8192))
  assert.deepEqual([...dot.data], Array(16).fill(8192))
})

test('a network learns in f16 as in f32', async t => {
  const backend = half()
  if (backend === null) return t.diagnostic('no f16 here: the error was checked')
  const x = random([40, 30], 1, 1)
  const y = random([40, 10], 2, 0.5)
  const step = (p: { readonly v: F32; readonly w: F32 }, a: F32, b: F32) => {
    const [value, gradient] = ct.valueAndGrad((q: { readonly v: F32; readonly w: F32 }) =>
      ct.mean(ct.square(ct.sub(network(a, q.v, q.w), b))),
    )(p)
    const next = { v: ct.sub(p.v, ct.mul(gradient.v, 2)), w: ct.sub(p.w, ct.mul(gradient.w, 2)) }
    return { value, next }
  }
  const losses = async (b: Backend) => {
    let params: { v: ct.NDArray; w: ct.NDArray } = {
      v: random([30, 32], 3, 0.3),
      w: random([32, 10], 4, 0.3),
    }
    const p = { v: spec([30, 32]), w: spec([32, 10]) }
    const run = await ct.unwrap(ct.compile(step, [p, spec([40, 30]), spec([40, 10])], b))
    const seen: number[] = []
    for (let i = 0; i < 30; i++) {
      const { value, next } = await run(params, x, y)
      seen.push(value.data[0])
      params = next
    }
    return seen
  }
  const [short, long] = [await losses(backend), await losses(single())]
  assert.ok(long[29] < 0.5 * long[0], `${long[0]} to ${long[29]}`)
  for (const i of long.keys()) assert.ok(Math.abs(short[i] - long[i]) <= 0.01 * long[i], `step ${i}`)
})

test('backends without f16 say so', async () => {
  for (const name of ['cpu', 'reference'] as const) {
    const result = await openBackend(name, { storage: 'f16' })()
    assert.ok(result._tag === 'Left')
    assert.match(result.left.message, /storage f16 is for WebGPU adapters with shader-f16/)
  }
})
