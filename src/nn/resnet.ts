/**
 * Residual networks, as feature extractors and as classifiers. In: a configuration. Out: a module from images to the
 * features of four stages, with torchvision's names (conv1, bn1, layer1.0.conv1, layer2.0.downsample.0). An output
 * stride of 8 or 16 replaces the strides of the last stages by dilation.
 * @see He et al. 2015, arXiv:1512.03385; Yu & Koltun 2017, arXiv:1705.09914 (dilation)
 */
import { pipe } from 'fp-ts/lib/function.js'
import { UsageError } from '../dsl/errors.ts'
import { relu } from '../dsl/ops/activation.ts'
import { add } from '../dsl/ops/elementwise.ts'
import { globalAvgPool, maxPool2d } from '../dsl/ops/pool.ts'
import type { Tensor } from '../dsl/tensor.ts'
import type { Mul } from '../dsl/types/arithmetic.ts'
import { checkPositive, type OutputStride, type Stages, stageGrid } from './backbone.ts'
import { channelsAs, type Doubling } from './channels.ts'
import { type Calls, compose, sequential } from './compose.ts'
import { type FeatureMap, featureMap } from './feature.ts'
import { type Initialiser, kaimingNormal } from './init.ts'
import { batchNorm, conv, linear } from './layers.ts'

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

/** The numbers and kinds of blocks of the published networks. */
const layouts = {
  18: { blocks: [2, 2, 2, 2], block: 'basic' },
  34: { blocks: [3, 4, 6, 3], block: 'basic' },
  50: { blocks: [3, 4, 6, 3], block: 'bottleneck' },
  101: { blocks: [3, 4, 23, 3], block: 'bottleneck' },
} as const
/** ResNet-18, 34, 50 or 101. */
export type ResnetDepth = keyof typeof layouts
/** The channels of a block's result over its width. */
const expansions = { basic: 1, bottleneck: 4 } as const
/** A kind of residual block. */
export type ResnetBlock = keyof typeof expansions
/** The channels of the four stages at a width. */
export type ResnetChannels<W extends number, B extends ResnetBlock> = Doubling<Mul<W, (typeof expansions)[B]>>

/** A residual network's configuration. */
export interface ResnetOptions<
  W extends number = number,
  D extends ResnetDepth = ResnetDepth,
  B extends ResnetBlock = ResnetBlock,
> {
  /** The channels of the first stage's blocks; they double from stage to stage: 64. */
  readonly width?: W
  /** 18 */
  readonly depth?: D
  /** The blocks of the stages: those of the depth. */
  readonly blocks?: readonly [number, number, number, number]
  /** That of the depth. */
  readonly block?: B
  /** The input's size over the last stage's: 32. */
  readonly outputStride?: OutputStride
  /** Three 3 x 3 convolutions in the place of the 7 x 7 one, as mmsegmentation's ResNetV1c: false. */
  readonly deepStem?: boolean
}

/** The options, completed and checked. */
function complete(options: ResnetOptions) {
  const { width = 64, depth = 18, outputStride = 32, deepStem = false } = options
  if (!(depth in layouts))
    throw new UsageError(`resnet: the depth is ${Object.keys(layouts).join(', ')}, got ${depth}`)
  const { blocks = layouts[depth].blocks, block = layouts[depth].block } = options
  checkPositive('resnet', { width })
  if (blocks.some(n => !Number.isInteger(n) || n < 1))
    throw new UsageError(`resnet: each stage has one block or more, got [${blocks.join(', ')}]`)
  return { width, depth, blocks, block, outputStride, deepStem }
}

/** From the image to half its size: torchvision's conv1 and bn1, or mmsegmentation's stem.0 to stem.7. */
const stemOf = (deep: boolean, width: number) => {
  const half = Math.max(Math.floor(width / 2), 1)
  return deep
    ? {
        stem: sequential(
          conv3x3(3, half, 1, 2),
          batchNorm(half),
          relu,
          conv3x3(half, half, 1),
          batchNorm(half),
          relu,
          conv3x3(half, width, 1),
          batchNorm(width),
          relu,
        ),
      }
    : {
        conv1: conv(3, width, { kernel: 7, stride: 2, padding: 3, bias: false, init }),
        bn1: batchNorm(width),
      }
}

/** The children of a residual network up to its last stage. */
function partsOf({ width, blocks, block, outputStride, deepStem }: ReturnType<typeof complete>) {
  const one = block === 'basic' ? basicBlock : bottleneck
  const expansion = expansions[block]
  const layer = (stage: number) => {
    // The block that leaves out a stride still enters on the grid of the stage before: at every (dilation)-th
    // position the features are those of the strided network.
    const { stride, dilation, before } = stageGrid('resnet', stage, outputStride)
    const to = width * 2 ** stage
    const from = stage === 0 ? width : (to / 2) * expansion
    return sequential(
      one(from, to, { stride, dilation, entryDilation: before }),
      ...Array.from({ length: blocks[stage] - 1 }, () => one(to * expansion, to, { dilation })),
    )
  }
  return {
    ...stemOf(deepStem, width),
    layer1: layer(0),
    layer2: layer(1),
    layer3: layer(2),
    layer4: layer(3),
  }
}

function stagesOf(call: Calls<ReturnType<typeof partsOf>>, x: Tensor): Stages {
  const entered = call.stem ? call.stem(x) : pipe(x, call.conv1, call.bn1, relu)
  const stage1 = call.layer1(maxPool2d(featureMap('stem', entered), { kernel: 3, stride: 2, padding: 1 }))
  const stage2 = call.layer2(stage1)
  const stage3 = call.layer3(stage2)
  return { stage1, stage2, stage3, stage4: call.layer4(stage3) }
}

const nameOf = (o: ReturnType<typeof complete>) => {
  const { blocks, block } = layouts[o.depth]
  const published = o.block === block && o.blocks.every((n, i) => n === blocks[i])
  return [
    published ? `resnet${o.depth}` : `resnet ${o.block} blocks ${o.blocks.join('-')}`,
    ...(o.deepStem ? ['deep stem'] : []),
    `width ${o.width}`,
    `stride ${o.outputStride}`,
  ].join(', ')
}

/**
 * A residual network up to its last stage.
 * @returns  images [batch, 3, h, w] to features at strides 4, 8, 16 and 32, none above `outputStride`
 * @throws UsageError if the depth or the output stride is none of those above, or a stage has no block
 * @example resnet({ depth: 50, outputStride: 8 })
 */
export function resnet<
  const W extends number = 64,
  D extends ResnetDepth = 18,
  B extends ResnetBlock = (typeof layouts)[D]['block'],
>(options: ResnetOptions<W, D, B> = {}) {
  const all = complete(options)
  const module = compose(partsOf(all), stagesOf)
  return { ...module, name: nameOf(all), tapChannels: stageChannels(options) }
}

/** The channels of the four stages. @example stageChannels({ depth: 50 }).stage4 // 2048 */
export function stageChannels<
  const W extends number = 64,
  D extends ResnetDepth = 18,
  B extends ResnetBlock = (typeof layouts)[D]['block'],
>(options: ResnetOptions<W, D, B>) {
  const { width, block } = complete(options)
  const c = width * expansions[block]
  return channelsAs<ResnetChannels<W, B>>({ stage1: c, stage2: 2 * c, stage3: 4 * c, stage4: 8 * c })
}

/**
 * A residual network that classifies images, with torchvision's names (`fc` is the last layer).
 * @returns  images [batch, 3, h, w] to logits [batch, classes]
 * @throws UsageError as `resnet`, or if `classes` is no positive integer
 * @example resnetClassifier({ depth: 18, classes: 1000 })
 */
export function resnetClassifier({ classes, ...options }: ResnetOptions & { readonly classes: number }) {
  const all = complete(options)
  checkPositive('resnetClassifier', { classes })
  const fc = linear(stageChannels(all).stage4, classes)
  return compose({ ...partsOf(all), fc }, (call, x: Tensor) =>
    call.fc(globalAvgPool(stagesOf(call, x).stage4)),
  )
}
