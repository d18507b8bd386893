/**
 * MobileNetV3-Large, as a feature extractor and as a classifier. In: a width multiplier. Out: a module from images to
 * the features of four stages, with torchvision's names (features.1.block.0.0.weight; in a backbone without `features`).
 * @see Howard et al. 2019, arXiv:1905.02244; Hu et al. 2017, arXiv:1709.01507 (squeeze and excitation)
 */
import { pipe } from 'fp-ts/lib/function.js'
import { hardSigmoid, hardswish, relu } from '../dsl/ops/activation.ts'
import { add, mul } from '../dsl/ops/elementwise.ts'
import { adaptiveAvgPool2d, globalAvgPool } from '../dsl/ops/pool.ts'
import type { Tensor } from '../dsl/tensor.ts'
import { checkPositive, roundChannels } from './backbone.ts'
import { channelsAs, type Scaled } from './channels.ts'
import { chain, compose, sequential } from './compose.ts'
import { type FeatureMap, type Floats, featureMap } from './feature.ts'
import { conv, dropout, linear } from './layers.ts'
import {
  activated,
  gridOf,
  type MobilenetOptions,
  normed,
  type Placed,
  smallNormal,
  tapped,
} from './mobilenet.ts'

/** The paper's batch norm, as torchvision has it. */
const norm = { eps: 1e-3, momentum: 0.01 } as const

/**
 * Gates each channel by what the means of all channels say: x hardSigmoid(fc2(relu(fc1(mean x)))).
 * @param squeezed  the channels between fc1 and fc2
 * @returns  the type of the input, [batch, channels, h, w]
 * @example squeezeExcitation(72, 24)
 */
export const squeezeExcitation = (channels: number, squeezed: number) =>
  compose(
    { fc1: conv(channels, squeezed, { kernel: 1 }), fc2: conv(squeezed, channels, { kernel: 1 }) },
    (call, x: Tensor): FeatureMap => {
      const input = featureMap('squeezeExcitation', x)
      return mul(input, pipe(input, adaptiveAvgPool2d(1), call.fc1, relu, call.fc2, hardSigmoid))
    },
  )

/** A block's configuration. */
export interface MobileBlockOptions {
  readonly kernel: number
  /** The channels of the depthwise convolution. */
  readonly hidden: number
  /** Whether the channels are gated. */
  readonly squeeze: boolean
  readonly activation: (x: Floats) => Floats
  readonly stride?: number
  readonly dilation?: number
  /** Whether x is added: where the stride is 1 and the channels stay. */
  readonly residual?: boolean
}

/**
 * MobileNetV3's block: 1 x 1 to the hidden channels (if they are more), depthwise, gated, 1 x 1 to the result.
 * @returns  [batch, in, h, w] to [batch, out, ceil(h / stride), ceil(w / stride)]
 * @example mobileBlock(16, 24, { kernel: 3, hidden: 64, squeeze: false, activation: relu, stride: 2 })
 */
export function mobileBlock(
  inChannels: number,
  outChannels: number,
  { kernel, hidden, squeeze, activation, stride = 1, dilation, residual }: MobileBlockOptions,
) {
  const adds = residual ?? (stride === 1 && inChannels === outChannels)
  const block = sequential(
    ...(hidden === inChannels ? [] : [activated(inChannels, hidden, activation, { kernel: 1, norm })]),
    activated(hidden, hidden, activation, { kernel, stride, dilation, groups: hidden, norm }),
    ...(squeeze ? [squeezeExcitation(hidden, roundChannels(Math.floor(hidden / 4)))] : []),
    sequential(...normed(hidden, outChannels, { kernel: 1, norm })),
  )
  return compose({ block }, (call, x: Tensor): FeatureMap => {
    const input = featureMap('mobileBlock', x)
    const y = featureMap('mobileBlock', call.block(input))
    return adds ? add(y, input) : y
  })
}

/** The paper's table 1: kernel, hidden channels, channels, gate, activation, stage. */
const layout = [
  [3, 16, 16, false, relu, -1],
  [3, 64, 24, false, relu, 0],
  [3, 72, 24, false, relu, 0],
  [5, 72, 40, true, relu, 1],
  [5, 120, 40, true, relu, 1],
  [5, 120, 40, true, relu, 1],
  [3, 240, 80, false, hardswish, 2],
  [3, 200, 80, false, hardswish, 2],
  [3, 184, 80, false, hardswish, 2],
  [3, 184, 80, false, hardswish, 2],
  [3, 480, 112, true, hardswish, 2],
  [3, 672, 112, true, hardswish, 2],
  [5, 672, 160, true, hardswish, 3],
  [5, 960, 160, true, hardswish, 3],
  [5, 960, 160, true, hardswish, 3],
] as const

/** The channels of the taps at width 1. */
type Published = {
  readonly stage1: 24
  readonly low: 40
  readonly stage2: 40
  readonly stage3: 112
  readonly stage4: 960
}

type Layer = ReturnType<typeof activated> | ReturnType<typeof mobileBlock>

/** The layers `features.0` to `features.16`. */
function layersOf({ width = 1, outputStride = 32 }: MobilenetOptions): readonly Placed<Layer>[] {
  const stem = roundChannels(16 * width)
  const first = activated(3, stem, hardswish, { kernel: 3, stride: 2, norm })
  const layers: Placed<Layer>[] = [{ layer: first, stage: -1, enters: true, channels: stem }]
  for (const [kernel, hidden, c, squeeze, activation, stage] of layout) {
    const before = layers[layers.length - 1]
    const place = { stage, enters: stage !== before.stage }
    const channels = roundChannels(c * width)
    const layer = mobileBlock(before.channels, channels, {
      kernel,
      hidden: roundChannels(hidden * width),
      squeeze,
      activation,
      ...gridOf('mobilenetV3', place, outputStride),
      residual: !place.enters && channels === before.channels,
    })
    layers.push({ ...place, layer, channels })
  }
  const before = layers[layers.length - 1].channels
  const last = activated(before, 6 * before, hardswish, { kernel: 1, norm })
  return [...layers, { layer: last, stage: 3, enters: false, channels: 6 * before }]
}

/**
 * MobileNetV3-Large up to its last convolution (960 channels at width 1).
 * @returns  images [batch, 3, h, w] to features at strides 4, 8, 16 and 32, none above `outputStride`; and `low`, the
 *   first block at stride 8, which torchvision's segmentation networks read
 * @throws UsageError if the width or the output stride cannot be
 * @example mobilenetV3({ outputStride: 16 })
 */
export function mobilenetV3<const W extends number = 1>(options: MobilenetOptions<W> = {}) {
  const layers = layersOf(options)
  const backbone = tapped('mobilenetV3', options, layers, { low: layers.findIndex(p => p.stage === 1) })
  return { ...backbone, tapChannels: channelsAs<Scaled<Published, W>>(backbone.tapChannels) }
}

/**
 * MobileNetV3-Large that classifies images.
 * @returns  images [batch, 3, h, w] to logits [batch, classes]
 * @throws UsageError as `mobilenetV3`, or if `classes` is no positive integer
 * @example mobilenetV3Classifier({ classes: 1000 })
 */
export function mobilenetV3Classifier({
  classes,
  ...options
}: MobilenetOptions & { readonly classes: number }) {
  checkPositive('mobilenetV3Classifier', { classes })
  const placed = layersOf(options)
  const wide = roundChannels(1280 * (options.width ?? 1))
  return compose(
    {
      features: chain(placed.map(p => p.layer)),
      classifier: sequential(
        linear(placed[placed.length - 1].channels, wide, { init: smallNormal }),
        hardswish,
        dropout(0.2),
        linear(wide, classes, { init: smallNormal }),
      ),
    },
    (call, x: Tensor) => {
      const all = call.features(x)
      return call.classifier(globalAvgPool(all[all.length - 1]))
    },
  )
}
