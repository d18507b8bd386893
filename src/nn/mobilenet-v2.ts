/**
 * MobileNetV2, as a feature extractor and as a classifier. In: a width multiplier. Out: a module from images to the
 * features of four stages, with torchvision's names (features.1.conv.0.0.weight; in a backbone without `features`).
 * @see Sandler et al. 2018, arXiv:1801.04381
 */
import { relu6 } from '../dsl/ops/activation.ts'
import { add } from '../dsl/ops/elementwise.ts'
import { globalAvgPool } from '../dsl/ops/pool.ts'
import { range } from '../dsl/shape.ts'
import type { Tensor } from '../dsl/tensor.ts'
import { checkPositive, roundChannels } from './backbone.ts'
import { channelsAs, type Scaled } from './channels.ts'
import { chain, compose, sequential } from './compose.ts'
import { type FeatureMap, featureMap } from './feature.ts'
import { dropout, linear } from './layers.ts'
import {
  activated,
  gridOf,
  type MobilenetOptions,
  normed,
  type Placed,
  smallNormal,
  tapped,
} from './mobilenet.ts'

/** An inverted residual's configuration. */
export interface InvertedResidualOptions {
  /** The hidden channels over the input's. */
  readonly expansion: number
  readonly stride?: number
  readonly dilation?: number
  /** Whether x is added: where the stride is 1 and the channels stay. */
  readonly residual?: boolean
}

/**
 * An inverted residual: 1 x 1 to the hidden channels, a depthwise 3 x 3 convolution, 1 x 1 to the result, without an
 * activation at the end.
 * @returns  [batch, in, h, w] to [batch, out, ceil(h / stride), ceil(w / stride)]
 * @example invertedResidual(16, 24, { expansion: 6, stride: 2 })
 */
export function invertedResidual(
  inChannels: number,
  outChannels: number,
  { expansion, stride = 1, dilation, residual }: InvertedResidualOptions,
) {
  const adds = residual ?? (stride === 1 && inChannels === outChannels)
  const hidden = inChannels * expansion
  const depthwise = activated(hidden, hidden, relu6, { kernel: 3, stride, dilation, groups: hidden })
  const project = normed(hidden, outChannels, { kernel: 1 })
  const steps =
    expansion === 1
      ? sequential(depthwise, ...project)
      : sequential(activated(inChannels, hidden, relu6, { kernel: 1 }), depthwise, ...project)
  return compose({ conv: steps }, (call, x: Tensor): FeatureMap => {
    const input = featureMap('invertedResidual', x)
    const y = featureMap('invertedResidual', call.conv(input))
    return adds ? add(y, input) : y
  })
}

/** The paper's table 2: expansion, channels, blocks, and the stage that they belong to. */
const layout = [
  [1, 16, 1, -1],
  [6, 24, 2, 0],
  [6, 32, 3, 1],
  [6, 64, 4, 2],
  [6, 96, 3, 2],
  [6, 160, 3, 3],
  [6, 320, 1, 3],
] as const

/** The channels of the stages' last layers at width 1. */
type Published = { readonly stage1: 24; readonly stage2: 32; readonly stage3: 96; readonly stage4: 320 }

type Layer = ReturnType<typeof activated> | ReturnType<typeof invertedResidual>

/** The layers `features.0` to `features.17`. */
function layersOf({ width = 1, outputStride = 32 }: MobilenetOptions): readonly Placed<Layer>[] {
  const stem = roundChannels(32 * width)
  const first = activated(3, stem, relu6, { kernel: 3, stride: 2 })
  const layers: Placed<Layer>[] = [{ layer: first, stage: -1, enters: true, channels: stem }]
  for (const [expansion, c, blocks, stage] of layout)
    for (const _ of range(blocks)) {
      const before = layers[layers.length - 1]
      const place = { stage, enters: stage !== before.stage }
      const channels = roundChannels(c * width)
      const layer = invertedResidual(before.channels, channels, {
        expansion,
        ...gridOf('mobilenetV2', place, outputStride),
        residual: !place.enters && channels === before.channels,
      })
      layers.push({ ...place, layer, channels })
    }
  return layers
}

/**
 * MobileNetV2 up to its last inverted residual (320 channels at width 1).
 * @returns  images [batch, 3, h, w] to features at strides 4, 8, 16 and 32, none above `outputStride`
 * @throws UsageError if the width or the output stride cannot be
 * @example mobilenetV2({ outputStride: 8 })
 */
export function mobilenetV2<const W extends number = 1>(options: MobilenetOptions<W> = {}) {
  const backbone = tapped('mobilenetV2', options, layersOf(options))
  return { ...backbone, tapChannels: channelsAs<Scaled<Published, W>>(backbone.tapChannels) }
}

/**
 * MobileNetV2 that classifies images.
 * @returns  images [batch, 3, h, w] to logits [batch, classes]
 * @throws UsageError as `mobilenetV2`, or if `classes` is no positive integer
 * @example mobilenetV2Classifier({ classes: 1000 })
 */
export function mobilenetV2Classifier({
  classes,
  ...options
}: MobilenetOptions & { readonly classes: number }) {
  checkPositive('mobilenetV2Classifier', { classes })
  const placed = layersOf(options)
  // the paper widens the last layer with the network, but does not narrow it
  const wide = roundChannels(1280 * Math.max(1, options.width ?? 1))
  const last = activated(placed[placed.length - 1].channels, wide, relu6, { kernel: 1 })
  return compose(
    {
      features: chain([...placed.map(p => p.layer), last]),
      classifier: sequential(dropout(0.2), linear(wide, classes, { init: smallNormal })),
    },
    (call, x: Tensor) => {
      const all = call.features(x)
      return call.classifier(globalAvgPool(all[all.length - 1]))
    },
  )
}
