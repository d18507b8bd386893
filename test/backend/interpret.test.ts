import assert from 'node:assert/strict'
import test from 'node:test'
import { add, addConst, axis, constant, scale, value } from '../../src/backend/affine.ts'
import { interpretKernel } from '../../src/backend/interpret.ts'
import type { Instr, Kernel } from '../../src/backend/kernel.ts'

const load = (buffer: number, index: ReturnType<typeof axis>, dtype: 'f32' | 'i32' = 'f32'): Instr => ({
  k: 'load',
  buffer,
  index,
  guard: [],
  dtype,
})

test('a contraction is the matrix product', () => {
  const [i, j, k] = [axis(0, 2), axis(1, 2), axis(2, 3)]
  const kernel: Kernel = {
    name: 'matmul',
    axes: [
      { extent: 2, kind: 'parallel' },
      { extent: 2, kind: 'parallel' },
      { extent: 3, kind: 'reduce' },
    ],
    buffers: [
      { dtype: 'f32', size: 6, access: 'read' },
      { dtype: 'f32', size: 6, access: 'read' },
      { dtype: 'f32', size: 4, access: 'write' },
    ],
    body: [
      load(0, add(scale(i, 3), k)),
      load(1, add(scale(k, 2), j)),
      { k: 'scalar', fn: 'mul', args: [0, 1], dtype: 'f32' },
    ],
    accumulators: [{ how: 'sum', value: 2, dtype: 'f32' }],
    epilogue: [{ k: 'acc', accumulator: 0, dtype: 'f32' }],
    stores: [{ buffer: 2, index: add(scale(i, 2), j), value: 3, mode: 'set', guard: [] }],
  }
  const y = new Float32Array(4)
  interpretKernel(kernel, [Float32Array.of(1, 2, 3, 4, 5, 6), Float32Array.of(1, 0, 0, 1, 1, 1), y])
  assert.deepEqual([...y], [4, 5, 10, 11])
})

/** y[i] = x[at(i)] under a guard 0 <= i - 1 < 2 over 4 elements. */
const shifted = (guarded: boolean): Kernel => ({
  name: 'shift',
  axes: [{ extent: 4, kind: 'parallel' }],
  buffers: [
    { dtype: 'f32', size: 2, access: 'read' },
    { dtype: 'f32', size: 4, access: 'write' },
  ],
  body: [
    {
      k: 'load',
      buffer: 0,
      index: addConst(axis(0, 4), -1),
      guard: guarded ? [{ index: addConst(axis(0, 4), -1), lo: 0, hi: 2 }] : [],
      dtype: 'f32',
    },
  ],
  accumulators: [],
  epilogue: [],
  stores: [{ buffer: 1, index: axis(0, 4), value: 0, mode: 'set', guard: [] }],
})

test('a load outside its guard is 0 and no access; without a guard it is an error', () => {
  const y = new Float32Array(4).fill(9)
  interpretKernel(shifted(true), [Float32Array.of(5, 6), y])
  assert.deepEqual([...y], [0, 5, 6, 0])
  assert.throws(() => interpretKernel(shifted(false), [Float32Array.of(5, 6), y]), /index -1 of 2/)
})

test('arg reductions take the first extremum over the flat reduce axes, and the first NaN before it', () => {
  const [i, j] = [axis(0, 2), axis(1, 3)]
  const kernel = (how: 'argmax' | 'argmin'): Kernel => ({
    name: how,
    axes: [
      { extent: 2, kind: 'reduce' },
      { extent: 3, kind: 'reduce' },
    ],
    buffers: [
      { dtype: 'f32', size: 6, access: 'read' },
      { dtype: 'i32', size: 1, access: 'write' },
    ],
    body: [load(0, add(scale(i, 3), j))],
    accumulators: [{ how, value: 0, dtype: 'f32' }],
    epilogue: [{ k: 'acc', accumulator: 0, dtype: 'i32' }],
    stores: [{ buffer: 1, index: constant(0), value: 1, mode: 'set', guard: [] }],
  })
  const run = (how: 'argmax' | 'argmin', x: readonly number[]) => {
    const y = new Int32Array(1)
    interpretKernel(kernel(how), [Float32Array.from(x), y])
    return y[0]
  }
  assert.equal(run('argmax', [1, 4, 2, 4, 0, 0]), 1)
  assert.equal(run('argmin', [1, 4, 2, 4, 0, 0]), 4)
  assert.equal(run('argmax', [1, 4, Number.NaN, Number.NaN, 9, 0]), 2)
})

test('stores of mode add happen at every reduce point, and only where their guard holds', () => {
  const kernel: Kernel = {
    name: 'count',
    axes: [{ extent: 5, kind: 'reduce' }],
    buffers: [
      { dtype: 'i32', size: 5, access: 'read' },
      { dtype: 'i32', size: 3, access: 'add' },
    ],
    body: [load(0, axis(0, 5), 'i32'), { k: 'lit', value: 1, dtype: 'i32' }],
    accumulators: [],
    epilogue: [],
    stores: [
      { buffer: 1, index: value(0), value: 1, mode: 'add', guard: [{ index: value(0), lo: 0, hi: 3 }] },
    ],
  }
  const y = new Int32Array(3)
  interpretKernel(kernel, [Int32Array.of(2, 0, 2, -7, 3), y])
  assert.deepEqual([...y], [1, 0, 2])
})
