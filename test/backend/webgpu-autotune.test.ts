/** Claims on schedules by measurement: what is chosen, remembered, and that it changes no value. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { referenceBackend } from '../../src/backend/cpu/reference-backend.ts'
import type { Stage } from '../../src/backend/kernel.ts'
import { planGraph } from '../../src/backend/pipeline.ts'
import { asChoice, memoryStore, tuner } from '../../src/backend/webgpu/autotune.ts'
import { type Choice, describeChoice } from '../../src/backend/webgpu/choice.ts'
import type { Device } from '../../src/backend/webgpu/device.ts'
import { webgpuBackend } from '../../src/backend/webgpu/executor.ts'
import { profileOf } from '../../src/backend/webgpu/presets.ts'
import { renderWGSL } from '../../src/backend/webgpu/render.ts'
import { tune, webgpuScheduler, worthTrying } from '../../src/backend/webgpu/tune.ts'
import type { Tensor } from '../../src/index.ts'
import * as ct from '../../src/index.ts'
import { kernelCase } from './kernels.ts'
import { assertClose, device, plainSchedule, reduceKernel, skip } from './webgpu-support.ts'

const profiles = [
  profileOf({ software: true, name: 'llvmpipe-llvm-15-0-6-256-bits' }),
  profileOf({ software: true, name: 'swiftshader-device-subzero' }),
  ...['nvidia-h200', 'apple-m2', 'intel-arc'].map(name => profileOf({ software: false, name })),
]

test('what is worth trying begins with the choice without measuring, has no duplicates, and can be rendered', () => {
  fc.assert(
    fc.property(kernelCase, fc.integer({ min: 1, max: 9 }), ({ kernel }, count) => {
      for (const p of profiles) {
        const all = worthTrying(kernel, p, count)
        assert.deepEqual(all[0], tune(kernel, p))
        assert.ok(all.length <= count && new Set(all.map(s => JSON.stringify(s))).size === all.length)
        for (const s of all) renderWGSL(kernel, s)
      }
    }),
    { numRuns: 40 },
  )
})

test('on GPUs long rows are shared by teams and vectors, on software adapters never', () => {
  const sum = reduceKernel('sum', 'f32', 4096)
  for (const [i, p] of profiles.entries()) {
    const tried = worthTrying(sum, p, 8)
    assert.equal(
      tried.some(s => s.team !== undefined),
      i >= 2,
    )
    assert.equal(tune(sum, p).team !== undefined, i >= 2)
  }
})

test('several stages of a large product are measured on GPUs, beside registers alone', () => {
  const { graph } = ct.trace(
    (a: Tensor, b: Tensor) => ct.matmul(a as never, b as never),
    [ct.spec([1024, 1024]), ct.spec([1024, 1024])],
  )
  const [{ kernel }] = planGraph(graph, () => plainSchedule).steps
  for (const [i, p] of profiles.entries()) {
    const staged = worthTrying(kernel, p, 10).filter(s => s.stage !== undefined)
    assert.ok(i < 2 ? staged.length === 0 : staged.length >= 3 && staged.length <= 6, `${staged.length}`)
  }
})

const [m, k, n] = [40, 64, 48] as const
type Matrix<M extends number, N extends number> = Tensor<readonly [M, N], 'f32'>
const f = (a: Matrix<40, 64>, b: Matrix<64, 48>) => ct.softmax(ct.matmul(a, b), { axis: 1 })
const specs = [ct.spec([m, k]), ct.spec([k, n])] as const

async function compiled(store = memoryStore(), on: Device = device()) {
  const choices: Choice[] = []
  const backend = webgpuBackend(on, g => planGraph(g, webgpuScheduler(on.info)), {
    refine: tuner(on, store, c => choices.push(c)),
  })
  return { choices, run: await ct.unwrap(ct.compile(f, [specs[0], specs[1]], backend)) }
}
const matrix = <M extends number, N extends number>(rows: M, columns: N) =>
  ct.array(
    [rows, columns],
    'f32',
    Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i * 1.7)),
  )

test('tuned programs give what the reference gives, by the clock of the device and of the wall', {
  skip,
}, async () => {
  const want = await ct.unwrap(ct.compile(f, [specs[0], specs[1]], referenceBackend()))
  const expected = await want(matrix(m, k), matrix(k, n))
  const { info } = device()
  const features = info.features.filter(x => x !== 'timestamp-query')
  for (const on of [device(), { ...device(), info: { ...info, features } }]) {
    const { run, choices } = await compiled(memoryStore(), on)
    const got = await run(matrix(m, k), matrix(k, n))
    assertClose(got.data, expected.data, 1e-5, i => `element ${i}`)
    assert.ok(choices.length > 0 && choices.every(c => c.time > 0 && c.time <= c.untuned))
  }
})

test('what was measured once is not measured again; what is damaged is', { skip }, async () => {
  const store = memoryStore()
  let puts = 0
  const counting = {
    get: store.get,
    put: (c: ReadonlyMap<string, Choice>) => {
      puts++
      store.put(c)
    },
  }
  const first = await compiled(counting)
  const second = await compiled(counting)
  assert.equal(puts, 1)
  assert.deepEqual(second.choices, first.choices)
  const damaged = { get: () => ({ schedule: { vector: 17, tiles: [] } }), put: store.put }
  assert.equal((await compiled(damaged)).choices.length, first.choices.length)
})

test('a stored choice is taken only where it fits the kernel', () => {
  const kernel = reduceKernel('sum', 'f32', 64)
  const good: Choice = { kernel: 'sum 64+', schedule: { vector: 0, tiles: [], team: 8 }, time: 1, untuned: 2 }
  assert.deepEqual(asChoice(JSON.parse(JSON.stringify(good)), kernel), good)
  const stage: Stage = { block: [64, 64], tile: [4, 4], depth: 16, buffers: 2 }
  const staged = { ...good, schedule: { vector: null, tiles: [], stage } }
  assert.deepEqual(asChoice(JSON.parse(JSON.stringify(staged)), kernel), staged)
  const schedules = [
    { vector: 1, tiles: [] },
    { vector: null, tiles: [{ axis: 2, size: 2 }] },
    { vector: null, tiles: [{ axis: 0, size: 0.5 }] },
    { vector: null, tiles: 'none' },
    { vector: null, tiles: [], team: 1e9 },
    { vector: null, tiles: [], stage: {} },
    { vector: null, tiles: [], stage: { ...stage, tile: [4] } },
    { vector: null, tiles: [], stage: { ...stage, depth: 0 } },
    null,
  ]
  for (const schedule of schedules) assert.equal(asChoice({ ...good, schedule }, kernel), null)
  assert.equal(asChoice({ ...good, time: '1' }, kernel), null)
})

test('a choice prints as a line', () => {
  assert.equal(
    describeChoice({
      kernel: 'sum 8 x 64+',
      schedule: { vector: 1, tiles: [], team: 32 },
      time: 12.34,
      untuned: 20,
    }),
    'sum 8 x 64+: vector 1, team 32; 12.3 us, 20.0 us untuned',
  )
  const stage: Stage = { block: [64, 32], tile: [4, 4], depth: 16, buffers: 2 }
  assert.equal(
    describeChoice({ kernel: 'x', schedule: { ...plainSchedule, stage }, time: 1, untuned: 2 }),
    'x: blocks of 64 x 32, tiles of 4 x 4, depth 16, 2 buffers; 1.0 us, 2.0 us untuned',
  )
  assert.match(describeChoice({ kernel: 'x', schedule: plainSchedule, time: 1, untuned: 1 }), /^x: plain;/)
})
