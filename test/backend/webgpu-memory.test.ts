/** Claims on the memory that a WebGPU device holds, and on who gives it back. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { array } from '../../src/dsl/array.ts'
import { compilePlan, device, fill, mapKernel, planOf, skip } from './webgpu-support.ts'

const MiB = 2 ** 20

test('arrays that nobody reaches are collected before the device holds more than its budget', {
  skip,
}, async () => {
  const n = MiB
  const one = { k: 'lit', value: 1, dtype: 'f32' } as const
  const next = mapKernel(['f32'], n, [one, { k: 'scalar', fn: 'add', args: [0, 1], dtype: 'f32' }])
  const program = await compilePlan(planOf([{ kernel: next }]), { memoryBudget: 32 * MiB })
  const before = device().usage().bytes
  let [x] = await program.run([array([n], 'f32', new Float32Array(n))], [])
  let most = 0
  for (let i = 0; i < 40; i++) {
    ;[x] = await program.run([x], [])
    most = Math.max(most, device().usage().bytes - before)
  }
  const { data } = await x.read()
  assert.equal(data[n - 1], 41)
  x.dispose()
  // 40 results of 4 MiB are 160 MiB; what other tests hold counts towards the budget
  assert.ok(most <= Math.max(32 * MiB, 2 * before) + 8 * MiB, `${most / MiB} MiB`)
})

test('compiled pipelines are kept for 256 shaders at most; programs keep their own', { skip }, async () => {
  const first = await compilePlan(planOf([{ kernel: fill('f32', 4, 0.5) }]))
  const sources = Array.from({ length: 300 }, (_, i) => ({
    label: `${i}`,
    wgsl: `@group(0) @binding(0) var<storage, read_write> b: array<u32>; @compute @workgroup_size(1) fn main() { b[0] = ${i}u; }`,
  }))
  await device().pipelines(sources)
  assert.equal(device().usage().pipelines, 256)
  const [y] = await first.run([], [])
  assert.deepEqual([...(await y.read()).data], [0.5, 0.5, 0.5, 0.5])
  y.dispose()
})
