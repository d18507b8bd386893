/**
 * Claims on contractions by subgroup matrices. No adapter at hand has them, so an emulation stands for the matrices
 * themselves, and everything else is the text that a device with them gets. All data are small integers, exact in f16 and
 * in their sums, so the device must give the interpreter's numbers.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { MatrixShape, Stage } from '../../src/backend/kernel.ts'
import { withMatrices } from '../../src/backend/webgpu/matrix-check.ts'
import {
  agree,
  convolutionOf,
  hold,
  itemOf,
  matrixProduct,
  productOf,
  withEpilogueOf,
} from './webgpu-contractions.ts'
import { type Emulated, emulation, type Fault } from './webgpu-emulation.ts'
import { both, device, skip } from './webgpu-support.ts'

const shape = (m: number, n: number, k: number): MatrixShape => ({ m, n, k })
/** Sizes whose three numbers differ, so that no two can be taken for each other. */
const shapes = [shape(2, 4, 4), shape(4, 8, 4), shape(4, 2, 8), shape(8, 4, 2), shape(4, 4, 4)]
/** Stages with two matrices a subgroup, with one, with idle subgroups, with several regions. */
const single: readonly Stage[] = [
  { block: [16, 16], tile: [4, 4], depth: 4, buffers: 1, matrix: shape(2, 4, 4) },
  { block: [16, 16], tile: [4, 8], depth: 8, buffers: 2, matrix: shape(4, 8, 4) },
  { block: [32, 8], tile: [8, 4], depth: 16, buffers: 1, matrix: shape(4, 2, 8) },
]
const several: readonly Stage[] = [
  { block: [16, 16], tile: [4, 4], depth: 8, buffers: 1, matrix: shape(4, 4, 4) },
  { block: [16, 32], tile: [4, 8], depth: 8, buffers: 2, matrix: shape(8, 4, 2) },
]
const on = (subgroup: Emulated['subgroup']) => emulation(device(), { shapes, subgroup })
/** Subgroups of one; of two, where the shader must reckon with up to four. */
const machines = [
  { subgroup: { min: 1, max: 1 }, stages: single },
  { subgroup: { min: 2, max: 4 }, stages: several },
] as const

for (const { subgroup, stages } of machines) {
  const stage = fc.constantFrom(...stages)
  const lanes = `subgroups of ${subgroup.min} to ${subgroup.max}`
  test(`products in all four forms of transposition equal the interpreter, ${lanes}`, { skip }, () =>
    hold(productOf(stage), 2, on(subgroup)),
  )
  test(`convolutions and both their gradients equal the interpreter, ${lanes}`, { skip }, () =>
    hold(convolutionOf(stage), 1, on(subgroup)),
  )
  test(`batches, biases and second results are those of the interpreter, ${lanes}`, { skip }, () =>
    hold(withEpilogueOf(stage), 1, on(subgroup)),
  )
}

test('operands that are computed from loads count for nothing beyond the last term', { skip }, () =>
  agree(
    single.slice(0, 2).map((stage, n) => itemOf(matrixProduct(17, 20, 9 + n, true), stage, n)),
    on({ min: 1, max: 1 }),
  ),
)

test('runs of a long sum are added outside of matrices', { skip }, () =>
  agree(
    single.slice(0, 2).map((stage, n) => itemOf(matrixProduct(9, 8, 4096 + 40 * n + 7), stage, n)),
    on({ min: 1, max: 1 }),
  ),
)

test('operands are rounded to f16, and nothing else is', { skip }, async () => {
  const [stage] = single
  const kernel = matrixProduct(17, 20, 40)
  const data = kernel.buffers.map((b, n) =>
    Float32Array.from({ length: b.size }, (_, i) => Math.sin(1.7 * i + n)),
  )
  const item = { ...itemOf(kernel, stage, 0), data }
  const { got, want } = await both([item], on({ min: 1, max: 1 }))
  const errors = want[0].map((w: number, i: number) => {
    const [r, c] = [Math.floor(i / 20), i % 20]
    let size = 0
    for (let k = 0; k < 40; k++) size += Math.abs(data[0][r * 40 + k] * data[1][k * 20 + c])
    return Math.abs(w - got[0][i]) / size
  })
  // two operands, each off by 2^-10 where a driver cuts off; sums in f16 would add as much for every few terms
  assert.ok(Math.max(...errors) <= 2 ** -9, `${Math.max(...errors)}`)
  assert.ok(Math.max(...errors) >= 2 ** -15, 'f16 was used')
})

/** NVIDIA's subgroups, and the two smallest blocks. */
const nvidia = {
  shapes: [shape(16, 8, 8), shape(16, 16, 16)],
  subgroup: { min: 32, max: 32 },
  workgroupBytes: 16384,
} as const

test('the check of the device passes where matrices are right, in blocks for real devices', {
  skip,
}, async () => {
  const result = await withMatrices(emulation(device(), nvidia))()
  assert.equal(result._tag, 'Right', result._tag === 'Left' ? result.left.message : '')
})

test('the check of the device finds sums in f16 and transposed operands, and gives the numbers', {
  skip,
}, async () => {
  for (const fault of ['f16 sums', 'transposed'] as const satisfies readonly Fault[]) {
    const emulated = emulation(device(), { ...nvidia, workgroupBytes: 12288, fault })
    const result = await withMatrices(emulated)()
    assert.ok(result._tag === 'Left', fault)
    assert.match(
      result.left.message,
      /do not compute what they should: .* of 16 x 16 x 16, element \[\d+, \d+\] is -?[\d.]+, and should be/,
    )
    assert.ok(result.left.message.includes(emulated.info.name))
  }
})
