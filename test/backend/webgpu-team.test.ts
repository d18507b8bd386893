/**
 * Claims on teams: invocations that share a reduction, by subgroups or by workgroup memory alone. Software adapters
 * never choose them, so schedules ask for them here.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import * as ix from '../../src/backend/affine.ts'
import { referenceBackend } from '../../src/backend/cpu/reference-backend.ts'
import { interpretKernel } from '../../src/backend/interpret.ts'
import type { Accumulator, Kernel, Schedule } from '../../src/backend/kernel.ts'
import { planGraph } from '../../src/backend/pipeline.ts'
import type { Device } from '../../src/backend/webgpu/device.ts'
import { webgpuBackend } from '../../src/backend/webgpu/executor.ts'
import { renderWGSL, separateSlots } from '../../src/backend/webgpu/render.ts'
import { webgpuScheduler } from '../../src/backend/webgpu/tune.ts'
import { array } from '../../src/dsl/array.ts'
import { type DType, makeData, type TypedArray } from '../../src/dsl/dtype.ts'
import type { Tensor } from '../../src/index.ts'
import * as ct from '../../src/index.ts'
import { kernelCase } from './kernels.ts'
import { assertClose, compilePlan, device, planOf, reduceKernel, skip } from './webgpu-support.ts'

interface Item {
  readonly kernel: Kernel
  readonly schedule: Schedule
  readonly data: readonly TypedArray[]
}
const sizes = [2, 4, 8, 16, 32, 64, 256]
const team = fc.constantFrom(...sizes)

/** y[r] = how of x[r, c] over c. */
function rowKernel(how: Accumulator['how'], dtype: DType, rows: number, columns: number): Kernel {
  const one = reduceKernel(how, dtype, columns)
  const index = ix.addScaled(ix.axis(1, columns), ix.axis(0, rows), columns)
  return {
    ...one,
    axes: [
      { extent: rows, kind: 'parallel' },
      { extent: columns, kind: 'reduce' },
    ],
    buffers: one.buffers.map((b, i) => ({ ...b, size: i === 0 ? rows * columns : rows })),
    body: [{ k: 'load', buffer: 0, index, guard: [], dtype }],
    stores: one.stores.map(s => ({ ...s, index: ix.axis(0, rows) })),
  }
}

/** The device; as one whose shaders must do without subgroups; and as a GPU, with its order of invocations. */
const devices = (): readonly Device[] => {
  const { info } = device()
  const as = (change: Partial<typeof info>): Device => ({ ...device(), info: { ...info, ...change } })
  const without = info.features.filter(f => f !== 'subgroups')
  return [
    as({ software: false }),
    as({ features: without }),
    ...(without.length < info.features.length ? [device()] : []),
  ]
}

async function results(items: readonly Item[], on: Device): Promise<TypedArray[]> {
  const program = await compilePlan(planOf(items), { poison: true }, on)
  const args = items.flatMap(({ kernel, data }) =>
    kernel.buffers.flatMap((b, i) =>
      b.access === 'read' ? [array([data[i].length], b.dtype, data[i] as Float32Array)] : [],
    ),
  )
  const out = await program.run(args, [])
  const read = await Promise.all(out.map(async r => (await r.read()).data))
  for (const r of out) r.dispose()
  return read
}

/** What the interpreter gives for all that is written. */
const expected = (items: readonly Item[]): TypedArray[] =>
  items.flatMap(({ kernel, data }) => {
    const copies = data.map(d => d.slice())
    interpretKernel(kernel, copies)
    return kernel.buffers.flatMap((b, i) => (b.access === 'read' ? [] : [copies[i]]))
  })

test('random kernels computed by teams equal the interpreter', { skip }, async () => {
  const item = fc.tuple(kernelCase, team).map(
    ([{ kernel, schedule, data }, n]): Item => ({
      kernel,
      schedule: { vector: schedule.vector, tiles: schedule.tiles, team: n },
      data,
    }),
  )
  for (const on of devices())
    await fc.assert(
      fc.asyncProperty(fc.array(item, { minLength: 8, maxLength: 8 }), async items => {
        const got = await results(items, on)
        for (const [i, want] of expected(items).entries())
          assertClose(got[i], want, 0, at => `result ${i} at ${at}`)
      }),
      { numRuns: Number(process.env.COTANGENT_FUZZ ?? 3), includeErrorInReport: true },
    )
})

const row = fc.record({
  how: fc.constantFrom<Accumulator['how']>('sum', 'prod', 'max', 'min', 'argmax'),
  dtype: fc.constantFrom<DType>('f32', 'f32', 'i32', 'u32'),
  rows: fc.integer({ min: 1, max: 9 }),
  columns: fc.oneof(fc.integer({ min: 1, max: 70 }), fc.integer({ min: 71, max: 5000 })),
  vector: fc.constantFrom(null, 1),
  tile: fc.constantFrom(1, 2, 3),
  team,
  seed: fc.nat(1000),
})

test('rows of any length are reduced as the interpreter does, NaN included', { skip }, async () => {
  const item = row.map(({ how, dtype, rows, columns, vector, tile, team, seed }): Item => {
    const kernel = rowKernel(how, dtype, rows, columns)
    const x = makeData(dtype, rows * columns)
    // products stay near 1, sums exact; a NaN in every third row of floats
    for (let i = 0; i < x.length; i++) {
      const n = (Math.imul(i + 3 * seed + 1, 2654435761) >>> 20) % 17
      x[i] = how === 'prod' ? 1 : dtype === 'u32' ? n : n - 8
    }
    if (how === 'prod') for (let r = 0; r < rows; r++) x[r * columns + (seed % columns)] = 3
    if (dtype === 'f32' && seed % 3 === 0) x[seed % x.length] = Number.NaN
    const tiles = tile > 1 ? [{ axis: 0, size: tile }] : []
    return {
      kernel,
      schedule: { vector, tiles, team },
      data: [x, makeData(how === 'argmax' ? 'i32' : dtype, rows)],
    }
  })
  for (const on of devices())
    await fc.assert(
      fc.asyncProperty(fc.array(item, { minLength: 6, maxLength: 6 }), async items => {
        const got = await results(items, on)
        for (const [i, want] of expected(items).entries())
          assertClose(
            got[i],
            want,
            0,
            at => `${items[i].kernel.name} ${JSON.stringify(items[i].schedule)} at ${at}`,
          )
      }),
      { numRuns: Number(process.env.COTANGENT_FUZZ ?? 3), includeErrorInReport: true },
    )
})

test('a team of any size sums to the last bits, and to the same bits again', { skip }, async () => {
  const n = 100_003
  const x = Float32Array.from({ length: n }, (_, i) => 0.1 + (i % 7) * 0.01)
  const items = sizes.map(
    (team): Item => ({
      kernel: reduceKernel('sum', 'f32', n),
      schedule: { vector: null, tiles: [], team },
      data: [x, new Float32Array(1)],
    }),
  )
  const exact = x.reduce((sum, v) => sum + v, 0)
  for (const on of devices()) {
    const first = await results(items, on)
    for (const [i, y] of first.entries())
      assert.ok(Math.abs(y[0] - exact) <= 2e-6 * exact, `${sizes[i]} invocations: ${y[0]}, not ${exact}`)
    assert.deepEqual(await results(items, on), first)
  }
})

test('programs with the schedules of a GPU give what the reference gives', { skip }, async () => {
  const on: Device = { ...device(), info: { ...device().info, software: false } }
  const gpu = webgpuBackend(on, g => planGraph(g, webgpuScheduler(on.info)))
  const shape = [6, 300] as const
  const x = array(
    shape,
    'f32',
    Float32Array.from({ length: 1800 }, (_, i) => Math.sin(i) * 3),
  )
  const f = (t: Tensor<readonly [6, 300], 'f32'>) => ({
    rows: ct.softmax(t, { axis: 1 }),
    columns: ct.softmax(t, { axis: 0 }),
    sums: ct.sum(ct.square(t), { axes: [0] }),
    loss: ct.mean(ct.logsumexp(t, { axes: [1] })),
    gradient: ct.grad((u: Tensor<readonly [6, 300], 'f32'>) => ct.sum(ct.square(ct.softmax(u, { axis: 1 }))))(
      t,
    ),
    gram: ct.matmul(t, ct.transpose(t)),
  })
  const [got, want] = await Promise.all(
    [gpu, referenceBackend()].map(async b => (await ct.unwrap(ct.compile(f, [ct.spec(shape)], b)))(x)),
  )
  for (const name of Object.keys(want) as (keyof typeof want)[]) {
    const exact = want[name].data
    const largest = Math.max(...Array.from(exact, Math.abs))
    // f32 sums of 300 terms; gradients cancel, so by the largest
    for (const [i, w] of exact.entries())
      assert.ok(
        Math.abs(got[name].data[i] - w) <= 2e-6 * largest,
        `${name} at ${i}: ${got[name].data[i]}, not ${w}`,
      )
  }
})

test('neighbours in a team load neighbouring vectors', () => {
  const kernel = rowKernel('sum', 'f32', 4, 4096)
  const machine = {
    subgroup: 32,
    longestInnermost: false,
    hidesTrips: false,
    neighbours: true,
    subgroups: { min: 32 },
    sharing: null,
    workgroupBytes: 16384,
    matrices: null,
  }
  const { text, workgroups } = renderWGSL(
    kernel,
    { vector: 1, tiles: [], team: 128 },
    separateSlots(kernel),
    machine,
  )
  assert.deepEqual(workgroups, [4, 1, 1])
  assert.match(text, /^enable subgroups;/)
  assert.match(text, /@workgroup_size\(128\)/)
  assert.match(text, /for \(var i1 = i32\(l\); i1 < 1024; i1 \+= 128\)/)
  assert.match(text, /b0: array<vec4<f32>>/)
  // 128 invocations are at most four subgroups of 32
  assert.match(text, /var<workgroup> t_a0: array<f32, 4>;/)
})

test('a team fits into the workgroup memory that every adapter has', () => {
  const kernel = rowKernel('sum', 'f32', 64, 4096)
  const { text } = renderWGSL(kernel, { vector: null, tiles: [{ axis: 0, size: 32 }], team: 256 })
  const words = [...text.matchAll(/var<workgroup> \w+: array<f32, (\d+)>/g)].map(m => Number(m[1]))
  assert.equal(words.length, 32)
  assert.ok(4 * words.reduce((n, w) => n + w, 0) <= 16384)
})

test('what a team cannot share is computed as without one: positions, booleans', () => {
  for (const kernel of [rowKernel('argmax', 'f32', 4, 64), rowKernel('max', 'bool', 4, 64)])
    assert.equal(
      renderWGSL(kernel, { vector: null, tiles: [], team: 64 }).text,
      renderWGSL(kernel, { vector: null, tiles: [] }).text,
    )
})
