/**
 * Claims on the text of shaders with subgroup matrices: Tint, Dawn's compiler, takes them as they are. It checks types, the
 * order of dimensions, uniformity and the workgroup's size; only that a driver computes what it should is left.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { MatrixShape, Schedule, Stage } from '../../src/backend/kernel.ts'
import type { Machine } from '../../src/backend/webgpu/machine.ts'
import { renderWGSL } from '../../src/backend/webgpu/render.ts'
import { bytesOfStage, stagingOf } from '../../src/backend/webgpu/stage.ts'
import * as ct from '../../src/index.ts'
import {
  convolutionOf,
  type Item,
  matrixProduct,
  productOf,
  productsOf,
  withEpilogueOf,
} from './webgpu-contractions.ts'
import { noDawn, openNull } from './webgpu-null.ts'
import { plainSchedule } from './webgpu-support.ts'

const shape = (m: number, n: number, k: number): MatrixShape => ({ m, n, k })
/** What drivers list: NVIDIA's, Intel's, and one whose numbers all differ. */
const shapes = [shape(16, 16, 16), shape(16, 8, 16), shape(16, 8, 8), shape(8, 16, 16), shape(32, 8, 16)]
/** The Null device wants workgroups of multiples of 128: its largest subgroup. */
const machine: Machine = {
  subgroup: 32,
  longestInnermost: false,
  hidesTrips: false,
  neighbours: true,
  subgroups: { min: 4 },
  sharing: null,
  workgroupBytes: 49152,
  matrices: { shapes, subgroup: { min: 4, max: 128 } },
}
const stages = shapes.flatMap((matrix): readonly Stage[] => [
  { block: [64, 64], tile: [4, 8], depth: 32, buffers: 1, matrix },
  { block: [64, 64], tile: [8, 4], depth: 16, buffers: 2, matrix },
  { block: [128, 64], tile: [8, 8], depth: 16, buffers: 1, matrix },
  { block: [128, 128], tile: [8, 8], depth: 32, buffers: 1, matrix },
])
const stage = fc.constantFrom(...stages)

/** Shaders of kernels, on a machine that hides trips too; as pipelines where the Null device has the memory. */
async function areValid(items: readonly Pick<Item, 'kernel' | 'schedule'>[]): Promise<void> {
  const { module, pipeline, workgroupBytes } = await openNull()
  for (const { kernel, schedule } of items) {
    const staging = stagingOf(kernel, schedule, machine)
    assert.ok(staging, `${kernel.name} is not staged`)
    const check = bytesOfStage(staging.stage) <= workgroupBytes ? pipeline : module
    for (const hidesTrips of [false, true]) {
      const { text } = renderWGSL(kernel, schedule, undefined, { ...machine, hidesTrips })
      assert.match(text, /subgroupMatrixMultiplyAccumulate/)
      assert.equal(await check(text), null, text)
    }
  }
}
const validates = (cases: fc.Arbitrary<readonly Item[]>, numRuns: number) =>
  fc.assert(fc.asyncProperty(cases, areValid), { numRuns })

test('Tint takes the shaders of products, of convolutions with their gradients, of epilogues', {
  skip: noDawn,
}, async () => {
  await validates(productOf(stage), 10)
  await validates(convolutionOf(stage), 6)
  await validates(withEpilogueOf(stage), 6)
})

test(
  'Tint takes every size of matrices in every stage, long sums and computed operands',
  {
    skip: noDawn,
  },
  () =>
    areValid(
      stages.flatMap(stage =>
        [40, 5000].map(terms => ({
          kernel: matrixProduct(200, 136, terms, true),
          schedule: { ...plainSchedule, stage },
        })),
      ),
    ),
)

test('Tint takes what reads and writes f16', { skip: noDawn }, () => {
  const [kernel] = productsOf(ct.matmul as never, [
    [64, 64],
    [64, 64],
  ])
  const held = { ...kernel, buffers: kernel.buffers.map(b => ({ ...b, storage: 'f16' as const })) }
  return areValid(stages.slice(0, 3).map(stage => ({ kernel: held, schedule: { ...plainSchedule, stage } })))
})

test('the check finds what is wrong: dimensions in another order, decisions of single invocations', {
  skip: noDawn,
}, async () => {
  const { pipeline: check } = await openNull()
  const schedule: Schedule = { ...plainSchedule, stage: stages[0] }
  const other: Schedule = { ...plainSchedule, stage: { ...stages[0], matrix: shape(32, 8, 16) } }
  const kernel = matrixProduct(64, 64, 64)
  const { text } = renderWGSL(kernel, other, undefined, machine)
  assert.equal(await check(text), null)
  const turned = text.replace('subgroup_matrix_left<f16, 16, 32>', 'subgroup_matrix_left<f16, 32, 16>')
  assert.match((await check(turned)) ?? '', /no matching call to 'subgroupMatrixMultiplyAccumulate/)
  const lonely = text.replace(/if \(g </g, 'if (l <')
  assert.match((await check(lonely)) ?? '', /must only be called from uniform control flow|uniform/)
  const half = { ...machine, matrices: { shapes, subgroup: { min: 32, max: 32 } } }
  const small: Schedule = { ...schedule, stage: { ...stages[0], block: [32, 32], tile: [4, 4] } }
  assert.match(
    (await check(renderWGSL(kernel, small, undefined, half).text)) ?? '',
    /must be a multiple of the device maxSubgroupSize/,
  )
})
