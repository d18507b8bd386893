/**
 * Reductions with literal types: `sum(x, { axes: [1] })`, `pipe(x, sum({ axes: [1] }))`. Without `axes` they take
 * all axes; `keepdims` leaves the axes with extent 1.
 */
import * as b from '../build.ts'
import type { DType } from '../dtype.ts'
import { isFloat } from '../dtype.ts'
import { dual, named, withData } from '../dual.ts'
import { type Shape, showType, size } from '../shape.ts'
import type { Tensor } from '../tensor.ts'
import type { AxesCheck, Only, Option, Reduced, ReduceOp, ReduceOptions } from '../types/axes.ts'
import { mismatch } from '../types/mismatch.ts'

const reduction = <Op extends string>(
  op: Op,
  body: (x: Tensor, axes: readonly number[], keep: boolean) => Tensor,
) =>
  dual<ReduceOp<Op>>(withData, (x: Tensor, { axes, keepdims = false }: ReduceOptions = {}) =>
    body(x, b.normalAxes(op, axes, x.shape.length), keepdims),
  )

const needsFloat = (op: string, x: Tensor): void => {
  if (!isFloat(x.dtype)) mismatch(op, 'takes floats', [`x  ${showType(x)}`, "use cast(x, 'f32')"])
}
const needsElements = (op: string, x: Tensor, axes: readonly number[]): void => {
  if (axes.some(a => x.shape[a] === 0))
    mismatch(op, 'no elements have no such value', [`x  ${showType(x)}`, `axes  [${axes}]`])
}
const count = (x: Tensor, axes: readonly number[]): number => size(axes.map(a => x.shape[a]))
/** sqrt(x) with the gradient 0 at x = 0, where the true one is infinite: distances and deviations of constants. */
const safeSqrt = (x: Tensor): Tensor => {
  const zero = b.eq(x, 0)
  return b.select(zero, 0, b.map('sqrt', b.select(zero, 1, x)))
}

/** The sum over axes. @throws ShapeError if an axis is missing @example sum(x, { axes: [1], keepdims: true }) */
export const sum = reduction('sum', (x, axes, keep) => b.sum(x, axes, keep))
/** The mean over axes, of floats. @throws ShapeError as `sum` @example mean(x, { axes: [2, 3] }) */
export const mean = reduction('mean', (x, axes, keep) => {
  needsFloat('mean', x)
  return b.mean(x, axes, keep)
})
/** The largest element over axes; NaN wins. @throws ShapeError as `sum`, or over no elements @example max(x, { axes: -1 }) */
export const max = reduction('max', (x, axes, keep) => {
  needsElements('max', x, axes)
  return b.reduce('max', x, axes, keep)
})
/** The smallest element over axes; NaN wins. @throws ShapeError as `max` @example min(x) */
export const min = reduction('min', (x, axes, keep) => {
  needsElements('min', x, axes)
  return b.reduce('min', x, axes, keep)
})
/** The product over axes. @throws ShapeError as `sum` @example prod(x, { axes: 0 }) */
export const prod = reduction('prod', (x, axes, keep) => b.reduce('prod', x, axes, keep))

/** The options of `variance` and `std`. */
export interface VarianceOptions extends ReduceOptions {
  /** What is taken from the count: 0 (default) for the population's, 1 for the sample's (PyTorch's default). */
  readonly correction?: number
}
const varianceOf = (op: string, x: Tensor, { axes, keepdims = false, correction = 0 }: VarianceOptions) => {
  needsFloat(op, x)
  const list = b.normalAxes(op, axes, x.shape.length)
  const d = b.sub(x, b.mean(x, list, true))
  return b.div(b.sum(b.mul(d, d), list, keepdims), Math.max(count(x, list) - correction, 0))
}
/**
 * The variance over axes, in two passes: sum of (x - mean)^2 / (n - correction).
 * @throws ShapeError as `sum`
 * @example variance(x, { axes: [0, 2, 3], correction: 1 })
 */
export const variance = dual<ReduceOp<'variance', VarianceOptions>>(
  withData,
  named('variance', (x: Tensor, options: VarianceOptions = {}) => varianceOf('variance', x, options)),
)
/** The square root of `variance`; the gradient of a constant is 0. @throws ShapeError as `sum` @example std(x) */
export const std = dual<ReduceOp<'std', VarianceOptions>>(
  withData,
  named('std', (x: Tensor, options: VarianceOptions = {}) => safeSqrt(varianceOf('std', x, options))),
)

/**
 * log(sum(exp(x))) over axes, without overflow: the maximum is taken out first. Of -inf only it is -inf, with a
 * gradient of 0; beside +inf it is +inf.
 * @throws ShapeError as `max`
 * @example logsumexp(logits, { axes: 1 })
 */
export const logsumexp = reduction(
  'logsumexp',
  named('logsumexp', (x: Tensor, axes: readonly number[], keep: boolean) => {
    needsFloat('logsumexp', x)
    needsElements('logsumexp', x, axes)
    const top = b.stopGradient(b.reduce('max', x, axes, true))
    const shift = b.select(b.eq(b.map('abs', top), Number.POSITIVE_INFINITY), 0, top)
    const total = b.sum(b.map('exp', b.sub(x, shift)), axes, true)
    const none = b.eq(total, 0)
    const y = b.select(none, Number.NEGATIVE_INFINITY, b.add(b.map('log', b.select(none, 1, total)), shift))
    return keep ? y : b.reshape(y, withoutAxes(x, axes))
  }),
)
const withoutAxes = (x: Tensor, axes: readonly number[]): number[] =>
  x.shape.filter((_, a) => !axes.includes(a))

/** The options of `norm`. */
export interface NormOptions extends ReduceOptions {
  /** 2 (default): root of the sum of squares; 1: sum of magnitudes; Infinity: the largest magnitude. */
  readonly ord?: number
}
/**
 * The vector norm over axes; its gradient at zero is 0.
 * @throws ShapeError as `sum`, or if `ord` is neither 1, 2 nor Infinity
 * @example norm(x, { axes: 1, keepdims: true })
 */
export const norm = dual<ReduceOp<'norm', NormOptions>>(
  withData,
  named('norm', (x: Tensor, { axes, keepdims = false, ord = 2 }: NormOptions = {}) => {
    needsFloat('norm', x)
    const list = b.normalAxes('norm', axes, x.shape.length)
    if (ord === 2) return safeSqrt(b.sum(b.mul(x, x), list, keepdims))
    if (ord === 1) return b.sum(b.map('abs', x), list, keepdims)
    if (ord === Number.POSITIVE_INFINITY) return b.reduce('max', b.map('abs', x), list, keepdims)
    return mismatch('norm', `ord is 1, 2 or Infinity, got ${ord}`)
  }),
)

/** The options of `argmax` and `argmin`. */
export interface ArgOptions {
  /** The axis to search; by default the tensor is flat. */
  readonly axis?: number
  readonly keepdims?: boolean
}
interface ArgOp<Op extends string> {
  <const O extends ArgOptions>(
    options: O & Only<O, ArgOptions>,
  ): <S extends Shape>(
    x: Tensor<S> & AxesCheck<Op, S, Option<O, 'axis', undefined>>,
  ) => Tensor<Reduced<S, Option<O, 'axis', undefined>, Option<O, 'keepdims', false>>, 'i32'>
  <S extends Shape, const O extends ArgOptions>(
    x: Tensor<S> & AxesCheck<Op, S, Option<O, 'axis', undefined>>,
    options: O & Only<O, ArgOptions>,
  ): Tensor<Reduced<S, Option<O, 'axis', undefined>, Option<O, 'keepdims', false>>, 'i32'>
  (): (x: Tensor) => Tensor<readonly [], 'i32'>
  (x: Tensor): Tensor<readonly [], 'i32'>
}
const argReduction = <Op extends 'argmax' | 'argmin'>(op: Op) =>
  dual<ArgOp<Op>>(withData, (x: Tensor, { axis, keepdims = false }: ArgOptions = {}) => {
    const flat = axis === undefined ? b.reshape(x, [-1]) : x
    const list = b.normalAxes(op, axis ?? 0, flat.shape.length)
    needsElements(op, flat, list)
    const y = b.reduce(op, flat, list, keepdims && axis !== undefined)
    return keepdims && axis === undefined
      ? b.reshape(
          y,
          x.shape.map(() => 1),
        )
      : y
  })
/** The position of the first largest element, as i32. @throws ShapeError as `max` @example argmax(logits, { axis: 1 }) */
export const argmax = argReduction('argmax')
/** The position of the first smallest element, as i32. @throws ShapeError as `max` @example argmin(x) */
export const argmin = argReduction('argmin')

interface LogicalOp<Op extends string, Out extends DType> {
  <const O extends ReduceOptions>(
    options: O & Only<O, ReduceOptions>,
  ): <S extends Shape>(
    x: Tensor<S> & AxesCheck<Op, S, Option<O, 'axes', undefined>>,
  ) => Tensor<Reduced<S, Option<O, 'axes', undefined>, Option<O, 'keepdims', false>>, Out>
  <S extends Shape, const O extends ReduceOptions>(
    x: Tensor<S> & AxesCheck<Op, S, Option<O, 'axes', undefined>>,
    options: O & Only<O, ReduceOptions>,
  ): Tensor<Reduced<S, Option<O, 'axes', undefined>, Option<O, 'keepdims', false>>, Out>
  (): (x: Tensor) => Tensor<readonly [], Out>
  (x: Tensor): Tensor<readonly [], Out>
}
const counting = <Op extends string, Out extends DType>(
  op: Op,
  body: (x: Tensor, axes: readonly number[], keep: boolean) => Tensor,
) =>
  dual<LogicalOp<Op, Out>>(withData, (x: Tensor, { axes, keepdims = false }: ReduceOptions = {}) =>
    body(x, b.normalAxes(op, axes, x.shape.length), keepdims),
  )
const countOf = (x: Tensor, axes: readonly number[], keep: boolean): Tensor =>
  b.sum(b.cast(b.cast(x, 'bool'), 'i32'), axes, keep)
/** The number of elements that are not 0, as i32. @throws ShapeError as `sum` @example countNonzero(mask) */
export const countNonzero = counting<'countNonzero', 'i32'>('countNonzero', countOf)
/** Whether some element is not 0 (false of none), as bool. @throws ShapeError as `sum` @example any(isNaN(x)) */
export const any = counting<'any', 'bool'>('any', (x, axes, keep) => b.map('ne', countOf(x, axes, keep), 0))
/** Whether every element is not 0 (true of none), as bool. @throws ShapeError as `sum` @example all(equal(x, y)) */
export const all = counting<'all', 'bool'>('all', (x, axes, keep) =>
  b.eq(countOf(x, axes, keep), count(x, axes)),
)

interface Cumsum {
  <const A extends number>(
    axis: A,
  ): <S extends Shape, D extends DType>(x: Tensor<S, D> & AxesCheck<'cumsum', S, A>) => Tensor<S, D>
  <S extends Shape, D extends DType, const A extends number>(
    x: Tensor<S, D> & AxesCheck<'cumsum', S, A>,
    axis: A,
  ): Tensor<S, D>
}
/**
 * Running sums along an axis: y[i] = x[0] + ... + x[i], in log2(n) steps of shifted additions.
 * @throws ShapeError if the axis is missing
 * @example cumsum(x, -1)
 */
export const cumsum = dual<Cumsum>(
  withData,
  named('cumsum', (x: Tensor, axis: number) => {
    const [a] = b.normalAxes('cumsum', axis, x.shape.length)
    const n = x.shape[a]
    let y = x
    for (let shift = 1; shift < n; shift *= 2) {
      const kept = b.sliceAxis(y, a, 0, n - shift)
      const low = x.shape.map((_, i) => (i === a ? shift : 0))
      y = b.add(
        y,
        b.pad(
          kept,
          low,
          low.map(() => 0),
        ),
      )
    }
    return y
  }),
)
