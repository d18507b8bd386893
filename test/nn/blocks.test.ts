/** Building blocks: gradients against differences, and attention against loops over numbers. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { array, type NDArray } from '../../src/dsl/array.ts'
import { UsageError } from '../../src/dsl/errors.ts'
import { hardswish, relu } from '../../src/dsl/ops/activation.ts'
import { keyTensor } from '../../src/dsl/ops/random.ts'
import type { Tensor } from '../../src/dsl/tensor.ts'
import { key } from '../../src/dsl/threefry.ts'
import { aspp } from '../../src/nn/deeplab.ts'
import { fcnHead } from '../../src/nn/fcn.ts'
import { dropPath, layerNorm } from '../../src/nn/layers.ts'
import { lrasppHead } from '../../src/nn/lraspp.ts'
import { efficientAttention, mit, mitBlock } from '../../src/nn/mit.ts'
import { invertedResidual } from '../../src/nn/mobilenet-v2.ts'
import { mobileBlock, squeezeExcitation } from '../../src/nn/mobilenet-v3.ts'
import type { Mode } from '../../src/nn/module.ts'
import { pyramidPooling } from '../../src/nn/pspnet.ts'
import { basicBlock, bottleneck } from '../../src/nn/resnet.ts'
import { segformer } from '../../src/nn/segformer.ts'
import { checkGrads } from '../../src/testing/check-grads.ts'
import { arraysOf, mapArrays, normals, onReference, wide } from '../support/trees.ts'

interface Block {
  readonly init: (k: readonly [number, number]) => { readonly params: unknown; readonly state: unknown }
  readonly apply: (params: never, state: never, x: never, mode: Mode) => { readonly out: unknown }
}
const features = (c: number, h: number, w: number, seed = 1) => normals(seed, [2, c, h, w])

/** Tiny versions, with what they read. */
const blocks: Readonly<Record<string, readonly [Block, unknown]>> = {
  'a basic block': [basicBlock(2, 3, { stride: 2 }), features(2, 5, 4)],
  'a dilated bottleneck': [bottleneck(3, 2, { dilation: 2, entryDilation: 1 }), features(3, 4, 4)],
  'an inverted residual': [invertedResidual(2, 2, { expansion: 3 }), features(2, 4, 3)],
  'a strided inverted residual': [invertedResidual(2, 3, { expansion: 1, stride: 2 }), features(2, 4, 3)],
  'squeeze and excitation': [squeezeExcitation(4, 2), features(4, 3, 2)],
  "MobileNetV3's block": [
    mobileBlock(2, 2, { kernel: 5, hidden: 8, squeeze: true, activation: hardswish, dilation: 2 }),
    features(2, 4, 4),
  ],
  'a block without expansion': [
    mobileBlock(3, 2, { kernel: 3, hidden: 3, squeeze: false, activation: relu, stride: 2 }),
    features(3, 4, 4),
  ],
  'layer norm': [layerNorm(3), normals(1, [2, 2, 3])],
  'efficient attention': [efficientAttention(4, { heads: 2, ratio: 2 }), normals(1, [2, 4, 2, 4])],
  'a transformer block': [mitBlock(2, { heads: 1, ratio: 1 }), normals(1, [1, 2, 3, 2])],
  'atrous spatial pyramid pooling': [
    aspp(3, { channels: 2, rates: [1, 2], dropoutRate: 0 }),
    features(3, 4, 3),
  ],
  'its separable form': [
    aspp(2, { channels: 2, rates: [2], separable: true, dropoutRate: 0 }),
    features(2, 4, 3),
  ],
  'pyramid pooling': [pyramidPooling(3, 2, [1, 2]), features(3, 4, 3)],
  'the head of an FCN': [fcnHead(4, 2, { dropoutRate: 0 }), features(4, 3, 3)],
  'the head of LR-ASPP': [lrasppHead(2, 3, 2, 2), { low: features(2, 4, 4), high: features(3, 2, 2, 2) }],
}

for (const [name, [block, x]] of Object.entries(blocks))
  for (const training of [true, false])
    test(`the gradient of ${name} agrees with differences${training ? ' in training' : ''}`, () => {
      const { params, state } = wide(block.init(key(3)))
      // biases and shifts start at 0 and gains at 1: moved, so that nothing cancels
      const shaken = mapArrays(params, (a, path) => {
        const noise = normals(path.length, a.shape, 0.3)
        return array(
          a.shape,
          'f64',
          Array.from(a.data, (v, i) => Number(v) + Number(noise.data[i])),
        )
      })
      checkGrads(
        (p: never, s: never, input: never) => block.apply(p, s, input, { training }).out,
        [shaken, state, x],
        { order: 1 },
      )
    })

test('efficient attention asks the reduced grid, head by head', async () => {
  const [channels, heads, ratio, h, w] = [4, 2, 2, 2, 4]
  const module = efficientAttention(channels, { heads, ratio })
  const { params, state } = wide(module.init(key(5)))
  const filled = mapArrays(params, (a, path) => normals(path.length * 7, a.shape))
  const x = normals(4, [1, h, w, channels])
  const { out } = await onReference((p: never, s: never, t: Tensor) => ({
    out: module.apply(p, s, t, { training: false }).out,
  }))(filled as never, state as never, x)

  const values = new Map(arraysOf(filled).map(l => [l.path, Array.from(l.leaf.data, Number)]))
  const get = (path: string) => values.get(path) ?? assert.fail(path)
  const lineal = (row: readonly number[], name: string) =>
    get(`${name}.bias`).map(
      (b, o) => b + row.reduce((sum, v, i) => sum + v * get(`${name}.weight`)[o * row.length + i], 0),
    )
  const at = (r: number, c: number) =>
    Array.from(x.data, Number).slice((r * w + c) * channels, (r * w + c + 1) * channels)
  // the strided convolution and its norm
  const grid = [0, 1].map(column => {
    const sums = get('sr.bias').map((b, o) => {
      let sum = b
      for (let i = 0; i < channels; i++)
        for (let u = 0; u < ratio; u++)
          for (let v = 0; v < ratio; v++)
            sum +=
              at(u, column * ratio + v)[i] * get('sr.weight')[((o * channels + i) * ratio + u) * ratio + v]
      return sum
    })
    const mean = sums.reduce((a, b) => a + b) / channels
    const variance = sums.reduce((a, b) => a + (b - mean) ** 2, 0) / channels
    return sums.map(
      (v, i) => ((v - mean) / Math.sqrt(variance + 1e-5)) * get('norm.weight')[i] + get('norm.bias')[i],
    )
  })
  const size = channels / heads
  for (let r = 0; r < h; r++)
    for (let c = 0; c < w; c++) {
      const q = lineal(at(r, c), 'q')
      const answers = Array.from({ length: heads }, (_, head) => {
        const part = (row: readonly number[], from: number) =>
          row.slice(from + head * size, from + (head + 1) * size)
        const keys = grid.map(g => part(lineal(g, 'kv'), 0))
        const answersOf = grid.map(g => part(lineal(g, 'kv'), channels))
        const scores = keys.map(k =>
          Math.exp(part(q, 0).reduce((s, v, i) => s + v * k[i], 0) / Math.sqrt(size)),
        )
        const total = scores.reduce((a, b) => a + b)
        return Array.from({ length: size }, (__, i) =>
          answersOf.reduce((s, v, j) => s + (scores[j] / total) * v[i], 0),
        )
      }).flat()
      const want = lineal(answers, 'proj')
      want.forEach((v, i) => {
        const got = Number(out.data[(r * w + c) * channels + i])
        assert.ok(Math.abs(got - v) <= 1e-12 * Math.max(1, Math.abs(v)), `${got} against ${v}`)
      })
    }
  assert.throws(() => efficientAttention(4, { heads: 3, ratio: 1 }), UsageError)
})

test('dropPath leaves out whole samples, and divides the others by what is kept', async () => {
  const ones = array([400, 3, 2], 'f64', new Array(2400).fill(1))
  const f = (training: boolean) =>
    onReference((x: Tensor) => dropPath(0.25).apply({}, {}, x, { training, key: keyTensor(3) }).out)(ones)
  assert.deepEqual((await f(false)).data, ones.data)
  const { data } = await f(true)
  const samples = Array.from({ length: 400 }, (_, i) => Array.from(data.slice(6 * i, 6 * i + 6), Number))
  for (const s of samples)
    assert.ok(s.every(v => v === s[0]) && (s[0] === 0 || Math.abs(s[0] - 4 / 3) < 1e-12))
  const dropped = samples.filter(s => s[0] === 0).length
  // 400 coins of 1 in 4: four deviations are 35
  assert.ok(Math.abs(dropped - 100) < 35, `${dropped} of 400`)
})

test("SegFormer has the authors' names", () => {
  const { params, state } = segformer({ classes: 150, backbone: mit() }).init(key(0))
  const shapes = new Map<string, NDArray>(
    [...arraysOf(params), ...arraysOf(state)].map(({ path, leaf }) => [path, leaf]),
  )
  for (const [name, shape] of [
    ['backbone.patch_embed1.proj.weight', [32, 3, 7, 7]],
    ['backbone.patch_embed4.norm.bias', [256]],
    ['backbone.block1.0.attn.sr.weight', [32, 32, 8, 8]],
    ['backbone.block1.1.attn.kv.weight', [64, 32]],
    ['backbone.block3.0.mlp.dwconv.dwconv.weight', [640, 1, 3, 3]],
    ['backbone.block4.1.mlp.fc2.weight', [256, 1024]],
    ['backbone.norm3.weight', [160]],
    ['decode_head.linear_c4.proj.weight', [256, 256]],
    ['decode_head.linear_fuse.conv.weight', [256, 1024, 1, 1]],
    ['decode_head.linear_fuse.bn.mean', [256]],
    ['decode_head.linear_pred.weight', [150, 256, 1, 1]],
  ] as const)
    assert.deepEqual(shapes.get(name)?.shape, shape, name)
  assert.ok(!shapes.has('backbone.block4.0.attn.sr.weight'), 'the last stage reduces nothing')
})
