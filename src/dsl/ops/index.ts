/**
 * Tensors from nothing (ranges, fills), and operations that choose elements by position: take, gather, scatterAdd,
 * oneHot, sort, topk; with literal types. Positions are i32.
 */
import * as b from '../build.ts'
import { type DType, isFloat } from '../dtype.ts'
import { dual, named, withData, withTwo } from '../dual.ts'
import { type Shape, showType } from '../shape.ts'
import type { Tensor } from '../tensor.ts'
import type { AxesCheck, Only, Option, WithExtent } from '../types/axes.ts'
import type { None } from '../types/broadcast.ts'
import { mismatch } from '../types/mismatch.ts'

// Each constructor below makes the literal shape that it is given; the untyped language does not say so.

/** A tensor of one value. @example full([2, 3], 0.5) */
export const full = <const S extends Shape, D extends DType = 'f32'>(
  shape: S,
  value: number,
  dtype?: D,
): Tensor<S, D> => b.full(shape, value, dtype ?? 'f32') as Tensor<S, D>
/** Zeros. @example zeros([2, 3], 'i32') */
export const zeros = <const S extends Shape, D extends DType = 'f32'>(shape: S, dtype?: D): Tensor<S, D> =>
  full(shape, 0, dtype)
/** Ones. @example ones([2, 3]) */
export const ones = <const S extends Shape, D extends DType = 'f32'>(shape: S, dtype?: D): Tensor<S, D> =>
  full(shape, 1, dtype)
/** 0, 1, ..., n - 1; i32 by default. @example iota(10) */
export const iota = <const N extends number, D extends DType = 'i32'>(
  n: N,
  dtype?: D,
): Tensor<readonly [N], D> => b.iota([n], 0, dtype ?? 'i32') as Tensor<readonly [N], D>
/** start, start + step, ... before stop; i32 by default. @throws ShapeError if the step is 0 @example arange(2, 10, 2) */
export const arange = <D extends DType = 'i32'>(
  start: number,
  stop: number,
  step = 1,
  dtype?: D,
): Tensor<readonly [number], D> => {
  if (step === 0) mismatch('arange', 'the step is 0')
  const n = Math.max(Math.ceil((stop - start) / step), 0)
  return b.add(b.mul(b.iota([n], 0, dtype ?? 'i32'), step), start) as Tensor<readonly [number], D>
}
/** n numbers from start to stop, both included. @example linspace(0, 1, 5) */
export const linspace = <const N extends number, D extends DType = 'f32'>(
  start: number,
  stop: number,
  n: N,
  dtype?: D,
): Tensor<readonly [N], D> =>
  b.add(b.mul(b.iota([n], 0, dtype ?? 'f32'), n > 1 ? (stop - start) / (n - 1) : 0), start) as Tensor<
    readonly [N],
    D
  >
/** The identity matrix. @example eye(3) */
export const eye = <const N extends number, D extends DType = 'f32'>(
  n: N,
  dtype?: D,
): Tensor<readonly [N, N], D> =>
  b.cast(b.eq(b.iota([n, n], 0), b.iota([n, n], 1)), dtype ?? 'f32') as Tensor<readonly [N, N], D>

/** Which axis is indexed. */
export interface AxisOptions {
  /** 0 by default. */
  readonly axis?: number
}
type AxisOf<O, Default extends number = 0> = Option<O, 'axis', Default> & number

interface Take {
  <I extends Shape, const O extends AxisOptions = None>(
    indices: Tensor<I, 'i32'>,
    options?: O & Only<O, AxisOptions>,
  ): <S extends Shape, D extends DType>(
    x: Tensor<S, D> & AxesCheck<'take', S, AxisOf<O>>,
  ) => Tensor<WithExtent<S, AxisOf<O>, I[0]>, D>
  <S extends Shape, D extends DType, I extends Shape, const O extends AxisOptions = None>(
    x: Tensor<S, D> & AxesCheck<'take', S, AxisOf<O>>,
    indices: Tensor<I, 'i32'>,
    options?: O & Only<O, AxisOptions>,
  ): Tensor<WithExtent<S, AxisOf<O>, I[0]>, D>
}
/**
 * The slices of x at some positions of an axis: y[.., k, ..] = x[.., indices[k], ..].
 * @param indices  [count], i32
 * @throws ShapeError if the indices are no i32 list
 * @example take(embedding, tokens) // [count, features]
 */
export const take = dual<Take>(withTwo, (x: Tensor, indices: Tensor, { axis = 0 }: AxisOptions = {}) => {
  const [a] = b.normalAxes('take', axis, x.shape.length)
  if (indices.shape.length !== 1 || indices.dtype !== 'i32')
    mismatch('take', 'the indices must be i32[count]', [`indices  ${showType(indices)}`])
  const n = indices.shape[0]
  const spread = b.reshape(
    indices,
    x.shape.map((_, i) => (i === a ? n : 1)),
  )
  return b.gather(
    x,
    b.broadcastTo(
      spread,
      x.shape.map((d, i) => (i === a ? n : d)),
    ),
    a,
  )
})

interface Gather {
  <I extends Shape, const O extends AxisOptions = None>(
    index: Tensor<I, 'i32'>,
    options?: O & Only<O, AxisOptions>,
  ): <S extends Shape, D extends DType>(x: Tensor<S, D> & AxesCheck<'gather', S, AxisOf<O>>) => Tensor<I, D>
  <S extends Shape, D extends DType, I extends Shape, const O extends AxisOptions = None>(
    x: Tensor<S, D> & AxesCheck<'gather', S, AxisOf<O>>,
    index: Tensor<I, 'i32'>,
    options?: O & Only<O, AxisOptions>,
  ): Tensor<I, D>
}
/**
 * Elements of x chosen along an axis, one per element of the index, as torch.gather:
 * y[.., k, ..] = x[.., index[.., k, ..], ..]. On the other axes the index may be smaller than x.
 * @throws ShapeError if the index is not i32, or has another rank, or is larger
 * @example gather(logits, unsqueeze(labels, 1), { axis: 1 })
 */
export const gather = dual<Gather>(withTwo, (x: Tensor, index: Tensor, { axis = 0 }: AxisOptions = {}) => {
  const [a] = b.normalAxes('gather', axis, x.shape.length)
  const fits =
    index.shape.length === x.shape.length && index.shape.every((n, i) => i === a || n <= x.shape[i])
  if (!fits || index.dtype !== 'i32')
    mismatch('gather', `the index must be i32 and may not exceed x but on axis ${a}`, [
      `x      ${showType(x)}`,
      `index  ${showType(index)}`,
    ])
  const part = b.slice(
    x,
    x.shape.map(() => 0),
    x.shape.map((n, i) => (i === a ? n : index.shape[i])),
  )
  return b.gather(part, index, a)
})

interface ScatterAdd {
  <I extends Shape, D extends DType, const O extends AxisOptions = None>(
    index: Tensor<I, 'i32'>,
    updates: Tensor<I, D>,
    options?: O & Only<O, AxisOptions>,
  ): <S extends Shape>(x: Tensor<S, D> & AxesCheck<'scatterAdd', S, AxisOf<O>>) => Tensor<S, D>
  <S extends Shape, D extends DType, I extends Shape, const O extends AxisOptions = None>(
    x: Tensor<S, D> & AxesCheck<'scatterAdd', S, AxisOf<O>>,
    index: Tensor<I, 'i32'>,
    updates: Tensor<I, D>,
    options?: O & Only<O, AxisOptions>,
  ): Tensor<S, D>
}
const withThree = (args: readonly unknown[]): boolean =>
  args.slice(0, 3).every(a => withData([a])) && args.length > 2
/**
 * x with updates added at positions of an axis, as torch.scatter_add: y = x, then
 * y[.., index[.., k, ..], ..] += updates[.., k, ..]. The order is fixed, so two runs give the same bits.
 * @throws ShapeError if index and updates differ in shape, or exceed x on another axis
 * @example scatterAdd(zeros([10]), labels, weights) // a histogram
 */
export const scatterAdd = dual<ScatterAdd>(
  withThree,
  named('scatterAdd', (x: Tensor, index: Tensor, updates: Tensor, { axis = 0 }: AxisOptions = {}) => {
    const [a] = b.normalAxes('scatterAdd', axis, x.shape.length)
    const lines = [`x        ${showType(x)}`, `index    ${showType(index)}`, `updates  ${showType(updates)}`]
    if (index.shape.length !== x.shape.length || index.shape.some((n, i) => i !== a && n > x.shape[i]))
      mismatch('scatterAdd', `the index may not exceed x but on axis ${a}`, lines)
    if (updates.dtype !== x.dtype) mismatch('scatterAdd', 'x and updates must have one dtype', lines)
    const y = b.scatterAdd(index, updates, a, x.shape[a])
    const grown = b.pad(
      y,
      x.shape.map(() => 0),
      x.shape.map((n, i) => n - y.shape[i]),
    )
    return b.add(x, grown)
  }),
)

interface OneHot {
  <const N extends number, D extends DType = 'f32'>(
    depth: N,
    dtype?: D,
  ): <S extends Shape>(labels: Tensor<S>) => Tensor<readonly [...S, N], D>
  <S extends Shape, const N extends number, D extends DType = 'f32'>(
    labels: Tensor<S>,
    depth: N,
    dtype?: D,
  ): Tensor<readonly [...S, N], D>
}
/**
 * 1 at each label's position on a new last axis, 0 elsewhere; a label outside [0, depth) gives zeros.
 * @param labels  [...], integers
 * @returns  [..., depth]
 * @example oneHot(labels, 10)
 */
export const oneHot = dual<OneHot>(withData, (labels: Tensor, depth: number, dtype: DType = 'f32') => {
  if (isFloat(labels.dtype) || labels.dtype === 'bool')
    mismatch('oneHot', 'labels are integers', [`labels  ${showType(labels)}`, "use cast(labels, 'i32')"])
  const shape = [...labels.shape, depth]
  const spread = b.broadcastTo(b.reshape(labels, [...labels.shape, 1]), shape)
  return b.cast(b.eq(spread, b.iota(shape, labels.shape.length, labels.dtype)), dtype)
})

/** How `sort` and `argsort` order. */
export interface SortOptions {
  /** The last one by default. */
  readonly axis?: number
  /** Largest first. */
  readonly descending?: boolean
}
/** Sorted values and the positions they came from. */
export interface Sorted<S extends Shape, D extends DType> {
  readonly values: Tensor<S, D>
  readonly indices: Tensor<S, 'i32'>
}

/**
 * The positions of the elements in order. Each element's rank is the number of those that come before it, by
 * value and then by position; so the order is stable, and takes n^2 comparisons along the axis.
 */
function order(op: string, x: Tensor, { axis = -1, descending = false }: SortOptions): Tensor {
  const [a] = b.normalAxes(op, axis, x.shape.length)
  const n = x.shape[a]
  const [head, tail] = [x.shape.slice(0, a), x.shape.slice(a + 1)]
  const square = [...head, n, n, ...tail]
  const mine = b.broadcastTo(b.reshape(x, [...head, n, 1, ...tail]), square)
  const other = b.broadcastTo(b.reshape(x, [...head, 1, n, ...tail]), square)
  const below = (p: Tensor, q: Tensor): Tensor => {
    const lower = b.less(p, q)
    // NaN is the largest, as in PyTorch.
    return isFloat(x.dtype)
      ? b.map('or', lower, b.map('and', b.map('isnan', q), b.map('not', b.map('isnan', p))))
      : lower
  }
  const [before, after] = [below(other, mine), below(mine, other)]
  const tie = b.map('not', b.map('or', before, after))
  const earlier = b.less(b.iota(square, a + 1), b.iota(square, a))
  const precedes = b.map('or', descending ? after : before, b.map('and', tie, earlier))
  const rank = b.sum(b.cast(precedes, 'i32'), a + 1)
  return b.scatterAdd(rank, b.iota(x.shape, a), a, n)
}

interface ArgSort {
  (options: SortOptions): <S extends Shape>(x: Tensor<S>) => Tensor<S, 'i32'>
  <S extends Shape>(x: Tensor<S>, options?: SortOptions): Tensor<S, 'i32'>
}
/**
 * The positions that sort x along an axis; stable, NaN as the largest. Takes n^2 comparisons along the axis.
 * @throws ShapeError if the axis is missing
 * @example argsort(scores, { descending: true })
 */
export const argsort = dual<ArgSort>(
  withData,
  named('argsort', (x: Tensor, options: SortOptions = {}) => order('argsort', x, options)),
)

interface Sort {
  (options: SortOptions): <S extends Shape, D extends DType>(x: Tensor<S, D>) => Sorted<S, D>
  <S extends Shape, D extends DType>(x: Tensor<S, D>, options?: SortOptions): Sorted<S, D>
}
const sorted = (x: Tensor, indices: Tensor, axis: number) => ({ values: b.gather(x, indices, axis), indices })
/**
 * Sorts along an axis; stable, NaN as the largest. The gradient goes to where the values came from. Takes n^2
 * comparisons along the axis.
 * @throws ShapeError if the axis is missing
 * @example sort(x, { axis: 1, descending: true }).values
 */
export const sort = dual<Sort>(
  withData,
  named('sort', (x: Tensor, options: SortOptions = {}) =>
    sorted(x, order('sort', x, options), options.axis ?? -1),
  ),
)

/** How many of the largest, and along which axis. */
export interface TopKOptions {
  readonly k: number
  /** The last one by default. */
  readonly axis?: number
}
type TopKShape<S extends Shape, O extends TopKOptions> = WithExtent<S, AxisOf<O, -1>, O['k']>
interface TopK {
  <const O extends TopKOptions>(
    options: O & Only<O, TopKOptions>,
  ): <S extends Shape, D extends DType>(
    x: Tensor<S, D> & AxesCheck<'topk', S, AxisOf<O, -1>>,
  ) => Sorted<TopKShape<S, O>, D>
  <S extends Shape, D extends DType, const O extends TopKOptions>(
    x: Tensor<S, D> & AxesCheck<'topk', S, AxisOf<O, -1>>,
    options: O & Only<O, TopKOptions>,
  ): Sorted<TopKShape<S, O>, D>
}
/**
 * The k largest elements along an axis, largest first, NaN as the largest. Takes n^2 comparisons along the axis.
 * @throws ShapeError if the axis is missing or shorter than k
 * @example topk(logits, { k: 5, axis: 1 }).indices
 */
export const topk = dual<TopK>(
  withData,
  named('topk', (x: Tensor, { k, axis = -1 }: TopKOptions) => {
    const [a] = b.normalAxes('topk', axis, x.shape.length)
    if (!Number.isInteger(k) || k < 0 || k > x.shape[a])
      mismatch('topk', `k must be at most the ${x.shape[a]} of axis ${a}, got ${k}`, [`x  ${showType(x)}`])
    return sorted(x, b.sliceAxis(order('topk', x, { axis: a, descending: true }), a, 0, k), a)
  }),
)
