/**
 * A step of a random program for every structural primitive. The table is keyed by the primitives: the compiler
 * names one that lacks a row. A step adapts its parameters to what it is given, so every list of steps builds.
 */
import { checkpoint } from '../autodiff/checkpoint.ts'
import { custom } from '../autodiff/grad.ts'
import * as b from '../dsl/build.ts'
import { cond, scan } from '../dsl/ops/control.ts'
import type { Contraction, CustomRule, Op, Sliding } from '../dsl/prim.ts'
import type { ScalarOp } from '../dsl/scalar.ts'
import { range, size } from '../dsl/shape.ts'
import { bind1, constant, type Tensor } from '../dsl/tensor.ts'
import { bounded, fit, maxSize, type Step, scalarSteps } from './scalar-steps.ts'

const scalarNames = Object.keys(scalarSteps) as readonly ScalarOp[]
/** x with at least one axis. */
const ranked = (x: Tensor): Tensor => (x.rank === 0 ? b.reshape(x, [1]) : x)
const axisOf = (x: Tensor, p: number): number => p % Math.max(x.rank, 1)
/** Each axis gets a choice of its own. */
const perAxis = (x: Tensor, p: number, n: number): number[] => x.shape.map((_, a) => (p >> a) % n)
const orderOf = (x: Tensor, p: number): number[] => {
  const order = range(x.rank)
  for (let i = order.length - 1, q = p; i > 0; i--, q = Math.floor(q / 3)) {
    const j = q % (i + 1)
    ;[order[i], order[j]] = [order[j], order[i]]
  }
  return order
}
/** Indices that count around an axis, with repetitions. */
const indices = (x: Tensor, axis: number, n: number, p: number): Tensor => {
  const shape = x.shape.map((d, a) => (a === axis ? n : d))
  const at = b.add(b.mul(b.iota(shape, axis), 1 + (p % 3)), p % 5)
  return b.map('rem', at, b.full(shape, Math.max(x.shape[axis], 1), 'i32'))
}
const small = (x: Tensor, factor: number): boolean => size(x.shape) * factor <= maxSize
/** A factor that depends on the position, so that a wrong index shows. */
const marked = (x: Tensor): Tensor => {
  const r = ranked(x)
  return b.reshape(b.mul(r, b.add(b.mul(b.iota(r.shape, r.rank - 1, r.dtype), 0.3), 0.7)), x.shape)
}
/** x as a matrix of at most 16 rows and columns. */
const matrix = (x: Tensor): Tensor => {
  const last = ranked(x).shape[ranked(x).rank - 1]
  const rows = b.reshape(x, [last === 0 ? 0 : size(x.shape) / last, last])
  return b.slice(
    rows,
    [0, 0],
    rows.shape.map(n => Math.min(n, 16)),
  )
}
const slidingOf = (x: Tensor, p: number): Sliding => {
  const axes = x.rank > 1 && p % 5 === 0 ? [0, x.rank - 1] : [axisOf(x, p)]
  const fits = (a: number, want: number) => Math.max(1, Math.min(want, x.shape[a]))
  const taps = axes.map((a, i) => fits(a, 1 + ((p >> (1 + i)) % 3)))
  return {
    axes,
    size: taps,
    stride: axes.map((_, i) => 1 + ((p >> i) % 2)),
    dilation: axes.map((a, i) => (taps[i] > 1 && 2 * (taps[i] - 1) < x.shape[a] ? 1 + ((p >> 4) % 2) : 1)),
  }
}

const contraction = (
  extents: readonly number[],
  lhs: readonly number[],
  rhs: readonly number[],
  out: readonly number[],
  windows: Contraction['windows'] = [],
): Contraction => ({ extents, lhs, rhs, out, windows })

/** Products of matrices, batches of them, outer products, and convolutions in one and two dimensions. */
const contractions: readonly ((x: Tensor, p: number) => Tensor)[] = [
  x => {
    const [n, k] = matrix(x).shape
    return b.contract(contraction([n, k, n], [0, 1], [2, 1], [0, 2]), matrix(x), marked(matrix(x)))
  },
  x => {
    const [k, n] = matrix(x).shape
    return b.contract(contraction([k, n, n], [0, 1], [0, 2], [2, 1]), matrix(x), bounded(matrix(x)))
  },
  x => {
    const [n, k] = matrix(x).shape
    const both = b.reshape(b.concat([matrix(x), marked(matrix(x))], 0), [2, n, k])
    return b.contract(contraction([2, n, k, n], [0, 1, 2], [0, 3, 2], [0, 1, 3]), both, bounded(both))
  },
  x => {
    const row = b.reshape(b.sum(matrix(x), 0), [-1])
    return b.contract(contraction([row.shape[0], row.shape[0]], [0], [1], [1, 0]), row, bounded(row))
  },
  (x, p) => {
    const rows = matrix(x)
    const [m, n] = rows.shape
    const [stride, padding, dilation] = [1 + (p % 3), (p >> 1) % 3, 1 + ((p >> 4) % 2)]
    const taps = n + 2 * padding > dilation ? 1 + ((p >> 2) % 2) : 1
    const out = Math.max(Math.floor((n + 2 * padding - dilation * (taps - 1) - 1) / stride) + 1, 0)
    const kernel = b.map('sin', b.add(b.iota([2, taps], 1, x.dtype), 0.3))
    const window = { big: 1, out: 4, tap: 3, stride, dilation, padding }
    return b.contract(contraction([m, n, 2, taps, out], [0, 1], [2, 3], [0, 2, 4], [window]), rows, kernel)
  },
  (x, p) => {
    // two spatial axes, a group per channel: image [2, h, w], kernel [2, 3, 2]
    const rows = matrix(x)
    const image = b.reshape(b.concat([rows, marked(rows)], 0), [2, ...rows.shape])
    const [, h, w] = image.shape
    const [stride, padding] = [1 + (p % 2), 1 + ((p >> 1) % 2)]
    const extent = (n: number, taps: number) => Math.max(Math.floor((n + 2 * padding - taps) / stride) + 1, 0)
    const [y, z] = [extent(h, 3), extent(w, 2)]
    const kernel = b.map('cos', b.add(b.iota([2, 3, 2], 1, x.dtype), b.iota([2, 3, 2], 2, x.dtype)))
    const windows = [
      { big: 1, out: 3, tap: 5, stride, dilation: 1, padding },
      { big: 2, out: 4, tap: 6, stride, dilation: 1, padding },
    ]
    const spec = contraction([2, h, w, y, z, 3, 2], [0, 1, 2], [0, 5, 6], [0, 3, 4], windows)
    return b.contract(spec, image, kernel)
  },
]

const axesOf = (x: Tensor, p: number): number[] =>
  orderOf(x, p)
    .slice(0, 1 + (p % x.rank))
    .sort((i, j) => i - j)
/** The axes of which an extremum is taken may not be empty: such an axis is padded. */
const filled = (x: Tensor): Tensor =>
  x.shape.includes(0)
    ? b.pad(
        x,
        x.shape.map(() => 0),
        x.shape.map(n => (n === 0 ? 1 : 0)),
        0.5,
      )
    : x
const reductions: readonly Step[] = [
  (x, _, p) => b.sum(x, axesOf(x, p), p % 3 === 0),
  (x, _, p) => b.sum(x, axisOf(x, p), p % 2 === 0),
  (x, _, p) => b.reduce('max', filled(x), axesOf(x, p), p % 2 === 0),
  (x, _, p) => b.reduce('min', filled(x), axisOf(x, p), p % 2 === 0),
  (x, _, p) => b.reduce('prod', bounded(x), axesOf(x, p >> 1)),
  (x, _, p) => {
    const z = filled(x)
    const best = b.reduce(p & 8 ? 'argmax' : 'argmin', z, axisOf(x, p))
    return b.add(b.sum(z, axisOf(x, p)), b.mul(b.cast(best, x.dtype), 0.25))
  },
]

/** The derivative of x^3 as a rule of its own, in both modes. */
export const cubeRule: CustomRule = {
  vjp: ([x], _, [dy]) => [b.mul(b.mul(b.mul(x, x), 3), dy)],
  jvp: ([x], _, [dx]) => [b.mul(b.mul(b.mul(x, x), 3), dx)],
}
const cube = custom('cube', x => [b.mul(x, b.mul(x, x))], cubeRule)
/** A product and a sum of two tensors, whose derivative is its body's. */
const pair = custom('pair', (x, y) => [b.mul(x, y), b.add(x, b.map('sin', y))], {})

/** The steps of structural primitives. */
export const primSteps = {
  map: (x, y, p, args) => scalarSteps[scalarNames[p % scalarNames.length]](x, y, p >> 1, args),
  input: (x, _, p, args) => b.mul(x, fit(x, args[p % args.length])),
  const: (x, _, p) => {
    const n = (ranked(x).shape[ranked(x).rank - 1] ?? 1) || 1
    const values = range(n).map(i => ((i * 7 + p) % 11) / 8 - 0.6)
    const data = x.dtype === 'f32' ? Float32Array.from(values) : Float64Array.from(values)
    return b.add(b.mul(x, fit(x, constant([n], x.dtype, data))), 0.2)
  },
  iota: (x, _, p) =>
    b.mul(ranked(x), b.add(b.mul(b.iota(ranked(x).shape, axisOf(x, p), x.dtype), 0.4), -0.3)),
  // dropout: the same bits on every backend
  randomBits: (x, _, p) => {
    const seed = constant([2], 'u32', Uint32Array.of(p, 77))
    const bits = bind1('randomBits', { shape: x.shape }, [seed])
    return b.select(b.less(bits, 2 ** 31), b.mul(x, 2), b.mul(x, 0.1))
  },
  reduce: (x, y, p, args) => reductions[p % reductions.length](ranked(x), y, p >> 1, args),
  reshape: (x, _, p) => b.reshape(x, p % 2 === 0 ? [size(x.shape)] : [1, ...[...x.shape].reverse()]),
  permute: (x, _, p) => b.permute(marked(x), orderOf(x, p)),
  broadcast: (x, _, p) => {
    if (!small(x, 3) || x.rank > 4) return marked(x)
    const one = p % 3 === 0 ? b.reshape(x, [...x.shape, 1]) : x
    const lead = p % 2 === 0 ? [1 + (p % 3)] : []
    return marked(
      b.broadcastTo(one, [
        ...lead,
        ...one.shape.slice(0, -1),
        ...one.shape.slice(-1).map(n => (n === 1 ? 3 : n)),
      ]),
    )
  },
  pad: (x, _, p) => {
    const z = marked(ranked(x))
    const low = perAxis(z, p, 3).map((w, a) => (p % 7 === 0 && z.shape[a] > 2 ? -w : w))
    const interior = perAxis(z, p >> 2, 2)
    return small(z, 2 ** z.rank) ? b.pad(z, low, perAxis(z, p >> 1, 2), 0.5, interior) : z
  },
  slice: (x, _, p) => {
    const z = ranked(x)
    const start = z.shape.map(n => (n === 0 ? 0 : p % n))
    return b.slice(
      marked(z),
      start,
      z.shape,
      perAxis(z, p, 2).map(k => k + 1),
    )
  },
  flip: (x, _, p) => b.flip(marked(ranked(x)), axesOf(ranked(x), p)),
  concat: (x, _, p) => {
    const z = ranked(x)
    const axis = axisOf(z, p)
    const first = b.sliceAxis(z, axis, 0, Math.min(1, z.shape[axis]))
    return small(z, 3) ? b.concat([z, b.mul(z, 2), first], axis) : b.concat([b.neg(first), z], axis)
  },
  contract: (x, _, p) => b.mul(contractions[p % contractions.length](x, p >> 1), 0.3),
  unfold: (x, _, p) =>
    small(x, 9) && x.rank < 5
      ? b.unfold(ranked(x), slidingOf(ranked(x), p))
      : b.unfold(matrix(x), slidingOf(matrix(x), p)),
  fold: (x, _, p) => {
    const z = small(x, 9) && x.rank < 5 ? ranked(x) : matrix(x)
    const sliding = slidingOf(z, p)
    return b.fold(marked(b.unfold(z, sliding)), sliding, z.shape)
  },
  gather: (x, _, p) => {
    const z = ranked(x)
    const n = z.shape[axisOf(z, p)] === 0 ? 0 : 1 + (p % 4)
    return b.gather(z, indices(z, axisOf(z, p), n, p), axisOf(z, p))
  },
  scatterAdd: (x, _, p) => {
    const z = ranked(x)
    const axis = axisOf(z, p)
    return b.scatterAdd(indices(z, axis, z.shape[axis], p), marked(z), axis, z.shape[axis] + (p % 2))
  },
  stopGradient: x => b.mul(x, b.add(b.stopGradient(bounded(x)), 1.5)),
  barrier: x => b.mul(b.barrier(b.map('sin', x)), b.map('sin', x)),
  call: (x, y, p) => {
    if (p % 3 === 0) return cube(bounded(x))[0]
    if (p % 3 === 1) return checkpoint((z: Tensor) => b.map('tanh', b.mul(b.map('sin', z), fit(z, y))))(x)
    const z = b.broadcastTo(fit(x, y), b.broadcastShapes('pair', [x.shape, fit(x, y).shape]))
    const [product, sum] = pair(b.broadcastTo(x, z.shape), z)
    return p % 2 ? product : b.sub(sum, product)
  },
  cond: (x, y, p) =>
    cond(
      b.less(b.sum(p % 2 ? b.stopGradient(y) : x), 0.1),
      z => b.mul(z, fit(z, y)),
      z => b.add(b.map('sin', z), b.mul(b.sum(y), 0.1)),
      b.broadcastTo(x, b.broadcastShapes('cond', [x.shape, fit(x, y).shape])),
    ),
  scan: (x, y, p) => {
    const z = ranked(x)
    const xs = b.sliceAxis(z, 0, 0, Math.min(z.shape[0], 4))
    const slice = b.reshape(b.sum(xs, 0), xs.shape.slice(1))
    const factor = bounded(b.sum(y))
    const [last, all] = scan(
      (h: Tensor, v: Tensor) => {
        const next = bounded(b.add(b.mul(h, factor), v))
        return [next, b.mul(next, v)] as const
      },
      slice,
      xs,
      { reverse: p % 2 === 0 },
    )
    return p % 3 === 0 ? last : all
  },
} satisfies { readonly [K in Op]: Step }
