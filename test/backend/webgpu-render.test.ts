/** Claims on the text of shaders; that they compute the right numbers is tested on a device (webgpu.test.ts). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import * as ix from '../../src/backend/affine.ts'
import type { Instr, Kernel, Schedule } from '../../src/backend/kernel.ts'
import { renderWGSL, separateSlots } from '../../src/backend/webgpu/render.ts'
import { literal } from '../../src/backend/webgpu/wgsl.ts'
import type { DType } from '../../src/dsl/dtype.ts'
import { CompileError } from '../../src/dsl/errors.ts'
import { kernelCase } from './kernels.ts'

const plain: Schedule = { vector: null, tiles: [] }

/** c[i, j] = sum over k of a[i, k] b[k, j] */
function matmul(m: number, n: number, k: number, name = 'matmul'): Kernel {
  const [i, j, l] = [ix.axis(0, m), ix.axis(1, n), ix.axis(2, k)]
  return {
    name,
    axes: [
      { extent: m, kind: 'parallel' },
      { extent: n, kind: 'parallel' },
      { extent: k, kind: 'reduce' },
    ],
    buffers: [
      { dtype: 'f32', size: m * k, access: 'read' },
      { dtype: 'f32', size: k * n, access: 'read' },
      { dtype: 'f32', size: m * n, access: 'write' },
    ],
    body: [
      { k: 'load', buffer: 0, index: ix.addScaled(l, i, k), guard: [], dtype: 'f32' },
      { k: 'load', buffer: 1, index: ix.addScaled(j, l, n), guard: [], dtype: 'f32' },
      { k: 'scalar', fn: 'mul', args: [0, 1], dtype: 'f32' },
    ],
    accumulators: [{ how: 'sum', value: 2, dtype: 'f32' }],
    epilogue: [{ k: 'acc', accumulator: 0, dtype: 'f32' }],
    stores: [{ buffer: 2, index: ix.addScaled(j, i, n), value: 3, mode: 'set', guard: [] }],
  }
}

/** y[i] = value, over n elements. */
const mapOf = (n: number, dtype: DType, body: readonly Instr[]): Kernel => ({
  name: 'map',
  axes: [{ extent: n, kind: 'parallel' }],
  buffers: [{ dtype, size: n, access: 'write' }],
  body,
  accumulators: [],
  epilogue: [],
  stores: [{ buffer: 0, index: ix.axis(0, n), value: body.length - 1, mode: 'set', guard: [] }],
})

const count = (text: string, part: string) => text.split(part).length - 1
const loopOf = (text: string) => text.slice(text.indexOf('for ('))

test('equal kernels give equal text, whatever their names', () => {
  fc.assert(
    fc.property(kernelCase, ({ kernel, schedule }) => {
      const again = structuredClone({ ...kernel, name: 'another' })
      assert.equal(renderWGSL(again, schedule).text, renderWGSL(kernel, schedule).text)
    }),
    { numRuns: 50 },
  )
})

test('a 4 x 4 tile loads 4 + 4 elements a step for its 16 sums', () => {
  const tiles = [0, 1].map(axis => ({ axis, size: 4 }))
  const loop = loopOf(renderWGSL(matmul(64, 64, 32), { vector: null, tiles }).text)
  assert.equal(count(loop, 'b0['), 4)
  assert.equal(count(loop, 'b1['), 4)
  assert.equal(count(loop, ' += x'), 16)
  assert.equal(count(loop, 'b2['), 16)
  assert.ok(!loop.includes('if ('), 'no edge: 4 divides 64')
})

test('a vector axis loads and stores vectors of four where every access to the buffer allows it', () => {
  const schedule = { vector: 1, tiles: [{ axis: 0, size: 4 }] }
  const { text } = renderWGSL(matmul(64, 64, 32), schedule)
  assert.match(text, /b1: array<vec4<f32>>/)
  assert.match(text, /b2: array<vec4<f32>>/)
  assert.match(text, /b0: array<f32>/)
  assert.equal(count(loopOf(text), 'b1['), 1)
  assert.equal(count(loopOf(text), 'b0['), 4)
  assert.equal(count(loopOf(text), 'b2['), 4)
  // rows of 62 do not start at multiples of four
  assert.ok(!renderWGSL(matmul(64, 62, 32), schedule).text.includes('vec4'))
})

test('a vector of terms is one load of four, in the order of the terms', () => {
  const row = {
    ...matmul(64, 1, 32),
    axes: [
      { extent: 64, kind: 'parallel' as const },
      { extent: 1, kind: 'parallel' as const },
      { extent: 32, kind: 'reduce' as const },
    ],
  }
  const loop = loopOf(renderWGSL(row, { vector: 2, tiles: [] }).text)
  assert.equal(count(loop, 'b0['), 1)
  assert.deepEqual([...loop.matchAll(/x\d+\.([xyzw])/g)].map(m => m[1]).slice(0, 4), ['x', 'x', 'y', 'y'])
})

test('small reductions unrolled whole have no loop', () => {
  const { text } = renderWGSL(matmul(64, 64, 4), { vector: null, tiles: [{ axis: 2, size: 4 }] })
  assert.ok(!text.includes('for ('))
  assert.match(text, /a0 \+= \(x\d+ \+ x\d+\) \+ \(x\d+ \+ x\d+\);/, 'the terms are added in pairs')
})

test('edges of a tile are guarded in the store only', () => {
  const { text } = renderWGSL(matmul(63, 64, 32), { vector: null, tiles: [{ axis: 0, size: 4 }] })
  assert.equal(count(loopOf(text), 'if ('), 1)
})

test('what does not depend on a reduce axis is computed before its loop', () => {
  const k = matmul(8, 8, 8)
  const hoisted: Kernel = {
    ...k,
    body: [{ k: 'load', buffer: 0, index: ix.axis(0, 8), guard: [], dtype: 'f32' }, ...k.body.slice(1)],
  }
  assert.equal(count(loopOf(renderWGSL(hoisted, plain).text), 'b0['), 0)
})

test('f32 sums are sums of partial sums: of 16 terms for a few results, of 256 for a tile', () => {
  const tile = { vector: null, tiles: [0, 1].map(axis => ({ axis, size: 4 })) }
  const loops = (terms: number, schedule: Schedule) =>
    count(renderWGSL(matmul(4, 4, terms), schedule).text, 'for (')
  assert.deepEqual(
    [16, 37, 256, 257].map(n => loops(n, plain)),
    [1, 2, 2, 3],
  )
  assert.deepEqual(
    [1024, 4096].map(n => loops(n, tile)),
    [1, 2],
  )
  assert.match(renderWGSL(matmul(4, 4, 37), plain).text, /a0 \+= a0p;/)
})

test('where a driver unrolls too much, short loops with many loads hide their number of steps', () => {
  const machine = {
    subgroup: 8,
    longestInnermost: true,
    hidesTrips: true,
    neighbours: false,
    subgroups: null,
    sharing: null,
    workgroupBytes: 16384,
    matrices: null,
  }
  const render = (terms: number, hidesTrips = true) =>
    renderWGSL(matmul(4, 4, terms), plain, undefined, { ...machine, hidesTrips })
  // two loads a step: 12 steps are 24 loads
  assert.doesNotMatch(render(12).text, /ct_zero/)
  assert.match(render(13).text, /i2 < 13 \+ i32\(ct_zero\);/)
  assert.equal(render(13).zeroBinding, 3)
  assert.doesNotMatch(render(13, false).text, /ct_zero/)
})

test('dispatches beyond 65,535 workgroups spread over y and cover every point', () => {
  for (const n of [1, 64, 65, 65_535 * 64, 65_535 * 64 + 1, 2 ** 31 - 1]) {
    const { workgroups, text } = renderWGSL(mapOf(n, 'i32', [{ k: 'lit', value: 1, dtype: 'i32' }]), plain)
    const size = Number(text.match(/@workgroup_size\((\d+)\)/)?.[1])
    const [x, y, z] = workgroups
    assert.ok(x <= 65_535 && y <= 65_535 && z === 1)
    const excess = x * y - Math.ceil(n / size)
    assert.ok(excess >= 0 && excess < y, `${n} elements: ${workgroups}`)
  }
})

test('every f32 literal reads back as itself; none is written as NaN or infinity', () => {
  fc.assert(
    fc.property(fc.float(), x => {
      const text = literal(x, 'f32')
      const [, word] = text.match(/bitcast<f32>\((\d+)u/) ?? []
      const back =
        word === undefined
          ? Math.fround(Number(text.replace(/f$/, '')))
          : new Float32Array(new Uint32Array([Number(word)]).buffer)[0]
      assert.ok(Object.is(back, x), `${text} is not ${x}`)
      assert.equal(text.includes('ct_zero'), !Number.isFinite(x))
    }),
  )
})

test('the zero uniform is bound only where the text needs it', () => {
  const finite = renderWGSL(mapOf(4, 'f32', [{ k: 'lit', value: 1, dtype: 'f32' }]), plain)
  assert.equal(finite.zeroBinding, null)
  const infinite = renderWGSL(mapOf(4, 'f32', [{ k: 'lit', value: Infinity, dtype: 'f32' }]), plain)
  assert.equal(infinite.zeroBinding, 1)
  assert.match(infinite.text, /@binding\(1\) var<uniform> ct_zero: u32;/)
})

test('a guarded load clamps its index, and tests the guard on integers', () => {
  const i = ix.addConst(ix.axis(0, 8), -2)
  const guard = [ix.condition(i, 0, 8)].filter(c => c !== null)
  const k: Kernel = {
    ...mapOf(8, 'f32', [{ k: 'load', buffer: 1, index: i, guard, dtype: 'f32' }]),
    buffers: [
      { dtype: 'f32', size: 8, access: 'write' },
      { dtype: 'f32', size: 8, access: 'read' },
    ],
  }
  assert.match(renderWGSL(k, plain).text, /select\(0f, b1\[select\(0, .*, (x\d+)\)\], \1\)/)
})

test('buffers that share a binding are words at offsets in it', () => {
  const slots = separateSlots(matmul(4, 4, 4)).map((s, i) => ({
    ...s,
    binding: 0,
    readWrite: true,
    offset: 64 * i,
  }))
  const { text, bindings } = renderWGSL(matmul(4, 4, 4), plain, slots)
  assert.deepEqual(bindings, [0])
  assert.match(text, /\+ 128\] = /)
  assert.equal(count(text, '@binding'), 1)
})

test('f64 and sizes beyond 32 bits are compile errors that name them', () => {
  assert.throws(
    () => renderWGSL(mapOf(4, 'f64', [{ k: 'lit', value: 1, dtype: 'f64' }]), plain),
    (e: Error) => e instanceof CompileError && /f64 runs on the CPU only/.test(e.message),
  )
  assert.throws(
    () => renderWGSL(mapOf(2 ** 31, 'f32', [{ k: 'lit', value: 1, dtype: 'f32' }]), plain),
    (e: Error) => e instanceof CompileError && e.message.includes(String(2 ** 31)),
  )
})
