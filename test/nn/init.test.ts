/** Initial values: their deviations, bounds and reproducibility. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { evaluate } from '../../src/backend/cpu/reference-backend.ts'
import type { NDArray } from '../../src/dsl/array.ts'
import { keyTensor, normal as normalTensor, uniform as uniformTensor } from '../../src/dsl/ops/random.ts'
import { key } from '../../src/dsl/threefry.ts'
import {
  fans,
  filled,
  kaimingNormal,
  kaimingUniform,
  normal,
  uniform,
  xavierNormal,
  xavierUniform,
} from '../../src/nn/init.ts'

const shape = [40, 20, 3, 3]
const moments = ({ data }: NDArray) => {
  const xs = Array.from(data, Number)
  const mean = xs.reduce((a, x) => a + x, 0) / xs.length
  return {
    mean,
    std: Math.sqrt(xs.reduce((a, x) => a + (x - mean) ** 2, 0) / xs.length),
    largest: xs.reduce((a, x) => Math.max(a, Math.abs(x)), 0),
  }
}

test('fans are those of PyTorch', () => {
  assert.deepEqual(fans([64, 3, 7, 7]), { fanIn: 147, fanOut: 3136 })
  assert.deepEqual(fans([10, 512]), { fanIn: 512, fanOut: 10 })
  assert.throws(() => fans([10]), /two axes or more/)
})

test('values have the published deviation, and uniform ones its sqrt(3) as bound', () => {
  const [fanIn, fanOut] = [180, 360]
  const table = [
    [kaimingNormal(key(1), shape), Math.sqrt(2 / fanIn), false],
    [kaimingNormal(key(1), shape, { mode: 'fanOut', gain: 1 }), Math.sqrt(1 / fanOut), false],
    [kaimingUniform(key(1), shape), Math.sqrt(2 / fanIn), true],
    [xavierNormal(key(1), shape), Math.sqrt(2 / (fanIn + fanOut)), false],
    [xavierUniform(key(1), shape, { gain: 2 }), 2 * Math.sqrt(2 / (fanIn + fanOut)), true],
  ] as const
  for (const [values, std, bounded] of table) {
    const got = moments(values)
    // 7200 values: the deviation is known to 1 part in 120, the mean to std / 85; four of each
    assert.ok(Math.abs(got.std / std - 1) < 0.034, `${got.std} against ${std}`)
    assert.ok(Math.abs(got.mean) < 0.048 * std)
    if (bounded) assert.ok(got.largest <= Math.sqrt(3) * std * (1 + 1e-6))
  }
})

test('the host draws the numbers that the tensor operations draw from the same key', () => {
  const n = normal([3, 4], [50], { std: 2, dtype: 'f64' })
  const wanted = evaluate(normalTensor(keyTensor([3, 4]), [50], { std: 2, dtype: 'f64' }))
  n.data.forEach((x, i) => {
    assert.ok(Math.abs(Number(x) - Number(wanted.data[i])) < 1e-13)
  })
  const u = evaluate(uniformTensor(keyTensor([3, 4]), [50], { min: -0.5, max: 0.5 }))
  uniform([3, 4], [50], { bound: 0.5 }).data.forEach((x, i) => {
    assert.ok(Math.abs(Number(x) - Number(u.data[i])) < 1e-7)
  })
})

test('filled has one value and the dtype that was asked for', () => {
  assert.deepEqual(filled([2, 2], 0.5), {
    shape: [2, 2],
    dtype: 'f32',
    data: Float32Array.of(0.5, 0.5, 0.5, 0.5),
  })
  assert.equal(filled([1], 1, 'f64').dtype, 'f64')
})

test('values are drawn when they are first read, and once', () => {
  const never = normal([1, 2], [2 ** 20, 2 ** 20]) // 4 TiB, were they drawn
  assert.deepEqual([never.shape, never.dtype], [[2 ** 20, 2 ** 20], 'f32'])
  const values = uniform([1, 2], [3])
  assert.equal(values.data, values.data)
  assert.deepEqual({ ...values }, uniform([1, 2], [3]))
})
