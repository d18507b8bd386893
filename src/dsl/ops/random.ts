/**
 * Random tensors from keys. A key is a u32[2] value that goes in; there is no state, so the same key gives the same
 * bits on every backend, and on the host (`threefry.ts`). Use a key once: derive others with `split` and `foldIn`.
 */
import { add, cast, concat, eq, iota, less, map, mul, reshape, select, slice, sub, sum } from '../build.ts'
import type { FloatDType, IntDType } from '../dtype.ts'
import { ShapeError, UsageError } from '../errors.ts'
import { range, type Shape, showType } from '../shape.ts'
import { bind1, constant, currentScope, scope, Tensor } from '../tensor.ts'
import { type Key, key as keyOfSeed, parity, rotations, rounds } from '../threefry.ts'

/** A traced key of the generator. */
export type KeyTensor = Tensor<readonly [2], 'u32'>

/**
 * A host key, or a seed, as a constant.
 * @example uniform(keyTensor(42), [2, 3])
 */
export const keyTensor = (k: Key | number): KeyTensor =>
  constant([2], 'u32', Uint32Array.from(typeof k === 'number' ? keyOfSeed(k) : k))

/**
 * Random words: Threefry's word 0 at counter (flat index, 0), uniform in [0, 2^32).
 * @example randomBits(key, [2, 3]) // u32[2, 3]
 */
export const randomBits = <const S extends Shape>(key: KeyTensor, shape: S): Tensor<S, 'u32'> =>
  // the primitive's own result type
  bind1('randomBits', { shape }, [key]) as Tensor<S, 'u32'>

/** Threefry-2x32 of the counters (counter, second), in u32 operations; the twin of `threefry2x32` on the host. */
function threefry(key: KeyTensor, counter: Tensor, second: number): readonly [Tensor, Tensor] {
  const word = (i: number): Tensor => reshape(slice(key, [i], [i + 1]), [])
  const rotate = (x: Tensor, r: number): Tensor => map('or', map('shl', x, r), map('shr', x, 32 - r))
  const ks = [word(0), word(1), map('xor', map('xor', word(0), word(1)), parity)]
  let x0 = add(counter, ks[0])
  let x1 = add(ks[1], second)
  for (let i = 0; i < rounds; i++) {
    x0 = add(x0, x1)
    x1 = map('xor', rotate(x1, rotations[i % 8]), x0)
    if (i % 4 === 3) {
      const s = (i + 1) / 4
      x0 = add(x0, ks[s % 3])
      x1 = add(x1, add(ks[(s + 1) % 3], s))
    }
  }
  return [x0, x1]
}

/**
 * A new key from a key and a number: `foldIn(key, step)`. The same words as the host's `foldIn`.
 * @param data  a number (its low 32 bits), or a scalar i32 or u32 tensor
 * @throws ShapeError if `data` is a tensor of another type
 * @example const stepKey = foldIn(key, step)
 */
export function foldIn(key: KeyTensor, data: number | Tensor<readonly [], IntDType>): KeyTensor {
  return scope('foldIn', () => {
    const x0 = typeof data === 'number' ? constant([], 'u32', Uint32Array.of(data >>> 0)) : asWord(data)
    return concat(
      threefry(key, x0, 0x5eed).map(w => reshape(w, [1])),
      0,
    ) as KeyTensor // two words of u32
  })
}
function asWord(x: Tensor): Tensor {
  if (x.shape.length !== 0 || (x.dtype !== 'i32' && x.dtype !== 'u32'))
    throw new ShapeError(
      'foldIn',
      `the data must be a scalar i32 or u32, got ${showType(x)}`,
      [],
      currentScope(),
    )
  return x.dtype === 'u32' ? x : bind1('map', { fn: 'bitcast', to: 'u32' }, [x])
}

/**
 * `n` independent keys (2). The same words as the host's `split`.
 * @example const [a, b] = split(key, 2)
 */
export function split(key: KeyTensor, n = 2): readonly KeyTensor[] {
  return scope('split', () => {
    const words = threefry(key, iota([n], 0, 'u32'), 0x51717).map(w => reshape(w, [n, 1]))
    const keys = concat(words, 1)
    return range(n).map(i => reshape(slice(keys, [i, 0], [i + 1, 2]), [2]) as KeyTensor) // u32[2] each
  })
}

/** The range of `uniform`, and the dtype of the result (f32). */
export interface UniformOptions<D extends FloatDType> {
  readonly min?: number
  readonly max?: number
  readonly dtype?: D
}

/**
 * Uniform numbers from min (0) to max (1), which rounding alone can reach: in [0, 1) they are the upper 24 bits of
 * a word times 2^-24, the same numbers as `uniformAt` on the host.
 * @returns  `shape`
 * @example uniform(key, [64, 3, 3, 3], { min: -0.1, max: 0.1 })
 */
export function uniform<const S extends Shape, D extends FloatDType = 'f32'>(
  key: KeyTensor,
  shape: S,
  { min = 0, max = 1, dtype }: UniformOptions<D> = {},
): Tensor<S, D> {
  return scope('uniform', () => {
    const unit = mul(cast(map('shr', randomBits(key, shape), 8), dtype ?? 'f32'), 2 ** -24)
    const scaled = max - min === 1 ? unit : mul(unit, max - min)
    return (min === 0 ? scaled : add(scaled, min)) as Tensor<S, D> // shape and dtype as asked
  })
}

/** The moments of `normal` (0 and 1), and the dtype of the result (f32). */
export interface NormalOptions<D extends FloatDType> {
  readonly mean?: number
  readonly std?: number
  readonly dtype?: D
}

/**
 * Normal numbers by Box and Muller: sqrt(-2 log(1 - u)) cos(2 pi v) of two uniforms. 1 - u is at least 2^-24, so
 * the logarithm is finite and no number is further than 5.8 deviations from the mean.
 * @returns  `shape`
 * @see Box & Muller 1958, "A note on the generation of random normal deviates"
 * @example normal(key, [64, 3, 3, 3], { std: Math.sqrt(2 / 27) })
 */
export function normal<const S extends Shape, D extends FloatDType = 'f32'>(
  key: KeyTensor,
  shape: S,
  { mean = 0, std = 1, dtype }: NormalOptions<D> = {},
): Tensor<S, D> {
  return scope('normal', () => {
    const [a, b] = split(key, 2)
    const [u, v] = [uniform(a, shape, { dtype }), uniform(b, shape, { dtype })]
    const radius = map('sqrt', mul(map('log', sub(1, u)), -2))
    const z = mul(radius, map('cos', mul(v, 2 * Math.PI)))
    return add(mul(z, std), mean) as Tensor<S, D> // shape and dtype as asked
  })
}

/**
 * True with probability p, in steps of 2^-24.
 * @param p  in [0, 1]
 * @returns  bool of `shape`
 * @throws UsageError if p is no probability
 * @example bernoulli(key, [8, 1, 64, 64], 0.5)
 */
export function bernoulli<const S extends Shape>(key: KeyTensor, shape: S, p: number): Tensor<S, 'bool'> {
  if (!(p >= 0 && p <= 1)) throw new UsageError(`bernoulli: p must be in [0, 1], got ${p}`)
  return scope('bernoulli', () => less(uniform(key, shape), p) as Tensor<S, 'bool'>) // a comparison of `shape`
}

/**
 * A random order of 0 .. n-1: element i's rank among n random words (ties by position). Takes n^2 comparisons.
 * @returns  i32[n]
 * @example permutation(key, 16) // i32[16]
 */
export function permutation<const N extends number>(key: KeyTensor, n: N): Tensor<readonly [N], 'i32'> {
  return scope('permutation', () => {
    const bits = randomBits(key, [n])
    const [other, own] = [reshape(bits, [1, n]), reshape(bits, [n, 1])]
    const earlier = less(iota([1, n], 1), iota([n, 1], 0))
    const before = map('or', less(other, own), map('and', eq(other, own), earlier))
    return sum(cast(before, 'i32'), 1) as Tensor<readonly [N], 'i32'> // the rows' sums
  })
}

/** `rate` is the probability of a zero. */
export interface DropoutOptions {
  readonly rate: number
}

/**
 * Dropout: each element is 0 with probability `rate`, else x / (1 - rate), so the expectation is x. Rate 0 is the
 * identity (evaluation), rate 1 gives zeros.
 * @param x  any shape; the result has its type
 * @throws UsageError if the rate is no probability
 * @see Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting"
 * @example pipe(x, dropout(key, { rate: 0.1 }))
 */
export function dropout<S extends Shape, D extends FloatDType>(
  key: KeyTensor,
  x: Tensor<S, D>,
  options: DropoutOptions,
): Tensor<S, D>
export function dropout(
  key: KeyTensor,
  options: DropoutOptions,
): <S extends Shape, D extends FloatDType>(x: Tensor<S, D>) => Tensor<S, D>
export function dropout(key: KeyTensor, x: Tensor | DropoutOptions, options?: DropoutOptions): unknown {
  return x instanceof Tensor ? drop(key, x, options?.rate ?? 0) : (y: Tensor) => drop(key, y, x.rate)
}
function drop(key: KeyTensor, x: Tensor, rate: number): Tensor {
  if (!(rate >= 0 && rate <= 1)) throw new UsageError(`dropout: the rate must be in [0, 1], got ${rate}`)
  if (rate === 0) return x
  // selected, not multiplied: a dropped inf or NaN is 0 too
  return scope('dropout', () =>
    select(bernoulli(key, x.shape, 1 - rate), rate === 1 ? x : mul(x, 1 / (1 - rate)), 0),
  )
}
