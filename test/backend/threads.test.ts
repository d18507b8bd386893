import assert from 'node:assert/strict'
import { test } from 'node:test'
import { grad } from '../../src/autodiff/grad.ts'
import { compile, unwrap } from '../../src/backend/compile.ts'
import { array, type NDArray } from '../../src/dsl/array.ts'
import * as b from '../../src/dsl/build.ts'
import { relu } from '../../src/dsl/ops/activation.ts'
import { conv2d } from '../../src/dsl/ops/conv.ts'
import { softmax } from '../../src/dsl/ops/softmax.ts'
import type { Tensor } from '../../src/dsl/tensor.ts'
import { key, uniformAt } from '../../src/dsl/threefry.ts'
import { openBackend } from '../../src/node.ts'

type Images = Tensor<readonly [number, number, number, number], 'f32'>
const values = (seed: number, shape: readonly number[]): NDArray =>
  array(
    shape,
    'f32',
    Array.from({ length: shape.reduce((x, y) => x * y, 1) }, (_, i) => 2 * uniformAt(key(seed), i) - 1),
  )
/** Convolutions, a softmax and reductions, each large enough for several threads. */
const f = (p: { readonly w: Tensor; readonly v: Tensor }, x: Tensor) => {
  const loss = (q: typeof p) => {
    const h = relu(conv2d(x as Images, q.w as Images, { padding: 1 }) as Images)
    const y = softmax(conv2d(h, q.v as Images, { padding: 1, stride: 2 }) as Images, { axis: 1 })
    return b.mean(b.mul(y, y))
  }
  return { loss: loss(p), gradient: grad(loss)(p) }
}
const args = [
  { w: values(1, [16, 8, 3, 3]), v: values(2, [16, 16, 3, 3]) },
  values(3, [4, 8, 48, 48]),
] as const
const run = async (threads: number, times: number) => {
  const backend = await unwrap(openBackend('cpu', { threads }))
  const exe = await unwrap(compile(f, args, backend))
  const results: Awaited<ReturnType<typeof exe>>[] = []
  for (let i = 0; i < times; i++) results.push(await exe(...args))
  backend.close()
  return results
}

test('the number of threads changes no bit, whoever runs which part', async () => {
  const [one] = await run(1, 1)
  for (const threads of [2, 3, 5])
    for (const many of await run(threads, 8)) {
      assert.deepEqual(many.loss.data, one.loss.data)
      assert.deepEqual(many.gradient.w.data, one.gradient.w.data)
      assert.deepEqual(many.gradient.v.data, one.gradient.v.data)
    }
})
