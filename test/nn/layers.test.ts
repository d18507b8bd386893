/** Layers and their composition: names, state, keys. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pipe } from 'fp-ts/lib/function.js'
import { array } from '../../src/dsl/array.ts'
import { UsageError } from '../../src/dsl/errors.ts'
import { relu } from '../../src/dsl/ops/activation.ts'
import { add } from '../../src/dsl/ops/elementwise.ts'
import { keyTensor } from '../../src/dsl/ops/random.ts'
import { constant, type Tensor } from '../../src/dsl/tensor.ts'
import { key } from '../../src/dsl/threefry.ts'
import { compose, sequential } from '../../src/nn/compose.ts'
import { batchNorm, conv, convBnRelu, dropout, linear, upsample } from '../../src/nn/layers.ts'
import type { Mode, Module } from '../../src/nn/module.ts'
import { arraysOf, normals, onReference, wide } from '../support/trees.ts'

const run = <Out, P, S>(m: Module<Tensor, Out, P, S>, seed: number, mode: Mode) => {
  const { params, state } = wide(m.init(key(seed)))
  return onReference((p: never, s: never, x: Tensor) => {
    const { out, state: next } = m.apply(p, s, x, mode)
    return { out, state: next }
  }).bind(null, params as never, state as never)
}
const evaluation: Mode = { training: false }
const image = normals(1, [2, 3, 6, 5])

test('parameters are named and shaped as in PyTorch, by name in compose and by position in sequential', () => {
  const net = compose(
    {
      first: convBnRelu(4, 8, { kernel: 3, groups: 2 }),
      rest: sequential(
        conv(8, 8, { kernel: 1 }),
        batchNorm(8),
        relu,
        dropout(0.5),
        conv(8, 3, { kernel: 1, bias: false }),
      ),
      head: linear(3, 10),
    },
    (call, x: Tensor) => call.head(call.rest(call.first(x))),
  )
  const { params, state } = net.init(key(1))
  assert.deepEqual(
    arraysOf(params).map(({ path, leaf }) => `${path} ${leaf.shape.join('x')}`),
    [
      'first.conv.weight 8x2x3x3',
      'first.bn.weight 8',
      'first.bn.bias 8',
      'rest.0.weight 8x8x1x1',
      'rest.0.bias 8',
      'rest.1.weight 8',
      'rest.1.bias 8',
      'rest.4.weight 3x8x1x1',
      'head.weight 10x3',
      'head.bias 10',
    ],
  )
  assert.deepEqual(
    arraysOf(state).map(l => l.path),
    ['first.bn.mean', 'first.bn.variance', 'rest.1.mean', 'rest.1.variance'],
  )
})

test('a key decides every initial value, and children differ', () => {
  const net = sequential(conv(3, 3, { kernel: 3 }), conv(3, 3, { kernel: 3 }))
  const of = (seed: number) => net.init(key(seed)).params
  assert.deepEqual(of(1), of(1))
  assert.notDeepEqual(of(1)[0].weight, of(2)[0].weight)
  assert.notDeepEqual(of(1)[0].weight, of(1)[1].weight)
})

test('a composed network computes what its children compute one after the other', async () => {
  const net = compose(
    { a: conv(3, 4, { kernel: 3, padding: 1 }), b: conv(4, 4, { kernel: 1 }) },
    (call, x: Tensor) => {
      const y = call.a(x)
      return pipe(y, call.b, add(y), relu)
    },
  )
  const { params } = wide(net.init(key(1)))
  const [a, b] = [conv(3, 4, { kernel: 3, padding: 1 }), conv(4, 4, { kernel: 1 })]
  const byHand = onReference((p: never, q: never, x: Tensor) => {
    const y = a.apply(p, {}, x, evaluation).out
    return relu(add(b.apply(q, {}, y, evaluation).out, y))
  })
  const { out } = await run(net, 1, evaluation)(image)
  assert.deepEqual(out, await byHand(params.a as never, params.b as never, image))
})

test('a child that is called twice has one set of parameters, and its running state moves twice', async () => {
  const twice = compose({ bn: batchNorm(3, { momentum: 0.5 }) }, (call, x: Tensor) =>
    add(call.bn(x), call.bn(x)),
  )
  const once = compose({ bn: batchNorm(3, { momentum: 0.5 }) }, (call, x: Tensor) => call.bn(x))
  const a = await run(twice, 1, { training: true })(image)
  const b = await run(once, 1, { training: true })(image)
  // from 0: m / 2 after one step, 3 m / 4 after two
  a.state.bn.mean.data.forEach((m, i) => {
    assert.ok(Math.abs(Number(m) - 1.5 * Number(b.state.bn.mean.data[i])) < 1e-12)
  })
})

test('batch norm moves its state in training only', async () => {
  const still = await run(batchNorm(3), 1, evaluation)(image)
  assert.deepEqual(Array.from(still.state.mean.data), [0, 0, 0])
  assert.deepEqual(Array.from(still.state.variance.data), [1, 1, 1])
  const moved = await run(batchNorm(3), 1, { training: true })(image)
  assert.ok(Array.from(moved.state.mean.data).every(m => m !== 0))
})

test('dropout is the identity in evaluation, needs a key in training, and has a mask of its own at each place', async () => {
  const ones = array([1, 1, 40, 40], 'f64', new Array(1600).fill(1))
  assert.deepEqual((await run(dropout(0.5), 1, evaluation)(ones)).out.data, ones.data)
  await assert.rejects(run(dropout(0.5), 1, { training: true })(ones), UsageError)
  const two = compose({ a: dropout(0.5), b: dropout(0.5) }, (call, x: Tensor) => ({
    a: call.a(x),
    b: call.b(x),
    again: call.a(x),
  }))
  const { out } = await run(two, 1, { training: true, key: keyTensor(3) })(ones)
  const masks = [out.a, out.b, out.again].map(m => Array.from(m.data, Number))
  const agreement = (x: number[], y: number[]) => x.filter((v, i) => v === y[i]).length / x.length
  // 1600 fair coins: four deviations are 0.05
  for (const [i, j] of [
    [0, 1],
    [0, 2],
    [1, 2],
  ])
    assert.ok(Math.abs(agreement(masks[i], masks[j]) - 0.5) < 0.05)
  assert.deepEqual((await run(two, 1, { training: true, key: keyTensor(3) })(ones)).out, out)
})

test('linear maps the last axis: x weight^T + bias', async () => {
  const layer = linear(3, 2)
  const { params } = wide(layer.init(key(1)))
  const x = normals(2, [4, 3])
  const { out } = await run(layer, 1, evaluation)(x)
  assert.deepEqual(out.shape, [4, 2])
  out.data.forEach((y, i) => {
    const [row, o] = [Math.floor(i / 2), i % 2]
    const want = [0, 1, 2].reduce(
      (s, k) => s + Number(x.data[row * 3 + k]) * Number(params.weight.data[o * 3 + k]),
      0,
    )
    assert.ok(Math.abs(Number(y) - want) < 1e-14)
  })
})

test('upsample multiplies the size, convBnRelu keeps it', async () => {
  assert.deepEqual((await run(upsample(2), 1, evaluation)(image)).out.shape, [2, 3, 12, 10])
  assert.deepEqual(
    (await run(convBnRelu(3, 4, { kernel: 3, dilation: 2 }), 1, evaluation)(image)).out.shape,
    [2, 4, 6, 5],
  )
})

test('a tensor that is no float image is an error that says so', async () => {
  const labels = array([2, 6, 5], 'i32', new Int32Array(60))
  await assert.rejects(
    run(conv(3, 4, { kernel: 1 }), 1, evaluation)(labels),
    /conv: takes float images, got i32\[2, 6, 5\]/,
  )
  await assert.rejects(run(dropout(0.5), 1, evaluation)(labels), /dropout: takes floats/)
  assert.throws(() => conv(3, 4, { kernel: 1, groups: 2 }), /2 groups do not divide 3 and 4 channels/)
  const wrong = constant([1, 1, 2, 2], 'f64', new Float64Array(4))
  assert.throws(() => dropout(0.5).apply({}, {}, wrong, { training: true, key: wrong }), /a key is u32\[2\]/)
})
