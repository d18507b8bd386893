/** Normalisations against plain loops in f64, and the laws of standardisation. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { pipe } from 'fp-ts/lib/function.js'
import { grad } from '../../src/autodiff/grad.ts'
import { interpret } from '../../src/backend/cpu/reference.ts'
import { mul, sum } from '../../src/dsl/build.ts'
import { makeGraph } from '../../src/dsl/graph.ts'
import * as norm from '../../src/dsl/ops/norm.ts'
import { constant, type Tensor } from '../../src/dsl/tensor.ts'
import { key, uniformAt } from '../../src/dsl/threefry.ts'

const valuesOf = (t: Tensor): number[] => Array.from(interpret(makeGraph([], [t]), [])[0].data)
const f64 = <const S extends readonly number[]>(shape: S, data: readonly number[]) =>
  constant(shape, 'f64', Float64Array.from(data))
const noise = (seed: number, n: number): number[] =>
  Array.from({ length: n }, (_, i) => 4 * uniformAt(key(seed), i) - 2)
const near = (got: readonly number[], want: readonly number[], tolerance = 1e-12): void => {
  assert.equal(got.length, want.length)
  got.forEach((y, i) => {
    assert.ok(
      Math.abs(y - want[i]) <= tolerance * (1 + Math.abs(want[i])),
      `element ${i}: ${y}, expected ${want[i]}`,
    )
  })
}
const seeds = fc.integer({ min: 0, max: 2 ** 31 })
const average = (xs: readonly number[]): number => xs.reduce((a, b) => a + b, 0) / xs.length
const spread = (xs: readonly number[]): number => average(xs.map(x => (x - average(xs)) ** 2))

/** Standardises the elements that share a label. */
function byGroup(x: readonly number[], group: (i: number) => number, eps: number): number[] {
  return x.map((v, i) => {
    const mates = x.filter((_, j) => group(j) === group(i))
    return (v - average(mates)) / Math.sqrt(spread(mates) + eps)
  })
}
// x is [2, 4, 3]: sample, channel and position of a flat index
const sample = (i: number) => Math.floor(i / 12)
const channel = (i: number) => Math.floor(i / 3) % 4
const weight = f64([4], [1, -2, 0.5, 3])
const bias = f64([4], [0.1, 0.2, 0.3, 0.4])
const affine = (ys: readonly number[]): number[] =>
  ys.map((y, i) => y * [1, -2, 0.5, 3][channel(i)] + [0.1, 0.2, 0.3, 0.4][channel(i)])

test('layer, group, instance and batch norm standardise over their own groups', () => {
  fc.assert(
    fc.property(seeds, seed => {
      const data = noise(seed, 24)
      const x = f64([2, 4, 3], data)
      const eps = 1e-3
      near(
        valuesOf(norm.layerNorm(x, { eps })),
        byGroup(data, i => Math.floor(i / 3), eps),
      )
      near(
        valuesOf(norm.instanceNorm(x, { eps, weight, bias })),
        affine(byGroup(data, i => Math.floor(i / 3), eps)),
      )
      near(
        valuesOf(pipe(x, norm.groupNorm({ groups: 2, eps, weight, bias }))),
        affine(byGroup(data, i => Math.floor(i / 6), eps)),
      )
      near(valuesOf(norm.layerNorm(x, { axes: [1, 2], eps })), byGroup(data, sample, eps))
      const { y } = norm.batchNorm(
        x,
        { weight, bias, mean: f64([4], [0, 0, 0, 0]), variance: f64([4], [1, 1, 1, 1]) },
        { training: true, eps },
      )
      near(valuesOf(y), affine(byGroup(data, channel, eps)))
    }),
    { numRuns: 20 },
  )
})

test('layerNorm lays gain and offset along its axes, in ascending order', () => {
  const data = noise(7, 24)
  const gain = noise(8, 8)
  const y = norm.layerNorm(f64([2, 4, 3], data), { axes: [1, 0], weight: f64([2, 4], gain), eps: 0 })
  near(
    valuesOf(y),
    byGroup(data, i => i % 3, 0).map((v, i) => v * gain[Math.floor(i / 3)]),
  )
})

test('batch norm moves its running statistics by the unbiased variance, without a gradient', () => {
  const data = noise(3, 24)
  const old = { mean: f64([4], [1, 2, 3, 4]), variance: f64([4], [1, 2, 3, 4]) }
  const run = (x: Tensor<readonly [2, 4, 3], 'f64'>) =>
    norm.batchNorm(x, old, { training: true, momentum: 0.25 })
  const { mean, variance } = run(f64([2, 4, 3], data))
  const of = (c: number) => data.filter((_, i) => channel(i) === c)
  near(
    valuesOf(mean),
    [0, 1, 2, 3].map(c => 0.75 * (c + 1) + 0.25 * average(of(c))),
  )
  near(
    valuesOf(variance),
    [0, 1, 2, 3].map(c => 0.75 * (c + 1) + 0.25 * spread(of(c)) * (6 / 5)),
  )
  const g = grad((x: Tensor<readonly [2, 4, 3], 'f64'>) => {
    const s = run(x)
    return sum(mul(s.mean, s.variance))
  })(f64([2, 4, 3], data))
  assert.ok(valuesOf(g).every(v => v === 0))
})

test('batch norm in evaluation uses the running statistics and keeps them', () => {
  const data = noise(4, 24)
  const values = { weight, bias, mean: f64([4], [1, 2, 3, 4]), variance: f64([4], [4, 3, 2, 1]) }
  const x = f64([2, 4, 3], data)
  const out = norm.batchNorm(x, values, { training: false, eps: 0.1 })
  assert.equal(out.mean, values.mean)
  assert.equal(out.variance, values.variance)
  const want = affine(data.map((v, i) => (v - channel(i) - 1) / Math.sqrt(4 - channel(i) + 0.1)))
  near(valuesOf(out.y), want)
  near(valuesOf(pipe(x, norm.batchNormEval(values, { eps: 0.1 }))), want)
})

test('the variance of f32 values far from 0 is not lost', () => {
  // E[x^2] - E[x]^2 has an error of 1e8 * 2^-24 = 6 here; the deviations are exact
  const data = Array.from({ length: 8 }, (_, i) => 1e4 + (i % 2))
  const y = norm.standardise(constant([1, 8], 'f32', Float32Array.from(data)), { axes: 1, eps: 0 })
  assert.deepEqual(valuesOf(y), [-1, 1, -1, 1, -1, 1, -1, 1])
})

test('channel counts that disagree are named', () => {
  const x = f64([2, 4, 3], noise(1, 24))
  const three = f64([3], [1, 1, 1])
  const running = { mean: bias, variance: weight }
  assert.throws(
    () => norm.batchNorm(x, { ...running, mean: three, variance: three }, { training: true }),
    /mean is f64\[3\], the input has 4 channels/,
  )
  assert.throws(() => norm.batchNormEval(x, { ...running, weight: three }), /weight is f64\[3\]/)
  assert.throws(() => norm.groupNorm(x, { groups: 3 }), /3 groups do not divide/)
  assert.throws(() => norm.instanceNorm(f64([2, 4], noise(1, 8))), /positions/)
  assert.throws(
    () => norm.batchNorm(f64([1, 4], noise(1, 4)), running, { training: true }),
    /two values or more/,
  )
})

test('standardise is unchanged by a positive affine map of x, and odd', () => {
  fc.assert(
    fc.property(
      seeds,
      fc.double({ min: 0.1, max: 10, noNaN: true }),
      fc.double({ min: -5, max: 5, noNaN: true }),
      (seed, a, b) => {
        const data = noise(seed, 24)
        const y = (xs: number[]) => valuesOf(norm.standardise(f64([2, 4, 3], xs), { axes: [0, 2], eps: 0 }))
        near(y(data), byGroup(data, channel, 0), 1e-10)
        near(y(data.map(v => a * v + b)), y(data), 1e-10)
        near(
          y(data.map(v => -v)),
          y(data).map(v => -v),
          1e-12,
        )
      },
    ),
    { numRuns: 20 },
  )
})

test('relative eps makes scaling by powers of two exactly invisible, absolute eps does not', () => {
  const data = Float32Array.from(noise(5, 24))
  const y = (s: number, epsMode: 'absolute' | 'relative') =>
    valuesOf(
      norm.standardise(
        constant(
          [2, 4, 3],
          'f32',
          data.map(v => v * s),
        ),
        { axes: 2, eps: 1e-2, epsMode },
      ),
    )
  assert.deepEqual(y(128, 'relative'), y(1, 'relative'))
  assert.deepEqual(y(1 / 128, 'relative'), y(1, 'relative'))
  assert.notDeepEqual(y(1 / 128, 'absolute'), y(1, 'absolute'))
  const mean = average([0, 1, 2, 3, 4, 5, 6, 7].map(g => spread(Array.from(data.slice(3 * g, 3 * g + 3)))))
  near(
    valuesOf(norm.standardise(f64([2, 4, 3], Array.from(data)), { axes: 2, eps: 1e-2, epsMode: 'relative' })),
    byGroup(Array.from(data), i => Math.floor(i / 3), 1e-2 * mean),
  )
})

test('a constant group gives zeros and a finite gradient, whatever eps is', () => {
  for (const epsMode of ['absolute', 'relative'] as const)
    for (const eps of [0, 1e-5]) {
      const f = (x: Tensor<readonly [2, 3], 'f64'>) => norm.standardise(x, { axes: 1, eps, epsMode })
      const x = f64([2, 3], [2, 2, 2, 2, 2, 2])
      assert.deepEqual(valuesOf(f(x)).map(Math.abs), [0, 0, 0, 0, 0, 0])
      const w = f64([2, 3], [1, 2, 4, 1, 2, 4])
      const g = valuesOf(grad((t: Tensor<readonly [2, 3], 'f64'>) => sum(mul(f(t), w)))(x))
      assert.ok(g.every(Number.isFinite), `${g}`)
    }
})

test('masked positions leave the statistics, whatever they hold, and get 0 and no gradient', () => {
  const kept = [0.5, -1, 2, 3]
  const x = f64([1, 1, 6], [0.5, Number.NaN, -1, 2, Number.POSITIVE_INFINITY, 3])
  const bool = constant([6], 'bool', Uint8Array.of(1, 0, 1, 1, 0, 1))
  const float = f64([1, 6], [2, 0, 2, 2, 0, 2])
  const want = byGroup(kept, () => 0, 0.1)
  for (const mask of [bool, float])
    for (const epsMode of ['absolute', 'relative'] as const) {
      const eps = epsMode === 'absolute' ? 0.1 : 0.1 / spread(kept)
      const f = (t: Tensor<readonly [1, 1, 6], 'f64'>) =>
        norm.standardise(t, { axes: [1, 2], eps, epsMode, mask })
      near(valuesOf(f(x)), [want[0], 0, want[1], want[2], 0, want[3]])
      const w = f64([6], [1, 2, 3, 4, 5, 6])
      const g = valuesOf(grad((t: Tensor<readonly [1, 1, 6], 'f64'>) => sum(mul(f(t), w)))(x))
      assert.ok(g.every(Number.isFinite), `${g}`)
      assert.deepEqual([g[1], g[4]], [0, 0])
      assert.ok(Math.abs(g.reduce((a, b) => a + b, 0)) < 1e-12, 'the gradient of a group sums to 0')
    }
})

test('a mask of ones changes nothing, a group that is wholly masked is 0', () => {
  const data = noise(9, 12)
  const x = f64([2, 2, 3], data)
  const ones = constant([2, 1, 3], 'bool', new Uint8Array(6).fill(1))
  near(
    valuesOf(norm.standardise(x, { axes: 2, mask: ones, epsMode: 'relative' })),
    valuesOf(norm.standardise(x, { axes: 2, epsMode: 'relative' })),
  )
  const half = constant([2, 1, 3], 'bool', Uint8Array.of(1, 1, 1, 0, 0, 0))
  const y = valuesOf(norm.standardise(x, { axes: 2, mask: half, epsMode: 'relative' }))
  const alone = norm.standardise(f64([1, 2, 3], data.slice(0, 6)), { axes: 2, epsMode: 'relative' })
  near(y, [...valuesOf(alone), 0, 0, 0, 0, 0, 0])
})

test('l2Normalise gives unit vectors, and 0 with a finite gradient for 0', () => {
  const x = f64([2, 2], [3, 4, 0, 0])
  near(valuesOf(pipe(x, norm.l2Normalise({ axes: 1 }))), [0.6, 0.8, 0, 0])
  const g = valuesOf(
    grad((t: Tensor<readonly [2, 2], 'f64'>) => sum(norm.l2Normalise(t, { axes: 1, eps: 0.5 })))(x),
  )
  near(g, [4 / 125, -3 / 125, 2, 2]) // (|x|^2 - x_i (x_1 + x_2)) / |x|^3; 1 / eps below eps
})
