/** Arguments and answers of properties of derivatives: arrays without ties, elements, errors. */
import assert from 'node:assert/strict'
import { evaluate } from '../../src/backend/cpu/reference-backend.ts'
import { array, type NDArray } from '../../src/dsl/array.ts'
import { GradientError } from '../../src/dsl/errors.ts'
import { range, type Shape, size } from '../../src/dsl/shape.ts'
import type { Tensor } from '../../src/dsl/tensor.ts'
import { key, uniformAt } from '../../src/dsl/threefry.ts'

/** Distinct f64 values in [0.5, 1.5), in no order. */
export const values = (shape: Shape, seed: number): NDArray =>
  array(
    shape,
    'f64',
    range(size(shape)).map(i => 0.5 + uniformAt(key(seed), i)),
  )
/** A tensor's elements, by the reference. */
export const list = (t: Tensor): number[] => Array.from(evaluate(t).data)
/** Asserts a GradientError with these words. */
export const throwsGradientError = (f: () => unknown, message: RegExp): void => {
  assert.throws(f, (e: Error) => e instanceof GradientError && message.test(e.message), String(message))
}
