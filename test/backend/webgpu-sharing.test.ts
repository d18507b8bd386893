/** Loads that the lanes of a subgroup share: which they are, and that results stay what they were. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import * as ix from '../../src/backend/affine.ts'
import type { Kernel, Schedule } from '../../src/backend/kernel.ts'
import type { Device } from '../../src/backend/webgpu/device.ts'
import { machineOf } from '../../src/backend/webgpu/load.ts'
import type { Machine } from '../../src/backend/webgpu/machine.ts'
import { renderWGSL, separateSlots } from '../../src/backend/webgpu/render.ts'
import { convolutionOf, type Item, matrixProduct, productOf, withEpilogueOf } from './webgpu-contractions.ts'
import { assertClose, both, device, skip } from './webgpu-support.ts'

const machine: Machine = {
  subgroup: 8,
  longestInnermost: true,
  hidesTrips: true,
  neighbours: false,
  subgroups: { min: 8 },
  sharing: 8,
  workgroupBytes: 16384,
  matrices: null,
}
const render = (k: Kernel, s: Schedule, on: Machine = machine) => renderWGSL(k, s, separateSlots(k), on).text
const count = (text: string, part: string) => text.split(part).length - 1
const rows = (size: number, vector: number | null = null): Schedule => ({
  vector,
  tiles: [{ axis: 0, size }],
})

test('what all lanes read, one of them loads', () => {
  const k = matrixProduct(32, 64, 24)
  const text = render(k, rows(16, 1))
  assert.match(text, /^enable subgroups;/)
  // 16 rows are two loads of a lane each; of the right operand it loads its own vector
  assert.deepEqual([count(text, '= b0['), count(text, '= b1[')], [2, 1])
  assert.equal(count(text, 'subgroupBroadcast('), 16)
  assert.equal(count(render(k, rows(16, 1), { ...machine, sharing: null }), '= b0['), 16)
  // fewer rows than lanes: the others load the last one again
  assert.match(render(k, rows(4)), /min\(i32\(l % 8u\), 3\)/)
})

test('nothing is shared where lanes differ, or where some have no point', () => {
  const shares = (k: Kernel, s: Schedule) => render(k, s).includes('subgroup')
  assert.ok(shares(matrixProduct(32, 64, 24), rows(4)))
  // 12 columns: eight lanes lie in two rows of tiles; of two rows of tiles together 24 are three times eight
  assert.ok(!shares(matrixProduct(8, 12, 24), rows(4)))
  // 33 columns by 8 groups of rows: a multiple of eight, along both axes
  assert.ok(!shares(matrixProduct(32, 33, 24), rows(4)))
  // 9 points: the second workgroup is not full
  assert.ok(!shares(matrixProduct(4, 9, 24), rows(4)))
  // 30 rows in tiles of 4: the last tile overhangs
  assert.ok(!shares(matrixProduct(30, 64, 24), rows(4)))
  // rows that are padded: a condition that goes with the row
  const padded = matrixProduct(32, 64, 24)
  const [left, ...rest] = padded.body
  assert.ok(left.k === 'load')
  const guard = [{ index: ix.axis(0, 32), lo: 1, hi: 32 }]
  assert.ok(!shares({ ...padded, body: [{ ...left, guard }, ...rest] }, rows(4)))
})

/** The test's device as a driver whose lanes share loads. */
const sharing = (): Device => ({ ...device(), info: { ...device().info, name: 'lavapipe' } })

/** Cases that are computed with tiles of rows and vectors of columns instead of their stages. */
const tiled = (items: readonly Item[], size: number, vector: boolean): Item[] =>
  items.flatMap(item => {
    const parallel = item.kernel.axes.flatMap((a, i) => (a.kind === 'parallel' && a.extent > 1 ? [i] : []))
    const last = parallel.at(-1)
    return parallel.slice(0, -1).map(axis => ({
      ...item,
      schedule: { vector: vector && last !== undefined ? last : null, tiles: [{ axis, size }] },
    }))
  })

test('products and convolutions with their gradients are what they are without', { skip }, async () => {
  const on = sharing()
  const { sharing: lanes } = machineOf(on)
  assert.ok(lanes, 'the adapter has no subgroups of one size')
  const stage = fc.constant({ block: [8, 8], tile: [4, 4], depth: 4, buffers: 1 } as const)
  const cases = fc.oneof(productOf(stage), convolutionOf(stage), withEpilogueOf(stage))
  let shared = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(cases, fc.constantFrom(2, 4, 8, 16), fc.boolean()), { minLength: 8, maxLength: 8 }),
      async all => {
        const items = all.flatMap(([of, size, vector]) => tiled(of, size, vector))
        for (const { kernel, schedule } of items)
          if (render(kernel, schedule, machineOf(on)).includes('subgroupBroadcast')) shared++
        const { got, want } = await both(items, on)
        const outputs = items.flatMap(({ kernel, schedule }) =>
          kernel.buffers
            .filter(b => b.access !== 'read')
            .map(() => `${kernel.name} ${JSON.stringify(schedule)}`),
        )
        for (const [n, what] of outputs.entries()) assertClose(got[n], want[n], 0, i => `${what} at ${i}`)
      },
    ),
    { numRuns: Number(process.env.COTANGENT_FUZZ ?? 3), includeErrorInReport: true },
  )
  assert.ok(shared > 0, 'no kernel shared a load')
  console.log(`# ${shared} kernels shared loads between ${lanes} lanes`)
})
