/** Claims on the schedules chosen for WebGPU adapters; that schedules change no value is tested on devices. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Kernel } from '../../src/backend/kernel.ts'
import { planGraph } from '../../src/backend/pipeline.ts'
import { contractionOf } from '../../src/backend/webgpu/contraction.ts'
import { profileOf } from '../../src/backend/webgpu/presets.ts'
import { renderWGSL } from '../../src/backend/webgpu/render.ts'
import { bytesOfStage, invocationsOf } from '../../src/backend/webgpu/stage.ts'
import { tilesOf } from '../../src/backend/webgpu/tiles.ts'
import { tune } from '../../src/backend/webgpu/tune.ts'
import { conv2d } from '../../src/dsl/ops/conv.ts'
import { add, mul } from '../../src/dsl/ops/elementwise.ts'
import { matmul } from '../../src/dsl/ops/linalg.ts'
import { spec, trace } from '../../src/dsl/trace.ts'
import { kernelCase } from './kernels.ts'

const profiles = {
  lavapipe: profileOf({
    software: true,
    name: 'llvmpipe-llvm-15-0-6-256-bits',
    features: ['subgroups'],
    subgroups: { min: 8, max: 8 },
  }),
  swiftshader: profileOf({ software: true, name: 'swiftshader-device-subzero' }),
  gpu: profileOf({ software: false, name: 'nvidia-h200' }),
}
const kernelsOf = (f: (...xs: never[]) => unknown, ...shapes: (readonly number[])[]): Kernel[] =>
  planGraph(
    trace(
      f,
      shapes.map(s => spec(s)),
    ).graph,
    () => ({ vector: null, tiles: [] }),
  ).steps.map(s => s.kernel)
const product = (n: number): Kernel => kernelsOf(matmul as never, [n, n], [n, n])[0]
/** Invocations, and results of one. */
const shapeOf = (k: Kernel, profile: (typeof profiles)['gpu']) => {
  const tiles = tilesOf(k, tune(k, profile)).filter(t => k.axes[t.axis].kind === 'parallel')
  const groups = k.axes.map((a, i) =>
    a.kind === 'reduce' ? 1 : (tiles.find(t => t.axis === i)?.groups ?? a.extent),
  )
  return {
    invocations: groups.reduce((n, g) => n * g, 1),
    results: tiles.reduce((n, t) => n * t.size, 1),
  }
}

test('large products keep many results in registers, and still keep every kind of device busy', () => {
  const large = product(1024)
  assert.equal(shapeOf(large, profiles.gpu).results, 64)
  assert.ok(shapeOf(large, profiles.gpu).invocations >= 4096)
  assert.equal(shapeOf(large, profiles.lavapipe).results, 128)
  assert.ok(shapeOf(large, profiles.swiftshader).results <= 32)
  for (const n of [128, 256, 512])
    assert.ok(shapeOf(product(n), profiles.gpu).invocations >= Math.min(4096, n * n))
})

test('a convolution shares weights and pixels on every adapter', () => {
  const f = (x: never, w: never) => conv2d(x, w, { padding: 1 })
  const [, conv] = kernelsOf(f as never, [4, 64, 64, 64], [64, 64, 3, 3])
  for (const p of Object.values(profiles)) assert.ok(shapeOf(conv, p).results >= 8)
})

test('GPUs stage large contractions, in blocks that fill them; software adapters none', () => {
  const names = ['nvidia-h200', 'amd-radeon', 'apple-m2', 'intel-arc']
  const conv = kernelsOf(
    ((x: never, w: never) => conv2d(x, w, { padding: 1 })) as never,
    [8, 64, 128, 128],
    [64, 64, 3, 3],
  ).filter(k => contractionOf(k) !== null)
  assert.equal(conv.length, 1)
  for (const name of names) {
    const p = profileOf({ software: false, name })
    for (const k of [product(2048), ...conv]) {
      const { stage } = tune(k, p)
      assert.ok(stage, `${name}: ${k.name}`)
      assert.ok(bytesOfStage(stage) <= 16384 && invocationsOf(stage) <= 256)
    }
    assert.equal(tune(product(64), p).stage, undefined)
  }
  assert.deepEqual(tune(product(4096), profiles.gpu).stage?.block, [128, 128])
  // 132 processors: blocks half as large, and one for each
  assert.deepEqual(tune(product(1024), profiles.gpu).stage?.block, [128, 64])
  // more room: twice the depth
  const limits = { maxComputeWorkgroupStorageSize: 49152 }
  const h200 = profileOf({ software: false, name: 'nvidia-h200', limits })
  assert.equal(tune(product(4096), profiles.gpu).stage?.depth, 8)
  assert.equal(tune(product(4096), h200).stage?.depth, 16)
  for (const p of [profiles.lavapipe, profiles.swiftshader])
    assert.equal(tune(product(2048), p).stage, undefined)
})

test('a map over contiguous elements loads vectors; small kernels are left plain', () => {
  const f = (x: never, y: never) => add(mul(x, y), y)
  for (const p of Object.values(profiles)) {
    const [large] = kernelsOf(f as never, [1 << 20], [1 << 20])
    assert.match(renderWGSL(large, tune(large, p)).text, /array<vec4<f32>>/)
    const [small] = kernelsOf(f as never, [64], [64])
    assert.deepEqual(tune(small, p), { vector: null, tiles: [] })
  }
})

test('the choice is made by content alone and can always be rendered', () => {
  fc.assert(
    fc.property(kernelCase, ({ kernel }) => {
      for (const p of Object.values(profiles)) {
        const s = tune(kernel, p)
        assert.deepEqual(tune(structuredClone(kernel), p), s)
        renderWGSL(kernel, s)
      }
    }),
    { numRuns: 60 },
  )
})
