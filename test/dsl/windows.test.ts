/** Convolutions and pools against their defining sums, and their laws. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { conv2d, convTranspose2d } from '../../src/dsl/ops/conv.ts'
import { mul } from '../../src/dsl/ops/elementwise.ts'
import { matmul } from '../../src/dsl/ops/linalg.ts'
import { adaptiveAvgPool2d, adaptiveMaxPool2d, avgPool2d, maxPool2d, unfold } from '../../src/dsl/ops/pool.ts'
import { sum } from '../../src/dsl/ops/reduce.ts'
import { reshape } from '../../src/dsl/ops/shape.ts'
import { range } from '../../src/dsl/shape.ts'
import { scope, tensor } from '../../src/dsl/tensor.ts'
import { elements, gradientOf, near, random, reader, values } from '../support/oracle.ts'

const runs = { numRuns: 40 }

const convolutions = fc.record({
  groups: fc.integer({ min: 1, max: 2 }),
  cin: fc.integer({ min: 1, max: 2 }),
  cout: fc.integer({ min: 1, max: 2 }),
  h: fc.integer({ min: 3, max: 6 }),
  k: fc.integer({ min: 1, max: 3 }),
  stride: fc.integer({ min: 1, max: 3 }),
  dilation: fc.integer({ min: 1, max: 2 }),
  top: fc.integer({ min: 1, max: 2 }),
  bottom: fc.integer({ min: 1, max: 2 }),
  seed: fc.nat(),
})

test('conv2d is its defining sum, for every stride, dilation, group and padding', () => {
  fc.assert(
    fc.property(convolutions, ({ groups, cin, cout, h, k, stride, dilation, top, bottom, seed }) => {
      const x = random([2, groups * cin, h, h + 1], seed)
      const w = random([groups * cout, cin, k, 2], seed + 1)
      const bias = random([groups * cout], seed + 2)
      const y = conv2d(x, w, {
        stride,
        dilation,
        groups,
        padding: [
          [top, bottom],
          [0, 1],
        ],
        bias,
      })
      const [p, q, b] = [reader(x), reader(w), reader(bias)]
      const rows = Math.floor((h + top + bottom - dilation * (k - 1) - 1) / stride) + 1
      assert.deepEqual(y.shape.slice(0, 3), [2, groups * cout, rows])
      const at = ([n, o, i, j]: readonly number[]) => {
        const first = Math.floor(o / cout) * cin
        let t = b(o)
        for (let c = 0; c < cin; c++)
          for (let u = 0; u < k; u++)
            for (let v = 0; v < 2; v++)
              t += p(n, first + c, stride * i + dilation * u - top, stride * j + dilation * v) * q(o, c, u, v)
        return t
      }
      near(values(y), elements(y.shape, at))
    }),
    runs,
  )
})

test('convTranspose2d is the adjoint of conv2d with the same kernel', () => {
  fc.assert(
    fc.property(convolutions, ({ groups, cin, cout, h, k, stride, dilation, seed }) => {
      const w = random([groups * cout, cin, k, k], seed)
      const options = { stride, dilation, groups, padding: Math.min(1, k - 1) }
      const x = random([1, groups * cin, h + 3, h + 3], seed + 1)
      const y = conv2d(x, w, options)
      const dy = random(y.shape, seed + 2)
      const room = h + 3 + 2 * options.padding - dilation * (k - 1) - 1
      const back = convTranspose2d(dy, w, { ...options, outputPadding: room % stride })
      assert.deepEqual(back.shape, x.shape)
      near(values(sum(mul(y, dy))), values(sum(mul(x, back))), 1e-11)
    }),
    runs,
  )
})

test('the padding `same` keeps ceil(n / stride)', () => {
  for (const [n, s] of [
    [5, 1],
    [5, 2],
    [6, 2],
    [7, 3],
  ])
    assert.deepEqual(
      conv2d(random([1, 1, n, n], 0), random([1, 1, 3, 2], 0), { padding: 'same', stride: s }).shape.slice(2),
      [Math.ceil(n / s), Math.ceil(n / s)],
    )
})

test('unfold’s columns times the kernel’s rows are the convolution', () => {
  const [x, w] = [random([2, 3, 6, 5], 1), random([4, 3, 3, 2], 2)]
  const columns = unfold(x, { kernel: [3, 2], stride: 2, padding: 1 })
  const y = matmul(reshape(w, [4, 18]), columns)
  near(values(y), values(conv2d(x, w, { stride: 2, padding: 1 })))
})

test('pools are the maximum and mean of their windows', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 3, max: 6 }),
      fc.integer({ min: 2, max: 3 }),
      fc.integer({ min: 1, max: 3 }),
      fc.integer({ min: 0, max: 1 }),
      fc.nat(),
      (h, kernel, stride, padding, seed) => {
        const x = random([2, 2, h, h], seed)
        const read = reader(x)
        const window = ([n, c, i, j]: readonly number[]) =>
          range(kernel * kernel)
            .map(t => [stride * i + Math.floor(t / kernel) - padding, stride * j + (t % kernel) - padding])
            .filter(([a, b]) => a >= 0 && b >= 0 && a < h && b < h)
            .map(([a, b]) => read(n, c, a, b))
        const options = { kernel, stride, padding }
        const y = maxPool2d(x, options)
        const total = (l: readonly number[]) => l.reduce((t, v) => t + v, 0)
        near(
          values(y),
          elements(y.shape, i => Math.max(...window(i))),
        )
        near(
          values(avgPool2d(x, options)),
          elements(y.shape, i => total(window(i)) / kernel ** 2),
        )
        near(
          values(avgPool2d(x, { ...options, countIncludePad: false })),
          elements(y.shape, i => total(window(i)) / window(i).length),
        )
      },
    ),
    runs,
  )
})

test('the gradient of maxPool2d goes to the first maximum of a window', () => {
  const x = tensor([
    [
      [
        [1, 5, 5, 2],
        [5, 5, 2, 2],
      ],
    ],
  ])
  assert.deepEqual(
    gradientOf(t => maxPool2d(t, 2), x),
    [0, 1, 1, 0, 0, 0, 0, 0],
  )
})

test('adaptive pools are the maximum and mean of PyTorch’s cells', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 7 }), fc.integer({ min: 1, max: 7 }), fc.nat(), (h, out, seed) => {
      const x = random([1, 2, h, 5], seed)
      const read = reader(x)
      const span = (i: number, n: number, o: number) =>
        range(n).filter(a => a >= Math.floor((i * n) / o) && a < Math.ceil(((i + 1) * n) / o))
      const cell = ([n, c, i, j]: readonly number[]) =>
        span(i, h, out).flatMap(a => span(j, 5, 3).map(b => read(n, c, a, b)))
      const shape = [1, 2, out, 3]
      near(
        values(adaptiveAvgPool2d(x, [out, 3])),
        elements(shape, i => cell(i).reduce((t, v) => t + v, 0) / cell(i).length),
      )
      near(
        values(adaptiveMaxPool2d(x, [out, 3])),
        elements(shape, i => Math.max(...cell(i))),
      )
    }),
    runs,
  )
})

test('what a derived operation is made of carries its name', () => {
  const y = scope('net', () => maxPool2d(random([1, 1, 2, 2], 0), 2))
  assert.equal(y.eqn.scope, 'net / maxPool2d')
})
