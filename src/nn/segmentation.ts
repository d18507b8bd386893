/**
 * What every segmentation network is. In: images [batch, 3, height, width]. Out: logits at the size of the images, the
 * auxiliary head's where there is one, and the features that distillation compares. A `SegmentationNet` is a module that also
 * says, as plain data, how many channels each tap has, so that aligners can be sized without running it.
 */
import { resizeBilinear } from '../dsl/ops/resize.ts'
import type { Tensor } from '../dsl/tensor.ts'
import type { Backbone } from './backbone.ts'
import { type BackboneChannels, channelsAs, type WithNeck } from './channels.ts'
import type { FeatureMap } from './feature.ts'
import { type Initialiser, normal } from './init.ts'
import { conv } from './layers.ts'
import type { Module } from './module.ts'

/** What a segmentation network gives. (A `type`: trees of interfaces do not map to trees of arrays.) */
export type SegmentationOutput<Taps> = {
  /** [batch, classes, height, width] of the input image, upsampled bilinearly. */
  readonly logits: FeatureMap
  /** As `logits`, of the auxiliary head, if the network has one; its loss usually weighs 0.4. */
  readonly auxiliary?: FeatureMap
  /** Features by name, each [batch, channels, height', width']. */
  readonly taps: Taps
}

/**
 * A segmentation network: a module from images to `SegmentationOutput`.
 * @typeParam C the channels of its taps, literal where they are known
 */
export interface SegmentationNet<Taps, P, S, C = { readonly [K in keyof Taps]: number }>
  extends Module<Tensor, SegmentationOutput<Taps>, P, S> {
  /** What run folders and reports call it: `pspnet(resnet18)`. */
  readonly name: string
  /** The channels of each tap. */
  readonly tapChannels: C
  readonly classes: number
}

/** What all networks on a backbone take. */
export interface OnBackbone<C extends BackboneChannels, P, S> {
  readonly backbone: Backbone<C, P, S>
  readonly classes: number
  /** A second head, of a fully convolutional network, on stage 3 (or on the feature that is named): false. */
  readonly auxiliary?: boolean | (keyof C & string)
}

/** What a head gives: logits at the features' own size, and its last features. */
export type Head = { readonly logits: FeatureMap; readonly neck: FeatureMap }

/** A module with what aligners and reports need to know of it. */
export const segmentationNet = <Taps, P, S, C>(
  module: Module<Tensor, SegmentationOutput<Taps>, P, S>,
  facts: Omit<SegmentationNet<Taps, P, S, C>, 'init' | 'apply'>,
): SegmentationNet<Taps, P, S, C> => ({ ...module, ...facts })

/** The facts of a network on a backbone. @example factsOf<C, N>('fcn', { backbone, classes: 21 }, 512) */
export const factsOf = <C extends BackboneChannels, N extends number>(
  name: string,
  {
    backbone,
    classes,
  }: {
    readonly backbone: Pick<Backbone<C, unknown, unknown>, 'name' | 'tapChannels'>
    readonly classes: number
  },
  neck: number,
) => ({
  name: `${name}(${backbone.name})`,
  tapChannels: channelsAs<WithNeck<C, N>>({ ...backbone.tapChannels, neck }),
  classes,
})

/** A network's result from its parts; logits are resized to the image. */
export const outputOf = <Taps>(
  image: FeatureMap,
  stages: Taps,
  { logits, neck }: Head,
  auxiliary?: Head,
): SegmentationOutput<Taps & { readonly neck: FeatureMap }> => ({
  logits: resizeTo(image)(logits),
  ...(auxiliary ? { auxiliary: resizeTo(image)(auxiliary.logits) } : {}),
  taps: { ...stages, neck },
})

/** Bilinear resizing to the size of another feature. @example pipe(deep, resizeTo(shallow)) */
export const resizeTo = (like: FeatureMap) => resizeBilinear({ size: [like.shape[2], like.shape[3]] })

// mmsegmentation's: logits start near 0, the loss near log(classes)
const nearZero: Initialiser = (key, shape) => normal(key, shape, { std: 0.01 })

/** The last layer: a 1 x 1 convolution whose logits start near 0. @example pixelClassifier(512, 21) */
export const pixelClassifier = (channels: number, classes: number) =>
  conv(channels, classes, { kernel: 1, init: nearZero })
