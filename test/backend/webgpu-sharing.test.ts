/** Loads that the lanes of a subgroup share: which they are, and that results stay what they were. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import * as ix from '../../src/backend/affine.ts'
import type { Kernel, Schedule } from '../../src/backend/kernel.ts'
import type { Device } from '../../src/backend/webgpu/device.ts'
import { gridOf, varyingIn } from '../../src/backend/webgpu/grid.ts'
import { machineOf } from '../../src/backend/webgpu/load.ts'
import type { Machine } from '../../src/backend/webgpu/machine.ts'
import { renderWGSL, separateSlots } from '../../src/backend/webgpu/render.ts'
import { tilesOf } from '../../src/backend/webgpu/tiles.ts'
import { makeData } from '../../src/dsl/dtype.ts'
import { type Case, kernelCase } from './kernels.ts'
import {
  convolutionOf,
  type Item,
  itemOf,
  matrixProduct,
  productOf,
  withEpilogueOf,
} from './webgpu-contractions.ts'
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
  // 12 columns by 2 groups of rows: eight lanes lie in both groups
  assert.ok(!shares(matrixProduct(8, 12, 24), rows(4)))
  // 33 columns by 8 groups of rows: eights go from one group into the next
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

test("a run-time index of the dealt position is every lane's own", () => {
  const [row, column, term] = [ix.axis(0, 16), ix.axis(1, 64), ix.axis(2, 24)]
  const [, right, product] = matrixProduct(16, 64, 24).body
  const gather: Kernel = {
    ...matrixProduct(16, 64, 24),
    buffers: [
      { dtype: 'i32', size: 16 * 24, access: 'read' },
      { dtype: 'f32', size: 24 * 64, access: 'read' },
      { dtype: 'f32', size: 16 * 64, access: 'write' },
      { dtype: 'f32', size: 16 * 32, access: 'read' },
    ],
    body: [
      { k: 'load', buffer: 0, index: ix.addScaled(term, row, 24), guard: [], dtype: 'i32' },
      right,
      { k: 'load', buffer: 3, index: ix.addScaled(ix.value(0), row, 32), guard: [], dtype: 'f32' },
      { ...product, k: 'scalar', fn: 'mul', args: [2, 1], dtype: 'f32' },
    ],
    accumulators: [{ how: 'sum', value: 3, dtype: 'f32' }],
    epilogue: [{ k: 'acc', accumulator: 0, dtype: 'f32' }],
    stores: [{ buffer: 2, index: ix.addScaled(column, row, 64), value: 4, mode: 'set', guard: [] }],
  }
  const text = render(gather, rows(4))
  // the indices are shared, what they point at is not
  assert.deepEqual([count(text, '= b0['), count(text, '= b3[')], [1, 4])
})

test('workgroups are full where lanes share, if the number of points allows it', () => {
  const size = (k: Kernel) => Number(/@workgroup_size\((\d+)\)/.exec(render(k, rows(4)))?.[1])
  assert.deepEqual(
    [size(matrixProduct(1024, 128, 4)), size(matrixProduct(1040, 68, 4)), size(matrixProduct(1028, 72, 4))],
    [64, 16, 8],
  )
})

test('the cost of a schedule knows what will be shared', () => {
  for (const [m, n] of [
    [1024, 64],
    [1040, 72],
    [12, 20],
    [16384, 63],
    [100, 1000],
  ]) {
    const k = matrixProduct(m, n, 4)
    const tiles = tilesOf(k, rows(4))
    assert.equal(varyingIn(k, tiles, 8), gridOf(k, tiles, machine, null).varying, `${m} x ${n}`)
  }
})

/** The test's device as a driver whose lanes share loads. */
const sharing = (): Device => ({ ...device(), info: { ...device().info, name: 'lavapipe' } })
/** Lanes share on software adapters with subgroups of one size: SwiftShader, lavapipe. */
const why = skip || (device().info.software ? false : 'a GPU: its lanes never share loads')
const shares = ({ kernel, schedule }: Item) =>
  render(kernel, schedule, machineOf(sharing())).includes('subgroupBroadcast')

async function agree(items: readonly Item[]): Promise<void> {
  const { got, want } = await both(items, sharing())
  const outputs = items.flatMap(({ kernel, schedule }) =>
    kernel.buffers.filter(b => b.access !== 'read').map(() => `${kernel.name} ${JSON.stringify(schedule)}`),
  )
  for (const [n, what] of outputs.entries()) assertClose(got[n], want[n], 0, i => `${what} at ${i}`)
}

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

test('products and convolutions with their gradients are what they are without', { skip: why }, async () => {
  const stage = fc.constant({ block: [8, 8], tile: [4, 4], depth: 4, buffers: 1 } as const)
  const cases = fc.oneof(productOf(stage), convolutionOf(stage), withEpilogueOf(stage))
  const each = fc.tuple(cases, fc.constantFrom(2, 4, 8, 16), fc.boolean())
  let shared = 0
  await fc.assert(
    fc.asyncProperty(fc.array(each, { minLength: 8, maxLength: 8 }), async all => {
      const items = all.flatMap(([of, size, vector]) => tiled(of, size, vector))
      shared += items.filter(shares).length
      await agree(items)
    }),
    { numRuns: Number(process.env.COTANGENT_FUZZ ?? 2), includeErrorInReport: true },
  )
  assert.ok(shared > 0, 'no kernel shared a load')
})

test('several subgroups in a workgroup share each for itself', { skip: why }, async () => {
  const stage = { block: [8, 8], tile: [4, 4], depth: 4, buffers: 1 } as const
  const item = { ...itemOf(matrixProduct(512, 256, 4), stage, 1), schedule: rows(4, null) }
  assert.ok(shares(item))
  await agree([item])
})

/**
 * A kernel for every lane of a new axis, on which its stores alone depend: so all that it loads is every lane's. Tiles that
 * divide their axes, along which loads are dealt out.
 */
const forAllLanes = ({ kernel: k, data }: Case, lanes: number, tile: number): Item => {
  const lane = ix.axis(k.axes.length, lanes)
  const stored = new Set(k.stores.map(s => s.buffer))
  const grow = (i: number, size: number) => (stored.has(i) ? size * lanes : size)
  const tiles = k.axes.flatMap(({ extent }, axis) => {
    const size = [tile, 2, 3].find(n => extent % n === 0) ?? extent
    return size === 1 ? [] : [{ axis, size }]
  })
  return {
    kernel: {
      ...k,
      axes: [...k.axes, { extent: lanes, kind: 'parallel' }],
      buffers: k.buffers.map((b, i) => ({ ...b, size: grow(i, b.size) })),
      stores: k.stores.map(s => ({ ...s, index: ix.addScaled(lane, s.index, lanes) })),
    },
    schedule: { vector: null, tiles: tiles.slice(0, 2) },
    data: k.buffers.map((b, i) => (stored.has(i) ? makeData(b.dtype, grow(i, b.size)) : data[i])),
  }
}

test('random kernels are what they are without', { skip: why }, async () => {
  let shared = 0
  const each = fc.tuple(kernelCase, fc.constantFrom(8, 16, 24), fc.constantFrom(2, 4, 8))
  await fc.assert(
    fc.asyncProperty(fc.array(each, { minLength: 40, maxLength: 40 }), async all => {
      const items = all
        .filter(([{ kernel }]) => kernel.buffers.every(b => b.size > 0))
        .map(([of, lanes, tile]) => forAllLanes(of, lanes, tile))
        // a driver takes a second to compile a thousand statements
        .filter(item => shares(item) && render(item.kernel, item.schedule).length < 6000)
      shared += items.length
      if (items.length > 0) await agree(items)
    }),
    { numRuns: Number(process.env.COTANGENT_FUZZ ?? 3), includeErrorInReport: true },
  )
  console.log(`# ${shared} random kernels shared loads`)
  assert.ok(shared > 0, 'no kernel shared a load')
})
