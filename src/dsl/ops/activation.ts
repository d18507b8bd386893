/**
 * Activation functions: shape-preserving compositions of scalar operations. In: a float tensor of any shape. Out: a
 * tensor of its type. Written so that neither value nor gradient overflows or turns NaN at large arguments: a
 * branch that is not taken is computed at an argument where it is harmless, and NaN in gives NaN out.
 * At a kink the gradient is PyTorch's.
 */
import { add, div, less, map, mul, neg, scalar, select, sub } from '../build.ts'
import type { FloatDType } from '../dtype.ts'
import { dual, withData } from '../dual.ts'
import type { Shape } from '../shape.ts'
import { scope, type Tensor } from '../tensor.ts'

/** A function that keeps shape and dtype. */
export type Unary = <S extends Shape, D extends FloatDType>(x: Tensor<S, D>) => Tensor<S, D>

/** A function that keeps shape and dtype and takes options: `f(x, options)`, or `pipe(x, f(options))`. */
export interface UnaryWith<O extends object> {
  <S extends Shape, D extends FloatDType>(x: Tensor<S, D>, ...options: Given<O>): Tensor<S, D>
  (...options: Given<O>): Unary
}
/** An argument of options: may be left out where every one of them may. */
export type Given<O extends object> = Partial<O> extends O ? [options?: O] : [options: O]

/** Names a function for errors and profiles; that it keeps the type is its author's promise. */
const unary = (name: string, f: (x: Tensor) => Tensor): Unary =>
  ((x: Tensor) => scope(name, () => f(x))) as Unary

/**
 * Makes a function with options that keeps its argument's type (its author's promise) data-last too.
 * @example const scale = unaryWith('scale', (x, { by }: { by: number }) => mul(x, by))
 */
export const unaryWith = <O extends object>(
  name: string,
  f: (x: Tensor, options: O) => Tensor,
): UnaryWith<O> =>
  dual<UnaryWith<O>>(withData, (x: Tensor, options: O) => scope(name, () => f(x, options ?? {})))

/**
 * Rectifier: max(x, 0), elementwise; the gradient at 0 is 0.
 * @see Nair & Hinton 2010, "Rectified linear units improve restricted Boltzmann machines"
 * @example relu(x)
 */
export const relu: Unary = unary('relu', x => select(orNaN(less(0, x), x), x, 0))

/**
 * Rectifier with a ceiling: min(max(x, 0), 6), elementwise; the gradient at 0 and at 6 is 0.
 * @see Howard et al. 2017, arXiv:1704.04861
 * @example relu6(x)
 */
export const relu6: Unary = unary('relu6', clip06)
function clip06(x: Tensor): Tensor {
  const positive = less(0, x)
  const inside = orNaN(map('and', positive, less(x, 6)), x)
  return select(inside, x, select(positive, scalar(6, x.dtype), 0))
}
/**
 * Keeps NaN on the side that returns x. A bare `x > 0 ? x : 0` may be compiled to a max that drops it; the test
 * by bits cannot.
 */
const orNaN = (condition: Tensor, x: Tensor): Tensor => map('or', condition, map('isnan', x))

/**
 * Rectifier with a slope on the negative side: x where x > 0, else `negativeSlope` x (0.01).
 * @see Maas, Hannun, Ng 2013, "Rectifier nonlinearities improve neural network acoustic models"
 * @example pipe(x, leakyRelu({ negativeSlope: 0.2 }))
 */
export const leakyRelu: UnaryWith<{ readonly negativeSlope?: number }> = unaryWith(
  'leakyRelu',
  (x, { negativeSlope = 0.01 }) => select(less(0, x), x, mul(x, negativeSlope)),
)

/**
 * Exponential linear unit: x where x > 0, else `alpha` (e^x - 1), alpha = 1.
 * @see Clevert, Unterthiner, Hochreiter 2015, arXiv:1511.07289
 * @example elu(x)
 */
export const elu: UnaryWith<{ readonly alpha?: number }> = unaryWith('elu', (x, { alpha = 1 }) =>
  eluOf(x, alpha),
)
function eluOf(x: Tensor, alpha: number): Tensor {
  const positive = orNaN(less(0, x), x)
  // exp sees no positive argument: there it would overflow, and 0 * inf would reach the gradient
  return select(positive, x, mul(map('expm1', select(positive, 0, x)), alpha))
}

/**
 * Self-normalising exponential linear unit: 1.0507 elu(x, 1.6733).
 * @see Klambauer et al. 2017, arXiv:1706.02515 (both constants)
 * @example selu(x)
 */
export const selu: Unary = unary('selu', x => mul(eluOf(x, 1.6732632423543772), 1.0507009873554805))

/** -|x|, with the derivative -1 at 0 (that of abs is 0 there, which would lose the gradient). */
const minusAbs = (x: Tensor, negative: Tensor): Tensor => select(negative, x, neg(x))

function sigmoidOf(x: Tensor): Tensor {
  const negative = less(x, 0)
  const e = map('exp', minusAbs(x, negative))
  return div(select(negative, e, 1), add(e, 1))
}

/**
 * Logistic function: 1 / (1 + e^-x), elementwise, as e^x / (1 + e^x) where x < 0: small values keep their
 * relative accuracy.
 * @example sigmoid(logits)
 */
export const sigmoid: Unary = unary('sigmoid', sigmoidOf)

function softplusOf(x: Tensor): Tensor {
  const negative = less(x, 0)
  return add(select(negative, 0, x), map('log1p', map('exp', minusAbs(x, negative))))
}

/**
 * log(1 + e^x), elementwise, as max(x, 0) + log1p(e^-|x|).
 * @see Dugas et al. 2001, "Incorporating second-order functional knowledge"
 * @example softplus(x)
 */
export const softplus: Unary = unary('softplus', softplusOf)

/**
 * Logarithm of the logistic function: -softplus(-x) = min(x, 0) - log1p(e^-|x|).
 * @example logSigmoid(logits)
 */
export const logSigmoid: Unary = unary('logSigmoid', x => {
  const negative = less(x, 0)
  return sub(select(negative, x, 0), map('log1p', map('exp', minusAbs(x, negative))))
})

/**
 * Sigmoid-weighted linear unit (swish): x sigmoid(x).
 * @see Elfwing, Uchibe, Doya 2017, arXiv:1702.03118
 * @example silu(x)
 */
export const silu: Unary = unary('silu', x => mul(x, sigmoidOf(x)))

/**
 * Gaussian error linear unit: x Phi(x) = x (1 + erf(x / sqrt 2)) / 2.
 * @see Hendrycks & Gimpel 2016, arXiv:1606.08415
 * @example gelu(x)
 */
export const gelu: Unary = unary('gelu', x => mul(mul(x, 0.5), add(map('erf', mul(x, Math.SQRT1_2)), 1)))

/**
 * Gaussian error linear unit by its tanh approximation: x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.
 * @see Hendrycks & Gimpel 2016, arXiv:1606.08415
 * @example geluTanh(x)
 */
export const geluTanh: Unary = unary('geluTanh', x => {
  const cubic = mul(x, add(mul(mul(x, x), 0.044715), 1))
  return mul(mul(x, 0.5), add(map('tanh', mul(cubic, Math.sqrt(2 / Math.PI))), 1))
})

/**
 * Piecewise linear sigmoid: min(max(x + 3, 0), 6) / 6.
 * @see Howard et al. 2019, arXiv:1905.02244
 * @example hardSigmoid(x)
 */
export const hardSigmoid: Unary = unary('hardSigmoid', x => mul(clip06(add(x, 3)), 1 / 6))

/**
 * Piecewise quadratic swish: x min(max(x + 3, 0), 6) / 6.
 * @see Howard et al. 2019, arXiv:1905.02244
 * @example hardswish(x)
 */
export const hardswish: Unary = unary('hardswish', x => mul(x, mul(clip06(add(x, 3)), 1 / 6)))

/**
 * x tanh(softplus(x)).
 * @see Misra 2019, arXiv:1908.08681
 * @example mish(x)
 */
export const mish: Unary = unary('mish', x => mul(x, map('tanh', softplusOf(x))))
