/**
 * What a backend's mathematics must satisfy in f32: within 4 ULP of the f64 value over the bit patterns, exact at the
 * special points. One program per claim, so that a device compiles few kernels.
 */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { erfNumber } from '../../src/dsl/math.ts'
import type { Backend, NDArray, Shape, Tensor } from '../../src/index.ts'
import * as ct from '../../src/index.ts'

type F32 = Tensor<Shape, 'f32'>
type Real = (x: number) => number
type Vector = NDArray<readonly number[], 'f32'>
const vector = (data: ArrayLike<number>): Vector => ct.array([data.length], 'f32', Float32Array.from(data))

const softplus: Real = x => (x > 0 ? x + Math.log1p(Math.exp(-x)) : Math.log1p(Math.exp(x)))
const sigmoid: Real = x => (x < 0 ? Math.exp(x) / (1 + Math.exp(x)) : 1 / (1 + Math.exp(-x)))

interface Row {
  readonly f: (x: F32) => F32
  /** The value in f64. */
  readonly exact: Real
  /** An error up to `zero` max(|x|, 1) counts as right: in a tail where terms cancel. */
  readonly zero?: number
  /** The same with the smallest number that the device keeps: the tail is x times a factor that underflows. */
  readonly tail?: boolean
}
/** The smallest denormal. */
const least = 2 ** -149
/** An addition of f32 numbers of magnitude 1 rounds by this. */
const unit = 2 ** -24
// biome-ignore format: a table
const rows: Readonly<Record<string, Row>> = {
  exp: { f: x => ct.exp(x), exact: Math.exp },
  expm1: { f: x => ct.expm1(x), exact: Math.expm1 },
  log: { f: x => ct.log(x), exact: Math.log },
  log1p: { f: x => ct.log1p(x), exact: Math.log1p },
  sin: { f: x => ct.sin(x), exact: Math.sin },
  cos: { f: x => ct.cos(x), exact: Math.cos },
  tanh: { f: x => ct.tanh(x), exact: Math.tanh },
  erf: { f: x => ct.erf(x), exact: erfNumber },
  sqrt: { f: x => ct.sqrt(x), exact: Math.sqrt },
  rsqrt: { f: x => ct.rsqrt(x), exact: x => 1 / Math.sqrt(x) },
  reciprocal: { f: x => ct.reciprocal(x), exact: x => 1 / x },
  square: { f: x => ct.square(x), exact: x => x * x },
  sigmoid: { f: x => ct.sigmoid(x), exact: sigmoid },
  logSigmoid: { f: x => ct.logSigmoid(x), exact: x => Math.min(x, 0) - Math.log1p(Math.exp(-Math.abs(x))) },
  softplus: { f: x => ct.softplus(x), exact: softplus },
  silu: { f: x => ct.silu(x), exact: x => x * sigmoid(x), tail: true },
  elu: { f: x => ct.elu(x), exact: x => (x > 0 ? x : Math.expm1(x)) },
  // NaN at -infinity, as in PyTorch; 1 + erf and 1 + tanh cancel in the negative tail
  gelu: { f: x => ct.gelu(x), exact: x => (x * (1 + erfNumber(x * Math.SQRT1_2))) / 2, zero: 2 * unit },
  geluTanh: { f: x => ct.geluTanh(x), exact: x => (x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))) / 2, zero: 4 * unit },
  mish: { f: x => ct.mish(x), exact: x => x * Math.tanh(softplus(x)), tail: true },
  abs: { f: x => ct.abs(x), exact: Math.abs },
  sign: { f: x => ct.sign(x), exact: Math.sign },
  floor: { f: x => ct.floor(x), exact: Math.floor },
  ceil: { f: x => ct.ceil(x), exact: Math.ceil },
  trunc: { f: x => ct.trunc(x), exact: Math.trunc },
  relu: { f: x => ct.relu(x), exact: x => Math.max(x, 0) },
  relu6: { f: x => ct.relu6(x), exact: x => Math.min(Math.max(x, 0), 6) },
  clamp: { f: x => ct.clamp(x, { min: -1.5, max: 2 }), exact: x => Math.min(Math.max(x, -1.5), 2) },
}

/** The seed of the sampled bit patterns. */
const seed = 20240612
function generator(): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}
const random = generator()
const smallestNormal = 2 ** -126
const largest = (2 - 2 ** -23) * 2 ** 127
/** Zeros, infinities, NaN, denormals, the ends of the range, and where functions change their form. */
const special = [
  0,
  1,
  0.5,
  2,
  3,
  6,
  1e-30,
  1e30,
  1e10,
  1e5,
  88.72,
  88.73,
  87.3,
  103.9,
  104,
  17.4,
  9.01,
  4,
  0.6,
  0.29,
  Math.PI,
  Math.PI / 2,
  16367173 * 2 ** 72,
  least,
  12345 * least,
  smallestNormal,
  smallestNormal - least,
  largest,
  Infinity,
  NaN,
].flatMap(x => [x, -x])

/** One bit pattern from each of n strata of all 2^32, and as many from where the functions bend. */
function samples(n: number): Float32Array {
  const x = new Float32Array(2 * n + special.length)
  const bits = new Uint32Array(x.buffer)
  for (let i = 0; i < n; i++) bits[i] = ((i + random()) / n) * 2 ** 32
  for (let i = 0; i < n; i++) x[n + i] = (random() - 0.5) * [1, 6, 40, 210][i % 4]
  x.set(special, 2 * n)
  return x
}

const isDenormal = (x: number): boolean => x !== 0 && Math.abs(x) < smallestNormal

/** Distance from `want` in units of the last place of the nearest f32. */
function ulps(got: number, want: number): number {
  const nearest = Math.fround(want)
  if (Object.is(got, nearest)) return 0
  // an underflow may lose its sign, a zero may not
  if (got === 0 && nearest === 0) return want === 0 ? Number.POSITIVE_INFINITY : 0
  if (!Number.isFinite(nearest) || !Number.isFinite(got))
    // where `want` lies within an ULP of overflow, either side is near enough
    return Math.abs(Math.abs(want) - 2 ** 128) < 2 ** 104 && Math.sign(got) === Math.sign(want) ? 1 : Infinity
  return Math.abs(got - want) / 2 ** (Math.max(-126, Math.floor(Math.log2(Math.abs(nearest)))) - 23)
}

/** Whether the device may take a denormal for a zero: then either value is right. */
export interface Rounding {
  readonly flushes: boolean
}

/** The error in ULP, least over what counts as right. */
function errorOf(
  got: number,
  x: readonly number[],
  exact: (...x: number[]) => number,
  zero: number,
  r: Rounding,
): number {
  const want = exact(...x)
  const wide = zero * Math.max(1, ...x.map(Math.abs))
  const plain = Math.abs(got - want) <= wide ? 0 : ulps(got, want)
  if (!r.flushes || plain <= 4) return plain
  if (isDenormal(Math.fround(want)) && got === 0) return 0
  // a copy of a denormal is one that the device takes for 0
  const seen = isDenormal(got) ? got * 0 : got
  const flushed = x.map(v => (isDenormal(v) ? v * 0 : v))
  return flushed.some((v, i) => v !== x[i]) ? ulps(seen, exact(...flushed)) : plain
}

interface Worst {
  error: number
  at: readonly number[]
  got: number
}
const record = (w: Worst, error: number, at: readonly number[], got: number): void => {
  if (error > w.error) Object.assign(w, { error, at, got })
}
const report = (t: TestContext, found: ReadonlyMap<string, Worst>, bound: number): void => {
  t.diagnostic([...found].map(([name, w]) => `${name} ${w.error.toFixed(2)}`).join(', '))
  const wrong = [...found].filter(([, w]) => !(w.error <= bound))
  assert.deepEqual(
    wrong.map(([name, w]) => `${name}(${w.at.join(', ')}) = ${w.got}: ${w.error} ULP`),
    [],
    `seed ${seed}`,
  )
}

/** Whether the device flushes a denormal operand or result; said in a diagnostic. */
export async function roundingOf(t: TestContext, backend: Backend): Promise<Rounding> {
  const double = await ct.unwrap(ct.compile((x: F32) => ct.mul(x, 2), [ct.spec([2])], backend))
  const { data } = await double(vector([12345 * least, smallestNormal / 2]))
  const flushes = data[0] !== 24690 * least || data[1] !== smallestNormal
  t.diagnostic(
    `${backend.name} ${flushes ? 'flushes denormals: the flushed value counts as right' : 'keeps denormals'}`,
  )
  return { flushes }
}

/** Functions of one number, and pow, over bit patterns and special points. */
export async function elementwiseAccuracy(t: TestContext, backend: Backend): Promise<void> {
  const rounding = await roundingOf(t, backend)
  const x = samples(20000)
  const y = Float32Array.from(x, (v, i) =>
    i % 3 === 0
      ? (random() - 0.5) * 20
      : i % 3 === 1
        ? ((random() - 0.5) * 180) / Math.log(Math.abs(v))
        : Math.round((random() - 0.5) * 9),
  )
  const run = await ct.unwrap(
    ct.compile(
      (a: F32, b: F32) => ({
        ...Object.fromEntries(Object.entries(rows).map(([name, r]) => [name, r.f(a)])),
        pow: ct.pow(a, b),
      }),
      [ct.spec([x.length]), ct.spec([x.length])],
      backend,
    ),
  )
  const out: Readonly<Record<string, NDArray>> = await run(vector(x), vector(y))
  const tiny = rounding.flushes ? smallestNormal : least
  const found = new Map<string, Worst>()
  for (const [name, { exact, tail, zero = tail ? tiny : 0 }] of Object.entries(rows)) {
    const w: Worst = { error: 0, at: [], got: 0 }
    out[name].data.forEach(
      (got, i) => void record(w, errorOf(got, [x[i]], exact, zero, rounding), [x[i]], got),
    )
    found.set(name, w)
  }
  // IEEE 754's pow; JavaScript's says NaN for (+-1) ** (+-Infinity)
  const power = (a: number, b: number) => (a === 1 || (a === -1 && Math.abs(b) === Infinity) ? 1 : a ** b)
  const w: Worst = { error: 0, at: [], got: 0 }
  out.pow.data.forEach(
    (got, i) => void record(w, errorOf(got, [x[i], y[i]], power, 0, rounding), [x[i], y[i]], got),
  )
  found.set('pow', w)
  report(t, found, 4)
}

/**
 * Softmax, its logarithm and logsumexp over rows whose logits spread by 1, 30 and 1000: within 4 ULP, or 4 units
 * of 1. The sum of a row must not add to it: backends sum in lanes or in blocks.
 */
export async function softmaxAccuracy(t: TestContext, backend: Backend): Promise<void> {
  for (const width of [4, 37, 1000]) await softmaxRows(t, backend, width, 4)
}
async function softmaxRows(t: TestContext, backend: Backend, width: number, bound: number): Promise<void> {
  const n = 300
  const x = Float32Array.from(
    { length: n * width },
    (_, i) => (random() - 0.5) * [1, 30, 1000][Math.floor(i / width) % 3],
  )
  const run = await ct.unwrap(
    ct.compile(
      (a: F32) => ({
        softmax: ct.softmax(a, { axis: 1 }),
        logSoftmax: ct.logSoftmax(a, { axis: 1 }),
        logsumexp: ct.logsumexp(a, { axes: [1] }),
      }),
      [ct.spec([n, width])],
      backend,
    ),
  )
  const out = await run(ct.array([n, width], 'f32', x))
  const found = new Map(
    ['softmax', 'logSoftmax', 'logsumexp'].map(name => [name, { error: 0, at: [], got: 0 } as Worst]),
  )
  for (let i = 0; i < n; i++) {
    const row = Array.from(x.subarray(i * width, (i + 1) * width))
    const top = Math.max(...row)
    const total = row.reduce((sum, v) => sum + Math.exp(v - top), 0)
    const check = (name: keyof typeof out, got: number, want: number, zero: number) => {
      const w = found.get(name)
      if (w) record(w, Math.abs(got - want) <= zero ? 0 : ulps(got, want), [i], got)
    }
    row.forEach((v, j) => {
      // x - max x rounds by half an ULP, which e^ magnifies in the tail: |x - max x| e^(x - max x) unit < unit
      check('softmax', out.softmax.data[i * width + j], Math.exp(v - top) / total, unit)
      // near 0 the logarithm of a sum near 1 has the absolute error of the sum
      check('logSoftmax', out.logSoftmax.data[i * width + j], v - top - Math.log(total), bound * unit)
    })
    check('logsumexp', out.logsumexp.data[i], top + Math.log(total), bound * unit)
  }
  report(t, found, bound)
}
