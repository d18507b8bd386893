/**
 * Outputs, names, parameter counts and a training trajectory against torchvision's, which bench/torchvision/reference.py
 * computed in float64 with the same weights: torchvision.json.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, test } from 'node:test'
import { valueAuxAndGrad } from '../../src/autodiff/grad.ts'
import { compile, read, unwrap } from '../../src/backend/compile.ts'
import { array, type NDArray } from '../../src/dsl/array.ts'
import { crossEntropy } from '../../src/dsl/ops/loss.ts'
import type { Tensor } from '../../src/dsl/tensor.ts'
import { key } from '../../src/dsl/threefry.ts'
import { countParameters } from '../../src/nn/cost.ts'
import { mobilenetV2Classifier } from '../../src/nn/mobilenet-v2.ts'
import type { Mode, Tensors } from '../../src/nn/module.ts'
import { sgd } from '../../src/nn/optim.ts'
import { resnetClassifier } from '../../src/nn/resnet.ts'
import { zoo } from '../../src/nn/zoo.ts'
import { closeAll, cpu } from '../support/backends.ts'
import { arraysOf, wide } from '../support/trees.ts'
import { filledByName, formulaImage, torchName, torchNames } from './formula.ts'

interface Sampled {
  readonly shape: readonly number[]
  readonly norm: number
  readonly largest: number
  readonly step: number
  readonly values: readonly number[]
}
interface Reference {
  readonly parameters: number
  readonly names: readonly string[]
  readonly outputs: Readonly<Record<string, Sampled>>
}
interface Trajectory {
  readonly steps: number
  readonly batch: number
  readonly side: number
  readonly classes: number
  readonly rate: number
  readonly losses: readonly number[]
  /** The sum of each running mean and variance at the end. */
  readonly sums: Readonly<Record<string, number>>
}
const reference: {
  readonly side: number
  readonly models: Readonly<Record<string, Reference>>
  readonly trajectory: Trajectory
} = JSON.parse(readFileSync(new URL('./torchvision.json', import.meta.url), 'utf8'))

after(closeAll)

/** What the tests need of a network: its trees are its own. */
interface Net {
  readonly init: (k: readonly [number, number]) => { readonly params: unknown; readonly state: unknown }
  readonly apply: (params: never, state: never, x: Tensor, mode: Mode) => { readonly out: unknown }
}
const outputs = {
  classifier: (out: unknown) => ({ out: out as Tensor }),
  segmentation: (out: unknown) => {
    const { logits, auxiliary } = out as { readonly logits: Tensor; readonly auxiliary?: Tensor }
    return auxiliary ? { out: logits, aux: auxiliary } : { out: logits }
  },
}
const networks: Readonly<Record<string, readonly [Net, keyof typeof outputs]>> = {
  resnet18: [resnetClassifier({ depth: 18, classes: 1000 }), 'classifier'],
  resnet50: [resnetClassifier({ depth: 50, classes: 1000 }), 'classifier'],
  mobilenet_v2: [mobilenetV2Classifier({ classes: 1000 }), 'classifier'],
  fcn_resnet50: [zoo.fcn_resnet50({ classes: 21, auxiliary: true }), 'segmentation'],
  deeplabv3_resnet50: [zoo.deeplabv3_resnet50({ classes: 21, auxiliary: true }), 'segmentation'],
  lraspp_mobilenet_v3_large: [zoo.lraspp_mobilenet_v3_large({ classes: 21 }), 'segmentation'],
}

for (const [name, [net, kind]] of Object.entries(networks)) {
  const want = reference.models[name]

  test(`${name} has torchvision's names and its ${want.parameters} parameters`, () => {
    const variables = net.init(key(0))
    assert.deepEqual(torchNames(variables).sort(), [...want.names].sort())
    assert.equal(countParameters(variables.params), want.parameters)
  })

  test(`${name} computes what torchvision computes, to 1e-4 of the largest output`, async t => {
    const variables = net.init(key(0))
    const [params, state] = [filledByName(variables.params), filledByName(variables.state)]
    const image = formulaImage(1, reference.side)
    const evaluate = (p: never, s: never, x: Tensor): Readonly<Record<string, Tensor>> =>
      outputs[kind](net.apply(p, s, x, { training: false }).out)
    const exe = await unwrap(compile(evaluate, [params as never, state as never, image], await cpu()))
    const got: Readonly<Record<string, NDArray>> = await exe(params as never, state as never, image)
    assert.deepEqual(Object.keys(got), Object.keys(want.outputs))
    for (const [output, { shape, norm, largest, step, values }] of Object.entries(want.outputs)) {
      const { data, shape: gotShape } = got[output]
      assert.deepEqual(gotShape, shape)
      const worst = Math.max(...values.map((v, i) => Math.abs(v - Number(data[i * step]))))
      const length = Math.sqrt(Array.from(data, Number).reduce((n, v) => n + v * v, 0))
      t.diagnostic(`${output}: worst error ${(worst / largest).toExponential(1)} of the largest value`)
      // f32 through 18 to 60 layers; torch's own f32 is 5e-7 to 4e-6 away
      assert.ok(worst <= 1e-4 * largest, `${output}: ${worst} of ${largest}`)
      assert.ok(Math.abs(length - norm) <= 1e-4 * norm, `${output}: norm ${length} against ${norm}`)
    }
  })
}

test("twenty steps of SGD in f64 follow torchvision's ResNet-18: losses and running statistics", async t => {
  const { steps, batch, side, classes, rate, losses, sums } = reference.trajectory
  const net = resnetClassifier({ depth: 18, classes })
  const made = net.init(key(0))
  const [params, state] = [wide(filledByName(made.params)), wide(filledByName(made.state))]
  const optimiser = sgd({ momentum: 0.9, weightDecay: 1e-4 })
  const begin = { params, state, moments: optimiser.init(params) }
  const data = {
    image: wide(formulaImage(batch, side)),
    label: array(
      [batch],
      'i32',
      Array.from({ length: batch }, (_, i) => (3 * i + 1) % classes),
    ),
    rate: array([], 'f64', [rate]),
  }
  const step = (now: Tensors<typeof begin>, { image, label, rate: lr }: Tensors<typeof data>) => {
    const [[loss, next], gradient] = valueAuxAndGrad((p: Tensors<typeof params>) => {
      const { out, state: moved } = net.apply(p, now.state, image, { training: true })
      return [crossEntropy(out, label as Tensor<readonly number[], 'i32'>), moved]
    })(now.params)
    const done = optimiser.update(gradient, now.moments, now.params, lr)
    return { loss, next: { params: done.params, state: next, moments: done.state } }
  }
  const exe = await unwrap(compile(step, [begin, data], await cpu(), { donate: [0] }))
  let now: unknown = begin
  let worst = 0
  for (let i = 0; i < steps; i++) {
    const { loss, next } = await exe.resident([now as typeof begin, data])
    const got = Number((await read(loss)).data[0])
    now = next
    worst = Math.max(worst, Math.abs(got / losses[i] - 1))
    // f64 throughout; what rounding there is, twenty steps amplify
    assert.ok(Math.abs(got - losses[i]) <= 1e-8 * losses[i], `step ${i}: ${got} against ${losses[i]}`)
  }
  const end = (await read(now)) as typeof begin
  let drift = 0
  for (const { path, leaf } of arraysOf(end.state)) {
    const [got, want] = [Array.from(leaf.data, Number).reduce((a, b) => a + b), sums[torchName(path)]]
    const scale = Array.from(leaf.data, v => Math.abs(Number(v))).reduce((a, b) => a + b)
    drift = Math.max(drift, Math.abs(got - want) / scale)
    assert.ok(Math.abs(got - want) <= 1e-8 * scale, `${path}: ${got} against ${want}`)
  }
  t.diagnostic(`losses within ${worst.toExponential(1)}, statistics within ${drift.toExponential(1)}`)
})
