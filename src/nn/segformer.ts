/**
 * SegFormer. In: a backbone. Out: a network whose head is a perceptron over the features of all stages. Names are the authors'
 * (decode_head.linear_c4.proj.weight, decode_head.linear_fuse.conv.weight, decode_head.linear_pred.weight).
 * @see Xie et al. 2021, arXiv:2105.15203
 */
import { pipe } from 'fp-ts/lib/function.js'
import { concat, permute } from '../dsl/ops/shape.ts'
import type { Tensor } from '../dsl/tensor.ts'
import { checkPositive, type Stages } from './backbone.ts'
import type { BackboneChannels } from './channels.ts'
import { compose } from './compose.ts'
import { auxiliaryHead } from './fcn.ts'
import { type FeatureMap, featureMap } from './feature.ts'
import { convBnRelu, dropout, linear } from './layers.ts'
import {
  factsOf,
  type Head,
  type OnBackbone,
  outputOf,
  pixelClassifier,
  resizeTo,
  segmentationNet,
} from './segmentation.ts'

/** A SegFormer's configuration. */
export interface SegformerOptions<C extends BackboneChannels, P, S, N extends number>
  extends OnBackbone<C, P, S> {
  /** The channels of the head: 256, as B0 and B1 have. */
  readonly channels?: N
  /** Before the classifier: 0.1. */
  readonly dropoutRate?: number
}

/** A linear map of the channels. */
const embedding = (from: number, to: number) =>
  compose({ proj: linear(from, to) }, (call, x: Tensor): FeatureMap => {
    const last = permute(featureMap('segformer', x), [0, 2, 3, 1])
    return permute(featureMap('segformer', call.proj(last)), [0, 3, 1, 2])
  })

/**
 * The head: each stage is mapped to `channels`, resized to the first, joined, fused and classified.
 * @returns  the stages to logits and neck of the first stage's size
 */
const segformerHead = (
  from: { readonly [K in keyof Stages]: number },
  classes: number,
  channels: number,
  dropoutRate: number,
) =>
  compose(
    {
      linear_c4: embedding(from.stage4, channels),
      linear_c3: embedding(from.stage3, channels),
      linear_c2: embedding(from.stage2, channels),
      linear_c1: embedding(from.stage1, channels),
      linear_fuse: convBnRelu(4 * channels, channels, { kernel: 1 }),
      dropout: dropout(dropoutRate),
      linear_pred: pixelClassifier(channels, classes),
    },
    (call, { stage1, stage2, stage3, stage4 }: Stages): Head => {
      const same = resizeTo(stage1)
      const each = [
        same(call.linear_c4(stage4)),
        same(call.linear_c3(stage3)),
        same(call.linear_c2(stage2)),
        call.linear_c1(stage1),
      ]
      const neck = call.linear_fuse(concat(each, { axis: 1 }))
      return { neck, logits: pipe(neck, call.dropout, call.linear_pred) }
    },
  )

/**
 * SegFormer on a backbone.
 * @returns  the backbone's taps and neck, [batch, channels, h / 4, w / 4]
 * @throws UsageError if a size is no positive integer
 * @example segformer({ classes: 150, backbone: mit() }) // SegFormer-B0
 */
export function segformer<C extends BackboneChannels, P, S, const N extends number = 256>(
  options: SegformerOptions<C, P, S, N>,
) {
  const { backbone, classes, channels = 256, dropoutRate = 0.1 } = options
  checkPositive('segformer', { classes, channels })
  const module = compose(
    {
      backbone,
      decode_head: segformerHead(backbone.tapChannels, classes, channels, dropoutRate),
      ...auxiliaryHead(options),
    },
    (call, x: Tensor) => {
      const image = featureMap('segformer', x)
      const stages = call.backbone(image)
      return outputOf(image, stages, call.decode_head(stages), call.aux_classifier?.(stages))
    },
  )
  return segmentationNet(module, factsOf<C, N>('segformer', options, channels))
}
