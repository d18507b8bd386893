import assert from 'node:assert/strict'
import test from 'node:test'
import { valueAndGrad } from '../../src/autodiff/grad.ts'
import { type Layout, layOut } from '../../src/backend/cpu/blocks.ts'
import { emitter } from '../../src/backend/cpu/emit.ts'
import { iterations, makeNest } from '../../src/backend/cpu/nest.ts'
import { chooseSchedule } from '../../src/backend/cpu/schedule.ts'
import { makeValues } from '../../src/backend/cpu/values.ts'
import type { Kernel, Schedule } from '../../src/backend/kernel.ts'
import { planGraph } from '../../src/backend/pipeline.ts'
import type { Dispatch } from '../../src/backend/plan.ts'
import { conv2d } from '../../src/dsl/ops/conv.ts'
import { trace } from '../../src/dsl/trace.ts'
import { matmul, mul, relu, spec, sum, type Tensor, transpose } from '../../src/index.ts'
import { randomData, seeded } from './random-kernel.ts'
import { agrees, runWasm } from './run-kernel.ts'

type Shape = readonly number[]
type Floats = Tensor<Shape, 'f32'>

/** The sums of products among the kernels of a function. */
function contractions(
  fn: (...xs: readonly Floats[]) => unknown,
  shapes: readonly Shape[],
): readonly Dispatch[] {
  const { graph } = trace(fn as never, shapes.map(s => spec(s, 'f32')) as never)
  return planGraph(graph, k => chooseSchedule(k)).steps.filter(
    ({ kernel: k }) => k.accumulators.length > 0 && k.body.filter(x => x.k === 'load').length > 1,
  )
}

/** A product of matrices, the second transposed or not. */
const product = (transposed: boolean, m: number, k: number, n: number) =>
  contractions((a, b) => matmul(a, transposed ? transpose(b) : b), [[m, k], transposed ? [n, k] : [k, n]])

/** A convolution after relu, and all its gradients: the input's has an epilogue. */
const convolution = (n: number, from: number, to: number, h: number, w: number, dilation = 1) =>
  contractions(
    (x, k, g) =>
      valueAndGrad(([x, k]: readonly [Floats, Floats]) =>
        sum(mul(conv2d(relu(x), k, { padding: dilation, dilation }), g)),
      )([x, k]),
    [
      [n, from, h, w],
      [to, from, 3, 3],
      [n, to, h, w],
    ],
  )

const layoutOf = (k: Kernel, s: Schedule, block: number): Layout => {
  const nest = makeNest(k, s, block)
  return layOut(makeValues(k, emitter(k.buffers.length + 3), nest, 0), nest)
}

test('sums in blocks agree with the interpreter: products, convolutions and their gradients, packed and not', () => {
  const steps = [
    ...product(false, 36, 50, 41),
    ...product(true, 36, 50, 41),
    ...product(true, 70, 33, 9),
    ...product(false, 70, 60, 260),
    ...convolution(2, 6, 8, 9, 16),
    ...convolution(1, 13, 7, 6, 11, 2),
    ...convolution(2, 30, 9, 4, 8),
    ...convolution(1, 29, 17, 5, 9),
  ]
  const others: readonly Schedule[] = [
    { vector: 0, tiles: [{ axis: 1, size: 4 }] },
    { vector: 1, tiles: [{ axis: 0, size: 3 }] },
    { vector: 3, tiles: [{ axis: 1, size: 2 }] },
  ]
  const draw = seeded(7)
  const seen = { blocks: 0, lanes: 0, elements: 0 }
  for (const { kernel, schedule } of steps) {
    // whole numbers below 5: sums are exact in any order
    const data = kernel.buffers.map(b => randomData(draw, b.dtype, b.size, false).map(Math.round))
    for (const s of [schedule, ...others])
      for (const block of [8, 20]) {
        const { blocks, packing } = layoutOf(kernel, s, block)
        if (blocks === null) continue
        seen.blocks++
        if (packing?.unit === 16) seen.lanes++
        if (packing?.unit === 4) seen.elements++
        agrees(kernel, data, [s], () => 0, [block])
      }
  }
  assert.ok(seen.blocks > 50 && seen.lanes > 10 && seen.elements > 1, JSON.stringify(seen))
})

test('a sum in blocks has the bits of its terms added in order, a block of 512 at a time', () => {
  const [m, k, n] = [64, 1500, 40]
  const [{ kernel, schedule }] = contractions(
    (a, b) => matmul(a, b),
    [
      [m, k],
      [k, n],
    ],
  )
  assert.notEqual(layoutOf(kernel, schedule, 512).blocks, null)
  const draw = seeded(11)
  const data = kernel.buffers.map(b => Float32Array.from({ length: b.size }, () => draw(-1000, 1000) / 997))
  const [a, b] = data
  const { fround } = Math
  const expected = Float32Array.from({ length: m * n }, (_, at) => {
    const [row, column] = [Math.floor(at / n), at % n]
    let total = 0
    for (let from = 0; from < k; from += 512) {
      let part = 0
      for (let i = from; i < Math.min(k, from + 512); i++)
        part = fround(part + fround(a[row * k + i] * b[i * n + column]))
      total = fround(total + part)
    }
    return total
  })
  const found = runWasm(kernel, schedule, data)
  assert.deepEqual(found[kernel.stores[0].buffer], expected)
})

test('a convolution of few images has slices for many threads', () => {
  const [{ kernel, schedule }] = convolution(4, 64, 176, 15, 20)
  const { nest, range } = layoutOf(kernel, schedule, 512)
  const sliced = nest.parallel.slice(range.first, range.first + range.count)
  assert.ok(sliced.reduce((n, l) => n * iterations(l), 1) >= 32, JSON.stringify({ nest, range }))
})
