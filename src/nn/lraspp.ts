/**
 * Lite reduced atrous spatial pyramid pooling: the head that MobileNetV3 was published with. In: a backbone. Out: a
 * network with torchvision's names (classifier.cbr.0, classifier.scale.1, classifier.low_classifier).
 * @see Howard et al. 2019, arXiv:1905.02244
 */
import { pipe } from 'fp-ts/lib/function.js'
import { relu, sigmoid } from '../dsl/ops/activation.ts'
import { add, mul } from '../dsl/ops/elementwise.ts'
import { adaptiveAvgPool2d } from '../dsl/ops/pool.ts'
import type { Tensor } from '../dsl/tensor.ts'
import { checkPositive } from './backbone.ts'
import type { BackboneChannels } from './channels.ts'
import { compose, sequential } from './compose.ts'
import { auxiliaryHead } from './fcn.ts'
import { type Floats, featureMap } from './feature.ts'
import { batchNorm, conv } from './layers.ts'
import {
  factsOf,
  type Head,
  type OnBackbone,
  outputOf,
  pixelClassifier,
  resizeTo,
  segmentationNet,
} from './segmentation.ts'

/** An LR-ASPP's configuration. */
export interface LrasppOptions<C extends BackboneChannels, P, S, N extends number>
  extends OnBackbone<C, P, S> {
  /** The feature that is classified at its own, larger size: stage2. */
  readonly low?: keyof C & string
  /** The channels of the head: 128. */
  readonly channels?: N
}

/**
 * The last stage, gated by its own means, classified; and the classes of a shallow feature added at its size.
 * @returns  { low [batch, a, h, w], high [batch, b, h', w'] } to logits [batch, classes, h, w] and neck of high's size
 * @example lrasppHead(40, 960, 21)
 */
export const lrasppHead = (low: number, high: number, classes: number, channels = 128) =>
  compose(
    {
      cbr: sequential(conv(high, channels, { kernel: 1, bias: false }), batchNorm(channels), relu),
      scale: sequential(
        (x: Floats) => adaptiveAvgPool2d(featureMap('lraspp', x), 1),
        conv(high, channels, { kernel: 1, bias: false }),
        sigmoid,
      ),
      low_classifier: pixelClassifier(low, classes),
      high_classifier: pixelClassifier(channels, classes),
    },
    (call, x: { readonly low: Tensor; readonly high: Tensor }): Head => {
      const shallow = featureMap('lraspp', x.low)
      const neck = featureMap('lraspp', mul(call.cbr(x.high), call.scale(x.high)))
      const coarse = pipe(neck, resizeTo(shallow), call.high_classifier)
      return { neck, logits: add(call.low_classifier(shallow), coarse) }
    },
  )

/**
 * LR-ASPP on a backbone; torchvision's stands on MobileNetV3 at stride 16 and reads `low`.
 * @returns  the backbone's taps and neck, [batch, channels, h', w']
 * @throws UsageError if a size is no positive integer
 * @example lraspp({ classes: 21, backbone: mobilenetV3({ outputStride: 16 }), low: 'low' })
 */
export function lraspp<C extends BackboneChannels, P, S, const N extends number = 128>(
  options: LrasppOptions<C, P, S, N>,
) {
  const { backbone, classes, channels = 128 } = options
  const low: keyof C & string = options.low ?? 'stage2'
  checkPositive('lraspp', { classes, channels })
  const { [low]: lowChannels, stage4 } = backbone.tapChannels
  const module = compose(
    {
      backbone,
      classifier: lrasppHead(lowChannels, stage4, classes, channels),
      ...auxiliaryHead(options),
    },
    (call, x: Tensor) => {
      const image = featureMap('lraspp', x)
      const stages = call.backbone(image)
      const head = call.classifier({ low: stages[low], high: stages.stage4 })
      return outputOf(image, stages, head, call.aux_classifier?.(stages))
    },
  )
  return segmentationNet(module, factsOf<C, N>('lraspp', options, channels))
}
