/**
 * Convolutions with literal types, each one contraction whose indices are tied by windows; gradients and kernels
 * follow from that. Images are [batch, channels, height, width]. Groups are an index of their own.
 */
import * as b from '../build.ts'
import type { DType } from '../dtype.ts'
import { dual, withTwo } from '../dual.ts'
import type { Window } from '../prim.ts'
import { range, type Shape, showType } from '../shape.ts'
import { scope, type Tensor } from '../tensor.ts'
import type { Only } from '../types/axes.ts'
import type { CommonDType, DTypeCheck, None } from '../types/broadcast.ts'
import type {
  Conv,
  ConvCheck,
  ConvOptions,
  ConvTranspose,
  ConvTransposeCheck,
  Padding,
  PerAxis,
} from '../types/convolution.ts'
import { mismatch } from '../types/mismatch.ts'

/** A convolution's options, and a bias [out] to add. */
export interface ConvBiasOptions extends ConvOptions {
  readonly bias?: Tensor
}
interface ConvOp<Op extends string, Rank extends number> {
  <W extends Shape, D extends DType, const O extends ConvBiasOptions = None>(
    w: Tensor<W, D>,
    options?: O & Only<O, ConvBiasOptions>,
  ): <const X extends Shape, E extends DType>(
    x: Tensor<X, E> & ConvCheck<Op, X, W, O, Rank> & DTypeCheck<Op, E, D>,
  ) => Tensor<Conv<X, W, O>, CommonDType<E, D>>
  <
    X extends Shape,
    E extends DType,
    W extends Shape,
    D extends DType,
    const O extends ConvBiasOptions = None,
  >(
    x: Tensor<X, E> & ConvCheck<Op, X, W, O, Rank> & DTypeCheck<Op, E, D>,
    w: Tensor<W, D>,
    options?: O & Only<O, ConvBiasOptions>,
  ): Tensor<Conv<X, W, O>, CommonDType<E, D>>
}

const perAxis = (op: string, name: string, v: PerAxis, rank: number, least: number): readonly number[] => {
  const list = typeof v === 'number' ? range(rank).map(() => v) : v
  if (list.length !== rank || list.some(n => !Number.isInteger(n) || n < least))
    mismatch(op, `${name} must be an integer of at least ${least}, or ${rank} of them, got [${list}]`)
  return list
}

/** The indices of a grouped image or kernel: the group stands before the channels if there is more than one. */
const grouped = (x: Tensor, axis: number, groups: number): Tensor =>
  groups === 1
    ? x
    : b.reshape(x, [...x.shape.slice(0, axis), groups, x.shape[axis] / groups, ...x.shape.slice(axis + 1)])

function checkKernel(op: string, x: Tensor, w: Tensor, rank: number, names: string, groups: number): void {
  const operands = [
    `input   ${showType(x)}  [batch, channels, ${rank === 1 ? 'length' : 'height, width'}]`,
    `kernel  ${showType(w)}  [${names}${rank === 1 ? ', k' : ', kh, kw'}], groups ${groups}`,
  ]
  if (x.shape.length !== rank + 2 || w.shape.length !== rank + 2)
    mismatch(op, `input and kernel have ${rank + 2} axes`, operands)
  if (x.dtype !== w.dtype) mismatch(op, `the input is ${x.dtype}, the kernel ${w.dtype}; use cast`, operands)
  if (!Number.isInteger(groups) || groups < 1)
    mismatch(op, `groups must be a positive integer, got ${groups}`)
  const expected = names.startsWith('in') ? w.shape[0] : w.shape[1] * groups
  if (x.shape[1] !== expected)
    mismatch(op, `the input has ${x.shape[1]} channels, the kernel expects ${expected}`, operands)
  if (w.shape[0] % groups !== 0)
    mismatch(op, `${groups} groups do not divide the kernel's ${w.shape[0]} channels`, operands)
}

/** The contraction of a grouped image with a grouped kernel; `transposed` exchanges the roles of big and out. */
function windowed(
  x: Tensor,
  w: Tensor,
  groups: number,
  spatial: readonly number[],
  windows: readonly Pick<Window, 'stride' | 'dilation' | 'padding'>[],
  transposed: boolean,
): Tensor {
  const rank = spatial.length
  const many = groups > 1
  const [n, c, o, g, free] = [0, 1, 2, 3, many ? 4 : 3]
  const group = many ? [g] : []
  const image = range(rank).map(i => free + i)
  const result = range(rank).map(i => free + rank + i)
  const taps = range(rank).map(i => free + 2 * rank + i)
  const kernelIn = transposed ? w.shape[0] / groups : w.shape[1]
  const kernelOut = transposed ? w.shape[1] : w.shape[0] / groups
  const y = b.contract(
    {
      extents: [
        x.shape[0],
        kernelIn,
        kernelOut,
        ...(many ? [groups] : []),
        ...x.shape.slice(2),
        ...spatial,
        ...w.shape.slice(2),
      ],
      lhs: [n, ...group, c, ...image],
      rhs: [...group, ...(transposed ? [c, o] : [o, c]), ...taps],
      out: [n, ...group, o, ...result],
      windows: windows.map((v, i) => ({
        big: transposed ? result[i] : image[i],
        out: transposed ? image[i] : result[i],
        tap: taps[i],
        ...v,
      })),
    },
    grouped(x, 1, groups),
    grouped(w, 0, groups),
  )
  return many ? b.reshape(y, [x.shape[0], groups * kernelOut, ...spatial]) : y
}

function addBias(op: string, y: Tensor, bias: Tensor | undefined): Tensor {
  if (bias === undefined) return y
  if (bias.shape.length !== 1 || bias.shape[0] !== y.shape[1])
    mismatch(op, `the bias needs one element per output channel, ${y.shape[1]}`, [`bias  ${showType(bias)}`])
  return b.add(y, b.reshape(bias, [1, bias.shape[0], ...y.shape.slice(2).map(() => 1)]))
}

/** [before, after] per axis. */
function paddings(
  op: string,
  padding: Padding,
  x: Shape,
  k: Shape,
  stride: Shape,
  dilation: Shape,
): readonly (readonly [number, number])[] {
  if (padding === 'same')
    return x.map((n, i) => {
      const total = Math.max((Math.ceil(n / stride[i]) - 1) * stride[i] + dilation[i] * (k[i] - 1) + 1 - n, 0)
      return [Math.floor(total / 2), Math.ceil(total / 2)]
    })
  const list = typeof padding === 'number' ? x.map(() => padding) : padding
  const pairs = list.map((p): readonly [number, number] => (typeof p === 'number' ? [p, p] : p))
  if (pairs.length !== x.length || pairs.some(p => p.length !== 2 || p.some(n => !Number.isInteger(n))))
    mismatch(
      op,
      `padding is an integer, one per axis, a pair per axis or 'same', got ${JSON.stringify(padding)}`,
    )
  return pairs
}

const convolution = <Op extends string, Rank extends 1 | 2>(op: Op, rank: Rank) =>
  dual<ConvOp<Op, Rank extends 1 ? 3 : 4>>(withTwo, (x: Tensor, w: Tensor, options: ConvBiasOptions = {}) => {
    const { groups = 1, padding = 0, bias } = options
    checkKernel(op, x, w, rank, 'out, in / groups', groups)
    const stride = perAxis(op, 'stride', options.stride ?? 1, rank, 1)
    const dilation = perAxis(op, 'dilation', options.dilation ?? 1, rank, 1)
    const [image, k] = [x.shape.slice(2), w.shape.slice(2)]
    const around = paddings(op, padding, image, k, stride, dilation)
    const spatial = image.map(
      (n, i) => Math.floor((n + around[i][0] + around[i][1] - dilation[i] * (k[i] - 1) - 1) / stride[i]) + 1,
    )
    if (spatial.some(n => n < 1))
      mismatch(op, `the kernel does not fit into the input`, [
        `input   ${showType(x)}`,
        `kernel  ${showType(w)}, padding ${JSON.stringify(around)}, dilation [${dilation}]`,
      ])
    const windows = around.map(([before], i) => ({
      stride: stride[i],
      dilation: dilation[i],
      padding: before,
    }))
    return scope(op, () => addBias(op, windowed(x, w, groups, spatial, windows, false), bias))
  })

/**
 * 1-D convolution (cross-correlation, as in deep learning).
 *   y[n,o,i] = sum over c,u of x[n,c,si+du-p] w[o,c,u]
 * @param x  [batch, in, length]
 * @param w  [out, in / groups, k]
 * @returns  [batch, out, floor((length + 2p - d(k-1) - 1) / s) + 1]
 * @throws ShapeError if channels or groups disagree, or the kernel does not fit
 * @example conv1d(x, w, { padding: 'same' })
 */
export const conv1d = convolution('conv1d', 1)
/**
 * 2-D convolution (cross-correlation, as in deep learning); data-last `conv2d(w, options)`.
 *   y[n,o,i,j] = sum over c,u,v of x[n,c,si+du-p,sj+dv-p] w[o,c,u,v] (+ bias[o])
 * @param x  [batch, in, height, width]
 * @param w  [out, in / groups, kh, kw]
 * @returns  [batch, out, height', width'],  h' = floor((h + 2p - d(k-1) - 1) / s) + 1
 * @throws ShapeError if channels or groups disagree, or the kernel does not fit
 * @see Dumoulin & Visin 2016, arXiv:1603.07285
 * @example conv2d(x, w, { stride: 2, padding: 1, bias })
 */
export const conv2d = convolution('conv2d', 2)

/** The options of a transposed convolution. */
export interface ConvTransposeOptions {
  readonly stride?: PerAxis
  /** What is cut from each side of the result. */
  readonly padding?: PerAxis
  /** What is added at the end of each axis of the result. */
  readonly outputPadding?: PerAxis
  readonly dilation?: PerAxis
  readonly groups?: number
  readonly bias?: Tensor
}
interface ConvTransposeOp<Op extends string> {
  <W extends Shape, D extends DType, const O extends ConvTransposeOptions = None>(
    w: Tensor<W, D>,
    options?: O,
  ): <const X extends Shape, E extends DType>(
    x: Tensor<X, E> & ConvTransposeCheck<Op, X, W, 4> & DTypeCheck<Op, E, D>,
  ) => Tensor<ConvTranspose<X, W, O>, CommonDType<E, D>>
  <
    X extends Shape,
    E extends DType,
    W extends Shape,
    D extends DType,
    const O extends ConvTransposeOptions = None,
  >(
    x: Tensor<X, E> & ConvTransposeCheck<Op, X, W, 4> & DTypeCheck<Op, E, D>,
    w: Tensor<W, D>,
    options?: O,
  ): Tensor<ConvTranspose<X, W, O>, CommonDType<E, D>>
}
/**
 * The transpose of `conv2d`: each input pixel adds its multiple of the kernel to the result.
 *   y[n,o,si+du-p,sj+dv-p] += x[n,c,i,j] w[c,o,u,v]
 * @param x  [batch, in, height, width]
 * @param w  [in, out / groups, kh, kw]
 * @returns  [batch, out, height', width'],  h' = s(h-1) - 2p + d(k-1) + outputPadding + 1
 * @throws ShapeError if channels or groups disagree
 * @example convTranspose2d(x, w, { stride: 2, padding: 1, outputPadding: 1 })
 */
export const convTranspose2d = dual<ConvTransposeOp<'convTranspose2d'>>(
  withTwo,
  (x: Tensor, w: Tensor, options: ConvTransposeOptions = {}) => {
    const op = 'convTranspose2d'
    const { groups = 1, bias } = options
    checkKernel(op, x, w, 2, 'in, out / groups', groups)
    const stride = perAxis(op, 'stride', options.stride ?? 1, 2, 1)
    const dilation = perAxis(op, 'dilation', options.dilation ?? 1, 2, 1)
    const padding = perAxis(op, 'padding', options.padding ?? 0, 2, 0)
    const extra = perAxis(op, 'outputPadding', options.outputPadding ?? 0, 2, 0)
    const spatial = range(2).map(
      i =>
        stride[i] * (x.shape[2 + i] - 1) - 2 * padding[i] + dilation[i] * (w.shape[2 + i] - 1) + extra[i] + 1,
    )
    if (spatial.some(n => n < 1))
      mismatch(op, 'the padding leaves nothing', [`input   ${showType(x)}`, `padding [${padding}]`])
    const windows = range(2).map(i => ({ stride: stride[i], dilation: dilation[i], padding: padding[i] }))
    return scope(op, () => addBias(op, windowed(x, w, groups, spatial, windows, true), bias))
  },
)
