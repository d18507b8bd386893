/**
 * A step of a random program for every scalar operation: float tensors in, a float tensor out, whose derivative
 * exists almost everywhere. The table is keyed by the operations: the compiler names one that lacks a row.
 */
import * as b from '../dsl/build.ts'
import type { DType } from '../dsl/dtype.ts'
import type { ScalarOp } from '../dsl/scalar.ts'
import { range, size } from '../dsl/shape.ts'
import { bind1, type Tensor } from '../dsl/tensor.ts'

/** A step: two earlier values, a free choice in 0 .. 255 that fixes its parameters, and the program's arguments. */
export type Step = (x: Tensor, y: Tensor, p: number, args: readonly Tensor[]) => Tensor

/** The most elements that a value of a program has. */
export const maxSize = 256

const broadcasts = (x: Tensor, y: Tensor): boolean =>
  range(Math.min(x.rank, y.rank)).every(i => {
    const [m, n] = [x.shape[x.rank - 1 - i], y.shape[y.rank - 1 - i]]
    return m === n || m === 1 || n === 1
  })

/** `y`, or its mean where its shape does not broadcast against x's. */
export const fit = (x: Tensor, y: Tensor): Tensor =>
  broadcasts(x, y) && size(b.broadcastShapes('fit', [x.shape, y.shape])) <= maxSize
    ? y
    : b.mul(b.sum(y), 1 / Math.max(size(y.shape), 1))

/** Smooth, between -1 and 1, and never flat: x / sqrt(1 + x^2). */
export const bounded = (x: Tensor): Tensor => b.div(x, b.map('sqrt', b.add(b.mul(x, x), 1)))
const positive = (x: Tensor): Tensor => b.add(b.mul(bounded(x), bounded(x)), 0.3)
/** x on a grid that no sum of halves and tenths meets, for what jumps at integers. */
const scaled = (x: Tensor): Tensor => b.add(b.mul(bounded(x), 3.7), 0.137)
/** An integer tensor from floats. */
const whole = (x: Tensor, to: DType = 'i32'): Tensor =>
  b.cast(to === 'u32' ? b.map('abs', scaled(x)) : scaled(x), to)
/** What is read for its discrete value only: it says that no derivative is meant. */
const read = (x: Tensor, y: Tensor): Tensor => b.stopGradient(fit(x, y))
/** x with a discrete value mixed in: its derivative is x's. */
const mixed = (x: Tensor, discrete: Tensor): Tensor => b.add(x, b.mul(b.cast(discrete, x.dtype), 0.25))

const unary =
  (fn: ScalarOp, inner: (x: Tensor) => Tensor = x => x): Step =>
  x =>
    b.map(fn, inner(x))
const binary =
  (fn: ScalarOp): Step =>
  (x, y) =>
    b.map(fn, x, fit(x, y))
const choice =
  (fn: ScalarOp): Step =>
  (x, y) =>
    b.select(b.map(fn, x, fit(x, y)), x, b.add(b.mul(x, 0.3), b.mul(fit(x, y), 0.5)))
const onIntegers =
  (fn: ScalarOp): Step =>
  (x, y, p) => {
    const to = p % 2 ? 'i32' : 'u32'
    return mixed(x, b.map(fn, whole(x, to), whole(read(x, y), to)))
  }
const logic =
  (fn: ScalarOp): Step =>
  (x, y, p) =>
    p % 3
      ? onIntegers(fn)(x, y, p, [])
      : b.select(b.map(fn, b.less(x, 0.1), b.less(read(x, y), 0.2)), b.mul(x, 0.5), x)

/** The steps of scalar operations. */
export const scalarSteps = {
  add: binary('add'),
  sub: binary('sub'),
  mul: binary('mul'),
  div: (x, y) => b.div(x, b.add(b.mul(fit(x, y), fit(x, y)), 0.7)),
  rem: (x, y, p) => mixed(x, b.map('rem', whole(x), b.add(whole(read(x, y)), 1 + (p % 5)))),
  max: binary('max'),
  min: binary('min'),
  neg: unary('neg'),
  abs: unary('abs'),
  sqrt: unary('sqrt', positive),
  floor: x => mixed(x, b.map('floor', scaled(x))),
  ceil: x => mixed(x, b.map('ceil', scaled(x))),
  round: x => mixed(x, b.map('round', scaled(x))),
  trunc: x => mixed(x, b.map('trunc', scaled(x))),
  eq: (x, y, p) => b.select(b.eq(whole(x), b.add(whole(read(x, y)), p % 2)), x, b.mul(x, 0.5)),
  ne: choice('ne'),
  lt: choice('lt'),
  le: choice('le'),
  and: logic('and'),
  or: logic('or'),
  xor: logic('xor'),
  not: (x, y) => b.select(b.map('not', b.less(x, read(x, y))), b.mul(x, 1.5), b.neg(x)),
  shl: (x, _, p) => mixed(x, b.map('shl', whole(x), b.full(x.shape, p % 4, 'i32'))),
  shr: (x, _, p) =>
    p % 2
      ? mixed(x, b.map('shr', whole(x), b.full(x.shape, p % 3, 'i32')))
      : mixed(x, b.map('shr', whole(x, 'u32'), b.full(x.shape, p % 3, 'u32'))),
  select: (x, y, p) => {
    const z = fit(x, y)
    const even = b.eq(b.map('rem', b.iota(x.shape.length ? x.shape : [1], 0), 2), p % 2)
    return b.select(x.shape.length ? even : b.less(x, 0), x, b.mul(z, 2))
  },
  cast: (x, _, p) =>
    p % 3 === 0
      ? mixed(x, whole(x))
      : p % 3 === 1
        ? mixed(x, b.cast(whole(x, 'u32'), 'bool'))
        : b.add(b.cast(b.cast(x, 'f32'), x.dtype), x),
  // a float's exponent, read from its bits: constant almost everywhere
  bitcast: x => {
    const bits = bind1('map', { fn: 'bitcast', to: 'i32' }, [b.cast(b.add(bounded(x), 1.43), 'f32')])
    return mixed(x, b.sub(b.map('shr', bits, b.full(x.shape, 23, 'i32')), 126))
  },
  isnan: (x, y) => b.select(b.map('isnan', read(x, y)), b.neg(x), b.mul(x, 2)),
  opaque: unary('opaque'),
  exp2i: x => b.mul(x, b.map('exp2i', b.map('round', scaled(x)))),
  exponent: x => mixed(x, b.map('exponent', b.add(b.mul(bounded(x), 1.3), 1.43))),
  exp: unary('exp', bounded),
  expm1: unary('expm1', bounded),
  log: unary('log', positive),
  log1p: unary('log1p', x => b.mul(bounded(x), 0.8)),
  sin: unary('sin'),
  cos: unary('cos'),
  tanh: unary('tanh'),
  erf: unary('erf'),
  pow: (x, y) => b.map('pow', positive(x), bounded(fit(x, y))),
  sign: (x, y) => b.mul(x, b.map('sign', fit(x, y))),
} satisfies { readonly [K in ScalarOp]: Step }
