/**
 * What MobileNetV2 and V3 share: convolution with norm and activation under torchvision's names, and a chain of
 * layers of which the last of each stage is tapped. In: layers with their stages. Out: backbones.
 */
import { checkMultiplier, type OutputStride, type Stages, stageGrid } from './backbone.ts'
import { type AnyModule, chain, followedBy, type Step, sequential } from './compose.ts'
import type { FeatureMap, Floats } from './feature.ts'
import { type Initialiser, kaimingNormal, normal } from './init.ts'
import { type BatchNormOptions, batchNorm, type ConvLayerOptions, conv } from './layers.ts'

/** A MobileNet's configuration. */
export interface MobilenetOptions<W extends number = number> {
  /** The multiplier of all channels, each rounded to a multiple of 8: 1. */
  readonly width?: W
  /** The input's size over the last stage's: 32. */
  readonly outputStride?: OutputStride
}

const fanOut: Initialiser = (key, shape) => kaimingNormal(key, shape, { mode: 'fanOut' })
/** torchvision's initial values of the classifiers' matrices. */
export const smallNormal: Initialiser = (key, shape) => normal(key, shape, { std: 0.01 })

/** A layer of a MobileNet: a convolution without bias and the norm's options. The padding keeps the size at stride 1. */
export interface NormedOptions extends Omit<ConvLayerOptions, 'bias' | 'init' | 'padding'> {
  readonly norm?: BatchNormOptions
}

/** Convolution and norm: the children 0 and 1. */
export const normed = (from: number, to: number, { norm, ...options }: NormedOptions) => {
  const padding = ((options.kernel - 1) / 2) * (options.dilation ?? 1)
  return [conv(from, to, { ...options, padding, bias: false, init: fanOut }), batchNorm(to, norm)] as const
}

/** Convolution, norm and an activation, as torchvision's Conv2dNormActivation. */
export const activated = (
  from: number,
  to: number,
  activation: (x: Floats) => Floats,
  options: NormedOptions,
) => sequential(...normed(from, to, options), activation)

/** A block's place: the stage (from 0; -1 before the first) and whether it enters it. */
export interface Place {
  readonly stage: number
  readonly enters: boolean
}

/**
 * Stride and dilation of a block. As in torchvision's MobileNetV3 and in mmsegmentation, all blocks of a dilated stage
 * have its dilation, the first one too (unlike residual networks').
 */
export function gridOf(op: string, { stage, enters }: Place, outputStride: OutputStride) {
  if (stage < 0) return { stride: 1, dilation: 1 }
  const { stride, dilation } = stageGrid(op, stage, outputStride)
  // the stem has halved the image once: the first stage halves it again
  return { stride: enters && (stage === 0 || stride === 2) ? 2 : 1, dilation }
}

/** A layer with its place and its channels. */
export interface Placed<M> extends Place {
  readonly layer: M
  readonly channels: number
}

/** The layers as a backbone: tapped behind the last layer of each stage, and where `more` says. */
export function tapped<const M extends Step & AnyModule, const K extends string = never>(
  name: string,
  { width = 1, outputStride = 32 }: MobilenetOptions,
  placed: readonly Placed<M>[],
  more: { readonly [N in K]: number } = {} as { readonly [N in K]: number }, // none
) {
  checkMultiplier(name, width)
  const last = (stage: number) => placed.findLastIndex(p => p.stage === stage)
  const positions: Readonly<Record<string, number>> = {
    stage1: last(0),
    stage2: last(1),
    stage3: last(2),
    stage4: last(3),
    ...more,
  }
  const at = <T>(of: (position: number) => T) =>
    Object.fromEntries(Object.entries(positions).map(([tap, i]) => [tap, of(i)]))
  type Taps = Stages & { readonly [N in K]: FeatureMap }
  return {
    // `positions` has the names of Taps
    ...followedBy(chain(placed.map(p => p.layer)), all => at(i => all[i]) as unknown as Taps),
    name: `${name}, width ${width}, stride ${outputStride}`,
    tapChannels: at(i => placed[i].channels) as { readonly [N in keyof Taps]: number },
  }
}
