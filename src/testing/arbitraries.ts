/**
 * What to try a function on: arbitraries of fast-check for dtypes, shapes, tensors, keys and trees. Shapes have few
 * multiples of 4, and extents of 0 and 1; failing tensors shrink in rank, in extents and in their digits.
 */
import fc from 'fast-check'
import { array, type NDArray } from '../dsl/array.ts'
import { type DType, dtypes, type FloatDType, isFloat } from '../dsl/dtype.ts'
import { range, type Shape, size } from '../dsl/shape.ts'
import type { Key } from '../dsl/threefry.ts'

/** Element types. @example dtype({ only: ['f32', 'i32'] }) */
export const dtype = ({ only = Object.keys(dtypes) as DType[] }: { readonly only?: readonly DType[] } = {}) =>
  fc.constantFrom(...only)

/** Bounds of a shape. */
export interface ShapeOptions {
  readonly minRank?: number
  /** 6 by default. */
  readonly maxRank?: number
  /** The least extent: 1 by default, 0 for empty tensors. */
  readonly minExtent?: number
  /** The largest extent, 9 by default. */
  readonly maxExtent?: number
  /** The most elements, 256 by default. */
  readonly maxSize?: number
}

/** A shape. @example shape({ maxRank: 3, minExtent: 0 }) */
export function shape({
  minRank = 0,
  maxRank = 6,
  minExtent = 1,
  maxExtent = 9,
  maxSize = 256,
}: ShapeOptions = {}): fc.Arbitrary<Shape> {
  const extent = fc.oneof(
    {
      arbitrary: fc.integer({ min: minExtent, max: Math.max(minExtent, Math.min(3, maxExtent)) }),
      weight: 3,
    },
    { arbitrary: fc.integer({ min: minExtent, max: maxExtent }), weight: 1 },
  )
  return fc
    .array(extent, { minLength: minRank, maxLength: maxRank, size: 'max' })
    .map(s => s.map((n, a) => (size(s.slice(0, a + 1)) <= maxSize ? n : minExtent)))
    .filter(s => size(s) <= maxSize)
}

/**
 * Shapes that broadcast to one another: axes are missing in front, or have extent 1.
 * @example fc.property(broadcastable(2), ([x, y]) => ...)
 */
export const broadcastable = (n: number, options: ShapeOptions = {}): fc.Arbitrary<readonly Shape[]> =>
  fc
    .tuple(
      shape(options),
      fc.array(fc.tuple(fc.nat(options.maxRank ?? 6), fc.nat(63)), { minLength: n - 1, maxLength: n - 1 }),
    )
    .map(([whole, others]) => [
      whole,
      ...others.map(([drop, ones]) => {
        const kept = whole.slice(Math.min(drop, whole.length - Math.min(options.minRank ?? 0, whole.length)))
        return kept.map((d, a) => ((ones >> a) & 1 ? 1 : d))
      }),
    ])

/** What is written into tensors. */
export interface TensorOptions extends ShapeOptions {
  /** The shape, or the arbitrary to take it from. */
  readonly shape?: Shape | fc.Arbitrary<Shape>
  readonly dtype?: DType
  /** Bounds of the values, -3 and 3 by default. */
  readonly min?: number
  readonly max?: number
  /** Values at least 0.05 away from 0 and 0.01 from one another, where kinks (relu, max) would be. */
  readonly awayFromKinks?: boolean
  /** Now and then zeros, ties, infinities, NaN, denormals, huge and tiny values. */
  readonly special?: boolean
}

const specials: readonly number[] = [
  0,
  -0,
  1,
  1,
  -1,
  0.5,
  0.5,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  Number.NaN,
  1e-40,
  -1e-40,
  2 ** -149,
  3e38,
  -3e38,
  1e-30,
  2 ** -126,
  2 ** 24 + 1,
]

/**
 * Tensors, as host arrays. They print as `array([2], 'f64', [0.5, -1])`.
 * @example fc.assert(fc.property(tensor({ awayFromKinks: true }), x => { checkGrads(f, [x]) }))
 */
export function tensor(options: TensorOptions = {}): fc.Arbitrary<NDArray> {
  const { shape: given } = options
  const shapes =
    given === undefined ? shape(options) : Array.isArray(given) ? fc.constant(given as Shape) : given
  return new TensorArbitrary(shapes as fc.Arbitrary<Shape>, options, Array.isArray(given))
}

/** Tensors whose shapes broadcast. */
export const tensors = (n: number, options: TensorOptions = {}): fc.Arbitrary<readonly NDArray[]> =>
  broadcastable(n, options).chain(shapes => fc.tuple(...shapes.map(s => tensor({ ...options, shape: s }))))

/** A value with fewer digits comes first when a failure shrinks: 0, 1, halves, tenths. */
const digits = (v: number): number =>
  Number.isInteger(v)
    ? Math.min(3, Math.abs(v))
    : Number.isInteger(2 * v)
      ? 5
      : Number.isInteger(10 * v)
        ? 6
        : 9
const simpler = (v: number): number[] =>
  Number.isFinite(v)
    ? [0, 1, Math.round(v), Math.round(2 * v) / 2, Math.round(10 * v) / 10].filter(w => digits(w) < digits(v))
    : []

class TensorArbitrary extends fc.Arbitrary<NDArray> {
  private readonly shapes: fc.Arbitrary<Shape>
  private readonly options: TensorOptions
  private readonly fixed: boolean
  constructor(shapes: fc.Arbitrary<Shape>, options: TensorOptions, fixed: boolean) {
    super()
    this.shapes = shapes
    this.options = options
    this.fixed = fixed
  }

  override generate(random: fc.Random, bias: number | undefined): fc.Value<NDArray> {
    const { dtype: d = 'f64', min = -3, max = 3, awayFromKinks = false, special = false } = this.options
    const s = this.shapes.generate(random, bias).value
    const values: number[] = []
    const uniform = (): number => min + (max - min) * (random.nextInt(0, 0xffffff) / 0x1000000)
    for (let tries = 0; values.length < size(s); tries++) {
      const v =
        d === 'bool'
          ? random.nextInt(0, 1)
          : !isFloat(d)
            ? Math.round(d === 'u32' ? Math.abs(uniform()) : uniform())
            : special && random.nextInt(0, 3) === 0
              ? specials[random.nextInt(0, specials.length - 1)]
              : uniform()
      if (!awayFromKinks || tries > 100 * size(s) || this.fits([...values, v])) values.push(v)
    }
    return this.value(s, values)
  }

  override canShrinkWithoutContext(value: unknown): value is NDArray {
    return typeof value === 'object' && value !== null && 'data' in value
  }

  override shrink({ shape: s, data }: NDArray): fc.Stream<fc.Value<NDArray>> {
    return fc.stream(this.candidates(s, Array.from<number>(data)))
  }

  private *candidates(s: Shape, values: readonly number[]): IterableIterator<fc.Value<NDArray>> {
    const { minRank = 0, minExtent = 1 } = this.options
    if (!this.fixed)
      for (const a of range(s.length)) {
        if (s[a] === 1 && s.length > minRank) yield this.value([...s.slice(0, a), ...s.slice(a + 1)], values)
        for (const n of [1, s[a] >> 1, s[a] - 1])
          if (n >= minExtent && n < s[a]) {
            const shorter = s.map((d, i) => (i === a ? n : d))
            const inner = size(s.slice(a + 1))
            const kept = values.filter((_, i) => Math.floor(i / inner) % s[a] < n)
            yield this.value(shorter, kept)
          }
      }
    for (const i of range(values.length))
      for (const v of simpler(values[i])) {
        const next = values.map((w, j) => (i === j ? v : w))
        if (this.fits(next)) yield this.value(s, next)
      }
  }

  /** Whether the values keep to the bounds, and to the distance from kinks. */
  private fits(values: readonly number[]): boolean {
    const { dtype: d = 'f64', min = -3, max = 3, awayFromKinks = false } = this.options
    if (isFloat(d) && values.some(v => Number.isFinite(v) && digits(v) < 9 && (v < min || v > max)))
      return false
    if (!awayFromKinks) return true
    const sorted = [...values].sort((x, y) => x - y)
    return sorted.every((v, i) => Math.abs(v) >= 0.05 && (i === 0 || v - sorted[i - 1] >= 0.01))
  }

  private value(s: Shape, values: readonly number[]): fc.Value<NDArray> {
    const made = array(s, this.options.dtype ?? 'f64', values)
    Object.defineProperty(made, fc.toStringMethod, {
      value: () => `array([${s.join(', ')}], '${made.dtype}', [${Array.from<number>(made.data).join(', ')}])`,
    })
    return new fc.Value(made, undefined)
  }
}

/** Keys of the random generator. */
export const key = (): fc.Arbitrary<Key> => fc.tuple(fc.nat(0xffffffff), fc.nat(0xffffffff))

/**
 * Trees of parameters: nested objects and lists of tensors, with at least one.
 * @example fc.property(parameters({ dtype: 'f64' }), p => ...)
 */
export function parameters(
  options: TensorOptions & { readonly depth?: number } = {},
): fc.Arbitrary<{ readonly [name: string]: unknown }> {
  const { depth = 2 } = options
  const leaf = tensor({ maxRank: 3, maxSize: 32, ...options })
  const child: fc.Arbitrary<unknown> =
    depth <= 0
      ? leaf
      : fc.oneof(
          { arbitrary: leaf, weight: 3 },
          fc.array(leaf, { maxLength: 3 }),
          parameters({ ...options, depth: depth - 1 }),
        )
  return fc
    .tuple(
      leaf,
      fc.dictionary(fc.constantFrom('weights', 'bias', 'scale', 'layers', 'head'), child, { maxKeys: 3 }),
    )
    .map(([x, rest]) => ({ x, ...rest }))
}

/** The float dtypes that a backend's tests go through. */
export const floatDType = (): fc.Arbitrary<FloatDType> => fc.constantFrom('f32', 'f64')
