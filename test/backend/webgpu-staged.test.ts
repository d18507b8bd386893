/**
 * Claims on contractions through workgroup memory. Software adapters never choose it, so schedules ask for it here, with
 * blocks that are small enough for their slow barriers. All data are small integers: sums are exact in f32 and in f16, so
 * the device must give the interpreter's numbers.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { referenceBackend } from '../../src/backend/cpu/reference-backend.ts'
import type { Stage } from '../../src/backend/kernel.ts'
import { planGraph } from '../../src/backend/pipeline.ts'
import { webgpuBackend } from '../../src/backend/webgpu/executor.ts'
import { storeHalf } from '../../src/backend/webgpu/half.ts'
import { profileOf } from '../../src/backend/webgpu/presets.ts'
import { renderWGSL } from '../../src/backend/webgpu/render.ts'
import { bytesOfStage } from '../../src/backend/webgpu/stage.ts'
import type { Graph } from '../../src/dsl/graph.ts'
import { spec, trace } from '../../src/dsl/trace.ts'
import type { Shape } from '../../src/index.ts'
import * as ct from '../../src/index.ts'
import {
  agree,
  convolutionOf,
  type F32,
  hold,
  itemOf,
  matrixProduct,
  productOf,
  productsOf,
  withEpilogueOf,
} from './webgpu-contractions.ts'
import { assertClose, both, device, plainSchedule, reduceKernel, skip } from './webgpu-support.ts'

/** Tiles are small: software drivers take seconds to compile 64 results with their edges. */
const stages: readonly Stage[] = [
  { block: [16, 16], tile: [4, 4], depth: 4, buffers: 1 },
  { block: [16, 16], tile: [4, 4], depth: 8, buffers: 2 },
  { block: [8, 32], tile: [4, 8], depth: 8, buffers: 1 },
  { block: [32, 8], tile: [8, 4], depth: 16, buffers: 2 },
]
const stage = fc.constantFrom(...stages)
test(
  'products in all four forms of transposition equal the interpreter at every edge of a block',
  {
    skip,
  },
  () => hold(productOf(stage), 6),
)

test(
  'strided, dilated, padded and grouped convolutions and both their gradients equal the interpreter',
  {
    skip,
  },
  () => hold(convolutionOf(stage), 1),
)

test('batches, biases and second results are those of the interpreter', { skip }, async () => {
  const [kernel] = productsOf(
    ((a: F32, b: F32, bias: F32) => {
      const y = ct.add(ct.matmul(a, b), bias)
      return [y, ct.relu(y as F32)]
    }) as never,
    [[20, 8], [8, 20], [20]],
  )
  assert.equal(kernel.stores.length, 2, 'one kernel has both results')
  await hold(withEpilogueOf(stage), 2)
})

const halfStage = stages[1]
const chain = (a: F32, b: F32, c: F32) => ct.matmul(ct.relu(ct.matmul(a, b) as F32), c)
const chainShapes: Shape[] = [
  [33, 20],
  [20, 36],
  [36, 17],
]
const halfPlan = (g: Graph) => storeHalf(planGraph(g, () => ({ ...plainSchedule, stage: halfStage })))

test('results held as f16 are rounded where they are stored, operands widened where they are copied', async t => {
  const { graph } = trace(
    chain as never,
    chainShapes.map(s => spec(s)),
  )
  const [first, second] = halfPlan(graph).steps.map(s => renderWGSL(s.kernel, s.schedule).text)
  assert.match(first, /b2: array<vec4<f16>>/)
  assert.match(second, /b0: array<vec4<f16>>/)
  assert.match(second, /var<workgroup> tr: array<vec4f,/)
  if (skip || !device().info.features.includes('shader-f16'))
    return t.diagnostic('no f16 here: the text was checked')
  const args = chainShapes.map((shape, n) => {
    const { data } = itemOf(productsOf(chain as never, chainShapes)[n % 2], halfStage, n)
    return ct.array(shape, 'f32', (data[0] as Float32Array).slice(0, shape[0] * shape[1]))
  })
  const [got, want] = await Promise.all(
    [webgpuBackend(device(), halfPlan, { poison: true }), referenceBackend()].map(async b => {
      const run = await ct.unwrap(ct.compile(chain, [spec([33, 20]), spec([20, 36]), spec([36, 17])], b))
      return run(args[0], args[1], args[2])
    }),
  )
  assertClose(got.data, want.data, 0, i => `element ${i}`)
})

test('operands that are computed from loads count for nothing beyond the last term', { skip }, () =>
  agree(stages.slice(0, 2).map((stage, n) => itemOf(matrixProduct(17, 20, 9 + n, true), stage, n))),
)

test('sums of thousands of terms are exact to the last bits, and the same bits again', { skip }, async () => {
  // by hand: of a graph's product with so few results the terms are cut in parts
  const kernel = matrixProduct(9, 8, 5000)
  const items = stages.slice(0, 2).map(stage => ({
    ...itemOf(kernel, stage, 0),
    data: kernel.buffers.map(b => Float32Array.from({ length: b.size }, (_, i) => 0.1 + (i % 7) * 0.01)),
  }))
  const first = await both(items)
  // runs of 256, whose roundings hardly cancel; one run of 5000 is off by 2e-5
  for (const i of items.keys()) assertClose(first.got[i], first.want[i], 2e-6, at => `stage ${i} at ${at}`)
  assert.deepEqual((await both(items)).got, first.got)
})

test('the stages of the presets compute what their edges need', { skip }, async () => {
  const { stages } = profileOf({ software: false, name: 'nvidia' })
  // 8 x 8 tiles take software drivers half a minute to compile
  const small = stages.filter(s => s.tile[0] * s.tile[1] === 16)
  assert.ok(small.length >= 2)
  const [kernel] = productsOf(ct.matmul as never, [
    [65, 36],
    [36, 68],
  ])
  await agree(small.map((stage, n) => itemOf(kernel, stage, n)))
})

const [square] = productsOf(ct.matmul as never, [
  [256, 256],
  [256, 256],
])

test('blocks are copied in vectors, once each, between two barriers or one', () => {
  const stage: Stage = { block: [64, 64], tile: [4, 4], depth: 16, buffers: 1 }
  const text = (buffers: 1 | 2) => renderWGSL(square, { ...plainSchedule, stage: { ...stage, buffers } }).text
  const count = (buffers: 1 | 2, part: RegExp) => [...text(buffers).matchAll(part)].length
  assert.match(text(1), /@workgroup_size\(256\)/)
  for (const b of [0, 1, 2]) assert.match(text(1), new RegExp(`b${b}: array<vec4<f32>>`))
  // rows: four vectors of terms, transposed; columns: one vector of columns
  assert.deepEqual([count(1, /= b0\[/g), count(1, /= b1\[/g)], [4, 1])
  assert.deepEqual([count(1, /workgroupBarrier/g), count(2, /workgroupBarrier/g)], [2, 1])
  assert.deepEqual([count(1, /array<vec4f, 256>/g), count(2, /array<vec4f, 512>/g)], [2, 2])
})

test('a stage without room in the device, of numbers that do not divide, or for no product, is as none', () => {
  const good: Stage = { block: [64, 64], tile: [4, 4], depth: 16, buffers: 2 }
  const plain = renderWGSL(square, plainSchedule).text
  const render = (stage: Stage) => renderWGSL(square, { ...plainSchedule, stage }).text
  assert.equal(bytesOfStage(good), 16384)
  assert.notEqual(render(good), plain)
  assert.equal(render({ ...good, depth: 32 }), plain, '32 KiB')
  assert.equal(render({ ...good, block: [96, 128], depth: 4 }), plain, '768 invocations')
  assert.equal(render({ ...good, tile: [4, 6] }), plain)
  assert.equal(render({ ...good, block: [64, 66] }), plain)
  const sum = reduceKernel('sum', 'f32', 64)
  assert.equal(renderWGSL(sum, { ...plainSchedule, stage: good }).text, renderWGSL(sum, plainSchedule).text)
})
