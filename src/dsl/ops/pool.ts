/**
 * Pooling over the height and width of [batch, channels, height, width], with literal types, on sliding windows.
 * The gradient of a maximum goes to the first largest element of its window.
 */
import * as b from '../build.ts'
import { type DType, makeData } from '../dtype.ts'
import { dual, named, withData } from '../dual.ts'
import type { Sliding } from '../prim.ts'
import { range, type Shape, showType, size } from '../shape.ts'
import { constant, type Tensor } from '../tensor.ts'
import type { Only } from '../types/axes.ts'
import type { Columns, PerAxis, Pool, PoolCheck, PoolOptions, Resized } from '../types/convolution.ts'
import { mismatch } from '../types/mismatch.ts'

type KernelOnly<P, Options> = P extends PerAxis ? unknown : Only<P, Options>
interface PoolOp<Op extends string, Options extends PoolOptions = PoolOptions> {
  <const P extends PerAxis | Options>(
    pool: P & KernelOnly<P, Options>,
  ): <X extends Shape, D extends DType>(x: Tensor<X, D> & PoolCheck<Op, X, P>) => Tensor<Pool<X, P>, D>
  <X extends Shape, D extends DType, const P extends PerAxis | Options>(
    x: Tensor<X, D> & PoolCheck<Op, X, P>,
    pool: P & KernelOnly<P, Options>,
  ): Tensor<Pool<X, P>, D>
}

const isSize = (p: PerAxis | PoolOptions): p is PerAxis => typeof p === 'number' || Array.isArray(p)

const pair = (op: string, name: string, v: PerAxis, least: number): readonly number[] => {
  const list = typeof v === 'number' ? [v, v] : v
  if (list.length !== 2 || list.some(n => !Number.isInteger(n) || n < least))
    mismatch(op, `${name} must be an integer of at least ${least}, or two of them, got [${list}]`)
  return list
}

function windowsOf(op: string, x: Tensor, options: PoolOptions) {
  const kernel = pair(op, 'kernel', options.kernel, 1)
  const stride = pair(op, 'stride', options.stride ?? kernel, 1)
  const padding = pair(op, 'padding', options.padding ?? 0, 0)
  const dilation = pair(op, 'dilation', options.dilation ?? 1, 1)
  const fits = (n: number, i: number) => n + 2 * padding[i] >= dilation[i] * (kernel[i] - 1) + 1
  if (x.shape.length !== 4 || !x.shape.slice(2).every(fits))
    mismatch(op, `the window [${kernel}] does not fit into the input`, [
      `input  ${showType(x)}  [batch, channels, height, width]`,
      `padding [${padding}], dilation [${dilation}]`,
    ])
  const sliding: Sliding = { axes: [2, 3], size: kernel, stride, dilation }
  return { kernel, padding, sliding }
}

const around = (x: Tensor, [h, w]: readonly number[], value: number): Tensor =>
  b.pad(x, [0, 0, h, w], [0, 0, h, w], value)
const lowest = (dtype: DType): number =>
  dtype === 'i32' ? -(2 ** 31) : dtype === 'u32' ? 0 : Number.NEGATIVE_INFINITY

/** The first largest element along the last axis, chosen by a mask: its gradient goes to that element alone. */
function firstMax(x: Tensor): Tensor {
  const last = x.shape.length - 1
  const best = b.reduce('argmax', x, last, true)
  return b.sum(b.select(b.eq(b.iota(x.shape, last), b.broadcastTo(best, x.shape)), x, 0), last)
}

const maxOf = (op: string, x: Tensor, options: PoolOptions): Tensor => {
  const { kernel, padding, sliding } = windowsOf(op, x, options)
  if (padding.some((p, i) => 2 * p > kernel[i]))
    mismatch(op, `the padding [${padding}] is more than half of the window [${kernel}]`)
  const y = b.unfold(around(x, padding, lowest(x.dtype)), sliding)
  return firstMax(b.reshape(y, [...y.shape.slice(0, 4), size(kernel)]))
}
/**
 * The largest element of each window; the padding never wins, NaN does.
 *   y[n,c,i,j] = max over u,v of x[n,c,si+du-p,sj+dv-p]
 * @param x  [batch, channels, height, width]
 * @param pool  the kernel, or { kernel, stride (the kernel), padding (0), dilation (1) }
 * @returns  [batch, channels, height', width'],  h' = floor((h + 2p - d(k-1) - 1) / s) + 1
 * @throws ShapeError if the window does not fit, or the padding exceeds half of it
 * @example pipe(x, maxPool2d({ kernel: 3, stride: 2, padding: 1 }))
 */
export const maxPool2d = dual<PoolOp<'maxPool2d'>>(
  withData,
  named('maxPool2d', (x: Tensor, pool: PerAxis | PoolOptions) =>
    maxOf('maxPool2d', x, isSize(pool) ? { kernel: pool } : pool),
  ),
)

/** The options of an average pool. */
export interface AvgPoolOptions extends PoolOptions {
  /** Whether the zeros around the image count as elements; true by default. */
  readonly countIncludePad?: boolean
}
const avgOf = (op: string, x: Tensor, options: AvgPoolOptions): Tensor => {
  const { kernel, padding, sliding } = windowsOf(op, x, options)
  const total = (t: Tensor) => b.sum(b.unfold(around(t, padding, 0), sliding), [4, 5])
  const y = total(x)
  return options.countIncludePad === false && padding.some(p => p > 0)
    ? b.div(y, total(b.full([1, 1, ...x.shape.slice(2)], 1, x.dtype)))
    : b.div(y, size(kernel))
}
/**
 * The mean of each window.
 * @param x  [batch, channels, height, width]
 * @param pool  the kernel, or { kernel, stride (the kernel), padding (0), dilation (1), countIncludePad (true) }
 * @returns  [batch, channels, height', width'], as `maxPool2d`
 * @throws ShapeError if the window does not fit
 * @example avgPool2d(x, 2)
 */
export const avgPool2d = dual<PoolOp<'avgPool2d', AvgPoolOptions>>(
  withData,
  named('avgPool2d', (x: Tensor, pool: PerAxis | AvgPoolOptions) =>
    avgOf('avgPool2d', x, isSize(pool) ? { kernel: pool } : pool),
  ),
)

interface AdaptiveOp {
  <const Size extends PerAxis>(
    size: Size,
  ): <X extends Shape, D extends DType>(x: Tensor<X, D>) => Tensor<Resized<X, Size>, D>
  <X extends Shape, D extends DType, const Size extends PerAxis>(
    x: Tensor<X, D>,
    size: Size,
  ): Tensor<Resized<X, Size>, D>
}

/** The elements of cell i of `out` cells over n: from floor(i n / out) to before ceil((i + 1) n / out). */
const cell = (i: number, n: number, out: number): readonly [number, number] => [
  Math.floor((i * n) / out),
  Math.ceil(((i + 1) * n) / out),
]
const imageOf = (op: string, x: Tensor, goal: PerAxis) => {
  if (x.shape.length !== 4 || size(x.shape.slice(2)) === 0)
    mismatch(op, 'needs an image', [`input  ${showType(x)}  [batch, channels, height, width]`])
  const out = pair(op, 'the size', goal, 1)
  const image = x.shape.slice(2)
  const divides = image.every((n, i) => n % out[i] === 0)
  return { out, image, kernel: divides ? image.map((n, i) => n / out[i]) : null }
}

/** Means over the cells of one axis, as a contraction with a constant matrix. */
function meansAlong(x: Tensor, axis: number, out: number): Tensor {
  const n = x.shape[axis]
  const data = makeData(x.dtype, out * n)
  for (const i of range(out)) {
    const [start, stop] = cell(i, n, out)
    data.fill(1 / (stop - start), i * n + start, i * n + stop)
  }
  const rank = x.shape.length
  const axes = range(rank)
  return b.contract(
    {
      extents: [...x.shape, out],
      lhs: axes,
      rhs: [rank, axis],
      out: axes.map(a => (a === axis ? rank : a)),
      windows: [],
    },
    x,
    constant([out, n], x.dtype, data),
  )
}
/**
 * The means of a grid of cells; cell i reaches from floor(i h / out) to before ceil((i + 1) h / out), as in PyTorch.
 * @param x  [batch, channels, height, width]
 * @param size  the grid: its height and width, or one number for both
 * @returns  [batch, channels, ...size]
 * @throws ShapeError if x is no image
 * @example adaptiveAvgPool2d(x, 1)
 */
export const adaptiveAvgPool2d = dual<AdaptiveOp>(
  withData,
  named('adaptiveAvgPool2d', (x: Tensor, goal: PerAxis) => {
    const { out, kernel } = imageOf('adaptiveAvgPool2d', x, goal)
    if (out.every(n => n === 1)) return b.mean(x, [2, 3], true)
    if (kernel !== null) return avgOf('adaptiveAvgPool2d', x, { kernel })
    return meansAlong(meansAlong(x, 2, out[0]), 3, out[1])
  }),
)

/** The elements of every cell along an axis, side by side; a short cell repeats its last one. */
function cellsAlong(x: Tensor, axis: number, out: number): { readonly y: Tensor; readonly width: number } {
  const n = x.shape[axis]
  const cells = range(out).map(i => cell(i, n, out))
  const width = Math.max(...cells.map(([start, stop]) => stop - start))
  const at = Int32Array.from(
    cells.flatMap(([start, stop]) => range(width).map(t => Math.min(start + t, stop - 1))),
  )
  const index = constant(
    x.shape.map((_, a) => (a === axis ? at.length : 1)),
    'i32',
    at,
  )
  const full = b.broadcastTo(
    index,
    x.shape.map((d, a) => (a === axis ? at.length : d)),
  )
  return { y: b.gather(x, full, axis), width }
}
/**
 * The largest elements of a grid of cells, cut as by `adaptiveAvgPool2d`.
 * @param x  [batch, channels, height, width]
 * @param size  the grid: its height and width, or one number for both
 * @returns  [batch, channels, ...size]
 * @throws ShapeError if x is no image
 * @example adaptiveMaxPool2d(x, [4, 4])
 */
export const adaptiveMaxPool2d = dual<AdaptiveOp>(
  withData,
  named('adaptiveMaxPool2d', (x: Tensor, goal: PerAxis) => {
    const { out, kernel } = imageOf('adaptiveMaxPool2d', x, goal)
    if (kernel !== null) return maxOf('adaptiveMaxPool2d', x, { kernel })
    const rows = cellsAlong(x, 2, out[0])
    const both = cellsAlong(rows.y, 3, out[1])
    const [n, c] = x.shape
    const apart = b.reshape(both.y, [n, c, out[0], rows.width, out[1], both.width])
    const cells = b.permute(apart, [0, 1, 2, 4, 3, 5])
    return firstMax(b.reshape(cells, [n, c, ...out, rows.width * both.width]))
  }),
)

/**
 * The mean of each channel: [batch, channels, height, width] to [batch, channels].
 * @throws ShapeError if x has not four axes
 * @example pipe(features, globalAvgPool, matmul(weight))
 */
export const globalAvgPool = <X extends Shape, D extends DType>(
  x: Tensor<X, D>,
): Tensor<readonly [X[0], X[1]], D> => {
  imageOf('globalAvgPool', x, 1)
  // The rank is checked above; its type has [0] and [1] for any shape.
  return b.mean(x, [2, 3]) as Tensor<readonly [X[0], X[1]], D>
}

interface Unfold {
  <const P extends PoolOptions>(
    options: P & Only<P, PoolOptions>,
  ): <X extends Shape, D extends DType>(x: Tensor<X, D>) => Tensor<Columns<X, P>, D>
  <X extends Shape, D extends DType, const P extends PoolOptions>(
    x: Tensor<X, D>,
    options: P & Only<P, PoolOptions>,
  ): Tensor<Columns<X, P>, D>
}
/**
 * The sliding windows as columns (im2col), in PyTorch's layout. The stride is 1 by default.
 * @param x  [batch, channels, height, width]
 * @returns  [batch, channels kh kw, positions]
 * @throws ShapeError if the window does not fit
 * @example unfold(x, { kernel: 3, padding: 1 })
 */
export const unfold = dual<Unfold>(
  withData,
  named('unfold', (x: Tensor, options: PoolOptions) => {
    const { kernel, padding, sliding } = windowsOf('unfold', x, { stride: 1, ...options })
    const y = b.unfold(around(x, padding, 0), sliding)
    const [n, c, h, w] = y.shape
    return b.reshape(b.permute(y, [0, 1, 4, 5, 2, 3]), [n, c * size(kernel), h * w])
  }),
)
