/** Losses against plain formulas in f64; what no class, -inf and zero vectors do. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { pipe } from 'fp-ts/lib/function.js'
import { grad } from '../../src/autodiff/grad.ts'
import { interpret } from '../../src/backend/cpu/reference.ts'
import { mul, sum } from '../../src/dsl/build.ts'
import { makeGraph } from '../../src/dsl/graph.ts'
import * as loss from '../../src/dsl/ops/loss.ts'
import { logSoftmax } from '../../src/dsl/ops/softmax.ts'
import { constant, type Tensor } from '../../src/dsl/tensor.ts'
import { key, uniformAt } from '../../src/dsl/threefry.ts'

const valuesOf = (t: Tensor): number[] => Array.from(interpret(makeGraph([], [t]), [])[0].data)
const f64 = <const S extends readonly number[]>(shape: S, data: readonly number[]) =>
  constant(shape, 'f64', Float64Array.from(data))
const i32 = <const S extends readonly number[]>(shape: S, data: readonly number[]) =>
  constant(shape, 'i32', Int32Array.from(data))
const noise = (seed: number, n: number): number[] =>
  Array.from({ length: n }, (_, i) => 4 * uniformAt(key(seed), i) - 2)
const near = (got: readonly number[], want: readonly number[], tolerance = 1e-12): void => {
  assert.equal(got.length, want.length)
  got.forEach((y, i) => {
    assert.ok(
      Object.is(y, want[i]) || Math.abs(y - want[i]) <= tolerance * (1 + Math.abs(want[i])),
      `element ${i}: ${y}, expected ${want[i]}`,
    )
  })
}
const total = (xs: readonly number[]): number => xs.reduce((a, b) => a + b, 0)
const seeds = fc.integer({ min: 0, max: 2 ** 31 })
const inf = Number.POSITIVE_INFINITY

/** log softmax of a list, plainly. */
const logs = (x: readonly number[]): number[] => x.map(v => v - Math.log(total(x.map(Math.exp))))

test('crossEntropy is the sum over classes of smoothed, weighted targets, over the weights of the labels', () => {
  const options = fc.record({
    seed: seeds,
    labels: fc.array(fc.constantFrom(0, 1, 2, 255), { minLength: 6, maxLength: 6 }),
    weighted: fc.boolean(),
    labelSmoothing: fc.constantFrom(0, 0.1, 1),
    ignoreIndex: fc.constantFrom(255, 1),
  })
  fc.assert(
    fc.property(options, ({ seed, labels, weighted, labelSmoothing: s, ignoreIndex }) => {
      fc.pre(ignoreIndex === 255 || !labels.includes(255))
      const data = noise(seed, 18)
      const w = weighted ? [0.5, 2, 1] : [1, 1, 1]
      const x = f64([2, 3, 3], data) // [batch, classes, positions]
      const y = i32([2, 3], labels)
      const each = labels.map((label, p) => {
        if (label === ignoreIndex) return 0
        const [n, i] = [Math.floor(p / 3), p % 3]
        const logP = logs([0, 1, 2].map(c => data[n * 9 + c * 3 + i]))
        return -total(logP.map((l, c) => l * w[c] * ((c === label ? 1 - s : 0) + s / 3)))
      })
      const mass = total(labels.map(l => (l === ignoreIndex ? 0 : w[l])))
      const given = { ignoreIndex, labelSmoothing: s, ...(weighted && { weights: f64([3], w) }) }
      const none: Tensor<readonly [2, 3], 'f64'> = loss.crossEntropy(x, y, { ...given, reduction: 'none' })
      const mean: Tensor<readonly [], 'f64'> = pipe(x, loss.crossEntropy(y, given))
      near(valuesOf(none), each)
      near(valuesOf(loss.crossEntropy(x, y, { ...given, reduction: 'sum' })), [total(each)])
      near(valuesOf(mean), [total(each) / mass]) // NaN where all is ignored, as in PyTorch
    }),
    { numRuns: 60 },
  )
})

test('the gradient of crossEntropy is (softmax - one-hot) over the number of counted positions', () => {
  const data = noise(11, 9)
  const g = grad((x: Tensor<readonly [3, 3], 'f64'>) => loss.crossEntropy(x, i32([3], [2, 255, 0])))(
    f64([3, 3], data),
  )
  const want = data.map((_, k) => {
    const [n, c] = [Math.floor(k / 3), k % 3]
    const p = Math.exp(logs(data.slice(3 * n, 3 * n + 3))[c])
    return n === 1 ? 0 : (p - (c === [2, 255, 0][n] ? 1 : 0)) / 2
  })
  near(valuesOf(g), want)
})

test('a label that is no class makes crossEntropy NaN and reads nothing', () => {
  for (const label of [-1, 3, 1000, -(2 ** 31)])
    for (const labelSmoothing of [0, 0.1, 1]) {
      const each = valuesOf(
        loss.crossEntropy(f64([2, 3], noise(1, 6)), i32([2], [label, 1]), {
          labelSmoothing,
          reduction: 'none',
        }),
      )
      assert.ok(Number.isNaN(each[0]) && Number.isFinite(each[1]), `${each}`)
    }
})

test('crossEntropy survives logits of +-1e4 and -inf', () => {
  const x = f64([3, 3], [1e4, -1e4, 0, -inf, 0, 0, -inf, -1e4, 1e4])
  const y = i32([3], [1, 2, 2])
  near(valuesOf(loss.crossEntropy(x, y, { reduction: 'none' })), [2e4, Math.log(2), 0])
  assert.ok(
    valuesOf(grad((t: Tensor<readonly [3, 3], 'f64'>) => loss.crossEntropy(t, y))(x)).every(Number.isFinite),
  )
})

test('crossEntropy names what does not fit', () => {
  const x = f64([2, 3, 4], noise(1, 24))
  const y = i32([2, 4], new Array(8).fill(0))
  assert.throws(
    () => loss.crossEntropy(x, i32([2, 3], new Array(6).fill(0))),
    /labels must be i32\[2, 4\], got i32\[2, 3\]/,
  )
  assert.throws(() => loss.crossEntropy(x, y, { weights: f64([4], [1, 1, 1, 1]) }), /3 classes/)
  assert.throws(() => loss.crossEntropy(x, y, { labelSmoothing: 2 }), /\[0, 1\]/)
})

test('mse, smooth L1 and binary cross-entropy are their formulas under every reduction', () => {
  fc.assert(
    fc.property(seeds, fc.constantFrom(0, 0.5, 2), (seed, beta) => {
      const a = noise(seed, 6)
      const b = noise(seed + 1, 6)
      const target = b.map(v => (v + 2) / 4)
      const [x, y, t] = [f64([2, 3], a), f64([2, 3], b), f64([2, 3], target)]
      const huber = (d: number) => (d < beta ? (d * d) / (2 * beta) : d - beta / 2)
      const p = (v: number) => 1 / (1 + Math.exp(-v))
      const all: [(reduction: loss.LossReduction) => Tensor, number[]][] = [
        [reduction => loss.mseLoss(x, y, { reduction }), a.map((v, i) => (v - b[i]) ** 2)],
        [
          reduction => loss.smoothL1Loss(x, y, { beta, reduction }),
          a.map((v, i) => huber(Math.abs(v - b[i]))),
        ],
        [
          reduction => loss.bceWithLogits(x, t, { reduction }),
          a.map((v, i) => -(target[i] * Math.log(p(v)) + (1 - target[i]) * Math.log(1 - p(v)))),
        ],
      ]
      for (const [f, each] of all) {
        near(valuesOf(f('none')), each)
        near(valuesOf(f('sum')), [total(each)])
        near(valuesOf(f('mean')), [total(each) / 6])
      }
    }),
    { numRuns: 20 },
  )
  const scalar: Tensor<readonly [], 'f64'> = pipe(f64([2], [1, 2]), loss.mseLoss(f64([2], [0, 0])))
  assert.deepEqual(valuesOf(scalar), [2.5])
})

test('losses refuse to broadcast, and smoothL1Loss a negative beta', () => {
  const [x, row]: Tensor<readonly number[], 'f64'>[] = [f64([2, 3], noise(1, 6)), f64([3], noise(2, 3))]
  assert.throws(() => loss.mseLoss(x, row), /one shape/)
  assert.throws(() => loss.klDistillation(x, row), /one shape/)
  assert.throws(() => loss.smoothL1Loss(x, x, { beta: -1 }), /beta/)
})

test('binary cross-entropy is exact at +-1e4 in f32, with a gradient of sigmoid - target', () => {
  const x = constant([3], 'f32', Float32Array.of(1e4, -1e4, 1e4))
  const t = constant([3], 'f32', Float32Array.of(1, 1, 0))
  assert.deepEqual(valuesOf(loss.bceWithLogits(x, t, { reduction: 'none' })), [0, 1e4, 1e4])
  const g = grad((u: Tensor<readonly [3], 'f32'>) => loss.bceWithLogits(u, t, { reduction: 'sum' }))(x)
  assert.deepEqual(
    valuesOf(g).map(v => v + 0),
    [0, -1, 1],
  )
})

test('klDistillation is T^2 KL(teacher || student) at temperature T, and nothing flows to the teacher', () => {
  fc.assert(
    fc.property(seeds, fc.constantFrom(1, 2, 4), (seed, temperature) => {
      const a = noise(seed, 12)
      const b = noise(seed + 1, 12)
      const at = (x: number[], n: number, i: number) =>
        logs([0, 1, 2].map(c => x[n * 6 + c * 2 + i] / temperature))
      let want = 0
      for (const n of [0, 1])
        for (const i of [0, 1]) {
          const [p, q] = [at(b, n, i), at(a, n, i)]
          want += total(p.map((l, c) => Math.exp(l) * (l - q[c])))
        }
      const [student, teacher] = [f64([2, 3, 2], a), f64([2, 3, 2], b)]
      const value: Tensor<readonly [], 'f64'> = pipe(student, loss.klDistillation(teacher, { temperature }))
      near(valuesOf(value), [(temperature ** 2 * want) / 4])
      near(valuesOf(loss.klDistillation(student, student, { temperature })), [0])
      const toTeacher = grad((t: Tensor<readonly [2, 3, 2], 'f64'>) => loss.klDistillation(student, t))(
        teacher,
      )
      assert.ok(valuesOf(toTeacher).every(v => v === 0))
    }),
    { numRuns: 20 },
  )
})

test('a class that the target rules out adds nothing to a divergence, nor NaN to its gradient', () => {
  const target = f64([1, 3], [-inf, 0, 0])
  const f = (x: Tensor<readonly [1, 3], 'f64'>) => loss.klDistillation(x, target)
  for (const first of [0, 1e4, -1e4, -inf]) {
    const x = f64([1, 3], [first, 0, 0])
    const value = valuesOf(f(x))[0]
    near(
      [value],
      [first === 0 ? Math.log(3 / 2) : Math.max(first, 0) + (first === 1e4 ? -Math.log(2) : 0)],
      1e-9,
    )
    assert.ok(valuesOf(grad(f)(x)).every(Number.isFinite))
  }
})

test('klDivergence gives gradients to both arguments', () => {
  const [a, b] = [f64([1, 3], [0.1, 0.5, -1]), f64([1, 3], [1, -0.5, 0.3])]
  const kl = (x: Tensor<readonly [1, 3], 'f64'>, y: Tensor<readonly [1, 3], 'f64'>) =>
    loss.klDivergence(logSoftmax(x, { axis: 1 }), logSoftmax(y, { axis: 1 }))
  near(valuesOf(kl(a, b)), valuesOf(loss.klDistillation(a, b)))
  assert.ok(valuesOf(grad((y: Tensor<readonly [1, 3], 'f64'>) => kl(a, y))(b)).every(v => Math.abs(v) > 1e-3))
})

test('cosineSimilarity is the cosine along the axis, 0 with a finite gradient for a zero vector', () => {
  const x = f64([2, 2, 1], [3, 4, 0, 0])
  const y = f64([2, 2, 1], [4, 3, 1, 1])
  near(valuesOf(loss.cosineSimilarity(x, y)), [24 / 25, 0])
  near(valuesOf(pipe(x, loss.cosineSimilarity(x))), [1, 0])
  const f = (t: Tensor<readonly [2, 2, 1], 'f64'>) =>
    sum(mul(loss.cosineSimilarity(t, y), f64([2, 1], [1, 1e-8])))
  // (y - cos x |y| / |x|) / (|x| |y|); y / (eps |y|) for the zero vector
  near(valuesOf(grad(f)(x)), [(4 - 72 / 25) / 25, (3 - 96 / 25) / 25, Math.SQRT1_2, Math.SQRT1_2])
})
