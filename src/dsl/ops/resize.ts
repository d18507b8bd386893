/**
 * Resizing of images, as PyTorch's `interpolate`. In: [batch, channels, height, width]. Out: the same with another
 * height and width. Interpolation is linear and separable, so it is one contraction per axis with a constant
 * matrix; its gradient is then the transposed contraction, and nothing more needs writing.
 */
import { broadcastTo, contract, gather, reshape, slice } from '../build.ts'
import { type DType, type FloatDType, makeData } from '../dtype.ts'
import { dual, withData } from '../dual.ts'
import { ShapeError } from '../errors.ts'
import { showType } from '../shape.ts'
import { constant, currentScope, scope, type Tensor } from '../tensor.ts'

/** Images: [batch, channels, height, width]. */
export type Images<
  N extends number,
  C extends number,
  H extends number,
  W extends number,
  D extends DType,
> = Tensor<readonly [N, C, H, W], D>

/** The new size, [height, width]. */
export interface SizeOptions<H extends number, W extends number> {
  readonly size: readonly [H, W]
}

/** `alignCorners`: the centres of the corner pixels stay where they are (else the outer edges do; the default). */
export interface ResizeOptions<H extends number, W extends number> extends SizeOptions<H, W> {
  readonly alignCorners?: boolean
}

/** A resizing of float images: `f(x, options)`, or `pipe(x, f(options))`. */
export interface Resize {
  <N extends number, C extends number, D extends FloatDType, const H extends number, const W extends number>(
    x: Images<N, C, number, number, D>,
    options: ResizeOptions<H, W>,
  ): Images<N, C, H, W, D>
  <const H extends number, const W extends number>(
    options: ResizeOptions<H, W>,
  ): <N extends number, C extends number, D extends FloatDType>(
    x: Images<N, C, number, number, D>,
  ) => Images<N, C, H, W, D>
}

/** [index, weight] of every input element that an output element reads. */
type Taps = readonly (readonly [index: number, weight: number])[]
/** The taps at the input coordinate `at` of an axis of `extent` pixels. */
type Kernel = (at: number, extent: number) => Taps

const between = (i: number, extent: number): number => Math.min(Math.max(i, 0), extent - 1)

const linear: Kernel = (at, extent) => {
  const i = Math.floor(at)
  return [
    [between(i, extent), 1 - (at - i)],
    [between(i + 1, extent), at - i],
  ]
}

/** Keys' cubic convolution with PyTorch's a = -0.75. */
const cubic: Kernel = (at, extent) => {
  const a = -0.75
  const near = (d: number) => ((a + 2) * d - (a + 3)) * d * d + 1 // |d| <= 1
  const far = (d: number) => ((d - 5) * d + 8) * d * a - 4 * a // 1 < |d| < 2
  const i = Math.floor(at)
  const t = at - i
  const weights = [far(t + 1), near(t), near(1 - t), far(2 - t)]
  return weights.map((w, k) => [between(i - 1 + k, extent), w] as const)
}

/**
 * The interpolation matrix [to, from] of an axis, row-major: row o holds the weights of output element o.
 * @example interpolationMatrix(linear, 2, 4, false, 'f32') // rows [1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]
 */
function interpolationMatrix(kernel: Kernel, from: number, to: number, align: boolean, dtype: DType): Tensor {
  const data = makeData(dtype, from * to)
  const weights = new Float64Array(from)
  for (let o = 0; o < to; o++) {
    const at = align ? (to > 1 ? (o * (from - 1)) / (to - 1) : 0) : ((o + 0.5) * from) / to - 0.5
    weights.fill(0)
    for (const [i, w] of kernel(at, from)) weights[i] += w
    data.set(weights, o * from)
  }
  return constant([to, from], dtype, data)
}

/** Contracts the axis (2 or 3) of images with an interpolation matrix. */
function alongAxis(x: Tensor, axis: 2 | 3, to: number, kernel: Kernel, align: boolean): Tensor {
  const from = x.shape[axis]
  if (from === to) return x
  // indices: 0 to 3 are x's axes, 4 is the new extent
  return contract(
    {
      extents: [...x.shape, to],
      lhs: [0, 1, 2, 3],
      rhs: [4, axis],
      out: axis === 2 ? [0, 1, 4, 3] : [0, 1, 2, 4],
      windows: [],
    },
    x,
    interpolationMatrix(kernel, from, to, align, x.dtype),
  )
}

function checkResize(op: string, x: Tensor, size: readonly [number, number]): void {
  const positive = (n: number) => Number.isInteger(n) && n > 0
  if (x.shape.length !== 4 || !size.every(positive) || !x.shape.slice(2).every(positive))
    throw new ShapeError(
      op,
      `cannot resize ${showType(x)} to [${size}]`,
      ['the input is [batch, channels, height, width], sizes are positive integers'],
      currentScope(),
    )
}

const interpolation = (name: string, kernel: Kernel): Resize =>
  dual<Resize>(withData, (x: Tensor, { size, alignCorners = false }: ResizeOptions<number, number>) =>
    scope(name, () => {
      checkResize(name, x, size)
      const [h, w] = [x.shape[2], x.shape[3]]
      // the cheaper order of the two contractions, in multiplications per channel
      const rowsFirst = size[0] * w * (h + size[1]) <= size[1] * h * (w + size[0])
      const axes = rowsFirst ? ([2, 3] as const) : ([3, 2] as const)
      return axes.reduce((y: Tensor, a) => alongAxis(y, a, size[a - 2], kernel, alignCorners), x)
    }),
  )

/**
 * Bilinear interpolation. With scale = in / out, output o reads at (o + 0.5) scale - 0.5, or at
 * o (in - 1) / (out - 1) if `alignCorners`; weights 1 - t and t of the two neighbours, of which those outside
 * repeat the edge.
 * @param x  [batch, channels, height, width]
 * @returns  [batch, channels, ...size]
 * @throws ShapeError if x has another rank or a size is not a positive integer
 * @see torch.nn.functional.interpolate
 * @example pipe(logits, resizeBilinear({ size: [512, 1024] }))
 */
export const resizeBilinear: Resize = interpolation('resizeBilinear', linear)

/**
 * Bicubic convolution with a = -0.75 over 4 by 4 neighbours; those outside repeat the edge.
 * @param x  [batch, channels, height, width]
 * @returns  [batch, channels, ...size]; may overshoot the range of x
 * @throws ShapeError if x has another rank or a size is not a positive integer
 * @see Keys 1981, "Cubic convolution interpolation for digital image processing"
 * @example resizeBicubic(x, { size: [64, 64], alignCorners: true })
 */
export const resizeBicubic: Resize = interpolation('resizeBicubic', cubic)

/** `resizeNearest(x, options)`, or `pipe(x, resizeNearest(options))`. */
export interface ResizeNearest {
  <N extends number, C extends number, D extends DType, const H extends number, const W extends number>(
    x: Images<N, C, number, number, D>,
    options: SizeOptions<H, W>,
  ): Images<N, C, H, W, D>
  <const H extends number, const W extends number>(
    options: SizeOptions<H, W>,
  ): <N extends number, C extends number, D extends DType>(
    x: Images<N, C, number, number, D>,
  ) => Images<N, C, H, W, D>
}

/**
 * Nearest neighbour: y[.., i, j] = x[.., floor(i in / out), floor(j in / out)]. Integer factors are a repetition
 * or a strided slice, others a gather.
 * @param x  [batch, channels, height, width], of any dtype (labels too)
 * @returns  [batch, channels, ...size]
 * @throws ShapeError if x has another rank or a size is not a positive integer
 * @see torch.nn.functional.interpolate, mode 'nearest'
 * @example pipe(labels, resizeNearest({ size: [64, 64] }))
 */
export const resizeNearest = dual<ResizeNearest>(
  withData,
  (x: Tensor, { size }: SizeOptions<number, number>) =>
    scope('resizeNearest', () => {
      checkResize('resizeNearest', x, size)
      return nearestAlong(nearestAlong(x, 2, size[0]), 3, size[1])
    }),
)

function nearestAlong(x: Tensor, axis: 2 | 3, to: number): Tensor {
  const from = x.shape[axis]
  const along = (n: number) => x.shape.map((d, a) => (a === axis ? n : d))
  if (from === to) return x
  if (to % from === 0) {
    const split = (n: number) => [...x.shape.slice(0, axis + 1), n, ...x.shape.slice(axis + 1)]
    return reshape(broadcastTo(reshape(x, split(1)), split(to / from)), along(to))
  }
  if (from % to === 0)
    return slice(
      x,
      [0, 0, 0, 0],
      x.shape,
      x.shape.map((_, a) => (a === axis ? from / to : 1)),
    )
  const index = Int32Array.from({ length: to }, (_, o) => Math.floor((o * from) / to))
  const shape = [1, 1, 1, 1].map((d, a) => (a === axis ? to : d))
  return gather(x, broadcastTo(constant(shape, 'i32', index), along(to)), axis)
}
