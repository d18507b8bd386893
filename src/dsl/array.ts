/** Host arrays: what goes into a compiled function and what comes out. Plain data, row-major. */
import { type DataOf, type DType, makeData } from './dtype.ts'
import { ShapeError } from './errors.ts'
import { type Shape, size } from './shape.ts'

/** A dense row-major array in host memory. */
export interface NDArray<S extends Shape = Shape, D extends DType = DType> {
  readonly shape: S
  readonly dtype: D
  readonly data: DataOf[D]
}

/**
 * Wraps (typed arrays) or copies (plain numbers) `data` as an array of the given shape.
 * @throws ShapeError if the number of elements differs
 * @example array([2, 3], 'f32', [1, 2, 3, 4, 5, 6])
 */
export function array<const S extends Shape, D extends DType>(
  shape: S,
  dtype: D,
  data: DataOf[D] | readonly number[],
): NDArray<S, D> {
  const n = size(shape)
  if (data.length !== n)
    throw new ShapeError('array', `${data.length} values do not fill the shape [${shape.join(', ')}] of ${n}`)
  if (!Array.isArray(data)) return { shape, dtype, data: data as DataOf[D] }
  const out = makeData(dtype, n)
  for (let i = 0; i < n; i++) out[i] = data[i]
  return { shape, dtype, data: out }
}
