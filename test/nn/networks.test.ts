/** Networks: sizes, names and the properties of their parts. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { UsageError } from '../../src/dsl/errors.ts'
import { keyTensor } from '../../src/dsl/ops/random.ts'
import type { Tensor } from '../../src/dsl/tensor.ts'
import { key } from '../../src/dsl/threefry.ts'
import type { Tensors } from '../../src/nn/module.ts'
import { pspnet } from '../../src/nn/pspnet.ts'
import { resnet, stageChannels } from '../../src/nn/resnet.ts'
import type { SegmentationNet } from '../../src/nn/segmentation.ts'
import { unet } from '../../src/nn/unet.ts'
import { arraysOf, countOf, normals, onReference, wide } from '../support/trees.ts'

test("ResNet-18 has torchvision's names and its 11,176,512 parameters (11,689,512 without the classifier's 513,000)", () => {
  const { params, state } = resnet({ width: 64 }).init(key(0))
  const names = arraysOf(params).map(l => l.path)
  assert.equal(countOf(params), 11_176_512)
  assert.equal(names.length, 60) // 20 convolutions, 20 norms of two
  for (const name of [
    'conv1.weight',
    'bn1.bias',
    'layer1.0.conv1.weight',
    'layer2.0.downsample.0.weight',
    'layer2.0.downsample.1.bias',
    'layer4.1.bn2.weight',
  ])
    assert.ok(names.includes(name), name)
  assert.ok(!names.includes('layer1.0.downsample.0.weight'))
  assert.equal(countOf(state), 2 * 4800) // mean and variance of 64 (5 times), 128, 256, 512 (5 times each)
})

test("the deep stem has mmsegmentation's names, and the rest of the network stays", () => {
  const { params } = resnet({ depth: 18, deepStem: true }).init(key(0))
  const leaves = arraysOf(params)
  const stem = leaves.filter(l => l.path.startsWith('stem.'))
  assert.deepEqual(
    stem.map(({ path, leaf }) => `${path} ${leaf.shape.join('x')}`),
    [
      'stem.0.weight 32x3x3x3',
      'stem.1.weight 32',
      'stem.1.bias 32',
      'stem.3.weight 32x32x3x3',
      'stem.4.weight 32',
      'stem.4.bias 32',
      'stem.6.weight 64x32x3x3',
      'stem.7.weight 64',
      'stem.7.bias 64',
    ],
  )
  const plain = arraysOf(resnet({ depth: 18 }).init(key(0)).params).map(l => l.path)
  assert.deepEqual(
    leaves.filter(l => !stem.includes(l)).map(l => l.path),
    plain.filter(path => path.startsWith('layer')),
  )
})

test('at output stride 8 a network computes the strided one, densely: every fourth feature of stage 4 is the same', async () => {
  const image = normals(1, [1, 3, 64, 64])
  for (const block of ['basic', 'bottleneck'] as const) {
    const of = async (outputStride: 8 | 16 | 32) => {
      const net = resnet({ width: 2, blocks: [1, 2, 2, 2], block, outputStride })
      const { params, state } = wide(net.init(key(3)))
      type P = Tensors<typeof params>
      const f = onReference(
        (p: P, s: Tensors<typeof state>, x: Tensor) => net.apply(p, s, x, { training: false }).out,
      )
      return f(params, state, image)
    }
    const [strided, half, dense] = [await of(32), await of(16), await of(8)]
    assert.deepEqual(
      [strided, half, dense].map(f => f.stage4.shape.slice(2)),
      [
        [2, 2],
        [4, 4],
        [8, 8],
      ],
    )
    const channels = stageChannels({ width: 2, block }).stage4
    assert.equal(dense.stage4.shape[1], channels)
    for (let c = 0; c < channels; c++)
      for (const [i, j] of [
        [0, 0],
        [0, 1],
        [1, 0],
        [1, 1],
      ]) {
        const want = Number(strided.stage4.data[(c * 2 + i) * 2 + j])
        for (const got of [
          half.stage4.data[(c * 4 + 2 * i) * 4 + 2 * j],
          dense.stage4.data[(c * 8 + 4 * i) * 8 + 4 * j],
        ])
          assert.ok(
            Math.abs(Number(got) - want) <= 1e-9 * Math.max(1, Math.abs(want)),
            `${block}: ${got} against ${want}`,
          )
      }
  }
})

/** Runs a network on two images of a size; taps and logits as arrays. */
const outputsOf = async <Taps extends { readonly [K in keyof Taps]: Tensor }, P, S>(
  net: SegmentationNet<Taps, P, S>,
  size: readonly number[],
) => {
  const { params, state } = net.init(key(1))
  const f = onReference((p: never, s: never, x: Tensor) => {
    const { out } = net.apply(p, s, x, { training: true, key: keyTensor(2) })
    const taps: { readonly [name: string]: Tensor } = out.taps
    return { logits: out.logits, taps }
  })
  const x = normals(1, [2, 3, ...size])
  return f(params as never, state as never, { ...x, dtype: 'f32', data: Float32Array.from(x.data) })
}

test('logits have the size of the image, whatever it is, and taps the channels that tapChannels tells', async () => {
  for (const net of [
    pspnet({ classes: 5, width: 2 }),
    pspnet({
      classes: 2,
      width: 2,
      block: 'bottleneck',
      poolScales: [1, 2],
      outputStride: 16,
      neckChannels: 7,
    }),
  ])
    await check(net, [33, 18])
  await check(unet({ classes: 5, width: 2 }), [33, 18])
  await check(unet({ classes: 5, width: 3, depth: 2 }), [16, 12])
  async function check<Taps extends { readonly [K in keyof Taps]: Tensor }, P, S>(
    net: SegmentationNet<Taps, P, S>,
    size: readonly number[],
  ) {
    const { logits, taps } = await outputsOf(net, size)
    assert.deepEqual(logits.shape, [2, net.classes, ...size])
    assert.equal(logits.dtype, 'f32')
    assert.deepEqual(
      Object.fromEntries(Object.entries(taps).map(([name, t]) => [name, t.shape[1]])),
      net.tapChannels,
    )
    assert.ok(Array.from(logits.data, Number).every(Number.isFinite))
  }
})

test('a fresh network is unsure: its loss is near that of guessing', async () => {
  const { logits } = await outputsOf(pspnet({ classes: 4, width: 4 }), [16, 16])
  // the classifier starts at a deviation of 0.01 over 32 rectified, normalised channels
  assert.ok(Array.from(logits.data, Number).every(v => Math.abs(v) < 0.5))
})

test('configurations that make no network are errors', () => {
  assert.throws(() => pspnet({ classes: 0, width: 4 }), UsageError)
  assert.throws(() => pspnet({ classes: 2, width: 1.5 }), /width must be a positive integer, got 1.5/)
  assert.throws(() => pspnet({ classes: 2, width: 4, poolScales: [1, 1] }), /must differ/)
  assert.throws(() => resnet({ width: 4, blocks: [1, 0, 1, 1] }), /one block or more/)
  assert.throws(() => resnet({ depth: 19 as 18 }), /the depth is 18, 34, 50, 101, got 19/)
  assert.throws(() => resnet({ outputStride: 12 as 8 }), /the output stride is 8, 16 or 32, got 12/)
  assert.throws(() => unet({ classes: 2, width: 0 }), UsageError)
})
