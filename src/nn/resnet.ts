/**
 * Residual networks as feature extractors. In: a configuration. Out: a module from images to the features of four
 * stages, with torchvision's names (conv1, bn1, layer1.0.conv1, layer2.0.downsample.0). An output stride of 8 or 16
 * replaces the strides of the last stages by dilation.
 * @see He et al. 2015, arXiv:1512.03385; Yu & Koltun 2017, arXiv:1705.09914 (dilation)
 */
import { pipe } from 'fp-ts/lib/function.js'
import { UsageError } from '../dsl/errors.ts'
import { relu } from '../dsl/ops/activation.ts'
import { add } from '../dsl/ops/elementwise.ts'
import { maxPool2d } from '../dsl/ops/pool.ts'
import type { Tensor } from '../dsl/tensor.ts'
import { compose, sequential } from './compose.ts'
import { type FeatureMap, featureMap } from './feature.ts'
import { type Initialiser, kaimingNormal } from './init.ts'
import { batchNorm, conv } from './layers.ts'

/** How a block maps its input. */
export interface BlockOptions {
  /** Of the first 3 x 3 convolution and the shortcut: 1. */
  readonly stride?: number
  /** Of the 3 x 3 convolutions: 1. */
  readonly dilation?: number
  /** Of the first 3 x 3 convolution alone, which may still read the grid of the stage before: `dilation`. */
  readonly entryDilation?: number
}

// torchvision's: the variance of the gradients is kept
const init: Initialiser = (key, shape) => kaimingNormal(key, shape, { mode: 'fanOut' })
const conv1x1 = (from: number, to: number, stride = 1) =>
  conv(from, to, { kernel: 1, stride, bias: false, init })
const conv3x3 = (from: number, to: number, dilation: number, stride = 1) =>
  conv(from, to, { kernel: 3, stride, padding: dilation, dilation, bias: false, init })

/** The projection of a shortcut whose size or channels change, under torchvision's name. */
const projection = (from: number, to: number, stride: number) =>
  stride !== 1 || from !== to
    ? { downsample: sequential(conv1x1(from, to, stride), batchNorm(to)) }
    : { downsample: undefined }

/**
 * relu(F(x) + shortcut(x)) with F = conv 3 x 3, norm, relu, conv 3 x 3, norm (of ResNet-18 and 34).
 * @returns  [batch, in, h, w] to [batch, width, ceil(h / stride), ceil(w / stride)]
 * @example basicBlock(64, 128, { stride: 2 })
 */
export const basicBlock = (
  inChannels: number,
  width: number,
  { stride = 1, dilation = 1, entryDilation = dilation }: BlockOptions = {},
) =>
  compose(
    {
      conv1: conv3x3(inChannels, width, entryDilation, stride),
      bn1: batchNorm(width),
      conv2: conv3x3(width, width, dilation),
      bn2: batchNorm(width),
      ...projection(inChannels, width, stride),
    },
    (call, x: Tensor): FeatureMap => {
      const input = featureMap('basicBlock', x)
      const shortcut = call.downsample ? call.downsample(input) : input
      return pipe(input, call.conv1, call.bn1, relu, call.conv2, call.bn2, add(shortcut), relu)
    },
  )

/**
 * relu(F(x) + shortcut(x)) with F = conv 1 x 1, 3 x 3, 1 x 1, each with its norm; the output has 4 width channels
 * (of ResNet-50 and deeper; the stride is in the 3 x 3 convolution, as in torchvision).
 * @returns  [batch, in, h, w] to [batch, 4 width, ceil(h / stride), ceil(w / stride)]
 * @example bottleneck(256, 128, { stride: 2 })
 */
export const bottleneck = (
  inChannels: number,
  width: number,
  { stride = 1, dilation = 1, entryDilation = dilation }: BlockOptions = {},
) =>
  compose(
    {
      conv1: conv1x1(inChannels, width),
      bn1: batchNorm(width),
      conv2: conv3x3(width, width, entryDilation, stride),
      bn2: batchNorm(width),
      conv3: conv1x1(width, 4 * width),
      bn3: batchNorm(4 * width),
      ...projection(inChannels, 4 * width, stride),
    },
    (call, x: Tensor): FeatureMap => {
      const input = featureMap('bottleneck', x)
      const shortcut = call.downsample ? call.downsample(input) : input
      return pipe(
        input,
        call.conv1,
        call.bn1,
        relu,
        call.conv2,
        call.bn2,
        relu,
        call.conv3,
        call.bn3,
        add(shortcut),
        relu,
      )
    },
  )

/** A residual network's configuration. */
export interface ResnetOptions {
  /** The channels of the first stage's blocks; they double from stage to stage. 64 in the paper. */
  readonly width: number
  /** The blocks of the stages: [2, 2, 2, 2] is ResNet-18, [3, 4, 6, 3] with bottlenecks ResNet-50. */
  readonly blocks?: readonly [number, number, number, number]
  /** 'basic' */
  readonly block?: 'basic' | 'bottleneck'
  /** The input's size over the last stage's: 32, 16 or 8. */
  readonly outputStride?: 8 | 16 | 32
}

/** The features of the four stages. */
export type ResnetFeatures = {
  readonly stage1: FeatureMap
  readonly stage2: FeatureMap
  readonly stage3: FeatureMap
  readonly stage4: FeatureMap
}

/**
 * A residual network up to its last stage.
 * @returns  images [batch, 3, h, w] to features at strides 4, 8, 16 and 32, the last two no more than `outputStride`
 * @throws UsageError if the output stride is not 8, 16 or 32, or a stage has no block
 * @example resnet({ width: 64, blocks: [3, 4, 6, 3], block: 'bottleneck', outputStride: 8 })
 */
export const resnet = ({
  width,
  blocks = [2, 2, 2, 2],
  block = 'basic',
  outputStride = 32,
}: ResnetOptions) => {
  if (![8, 16, 32].includes(outputStride))
    throw new UsageError(`resnet: the output stride is 8, 16 or 32, got ${outputStride}`)
  if (blocks.some(n => !Number.isInteger(n) || n < 1))
    throw new UsageError(`resnet: each stage has one block or more, got [${blocks.join(', ')}]`)
  const one = block === 'basic' ? basicBlock : bottleneck
  const expansion = expansions[block]
  const layer = (stage: number) => {
    const stride = stage === 0 ? 1 : 2
    // A stride that is left out dilates all that follows it: at every (dilation)-th position the features are those
    // of the strided network. The block that left it out still enters on the grid of the stage before.
    const before = Math.max((4 * 2 ** Math.max(stage - 1, 0)) / outputStride, 1)
    const dilation = Math.max((4 * 2 ** stage) / outputStride, 1)
    const to = width * 2 ** stage
    const from = stage === 0 ? width : (to / 2) * expansion
    return sequential(
      one(from, to, { stride: dilation > before ? 1 : stride, dilation, entryDilation: before }),
      ...Array.from({ length: blocks[stage] - 1 }, () => one(to * expansion, to, { dilation })),
    )
  }
  return compose(
    {
      conv1: conv(3, width, { kernel: 7, stride: 2, padding: 3, bias: false, init }),
      bn1: batchNorm(width),
      layer1: layer(0),
      layer2: layer(1),
      layer3: layer(2),
      layer4: layer(3),
    },
    (call, x: Tensor): ResnetFeatures => {
      const stem = pipe(x, call.conv1, call.bn1, relu, maxPool2d({ kernel: 3, stride: 2, padding: 1 }))
      const stage1 = call.layer1(stem)
      const stage2 = call.layer2(stage1)
      const stage3 = call.layer3(stage2)
      return { stage1, stage2, stage3, stage4: call.layer4(stage3) }
    },
  )
}
const expansions = { basic: 1, bottleneck: 4 } as const

/** The channels of the four stages. @example stageChannels({ width: 64, block: 'bottleneck' }).stage4 // 2048 */
export const stageChannels = ({ width, block = 'basic' }: ResnetOptions) => {
  const c = width * expansions[block]
  return { stage1: c, stage2: 2 * c, stage3: 4 * c, stage4: 8 * c }
}
