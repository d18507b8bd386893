/**
 * The pyramid scene parsing network. In: images. Out: logits, and taps of backbone and neck. Means over coarse grids
 * give every pixel the context of the whole image.
 */
import { pipe } from 'fp-ts/lib/function.js'
import { UsageError } from '../dsl/errors.ts'
import { adaptiveAvgPool2d } from '../dsl/ops/pool.ts'
import { concat } from '../dsl/ops/shape.ts'
import type { Tensor } from '../dsl/tensor.ts'
import type { Mul } from '../dsl/types/arithmetic.ts'
import { type Backbone, checkPositive } from './backbone.ts'
import type { BackboneChannels } from './channels.ts'
import { compose, type ParamsOf, type StateOf, sequential } from './compose.ts'
import { auxiliaryHead } from './fcn.ts'
import { type FeatureMap, featureMap } from './feature.ts'
import { convBnRelu, dropout } from './layers.ts'
import {
  type ResnetBlock,
  type ResnetChannels,
  type ResnetDepth,
  type ResnetOptions,
  resnet,
} from './resnet.ts'
import {
  factsOf,
  type OnBackbone,
  outputOf,
  pixelClassifier,
  resizeTo,
  segmentationNet,
} from './segmentation.ts'

/** A PSPNet's head. */
export interface PyramidOptions<N extends number> {
  readonly classes: number
  /** The grids of the pyramid: [1, 2, 3, 6]. */
  readonly poolScales?: readonly number[]
  /** The channels of the neck: 512, as in the paper; 8 width with the options of a residual backbone. */
  readonly neckChannels?: N
  /** Before the classifier: 0.1. */
  readonly dropoutRate?: number
}

/** A PSPNet's configuration: the head, and a backbone or the options of a residual one. */
export type PspnetOptions<
  W extends number,
  B extends ResnetBlock,
  N extends number,
  C extends BackboneChannels,
  P,
  S,
> = PyramidOptions<N> &
  Pick<OnBackbone<C, P, S>, 'auxiliary'> &
  (ResnetOptions<W, ResnetDepth, B> | Pick<OnBackbone<C, P, S>, 'backbone'>)

/**
 * Pyramid pooling: means over grids of s x s cells, each through a 1 x 1 convolution, resized to x and joined to it.
 * @returns  [batch, channels, h, w] to [batch, channels + scales * branch, h, w]
 * @throws ShapeError in training on one image, if a scale is 1: its norm sees a single value a channel
 * @example pyramidPooling(512, 128, [1, 2, 3, 6])
 */
export const pyramidPooling = (channels: number, branch: number, scales: readonly number[]) =>
  compose(
    Object.fromEntries(scales.map(s => [`pool${s}`, convBnRelu(channels, branch, { kernel: 1 })])),
    (call, x: Tensor): FeatureMap => {
      const input = featureMap('pyramidPooling', x)
      const context = scales.map(s =>
        pipe(input, adaptiveAvgPool2d([s, s]), call[`pool${s}`], resizeTo(input)),
      )
      return featureMap('pyramidPooling', concat([input, ...context], { axis: 1 }))
    },
  )

/**
 * The pyramid scene parsing network: a backbone, pyramid pooling, a 3 x 3 convolution and a classifier. Without a
 * backbone it stands on a residual one of these options, by default of one block a stage at stride 8.
 * @returns  the backbone's taps, and neck before dropout and classifier
 * @throws UsageError if a size is no positive integer or a scale occurs twice
 * @see Zhao et al. 2017, arXiv:1612.01105
 * @example pspnet({ classes: 19, backbone: resnet({ depth: 18, outputStride: 8, deepStem: true }), auxiliary: true })
 * @example pspnet({ classes: 11, width: 16 })
 */
export function pspnet<
  const W extends number = 64,
  B extends ResnetBlock = 'basic',
  const N extends number = Mul<W, 8>, // 512 beside a backbone, where nothing binds W
  C extends BackboneChannels = ResnetChannels<W, B>,
  P = Residual['params'],
  S = Residual['state'],
>(options: PspnetOptions<W, B, N, C, P, S>) {
  const { classes, auxiliary, poolScales = [1, 2, 3, 6], dropoutRate = 0.1 } = options
  // Without a backbone nothing binds the types but their defaults, which are the residual network's.
  const backbone =
    'backbone' in options
      ? options.backbone
      : (resnet({ blocks: oneEach, block: 'basic', outputStride: 8, ...options }) as unknown as Backbone<
          C,
          P,
          S
        >)
  const { neckChannels = 'backbone' in options ? 512 : 8 * (options.width ?? 64) } = options
  checkPositive('pspnet', { classes, neckChannels })
  if (new Set(poolScales).size !== poolScales.length)
    throw new UsageError(`pspnet: the pool scales must differ, got [${poolScales.join(', ')}]`)
  const { stage4 } = backbone.tapChannels
  const branch = Math.max(Math.floor(stage4 / Math.max(poolScales.length, 1)), 1)
  const module = compose(
    {
      backbone,
      pyramid: pyramidPooling(stage4, branch, poolScales),
      neck: convBnRelu(stage4 + branch * poolScales.length, neckChannels, { kernel: 3 }),
      classifier: sequential(dropout(dropoutRate), pixelClassifier(neckChannels, classes)),
      ...auxiliaryHead({ backbone, classes, auxiliary }),
    },
    (call, x: Tensor) => {
      const image = featureMap('pspnet', x)
      const stages = call.backbone(image)
      const neck = pipe(stages.stage4, call.pyramid, call.neck)
      return outputOf(image, stages, { neck, logits: call.classifier(neck) }, call.aux_classifier?.(stages))
    },
  )
  return segmentationNet(module, factsOf<C, N>('pspnet', { backbone, classes }, neckChannels))
}
const oneEach = [1, 1, 1, 1] as const
type Residual = {
  readonly params: ParamsOf<ReturnType<typeof resnet>>
  readonly state: StateOf<ReturnType<typeof resnet>>
}
