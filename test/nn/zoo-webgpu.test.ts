/** The zoo's families on WebGPU against the CPU: the forward pass of each, tiny, with running statistics. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { jit } from '../../src/backend/compile.ts'
import { array } from '../../src/dsl/array.ts'
import { size } from '../../src/dsl/shape.ts'
import type { Tensor } from '../../src/dsl/tensor.ts'
import { key, uniformAt } from '../../src/dsl/threefry.ts'
import type { FeatureMap } from '../../src/nn/feature.ts'
import type { SegmentationNet } from '../../src/nn/segmentation.ts'
import { type ZooName, zoo } from '../../src/nn/zoo.ts'
import { closeAll, cpu, webgpu } from '../support/backends.ts'
import { arraysOf, mapArrays } from '../support/trees.ts'

after(closeAll)

type Any = SegmentationNet<Readonly<Record<string, FeatureMap>>, unknown, unknown>

/**
 * One network of each family that no other test runs on WebGPU, and a width; the others of a family differ in how many
 * blocks they have. Of one channel, SegFormer's layer norm leaves 0: it has two.
 */
const families = {
  deeplabv3plus_resnet18: 0.04,
  lraspp_mobilenet_v3_large: 0.04,
  segformer_b0: 0.0625,
  unet: 0.04,
} as const satisfies Partial<Record<ZooName, number>>
const names = Object.keys(families) as readonly (keyof typeof families)[] // the keys of a literal

const uniforms = (seed: number, n: number, low: number, high: number): number[] =>
  Array.from({ length: n }, (_, i) => low + (high - low) * uniformAt(key(seed), i))
const image = array([1, 3, 32, 40], 'f32', uniforms(1, 3 * 32 * 40, -1, 1))

for (const name of names)
  test(`${name} gives the CPU's logits and taps on WebGPU`, async t => {
    // A network sees only the trees that it made; taps are read by the names that it tells.
    const net = zoo[name]({ classes: 3, width: families[name] }) as unknown as Any
    const { params, state } = net.init(key(0))
    // Running statistics as training leaves them, not 0 and 1.
    const statistics = mapArrays(state, ({ shape, dtype }, path) => {
      const [low, high] = path.endsWith('mean') ? [-0.1, 0.1] : [0.2, 0.8]
      return array(shape, dtype, uniforms(path.length, size(shape), low, high))
    })
    const forward = (p: never, s: never, x: Tensor) => net.apply(p, s, x, { training: false }).out
    const [want, got] = await Promise.all(
      [await cpu(), await webgpu(t)].map(async b =>
        arraysOf(await jit(forward, b)(params as never, statistics as never, image)),
      ),
    )
    assert.ok(want.length > 1, 'logits and taps')
    let worst = 0
    for (const [i, { path, leaf }] of want.entries()) {
      const values = Array.from(leaf.data, Number)
      const largest = Math.max(...values.map(Math.abs))
      assert.ok(largest > 0 && largest < Infinity, `${path}: ${largest}`)
      const error = Math.max(...values.map((x, k) => Math.abs(x - Number(got[i].leaf.data[k]))))
      worst = Math.max(worst, error / largest)
      // f32 through some 60 layers whose sums differ in order; a norm over two near channels makes errors larger
      assert.ok(error <= 3e-5 * largest, `${path}: ${error} of ${largest}`)
    }
    t.diagnostic(`worst error ${worst.toExponential(1)} of the largest value`)
  })
