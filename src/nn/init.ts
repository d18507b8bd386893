/**
 * Initial values, on the host. In: a key and a shape. Out: an array; the same key gives the same values everywhere.
 * Kernels are [out, in / groups, kh, kw], matrices [out, in], as in PyTorch.
 */
import { array, type NDArray } from '../dsl/array.ts'
import { type FloatDType, makeData } from '../dsl/dtype.ts'
import { UsageError } from '../dsl/errors.ts'
import { type Shape, size } from '../dsl/shape.ts'
import { type Key, split, uniformAt } from '../dsl/threefry.ts'

/** Makes an array of a shape from a key. */
export type Initialiser = (key: Key, shape: Shape) => NDArray

/** `gain` multiplies the deviation; `dtype` is f32 unless given. */
export interface InitOptions {
  readonly gain?: number
  readonly dtype?: FloatDType
}
/** `mode`: keep the variance of the activations (fanIn, the default) or of the gradients (fanOut). */
export interface KaimingOptions extends InitOptions {
  readonly mode?: 'fanIn' | 'fanOut'
}

/**
 * The numbers of values that an output sums (in) and that an input reaches (out).
 *   fanIn = shape[1] k, fanOut = shape[0] k, k = the product of the remaining extents
 * @throws UsageError if the shape has fewer than two axes
 * @example fans([64, 3, 7, 7]) // { fanIn: 147, fanOut: 3136 }
 */
export function fans(shape: Shape): { readonly fanIn: number; readonly fanOut: number } {
  if (shape.length < 2) throw new UsageError(`fans: a weight has two axes or more, got [${shape.join(', ')}]`)
  const k = size(shape.slice(2))
  return { fanIn: shape[1] * k, fanOut: shape[0] * k }
}

/** An array of one value. @example filled([64], 1) */
export const filled = (shape: Shape, value: number, dtype: FloatDType = 'f32'): NDArray =>
  array(shape, dtype, makeData(dtype, size(shape)).fill(value))

/** An array whose values are drawn when they are first read: counting parameters or tracing draws none. */
const generate = (shape: Shape, dtype: FloatDType, at: (i: number) => number): NDArray => {
  let drawn: NDArray['data'] | undefined
  const draw = () => {
    const data = makeData(dtype, size(shape))
    for (let i = 0; i < data.length; i++) data[i] = at(i)
    return data
  }
  return {
    shape,
    dtype,
    get data() {
      drawn ??= draw()
      return drawn
    },
  }
}

/**
 * Normal numbers by Box and Muller, the same (up to rounding) as the tensor `normal` of this key.
 * @example normal([7, 0], [64, 3, 3, 3], { std: 0.01 })
 */
export function normal(
  key: Key,
  shape: Shape,
  { std = 1, dtype = 'f32' }: { readonly std?: number; readonly dtype?: FloatDType } = {},
): NDArray {
  const [a, b] = split(key, 2)
  return generate(
    shape,
    dtype,
    i => std * Math.sqrt(-2 * Math.log(1 - uniformAt(a, i))) * Math.cos(2 * Math.PI * uniformAt(b, i)),
  )
}

/** Uniform numbers in [-bound, bound). @example uniform(key, [64], { bound: 0.1 }) */
export const uniform = (
  key: Key,
  shape: Shape,
  { bound = 1, dtype = 'f32' }: { readonly bound?: number; readonly dtype?: FloatDType } = {},
): NDArray => generate(shape, dtype, i => bound * (2 * uniformAt(key, i) - 1))

const kaimingStd = (shape: Shape, { mode = 'fanIn', gain = Math.SQRT2 }: KaimingOptions): number =>
  gain / Math.sqrt(fans(shape)[mode])
const xavierStd = (shape: Shape, gain = 1): number => {
  const { fanIn, fanOut } = fans(shape)
  return gain * Math.sqrt(2 / (fanIn + fanOut))
}

/**
 * Normal numbers of deviation gain / sqrt(fan); the gain is sqrt 2, for a rectifier.
 * @see He et al. 2015, arXiv:1502.01852
 * @example kaimingNormal(key, [64, 3, 7, 7], { mode: 'fanOut' })
 */
export const kaimingNormal = (key: Key, shape: Shape, options: KaimingOptions = {}): NDArray =>
  normal(key, shape, { std: kaimingStd(shape, options), dtype: options.dtype })

/** Uniform numbers of the same deviation: the bound is sqrt(3) gain / sqrt(fan). @example kaimingUniform(key, [64, 32]) */
export const kaimingUniform = (key: Key, shape: Shape, options: KaimingOptions = {}): NDArray =>
  uniform(key, shape, { bound: Math.sqrt(3) * kaimingStd(shape, options), dtype: options.dtype })

/**
 * Normal numbers of deviation gain sqrt(2 / (fanIn + fanOut)).
 * @see Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks"
 * @example xavierNormal(key, [64, 32])
 */
export const xavierNormal = (key: Key, shape: Shape, { gain, dtype }: InitOptions = {}): NDArray =>
  normal(key, shape, { std: xavierStd(shape, gain), dtype })

/** Uniform numbers of the same deviation: the bound is gain sqrt(6 / (fanIn + fanOut)). @example xavierUniform(key, [64, 32]) */
export const xavierUniform = (key: Key, shape: Shape, { gain, dtype }: InitOptions = {}): NDArray =>
  uniform(key, shape, { bound: Math.sqrt(3) * xavierStd(shape, gain), dtype })
