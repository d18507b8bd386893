import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  deviation,
  holm,
  incompleteBeta,
  mean,
  paired,
  signFlipTest,
  tQuantile,
  tTail,
} from '../../../src/cli/compare/statistics.ts'

const close = (got: number, want: number, tolerance: number, what = ''): void =>
  assert(Math.abs(got - want) <= tolerance, `${what}: got ${got}, want ${want}`)

test('t quantiles are those of the printed tables', () => {
  // NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2: upper critical values, three decimals
  const table: readonly (readonly [df: number, at975: number, at995: number])[] = [
    [1, 12.706, 63.657],
    [2, 4.303, 9.925],
    [4, 2.776, 4.604],
    [9, 2.262, 3.25],
    [30, 2.042, 2.75],
    [100, 1.984, 2.626],
  ]
  for (const [df, at975, at995] of table) {
    close(tQuantile(0.95, df), at975, 6e-4, `df ${df}`)
    close(tQuantile(0.99, df), at995, 6e-4, `df ${df}`)
  }
})

test("t tails have closed forms for one and two degrees of freedom (Cauchy's, and 1 - t / sqrt(2 + t^2))", () => {
  fc.assert(
    fc.property(fc.double({ min: 1e-3, max: 50, noNaN: true }), t => {
      close(tTail(t, 1), 1 - (2 / Math.PI) * Math.atan(t), 1e-12, 'df 1')
      close(tTail(t, 2), 1 - t / Math.sqrt(2 + t * t), 1e-12, 'df 2')
    }),
  )
})

test('the incomplete beta function mirrors, and of whole numbers it is a binomial tail', () => {
  const parameter = fc.double({ min: 0.5, max: 40, noNaN: true })
  fc.assert(
    // multiples of 2^-20, so that 1 - x is exact
    fc.property(
      parameter,
      parameter,
      fc.integer({ min: 0, max: 2 ** 20 }).map(n => n / 2 ** 20),
      (a, b, x) => close(incompleteBeta(a, b, x) + incompleteBeta(b, a, 1 - x), 1, 1e-10),
    ),
  )
  const choose = (n: number, k: number): number => (k === 0 ? 1 : (choose(n - 1, k - 1) * n) / k)
  // DLMF 8.17.5: I_x(m, n - m + 1) = sum over j >= m of C(n, j) x^j (1 - x)^(n - j)
  for (const x of [0.1, 0.5, 0.83]) {
    let tail = 0
    for (let j = 3; j <= 7; j++) tail += choose(7, j) * x ** j * (1 - x) ** (7 - j)
    close(incompleteBeta(3, 5, x), tail, 1e-13)
  }
})

test("Student's own data give his t: the sleep of ten patients", () => {
  // Student 1908, "The probable error of a mean": differences of two drugs; R's t.test(sleep) prints p = 0.00283,
  // the interval 0.7001 to 2.4599 and the mean 1.58
  const sleep = [1.2, 2.4, 1.3, 1.3, 0, 1.0, 1.8, 0.8, 4.6, 1.4]
  const result = paired(sleep, 0.95)
  close(result.mean, 1.58, 1e-12)
  close(result.p ?? 0, 0.00283, 5e-6)
  const [low, high] = result.interval ?? [0, 0]
  close(low, 0.7001, 1e-4)
  close(high, 2.4599, 1e-4)
})

test('equal samples: no difference, and p is 1; one pair has no interval', () => {
  const none = paired([0, 0, 0])
  assert.deepEqual([none.p, none.signFlip, none.interval], [1, 1, [0, 0]])
  const one = paired([2])
  assert.deepEqual([one.n, one.mean, one.interval, one.p, one.signFlip], [1, 2, null, null, 1])
})

test('the sign-flip test counts by hand, and n pairs give no p below 2 / 2^n', () => {
  // of 8 signings of 1, 2, 3 only + + + and - - - reach a sum of 6
  assert.equal(signFlipTest([1, 2, 3]), 2 / 8)
  // of 1, -2, 3, seen is 2: sums are 6, 4, 2, 0, 0, -2, -4, -6
  assert.equal(signFlipTest([1, -2, 3]), 6 / 8)
  assert.equal(signFlipTest([0.3, 0.2, 0.9, 0.1, 0.4]), 0.0625)
  fc.assert(
    fc.property(fc.array(fc.double({ min: -1, max: 1, noNaN: true }), { minLength: 1, maxLength: 8 }), d => {
      const p = signFlipTest(d)
      assert(p >= 2 / 2 ** d.length && p <= 1)
      assert.equal(signFlipTest(d.map(x => -x)), p)
    }),
  )
})

test("Holm's correction is worked by hand, never below the p-value, and keeps the order", () => {
  assert.deepEqual(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
  assert.deepEqual(holm([]), [])
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 8 }), ps => {
      const adjusted = holm(ps)
      ps.forEach((p, i) => {
        assert(adjusted[i] >= p && adjusted[i] <= 1)
        assert(ps.every((q, j) => p > q || adjusted[i] <= adjusted[j]))
      })
    }),
  )
})

test('the interval covers the true mean as often as it says', () => {
  // 2,000 samples of 5 normals by Box and Muller from a fixed sequence; binomial deviation of 0.95 is 0.005
  let seed = 1
  const uniform = (): number => {
    seed = (seed * 48271) % 2147483647
    return seed / 2147483647
  }
  const normal = (): number => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform())
  let covered = 0
  for (let i = 0; i < 2000; i++) {
    const xs = Array.from({ length: 5 }, () => 3 + 2 * normal())
    const [low, high] = paired(xs, 0.95).interval ?? [0, 0]
    if (low <= 3 && 3 <= high) covered++
  }
  close(covered / 2000, 0.95, 0.02)
  close(deviation([1, 3]), Math.SQRT2, 1e-15)
  assert.equal(mean([1, 2, 6]), 3)
})
