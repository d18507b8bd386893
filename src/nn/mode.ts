/** Keys inside modules: a checked view of the `key` that a training step passes in. */
import { ShapeError } from '../dsl/errors.ts'
import type { KeyTensor } from '../dsl/ops/random.ts'
import { sameShape, showType } from '../dsl/shape.ts'
import { currentScope, type Tensor } from '../dsl/tensor.ts'

const isKey = (x: Tensor): x is KeyTensor => x.dtype === 'u32' && sameShape(x.shape, [2])

/**
 * The tensor as a key.
 * @throws ShapeError if it is not u32[2]
 * @example keyOf(mode.key)
 */
export function keyOf(x: Tensor): KeyTensor {
  if (isKey(x)) return x
  throw new ShapeError(
    'mode.key',
    `a key is u32[2], got ${showType(x)}`,
    ["pass spec([2], 'u32'), or keyTensor(42) as a constant"],
    currentScope(),
  )
}
