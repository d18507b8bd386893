/**
 * Elementwise operations with literal types. Operands broadcast as in NumPy, a number takes its neighbour's
 * dtype, and everything is also data-last: `sub(x, y)` and `pipe(x, sub(y))` are x - y.
 */
import * as b from '../build.ts'
import type { DType } from '../dtype.ts'
import { isFloat } from '../dtype.ts'
import { dual, withData, withOperands } from '../dual.ts'
import type { ScalarOp } from '../scalar.ts'
import { type Shape, showType } from '../shape.ts'
import { Tensor } from '../tensor.ts'
import type {
  BinaryOp,
  Broadcast,
  BroadcastCheck,
  CommonDType,
  CompareOp,
  DTypeOf,
  Operand,
  ShapeOf,
  UnaryOp,
} from '../types/broadcast.ts'
import { mismatch } from '../types/mismatch.ts'

const show = (x: Operand): string => (typeof x === 'number' ? `the number ${x}` : showType(x))

/** Checks two operands under the name that the user wrote. */
function checkOperands(op: string, x: Operand, y: Operand): void {
  if (typeof x === 'number' || typeof y === 'number') {
    if (typeof x === typeof y) mismatch(op, 'needs at least one tensor', [show(x), show(y)])
    return
  }
  if (x.dtype !== y.dtype)
    mismatch(op, `the operands are ${x.dtype} and ${y.dtype}`, [
      `x  ${show(x)}`,
      `y  ${show(y)}`,
      `use cast(y, '${x.dtype}')`,
    ])
  b.broadcastShapes(op, [x.shape, y.shape])
}

const binary = <Op extends string>(op: Op, body: (x: Operand, y: Operand) => Tensor) =>
  dual<BinaryOp<Op>>(withOperands(2), (x: Operand, y: Operand) => {
    checkOperands(op, x, y)
    return body(x, y)
  })
const compare = <Op extends string>(op: Op, body: (x: Operand, y: Operand) => Tensor) =>
  dual<CompareOp<Op>>(withOperands(2), (x: Operand, y: Operand) => {
    checkOperands(op, x, y)
    return body(x, y)
  })
const unary = (body: (x: Tensor) => Tensor): UnaryOp =>
  // An elementwise operation keeps its operand's type; the untyped language does not say so.
  ((x: Tensor) => body(x)) as UnaryOp
const mapped = (fn: ScalarOp): UnaryOp => unary(x => b.map(fn, x))

/** x + y. @throws ShapeError if the shapes do not broadcast or the dtypes differ @example add(x, 1) */
export const add = binary('add', b.add)
/** x - y; `pipe(x, sub(y))` is x - y too. @throws ShapeError as `add` @example sub(x, mean(x)) */
export const sub = binary('sub', b.sub)
/** x y, elementwise. @throws ShapeError as `add` @example pipe(x, mul(0.5)) */
export const mul = binary('mul', b.mul)
/** x / y; integers divide towards zero. @throws ShapeError as `add` @example div(1, x) */
export const div = binary('div', b.div)
/** x^y, for floats. @throws ShapeError as `add` @example pow(x, 2) */
export const pow = binary('pow', (x, y) => (y === 2 ? b.mul(x, x) : b.map('pow', x, y)))
/** The larger operand; NaN wins; the gradient is shared at a tie. @throws ShapeError as `add` @example maximum(x, 0) */
export const maximum = binary('maximum', (x, y) => b.map('max', x, y))
/** The smaller operand; NaN wins; the gradient is shared at a tie. @throws ShapeError as `add` @example minimum(x, 6) */
export const minimum = binary('minimum', (x, y) => b.map('min', x, y))
/** x - y trunc(x / y), with the sign of x, as JavaScript's %. @throws ShapeError as `add` @example rem(index, 7) */
export const rem = binary('rem', (x, y) => {
  const dtype = x instanceof Tensor ? x.dtype : y instanceof Tensor ? y.dtype : 'f32'
  return isFloat(dtype) ? b.sub(x, b.mul(y, b.map('trunc', b.div(x, y)))) : b.map('rem', x, y)
})

/** -x @example neg(x) */
export const neg = mapped('neg')
/** |x|; the gradient at 0 is 0. @example abs(x) */
export const abs = mapped('abs')
/** e^x @example exp(x) */
export const exp = mapped('exp')
/** e^x - 1, exact near 0. @example expm1(x) */
export const expm1 = mapped('expm1')
/** The natural logarithm. @example log(x) */
export const log = mapped('log')
/** log(1 + x), exact near 0. @example log1p(x) */
export const log1p = mapped('log1p')
/** The square root. @example sqrt(x) */
export const sqrt = mapped('sqrt')
/** 1 / sqrt(x) @example rsqrt(add(variance(x), 1e-5)) */
export const rsqrt = unary(x => b.div(1, b.map('sqrt', x)))
/** 1 / x @example reciprocal(x) */
export const reciprocal = unary(x => b.div(1, x))
/** x^2 @example square(x) */
export const square = unary(x => b.mul(x, x))
/** The sine of x in radians. @example sin(x) */
export const sin = mapped('sin')
/** The cosine of x in radians. @example cos(x) */
export const cos = mapped('cos')
/** The hyperbolic tangent. @example tanh(x) */
export const tanh = mapped('tanh')
/** The error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x. @example erf(x) */
export const erf = mapped('erf')
/** -1, 0 or 1; the gradient is 0. @example sign(x) */
export const sign = mapped('sign')
/** The next integer below. @example floor(x) */
export const floor = mapped('floor')
/** The next integer above. @example ceil(x) */
export const ceil = mapped('ceil')
/** The nearest integer, ties to even. @example round(x) */
export const round = mapped('round')
/** The next integer towards zero. @example trunc(x) */
export const trunc = mapped('trunc')

/** x = y, as bool; NaN equals nothing. @throws ShapeError as `add` @example equal(labels, 255) */
export const equal = compare('equal', b.eq)
/** x differs from y, as bool; NaN differs from everything. @throws ShapeError as `add` @example notEqual(labels, 255) */
export const notEqual = compare('notEqual', (x, y) => b.map('ne', x, y))
/** x < y, as bool. @throws ShapeError as `add` @example pipe(x, less(0)) // x < 0 */
export const less = compare('less', b.less)
/** x <= y, as bool. @throws ShapeError as `add` @example lessEqual(x, 0) */
export const lessEqual = compare('lessEqual', b.lessEqual)
/** x > y, as bool. @throws ShapeError as `add` @example greater(x, 0) */
export const greater = compare('greater', (x, y) => b.less(y, x))
/** x >= y, as bool. @throws ShapeError as `add` @example greaterEqual(x, 0) */
export const greaterEqual = compare('greaterEqual', (x, y) => b.lessEqual(y, x))

/** Both, of bool tensors (of integers: bit by bit). @throws ShapeError as `add` @example logicalAnd(a, b) */
export const logicalAnd = binary('logicalAnd', (x, y) => b.map('and', x, y))
/** Either, of bool tensors (of integers: bit by bit). @throws ShapeError as `add` @example logicalOr(a, b) */
export const logicalOr = binary('logicalOr', (x, y) => b.map('or', x, y))
/** Not, of a bool tensor. @example logicalNot(equal(labels, 255)) */
export const logicalNot = mapped('not')

interface Where {
  <X extends Operand, Y extends Operand>(
    x: X,
    y: Y & WhereCheck<X, Y>,
  ): <C extends Shape>(
    condition: Tensor<C, 'bool'> & BroadcastCheck<'where', Tensor<C>, Tensor<Chosen<X, Y>['shape']>>,
  ) => Tensor<Broadcast<C, Chosen<X, Y>['shape']>, Chosen<X, Y>['dtype']>
  <C extends Shape, X extends Operand, Y extends Operand>(
    condition: Tensor<C, 'bool'> & BroadcastCheck<'where', Tensor<C>, Tensor<Chosen<X, Y>['shape']>>,
    x: X,
    y: Y & WhereCheck<X, Y>,
  ): Tensor<Broadcast<C, Chosen<X, Y>['shape']>, Chosen<X, Y>['dtype']>
}
/** What `where` chooses from; two numbers are f32. */
type Chosen<X extends Operand, Y extends Operand> = [X | Y] extends [number]
  ? Tensor<readonly [], 'f32'>
  : Tensor<Broadcast<ShapeOf<X>, ShapeOf<Y>>, CommonDType<DTypeOf<X>, DTypeOf<Y>>>
type WhereCheck<X extends Operand, Y extends Operand> = [X | Y] extends [number]
  ? unknown
  : BroadcastCheck<'where', X, Y>

/**
 * x where the condition holds, else y; all three broadcast. Two numbers make f32. The operand that is not chosen
 * gets no gradient, and its NaN does not leak into the value.
 * @throws ShapeError if the condition is not bool, or as `add`
 * @example where(less(x, 0), 0, x)
 */
export const where = dual<Where>(withOperands(3), (condition: Tensor, x: Operand, y: Operand) => {
  if (condition.dtype !== 'bool')
    mismatch('where', 'the condition must be bool', [
      `condition  ${show(condition)}`,
      'compare it: notEqual(condition, 0)',
    ])
  const first = typeof x === 'number' && typeof y === 'number' ? b.scalar(x, 'f32') : x
  checkOperands('where', first, y)
  b.broadcastShapes(
    'where',
    [condition, first, y].map(t => (typeof t === 'number' ? [] : t.shape)),
  )
  return b.select(condition, first, y)
})

interface Clamp {
  (bounds: ClampOptions): UnaryOp
  <S extends Shape, D extends DType>(x: Tensor<S, D>, bounds: ClampOptions): Tensor<S, D>
}
/** The bounds of `clamp`; an absent one does not bind. */
export interface ClampOptions {
  readonly min?: number
  readonly max?: number
}

/**
 * min(max(x, bounds.min), bounds.max). NaN stays NaN; the gradient is 1 inside and at the bounds, 0 outside.
 * @example clamp(x, { min: 0, max: 6 })
 */
export const clamp = dual<Clamp>(withData, (x: Tensor, { min, max }: ClampOptions) => {
  // The test for NaN is by bits: a bare `x < min ? min : x` may be compiled to a max that drops it.
  const orNaN = (inside: Tensor) => (isFloat(x.dtype) ? b.map('or', inside, b.map('isnan', x)) : inside)
  const below = min === undefined ? x : b.select(orNaN(b.lessEqual(min, x)), x, min)
  return max === undefined ? below : b.select(orNaN(b.lessEqual(below, max)), below, max)
})

interface Cast {
  <const E extends DType>(dtype: E): <S extends Shape>(x: Tensor<S>) => Tensor<S, E>
  <S extends Shape, const E extends DType>(x: Tensor<S>, dtype: E): Tensor<S, E>
}
/**
 * Conversion by value: floats truncate and saturate to integers, NaN becomes 0; to bool it is x != 0.
 * @example cast(labels, 'f32')
 */
export const cast = dual<Cast>(withData, (x: Tensor, dtype: DType) => b.cast(x, dtype))

/** True where a float is NaN, by its bits. @example any(isNaN(loss)) */
// biome-ignore lint/suspicious/noShadowRestrictedNames: the field's name; JavaScript's own is for numbers
export const isNaN = <S extends Shape>(x: Tensor<S>): Tensor<S, 'bool'> =>
  // An elementwise operation keeps the shape; the untyped language does not say so.
  b.map('isnan', x) as Tensor<S, 'bool'>
