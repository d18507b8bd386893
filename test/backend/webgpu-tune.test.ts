/** Claims on the schedules chosen for WebGPU adapters; that schedules change no value is tested on devices. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Kernel } from '../../src/backend/kernel.ts'
import { planGraph } from '../../src/backend/pipeline.ts'
import { profileOf } from '../../src/backend/webgpu/presets.ts'
import { renderWGSL } from '../../src/backend/webgpu/render.ts'
import { tilesOf } from '../../src/backend/webgpu/tiles.ts'
import { tune } from '../../src/backend/webgpu/tune.ts'
import { conv2d } from '../../src/dsl/ops/conv.ts'
import { add, mul } from '../../src/dsl/ops/elementwise.ts'
import { matmul } from '../../src/dsl/ops/linalg.ts'
import { spec, trace } from '../../src/dsl/trace.ts'
import { kernelCase } from './kernels.ts'

const profiles = {
  lavapipe: profileOf({ software: true, name: 'llvmpipe-llvm-15-0-6-256-bits' }),
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
