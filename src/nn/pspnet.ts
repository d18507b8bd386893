/**
 * Segmentation networks with named taps. In: images [batch, 3, height, width]. Out: logits at the size of the images
 * and the features that distillation compares. A `SegmentationNet` is a module that also says, as plain data, how
 * many channels each tap has, so that aligners can be sized without running it.
 */
import { pipe } from 'fp-ts/lib/function.js'
import { UsageError } from '../dsl/errors.ts'
import { adaptiveAvgPool2d, maxPool2d } from '../dsl/ops/pool.ts'
import { resizeBilinear } from '../dsl/ops/resize.ts'
import { concat } from '../dsl/ops/shape.ts'
import { scope, type Tensor } from '../dsl/tensor.ts'
import { compose, sequential } from './compose.ts'
import { type FeatureMap, featureMap } from './feature.ts'
import { type Initialiser, normal } from './init.ts'
import { conv, convBnRelu, dropout } from './layers.ts'
import type { Module } from './module.ts'
import { type ResnetFeatures, type ResnetOptions, resnet, stageChannels } from './resnet.ts'

/** What a segmentation network gives. (A `type`: trees of interfaces do not map to trees of arrays.) */
export type SegmentationOutput<Taps> = {
  /** [batch, classes, height, width] of the input image, upsampled bilinearly. */
  readonly logits: FeatureMap
  /** Features by name, each [batch, channels, height', width']. */
  readonly taps: Taps
}

/** A segmentation network: a module from images to `SegmentationOutput`. */
export interface SegmentationNet<Taps, P, S> extends Module<Tensor, SegmentationOutput<Taps>, P, S> {
  /** What run folders and reports call it: `pspnet(width 8, blocks 1-1-1-1)`. */
  readonly name: string
  /** The channels of each tap. */
  readonly tapChannels: { readonly [K in keyof Taps]: number }
  readonly classes: number
}

// mmsegmentation's: logits start near 0, the loss near log(classes)
const nearZero: Initialiser = (key, shape) => normal(key, shape, { std: 0.01 })
const classifier = (channels: number, classes: number) =>
  conv(channels, classes, { kernel: 1, init: nearZero })

const sizeOf = (x: FeatureMap): readonly [number, number] => [x.shape[2], x.shape[3]]
const resizeTo = (like: FeatureMap) => resizeBilinear({ size: sizeOf(like) })

/** Throws unless every option is a positive integer. */
function checkPositive(op: string, options: Readonly<Record<string, number>>): void {
  for (const [name, n] of Object.entries(options))
    if (!Number.isInteger(n) || n < 1)
      throw new UsageError(`${op}: ${name} must be a positive integer, got ${n}`)
}

/** A PSPNet's configuration. */
export interface PspnetOptions extends ResnetOptions {
  readonly classes: number
  /** The grids of the pyramid: [1, 2, 3, 6]. */
  readonly poolScales?: readonly number[]
  /** The channels of the neck: 8 width (512 at width 64, as in the paper). */
  readonly neckChannels?: number
  /** Before the classifier: 0.1. */
  readonly dropoutRate?: number
}

/** The taps of `pspnet`: the backbone's stages, and the head's features before dropout and classifier. */
export type PspTaps = ResnetFeatures & { readonly neck: FeatureMap }

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
 * The pyramid scene parsing network: a residual backbone, pyramid pooling, a 3 x 3 convolution and a classifier.
 * @returns  taps stage1 to stage4 (of the backbone) and neck
 * @throws UsageError if a size is no positive integer or a scale occurs twice
 * @see Zhao et al. 2017, arXiv:1612.01105
 * @example const net = pspnet({ classes: 11, width: 16 }); const { params, state } = net.init(key(0))
 */
export function pspnet({
  classes,
  width,
  blocks = [1, 1, 1, 1],
  block = 'basic',
  outputStride = 8,
  poolScales = [1, 2, 3, 6],
  neckChannels = 8 * width,
  dropoutRate = 0.1,
}: PspnetOptions) {
  checkPositive('pspnet', { classes, width, neckChannels })
  if (new Set(poolScales).size !== poolScales.length)
    throw new UsageError(`pspnet: the pool scales must differ, got [${poolScales.join(', ')}]`)
  const backbone: ResnetOptions = { width, blocks, block, outputStride }
  const channels = stageChannels(backbone)
  const branch = Math.max(Math.floor(channels.stage4 / Math.max(poolScales.length, 1)), 1)
  const module = compose(
    {
      backbone: resnet(backbone),
      pyramid: pyramidPooling(channels.stage4, branch, poolScales),
      neck: convBnRelu(channels.stage4 + branch * poolScales.length, neckChannels, { kernel: 3 }),
      classifier: sequential(dropout(dropoutRate), classifier(neckChannels, classes)),
    },
    (call, x: Tensor): SegmentationOutput<PspTaps> => {
      const image = featureMap('pspnet', x)
      const stages = call.backbone(image)
      const neck = pipe(stages.stage4, call.pyramid, call.neck)
      return {
        logits: pipe(neck, call.classifier, resizeTo(image)),
        taps: { ...stages, neck },
      }
    },
  )
  return segmentationNet(module, {
    name: `pspnet(width ${width}, ${block} blocks ${blocks.join('-')}, stride ${outputStride})`,
    tapChannels: { ...channels, neck: neckChannels },
    classes,
  })
}

/** A module with what aligners and reports need to know of it. */
const segmentationNet = <Taps, P, S>(
  module: Module<Tensor, SegmentationOutput<Taps>, P, S>,
  facts: Omit<SegmentationNet<Taps, P, S>, 'init' | 'apply'>,
): SegmentationNet<Taps, P, S> => ({ ...module, ...facts })

/** The names of the encoder's stages, by depth. */
interface StageNames {
  2: 'stage1' | 'stage2'
  3: 'stage1' | 'stage2' | 'stage3'
  4: 'stage1' | 'stage2' | 'stage3' | 'stage4'
}
/** How often `encoderDecoder` halves the image. */
export type Depth = keyof StageNames
/** The taps of `encoderDecoder`: each stage of the encoder, and the last features of the decoder. */
export type EncoderDecoderTaps<D extends Depth> = { readonly [K in StageNames[D] | 'neck']: FeatureMap }

/** An encoder-decoder's configuration. */
export interface EncoderDecoderOptions<D extends Depth> {
  readonly classes: number
  /** The channels at full size; they double from stage to stage. */
  readonly width: number
  /** How often the image is halved: 3. */
  readonly depth?: D
}

const double = (from: number, to: number) =>
  sequential(convBnRelu(from, to, { kernel: 3 }), convBnRelu(to, to, { kernel: 3 }))

/**
 * A U-Net: an encoder that halves the image `depth` times, and a decoder that joins each size with the encoder's
 * features of that size. Upsampling is bilinear, so images of any size fit.
 * @returns  taps stage1 (half size, 2 width channels) to stage`depth`, and neck (full size, width channels)
 * @throws UsageError if a size is no positive integer
 * @see Ronneberger, Fischer, Brox 2015, arXiv:1505.04597
 * @example encoderDecoder({ classes: 11, width: 8, depth: 3 })
 */
export function encoderDecoder<const D extends Depth = 3>({
  classes,
  width,
  depth,
}: EncoderDecoderOptions<D>) {
  checkPositive('encoderDecoder', { classes, width, depth: depth ?? 3 })
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
      classifier: classifier(width, classes),
    },
    (call, x: Tensor): SegmentationOutput<EncoderDecoderTaps<D>> => {
      const image = featureMap('encoderDecoder', x)
      const features = pipe(image, call.stem, call.down)
      const neck = call.up(features)
      const named = Object.fromEntries(stages.map(i => [`stage${i}`, features[i]]))
      // the names are those of StageNames[depth]: `stages` counts to depth
      const taps = { ...named, neck } as EncoderDecoderTaps<D>
      return { logits: call.classifier(neck), taps }
    },
  )
  const tapChannels = Object.fromEntries(stages.map(i => [`stage${i}`, channels(i)]))
  return segmentationNet(module, {
    name: `encoderDecoder(width ${width}, depth ${stages.length})`,
    tapChannels: { ...tapChannels, neck: width } as { readonly [K in keyof EncoderDecoderTaps<D>]: number }, // as above
    classes,
  })
}

/** The features, resized to the skip's size and joined with it. */
const join = (x: FeatureMap, skip: FeatureMap): FeatureMap =>
  scope('join', () => featureMap('join', concat([pipe(x, resizeTo(skip)), skip], { axis: 1 })))
