/**
 * DeepLabV3 and DeepLabV3+. In: a backbone. Out: networks whose heads look at several scales at once through dilated
 * convolutions; V3+ also joins the first stage's details. V3's names are torchvision's (classifier.0.convs.1.0.weight).
 */
import { pipe } from 'fp-ts/lib/function.js'
import { relu } from '../dsl/ops/activation.ts'
import { adaptiveAvgPool2d } from '../dsl/ops/pool.ts'
import { concat } from '../dsl/ops/shape.ts'
import type { Tensor } from '../dsl/tensor.ts'
import { checkPositive } from './backbone.ts'
import type { BackboneChannels } from './channels.ts'
import { compose, onTap, sequential } from './compose.ts'
import { auxiliaryHead } from './fcn.ts'
import { type FeatureMap, type Floats, featureMap } from './feature.ts'
import { batchNorm, conv, dropout } from './layers.ts'
import {
  factsOf,
  type Head,
  type OnBackbone,
  outputOf,
  pixelClassifier,
  resizeTo,
  segmentationNet,
} from './segmentation.ts'

/** Convolution without bias, norm and rectifier, by position. */
const convolved = (from: number, to: number, kernel: number, dilation = 1, groups = 1) =>
  sequential(
    conv(from, to, { kernel, dilation, groups, padding: ((kernel - 1) / 2) * dilation, bias: false }),
    batchNorm(to),
    relu,
  )
/** A 3 x 3 convolution as a depthwise and a pointwise one, each with norm and rectifier. */
const separated = (from: number, to: number, dilation = 1) =>
  sequential(convolved(from, from, 3, dilation, from), convolved(from, to, 1))
const spatial = (separable: boolean, from: number, to: number, dilation = 1) =>
  separable ? separated(from, to, dilation) : convolved(from, to, 3, dilation)

/** The means of all channels through a 1 x 1 convolution: each image's context, [batch, to, 1, 1]. */
const pooled = (from: number, to: number) =>
  sequential(
    (x: Floats) => adaptiveAvgPool2d(featureMap('asppPooling', x), 1),
    conv(from, to, { kernel: 1, bias: false }),
    batchNorm(to),
    relu,
  )

/** Atrous spatial pyramid pooling. */
export interface AsppOptions<N extends number = number> {
  /** The dilations of the 3 x 3 convolutions, for an output stride of 8: [12, 24, 36]. */
  readonly rates?: readonly number[]
  /** The channels of each branch and of the result: 256. */
  readonly channels?: N
  /** Whether the dilated convolutions are depthwise and pointwise ones: false. */
  readonly separable?: boolean
  /** After the projection: 0.5. */
  readonly dropoutRate?: number
}

/**
 * Atrous spatial pyramid pooling: a 1 x 1 convolution, dilated 3 x 3 ones and the image's mean, joined and projected.
 * @returns  [batch, in, h, w] to [batch, channels, h, w]
 * @throws UsageError if a size is no positive integer; ShapeError in training on one image: the mean's norm sees one value
 * @see Chen et al. 2017, arXiv:1706.05587
 * @example aspp(2048, { rates: [6, 12, 18] })
 */
export function aspp(
  inChannels: number,
  { rates = [12, 24, 36], channels = 256, separable = false, dropoutRate = 0.5 }: AsppOptions = {},
) {
  checkPositive('aspp', { channels, ...Object.fromEntries(rates.map(r => [`rate ${r}`, r])) })
  const branches = [
    convolved(inChannels, channels, 1),
    ...rates.map(rate => spatial(separable, inChannels, channels, rate)),
    pooled(inChannels, channels),
  ]
  return compose(
    {
      convs: compose(Object.fromEntries(branches.map((m, i) => [i, m])), (call, x: Tensor) => {
        const input = featureMap('aspp', x)
        const each = branches.map((_, i) => resizeTo(input)(featureMap('aspp', call[i](input))))
        return featureMap('aspp', concat(each, { axis: 1 }))
      }),
      project: sequential(
        conv(branches.length * channels, channels, { kernel: 1, bias: false }),
        batchNorm(channels),
        relu,
        dropout(dropoutRate),
      ),
    },
    (call, x: Tensor): FeatureMap => featureMap('aspp', pipe(x, call.convs, call.project)),
  )
}

/** A DeepLabV3's configuration. */
export interface DeeplabOptions<C extends BackboneChannels, P, S, N extends number>
  extends OnBackbone<C, P, S>,
    AsppOptions<N> {}

/** torchvision's DeepLabHead: pyramid, 3 x 3 convolution, norm, rectifier, classifier. */
const deeplabHead = (inChannels: number, classes: number, { channels = 256, ...options }: AsppOptions) =>
  compose(
    {
      0: aspp(inChannels, { channels, ...options }),
      1: conv(channels, channels, { kernel: 3, padding: 1, bias: false }),
      2: batchNorm(channels),
      4: pixelClassifier(channels, classes),
    },
    (call, x: Tensor): Head => {
      const neck = pipe(x, call[0], call[1], call[2], relu)
      return { neck, logits: call[4](neck) }
    },
  )

/**
 * DeepLabV3: atrous spatial pyramid pooling on the last stage.
 * @returns  the backbone's taps and neck, [batch, channels, h', w']
 * @throws UsageError if a size is no positive integer
 * @see Chen et al. 2017, arXiv:1706.05587
 * @example deeplabv3({ classes: 19, backbone: resnet({ depth: 101, outputStride: 8 }), auxiliary: true })
 */
export function deeplabv3<C extends BackboneChannels, P, S, const N extends number = 256>(
  options: DeeplabOptions<C, P, S, N>,
) {
  const { backbone, classes, auxiliary, ...pyramid } = options
  checkPositive('deeplabv3', { classes })
  const module = compose(
    {
      backbone,
      classifier: onTap('stage4', deeplabHead(backbone.tapChannels.stage4, classes, pyramid)),
      ...auxiliaryHead(options),
    },
    (call, x: Tensor) => {
      const image = featureMap('deeplabv3', x)
      const stages = call.backbone(image)
      return outputOf(image, stages, call.classifier(stages), call.aux_classifier?.(stages))
    },
  )
  return segmentationNet(module, factsOf<C, N>('deeplabv3', options, pyramid.channels ?? 256))
}

/** A DeepLabV3+'s configuration; its dilated and its decoder's convolutions are separable by default. */
export interface DeeplabPlusOptions<C extends BackboneChannels, P, S, N extends number>
  extends DeeplabOptions<C, P, S, N> {
  /** The channels to which the first stage is reduced: 48. */
  readonly lowChannels?: number
}

/**
 * DeepLabV3+: the pyramid's result is resized to the first stage and joined with its details, before two 3 x 3
 * convolutions and the classifier.
 * @returns  the backbone's taps and neck, [batch, channels, h / 4, w / 4]
 * @throws UsageError if a size is no positive integer
 * @see Chen et al. 2018, arXiv:1802.02611
 * @example deeplabv3plus({ classes: 19, backbone: resnet({ depth: 101, outputStride: 16 }), rates: [6, 12, 18] })
 */
export function deeplabv3plus<C extends BackboneChannels, P, S, const N extends number = 256>(
  options: DeeplabPlusOptions<C, P, S, N>,
) {
  const { backbone, classes, lowChannels = 48, channels = 256, separable = true, rates } = options
  const { dropoutRate = 0.1 } = options
  checkPositive('deeplabv3plus', { classes, lowChannels })
  const { stage1, stage4 } = backbone.tapChannels
  const module = compose(
    {
      backbone,
      aspp: aspp(stage4, { rates, channels, separable, dropoutRate }),
      low: convolved(stage1, lowChannels, 1),
      decoder: sequential(
        spatial(separable, channels + lowChannels, channels),
        spatial(separable, channels, channels),
      ),
      classifier: sequential(dropout(dropoutRate), pixelClassifier(channels, classes)),
      ...auxiliaryHead(options),
    },
    (call, x: Tensor) => {
      const image = featureMap('deeplabv3plus', x)
      const stages = call.backbone(image)
      const context = pipe(stages.stage4, call.aspp, resizeTo(stages.stage1))
      const joined = concat([context, call.low(stages.stage1)], { axis: 1 })
      const neck = featureMap('deeplabv3plus', call.decoder(joined))
      return outputOf(image, stages, { neck, logits: call.classifier(neck) }, call.aux_classifier?.(stages))
    },
  )
  return segmentationNet(module, factsOf<C, N>('deeplabv3plus', options, channels))
}
