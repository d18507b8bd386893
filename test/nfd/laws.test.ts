/** The laws of normalised feature distillation, in f64 on the reference interpreter, against loops over numbers. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { grad } from '../../src/autodiff/grad.ts'
import { evaluate } from '../../src/backend/cpu/reference-backend.ts'
import { array, type NDArray } from '../../src/dsl/array.ts'
import { add, mul, reshape } from '../../src/dsl/build.ts'
import type { Tensor } from '../../src/dsl/tensor.ts'
import { sameChannels } from '../../src/nfd/align.ts'
import { masked } from '../../src/nfd/combine.ts'
import { fitnet, nfd, pkd } from '../../src/nfd/nfd.ts'
import type { NormaliseOptions } from '../../src/nfd/normalise.ts'
import { normals } from '../support/trees.ts'
import { contextOf, output, tapped, traced } from './taps.ts'

/** Two networks of the same channels, and nothing that aligns them. */
const pair = (channels: number) =>
  ({ student: tapped(channels), teacher: tapped(channels), taps: [['f', 'f']], align: sameChannels }) as const
const none = { 'f-f': {} }
const lossOf = (s: Tensor, t: Tensor, options: NormaliseOptions = { eps: 0 }): Tensor => {
  const d = nfd({ ...pair(s.shape[1]), ...options })
  return d.loss(none, {}, output(s), output(t), contextOf()).loss
}
const number = (x: Tensor): number => Number(evaluate(x).data[0])
const numbers = (x: Tensor): number[] => Array.from(evaluate(x).data, Number)
const close = (x: number, y: number, tolerance: number): void =>
  assert.ok(Math.abs(x - y) <= tolerance, `${x} against ${y}`)

/** Two features of one shape; planes of normal values, so that no variance is near 0. */
const features = fc
  .record({
    n: fc.integer({ min: 1, max: 3 }),
    c: fc.integer({ min: 1, max: 3 }),
    h: fc.integer({ min: 2, max: 4 }),
    w: fc.integer({ min: 2, max: 4 }),
    seed: fc.integer({ min: 0, max: 2 ** 30 }),
  })
  .map(({ n, c, h, w, seed }) => ({
    s: normals(seed, [n, c, h, w]),
    t: normals(seed + 1, [n, c, h, w]),
  }))
const holds = (check: (f: { readonly s: NDArray; readonly t: NDArray }, seed: number) => void): void =>
  fc.assert(fc.property(features, fc.integer({ min: 0, max: 2 ** 30 }), check), { numRuns: 40 })

/** The planes (n, c) of a feature. */
const planes = (shape: readonly number[], data: ArrayLike<number>): number[][] =>
  Array.from({ length: shape[0] * shape[1] }, (_, i) =>
    Array.from({ length: shape[2] * shape[3] }, (_, j) => data[i * shape[2] * shape[3] + j]),
  )
const mean = (xs: readonly number[]): number => xs.reduce((a, x) => a + x, 0) / xs.length
const centred = (xs: readonly number[]): number[] => {
  const m = mean(xs)
  return xs.map(x => x - m)
}
const dot = (xs: readonly number[], ys: readonly number[]): number => xs.reduce((s, x, i) => s + x * ys[i], 0)
const pearson = (xs: readonly number[], ys: readonly number[]): number => {
  const [a, b] = [centred(xs), centred(ys)]
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b))
}
/** The mean correlation of the planes. */
const correlation = (s: NDArray, t: NDArray): number => {
  const [a, b] = [planes(s.shape, s.data), planes(t.shape, t.data)]
  return mean(a.map((p, i) => pearson(p, b[i])))
}

/** A number per plane of a feature, [n, c, 1, 1]. */
const perPlane = (seed: number, { shape }: NDArray, f: (x: number) => number): Tensor => {
  const x = normals(seed, [shape[0], shape[1], 1, 1])
  return traced(
    array(
      x.shape,
      'f64',
      Array.from(x.data, v => f(Number(v))),
    ),
  )
}
// Sums of at most 144 terms of order 1, and quotients by variances of 1e-3 and more: 1e-9 is far above rounding.
const tolerance = 1e-9

test('with eps = 0 the loss is 2 (1 - r), r the mean Pearson correlation of the planes, hence within [0, 4]', () =>
  holds(({ s, t }) => {
    const loss = number(lossOf(traced(s), traced(t)))
    close(loss, 2 * (1 - correlation(s, t)), tolerance)
    assert.ok(loss >= -tolerance && loss <= 4 + tolerance)
  }))

test('the loss does not change under F -> a F + b, a > 0, plane by plane, of student or teacher', () =>
  holds(({ s, t }, seed) => {
    const map = (x: NDArray, k: number): Tensor =>
      add(
        mul(traced(x), perPlane(seed + k, x, Math.exp)),
        perPlane(seed + k + 1, x, v => 3 * v),
      )
    const before = number(lossOf(traced(s), traced(t)))
    close(number(lossOf(map(s, 0), traced(t))), before, tolerance)
    close(number(lossOf(traced(s), map(t, 2))), before, tolerance)
  }))

test('negating a feature gives 2 (1 + r)', () =>
  holds(({ s, t }) =>
    close(number(lossOf(mul(traced(s), -1), traced(t))), 2 * (1 + correlation(s, t)), tolerance),
  ))

test("the gradient of every plane sums to 0 and is orthogonal to the plane's deviations", () =>
  holds(({ s, t }) => {
    const g = numbers(grad((x: Tensor) => lossOf(x, traced(t)))(traced(s)))
    const values = planes(s.shape, s.data)
    planes(s.shape, g).forEach((plane, i) => {
      close(
        plane.reduce((a, x) => a + x, 0),
        0,
        tolerance,
      )
      close(dot(plane, centred(values[i])), 0, tolerance)
    })
    assert.ok(correlation(s, t) > 1 - 1e-6 || g.some(x => Math.abs(x) > 1e-9), 'the gradient is not all 0')
  }))

test("an aligner's bias and its gain per channel get no signal", () =>
  holds(({ s, t }, seed) => {
    const c = s.shape[1]
    const gains = { gain: traced(normals(seed, [1, c, 1, 1])), bias: traced(normals(seed + 1, [1, c, 1, 1])) }
    const g = grad((p: typeof gains) => lossOf(add(mul(traced(s), p.gain), p.bias), traced(t)))(gains)
    // a gain near 0 amplifies rounding by 1 / gain
    const least = Math.min(...numbers(gains.gain).map(Math.abs))
    for (const x of [...numbers(g.gain), ...numbers(g.bias)]) close(x, 0, tolerance / least)
  }))

test('over NHW it is PKD up to its factor, its eps on the deviation and its unbiased deviation; at N = 1 over HW too', () =>
  holds(({ s, t }) => {
    const [n, c] = s.shape
    const m = n * s.shape[2] * s.shape[3]
    // PKD: (x - mean) / (std + 1e-6) per channel over the batch, unbiased std, mean squared error / 2
    const channel = (x: NDArray, k: number): number[] => {
      const v = centred(planes(x.shape, x.data).flatMap((p, i) => (i % c === k ? p : [])))
      const std = Math.sqrt(dot(v, v) / (m - 1))
      return v.map(e => e / (std + 1e-6))
    }
    const errors = Array.from({ length: c }, (_, k) => {
      const [a, b] = [channel(s, k), channel(t, k)]
      return mean(a.map((x, i) => (x - b[i]) ** 2))
    })
    const reference = mean(errors) / 2
    const method = pkd(pair(c)).loss(none, {}, output(traced(s)), output(traced(t)), contextOf()).loss
    close(number(method), reference, tolerance)
    // (std + 1e-6) against std moves the loss by 1e-6 / std, relatively
    const near = (loss: number) => close(loss, (2 * reference * m) / (m - 1), 1e-4)
    near(number(lossOf(traced(s), traced(t), { axes: 'NHW', eps: 0 })))
    if (n === 1) near(number(lossOf(traced(s), traced(t), { axes: 'HW', eps: 0 })))
  }))

test('a constant channel gives a finite loss and a finite gradient, with any eps', () => {
  const s = normals(1, [2, 2, 3, 3])
  const flat = array(
    [2, 2, 3, 3],
    'f64',
    Array.from(s.data, (v, i) => (i % 18 < 9 ? 0.1 : Number(v))),
  )
  const zero = array([2, 2, 3, 3], 'f64', new Float64Array(36))
  for (const eps of [0, 1e-5])
    for (const epsMode of ['absolute', 'relative'] as const)
      for (const [x, y] of [
        [flat, s],
        [s, flat],
        [zero, s],
        [s, zero],
        [flat, flat],
      ]) {
        const all = { x: traced(x), y: traced(y) }
        const value = (v: typeof all) => lossOf(v.x, v.y, { eps, epsMode })
        const what = `eps ${eps} ${epsMode}`
        assert.ok(Number.isFinite(number(value(all))), what)
        assert.ok(numbers(grad(value)(all).x).every(Number.isFinite), what)
      }
})

test("nothing flows to the teacher's features, and the student's gradient is not zero", () =>
  holds(({ s, t }) => {
    const all = { s: traced(s), t: traced(t) }
    for (const axes of ['HW', 'NHW', 'C', 'CHW', 'none'] as const) {
      if (axes === 'C' && s.shape[1] < 3) continue // of two channels or fewer only signs are left
      const g = grad((v: typeof all) => lossOf(v.s, v.t, { axes, eps: 1e-5 }))(all)
      assert.ok(numbers(g.t).every(x => x === 0))
      assert.ok(numbers(g.s).some(x => x !== 0))
    }
  }))

test("with relative eps the teacher's gauge does not matter: scaling its feature by a power of two changes no bit", () =>
  holds(({ s, t }) => {
    const at = (factor: number) =>
      numbers(
        grad((x: Tensor) => lossOf(x, mul(traced(t), factor), { eps: 1e-2, epsMode: 'relative' }))(traced(s)),
      )
    const fit = (factor: number) => {
      const d = fitnet(pair(s.shape[1]))
      return number(d.loss(none, {}, output(traced(s)), output(mul(traced(t), factor)), contextOf()).loss)
    }
    for (const factor of [1 / 128, 128]) assert.deepEqual(at(factor), at(1))
    assert.ok(fit(128) > 2 * fit(1), "while FitNet's loss grows")
  }))

test('an absolute eps of 1e-5 shrinks the feature to sqrt(1/2) of its size at a deviation of sqrt(0.1) / 100', () => {
  const x = array([1, 1, 1, 2], 'f64', [1, -1])
  const scaled = mul(traced(x), Math.sqrt(0.1) / 100)
  // N(x) = (1, -1), so the loss against it is (1 - f)^2
  close(number(lossOf(scaled, traced(x), { eps: 1e-5 })), (1 - Math.SQRT1_2) ** 2, 1e-5)
  close(number(lossOf(scaled, traced(x), { eps: 1e-5, epsMode: 'relative' })), 0, 1e-9)
})

test('masked pixels leave statistics and mean: the loss is that of the other pixels alone, whatever they hold', () =>
  holds(({ s, t }, seed) => {
    const [n, c, h, w] = s.shape
    const kept = h * w - 1 - (seed % (h * w - 2 || 1)) // of each image, the first pixels
    const label = array(
      [n, h, w],
      'i32',
      Array.from({ length: n * h * w }, (_, i) => (i % (h * w) < kept ? 1 : 255)),
    )
    const spoiled = array(
      s.shape,
      'f64',
      Array.from(s.data, (v, i) => (i % (h * w) < kept ? Number(v) : Number.NaN)),
    )
    const d = masked()(nfd({ ...pair(c), eps: 1e-3 }))
    const left = number(
      d.loss(none, {}, output(traced(spoiled)), output(traced(t)), contextOf({ label })).loss,
    )
    const cut = (x: NDArray): Tensor => {
      const data = planes(x.shape, x.data).flatMap(p => p.slice(0, kept))
      return reshape(traced(array([n, c, 1, kept], 'f64', data)), [n, c, 1, kept])
    }
    close(left, number(lossOf(cut(s), cut(t), { eps: 1e-3 })), tolerance)
  }))
