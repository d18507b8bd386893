/**
 * Mean and variance of groups, with one derivative rule, and of large tensors in one loop over the data. In: a tensor,
 * and the axes over which a group extends. Out: the two statistics of each group, which normalisations are made from.
 *
 * Note [One pass]. A group is cut into parts of l elements, l at most `longest`. Let x0 be the first element of a
 * part, d = x - x0, S = sum(d) and Q = sum(d^2): two sums of one loop. Then
 *   m = x0 + S / l,  v = (Q - S^2 / l) / l
 * are the part's mean and variance, and over the parts, which are of one length,
 *   mean = mean(m),  variance = mean(v + (m - mean)^2)
 * (Chan, Golub, LeVeque 1983, "Algorithms for Computing the Sample Variance"). The m are held as differences from the
 * group's first element. Rounding, with u = 2^-24 in f32:
 *   - an offset that the data share goes with x0, without error where neighbours are within a factor of 2;
 *   - Q - S^2 / l cancels at most to Q / l, for x0 is one of the data: (x0 - m)^2 <= (l - 1) v. So the relative error
 *     of v is that of a sum times 1 + (x0 - m)^2 / v, times l = 256 at worst, where x0 alone is unlike its part:
 *     5e-5 measured, 2e-7 in data without outliers. E[x^2] - E[x]^2 has no such bound;
 *   - the m have errors of u |x0 - m| with the group's x0: sqrt(n) u deviations at worst, n the group's size, which
 *     the variance has twice, relatively.
 * Equal elements have the variance 0 and themselves as their mean. An infinite element leaves NaN, as do squares
 * of differences beyond the largest float: infinity - infinity.
 */
import { add, map, mean, mul, reshape, slice, sub, sum } from '../build.ts'
import { close } from '../closure.ts'
import type { CustomRule } from '../prim.ts'
import { range, type Shape, size } from '../shape.ts'
import { bind, type Tensor } from '../tensor.ts'

/** Two statistics of groups; the axes over which a group extends have extent 1. */
export type Moments = {
  readonly mean: Tensor
  /** The population's: the mean of (x - mean)^2. */
  readonly variance: Tensor
}

/**
 * Elements from which one pass is taken: 4 MiB of f32. What is smaller lies in a cache when it is read again, and two
 * passes have half the operations, which is time to compile.
 */
const large = 2 ** 20

/**
 * Mean and population variance over axes.
 *   dx = (dmean + 2 (x - mean) dvariance) / n
 * The derivative is that of the definition, not of the way the statistics are computed. Where the mean alone is
 * wanted, `mean` is cheaper.
 * @param x     floats of any shape
 * @param axes  distinct, not negative; of a group without elements both are NaN
 * @param from  elements of x from which one loop takes both statistics
 * @example const { mean, variance } = moments(x, [0, 2, 3])      // [1, channels, 1, 1]
 */
export function moments(x: Tensor, axes: readonly number[], from: number = large): Moments {
  const compute = (v: Tensor) => (size(v.shape) < from ? null : onePass(v, axes)) ?? twoPasses(v, axes)
  const { closed } = close('moments', compute, [x])
  const [mean, variance] = bind('call', { name: 'moments', ...closed, rule: ruleOf(x.shape, axes) }, [x])
  return { mean, variance }
}

function ruleOf(shape: Shape, axes: readonly number[]): CustomRule {
  const n = size(axes.map(a => shape[a]))
  return {
    vjp: ([x], [mu], [dm, dv]) => [add(mul(dm, 1 / n), mul(sub(x, mu), mul(dv, 2 / n)))],
    // dmean = mean(dx), dvariance = 2 mean((x - mean) dx)
    jvp: ([x], [mu], [dx]) => [mean(dx, axes, true), mul(mean(mul(sub(x, mu), dx), axes, true), 2)],
  }
}

function twoPasses(x: Tensor, axes: readonly number[]): readonly Tensor[] {
  const mu = mean(x, axes, true)
  const offset = sub(x, mu)
  return [mu, mean(mul(offset, offset), axes, true)]
}

/** Elements of a part, at most: what one thread sums in a row, and the bound on what rounding is amplified by. */
const longest = 256
/** Elements of a part, at least, unless it is the whole group: shorter parts cost as much as the second pass. */
const shortest = 16

/** See Note [One pass]. Null where the extents have no divisors that make parts, and where there are no elements. */
function onePass(x: Tensor, axes: readonly number[]): readonly Tensor[] | null {
  const parts = partsOf(x.shape, axes)
  if (parts === null) return null
  const { shape, inner, outer } = parts
  const rows = reshape(x, shape)
  const first = firstOf(rows, inner)
  const d = sub(rows, first)
  const scale = 1 / size(inner.map(a => shape[a]))
  const total = sum(d, inner, true)
  const m = mul(total, scale)
  // without the max, squares that underflow could leave a variance below 0
  const v = mul(map('max', sub(sum(mul(d, d), inner, true), mul(total, m)), 0), scale)
  const kept = (t: Tensor): Tensor => reshape(t, oneAlong(x.shape, axes))
  if (outer.length === 0) return [kept(add(first, m)), kept(v)]
  const origin = firstOf(first, outer)
  const means = add(sub(first, origin), m)
  const middle = mean(means, outer, true)
  const apart = sub(means, middle)
  return [kept(add(origin, middle)), kept(mean(add(v, mul(apart, apart)), outer, true))]
}

const oneAlong = (shape: Shape, axes: readonly number[]): Shape =>
  shape.map((n, a) => (axes.includes(a) ? 1 : n))

/** The first element along the axes, which are kept. */
const firstOf = (x: Tensor, axes: readonly number[]): Tensor =>
  slice(
    x,
    x.shape.map(() => 0),
    oneAlong(x.shape, axes),
  )

/** A shape with one axis cut in two, if need be: `inner` are the reduced axes within a part, `outer` the others. */
interface Parts {
  readonly shape: Shape
  readonly inner: readonly number[]
  readonly outer: readonly number[]
}
/** Takes the last of the axes whole, neighbours in memory, and of the next a divisor. */
function partsOf(shape: Shape, axes: readonly number[]): Parts | null {
  const rest = [...axes].sort((a, b) => a - b)
  if (rest.some(a => shape[a] === 0)) return null
  const inner: number[] = []
  let length = 1
  for (let at = rest.pop(); at !== undefined; at = rest.pop()) {
    const extent = shape[at]
    if (length * extent > longest) {
      const part = divisor(extent, Math.floor(longest / length))
      return length * part < shortest
        ? null
        : {
            shape: [...shape.slice(0, at), extent / part, part, ...shape.slice(at + 1)],
            inner: [at, ...inner].map(a => a + 1),
            outer: [...rest, at],
          }
    }
    inner.unshift(at)
    length *= extent
  }
  return { shape, inner, outer: [] }
}

/** The largest divisor of n that is at most `most`. */
const divisor = (n: number, most: number): number =>
  range(most)
    .map(i => most - i)
    .find(d => n % d === 0) ?? 1
