/** The networks by name: sizes of everything that they give, and a step of training of each. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { valueAuxAndGrad } from '../../src/autodiff/grad.ts'
import { compile, unwrap } from '../../src/backend/compile.ts'
import { array } from '../../src/dsl/array.ts'
import { add, mul } from '../../src/dsl/build.ts'
import { UsageError } from '../../src/dsl/errors.ts'
import { crossEntropy } from '../../src/dsl/ops/loss.ts'
import { keyTensor } from '../../src/dsl/ops/random.ts'
import type { Tensor } from '../../src/dsl/tensor.ts'
import { key, uniformAt } from '../../src/dsl/threefry.ts'
import { isTensor, spec, trace } from '../../src/dsl/trace.ts'
import { leaves } from '../../src/dsl/tree.ts'
import type { OutputStride } from '../../src/nn/backbone.ts'
import type { FeatureMap } from '../../src/nn/feature.ts'
import type { Tensors } from '../../src/nn/module.ts'
import { sgd } from '../../src/nn/optim.ts'
import type { SegmentationNet } from '../../src/nn/segmentation.ts'
import { type ZooName, type ZooOptions, zoo, zooNames } from '../../src/nn/zoo.ts'
import { closeAll, cpu } from '../support/backends.ts'
import { arraysOf } from '../support/trees.ts'

after(closeAll)

type Any = SegmentationNet<Readonly<Record<string, FeatureMap>>, unknown, unknown>
// A network sees only the trees that it made; taps are read by the names that it tells.
const make = (name: ZooName, options: ZooOptions) => zoo[name](options) as unknown as Any

/** The shapes of what a network gives, without running it. */
function shapesOf(net: Any, [h, w]: readonly [number, number], training: boolean) {
  const { params, state } = net.init(key(0))
  const { result } = trace(
    (p: never, s: never, x: Tensor) => net.apply(p, s, x, { training, key: keyTensor(1) }).out,
    [params, state, spec([2, 3, h, w])],
  )
  return Object.fromEntries(leaves(result, isTensor).map(l => [l.path, l.leaf.shape]))
}

const sizes = [
  [64, 96],
  [65, 97],
] as const

for (const name of zooNames)
  test(`${name} gives logits of the image's size, and taps of the channels and strides that it tells`, () => {
    for (const outputStride of [8, 16, 32] satisfies OutputStride[])
      for (const size of sizes)
        for (const auxiliary of [false, true]) {
          const net = make(name, { classes: 5, width: 0.125, outputStride, auxiliary })
          const shapes = shapesOf(net, size, auxiliary)
          assert.deepEqual(shapes.logits, [2, 5, ...size])
          assert.deepEqual(shapes.auxiliary, auxiliary ? [2, 5, ...size] : undefined)
          const taps = Object.entries(shapes).filter(([path]) => path.startsWith('taps.'))
          assert.deepEqual(
            Object.fromEntries(taps.map(([path, shape]) => [path.slice(5), shape[1]])),
            net.tapChannels,
          )
          if (name === 'unet') continue
          for (const [i, stride] of [4, 8, 16, 32].entries())
            assert.deepEqual(
              shapes[`taps.stage${i + 1}`].slice(2),
              size.map(n => Math.ceil(n / Math.min(stride, outputStride))),
              `stage ${i + 1} at output stride ${outputStride}`,
            )
        }
  })

test('the taps are literal names', () => {
  const { tapChannels } = zoo.lraspp_mobilenet_v3_large({ classes: 2 })
  assert.deepEqual(tapChannels, { stage1: 24, low: 40, stage2: 40, stage3: 112, stage4: 960, neck: 128 })
  // @ts-expect-error: no such tap
  assert.equal(tapChannels.stage5, undefined)
  // @ts-expect-error: a residual network has no such tap
  assert.equal(zoo.fcn_resnet18({ classes: 2 }).tapChannels.low, undefined)
})

/** One of each head and each backbone; the others differ in numbers of blocks. */
const trained = [
  'fcn_resnet18',
  'fcn_mobilenet_v2',
  'pspnet_resnet18',
  'deeplabv3_resnet50',
  'deeplabv3_mobilenet_v3_large',
  'deeplabv3plus_resnet18',
  'lraspp_mobilenet_v3_large',
  'segformer_b0',
  'unet',
] as const satisfies readonly ZooName[]
const [classes, side] = [3, 64]
const image = array(
  [2, 3, side, side],
  'f32',
  Array.from({ length: 6 * side * side }, (_, i) => 2 * uniformAt([1, 1], i) - 1),
)
const label = array(
  [2, side, side],
  'i32',
  Array.from({ length: 2 * side * side }, (_, i) =>
    i % 11 === 0 ? 255 : Math.floor(uniformAt([2, 2], i) * classes),
  ),
)

for (const name of trained)
  test(`${name} trains: every parameter has a gradient, and a small step lowers the loss`, async t => {
    const net = make(name, { classes, width: 0.125, auxiliary: true })
    const variables = net.init(key(1))
    const optimiser = sgd()
    const start = { ...variables, moments: optimiser.init(variables.params) }
    type Start = Tensors<typeof start>
    const rate = array([], 'f32', [1e-2])
    const step = (now: Start, x: Tensor, y: Tensor, lr: Tensor) => {
      const lossOf = (params: Start['params']) => {
        const { out, state } = net.apply(params, now.state, x, { training: true, key: keyTensor(9) })
        const target = y as Tensor<readonly number[], 'i32'>
        const second = out.auxiliary ? mul(crossEntropy(out.auxiliary, target), 0.4) : 0
        return [add(crossEntropy(out.logits, target), second), state] as const
      }
      const [[loss, state], gradient] = valueAuxAndGrad(lossOf)(now.params)
      const moved = optimiser.update(gradient, now.moments, now.params, lr)
      return { loss, gradient, next: { params: moved.params, state, moments: moved.state } }
    }
    const exe = await unwrap(compile(step, [start, image, label, rate], await cpu()))
    const first = await exe(start as never, image, label, rate)
    const second = await exe(first.next as never, image, label, rate)
    const [before, after] = [first.loss.data[0], second.loss.data[0]].map(Number)
    t.diagnostic(`loss ${before}, then ${after}`)
    assert.ok(after < before, `${after} after ${before}`)
    for (const { path, leaf } of arraysOf(first.gradient))
      assert.ok(
        Array.from(leaf.data, Number).every(Number.isFinite) && leaf.data.some(v => v !== 0),
        `no gradient at ${path}`,
      )
    for (const { path, leaf } of arraysOf(first.next))
      assert.ok(Array.from(leaf.data, Number).every(Number.isFinite), path)
  })

test('configurations that make no network are errors', () => {
  assert.throws(() => zoo.fcn_resnet18({ classes: 0 }), UsageError)
  assert.throws(
    () => zoo.deeplabv3_mobilenet_v2({ classes: 2, width: 0 }),
    /width multiplier must be positive, got 0/,
  )
  assert.throws(
    () => zoo.segformer_b0({ classes: 2, outputStride: 4 as OutputStride }),
    /mit: the output stride is 8, 16 or 32, got 4/,
  )
})
