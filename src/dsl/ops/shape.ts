/**
 * Operations that rearrange elements, with literal types: reshape, permute, join, cut, pad. All are also
 * data-last: `pipe(x, reshape([8, -1]), transpose)`. Negative axes count from the end.
 */
import * as b from '../build.ts'
import type { DType } from '../dtype.ts'
import { dual, withData } from '../dual.ts'
import { range, type Shape, showType, size } from '../shape.ts'
import type { Tensor } from '../tensor.ts'
import type { Axes, Swapped } from '../types/axes.ts'
import type { SliceOptions } from '../types/extents.ts'
import { mismatch } from '../types/mismatch.ts'
import type {
  BroadcastTo,
  ConcatOp,
  Flatten,
  Flip,
  JoinOptions,
  Pad,
  PadOptions,
  Permute,
  PixelShuffle,
  Repeat,
  RepeatOptions,
  Reshape,
  Roll,
  RollOptions,
  Slice,
  Split,
  SplitOptions,
  Squeeze,
  StackOp,
  Tile,
  Triangle,
  Unsqueeze,
} from '../types/shaping.ts'

export type { JoinOptions, PadOptions, RepeatOptions, RollOptions, SliceOptions, SplitOptions }

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

/**
 * The axes in another order: axis i of the result is axis `order[i]` of x.
 * @throws ShapeError if the order is no permutation of the axes
 * @example permute(x, [0, 2, 3, 1]) // channels last
 */
export const permute = dual<Permute>(withData, (x: Tensor, order: Shape) => b.permute(x, order))

/**
 * The last two axes exchanged; for another order use `permute`.
 * @throws ShapeError if there are fewer than two axes
 * @example pipe(x, transpose)
 */
export const transpose = <S extends Shape, D extends DType>(x: Tensor<S, D>): Tensor<Swapped<S>, D> => {
  const rank = x.shape.length
  if (rank < 2) mismatch('transpose', 'needs at least two axes', [`x  ${showType(x)}`])
  // The rule is `Swapped`; the untyped language does not say so.
  return b.permute(x, [...range(rank - 2), rank - 1, rank - 2]) as Tensor<Swapped<S>, D>
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

/**
 * Repeats x to a shape: aligned at the last axis, extents of 1 repeat.
 * @throws ShapeError if another extent differs
 * @example broadcastTo(bias, [8, 64])
 */
export const broadcastTo = dual<BroadcastTo>(withData, (x: Tensor, shape: Shape) => b.broadcastTo(x, shape))

const withList = (args: readonly unknown[]): boolean => Array.isArray(args[0])

/**
 * Tensors one after the other along an axis.
 * @throws ShapeError if they differ elsewhere or in dtype
 * @example concat([x, skip], { axis: 1 })
 */
export const concat = dual<ConcatOp>(withList, (xs: readonly Tensor[], { axis = 0 }: JoinOptions = {}) =>
  b.concat(xs, axis),
)

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

/** Axes backwards. @throws ShapeError if an axis is missing @example flip(images, -1) // left and right */
export const flip = dual<Flip>(withData, (x: Tensor, axes: Axes) =>
  b.flip(x, b.normalAxes('flip', axes, x.shape.length)),
)

/** Moves elements along an axis, those that leave come in again. @throws ShapeError if the axis is missing @example roll(x, { shift: 1, axis: 0 }) */
export const roll = dual<Roll>(withData, (x: Tensor, { shift, axis }: RollOptions) => {
  const [a] = b.normalAxes('roll', axis, x.shape.length)
  const n = x.shape[a]
  const cut = n === 0 ? 0 : (((n - shift) % n) + n) % n
  return cut === 0 ? x : b.concat([b.sliceAxis(x, a, cut, n), b.sliceAxis(x, a, 0, cut)], a)
})

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
