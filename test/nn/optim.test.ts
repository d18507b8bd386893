/** Every optimiser against loops over numbers written from PyTorch's documented formulas, in f64. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { array, type NDArray } from '../../src/dsl/array.ts'
import type { Tensor } from '../../src/dsl/tensor.ts'
import { adam, adamw, clipByGlobalNorm, kernelsOnly, type Optimiser, sgd } from '../../src/nn/optim.ts'
import { cosine, poly, warmUp } from '../../src/nn/schedule.ts'
import { arraysOf, normals, onReference } from '../support/trees.ts'

/** One parameter's step: gradient, time from 1, decay of this parameter; `memory` is the parameter's own. */
type Reference = (p: number, g: number, t: number, wd: number, memory: number[]) => number
const lr = 0.1

/** torch.optim.SGD: buf = g at the first step, then mu buf + g. */
const torchSgd =
  (mu: number, nesterov: boolean): Reference =>
  (p, grad, t, wd, memory) => {
    const g = grad + wd * p
    memory[0] = t === 1 ? g : mu * memory[0] + g
    const d = mu === 0 ? g : nesterov ? g + mu * memory[0] : memory[0]
    return p - lr * d
  }
/** torch.optim.Adam and AdamW. */
const torchAdam =
  (b1: number, b2: number, eps: number, decoupled: boolean): Reference =>
  (p, grad, t, wd, memory) => {
    const g = decoupled ? grad : grad + wd * p
    const kept = decoupled ? p - lr * wd * p : p
    memory[0] = b1 * (memory[0] ?? 0) + (1 - b1) * g
    memory[1] = b2 * (memory[1] ?? 0) + (1 - b2) * g * g
    const m = memory[0] / (1 - b1 ** t)
    const v = memory[1] / (1 - b2 ** t)
    return kept - (lr * m) / (Math.sqrt(v) + eps)
  }

const table: readonly (readonly [string, Optimiser, Reference, number])[] = [
  ['sgd', sgd(), torchSgd(0, false), 0],
  ['sgd with weight decay', sgd({ weightDecay: 0.01 }), torchSgd(0, false), 0.01],
  ['sgd with momentum', sgd({ momentum: 0.9 }), torchSgd(0.9, false), 0],
  [
    'sgd with momentum and weight decay',
    sgd({ momentum: 0.9, weightDecay: 0.01 }),
    torchSgd(0.9, false),
    0.01,
  ],
  [
    "sgd with Nesterov's momentum",
    sgd({ momentum: 0.9, nesterov: true, weightDecay: 0.01 }),
    torchSgd(0.9, true),
    0.01,
  ],
  ['adam', adam(), torchAdam(0.9, 0.999, 1e-8, false), 0],
  [
    'adam with weight decay',
    adam({ b1: 0.8, b2: 0.95, eps: 1e-3, weightDecay: 0.1 }),
    torchAdam(0.8, 0.95, 1e-3, false),
    0.1,
  ],
  ['adamw', adamw(), torchAdam(0.9, 0.999, 1e-8, true), 0.01],
  [
    'adamw without decay of vectors',
    adamw({ weightDecay: 0.3, decay: kernelsOnly }),
    torchAdam(0.9, 0.999, 1e-8, true),
    0.3,
  ],
  [
    'sgd that spares a path',
    sgd({ weightDecay: 0.3, decay: path => path !== 'layers.0.bias' }),
    torchSgd(0, false),
    0.3,
  ],
]
const spared = (name: string, path: string): boolean =>
  path === 'layers.0.bias' && (name.includes('vectors') || name.includes('spares'))

const start = { layers: [{ weight: normals(1, [3, 2]), bias: normals(2, [3]) }], scale: normals(3, [2, 1]) }
const gradsAt = (t: number) => ({
  layers: [{ weight: normals(10 * t, [3, 2]), bias: normals(10 * t + 1, [3]) }],
  scale: normals(10 * t + 2, [2, 1]),
})
type Params = {
  readonly layers: readonly { readonly weight: Tensor; readonly bias: Tensor }[]
  readonly scale: Tensor
}
type State = { readonly step: Tensor; readonly moments: readonly Params[] }

for (const [name, optimiser, reference, weightDecay] of table)
  test(`${name} takes PyTorch's steps`, async () => {
    const step = onReference((g: Params, s: State, p: Params, rate: Tensor) =>
      optimiser.update(g, s, p, rate),
    )
    const rate = array([], 'f64', [lr])
    let params: typeof start = start
    let state = optimiser.init(start)
    const want = new Map(arraysOf(start).map(l => [l.path, Array.from(l.leaf.data, Number)]))
    const memories = new Map(arraysOf(start).map(l => [l.path, Array.from(l.leaf.data, (): number[] => [])]))
    for (let t = 1; t <= 5; t++) {
      const grads = gradsAt(t)
      const done = await step(grads, state, params, rate)
      for (const { path, leaf } of arraysOf(grads)) {
        const [values, memory] = [want.get(path) ?? [], memories.get(path) ?? []]
        const wd = spared(name, path) ? 0 : weightDecay
        leaf.data.forEach((g, i) => {
          values[i] = reference(values[i], Number(g), t, wd, memory[i])
        })
      }
      params = done.params as typeof start
      state = done.state as typeof state
      assert.equal(state.step.data[0], t)
      for (const { path, leaf } of arraysOf(params))
        leaf.data.forEach((x, i) => {
          const y = want.get(path)?.[i] ?? Number.NaN
          // ten roundings a step, and b^t by exp and log: 1e-12 is far above
          assert.ok(Math.abs(Number(x) - y) <= 1e-12, `${path}[${i}] at step ${t}: ${x} against ${y}`)
        })
    }
  })

test('a tree of gradients without one of the parameters is an error', async () => {
  const step = onReference((g: object, p: Params, rate: Tensor) =>
    sgd().update<object>(g, { step: rate, moments: [] }, p, rate),
  )
  await assert.rejects(
    step({ scale: normals(1, [2, 1]) }, start, array([], 'f64', [lr])),
    /no gradient at 'layers.0.weight'/,
  )
})

test('options outside their range are errors', () => {
  assert.throws(() => sgd({ momentum: 1 }), /momentum must be in \[0, 1\)/)
  assert.throws(() => sgd({ nesterov: true }), /needs momentum/)
  assert.throws(() => adam({ b2: 1 }), /b2 must be in/)
})

test('clipByGlobalNorm scales all gradients together to the bound, and leaves shorter ones', async () => {
  const tree: { readonly a: NDArray; readonly b: readonly NDArray[] } = {
    a: array([2], 'f64', [3, 0]),
    b: [array([1, 1], 'f64', [4])],
  }
  type T = { readonly a: Tensor; readonly b: readonly Tensor[] }
  for (const [bound, factor] of [
    [1, 1 / (5 + 1e-6)], // torch.nn.utils.clip_grad_norm_: maxNorm / (norm + 1e-6)
    [10, 1],
  ]) {
    const { grads, norm } = await onReference((g: T) => clipByGlobalNorm(g, bound))(tree)
    assert.equal(norm.data[0], 5)
    assert.ok(Math.abs(Number(grads.a.data[0]) - 3 * factor) < 1e-15)
    assert.ok(Math.abs(Number(grads.b[0].data[0]) - 4 * factor) < 1e-15)
  }
})

test('schedules start at the base, end at their end, and stay there', () => {
  const schedules = { poly: poly(0.02, 100, { end: 1e-4 }), cosine: cosine(0.02, 100, { end: 1e-4 }) }
  for (const schedule of Object.values(schedules)) {
    assert.equal(schedule(0), 0.02)
    for (const late of [100, 101, 1e9]) assert.ok(Math.abs(schedule(late) - 1e-4) < 1e-12)
    for (let step = 1; step <= 100; step++) assert.ok(schedule(step) < schedule(step - 1))
  }
  assert.ok(Math.abs(poly(1, 100)(50) - 0.5 ** 0.9) < 1e-15)
  assert.ok(Math.abs(cosine(1, 100)(25) - (1 + Math.SQRT1_2) / 2) < 1e-15)
  const warm = warmUp(10, { from: 0.1 })(() => 2)
  assert.deepEqual([warm(0), warm(5), warm(10), warm(50)], [0.2, 1.1, 2, 2])
  assert.throws(() => poly(1, 0), /must be positive/)
})
