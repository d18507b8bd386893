/**
 * U-Net. In: images of any size. Out: logits at that size, and taps of encoder and decoder. Unlike the other networks
 * it has an encoder of its own, without strides to leave out.
 */
import { pipe } from 'fp-ts/lib/function.js'
import { maxPool2d } from '../dsl/ops/pool.ts'
import { concat } from '../dsl/ops/shape.ts'
import { scope, type Tensor } from '../dsl/tensor.ts'
import type { Mul } from '../dsl/types/arithmetic.ts'
import { checkPositive } from './backbone.ts'
import type { TapsOf } from './channels.ts'
import { compose, sequential } from './compose.ts'
import { fcnHead } from './fcn.ts'
import { type FeatureMap, featureMap } from './feature.ts'
import { convBnRelu } from './layers.ts'
import { pixelClassifier, resizeTo, type SegmentationOutput, segmentationNet } from './segmentation.ts'

/** The names of the encoder's stages, by depth. */
interface StageNames {
  2: 'stage1' | 'stage2'
  3: 'stage1' | 'stage2' | 'stage3'
  4: 'stage1' | 'stage2' | 'stage3' | 'stage4'
}
/** How often `unet` halves the image. */
export type Depth = keyof StageNames
/** The channels of `unet`: of each stage of the encoder, and of the last features of the decoder. */
export type UnetChannels<W extends number, D extends Depth> = Pick<
  {
    readonly stage1: Mul<W, 2>
    readonly stage2: Mul<W, 4>
    readonly stage3: Mul<W, 8>
    readonly stage4: Mul<W, 16>
    readonly neck: W
  },
  StageNames[D] | 'neck'
>
/** The taps of `unet`. */
export type UnetTaps<D extends Depth> = TapsOf<UnetChannels<number, D>>

/** An encoder-decoder's configuration. */
export interface UnetOptions<W extends number, D extends Depth> {
  readonly classes: number
  /** The channels at full size; they double from stage to stage. */
  readonly width: W
  /** How often the image is halved: 3. */
  readonly depth?: D
  /** A second head on the deepest stage: false. */
  readonly auxiliary?: boolean
}

const double = (from: number, to: number) =>
  sequential(convBnRelu(from, to, { kernel: 3 }), convBnRelu(to, to, { kernel: 3 }))

/**
 * A U-Net: an encoder that halves the image `depth` times, and a decoder that joins each size with the encoder's
 * features of that size. Upsampling is bilinear, so images of any size fit.
 * @returns  taps stage1 (half size, 2 width channels) to stage`depth`, and neck (full size, width channels)
 * @throws UsageError if a size is no positive integer
 * @see Ronneberger, Fischer, Brox 2015, arXiv:1505.04597
 * @example unet({ classes: 11, width: 8, depth: 3 })
 */
export function unet<const W extends number, const D extends Depth = 3>({
  classes,
  width,
  depth,
  auxiliary = false,
}: UnetOptions<W, D>) {
  checkPositive('unet', { classes, width, depth: depth ?? 3 })
  const stages = Array.from({ length: depth ?? 3 }, (_, i) => i + 1)
  const channels = (stage: number) => width * 2 ** stage
  const module = compose(
    {
      stem: double(3, width),
      down: compose(
        Object.fromEntries(stages.map(i => [`stage${i}`, double(channels(i - 1), channels(i))])),
        (call, x: FeatureMap): readonly FeatureMap[] => {
          const all = [x]
          for (const i of stages) all.push(call[`stage${i}`](maxPool2d(all[i - 1], 2)))
          return all
        },
      ),
      up: compose(
        Object.fromEntries(
          stages.map(i => [`stage${i}`, double(channels(i) + channels(i - 1), channels(i - 1))]),
        ),
        (call, skips: readonly FeatureMap[]): FeatureMap =>
          [...stages]
            .reverse()
            .reduce((x, i) => call[`stage${i}`](join(x, skips[i - 1])), skips[stages.length]),
      ),
      classifier: pixelClassifier(width, classes),
      ...(auxiliary
        ? { aux_classifier: fcnHead(channels(stages.length), classes) }
        : { aux_classifier: undefined }),
    },
    (call, x: Tensor): SegmentationOutput<UnetTaps<D>> => {
      const image = featureMap('unet', x)
      const features = pipe(image, call.stem, call.down)
      const neck = call.up(features)
      const named = Object.fromEntries(stages.map(i => [`stage${i}`, features[i]]))
      // the names are those of StageNames[depth]: `stages` counts to depth
      const taps = { ...named, neck } as UnetTaps<D>
      const second = call.aux_classifier?.(features[stages.length])
      return {
        logits: call.classifier(neck),
        ...(second ? { auxiliary: resizeTo(image)(second.logits) } : {}),
        taps,
      }
    },
  )
  const tapChannels = Object.fromEntries(stages.map(i => [`stage${i}`, channels(i)]))
  return segmentationNet(module, {
    name: `unet(width ${width}, depth ${stages.length})`,
    tapChannels: { ...tapChannels, neck: width } as UnetChannels<W, D>, // as above
    classes,
  })
}

/** The features, resized to the skip's size and joined with it. */
const join = (x: FeatureMap, skip: FeatureMap): FeatureMap =>
  scope('join', () => featureMap('join', concat([pipe(x, resizeTo(skip)), skip], { axis: 1 })))
