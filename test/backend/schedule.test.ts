import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import {
  type Affine,
  add,
  addConst,
  axis,
  type Condition,
  constant,
  div,
  mod,
  scale,
} from '../../src/backend/affine.ts'
import { ACCUMULATORS, chooseSchedule } from '../../src/backend/cpu/schedule.ts'
import { interpretKernel } from '../../src/backend/interpret.ts'
import { type Axis, type Kernel, printKernel } from '../../src/backend/kernel.ts'
import { normaliseKernel } from '../../src/backend/normalise.ts'
import { randomCase, randomData, randomSchedules, seeded, seeds } from './random-kernel.ts'
import { agrees } from './run-kernel.ts'

/** Row-major index. */
const flat = (dims: readonly (readonly [Affine, number])[]): Affine => {
  let index = constant(0)
  let size = 1
  for (const [a, n] of [...dims].reverse()) {
    index = add(index, scale(a, size))
    size *= n
  }
  return index
}
/** y = sum over the reduce axes of x * w. */
function contraction(
  name: string,
  axes: readonly Axis[],
  x: readonly (readonly [Affine, number])[],
  w: readonly (readonly [Affine, number])[],
  y: readonly (readonly [Affine, number])[],
): Kernel {
  const sizes = [x, w, y].map(d => d.reduce((n, [, e]) => n * e, 1))
  return {
    name,
    axes,
    buffers: sizes.map((size, b) => ({ dtype: 'f32', size, access: b === 2 ? 'write' : 'read' })),
    body: [
      { k: 'load', buffer: 0, index: flat(x), guard: [], dtype: 'f32' },
      { k: 'load', buffer: 1, index: flat(w), guard: [], dtype: 'f32' },
      { k: 'scalar', fn: 'mul', args: [0, 1], dtype: 'f32' },
    ],
    accumulators: [{ how: 'sum', value: 2, dtype: 'f32' }],
    epilogue: [{ k: 'acc', accumulator: 0, dtype: 'f32' }],
    stores: [{ buffer: 2, index: flat(y), value: 3, mode: 'set', guard: [] }],
  }
}
const parallel = (...n: number[]): Axis[] => n.map(extent => ({ extent, kind: 'parallel' }))
const reduce = (...n: number[]): Axis[] => n.map(extent => ({ extent, kind: 'reduce' }))

function matmul(m: number, n: number, k: number, ta: boolean, tb: boolean): Kernel {
  const [i, j, l] = [axis(0, m), axis(1, n), axis(2, k)]
  const order = <T>(turned: boolean, a: T, b: T) => (turned ? [b, a] : [a, b])
  return contraction(
    `matmul${ta ? ' A^T' : ''}${tb ? ' B^T' : ''}`,
    [...parallel(m, n), ...reduce(k)],
    order(ta, [i, m] as const, [l, k] as const),
    order(tb, [l, k] as const, [j, n] as const),
    [
      [i, m],
      [j, n],
    ],
  )
}
/** A convolution of n images of c channels, kernel k x k, stride s, result o channels of h x w. */
function conv(n: number, c: number, o: number, h: number, w: number, k: number, s: number): Kernel {
  const [N, O, I, J, C, U, V] = [n, o, h, w, c, k, k].map((e, i) => axis(i, e))
  const [height, width] = [(h - 1) * s + k, (w - 1) * s + k]
  return contraction(
    `conv stride ${s}`,
    [...parallel(n, o, h, w), ...reduce(c, k, k)],
    [
      [N, n],
      [C, c],
      [add(scale(I, s), U), height],
      [add(scale(J, s), V), width],
    ],
    [
      [O, o],
      [C, c],
      [U, k],
      [V, k],
    ],
    [
      [N, n],
      [O, o],
      [I, h],
      [J, w],
    ],
  )
}
/** The gradient of that convolution in its kernel. */
function weightGradient(n: number, c: number, o: number, h: number, w: number, k: number, s: number): Kernel {
  const [O, C, U, V, N, I, J] = [o, c, k, k, n, h, w].map((e, i) => axis(i, e))
  const [height, width] = [(h - 1) * s + k, (w - 1) * s + k]
  return contraction(
    `weight gradient stride ${s}`,
    [...parallel(o, c, k, k), ...reduce(n, h, w)],
    [
      [N, n],
      [C, c],
      [add(scale(I, s), U), height],
      [add(scale(J, s), V), width],
    ],
    [
      [N, n],
      [O, o],
      [I, h],
      [J, w],
    ],
    [
      [O, o],
      [C, c],
      [U, k],
      [V, k],
    ],
  )
}

test('contractions under the chosen schedule agree with the interpreter, as under any other, in every form and at awkward sizes', () => {
  const kernels = [false, true].flatMap(ta =>
    [false, true].flatMap(tb => [
      matmul(7, 13, 9, ta, tb),
      matmul(16, 8, 64, ta, tb),
      matmul(1, 33, 5, ta, tb),
    ]),
  )
  for (const s of [1, 2]) {
    kernels.push(conv(2, 3, 5, 4, 9, 3, s), conv(1, 8, 8, 8, 8, 1, s), conv(2, 4, 4, 2, 2, 3, s))
    kernels.push(weightGradient(2, 3, 5, 4, 9, 3, s), weightGradient(2, 4, 4, 1, 1, 1, s))
  }
  // 1700 terms: long enough that the sum is split into blocks
  kernels.push(matmul(5, 9, 1700, false, false), matmul(5, 9, 1700, false, true))
  // shared often enough that the operand with lanes or rows far apart is packed
  kernels.push(
    matmul(40, 300, 9, false, false),
    conv(1, 3, 70, 3, 9, 3, 2),
    weightGradient(2, 18, 16, 3, 9, 3, 2),
  )
  const draw = seeded(3)
  for (const k of kernels) {
    const data = k.buffers.map(b => randomData(draw, b.dtype, b.size, false))
    const terms = k.axes.reduce((n, a) => (a.kind === 'reduce' ? n * a.extent : n), 1)
    const normal = normaliseKernel(k)
    // products of numbers in [-2, 2]: magnitudes of at most 4, a rounding of 2^-24 of the partial sum each
    const tolerance = () => terms * 2 ** -24 * 4 * Math.sqrt(terms)
    agrees(k, data, [chooseSchedule(k), ...randomSchedules(draw, k.axes)], tolerance)
    agrees(normal, data, [chooseSchedule(normal)], tolerance)
  }
})

test('random kernels keep their results when they are normalised and a schedule is chosen', () => {
  const property = fc.property(seeds, seed => {
    const { kernel, data } = randomCase(seed)
    const normal = normaliseKernel(kernel)
    const [expected, actual] = [kernel, normal].map(k => {
      const buffers = data.map(d => d.slice())
      interpretKernel(k, buffers)
      return buffers
    })
    assert.deepEqual(actual, expected)
    const sums = kernel.accumulators.some(a => a.how === 'sum' && (a.dtype === 'f32' || a.dtype === 'f64'))
    // at most 3000 numbers below 40 each, one rounding of 2^-24 an addition
    const tolerance = sums ? (x: number) => 2 ** -24 * 3000 * (40 + Math.abs(x)) * 0.05 : () => 0
    agrees(normal, data, [chooseSchedule(normal)], tolerance)
  })
  fc.assert(property, { numRuns: 400, endOnFailure: true })
})

test('a 1x1 convolution becomes a product of matrices over height times width', () => {
  const k = normaliseKernel(conv(4, 16, 32, 8, 8, 1, 1))
  assert.deepEqual(
    k.axes.map(a => a.extent),
    [4, 32, 64, 16],
  )
})

test('quotients by a divisor of an axis disappear, and guards bound those that stay', () => {
  const i = axis(0, 24)
  const load = (index: Affine, guard: Condition[]): Kernel => ({
    name: 'load',
    axes: parallel(24),
    buffers: [
      { dtype: 'f32', size: 48, access: 'read' },
      { dtype: 'f32', size: 24, access: 'write' },
    ],
    body: [{ k: 'load', buffer: 0, index, guard, dtype: 'f32' }],
    accumulators: [],
    epilogue: [],
    stores: [{ buffer: 1, index: i, value: 0, mode: 'set', guard: [] }],
  })
  // x[i % 4, i / 4]: a transposition
  const transposed = load(add(scale(mod(i, 4), 6), div(i, 4)), [])
  assert.match(printKernel(normaliseKernel(transposed)), /b0\[6\*i1 \+ i0\]|b0\[i0 \+ 6\*i1\]/)
  // x[(q / 6) 6 + q % 6] where q = (i - 1) / 2 lies in [0, 6)
  const q = div(addConst(i, -1), 2)
  const padded = load(add(scale(div(q, 6), 6), mod(q, 6)), [{ index: q, lo: 0, hi: 6 }])
  assert.doesNotMatch(printKernel(normaliseKernel(padded)), /[/%] 6/)
  // two conditions on one quotient, and one on another
  const r = div(i, 5)
  const both = [
    { index: q, lo: 0, hi: 6 },
    { index: q, lo: 1, hi: 7 },
    { index: r, lo: 0, hi: 3 },
  ]
  const twice = load(add(scale(r, 6), mod(q, 6)), both)
  agrees(
    normaliseKernel(twice),
    [Float32Array.from({ length: 48 }, (_, n) => n), new Float32Array(24)],
    [{ vector: null, tiles: [] }],
  )
  assert.doesNotMatch(printKernel(normaliseKernel(twice)), /% 6/)
})

test('lanes run along memory, and contractions keep as many accumulators as fit the registers', () => {
  for (const k of [
    matmul(64, 64, 64, false, false),
    matmul(64, 64, 64, false, true),
    conv(4, 64, 64, 64, 64, 3, 1),
    weightGradient(4, 64, 64, 64, 64, 3, 1),
  ]) {
    const s = chooseSchedule(k)
    assert.ok(s.vector !== null, k.name)
    const results = s.tiles.reduce((n, t) => (k.axes[t.axis].kind === 'parallel' ? n * t.size : n), 1)
    assert.equal(results, ACCUMULATORS, k.name)
  }
  // lanes run over results also where a packed copy must turn the operand: A B^T, and a convolution's weight gradient
  assert.equal(chooseSchedule(matmul(64, 64, 64, false, true)).vector, 1)
  assert.equal(chooseSchedule(conv(4, 64, 64, 64, 64, 3, 1)).vector, 3)
  assert.equal(chooseSchedule(weightGradient(4, 64, 64, 64, 64, 3, 1)).vector, 0)
})
