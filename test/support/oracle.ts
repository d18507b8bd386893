/** What tests of operations compare with: elements by index formulas, random operands, gradients; plain loops. */
import assert from 'node:assert/strict'
import { grad } from '../../src/autodiff/grad.ts'
import { evaluate } from '../../src/backend/cpu/reference-backend.ts'
import { sum } from '../../src/dsl/ops/reduce.ts'
import { range, type Shape, size, strides } from '../../src/dsl/shape.ts'
import { constant, type Tensor } from '../../src/dsl/tensor.ts'
import { key, uniformAt } from '../../src/dsl/threefry.ts'

/** A tensor's elements, by the reference interpreter. */
export const values = (t: Tensor): number[] => Array.from(evaluate(t).data)
/** f64 noise in [-2, 2). */
export const random = (shape: Shape, seed: number): Tensor<Shape, 'f64'> =>
  constant(
    shape,
    'f64',
    Float64Array.from(range(size(shape)), i => 4 * uniformAt(key(seed), i) - 2),
  )
/** An i32 constant. */
export const ints = (shape: Shape, data: readonly number[]): Tensor<Shape, 'i32'> =>
  constant(shape, 'i32', Int32Array.from(data))
/** Elements that are a function of their index. */
export const elements = (shape: Shape, f: (index: readonly number[]) => number): number[] => {
  const by = strides(shape)
  return range(size(shape)).map(i => f(shape.map((n, a) => Math.floor(i / by[a]) % n)))
}
/** Reads a tensor's element; 0 outside. */
export const reader = (t: Tensor) => {
  const data = values(t)
  const by = strides(t.shape)
  return (...index: number[]): number =>
    index.every((i, a) => Number.isInteger(i) && i >= 0 && i < t.shape[a])
      ? data[index.reduce((n, i, a) => n + i * by[a], 0)]
      : 0
}
/** Whether lists agree. 1e-12: sums of at most some hundred products of numbers below 4, in f64. */
export const near = (got: readonly number[], want: readonly number[], tolerance = 1e-12): void => {
  assert.equal(got.length, want.length)
  got.forEach((y, i) => {
    assert.ok(
      Object.is(y, want[i]) || Math.abs(y - want[i]) <= tolerance * (1 + Math.abs(want[i])),
      `element ${i}: ${y}, expected ${want[i]}`,
    )
  })
}
/** The gradient of the sum of f at x. */
export const gradientOf = (f: (x: Tensor) => Tensor, x: Tensor): number[] =>
  values(grad((t: Tensor) => sum(f(t)))(x))
