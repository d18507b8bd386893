/**
 * Claims on contractions through workgroup memory. Software adapters never choose it, so schedules ask for it here, with
 * blocks that are small enough for their slow barriers. All data are small integers: sums are exact in f32 and in f16, so
 * the device must give the interpreter's numbers.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import * as ix from '../../src/backend/affine.ts'
import { referenceBackend } from '../../src/backend/cpu/reference-backend.ts'
import type { Instr, Kernel, Schedule, Stage } from '../../src/backend/kernel.ts'
import { planGraph } from '../../src/backend/pipeline.ts'
import { contractionOf } from '../../src/backend/webgpu/contraction.ts'
import { webgpuBackend } from '../../src/backend/webgpu/executor.ts'
import { storeHalf } from '../../src/backend/webgpu/half.ts'
import { profileOf } from '../../src/backend/webgpu/presets.ts'
import { renderWGSL } from '../../src/backend/webgpu/render.ts'
import { bytesOfStage, stagingOf } from '../../src/backend/webgpu/staged.ts'
import { makeData, type TypedArray } from '../../src/dsl/dtype.ts'
import type { Graph } from '../../src/dsl/graph.ts'
import { spec, trace } from '../../src/dsl/trace.ts'
import type { Shape, Tensor } from '../../src/index.ts'
import * as ct from '../../src/index.ts'
import { assertClose, both, device, plainSchedule, reduceKernel, skip } from './webgpu-support.ts'

type F32 = Tensor<Shape, 'f32'>
type Image = Tensor<readonly [number, number, number, number], 'f32'>
/** The kernels of a function that are products of matrices. */
function productsOf(f: (...xs: never[]) => unknown, shapes: readonly Shape[]): Kernel[] {
  const { graph } = trace(
    f,
    shapes.map(s => spec(s)),
  )
  const kernels = planGraph(graph, () => plainSchedule).steps.map(s => s.kernel)
  return kernels.filter(k => contractionOf(k) !== null)
}

/** Tiles are small: software drivers take seconds to compile 64 results with their edges. */
const stages: readonly Stage[] = [
  { block: [16, 16], tile: [4, 4], depth: 4, buffers: 1 },
  { block: [16, 16], tile: [4, 4], depth: 8, buffers: 2 },
  { block: [8, 32], tile: [4, 8], depth: 8, buffers: 1 },
  { block: [32, 8], tile: [8, 4], depth: 16, buffers: 2 },
]
const stage = fc.constantFrom(...stages)
/** Around the edges of blocks. */
const extent = fc.constantFrom(3, 8, 15, 16, 17, 20, 31, 32, 33)
const summed = fc.constantFrom(2, 4, 7, 8, 9, 16, 20, 33)
const seed = fc.nat(1000)

interface Item {
  readonly kernel: Kernel
  readonly schedule: Schedule
  readonly data: readonly TypedArray[]
}
const itemOf = (kernel: Kernel, stage: Stage, seed: number): Item => ({
  kernel,
  schedule: { ...plainSchedule, stage },
  data: kernel.buffers.map(({ dtype, size }, b) => {
    const made = makeData(dtype, size)
    for (let i = 0; i < size; i++) made[i] = ((Math.imul(i + 31 * b + seed + 1, 2654435761) >>> 15) % 9) - 4
    return made
  }),
})
const run = async (items: readonly Item[]) => {
  const { got, want } = await both(items)
  for (const [n, { kernel, schedule }] of items.entries())
    assertClose(got[n], want[n], 0, i => `${kernel.name} ${JSON.stringify(schedule.stage)} at ${i}`)
}
/** Checks the kernels of several cases, in one program, with a stage on every one. */
const holds = (cases: fc.Arbitrary<readonly Item[]>, size: number) =>
  fc.assert(
    fc.asyncProperty(fc.array(cases, { minLength: size, maxLength: size }), async all => {
      for (const { kernel, schedule } of all.flat())
        assert.ok(stagingOf(kernel, schedule, 16384), `${kernel.name} is not staged`)
      await run(all.flat())
    }),
    { numRuns: Number(process.env.COTANGENT_FUZZ ?? 2), includeErrorInReport: true },
  )

const forms = {
  NN: (m: number, n: number, k: number) => ({ f: (a: F32, b: F32) => ct.matmul(a, b), a: [m, k], b: [k, n] }),
  NT: (m: number, n: number, k: number) => ({
    f: (a: F32, b: F32) => ct.matmul(a, ct.transpose(b)),
    a: [m, k],
    b: [n, k],
  }),
  TN: (m: number, n: number, k: number) => ({
    f: (a: F32, b: F32) => ct.matmul(ct.transpose(a), b),
    a: [k, m],
    b: [k, n],
  }),
  TT: (m: number, n: number, k: number) => ({
    f: (a: F32, b: F32) => ct.matmul(ct.transpose(a), ct.transpose(b)),
    a: [k, m],
    b: [n, k],
  }),
}
const product = fc
  .record({ form: fc.constantFrom('NN', 'NT', 'TN', 'TT'), m: extent, n: extent, k: summed, stage, seed })
  .map(({ form, m, n, k, stage, seed }) => {
    const { f, a, b } = forms[form](m, n, k)
    return productsOf(f as never, [a, b]).map(kernel => itemOf(kernel, stage, seed))
  })

test(
  'products in all four forms of transposition equal the interpreter at every edge of a block',
  {
    skip,
  },
  () => holds(product, 6),
)

const convolution = fc
  .record({
    groups: fc.constantFrom(1, 1, 2),
    options: fc.constantFrom(
      { padding: 1 },
      { padding: 1, stride: 2 },
      { padding: 2, dilation: 2 },
      { stride: 2, dilation: 2, padding: 1 },
      {},
    ),
    batch: fc.constantFrom(1, 2),
    channels: fc.constantFrom(2, 3),
    filters: fc.constantFrom(2, 5, 8),
    height: fc.constantFrom(5, 6),
    width: fc.constantFrom(5, 8),
    taps: fc.constantFrom(1, 3),
    stage,
    seed,
  })
  .map(({ groups, options, batch, channels, filters, height, width, taps, stage, seed }) => {
    const conv = (x: Image, w: Image) => ct.conv2d(x, w, { ...options, groups })
    const both = (x: Image, w: Image) => {
      const [y, pullback] = ct.vjp((at: readonly [Image, Image]) => conv(...at), [x, w] as const)
      return [y, ...pullback(y)]
    }
    const x = [batch, channels * groups, height, width]
    const w = [filters * groups, channels, taps, taps]
    return productsOf(both as never, [x, w]).map(kernel => itemOf(kernel, stage, seed))
  })

test(
  'strided, dilated, padded and grouped convolutions and both their gradients equal the interpreter',
  {
    skip,
  },
  () => holds(convolution, 1),
)

const withEpilogue = fc
  .record({
    batch: fc.constantFrom(1, 2, 3),
    m: extent,
    n: extent,
    k: summed,
    shared: fc.boolean(),
    stage,
    seed,
  })
  .map(({ batch, m, n, k, shared, stage, seed }) => {
    const f = (a: F32, b: F32, bias: F32, c: F32) => {
      const y = ct.add(ct.matmul(a, b), bias)
      return [y, ct.relu(ct.sub(y, c) as F32)]
    }
    const shapes = [[batch, m, k], shared ? [k, n] : [batch, k, n], [n], [batch, m, n]]
    return productsOf(f as never, shapes).map(kernel => itemOf(kernel, stage, seed))
  })

test('batches, biases and second results are those of the interpreter', { skip }, async () => {
  const [kernel] = productsOf(
    ((a: F32, b: F32, bias: F32) => {
      const y = ct.add(ct.matmul(a, b), bias)
      return [y, ct.relu(y as F32)]
    }) as never,
    [[20, 8], [8, 20], [20]],
  )
  assert.equal(kernel.stores.length, 2, 'one kernel has both results')
  await holds(withEpilogue, 2)
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

/** y[i, j] = sum over k of f(a[i, k]) f(b[k, j]), where f is no operation or adds 1. */
function matrixProduct(m: number, n: number, terms: number, addsOne = false): Kernel {
  const [i, j, k] = [ix.axis(0, m), ix.axis(1, n), ix.axis(2, terms)]
  const load = (buffer: number, index: ix.Affine): Instr => ({
    k: 'load',
    buffer,
    index,
    guard: [],
    dtype: 'f32',
  })
  const scalar = (fn: 'add' | 'mul', args: number[]): Instr => ({ k: 'scalar', fn, args, dtype: 'f32' })
  const loads = [load(0, ix.addScaled(k, i, terms)), load(1, ix.addScaled(j, k, n))]
  const body: Instr[] = addsOne
    ? [
        ...loads,
        { k: 'lit', value: 1, dtype: 'f32' },
        ...[0, 1].map(id => scalar('add', [id, 2])),
        scalar('mul', [3, 4]),
      ]
    : [...loads, scalar('mul', [0, 1])]
  return {
    name: 'product',
    axes: [
      { extent: m, kind: 'parallel' },
      { extent: n, kind: 'parallel' },
      { extent: terms, kind: 'reduce' },
    ],
    buffers: [
      { dtype: 'f32', size: m * terms, access: 'read' },
      { dtype: 'f32', size: terms * n, access: 'read' },
      { dtype: 'f32', size: m * n, access: 'write' },
    ],
    body,
    accumulators: [{ how: 'sum', value: body.length - 1, dtype: 'f32' }],
    epilogue: [{ k: 'acc', accumulator: 0, dtype: 'f32' }],
    stores: [{ buffer: 2, index: ix.addScaled(j, i, n), value: body.length, mode: 'set', guard: [] }],
  }
}

test('operands that are computed from loads count for nothing beyond the last term', { skip }, () =>
  run(stages.slice(0, 2).map((stage, n) => itemOf(matrixProduct(17, 20, 9 + n, true), stage, n))),
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
  await run(small.map((stage, n) => itemOf(kernel, stage, n)))
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
