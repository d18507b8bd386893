/**
 * NFD's term with a derivative rule of its own: the same numbers as standardise and compare, in fewer passes over
 * the features. In: two features. Out: the mean squared difference of their standardisations. Nothing here knows a
 * backend. Measured by bench/fused-nfd.ts, see docs/distillation/fused.md.
 */
import { custom } from '../autodiff/grad.ts'
import { add, div, map, mean, mul, stopGradient, sub, sum } from '../dsl/build.ts'
import { moments } from '../dsl/ops/moments.ts'
import { range, size } from '../dsl/shape.ts'
import { scope, type Tensor } from '../dsl/tensor.ts'
import { floats } from '../nn/feature.ts'
import { checkShapes, type Term } from './compare.ts'
import { axisNumbers, type NormaliseOptions } from './normalise.ts'

/**
 * What both directions need of a feature: its offsets from the mean, their variance, and 1 / sqrt(variance +
 * eps).
 */
function momentsOf(x: Tensor, axes: readonly number[], eps: number) {
  const { mean: mu, variance } = moments(x, axes)
  return { offset: sub(x, mu), variance, scale: div(1, map('sqrt', add(variance, eps))) }
}

/** The mean of (N(s) - N(t))^2 over each group of axes. */
function errorsOf(s: Tensor, t: Tensor, axes: readonly number[], eps: number): Tensor {
  const [a, b] = [momentsOf(s, axes, eps), momentsOf(t, axes, eps)]
  const d = sub(mul(a.offset, a.scale), mul(b.offset, b.scale))
  return mean(mul(d, d), axes, true)
}

/**
 * The derivative with respect to s, where e is the error of the group, n the number of elements and x' = x - mean:
 *   dL/ds = 2/n rs (rs s' (1 - q) - rt t'),  q = mean(N(s) (N(s) - N(t))) = (vs rs^2 - vt rt^2 + e) / 2
 * All of it is made from s and t again, so that its own derivative is right too; what the value has made is shared.
 */
function slope(s: Tensor, t: Tensor, axes: readonly number[], eps: number): Tensor {
  const [a, b] = [momentsOf(s, axes, eps), momentsOf(t, axes, eps)]
  const square = (m: typeof a) => mul(mul(m.variance, m.scale), m.scale)
  const q = mul(add(sub(square(a), square(b)), errorsOf(s, t, axes, eps)), 0.5)
  const toStudent = mul(mul(mul(a.scale, a.scale), sub(1, q)), 2 / size(s.shape))
  const toTeacher = mul(mul(a.scale, b.scale), 2 / size(s.shape))
  return sub(mul(a.offset, toStudent), mul(b.offset, toTeacher))
}

/**
 * mean((N(s) - N(t))^2), N(x) = (x - mean) / sqrt(variance + eps) over the axes.
 * @param s  any shape, as `t`
 * @param eps positive: a constant group has no other slope
 * @returns  a scalar
 * @example standardisedError(student, stopGradient(teacher), [2, 3], 1e-5)
 */
export function standardisedError(s: Tensor, t: Tensor, axes: readonly number[], eps: number): Tensor {
  const rule = custom('standardisedError', (x, y) => [mean(errorsOf(x, y, axes, eps), range(x.rank))], {
    vjp: ([x, y], _, [dy]) => [mul(slope(x, y, axes, eps), dy), mul(slope(y, x, axes, eps), dy)],
    jvp: ([x, y], _, [dx, dy]) => [
      add(sum(mul(slope(x, y, axes, eps), dx)), sum(mul(slope(y, x, axes, eps), dy))),
    ],
  })
  return scope('standardisedError', () => rule(s, t)[0])
}

/**
 * NFD's term, fused where it can be: with an absolute eps above 0, and without mask and weights. Elsewhere
 * `composed`, whose numbers it has.
 * @example fused(options, term(normalise(options), squaredError))
 */
export function fused(
  { axes = 'HW', eps = 1e-5, epsMode = 'absolute' }: NormaliseOptions,
  composed: Term,
): Term {
  const numbers = axisNumbers[axes]
  if (numbers === null || epsMode === 'relative' || eps === 0) return composed
  return (s, t, context) => {
    if (context.mask || context.weights) return composed(s, t, context)
    checkShapes(s, t)
    return floats('nfd', standardisedError(s, stopGradient(t), numbers, eps))
  }
}
