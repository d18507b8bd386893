/** Means and variances against sums in f64 about the true mean, and their derivatives. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { grad } from '../../src/autodiff/grad.ts'
import { vmap } from '../../src/autodiff/vmap.ts'
import { jit } from '../../src/backend/compile.ts'
import { planGraph } from '../../src/backend/pipeline.ts'
import { array, type NDArray } from '../../src/dsl/array.ts'
import { add, mul, sum } from '../../src/dsl/build.ts'
import { moments } from '../../src/dsl/ops/moments.ts'
import { range, type Shape, size } from '../../src/dsl/shape.ts'
import type { Tensor } from '../../src/dsl/tensor.ts'
import { trace } from '../../src/dsl/trace.ts'
import { checkBackends, checkGrads } from '../../src/testing/index.ts'
import { closeAll, cpu, webgpu } from '../support/backends.ts'
import { normals, onReference } from '../support/trees.ts'

after(closeAll)
/** In one pass, however small; `Infinity` for two. */
const both =
  (axes: readonly number[], from = 0) =>
  (x: Tensor) =>
    moments(x, axes, from)
/** [batch, channels, height, width]: each channel is 24 parts of 240 elements, no power of two among them. */
const feature = [3, 2, 32, 60] as const
const batchAxes = [0, 2, 3] as const
const reduced = 3 * 32 * 60

/** The f64 statistics of a group. Taken about its first element: f64 has digits to spare. */
function exact(xs: readonly number[]): { mean: number; variance: number } {
  const average = (f: (x: number) => number) => xs.reduce((s, x) => s + f(x), 0) / xs.length
  const rest = average(x => x - xs[0])
  return { mean: xs[0] + rest, variance: average(x => (x - xs[0] - rest) ** 2) }
}
/** Values of f32 by channel and place in the group. */
const featureOf = (f: (place: number, noise: number) => number): NDArray => {
  const noise = normals(5, feature).data
  const plane = 32 * 60
  return array(
    feature,
    'f32',
    Array.from(noise, (v, i) => f(Math.floor(i / (2 * plane)) * plane + (i % plane), Number(v))),
  )
}
const channelOf = (x: NDArray, c: number): number[] =>
  Array.from(x.data, Number).filter((_, i) => Math.floor(i / (32 * 60)) % 2 === c)
/** The largest errors: of the variance relative to it, of the mean in deviations. */
async function errors(x: NDArray): Promise<{ variance: number; mean: number }> {
  const found = await jit(both(batchAxes), await cpu())(x)
  const each = [0, 1].map(c => {
    const want = exact(channelOf(x, c))
    const apart = Math.abs(Number(found.mean.data[c]) - want.mean)
    return {
      variance: Math.abs(Number(found.variance.data[c]) - want.variance) / want.variance,
      mean: apart / Math.sqrt(want.variance),
    }
  })
  return {
    variance: Math.max(...each.map(e => e.variance)),
    mean: Math.max(...each.map(e => e.mean)),
  }
}

test('they are mean and variance over any axes: in one part, in many, and in two passes', async () => {
  // 0: no parts; 257 and 509 are primes: no divisors; 17 x 31 and 600 have several parts
  const extents = fc.constantFrom(0, 1, 2, 5, 17, 31, 257, 509, 600)
  await fc.assert(
    fc.asyncProperty(
      fc.array(extents, { minLength: 1, maxLength: 3 }).filter(s => size(s) < 20000),
      fc.integer({ min: 1, max: 7 }),
      fc.boolean(),
      fc.constantFrom(0, Number.POSITIVE_INFINITY),
      fc.integer({ min: 0, max: 2 ** 30 }),
      async (shape, chosen, reversed, from, seed) => {
        const axes = range(shape.length).filter(a => chosen & (1 << a))
        const x = normals(seed, shape)
        const found = await onReference(both(reversed ? [...axes].reverse() : axes, from))(x)
        const kept = shape.map((n, a) => (axes.includes(a) ? 1 : n))
        assert.deepEqual(found.mean.shape, kept)
        assert.deepEqual(found.variance.shape, kept)
        const groups = range(size(kept)).map((): number[] => [])
        for (const [i, v] of Array.from(x.data, Number).entries()) {
          let [rest, at, step] = [i, 0, 1]
          for (const a of range(shape.length).reverse()) {
            if (!axes.includes(a)) {
              at += (rest % shape[a]) * step
              step *= shape[a]
            }
            rest = Math.floor(rest / shape[a])
          }
          groups[at].push(v)
        }
        for (const [i, xs] of groups.entries()) {
          const want = xs.length > 0 ? exact(xs) : { mean: Number.NaN, variance: Number.NaN }
          const [m, v] = [Number(found.mean.data[i]), Number(found.variance.data[i])]
          if (xs.length === 0) assert.deepEqual([m, v], [Number.NaN, Number.NaN])
          // f64, sums of at most 20000 values of size 1, a part's variance amplified by at most 256
          else assert.ok(Math.abs(m - want.mean) < 1e-12 && Math.abs(v - want.variance) < 1e-11)
        }
      },
    ),
    { numRuns: 60 },
  )
})

test('an offset costs the variance no digits, and the mean no more than f32 has', async () => {
  // of E[x^2] - E[x]^2 at 1e4 nothing would be left: 1e8 * 2^-24 = 6
  for (const offset of [0, 1e4, -1e6]) {
    const e = await errors(featureOf((_, v) => v + offset))
    // two passes: 2e-5 at 1e6, where the rounded mean is off by up to 0.03; here 2e-7
    assert.ok(e.variance < 1e-6, `offset ${offset}: variance ${e.variance}`)
    assert.ok(e.mean < Math.max(1e-6, 2 ** -24 * Math.abs(offset)), `offset ${offset}: mean ${e.mean}`)
  }
  const drift = await errors(featureOf((place, v) => place / 10 + v / 100))
  assert.ok(drift.variance < 1e-6 && drift.mean < 1e-6, `${JSON.stringify(drift)}`)
})

test('outliers where a part begins amplify rounding by no more than its length', async () => {
  // 240 elements a part, times the rounding of sums of them: a few 2^-24
  const bound = 240 * 4 * 2 ** -24
  for (const [name, f] of Object.entries({
    'one, at the first element': (place: number, v: number) => (place === 0 ? 1e4 : v),
    'one, far from equal elements': (place: number) => (place === 0 ? 0.1 : 0.3),
    'at every part': (place: number, v: number) => (place % 240 === 0 ? 1e3 * (1 + v / 10) : v),
    'at every part, far from equal elements': (place: number) => (place % 240 === 0 ? 0.1 : 0.3),
  })) {
    const e = await errors(featureOf(f))
    assert.ok(e.variance < bound, `${name}: variance ${e.variance}`)
    // the outlier is up to sqrt(n) deviations from the mean, which is held as a difference from it
    assert.ok(e.mean < Math.sqrt(reduced) * 2 ** -22, `${name}: mean ${e.mean}`)
  }
})

test('equal elements have the variance 0 exactly, and themselves as their mean', async () => {
  for (const value of [0.1, 1e6 + 0.1, -3e-20, 0]) {
    const x = featureOf(() => value)
    const { mean, variance } = await jit(both(batchAxes), await cpu())(x)
    assert.deepEqual(Array.from(variance.data), [0, 0])
    assert.deepEqual(Array.from(mean.data), [Math.fround(value), Math.fround(value)])
  }
})

test('NaN and infinities make their own group NaN, wherever they stand', async () => {
  const run = jit(both(batchAxes), await cpu())
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])
    for (const place of [0, 1, 240, 241, reduced - 1]) {
      const x = featureOf((_, v) => v)
      const plane = 32 * 60
      const at = Math.floor(place / plane) * 2 * plane + (place % plane) // of the first channel
      const spoilt = array(
        feature,
        'f32',
        Array.from(x.data, (v, i) => (i === at ? bad : Number(v))),
      )
      const { mean, variance } = await run(spoilt)
      assert.ok(Number.isNaN(variance.data[0]), `${bad} at ${place}: variance ${variance.data[0]}`)
      assert.ok(!Number.isFinite(mean.data[0]), `${bad} at ${place}: mean ${mean.data[0]}`)
      assert.ok(Number.isFinite(variance.data[1]) && Number.isFinite(mean.data[1]))
    }
})

/** One part, several, and a prime, which takes two passes. */
const smallCases: readonly (readonly [Shape, readonly number[]])[] = [
  [
    [2, 3, 4],
    [0, 2],
  ],
  [
    [3, 2, 20, 20],
    [0, 2, 3],
  ],
  [[2, 257], [1]],
]
test('their derivatives are right in both modes and to the second order, whatever the way they are computed', () => {
  for (const [shape, axes] of smallCases) {
    checkGrads(both(axes), [normals(3, shape)])
    checkGrads((x: Tensor) => both(axes)(x).variance, [normals(4, shape)])
  }
})

test('the derivative is that of the definition: a shared offset moves the mean alone', async () => {
  for (const [shape, axes] of smallCases) {
    const n = size(axes.map(a => shape[a]))
    const g = await onReference(
      grad((x: Tensor) => {
        const { mean, variance } = both(axes)(x)
        return add(sum(mean), sum(mul(variance, variance)))
      }),
    )(normals(6, shape))
    const total = Array.from(g.data, Number).reduce((s, v) => s + v, 0)
    // 1 / n for the mean, for each of its n elements
    assert.ok(Math.abs(total - size(shape) / n) < 1e-10, `${total}`)
  }
})

test('vmap lifts them and their derivatives', async () => {
  for (const [shape, axes] of smallCases) {
    const f = (x: Tensor) => {
      const { mean, variance } = both(axes)(x)
      return add(sum(mul(mean, mean)), sum(mul(variance, mean)))
    }
    const x = normals(8, [3, ...shape])
    const lifted = await onReference(vmap(grad(f)))(x)
    const outside = await onReference(grad((t: Tensor) => sum(vmap(f)(t))))(x)
    const one = onReference(grad(f))
    const n = size(shape)
    for (const i of range(3)) {
      const alone = await one(array(shape, 'f64', Array.from(x.data.slice(i * n, (i + 1) * n), Number)))
      for (const [j, want] of Array.from(alone.data, Number).entries())
        for (const got of [lifted, outside]) assert.ok(Math.abs(Number(got.data[i * n + j]) - want) < 1e-12)
    }
  }
})

test('one loop reads a large tensor, two a small one', () => {
  const loops = (shape: Shape, axes: readonly number[]) => {
    const { graph } = trace((x: Tensor) => moments(x, axes), [{ shape, dtype: 'f32' }])
    const { steps } = planGraph(graph, () => ({ vector: null, tiles: [] }))
    return steps
      .filter(s => size(s.kernel.axes.map(a => a.extent)) >= size(shape))
      .map(s => [s.kernel.accumulators.length, s.bindings.filter(r => r.k === 'input').length])
  }
  // one buffer, two sums
  assert.deepEqual(loops([8, 64, 64, 64], [0, 2, 3]), [[2, 1]])
  assert.deepEqual(loops([4, 256, 64, 64], [2, 3]), [[2, 1]])
  assert.deepEqual(loops([8192, 768], [1]), [[2, 1]])
  const twice = [1, 1].map(sums => [sums, 1])
  assert.deepEqual(loops([8, 64, 16, 16], [0, 2, 3]), twice)
})

test('they are the same on the CPU backend and on WebGPU', async t => {
  await checkBackends(both(batchAxes), [featureOf((_, v) => v + 3)], [await cpu(), await webgpu(t)])
})
