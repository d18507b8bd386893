/** Resizing against a direct evaluation of the sampling formulas, and its laws. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { pipe } from 'fp-ts/lib/function.js'
import { grad } from '../../src/autodiff/grad.ts'
import { interpret } from '../../src/backend/cpu/reference.ts'
import { mul, sum } from '../../src/dsl/build.ts'
import { makeGraph } from '../../src/dsl/graph.ts'
import { resizeBicubic, resizeBilinear, resizeNearest } from '../../src/dsl/ops/resize.ts'
import { constant, type Tensor } from '../../src/dsl/tensor.ts'
import { key, uniformAt } from '../../src/dsl/threefry.ts'

const valuesOf = (t: Tensor): number[] => Array.from(interpret(makeGraph([], [t]), [])[0].data)
const noise = (seed: number, n: number): number[] =>
  Array.from({ length: n }, (_, i) => 4 * uniformAt(key(seed), i) - 2)
const images = <const S extends readonly [number, number, number, number]>(
  shape: S,
  data: readonly number[],
) => constant(shape, 'f64', Float64Array.from(data))
// 1e-12: sums of at most 16 products of numbers below 10
const near = (got: readonly number[], want: readonly number[], tolerance = 1e-12): void => {
  assert.equal(got.length, want.length)
  got.forEach((y, i) => {
    assert.ok(
      Math.abs(y - want[i]) <= tolerance * (1 + Math.abs(want[i])),
      `element ${i}: ${y}, expected ${want[i]}`,
    )
  })
}
const extent = fc.integer({ min: 1, max: 9 })
const sizes = fc.record({
  h: extent,
  w: extent,
  toH: extent,
  toW: extent,
  align: fc.boolean(),
  seed: fc.nat(),
})

const source = (o: number, from: number, to: number, align: boolean): number =>
  align ? (to > 1 ? (o * (from - 1)) / (to - 1) : 0) : (from / to) * (o + 0.5) - 0.5
const hat = (d: number): number => Math.max(0, 1 - Math.abs(d))
/** Keys' kernel with a = -0.75, in the form of the paper. */
function keys(d: number): number {
  const t = Math.abs(d)
  const a = -0.75
  if (t <= 1) return (a + 2) * t ** 3 - (a + 3) * t ** 2 + 1
  return t < 2 ? a * t ** 3 - 5 * a * t ** 2 + 8 * a * t - 4 * a : 0
}
/** Sums kernel(source - i) x[edge(i)] over a wide range of i, edges repeated: no matrix, no taps. */
function sampled(
  x: readonly number[],
  p: { h: number; w: number; toH: number; toW: number; align: boolean },
  kernel: (d: number) => number,
): number[] {
  const edge = (i: number, n: number) => Math.min(Math.max(i, 0), n - 1)
  const out: number[] = []
  for (let a = 0; a < p.toH; a++)
    for (let b = 0; b < p.toW; b++) {
      const [y0, x0] = [source(a, p.h, p.toH, p.align), source(b, p.w, p.toW, p.align)]
      let acc = 0
      for (let i = -4; i < p.h + 4; i++)
        for (let j = -4; j < p.w + 4; j++)
          acc += kernel(y0 - i) * kernel(x0 - j) * x[edge(i, p.h) * p.w + edge(j, p.w)]
      out.push(acc)
    }
  return out
}

for (const [name, f, kernel] of [
  ['resizeBilinear', resizeBilinear, hat],
  ['resizeBicubic', resizeBicubic, keys],
] as const) {
  test(`${name} samples with its kernel at PyTorch's coordinates`, () => {
    fc.assert(
      fc.property(sizes, p => {
        const data = noise(p.seed, p.h * p.w)
        const y = f(images([1, 1, p.h, p.w], data), { size: [p.toH, p.toW], alignCorners: p.align })
        near(valuesOf(y), sampled(data, p, kernel))
      }),
      { numRuns: 60 },
    )
  })

  test(`${name} keeps constants, and images of their own size`, () => {
    fc.assert(
      fc.property(sizes, p => {
        const x = images([1, 1, p.h, p.w], new Array(p.h * p.w).fill(3))
        near(
          valuesOf(f(x, { size: [p.toH, p.toW], alignCorners: p.align })),
          new Array(p.toH * p.toW).fill(3),
        )
        assert.equal(f(x, { size: [p.h, p.w] }), x)
      }),
      { numRuns: 20 },
    )
  })

  test(`the gradient of ${name} is its adjoint`, () => {
    fc.assert(
      fc.property(sizes, p => {
        const options = { size: [p.toH, p.toW], alignCorners: p.align } as const
        const x = images([2, 1, p.h, p.w], noise(p.seed, 2 * p.h * p.w))
        const y = images([2, 1, p.toH, p.toW], noise(p.seed + 1, 2 * p.toH * p.toW))
        const [direct] = valuesOf(sum(mul(f(x, options), y)))
        const pulled = grad((t: Tensor<readonly [2, 1, number, number], 'f64'>) =>
          sum(mul(f(t, options), y)),
        )(x)
        near(valuesOf(sum(mul(pulled, x))), [direct], 1e-11)
      }),
      { numRuns: 20 },
    )
  })
}

test('bilinear resizing with aligned corners reproduces a linear ramp', () => {
  const y = resizeBilinear(images([1, 1, 2, 3], [0, 1, 2, 10, 11, 12]), { size: [3, 5], alignCorners: true })
  near(valuesOf(y), [0, 0.5, 1, 1.5, 2, 5, 5.5, 6, 6.5, 7, 10, 10.5, 11, 11.5, 12])
})

test('resizeNearest takes the pixel at floor(o in / out), for any sizes and dtypes', () => {
  fc.assert(
    fc.property(sizes, p => {
      const data = noise(p.seed, 2 * p.h * p.w)
      const want = Array.from({ length: 2 * p.toH * p.toW }, (_, k) => {
        const [c, i, j] = [Math.floor(k / (p.toH * p.toW)), Math.floor(k / p.toW) % p.toH, k % p.toW]
        return data[(c * p.h + Math.floor((i * p.h) / p.toH)) * p.w + Math.floor((j * p.w) / p.toW)]
      })
      const size = [p.toH, p.toW] as const
      assert.deepEqual(valuesOf(resizeNearest(images([1, 2, p.h, p.w], data), { size })), want)
      const labels = constant(
        [1, 2, p.h, p.w],
        'i32',
        Int32Array.from(data, v => v * 100),
      )
      assert.deepEqual(
        valuesOf(resizeNearest(labels, { size })),
        want.map(v => (v * 100) | 0),
      )
    }),
    { numRuns: 60 },
  )
})

test('a resized image has its literal type, in a pipe too', () => {
  const x = constant([1, 2, 4, 4], 'f32', new Float32Array(32))
  const y: Tensor<readonly [1, 2, 8, 6], 'f32'> = pipe(x, resizeBilinear({ size: [8, 6] }))
  const z: Tensor<readonly [1, 2, 2, 2], 'f32'> = resizeNearest(y, { size: [2, 2] })
  assert.deepEqual(
    [y.shape, z.shape],
    [
      [1, 2, 8, 6],
      [1, 2, 2, 2],
    ],
  )
})

test('an impossible size is an error that names it', () => {
  const x = images([1, 1, 2, 2], [1, 2, 3, 4])
  for (const f of [resizeBilinear, resizeBicubic, resizeNearest])
    for (const size of [
      [0, 2],
      [2.5, 2],
    ] as const)
      assert.throws(() => f(x, { size }), /cannot resize f64\[1, 1, 2, 2\]/)
})
