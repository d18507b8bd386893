/**
 * The workloads that train: a small CNN and PSPNet, each a whole step over a flat list of tensors (parameters,
 * running statistics, momentum, batch). Out: the loss, and the new values of all but the batch.
 */
import { pipe } from 'fp-ts/lib/function.js'
import { isTensor, isType } from '../src/dsl/trace.ts'
import { fillTree, leaves } from '../src/dsl/tree.ts'
import * as ct from '../src/index.ts'
import { sgd } from '../src/nn/optim.ts'
import { pspnet } from '../src/nn/pspnet.ts'
import { elements, type InputSpec } from './peers/harness.mjs'
import type { Workload } from './types.ts'

type Image = ct.Tensor<readonly [number, number, number, number], 'f32'>
type Vector = ct.Tensor<readonly [number], 'f32'>

/** Kernels within the bound of Kaiming's uniform values, gains and variances 1, everything else 0. */
const initial = (name: string, shape: readonly number[], seed: number): InputSpec => {
  const kernel = shape.length > 1 && !name.startsWith('moment')
  const one =
    !name.startsWith('moment') && /(bn|bn\d|downsample\.1)\.(weight|variance)$|gain|variance/.test(name)
  return {
    name,
    shape,
    dtype: 'f32',
    seed,
    scale: kernel ? Math.sqrt(6 / elements(shape.slice(1))) : 0,
    offset: one ? 1 : 0,
  }
}

const batchOf = (batch: number, side: number, classes: number): readonly InputSpec[] => [
  { name: 'image', shape: [batch, 3, side, side], dtype: 'f32', seed: 1001, scale: 1 },
  { name: 'label', shape: [batch, side, side], dtype: 'i32', seed: 1002, below: classes },
]

const CNN = { batch: 8, side: 64, classes: 5, channels: [3, 32, 64, 64], rate: 0.05 } as const

/**
 * Three blocks of conv 3 x 3, batch norm, relu and max-pool 2, a 1 x 1 convolution, bilinear upsampling,
 * cross-entropy, plain SGD. The parameters are, block by block, kernel, gain, offset; then the classifier's kernel
 * and bias; then the running mean and variance of each block.
 */
export function cnnStep(): Workload {
  const { channels, classes, side } = CNN
  const blocks = [0, 1, 2]
  const types: readonly (readonly [string, readonly number[]])[] = [
    ...blocks.flatMap(i => [
      [`block${i}.kernel`, [channels[i + 1], channels[i], 3, 3]] as const,
      [`block${i}.gain`, [channels[i + 1]]] as const,
      [`block${i}.offset`, [channels[i + 1]]] as const,
    ]),
    ['classifier.kernel', [classes, channels[3], 1, 1]],
    ['classifier.bias', [classes]],
    ...blocks.flatMap(i => [
      [`block${i}.mean`, [channels[i + 1]]] as const,
      [`block${i}.variance`, [channels[i + 1]]] as const,
    ]),
  ]
  const inputs = [
    ...types.map(([name, shape], i) => initial(name, shape, i + 1)),
    ...batchOf(CNN.batch, side, classes),
  ]
  const [image, label] = [types.length, types.length + 1]
  return {
    name: 'cnn-step',
    title: 'CNN training step',
    group: 'core',
    kind: 'run',
    inputs,
    state: types.length,
    // forward, and two as large backward, but for the image's gradient
    flop: 1.5e9,
    tolerance: 1e-4,
    compute: (...all) => {
      const running = all.slice(11, 17)
      const lossOf = (p: readonly ct.Tensor[]) => {
        let x = all[image] as Image
        const next: ct.Tensor[] = []
        for (const i of blocks) {
          const [w, weight, bias] = p.slice(3 * i, 3 * i + 3) as [Image, Vector, Vector]
          const [mean, variance] = running.slice(2 * i, 2 * i + 2) as [Vector, Vector]
          const norm = ct.batchNorm(
            pipe(x, ct.conv2d(w, { padding: 1 })),
            { weight, bias, mean, variance },
            { training: true },
          )
          next.push(norm.mean, norm.variance)
          x = pipe(norm.y, ct.relu, ct.maxPool2d(2)) as Image
        }
        const small = pipe(x, ct.conv2d(p[9] as Image, { bias: p[10] })) as Image
        const logits = ct.resizeBilinear(small, { size: [side, side] })
        return [ct.crossEntropy(logits, all[label] as ct.Tensor<readonly number[], 'i32'>), next] as const
      }
      const params = all.slice(0, 11)
      const [[loss, next], grads] = ct.valueAuxAndGrad(lossOf)(params)
      return [loss, ...params.map((p, i) => ct.sub(p, ct.mul(grads[i], CNN.rate))), ...next]
    },
  }
}

/** PSPNet's options: the paper's head on ResNet-18 at stride 8, without dropout (each rival has other random bits). */
const PSP = { classes: 11, rate: 0.01, momentum: 0.9, weightDecay: 1e-4 } as const
type Blocks = readonly [number, number, number, number]

const pspnetOf = (width: number, blocks: Blocks, block: 'basic' | 'bottleneck') =>
  pspnet({ classes: PSP.classes, width, blocks, block, outputStride: 8, dropoutRate: 0 })

/**
 * The trees of parameters and running statistics at width 64, types in the place of arrays. Every extent is affine in
 * the width, so two narrow networks tell it; drawing the initial values of the wide one takes seconds.
 */
function variablesOf(blocks: Blocks, block: 'basic' | 'bottleneck') {
  const [one, two] = [1, 2].map(width => pspnetOf(width, blocks, block).init(ct.keys.key(0)))
  const wide = leaves(two, isType).map(l => l.leaf.shape)
  const shapes = leaves(one, isType).map(({ leaf: { shape } }, i) =>
    ct.spec(shape.map((d, axis) => d + 63 * (wide[i][axis] - d))),
  )
  // types for arrays, one by one
  return fillTree(one, isType, shapes) as typeof one
}

/**
 * A training step of PSPNet: cross-entropy, SGD with momentum and weight decay.
 * @param batch images of `side` x `side`
 */
export function pspnetStep(
  name: string,
  batch: number,
  side: number,
  group: Workload['group'],
  blocks: Blocks = [2, 2, 2, 2],
  block: 'basic' | 'bottleneck' = 'basic',
): Workload {
  const net = pspnetOf(64, blocks, block)
  const { params, state } = variablesOf(blocks, block)
  const typed = (prefix: string, tree: unknown) =>
    leaves(tree, isType).map(l => [`${prefix}.${l.path}`, l.leaf.shape] as const)
  const types = [...typed('net', params), ...typed('running', state), ...typed('moment', params)]
  const [P, S] = [leaves(params, isType).length, leaves(state, isType).length]
  const inputs = [
    ...types.map(([path, shape], i) => initial(path, shape, i + 1)),
    ...batchOf(batch, side, PSP.classes),
  ]
  const optimiser = sgd({ momentum: PSP.momentum, weightDecay: PSP.weightDecay })
  const flat = (tree: unknown) => leaves(tree, isTensor).map(l => l.leaf)
  return {
    name,
    title: `PSPNet-ResNet-18 step, ${batch} x ${side} x ${side}`,
    group,
    kind: 'run',
    inputs,
    state: types.length,
    tolerance: 1e-3,
    compute: (...all) => {
      // the lists are the leaves of these trees, in order
      const tree = <T>(like: T, from: number) => fillTree(like, isType, all.slice(from)) as never
      const before = tree(params, 0)
      const moment = tree(params, P + S)
      const lossOf = (p: never) => {
        const { out, state: next } = net.apply(p, tree(state, P), all[types.length], { training: true })
        return [
          ct.crossEntropy(out.logits, all[types.length + 1] as ct.Tensor<readonly number[], 'i32'>),
          next,
        ] as const
      }
      const [[loss, next], grads] = ct.valueAuxAndGrad(lossOf)(before)
      const rate = ct.tensor(PSP.rate)
      const after = optimiser.update(grads, { step: ct.tensor(0, 'i32'), moments: [moment] }, before, rate)
      return [loss, ...flat(after.params), ...flat(next), ...flat(after.state.moments)]
    },
  }
}

/** Tracing and compiling a training step of PSPNet on 128 x 128 images. */
export const compileOnly = (
  name: string,
  blocks: Blocks,
  block: 'basic' | 'bottleneck',
  group: Workload['group'],
): Workload => ({
  ...pspnetStep(`compile-${name}`, 2, 128, group, blocks, block),
  title: `trace and compile PSPNet-${name}`,
  kind: 'compile',
})
