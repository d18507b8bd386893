/** The derived operations against direct evaluations of their formulas, and their laws; the reference interpreter runs them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { pipe } from 'fp-ts/lib/function.js'
import { ShapeError } from '../../src/dsl/errors.ts'
import { conv2d } from '../../src/dsl/ops/conv.ts'
import { add, clamp, div, greater, less, mul, pow, rem, sub, where } from '../../src/dsl/ops/elementwise.ts'
import { argsort, eye, gather, oneHot, scatterAdd, sort, take, topk } from '../../src/dsl/ops/index.ts'
import { attention, einsum, matmul } from '../../src/dsl/ops/linalg.ts'
import {
  all,
  any,
  argmax,
  cumsum,
  logsumexp,
  max,
  norm,
  std,
  sum,
  variance,
} from '../../src/dsl/ops/reduce.ts'
import {
  concat,
  flip,
  pad,
  permute,
  repeat,
  reshape,
  roll,
  slice,
  split,
  stack,
  tile,
  transpose,
  tril,
  triu,
} from '../../src/dsl/ops/shape.ts'
import { range, type Shape } from '../../src/dsl/shape.ts'
import { constant, scope, type Tensor, tensor } from '../../src/dsl/tensor.ts'
import { elements, gradientOf, ints, near, random, reader, values } from '../support/oracle.ts'

const extent = fc.integer({ min: 1, max: 5 })
const shapes = fc.array(extent, { minLength: 1, maxLength: 4 })
const runs = { numRuns: 40 }

test('data-last is data-first with the operand in front', () => {
  const x = tensor([1, 2, 3])
  assert.deepEqual(values(pipe(x, sub(1), div(2), pow(2))), [0, 0.25, 1])
  assert.deepEqual(values(pipe(x, less(2), where(10, x))), [10, 2, 3])
  assert.deepEqual(values(pipe(tensor([[1, 2]]), transpose, matmul(tensor([[3]])))), [3, 6])
  assert.deepEqual(values(pipe(x, sum)), values(sum()(x)))
  assert.deepEqual(values(pipe([x, x], concat({ axis: 0 }))), [1, 2, 3, 1, 2, 3])
})

test('a number takes its neighbour’s dtype, two numbers in where are f32', () => {
  assert.equal(add(1, ints([2], [1, 2])).dtype, 'i32')
  assert.equal(where(greater(tensor([1, 2]), 1), 0, 1).dtype, 'f32')
})

test('rem has the sign of the dividend, for floats as for integers', () => {
  assert.deepEqual(values(rem(tensor([-5, 5.5]), 3)), [-2, 2.5])
  assert.deepEqual(values(rem(ints([2], [-5, 5]), 3)), [-2, 2])
})

test('clamp keeps NaN, and its gradient is 1 at the bounds and 0 outside', () => {
  const x = tensor([-1, 0, 3, 6, 7, Number.NaN])
  assert.deepEqual(values(clamp(x, { min: 0, max: 6 })), [0, 0, 3, 6, 6, Number.NaN])
  assert.deepEqual(gradientOf(t => clamp(t, { min: 0, max: 6 }), x).slice(0, 5), [0, 1, 1, 1, 0])
})

test('errors name the operation that the user wrote, both operands and the place', () => {
  const bad = (f: () => unknown, text: string) =>
    assert.throws(f, (e: unknown) => e instanceof ShapeError && e.message === text)
  const x: Tensor = random([8, 16, 4, 4], 0)
  bad(
    () => scope('segnet / block3', () => conv2d(x, random([64, 32, 3, 3], 1))),
    [
      'conv2d: the input has 16 channels, the kernel expects 32',
      '  input   f64[8, 16, 4, 4]  [batch, channels, height, width]',
      '  kernel  f64[64, 32, 3, 3]  [out, in / groups, kh, kw], groups 1',
      '  while tracing segnet / block3',
    ].join('\n'),
  )
  bad(
    () => greater(x, random([3], 0) as Tensor),
    'greater: the shapes do not broadcast: 4 against 3 on axis -1\n  [8, 16, 4, 4]\n  [3]',
  )
  bad(
    () => matmul(random([2, 3], 0), random([2, 3], 0)),
    'matmul: the inner extents differ: 3 and 2\n  x  f64[2, 3]  [..., rows, inner]\n  y  f64[2, 3]  [..., inner, columns]',
  )
})

test('slice is Python’s slice on every axis', () => {
  const entry = fc.integer({ min: -7, max: 7 })
  fc.assert(
    fc.property(extent, entry, entry, fc.integer({ min: 1, max: 3 }), (n, start, stop, step) => {
      const list = range(n).slice(start, stop)
      const got = slice(ints([1, n], range(n)), { starts: [0, start], stops: [1, stop], steps: [1, step] })
      assert.deepEqual(
        values(got),
        list.filter((_, i) => i % step === 0),
      )
    }),
  )
})

test('concat undoes split', () => {
  fc.assert(
    fc.property(shapes, fc.nat(), fc.nat(), (shape, a, cut) => {
      const axis = a % shape.length
      const first = cut % (shape[axis] + 1)
      const x = random(shape, cut)
      const parts = split(x, { axis, sizes: [first, shape[axis] - first] })
      assert.deepEqual(values(concat(parts, { axis })), values(x))
    }),
    runs,
  )
})

test('pad reads x at the clamped index at an edge, at the mirrored one when reflecting, else the value', () => {
  const widths = fc.tuple(fc.integer({ min: 0, max: 2 }), fc.integer({ min: 0, max: 2 }))
  const at = {
    edge: (i: number, n: number) => Math.min(Math.max(i, 0), n - 1),
    reflect: (i: number, n: number) => n - 1 - Math.abs(n - 1 - Math.abs(i)),
    constant: (i: number) => i,
  }
  fc.assert(
    fc.property(
      fc.constantFrom('edge' as const, 'reflect' as const, 'constant' as const),
      widths,
      widths,
      fc.nat(),
      (mode, p, q, seed) => {
        const x = random([3, 4], seed)
        const read = reader(sub(x, 9))
        const got = pad(x, { widths: [p, q], mode, value: 9 })
        const want = elements(got.shape, ([i, j]) => 9 + read(at[mode](i - p[0], 3), at[mode](j - q[0], 4)))
        near(values(got), want)
      },
    ),
    runs,
  )
})

test('stack, permute, flip, roll, tile, repeat, triu and tril move elements by their index formulas', () => {
  fc.assert(
    fc.property(extent, extent, fc.integer({ min: -6, max: 6 }), fc.nat(), (n, m, k, seed) => {
      const x = random([n, m], seed)
      const read = reader(x)
      const matches = (y: Tensor, f: (index: readonly number[]) => number) =>
        assert.deepEqual(values(y), elements(y.shape, f))
      matches(stack([x, x], { axis: 1 }), ([i, , j]) => read(i, j))
      matches(permute(x, [1, 0]), ([i, j]) => read(j, i))
      matches(flip(x, 1), ([i, j]) => read(i, m - 1 - j))
      matches(roll(x, { shift: k, axis: 1 }), ([i, j]) => read(i, (((j - k) % m) + m) % m))
      matches(tile(x, [2, 3]), ([i, j]) => read(i % n, j % m))
      matches(repeat(x, { times: 2, axis: 0 }), ([i, j]) => read(Math.floor(i / 2), j))
      matches(triu(x, k), ([i, j]) => (j - i >= k ? read(i, j) : 0))
      matches(tril(x, k), ([i, j]) => (j - i <= k ? read(i, j) : 0))
    }),
    runs,
  )
})

test('variance does not cancel: of a constant 1e4 apart from noise it is the noise’s', () => {
  const noise = [0, 0.25, 0.5, 0.75]
  const x = tensor(noise.map(v => 1e4 + v))
  // exact in f32: the values are multiples of 2^-2 and their mean is too fine by 2^-3, which f32 still has
  assert.deepEqual(values(variance(x)), [0.078125])
  near(values(variance(x, { correction: 1 })), [0.078125 * (4 / 3)], 1e-6)
})

test('std and norm have the gradient 0 where they are 0', () => {
  assert.deepEqual(
    gradientOf(t => std(t), tensor([2, 2, 2])),
    [0, 0, 0],
  )
  for (const ord of [1, 2, Number.POSITIVE_INFINITY])
    assert.deepEqual(
      gradientOf(t => norm(t, { ord }), tensor([0, 0])),
      [0, 0],
      `ord ${ord}`,
    )
})

test('logsumexp holds at large arguments, rows of -inf and beside +inf', () => {
  const inf = Number.POSITIVE_INFINITY
  const x = tensor(
    [
      [-inf, -inf],
      [1000, 1000],
      [inf, 1],
      [Number.NaN, 1],
      [-inf, 3],
    ],
    'f64',
  )
  near(values(logsumexp(x, { axes: 1 })), [-inf, 1000 + Math.log(2), inf, Number.NaN, 3], 1e-14)
  assert.deepEqual(
    gradientOf(
      t => logsumexp(t, { axes: 1 }),
      tensor([
        [-inf, -inf],
        [1000, 1000],
      ]),
    ),
    [0, 0, 0.5, 0.5],
  )
})

test('reductions of no elements: sum 0, all true, any false, max an error', () => {
  const none = constant([0], 'f32', new Float32Array(0))
  assert.deepEqual([sum(none), all(none), any(none)].flatMap(values), [0, 1, 0])
  assert.throws(() => max(none), ShapeError)
})

test('argmax is the first maximum, and a NaN is one', () => {
  assert.deepEqual(
    values(
      argmax(
        tensor([
          [1, 3, 3],
          [1, Number.NaN, 5],
        ]),
        { axis: 1 },
      ),
    ),
    [1, 1],
  )
})

test('cumsum is the sum of the elements up to each', () => {
  fc.assert(
    fc.property(shapes, fc.nat(), fc.nat(), (shape, a, seed) => {
      const x = random(shape, seed)
      const axis = a % shape.length
      const read = reader(x)
      const upTo = (index: readonly number[]) =>
        range(index[axis] + 1).reduce((t, k) => t + read(...index.map((i, b) => (b === axis ? k : i))), 0)
      near(values(cumsum(x, axis)), elements(shape, upTo))
    }),
    runs,
  )
})

test('matmul is the triple sum, its batches broadcast, vectors are rows and columns', () => {
  fc.assert(
    fc.property(extent, extent, extent, fc.boolean(), fc.nat(), (n, k, m, left, seed) => {
      const x = random(left ? [1, 3, n, k] : [2, 1, n, k], seed)
      const y = random([left ? 2 : 1, 3, k, m], seed + 1)
      const [p, q] = [reader(x), reader(y)]
      const got = matmul(x, y)
      assert.deepEqual(got.shape, [2, 3, n, m])
      const dot = ([a, b, i, j]: readonly number[]) =>
        range(k).reduce((t, r) => t + p(left ? 0 : a, left ? b : 0, i, r) * q(left ? a : 0, b, r, j), 0)
      near(values(got), elements(got.shape, dot))
    }),
    runs,
  )
  assert.deepEqual(
    values(
      matmul(
        tensor([1, 2]),
        tensor([
          [1, 2],
          [3, 4],
        ]),
      ),
    ),
    [7, 10],
  )
  assert.deepEqual(
    values(
      matmul(
        tensor([
          [1, 2],
          [3, 4],
        ]),
        tensor([1, 2]),
      ),
    ),
    [5, 11],
  )
  assert.deepEqual(values(matmul(tensor([1, 2]), tensor([3, 4]))), [11])
})

test('einsum sums lone indices, joins from the left and orders its result', () => {
  const [x, y, z] = [random([2, 3], 1), random([3, 4], 2), random([4], 3)]
  near(values(einsum('ij,jk,k->i', x, y, z)), values(matmul(matmul(x, y), z)))
  near(values(einsum('ij->ji', x)), values(transpose(x)))
  near(
    values(einsum('ij, kl -> ik', x, y)),
    values(mul(reshape(sum(x, { axes: 1 }), [2, 1]), sum(y, { axes: 1 }))),
  )
  near(values(einsum('ij,jk', x, y)), values(matmul(x, y)))
  assert.throws(() => einsum('ii->i', random([2, 2], 0)), /twice/)
})

test('causal attention ignores later keys and values', () => {
  const [q, k, v] = [1, 2, 3].map(s => random([2, 3, 4], s))
  const later = where(less(ints([3, 1], [0, 1, 2]), 2), v, 77) as Tensor<Shape, 'f64'>
  const first = (y: Tensor) => values(slice(y, { stops: [2, 2] }))
  assert.deepEqual(
    first(attention(q, k, v, { causal: true })),
    first(attention(q, k, later, { causal: true })),
  )
  near(
    values(attention(q, mul(k, 0), v)),
    values(add(mul(v, 0), div(sum(v, { axes: 1, keepdims: true }), 3))),
  )
})

test('take is gather with one index for all, and oneHot its matrix', () => {
  const x = random([4, 3], 1)
  const index = ints([5], [3, 0, 0, 2, 1])
  const wide = ints(
    [5, 3],
    [3, 0, 0, 2, 1].flatMap(i => [i, i, i]),
  )
  assert.deepEqual(values(take(x, index)), values(gather(x, wide)))
  assert.deepEqual(values(take(x, index)), values(matmul(oneHot(index, 4, 'f64'), x)))
  assert.deepEqual(values(oneHot(ints([3], [0, 1, 2]), 3)), values(eye(3)))
})

test('gather and scatterAdd are adjoint, also for an index smaller than x', () => {
  fc.assert(
    fc.property(extent, extent, extent, fc.nat(), (n, m, k, seed) => {
      const x = random([n, m], seed)
      const rows = 1 + (seed % n)
      const index = ints(
        [rows, k],
        range(rows * k).map(i => (i * 7 + seed) % m),
      )
      const dy = random([rows, k], seed + 1)
      const back = scatterAdd(mul(x, 0), index, dy, { axis: 1 })
      near(values(sum(mul(gather(x, index, { axis: 1 }), dy))), values(sum(mul(x, back))))
    }),
    runs,
  )
})

test('sort is JavaScript’s stable sort with NaN as the largest, both ways, on any axis', () => {
  const element = fc.oneof(
    fc.integer({ min: -2, max: 2 }),
    fc.constant(Number.NaN),
    fc.constant(Number.POSITIVE_INFINITY),
  )
  const compare = (a: number, b: number) =>
    Number.isNaN(a) || Number.isNaN(b)
      ? Number(Number.isNaN(a)) - Number(Number.isNaN(b))
      : a === b
        ? 0
        : a - b
  fc.assert(
    fc.property(fc.array(element, { minLength: 1, maxLength: 8 }), fc.boolean(), (list, descending) => {
      const x = tensor(list)
      const want = range(list.length).sort((i, j) => (descending ? -1 : 1) * compare(list[i], list[j]))
      assert.deepEqual(values(argsort(x, { descending })), want)
      const both = sort(stack([x, x], { axis: 1 }), { axis: 0, descending })
      assert.deepEqual(
        values(both.values),
        want.flatMap(i => [list[i], list[i]]),
      )
      if (descending) assert.deepEqual(values(topk(x, { k: 1 }).indices), [want[0]])
    }),
    runs,
  )
})

test('a gradient flows through sort to where the values came from', () => {
  const weights = tensor([1, 10, 100])
  assert.deepEqual(
    gradientOf(t => mul(sort(t).values, weights), tensor([3, 1, 2])),
    [100, 1, 10],
  )
})
