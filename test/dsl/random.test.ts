/** Random tensors: equal to the host bit for bit, and of the right distribution. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { pipe } from 'fp-ts/lib/function.js'
import { grad } from '../../src/autodiff/grad.ts'
import { interpret } from '../../src/backend/cpu/reference.ts'
import { sum } from '../../src/dsl/build.ts'
import { makeGraph } from '../../src/dsl/graph.ts'
import * as random from '../../src/dsl/ops/random.ts'
import { constant, scope, type Tensor } from '../../src/dsl/tensor.ts'
import * as host from '../../src/dsl/threefry.ts'

const valuesOf = (t: Tensor): number[] => Array.from(interpret(makeGraph([], [t]), [])[0].data)
const word = fc.integer({ min: 0, max: 2 ** 32 - 1 })
const keys = fc.tuple(word, word)
const average = (xs: readonly number[]): number => xs.reduce((a, b) => a + b, 0) / xs.length
/** Five standard errors: one false alarm in two million seeds, and the seeds below are fixed. */
const sigmas = 5

test('foldIn and split give the words of the host', () => {
  fc.assert(
    fc.property(keys, word, fc.integer({ min: 1, max: 5 }), (k, data, n) => {
      const t = random.keyTensor(k)
      const want = [...host.foldIn(k, data)]
      assert.deepEqual(valuesOf(random.foldIn(t, data)), want)
      assert.deepEqual(valuesOf(random.foldIn(t, constant([], 'u32', Uint32Array.of(data)))), want)
      assert.deepEqual(valuesOf(random.foldIn(t, constant([], 'i32', Int32Array.of(data)))), want)
      assert.deepEqual(
        random.split(t, n).map(valuesOf),
        host.split(k, n).map(w => [...w]),
      )
    }),
    { numRuns: 40 },
  )
})

test('foldIn takes scalar integers only', () => {
  const t = random.keyTensor(1)
  const vector = constant([2], 'i32', Int32Array.of(1, 2))
  // @ts-expect-error a vector is no scalar
  assert.throws(() => random.foldIn(t, vector), /scalar i32 or u32, got i32\[2\]/)
  // @ts-expect-error nor is a float an integer
  assert.throws(() => random.foldIn(t, constant([], 'f32', Float32Array.of(1))), /got f32/)
})

test('uniform equals uniformAt on the host bit for bit', () => {
  fc.assert(
    fc.property(keys, k => {
      const want = Array.from({ length: 12 }, (_, i) => host.uniformAt(k, i))
      for (const dtype of ['f32', 'f64'] as const)
        assert.deepEqual(valuesOf(random.uniform(random.keyTensor(k), [3, 4], { dtype })), want)
    }),
    { numRuns: 30 },
  )
})

test('a key of a seed is the key on the host, and equal keys give equal numbers in any place', () => {
  assert.deepEqual(valuesOf(random.keyTensor(2 ** 33 + 5)), [...host.key(2 ** 33 + 5)])
  const once = valuesOf(random.uniform(random.keyTensor(9), [5]))
  assert.deepEqual(valuesOf(scope('elsewhere', () => random.uniform(random.keyTensor(9), [5]))), once)
})

const n = 20_000

test('uniform has the moments of its range', () => {
  const x = valuesOf(random.uniform(random.keyTensor(1), [n], { min: -1, max: 3, dtype: 'f64' }))
  assert.ok(Math.min(...x) >= -1 && Math.max(...x) <= 3)
  const deviation = 4 / Math.sqrt(12)
  assert.ok(Math.abs(average(x) - 1) < (sigmas * deviation) / Math.sqrt(n))
  // the variance of a squared deviation of a uniform of width w is w^4 / 180
  const second = average(x.map(v => (v - 1) ** 2))
  assert.ok(Math.abs(second - 16 / 12) < (sigmas * 16) / Math.sqrt(180 * n))
})

test('normal has mean, variance, skewness and kurtosis of a normal, and is bounded', () => {
  const x = valuesOf(random.normal(random.keyTensor(2), [n], { mean: 3, std: 2 })).map(v => (v - 3) / 2)
  // variances of z, z^2, z^3, z^4 of a normal: 1, 2, 15, 96
  ;[
    [1, 0, 1],
    [2, 1, 2],
    [3, 0, 15],
    [4, 3, 96],
  ].forEach(([power, expected, variance]) => {
    const got = average(x.map(z => z ** power))
    assert.ok(Math.abs(got - expected) < sigmas * Math.sqrt(variance / n), `E z^${power} = ${got}`)
  })
  assert.ok(x.every(z => Math.abs(z) < 5.8))
})

test('streams of split keys and of folded keys are uncorrelated', () => {
  const root = random.keyTensor(3)
  const streams = [...random.split(root, 2), random.foldIn(root, 0), random.foldIn(root, 1), root].map(k =>
    valuesOf(random.normal(k, [n])),
  )
  for (let a = 0; a < streams.length; a++)
    for (let b = 0; b < a; b++) {
      const r = average(streams[a].map((v, i) => v * streams[b][i]))
      assert.ok(Math.abs(r) < sigmas / Math.sqrt(n), `streams ${a} and ${b}: ${r}`)
    }
})

test('bernoulli is true with its probability: never at 0, always at 1', () => {
  const rate = (p: number) => average(valuesOf(random.bernoulli(random.keyTensor(4), [n], p)))
  assert.equal(rate(0), 0)
  assert.equal(rate(1), 1)
  assert.ok(Math.abs(rate(0.3) - 0.3) < sigmas * Math.sqrt((0.3 * 0.7) / n))
  assert.throws(() => rate(1.5), /\[0, 1\]/)
})

test('permutation orders 0 .. n-1 by the random words, every order equally often', () => {
  fc.assert(
    fc.property(keys, fc.integer({ min: 1, max: 30 }), (k, m) => {
      const p = valuesOf(random.permutation(random.keyTensor(k), m))
      assert.deepEqual(
        p.toSorted((a, b) => a - b),
        Array.from({ length: m }, (_, i) => i),
      )
      const bits = valuesOf(random.randomBits(random.keyTensor(k), [m]))
      p.forEach((r, i) => {
        assert.equal(r, bits.filter((b, j) => b < bits[i] || (b === bits[i] && j < i)).length)
      })
    }),
    { numRuns: 20 },
  )
  const counts = new Map<string, number>()
  const trials = 1200
  for (let seed = 0; seed < trials; seed++) {
    const p = `${valuesOf(random.permutation(random.keyTensor(seed), 3))}`
    counts.set(p, (counts.get(p) ?? 0) + 1)
  }
  const expected = trials / 6
  const chi2 = [...counts.values()].reduce((t, c) => t + (c - expected) ** 2 / expected, 0)
  assert.equal(counts.size, 6)
  assert.ok(chi2 < 30, `${chi2}`) // 5 degrees of freedom: exceeded once in 70,000
})

test('permutation breaks a tie of two words by position', () => {
  const k = random.keyTensor(120_343) // found by search: words 10 and 191 are equal
  const bits = valuesOf(random.randomBits(k, [192]))
  assert.equal(bits[10], bits[191])
  const p = valuesOf(random.permutation(k, 192))
  assert.equal(p[191], p[10] + 1)
})

test('dropout scales what it keeps, and drops the same elements from the gradient', () => {
  const k = random.keyTensor(5)
  const x = constant([n], 'f32', new Float32Array(n).fill(3))
  const y = valuesOf(random.dropout(k, x, { rate: 0.25 }))
  assert.ok(y.every(v => v === 0 || v === 4))
  assert.ok(Math.abs(average(y.map(v => (v === 0 ? 1 : 0))) - 0.25) < sigmas * Math.sqrt((0.25 * 0.75) / n))
  const g = valuesOf(
    grad((t: Tensor<readonly [typeof n], 'f32'>) => sum(random.dropout(k, t, { rate: 0.25 })))(x),
  )
  assert.deepEqual(
    g,
    y.map(v => Math.fround((v / 4) * (1 / 0.75))),
  )
})

test('dropout at rate 0 is the identity, at rate 1 zero even of NaN, and beyond an error', () => {
  const k = random.keyTensor(6)
  const x = constant([2], 'f32', Float32Array.of(1, Number.NaN))
  assert.equal(pipe(x, random.dropout(k, { rate: 0 })), x)
  assert.deepEqual(valuesOf(pipe(x, random.dropout(k, { rate: 1 }))), [0, 0])
  assert.throws(() => random.dropout(k, x, { rate: 1.1 }), /\[0, 1\]/)
})
