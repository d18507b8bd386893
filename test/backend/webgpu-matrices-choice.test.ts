/** Claims on when subgroup matrices are used: only where they were asked for and are there, and with which blocks. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import fc from 'fast-check'
import type { Kernel, MatrixShape, Schedule, Stage } from '../../src/backend/kernel.ts'
import { asChoice } from '../../src/backend/webgpu/autotune.ts'
import { type Choice, describeChoice } from '../../src/backend/webgpu/choice.ts'
import { openDevice } from '../../src/backend/webgpu/device.ts'
import type { Machine } from '../../src/backend/webgpu/machine.ts'
import { withMatrices } from '../../src/backend/webgpu/matrix-check.ts'
import {
  MATRIX_FEATURE,
  matricesOf,
  matrixLack,
  matrixShapes,
} from '../../src/backend/webgpu/matrix-feature.ts'
import { type Adapter, profileOf } from '../../src/backend/webgpu/presets.ts'
import { renderWGSL } from '../../src/backend/webgpu/render.ts'
import { bytesOfStage, dealOf, invocationsOf } from '../../src/backend/webgpu/stage.ts'
import { tune, worthTrying } from '../../src/backend/webgpu/tune.ts'
import { openBackend } from '../../src/node.ts'
import { matrixProduct } from './webgpu-contractions.ts'
import { device, plainSchedule, skip } from './webgpu-support.ts'

const shape = (m: number, n: number, k: number): MatrixShape => ({ m, n, k })
const features = [MATRIX_FEATURE, 'shader-f16', 'subgroups']
const adapters = {
  nvidia: { matrices: [shape(16, 8, 8), shape(16, 16, 16)], subgroups: { min: 32, max: 32 } },
  intel: { matrices: [shape(8, 16, 16)], subgroups: { min: 8, max: 32 } },
  amd: { matrices: [shape(16, 16, 16)], subgroups: { min: 32, max: 64 } },
} as const
const adapterOf = (name: keyof typeof adapters, room = 49152): Adapter & { readonly features: string[] } => ({
  name,
  software: false,
  features,
  limits: { maxComputeWorkgroupStorageSize: room },
  ...adapters[name],
})
const names = ['nvidia', 'intel', 'amd'] as const

test('large products go by the largest matrices; small, narrow and short ones do not', () => {
  for (const name of names) {
    const profile = profileOf(adapterOf(name))
    const { stage } = tune(matrixProduct(2048, 2048, 2048), profile)
    const largest = adapters[name].matrices.at(-1)
    assert.deepEqual(stage?.matrix, largest, name)
    for (const [m, n, k] of [
      [64, 64, 64],
      [4096, 4, 4096],
      [4, 4096, 4096],
      [4096, 4096, 24],
    ])
      assert.equal(tune(matrixProduct(m, n, k), profile).stage?.matrix, undefined, `${name} ${m} ${n} ${k}`)
  }
})

test('blocks of matrices have room and whole subgroups on every adapter', () => {
  for (const name of names)
    for (const room of [16384, 32768, 49152]) {
      const adapter = adapterOf(name, room)
      const { matrices } = profileOf(adapter)
      assert.ok(matrices.length > 0, `${name}, ${room} bytes`)
      for (const s of matrices) {
        assert.ok(bytesOfStage(s) <= room && invocationsOf(s) <= 256)
        assert.equal(invocationsOf(s) % adapters[name].subgroups.max, 0)
      }
    }
})

test('matrices that were not asked for, or that a device has not, are never used', () => {
  const kernel = matrixProduct(512, 512, 512)
  const adapter = adapterOf('nvidia')
  // without the option a device has no such feature
  const without = profileOf({ ...adapter, features: ['shader-f16', 'subgroups'] })
  assert.deepEqual(without.matrices, [])
  assert.deepEqual(tune(kernel, without), tune(kernel, profileOf({ ...adapter, matrices: [] })))
  const [stage] = profileOf(adapter).matrices
  const plain = renderWGSL(kernel, plainSchedule).text
  assert.equal(renderWGSL(kernel, { ...plainSchedule, stage }).text, plain)
  const machine: Machine = {
    subgroup: 32,
    longestInnermost: false,
    hidesTrips: false,
    neighbours: true,
    subgroups: null,
    sharing: null,
    workgroupBytes: 49152,
    matrices: { shapes: [shape(8, 8, 8)], subgroup: { min: 32, max: 32 } },
  }
  const render = (schedule: Schedule) => renderWGSL(kernel, schedule, undefined, machine).text
  assert.equal(render({ ...plainSchedule, stage }), render(plainSchedule))
  const known: Machine = {
    ...machine,
    matrices: { shapes: [shape(16, 16, 16)], subgroup: { min: 32, max: 32 } },
  }
  assert.match(
    renderWGSL(kernel, { ...plainSchedule, stage }, undefined, known).text,
    /subgroupMatrixMultiplyAccumulate/,
  )
})

test('a few blocks of matrices are measured beside those of lanes', () => {
  const tried = worthTrying(matrixProduct(1024, 1024, 1024), profileOf(adapterOf('nvidia')), 10)
  const staged = tried.flatMap(s => s.stage ?? [])
  const count = staged.filter(s => s.matrix !== undefined).length
  assert.ok(count >= 2 && count <= 3, `${count}`)
  assert.ok(staged.length > count)
})

test('every matrix of a region has one subgroup', () => {
  const power = (from: number, to: number) => fc.integer({ min: from, max: to }).map(e => 2 ** e)
  const tile = fc.constantFrom(4, 8, 16)
  fc.assert(
    fc.property(
      fc.tuple(tile, tile),
      fc.tuple(power(0, 4), power(0, 4)),
      fc.tuple(power(1, 5), power(1, 5)),
      power(0, 5),
      ([tr, tc], [lr, lc], [m, n], max) => {
        const matrix = shape(m, n, 8)
        const stage: Stage = { block: [tr * lr, tc * lc], tile: [tr, tc], depth: 8, buffers: 1, matrix }
        const deal = dealOf(stage, { shapes: [matrix], subgroup: { min: max, max } })
        if (deal === null)
          return assert.ok((4 * lr) % m !== 0 || (4 * lc) % n !== 0 || (lr * lc) % max !== 0, 'it divides')
        const { region, regions, subgroups, matrices } = deal
        assert.ok(subgroups[0] * subgroups[1] <= (lr * lc) / max)
        for (const [i, size] of [m, n].entries()) {
          assert.equal(region[i] * regions[i], stage.block[i])
          assert.equal(subgroups[i] * matrices[i] * size, region[i])
        }
        assert.equal(deal.more, subgroups[0] * subgroups[1] * max < lr * lc)
      },
    ),
  )
})

test('sizes of f16 summed in f32 are read from what an adapter lists; what is missing has a name', () => {
  const config = (componentType: string, resultComponentType: string, M: number, N: number, K: number) => ({
    componentType,
    resultComponentType,
    M,
    N,
    K,
  })
  const listed = [
    config('f16', 'f16', 16, 16, 16),
    config('f16', 'f32', 16, 8, 32),
    config('i8', 'i32', 8, 8, 8),
  ]
  assert.deepEqual(matrixShapes(listed), [shape(16, 8, 32)])
  assert.deepEqual(matrixShapes(undefined), [])
  const all = { features, ...adapters.nvidia }
  assert.equal(matrixLack(all), null)
  assert.deepEqual(matricesOf(all), { shapes: all.matrices, subgroup: all.subgroups })
  assert.match(
    matrixLack({ ...all, features: ['shader-f16'] }) ?? '',
    /chromium-experimental-subgroup-matrix/,
  )
  assert.match(matrixLack({ ...all, features: [MATRIX_FEATURE] }) ?? '', /shader-f16/)
  assert.match(matrixLack({ ...all, matrices: [] }) ?? '', /f16 whose products are summed in f32/)
  assert.equal(matricesOf({ ...all, matrices: [] }), null)
})

test('a stored choice with matrices is taken back, a damaged one is not; it prints', () => {
  const kernel: Kernel = matrixProduct(512, 512, 512)
  const [stage] = profileOf(adapterOf('nvidia')).matrices
  const good: Choice = { kernel: 'product', schedule: { ...plainSchedule, stage }, time: 1, untuned: 2 }
  assert.deepEqual(asChoice(JSON.parse(JSON.stringify(good)), kernel), good)
  for (const matrix of [null, 16, {}, { m: 16, n: 16 }, { m: 16, n: 0, k: 16 }, { m: 16, n: 2.5, k: 16 }])
    assert.equal(
      asChoice({ ...good, schedule: { ...plainSchedule, stage: { ...stage, matrix } } }, kernel),
      null,
      JSON.stringify(matrix),
    )
  assert.match(describeChoice(good), /, matrices of 16 x 16 x 16; 1\.0 us/)
})

const adapter = process.env.COTANGENT_TEST_ADAPTER
const opened = await openBackend('webgpu', { ...(adapter ? { adapter } : {}), subgroupMatrices: true })()
after(() => {
  if (opened._tag === 'Right') opened.right.close()
})

test('an adapter without them says so by name, and one with them passes the check', { skip }, async t => {
  if (opened._tag === 'Right') return t.diagnostic('this adapter has subgroup matrices, and they are right')
  assert.ok(opened.left.message.includes(device().info.name), opened.left.message)
  assert.match(opened.left.message, /subgroup matrices need .*, which .* has not; leave subgroupMatrices out/)
  const without = await withMatrices(device())()
  assert.ok(without._tag === 'Left')
})

test('a device has the feature only where it was asked for', { skip }, async () => {
  const options = adapter ? { adapter } : {}
  for (const subgroupMatrices of [false, true]) {
    const result = await openDevice({ ...options, subgroupMatrices })()
    assert.ok(result._tag === 'Right')
    const { info } = result.right
    if (!subgroupMatrices) assert.ok(!info.features.includes(MATRIX_FEATURE) && info.matrices.length === 0)
    result.right.close()
  }
})

test('backends without them say so', async () => {
  for (const name of ['cpu', 'reference'] as const) {
    const result = await openBackend(name, { subgroupMatrices: true })()
    assert.ok(result._tag === 'Left')
    assert.match(result.left.message, /subgroup matrices are for WebGPU adapters that have them/)
  }
})
