/**
 * The expansions of the transcendental functions, evaluated with every operation rounded to its type, against
 * JavaScript's double-precision functions (fdlibm's, below 1 ULP) and, for erf, values of mpmath.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { dtypes, type FloatDType } from '../../src/dsl/dtype.ts'
import { erfNumber } from '../../src/dsl/math.ts'
import { type Ex, isDerived, s, scalars } from '../../src/dsl/scalar.ts'
import { evaluator, expand } from '../../src/dsl/scalar-eval.ts'

const unary = ['exp', 'expm1', 'log', 'log1p', 'sin', 'cos', 'tanh', 'erf'] as const
type Unary = (typeof unary)[number]
const types = ['f32', 'f64'] as const
const arg = (i: number, dtype: FloatDType): Ex => ({ k: 'arg', i, dtype })
const expression = (fn: Unary | 'pow', d: FloatDType): Ex =>
  fn === 'pow' ? s.pow(arg(0, d), arg(1, d)) : s[fn](arg(0, d))
const build = (fn: Unary, d: FloatDType) => {
  const f = evaluator(expression(fn, d))
  return (x: number) => f([x])
}
const buildPow = (d: FloatDType) => {
  const f = evaluator(expression('pow', d))
  return (x: number, y: number) => f([x, y])
}

const seed = 20240607
const random = (() => {
  let state = seed
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
})()
const words = new DataView(new ArrayBuffer(8))
const f32OfBits = (u: number) => {
  words.setUint32(0, u)
  return words.getFloat32(0)
}
const f64OfBits = (high: number, low: number) => {
  words.setUint32(0, high)
  words.setUint32(4, low)
  return words.getFloat64(0)
}

/** Distance in units of the last place of the f32 nearest to `want`; infinite where only one is finite. */
function ulps(got: number, want: number): number {
  const nearest = Math.fround(want)
  if (Object.is(got, nearest)) return 0
  if (!Number.isFinite(nearest) || !Number.isFinite(got)) {
    // Where `want` lies within an ULP of the largest float, either side of overflow is near enough.
    return Math.abs(Math.abs(want) - 2 ** 128) < 2 ** 104 && Math.sign(got) === Math.sign(want) ? 1 : Infinity
  }
  const exponent = Math.max(-126, Math.floor(Math.log2(Math.abs(nearest))))
  return Math.abs(got - want) / 2 ** (exponent - 23)
}
/** Relative error, absolute below the normal doubles. */
const relative = (got: number, want: number) =>
  Object.is(got, want) ? 0 : Math.abs(got - want) / Math.max(Math.abs(want), 2 ** -1022)

/** Where sin and cos promise a value: everywhere in f32. */
const trigBound = { f32: Infinity, f64: 2 ** 40 }
const inDomain = (fn: Unary, d: FloatDType, x: number) =>
  (fn !== 'sin' && fn !== 'cos') || Math.abs(x) <= trigBound[d]

/** Bit patterns over the whole range, dense sweeps where functions change their form, and multiples of pi/2. */
function* points(n: number, d: FloatDType): Generator<number> {
  const { round } = dtypes[d]
  for (let i = 0; i < n; i++) {
    const bits = (i / n) * 2 ** 32 + random() * (2 ** 32 / n)
    yield d === 'f32' ? f32OfBits(bits >>> 0) : f64OfBits(bits >>> 0, (random() * 2 ** 32) >>> 0)
    for (const width of [1, 3, 20, 210, d === 'f32' ? 2 ** 20 : 1500]) yield round((random() - 0.5) * width)
    yield round(Math.round((random() - 0.5) * 2 ** (random() * 19)) * (Math.PI / 2))
  }
}

/** The largest error over the points, and where. */
function worst(at: Iterable<number>, error: (x: number) => number) {
  let found = { error: 0, x: 0 }
  for (const x of at) {
    const e = error(x)
    if (!(e <= found.error)) found = { error: e, x }
  }
  return found
}

for (const fn of unary)
  test(`${fn} is within 3 ULP in f32 and 1e-15 in f64, on the whole range`, t => {
    const single = build(fn, 'f32')
    const double = build(fn, 'f64')
    const oracle = scalars[fn].js as (x: number) => number
    const f32 = worst(points(4000, 'f32'), x => (inDomain(fn, 'f32', x) ? ulps(single(x), oracle(x)) : 0))
    const f64 = worst(points(2000, 'f64'), x => (inDomain(fn, 'f64', x) ? relative(double(x), oracle(x)) : 0))
    t.diagnostic(
      `${fn}: f32 ${f32.error.toFixed(2)} ULP at ${f32.x}; f64 ${f64.error.toExponential(1)} at ${f64.x}`,
    )
    assert.ok(f32.error <= 3, `f32 ${f32.error} ULP at ${f32.x}, seed ${seed}`)
    // 1 ULP is 2.2e-16; the oracle's own error (erf: 7e-16) comes on top.
    assert.ok(f64.error <= 1e-15, `f64 ${f64.error} at ${f64.x}, seed ${seed}`)
  })

test('pow is within 3 ULP in f32 and 4e-15 in f64', t => {
  const single = buildPow('f32')
  const double = buildPow('f64')
  let f32 = 0
  let f64 = 0
  for (let i = 0; i < 20000; i++) {
    // Bases over the whole range and near 1; exponents that put the result anywhere between the limits.
    const base = [random() * 4, f32OfBits((random() * 2 ** 31) >>> 0), 1 + (random() - 0.5) * 1e-3][i % 3]
    const x = Math.fround(base)
    const y = Math.fround(i % 2 ? (random() - 0.5) * 20 : ((random() - 0.5) * 180) / Math.log(x))
    if (!Number.isFinite(x) || !Number.isFinite(y)) continue
    f32 = Math.max(f32, ulps(single(x, y), x ** y))
    f64 = Math.max(f64, relative(double(x, 7 * y), x ** (7 * y)) || 0)
  }
  t.diagnostic(`pow: f32 ${f32.toFixed(2)} ULP; f64 ${f64.toExponential(1)}`)
  assert.ok(f32 <= 3, `f32 ${f32} ULP, seed ${seed}`)
  // log to 59 bits, times at most 709
  assert.ok(f64 <= 4e-15, `f64 ${f64}, seed ${seed}`)
})

const specials: { readonly [K in Unary]: readonly (readonly [number, number])[] } = {
  exp: [
    [0, 1],
    [-0, 1],
    [Infinity, Infinity],
    [-Infinity, 0],
    [1e30, Infinity],
    [-1e30, 0],
  ],
  expm1: [
    [0, 0],
    [-0, -0],
    [Infinity, Infinity],
    [-Infinity, -1],
    [1e30, Infinity],
    [-1e30, -1],
  ],
  log: [
    [0, -Infinity],
    [-0, -Infinity],
    [1, 0],
    [Infinity, Infinity],
    [-1, NaN],
    [-1e-30, NaN],
    [-Infinity, NaN],
  ],
  log1p: [
    [0, 0],
    [-0, -0],
    [-1, -Infinity],
    [Infinity, Infinity],
    [-1.5, NaN],
    [-Infinity, NaN],
  ],
  sin: [
    [0, 0],
    [-0, -0],
    [Infinity, NaN],
    [-Infinity, NaN],
  ],
  cos: [
    [0, 1],
    [-0, 1],
    [Infinity, NaN],
    [-Infinity, NaN],
  ],
  tanh: [
    [0, 0],
    [-0, -0],
    [Infinity, 1],
    [-Infinity, -1],
    [1e30, 1],
    [-1e30, -1],
  ],
  erf: [
    [0, 0],
    [-0, -0],
    [Infinity, 1],
    [-Infinity, -1],
    [1e30, 1],
    [-1e30, -1],
  ],
}

for (const fn of unary)
  test(`${fn} is right at zeros, infinities, NaN and denormals`, () => {
    for (const d of types) {
      const f = build(fn, d)
      for (const [x, want] of [[NaN, NaN], ...specials[fn]])
        assert.ok(Object.is(f(x), want), `${d} ${fn}(${x}) = ${f(x)}`)
      const least = d === 'f32' ? 2 ** -149 : 2 ** -1074
      const oracle = scalars[fn].js as (x: number) => number
      for (const x of [least, -least, 12345 * least, -12345 * least]) {
        const got = f(x)
        const near = d === 'f32' ? ulps(got, oracle(x)) <= 1 : Math.abs(got - oracle(x)) <= least
        assert.ok(near || relative(got, oracle(x)) < 1e-15, `${d} ${fn}(${x}) = ${got}`)
      }
    }
  })

test('sin and cos in f32 hold for the largest arguments and nearest to a multiple of pi/2; in f64 they are NaN there', () => {
  // mpmath at 200 digits, rounded; 16367173 2^72 is the f32 nearest to a multiple of pi/2
  const values = [
    [16367173 * 2 ** 72, 1, -1.6147697982476211e-9],
    [2 ** 127, 0.6233855129558702, 0.78191463871496],
    [(2 ** 24 - 1) * 2 ** 104, -0.5218765233336585, 0.8530210398303042],
    [Math.fround(1e30), -0.7911634385219837, -0.6116047854178966],
  ]
  for (const [x, sine, cosine] of values) {
    const [sin, cos] = [build('sin', 'f32'), build('cos', 'f32')]
    assert.ok(ulps(sin(x), sine) <= 3, `sin(${x}) = ${sin(x)}`)
    assert.ok(ulps(cos(x), cosine) <= 3, `cos(${x}) = ${cos(x)}`)
    assert.equal(build('sin', 'f64')(x), Number.NaN)
    assert.equal(build('cos', 'f64')(x), Number.NaN)
  }
})

test('pow is IEEE pow at zeros, ones, infinities, NaN, negative bases and huge arguments', () => {
  const values = [0, 1, 2, 3, 0.5, 1.5, 2 ** -140, 3e38, 2 ** 24 + 2, 2 ** 23 + 1, Infinity].flatMap(x => [
    x,
    -x,
  ])
  for (const d of types) {
    const pow = buildPow(d)
    for (const x of [...values, NaN])
      for (const y of [...values, NaN]) {
        // JavaScript alone says NaN for (+-1) ** (+-Infinity) and for 1 ** NaN.
        const want = x === 1 || (x === -1 && Math.abs(y) === Infinity) ? 1 : x ** y
        const got = pow(x, y)
        const near = d === 'f32' ? ulps(got, want) <= 2 : relative(got, want) < 4e-15
        assert.ok(Object.is(got, want) || near, `${d} pow(${x}, ${y}) = ${got}, want ${want}`)
        assert.equal(
          Object.is(Math.sign(got), -0),
          Object.is(Math.sign(d === 'f32' ? Math.fround(want) : want), -0),
        )
      }
  }
})

test('the expansions hold core operations only', t => {
  for (const fn of [...unary, 'pow'] as const)
    for (const d of types) {
      const seen = new Set<Ex>()
      const visit = (e: Ex): void => {
        if (e.k !== 'op' || seen.has(e)) return
        seen.add(e)
        assert.ok(!isDerived(scalars[e.fn]), `${fn} contains ${e.fn}`)
        for (const a of e.args) visit(a)
      }
      visit(expand(expression(fn, d)))
      t.diagnostic(`${fn} ${d}: ${seen.size} operations`)
    }
})

test('erfNumber agrees with mpmath to 1e-15', () => {
  // mpmath.erf at 30 digits, rounded
  const values = [
    [1e-10, 1.1283791670955126e-10],
    [0.1, 0.1124629160182849],
    [0.5, 0.5204998778130465],
    [1, 0.8427007929497149],
    [1.5, 0.9661051464753108],
    [2, 0.9953222650189527],
    [2.49, 0.9995707121322661],
    [2.51, 0.9996142945182758],
    [3, 0.9999779095030014],
    [4, 0.9999999845827421],
    [5.5, 0.9999999999999927],
    [7, 1],
  ]
  for (const [x, want] of values) {
    assert.ok(relative(erfNumber(x), want) <= 1e-15, `erf(${x}) = ${erfNumber(x)}`)
    assert.equal(erfNumber(-x), -erfNumber(x))
  }
})

const float32 = (max: number) => fc.float({ min: -max, max, noNaN: true })
const holds = (max: number, claim: (x: number) => boolean) =>
  fc.assert(fc.property(float32(max), claim), { numRuns: 500 })

test('exp(x) exp(-x) is 1', () => {
  const exp = build('exp', 'f32')
  // each factor within an ULP, and the product's rounding
  holds(85, x => Math.abs(exp(x) * exp(-x) - 1) <= 3 * 2 ** -23)
})

test('log and exp, log1p and expm1 are inverse', () => {
  const [exp, log, expm1, log1p] = (['exp', 'log', 'expm1', 'log1p'] as const).map(fn => build(fn, 'f64'))
  holds(80, x => Math.abs(log(exp(x)) - x) <= 1e-15 * Math.max(1, Math.abs(x)))
  holds(1, x => Math.abs(log1p(expm1(x)) - x) <= 2e-15 * Math.abs(x))
})

test('tanh and erf are odd, bounded by 1 and do not fall', () => {
  for (const f of [build('tanh', 'f32'), build('erf', 'f32')]) {
    holds(12, x => Object.is(f(-x), -f(x)))
    holds(2 ** 100, x => Math.abs(f(x)) <= 1)
    // steps far above the rounding error of a value
    holds(2, x => f(x + 1e-3) > f(x))
  }
})

test('sin^2 + cos^2 is 1, sin is odd and cos is even', () => {
  const sin = build('sin', 'f32')
  const cos = build('cos', 'f32')
  holds(2 ** 19, x => Math.abs(sin(x) ** 2 + cos(x) ** 2 - 1) <= 4 * 2 ** -23)
  holds(2 ** 19, x => Object.is(sin(-x), -sin(x)) && Object.is(cos(-x), cos(x)))
})

test('pow(x, 2) is x x, pow(x, 0.5) is sqrt, pow(x, -1) is 1 / x', () => {
  const pow = buildPow('f32')
  holds(2 ** 50, x => ulps(pow(x, 2), x * x) <= 2)
  holds(2 ** 100, x => ulps(pow(Math.abs(x), 0.5), Math.sqrt(Math.abs(x))) <= 2)
  holds(2 ** 100, x => x === 0 || ulps(pow(x, -1), 1 / x) <= 2)
})
