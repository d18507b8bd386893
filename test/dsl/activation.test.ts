/** Activations and softmax against their formulas in plain f64, and at the ends of the range. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { pipe } from 'fp-ts/lib/function.js'
import { grad } from '../../src/autodiff/grad.ts'
import { interpret } from '../../src/backend/cpu/reference.ts'
import { mul, sum } from '../../src/dsl/build.ts'
import { makeGraph } from '../../src/dsl/graph.ts'
import * as act from '../../src/dsl/ops/activation.ts'
import { logSoftmax, softmax } from '../../src/dsl/ops/softmax.ts'
import { constant, type Tensor } from '../../src/dsl/tensor.ts'

const valuesOf = (t: Tensor): number[] => Array.from(interpret(makeGraph([], [t]), [])[0].data)
const f64 = (data: readonly number[]) => constant([data.length], 'f64', Float64Array.from(data))
const f32 = (data: readonly number[]) => constant([data.length], 'f32', Float32Array.from(data))
const gradient = <T extends Tensor>(f: (x: T) => Tensor, x: T): number[] =>
  valuesOf(grad((t: T) => sum(f(t)))(x))

const inf = Number.POSITIVE_INFINITY
/** erf by Simpson's rule on 4000 intervals: error below 1e-13 for |x| < 6. */
function erf(x: number): number {
  const n = 4000
  let acc = 0
  for (let i = 0; i <= n; i++) acc += (i % n === 0 ? 1 : i % 2 ? 4 : 2) * Math.exp(-(((x * i) / n) ** 2))
  return ((2 / Math.sqrt(Math.PI)) * acc * x) / (3 * n)
}
const logistic = (x: number): number => 1 / (1 + Math.exp(-x))
const hinge = (x: number): number => Math.min(Math.max(x + 3, 0), 6)
const tanhForm = (x: number): number =>
  0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))

interface Case {
  readonly of: act.Unary
  readonly formula: (x: number) => number
  readonly kinks: readonly number[]
  /** Limits at -1e4 and 1e4, and of the gradient there. */
  readonly ends: readonly [number, number, number, number]
  readonly slopeAtZero: number
}
const cases: Record<string, Case> = {
  relu: { of: act.relu, formula: x => Math.max(x, 0), kinks: [0], ends: [0, 1e4, 0, 1], slopeAtZero: 0 },
  relu6: {
    of: act.relu6,
    formula: x => Math.min(Math.max(x, 0), 6),
    kinks: [0, 6],
    ends: [0, 6, 0, 0],
    slopeAtZero: 0,
  },
  leakyRelu: {
    of: act.leakyRelu({ negativeSlope: 0.25 }),
    formula: x => (x > 0 ? x : x / 4),
    kinks: [0],
    ends: [-2500, 1e4, 0.25, 1],
    slopeAtZero: 0.25,
  },
  elu: {
    of: act.elu(),
    formula: x => (x > 0 ? x : Math.expm1(x)),
    kinks: [0],
    ends: [-1, 1e4, 0, 1],
    slopeAtZero: 1,
  },
  selu: {
    of: act.selu,
    formula: x => 1.0507009873554805 * (x > 0 ? x : 1.6732632423543772 * Math.expm1(x)),
    kinks: [0],
    ends: [-1.7580993408473766, 10507.009873554805, 0, 1.0507009873554805],
    slopeAtZero: 1.0507009873554805 * 1.6732632423543772,
  },
  sigmoid: { of: act.sigmoid, formula: logistic, kinks: [], ends: [0, 1, 0, 0], slopeAtZero: 0.25 },
  softplus: {
    of: act.softplus,
    formula: x => Math.log1p(Math.exp(x)),
    kinks: [],
    ends: [0, 1e4, 0, 1],
    slopeAtZero: 0.5,
  },
  logSigmoid: {
    of: act.logSigmoid,
    formula: x => Math.log(logistic(x)),
    kinks: [],
    ends: [-1e4, 0, 1, 0],
    slopeAtZero: 0.5,
  },
  silu: { of: act.silu, formula: x => x * logistic(x), kinks: [], ends: [0, 1e4, 0, 1], slopeAtZero: 0.5 },
  gelu: {
    of: act.gelu,
    formula: x => (x / 2) * (1 + erf(x / Math.SQRT2)),
    kinks: [],
    ends: [0, 1e4, 0, 1],
    slopeAtZero: 0.5,
  },
  geluTanh: { of: act.geluTanh, formula: tanhForm, kinks: [], ends: [0, 1e4, 0, 1], slopeAtZero: 0.5 },
  hardSigmoid: {
    of: act.hardSigmoid,
    formula: x => hinge(x) / 6,
    kinks: [-3, 3],
    ends: [0, 1, 0, 0],
    slopeAtZero: 1 / 6,
  },
  hardswish: {
    of: act.hardswish,
    formula: x => (x * hinge(x)) / 6,
    kinks: [-3, 3],
    ends: [0, 1e4, 0, 1],
    slopeAtZero: 0.5,
  },
  mish: {
    of: act.mish,
    formula: x => x * Math.tanh(Math.log1p(Math.exp(x))),
    kinks: [],
    ends: [0, 1e4, 0, 1],
    slopeAtZero: 0.6, // tanh(log 2)
  },
}

const close = (got: number, want: number, tolerance: number, what: string): void =>
  assert.ok(Math.abs(got - want) <= tolerance * (1 + Math.abs(want)), `${what}: ${got}, expected ${want}`)
const points = fc.array(fc.double({ min: -7, max: 7, noNaN: true }), { minLength: 1, maxLength: 6 })

for (const [name, { of, formula, kinks, ends, slopeAtZero }] of Object.entries(cases)) {
  test(`${name} is its formula, and its gradient the slope of the formula`, () => {
    fc.assert(
      fc.property(points, xs => {
        // 1e-11: the quadrature of erf and the cancellation of the plain formulas
        valuesOf(of(f64(xs))).forEach((y, i) => {
          close(y, formula(xs[i]), 1e-11, `${name}(${xs[i]})`)
        })
        const h = 1e-4
        const smooth = xs.filter(x => kinks.every(k => Math.abs(x - k) > 2 * h))
        if (smooth.length === 0) return
        gradient(of, f64(smooth)).forEach((g, i) => {
          const x = smooth[i]
          // central difference: h^2 / 6 times a third derivative below 10, and rounding 1e-13 / h
          close(g, (formula(x + h) - formula(x - h)) / (2 * h), 5e-8, `${name}'(${x})`)
        })
      }),
      { numRuns: 30 },
    )
  })

  test(`${name} reaches its limits at +-1e4 in f32, with a finite gradient, and passes NaN`, () => {
    const x = f32([-1e4, 1e4, Number.NaN])
    const y = valuesOf(of(x))
    const g = gradient(of, x)
    for (const i of [0, 1]) {
      close(y[i], ends[i], 1e-6, `${name} at the end ${i}`)
      close(g[i], ends[2 + i], 1e-6, `${name}' at the end ${i}`)
    }
    assert.ok(Number.isNaN(y[2]), `${name}(NaN) is ${y[2]}`)
  })

  test(`${name} has PyTorch's slope at 0`, () => {
    close(gradient(of, f64([0]))[0], slopeAtZero, 1e-15, `${name}'(0)`)
  })
}

test('sigmoid and softplus keep their relative accuracy where they are small', () => {
  for (const f of [act.sigmoid, act.softplus]) {
    const [y] = valuesOf(f(f32([-80])))
    assert.ok(Math.abs(y / Math.exp(-80) - 1) < 2 ** -22, `${y}`) // a few roundings of f32
  }
})

test('an activation keeps the literal type, with options in a pipe too', () => {
  const x = constant([2, 3], 'f32', new Float32Array(6))
  const y: Tensor<readonly [2, 3], 'f32'> = pipe(
    x,
    act.relu,
    act.leakyRelu({ negativeSlope: 0.1 }),
    softmax({ axis: 1 }),
  )
  assert.deepEqual(y.shape, [2, 3])
  // @ts-expect-error labels have no activation
  assert.throws(() => act.sigmoid(constant([1], 'i32', new Int32Array(1))), /float/)
})

const rows = (n: number, data: readonly number[], dtype: 'f32' | 'f64' = 'f64') =>
  constant([data.length / n, n], dtype, dtype === 'f32' ? Float32Array.from(data) : Float64Array.from(data))

test('softmax is e^(x / T) over its sum, and logSoftmax its logarithm', () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: -5, max: 5, noNaN: true }), { minLength: 4, maxLength: 4 }),
      fc.constantFrom(1, 0.5, 4),
      (xs, temperature) => {
        const e = xs.map(x => Math.exp(x / temperature))
        const total = e.reduce((a, b) => a + b, 0)
        valuesOf(softmax(rows(4, xs), { axis: -1, temperature })).forEach((y, i) => {
          close(y, e[i] / total, 1e-14, 'softmax')
        })
        valuesOf(logSoftmax(rows(4, xs), { axis: 1, temperature })).forEach((y, i) => {
          close(y, Math.log(e[i] / total), 1e-13, 'logSoftmax')
        })
      },
    ),
    { numRuns: 50 },
  )
})

test('softmax survives logits of +-1e4 and -inf, in value and gradient', () => {
  const x = rows(3, [1e4, -1e4, 0, -inf, 2, 2, -1e4, -1e4, -inf], 'f32')
  assert.deepEqual(valuesOf(softmax(x, { axis: 1 })), [1, 0, 0, 0, 0.5, 0.5, 0.5, 0.5, 0])
  const y = valuesOf(logSoftmax(x, { axis: 1 }))
  assert.deepEqual(y.slice(0, 3), [0, -2e4, -1e4])
  assert.equal(y[8], -inf)
  for (const f of [softmax, logSoftmax]) {
    const weight = rows(3, [1, 2, 3, 4, 5, 6, 7, 8, 9], 'f32')
    const g = gradient(t => mul(f(t, { axis: 1 }), weight), x)
    assert.ok(g.every(Number.isFinite), `${g}`)
  }
})
