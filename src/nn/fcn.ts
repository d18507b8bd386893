/**
 * Fully convolutional networks: a backbone, one 3 x 3 convolution and a classifier. The same head on an earlier stage is
 * the auxiliary head of all networks. Names are torchvision's: backbone, classifier.0, classifier.4, aux_classifier.
 * @see Long, Shelhamer, Darrell 2015, arXiv:1411.4038; Zhao et al. 2017, arXiv:1612.01105 (the auxiliary loss)
 */
import { pipe } from 'fp-ts/lib/function.js'
import { relu } from '../dsl/ops/activation.ts'
import type { Tensor } from '../dsl/tensor.ts'
import { checkPositive } from './backbone.ts'
import type { BackboneChannels, Quarter } from './channels.ts'
import { compose, onTap } from './compose.ts'
import { featureMap } from './feature.ts'
import { batchNorm, conv, dropout } from './layers.ts'
import {
  factsOf,
  type Head,
  type OnBackbone,
  outputOf,
  pixelClassifier,
  segmentationNet,
} from './segmentation.ts'

/** The options of an FCN. */
export interface FcnOptions<C extends BackboneChannels, P, S, N extends number> extends OnBackbone<C, P, S> {
  /** The channels of the head: a quarter of stage 4's. */
  readonly channels?: N
  /** Before the classifier: 0.1. */
  readonly dropoutRate?: number
}

/**
 * A 3 x 3 convolution with norm and rectifier, dropout and a classifier.
 * @param options.channels of the convolution: a quarter of the input's; `dropoutRate`: 0.1
 * @returns  [batch, in, h, w] to logits [batch, classes, h, w] and neck [batch, channels, h, w]
 * @example fcnHead(2048, 21)
 */
export const fcnHead = (
  inChannels: number,
  classes: number,
  {
    channels = quarter(inChannels),
    dropoutRate = 0.1,
  }: { readonly channels?: number; readonly dropoutRate?: number } = {},
) =>
  compose(
    {
      0: conv(inChannels, channels, { kernel: 3, padding: 1, bias: false }),
      1: batchNorm(channels),
      3: dropout(dropoutRate),
      4: pixelClassifier(channels, classes),
    },
    (call, x: Tensor): Head => {
      const neck = pipe(x, call[0], call[1], relu)
      return { neck, logits: pipe(neck, call[3], call[4]) }
    },
  )
const quarter = (channels: number) => Math.max(Math.floor(channels / 4), 1)

/** The auxiliary head that the options ask for, under torchvision's name: from a backbone's features to a `Head`. */
export function auxiliaryHead<C extends BackboneChannels, P, S>({
  auxiliary = false,
  backbone,
  classes,
}: OnBackbone<C, P, S>) {
  if (auxiliary === false) return { aux_classifier: undefined }
  const tap: keyof C & string = auxiliary === true ? 'stage3' : auxiliary
  const head = fcnHead(backbone.tapChannels[tap], classes)
  return { aux_classifier: onTap(tap, head) }
}

/**
 * A fully convolutional network on a backbone.
 * @returns  the backbone's taps and neck, [batch, channels, h', w']
 * @throws UsageError if a size is no positive integer
 * @example fcn({ classes: 21, backbone: resnet({ depth: 50, outputStride: 8 }), auxiliary: true })
 */
export function fcn<C extends BackboneChannels, P, S, const N extends number = Quarter<C['stage4']>>(
  options: FcnOptions<C, P, S, N>,
) {
  const { backbone, classes, channels = quarter(backbone.tapChannels.stage4), dropoutRate } = options
  checkPositive('fcn', { classes, channels })
  const module = compose(
    {
      backbone,
      classifier: onTap('stage4', fcnHead(backbone.tapChannels.stage4, classes, { channels, dropoutRate })),
      ...auxiliaryHead(options),
    },
    (call, x: Tensor) => {
      const image = featureMap('fcn', x)
      const stages = call.backbone(image)
      return outputOf(image, stages, call.classifier(stages), call.aux_classifier?.(stages))
    },
  )
  return segmentationNet(module, factsOf<C, N>('fcn', options, channels))
}
