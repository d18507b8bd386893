/** Which kernels become one, and which must not. What merged kernels compute is checked by every test of random programs. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { valueAndGrad } from '../../src/autodiff/grad.ts'
import { unwrap } from '../../src/backend/compile.ts'
import { planGraph } from '../../src/backend/pipeline.ts'
import { type Plan, printPlan } from '../../src/backend/plan.ts'
import { array } from '../../src/dsl/array.ts'
import { add, map, mul, neg, scalar, sub } from '../../src/dsl/build.ts'
import { matmul } from '../../src/dsl/ops/linalg.ts'
import { sum } from '../../src/dsl/ops/reduce.ts'
import { transpose } from '../../src/dsl/ops/shape.ts'
import type { Shape } from '../../src/dsl/shape.ts'
import { range, size } from '../../src/dsl/shape.ts'
import type { Tensor } from '../../src/dsl/tensor.ts'
import { trace } from '../../src/dsl/trace.ts'
import { sgd } from '../../src/nn/optim.ts'
import { openBackend } from '../../src/node.ts'
import { checkBackends } from '../../src/testing/check-backends.ts'

type F = (...xs: Tensor[]) => readonly Tensor[]
/** The kernels of a function of f32 arguments, after a check of its values on the CPU backend. */
async function kernels(f: F, ...shapes: Shape[]): Promise<Plan['steps']> {
  const args = shapes.map((s, k) =>
    array(
      s,
      'f32',
      range(size(s)).map(i => Math.sin(i + k)),
    ),
  )
  const backend = await unwrap(openBackend('cpu'))
  await checkBackends(f as never, args, [backend])
  backend.close()
  const { graph } = trace(f as never, args)
  return planGraph(graph, () => ({ vector: null, tiles: [] })).steps
}
const writes = (s: Plan['steps'][number]): number => s.kernel.stores.length

test('two maps over the same points are one kernel with two results', async () => {
  const steps = await kernels((x, y) => [map('exp', add(x, y)), map('sin', sub(x, y))], [40, 50], [40, 50])
  assert.deepEqual(steps.map(writes), [2])
})

test('two sums of one tensor over the same axes are one loop', async () => {
  const steps = await kernels(
    (x, y) => [sum(x, { axes: [1] }), sum(mul(x, y), { axes: [1] })],
    [300, 100],
    [300, 100],
  )
  assert.equal(steps.length, 1)
  assert.deepEqual([steps[0].kernel.accumulators.length, writes(steps[0])], [2, 2])
})

test('a map over stored results of a loop joins its epilogue', async () => {
  const steps = await kernels(
    (x, y) => {
      const m = matmul(x, y)
      return [m, map('tanh', m)]
    },
    [30, 40],
    [40, 50],
  )
  assert.deepEqual(steps.map(writes), [2])
})

test('the update of a weight and of its momentum has no kernel of its own', async () => {
  const optimiser = sgd({ momentum: 0.9, weightDecay: 1e-4 })
  const step: F = (x, w, m) => {
    const [, g] = valueAndGrad((p: Tensor) => sum(map('tanh', matmul(x, p))))(w)
    const state = { step: scalar(3, 'i32'), moments: [{ w: m }] }
    const next = optimiser.update({ w: g }, state, { w }, scalar(0.1, 'f32'))
    return [next.params.w, next.state.moments[0].w]
  }
  const alone: F = (x, w) => [valueAndGrad((p: Tensor) => sum(map('tanh', matmul(x, p))))(w)[1]]
  const shapes = [
    [64, 40],
    [40, 30],
    [40, 30],
  ] as const
  const [with_, without] = [await kernels(step, ...shapes), await kernels(alone, shapes[0], shapes[1])]
  assert.equal(with_.length, without.length)
})

test('what reads an earlier result at another place stays a kernel of its own', async () => {
  const f: F = x => {
    const y = map('exp', x)
    return [y, neg(map('sin', transpose(y)))]
  }
  assert.deepEqual((await kernels(f, [30, 30])).map(writes), [1, 1])
})

test('a reduction does not join the one whose result it needs', async () => {
  const f: F = x => {
    const mean = mul(sum(x, { axes: [1], keepdims: true }), 0.01)
    const d = sub(x, mean)
    return [mean, sum(mul(d, d), { axes: [1] })]
  }
  assert.equal((await kernels(f, [300, 100])).length, 2)
})

test('a printed plan names each kernel, its axes, its place and the reason', async () => {
  const { graph } = trace(((x: Tensor) => [map('exp', x), sum(x)]) as never, [
    array([8], 'f32', new Float32Array(8)),
  ])
  const text = printPlan(planGraph(graph, () => ({ vector: null, tiles: [] })))
  assert.match(text, /exp \[8\] input0 -> output0/)
  assert.match(text, /a result/)
  assert.match(text, /2 kernels; intermediates 0\.0 MiB/)
})
