/**
 * Operations that rearrange elements, with literal types: reshape, permute, join, cut, pad. All are also
 * data-last: `pipe(x, reshape([8, -1]), transpose)`. Negative axes count from the end.
 */
import * as b from '../build.ts'
import type { DType } from '../dtype.ts'
import { dual, withData } from '../dual.ts'
import { range, type Shape, showType, size } from '../shape.ts'
import type { Tensor } from '../tensor.ts'
import type { Mul } from '../types/arithmetic.ts'
import type {
  Axes,
  AxesCheck,
  Concat,
  ConcatCheck,
  ExtentAt,
  Inserted,
  ListDType,
  Option,
  PermuteCheck,
  Permuted,
  Reduced,
  Squeezed,
  Stacked,
  Swapped,
  WithExtent,
} from '../types/axes.ts'
import type { None } from '../types/broadcast.ts'
import type {
  BroadcastToCheck,
  Flattened,
  Padded,
  ReshapeCheck,
  Reshaped,
  Shuffled,
  Sliced,
  SliceOptions,
  SplitParts,
  SplitSizes,
  Tiled,
  Widths,
} from '../types/extents.ts'
import { mismatch } from '../types/mismatch.ts'

interface Reshape {
  <const T extends Shape>(
    shape: T,
  ): <S extends Shape, D extends DType>(x: Tensor<S, D> & ReshapeCheck<S, T>) => Tensor<Reshaped<S, T>, D>
  <S extends Shape, D extends DType, const T extends Shape>(
    x: Tensor<S, D> & ReshapeCheck<S, T>,
    shape: T,
  ): Tensor<Reshaped<S, T>, D>
}
/**
 * The same elements, row by row, in another shape; one extent may be -1 and is computed.
 * @throws ShapeError if the numbers of elements differ
 * @example reshape(x, [8, -1])
 */
export const reshape = dual<Reshape>(withData, (x: Tensor, shape: Shape) => {
  const known = size(shape.filter(n => n !== -1))
  const holes = shape.filter(n => n === -1).length
  if (holes > 1) mismatch('reshape', `only one extent may be -1, got [${shape.join(', ')}]`)
  const fits = holes === 1 ? known > 0 && size(x.shape) % known === 0 : size(x.shape) === known
  if (!fits)
    mismatch('reshape', `${size(x.shape)} elements do not fill [${shape.join(', ')}]`, [
      `x  ${showType(x)}`,
      holes === 1 ? `the other extents hold ${known}` : `the new shape holds ${known}; one extent may be -1`,
    ])
  return b.reshape(x, shape)
})

interface Permute {
  <const O extends Shape>(
    order: O,
  ): <S extends Shape, D extends DType>(x: Tensor<S, D> & PermuteCheck<S, O>) => Tensor<Permuted<S, O>, D>
  <S extends Shape, D extends DType, const O extends Shape>(
    x: Tensor<S, D> & PermuteCheck<S, O>,
    order: O,
  ): Tensor<Permuted<S, O>, D>
}
/**
 * The axes in another order: axis i of the result is axis `order[i]` of x.
 * @throws ShapeError if the order is no permutation of the axes
 * @example permute(x, [0, 2, 3, 1]) // channels last
 */
export const permute = dual<Permute>(withData, (x: Tensor, order: Shape) => b.permute(x, order))

interface Transpose extends Permute {
  <S extends Shape, D extends DType>(x: Tensor<S, D>): Tensor<Swapped<S>, D>
}
/**
 * The last two axes exchanged, or the axes in the order given.
 * @throws ShapeError if there are fewer than two axes, or as `permute`
 * @example pipe(x, transpose)
 */
export const transpose = dual<Transpose>(withData, (x: Tensor, order?: Shape) => {
  const rank = x.shape.length
  if (order !== undefined) return b.permute(x, order)
  if (rank < 2) mismatch('transpose', 'needs at least two axes', [`x  ${showType(x)}`])
  return b.permute(x, [...range(rank - 2), rank - 1, rank - 2])
})

interface Flatten {
  <const O extends { readonly from?: number }>(
    options: O,
  ): <S extends Shape, D extends DType>(
    x: Tensor<S, D>,
  ) => Tensor<Flattened<S, Option<O, 'from', 0> & number>, D>
  <S extends Shape, D extends DType, const O extends { readonly from?: number }>(
    x: Tensor<S, D>,
    options: O,
  ): Tensor<Flattened<S, Option<O, 'from', 0> & number>, D>
  <S extends Shape, D extends DType>(x: Tensor<S, D>): Tensor<Flattened<S, 0>, D>
}
/**
 * The axes from `from` on (0 by default) as one.
 * @throws ShapeError if there is no such axis
 * @example flatten(features, { from: 1 }) // [batch, c h w]
 */
export const flatten = dual<Flatten>(withData, (x: Tensor, { from = 0 }: { readonly from?: number } = {}) => {
  const first = x.shape.length === 0 ? 0 : b.normalAxes('flatten', from, x.shape.length)[0]
  return b.reshape(x, [...x.shape.slice(0, first), size(x.shape.slice(first))])
})

interface Squeeze {
  <const A extends Axes>(
    axes: A,
  ): <S extends Shape, D extends DType>(
    x: Tensor<S, D> & AxesCheck<'squeeze', S, A>,
  ) => Tensor<Reduced<S, A, false>, D>
  <S extends Shape, D extends DType, const A extends Axes>(
    x: Tensor<S, D> & AxesCheck<'squeeze', S, A>,
    axes: A,
  ): Tensor<Reduced<S, A, false>, D>
  <S extends Shape, D extends DType>(x: Tensor<S, D>): Tensor<Squeezed<S>, D>
}
/**
 * Drops axes of extent 1: those given, or all.
 * @throws ShapeError if an axis that is given has another extent
 * @example squeeze(x, 1)
 */
export const squeeze = dual<Squeeze>(withData, (x: Tensor, axes?: Axes) => {
  const list =
    axes === undefined
      ? range(x.shape.length).filter(a => x.shape[a] === 1)
      : b.normalAxes('squeeze', axes, x.shape.length)
  const wide = list.find(a => x.shape[a] !== 1)
  if (wide !== undefined)
    mismatch('squeeze', `axis ${wide} has the extent ${x.shape[wide]}, not 1`, [`x  ${showType(x)}`])
  return b.reshape(
    x,
    x.shape.filter((_, a) => !list.includes(a)),
  )
})

interface Unsqueeze {
  <const A extends number>(
    axis: A,
  ): <S extends Shape, D extends DType>(x: Tensor<S, D>) => Tensor<Inserted<S, A, 1>, D>
  <S extends Shape, D extends DType, const A extends number>(
    x: Tensor<S, D>,
    axis: A,
  ): Tensor<Inserted<S, A, 1>, D>
}
/**
 * A new axis of extent 1 at a position of the result; -1 appends it.
 * @throws ShapeError if the result has no such position
 * @example unsqueeze(labels, 1) // [batch, 1, height, width]
 */
export const unsqueeze = dual<Unsqueeze>(withData, (x: Tensor, axis: number) => {
  const [a] = b.normalAxes('unsqueeze', axis, x.shape.length + 1)
  return b.reshape(x, [...x.shape.slice(0, a), 1, ...x.shape.slice(a)])
})
/** NumPy's name of `unsqueeze`. @example expandDims(x, 0) */
export const expandDims = unsqueeze

interface BroadcastTo {
  <const T extends Shape>(
    shape: T,
  ): <S extends Shape, D extends DType>(x: Tensor<S, D> & BroadcastToCheck<S, T>) => Tensor<T, D>
  <S extends Shape, D extends DType, const T extends Shape>(
    x: Tensor<S, D> & BroadcastToCheck<S, T>,
    shape: T,
  ): Tensor<T, D>
}
/**
 * Repeats x to a shape: aligned at the last axis, extents of 1 repeat.
 * @throws ShapeError if another extent differs
 * @example broadcastTo(bias, [8, 64])
 */
export const broadcastTo = dual<BroadcastTo>(withData, (x: Tensor, shape: Shape) => b.broadcastTo(x, shape))

/** Which axis tensors are joined along. */
export interface JoinOptions {
  /** 0 by default. */
  readonly axis?: number
}
const withList = (args: readonly unknown[]): boolean => Array.isArray(args[0])

interface ConcatOp {
  <const O extends JoinOptions>(
    options: O,
  ): <const T extends readonly Tensor[]>(
    xs: T & ConcatCheck<T, Option<O, 'axis', 0> & number>,
  ) => Tensor<Concat<T, Option<O, 'axis', 0> & number>, ListDType<T>>
  <const T extends readonly Tensor[], const O extends JoinOptions = None>(
    xs: T & ConcatCheck<T, Option<O, 'axis', 0> & number>,
    options?: O,
  ): Tensor<Concat<T, Option<O, 'axis', 0> & number>, ListDType<T>>
}
/**
 * Tensors one after the other along an axis.
 * @throws ShapeError if they differ elsewhere or in dtype
 * @example concat([x, skip], { axis: 1 })
 */
export const concat = dual<ConcatOp>(withList, (xs: readonly Tensor[], { axis = 0 }: JoinOptions = {}) =>
  b.concat(xs, axis),
)

interface StackOp {
  <const O extends JoinOptions>(
    options: O,
  ): <const T extends readonly Tensor[]>(
    xs: T,
  ) => Tensor<Stacked<T, Option<O, 'axis', 0> & number>, ListDType<T>>
  <const T extends readonly Tensor[], const O extends JoinOptions = None>(
    xs: T,
    options?: O,
  ): Tensor<Stacked<T, Option<O, 'axis', 0> & number>, ListDType<T>>
}
/**
 * Tensors of one type along a new axis, at a position of the result.
 * @throws ShapeError if their types differ
 * @example stack([x, y], { axis: 1 })
 */
export const stack = dual<StackOp>(withList, (xs: readonly Tensor[], { axis = 0 }: JoinOptions = {}) => {
  if (xs.length === 0) mismatch('stack', 'needs at least one tensor')
  const other = xs.find(x => showType(x) !== showType(xs[0]))
  if (other !== undefined)
    mismatch('stack', 'the tensors must have one type', [showType(xs[0]), showType(other)])
  return b.concat(
    xs.map(x => unsqueeze(x, axis)),
    axis,
  )
})

interface Slice {
  <const O extends SliceOptions>(
    options: O,
  ): <S extends Shape, D extends DType>(x: Tensor<S, D>) => Tensor<Sliced<S, O>, D>
  <S extends Shape, D extends DType, const O extends SliceOptions>(
    x: Tensor<S, D>,
    options: O,
  ): Tensor<Sliced<S, O>, D>
}
/**
 * A part of each axis, from `starts` to before `stops`, as Python's slices: negative positions count from the
 * end, positions beyond it are clamped.
 * @throws ShapeError if there are more entries than axes, or a step is not a positive integer (use `flip`)
 * @example slice(x, { starts: [0, 1], stops: [8, -1] })
 */
export const slice = dual<Slice>(
  withData,
  (x: Tensor, { starts = [], stops = [], steps = [] }: SliceOptions) => {
    if ([starts, stops, steps].some(l => l.length > x.shape.length))
      mismatch('slice', 'more entries than axes', [
        `x  ${showType(x)}`,
        `starts [${starts}], stops [${stops}], steps [${steps}]`,
      ])
    if (steps.some(n => !(Number.isInteger(n) && n > 0)))
      mismatch('slice', `steps are positive integers, got [${steps}]`, ['to go backwards use flip'])
    const position = (p: number, n: number) => Math.min(Math.max(p < 0 ? p + n : p, 0), n)
    const first = x.shape.map((n, a) => position(starts[a] ?? 0, n))
    const last = x.shape.map((n, a) => Math.max(position(stops[a] ?? n, n), first[a]))
    return b.slice(
      x,
      first,
      last,
      x.shape.map((_, a) => steps[a] ?? 1),
    )
  },
)

/** How `split` cuts: into `parts` equal ones, or into `sizes`. */
export type SplitOptions = { readonly axis?: number } & (
  | { readonly sizes: readonly number[] }
  | { readonly parts: number }
)
type SplitOf<S extends Shape, D extends DType, O> = O extends { readonly sizes: infer N extends Shape }
  ? SplitSizes<S, D, Option<O, 'axis', 0> & number, N>
  : O extends { readonly parts: infer P extends number }
    ? SplitParts<S, D, Option<O, 'axis', 0> & number, P>
    : readonly Tensor<Shape, D>[]
interface Split {
  <const O extends SplitOptions>(
    options: O,
  ): <S extends Shape, D extends DType>(x: Tensor<S, D>) => SplitOf<S, D, O>
  <S extends Shape, D extends DType, const O extends SplitOptions>(
    x: Tensor<S, D>,
    options: O,
  ): SplitOf<S, D, O>
}
/**
 * Cuts an axis (0 by default) into pieces; `concat` puts them together again.
 * @throws ShapeError if the sizes do not add up to the extent, or the parts do not divide it
 * @example const [q, k, v] = split(qkv, { axis: -1, parts: 3 })
 */
export const split = dual<Split>(withData, (x: Tensor, options: SplitOptions) => {
  const [axis] = b.normalAxes('split', options.axis ?? 0, x.shape.length)
  const n = x.shape[axis]
  const sizes =
    'sizes' in options ? options.sizes : range(options.parts).map(() => Math.floor(n / options.parts))
  if (sizes.reduce((t, s) => t + s, 0) !== n)
    mismatch('split', `[${sizes}] do not add up to the ${n} of axis ${axis}`, [`x  ${showType(x)}`])
  let at = 0
  return sizes.map(s => {
    at += s
    return b.sliceAxis(x, axis, at - s, at)
  })
})

/** How `pad` extends a tensor. */
export interface PadOptions {
  /** [before, after] per axis. */
  readonly widths: Widths
  /** `constant` (default): `value`; `edge`: the border repeats; `reflect`: mirrored at the border, without it. */
  readonly mode?: 'constant' | 'edge' | 'reflect'
  /** 0 by default. */
  readonly value?: number
}
interface Pad {
  <const O extends PadOptions>(
    options: O,
  ): <S extends Shape, D extends DType>(x: Tensor<S, D>) => Tensor<Padded<S, O['widths']>, D>
  <S extends Shape, D extends DType, const O extends PadOptions>(
    x: Tensor<S, D>,
    options: O,
  ): Tensor<Padded<S, O['widths']>, D>
}
/**
 * Extends the axes. In the mode `constant` a negative width crops.
 * @throws ShapeError if there is not one pair per axis, or a reflection is wider than the axis
 * @example pad(x, { widths: [[0, 0], [0, 0], [1, 1], [1, 1]], mode: 'reflect' })
 */
export const pad = dual<Pad>(withData, (x: Tensor, { widths, mode = 'constant', value = 0 }: PadOptions) => {
  if (widths.length !== x.shape.length)
    mismatch('pad', `needs one pair of widths per axis, got ${widths.length}`, [`x  ${showType(x)}`])
  if (mode === 'constant')
    return b.pad(
      x,
      widths.map(w => w[0]),
      widths.map(w => w[1]),
      value,
    )
  return widths.reduce((y, [before, after], axis) => {
    const n = y.shape[axis]
    const limit = mode === 'edge' ? (n > 0 ? Number.POSITIVE_INFINITY : 0) : n - 1
    if (Math.min(before, after) < 0 || Math.max(before, after) > limit)
      mismatch('pad', `${mode} widths ${before}, ${after} do not fit axis ${axis}`, [`x  ${showType(x)}`])
    const repeat = (at: number, width: number) =>
      b.broadcastTo(
        b.sliceAxis(y, axis, at, at + 1),
        y.shape.map((d, a) => (a === axis ? width : d)),
      )
    const mirror = (at: number, width: number) => b.flip(b.sliceAxis(y, axis, at, at + width), [axis])
    const parts =
      mode === 'edge'
        ? [repeat(0, before), y, repeat(n - 1, after)]
        : [mirror(1, before), y, mirror(n - 1 - after, after)]
    return b.concat(
      parts.filter(p => p.shape[axis] > 0 || p === y),
      axis,
    )
  }, x)
})

interface Flip {
  <const A extends Axes>(
    axes: A,
  ): <S extends Shape, D extends DType>(x: Tensor<S, D> & AxesCheck<'flip', S, A>) => Tensor<S, D>
  <S extends Shape, D extends DType, const A extends Axes>(
    x: Tensor<S, D> & AxesCheck<'flip', S, A>,
    axes: A,
  ): Tensor<S, D>
}
/** Axes backwards. @throws ShapeError if an axis is missing @example flip(images, -1) // left and right */
export const flip = dual<Flip>(withData, (x: Tensor, axes: Axes) =>
  b.flip(x, b.normalAxes('flip', axes, x.shape.length)),
)

/** How far `roll` moves, and along which axis. */
export interface RollOptions {
  readonly shift: number
  readonly axis: number
}
interface Roll {
  (options: RollOptions): <S extends Shape, D extends DType>(x: Tensor<S, D>) => Tensor<S, D>
  <S extends Shape, D extends DType>(x: Tensor<S, D>, options: RollOptions): Tensor<S, D>
}
/** Moves elements along an axis, those that leave come in again. @throws ShapeError if the axis is missing @example roll(x, { shift: 1, axis: 0 }) */
export const roll = dual<Roll>(withData, (x: Tensor, { shift, axis }: RollOptions) => {
  const [a] = b.normalAxes('roll', axis, x.shape.length)
  const n = x.shape[a]
  const cut = n === 0 ? 0 : (((n - shift) % n) + n) % n
  return cut === 0 ? x : b.concat([b.sliceAxis(x, a, cut, n), b.sliceAxis(x, a, 0, cut)], a)
})

interface Tile {
  <const R extends Shape>(
    repeats: R,
  ): <S extends Shape, D extends DType>(x: Tensor<S, D>) => Tensor<Tiled<S, R>, D>
  <S extends Shape, D extends DType, const R extends Shape>(
    x: Tensor<S, D>,
    repeats: R,
  ): Tensor<Tiled<S, R>, D>
}
/** The whole tensor several times along each axis; aligned at the last axis. @example tile(x, [2, 3]) // [a, b] to [2 a, 3 b] */
export const tile = dual<Tile>(withData, (x: Tensor, repeats: Shape) => {
  const rank = Math.max(x.shape.length, repeats.length)
  const extents = [...range(rank - x.shape.length).map(() => 1), ...x.shape]
  const times = [...range(rank - repeats.length).map(() => 1), ...repeats]
  const blocks = b.broadcastTo(
    b.reshape(
      x,
      extents.flatMap(n => [1, n]),
    ),
    extents.flatMap((n, a) => [times[a], n]),
  )
  return b.reshape(
    blocks,
    extents.map((n, a) => n * times[a]),
  )
})

/** How often `repeat` repeats, and along which axis. */
export interface RepeatOptions {
  readonly times: number
  readonly axis: number
}
interface Repeat {
  <const O extends RepeatOptions>(
    options: O,
  ): <S extends Shape, D extends DType>(
    x: Tensor<S, D>,
  ) => Tensor<WithExtent<S, O['axis'], Mul<ExtentAt<S, O['axis']>, O['times']>>, D>
  <S extends Shape, D extends DType, const O extends RepeatOptions>(
    x: Tensor<S, D>,
    options: O,
  ): Tensor<WithExtent<S, O['axis'], Mul<ExtentAt<S, O['axis']>, O['times']>>, D>
}
/** Each element several times in a row, as NumPy's repeat. @throws ShapeError if the axis is missing @example repeat(x, { times: 2, axis: -1 }) */
export const repeat = dual<Repeat>(withData, (x: Tensor, { times, axis }: RepeatOptions) => {
  const [a] = b.normalAxes('repeat', axis, x.shape.length)
  const [head, tail] = [x.shape.slice(0, a + 1), x.shape.slice(a + 1)]
  const apart = b.broadcastTo(b.reshape(x, [...head, 1, ...tail]), [...head, times, ...tail])
  return b.reshape(
    apart,
    x.shape.map((n, i) => (i === a ? n * times : n)),
  )
})

interface Triangle {
  (diagonal: number): <S extends Shape, D extends DType>(x: Tensor<S, D>) => Tensor<S, D>
  <S extends Shape, D extends DType>(x: Tensor<S, D>, diagonal?: number): Tensor<S, D>
}
const triangle = (op: string, keep: (row: Tensor, column: Tensor, diagonal: number) => Tensor) =>
  dual<Triangle>(withData, (x: Tensor, diagonal = 0) => {
    const rank = x.shape.length
    if (rank < 2) mismatch(op, 'needs at least two axes', [`x  ${showType(x)}`])
    const matrix = x.shape.slice(-2)
    const mask = keep(b.iota(matrix, 0), b.iota(matrix, 1), diagonal)
    const values = x.dtype === 'bool' ? b.cast(x, 'i32') : x
    return b.cast(b.select(mask, values, 0), x.dtype)
  })
/** The last two axes' lower triangle, zeros above `diagonal` (0: the main one, 1: above it). @throws ShapeError below rank 2 @example tril(scores) */
export const tril = triangle('tril', (row, column, diagonal) => b.lessEqual(column, b.add(row, diagonal)))
/** The last two axes' upper triangle, zeros below `diagonal`. @throws ShapeError below rank 2 @example triu(x, 1) */
export const triu = triangle('triu', (row, column, diagonal) => b.lessEqual(b.add(row, diagonal), column))

interface PixelShuffle {
  <const R extends number>(
    factor: R,
  ): <S extends Shape, D extends DType>(x: Tensor<S, D>) => Tensor<Shuffled<S, R>, D>
  <S extends Shape, D extends DType, const R extends number>(
    x: Tensor<S, D>,
    factor: R,
  ): Tensor<Shuffled<S, R>, D>
}
/**
 * Channels to pixels: [batch, c r^2, height, width] to [batch, c, height r, width r].
 * @throws ShapeError if r^2 does not divide the channels
 * @see Shi et al. 2016, arXiv:1609.05158
 * @example pixelShuffle(x, 2)
 */
export const pixelShuffle = dual<PixelShuffle>(withData, (x: Tensor, r: number) => {
  if (x.shape.length !== 4 || x.shape[1] % (r * r) !== 0)
    mismatch('pixelShuffle', `needs [batch, c ${r}^2, height, width]`, [`x  ${showType(x)}`])
  const [n, c, h, w] = x.shape
  const k = c / (r * r)
  const apart = b.permute(b.reshape(x, [n, k, r, r, h, w]), [0, 1, 4, 2, 5, 3])
  return b.reshape(apart, [n, k, h * r, w * r])
})
