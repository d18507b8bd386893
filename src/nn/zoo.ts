/**
 * The published networks by name, torchvision's where it has one. In: the number of classes, a width, an output stride,
 * whether there is an auxiliary head. Out: a network. A stride that is left out is the published one.
 */
import type { NDArray } from '../dsl/array.ts'
import type { OutputStride } from './backbone.ts'
import type { Channels, Scaled, TapsOf } from './channels.ts'
import { deeplabv3, deeplabv3plus } from './deeplab.ts'
import { fcn } from './fcn.ts'
import { lraspp } from './lraspp.ts'
import { mit } from './mit.ts'
import { mobilenetV2 } from './mobilenet-v2.ts'
import { mobilenetV3 } from './mobilenet-v3.ts'
import { pspnet } from './pspnet.ts'
import { type ResnetDepth, resnet } from './resnet.ts'
import { segformer } from './segformer.ts'
import type { SegmentationNet } from './segmentation.ts'
import { unet } from './unet.ts'

/** A tree of arrays by name. */
export type ArrayTree = { readonly [name: string]: ArrayTree | NDArray }
/** A network of the zoo: its taps are typed, its parameters and its state are trees of arrays by name. */
export type ZooNet<C> = SegmentationNet<TapsOf<C>, ArrayTree, ArrayTree, C>
/** How a network of the zoo is made. @typeParam C its channels as published */
type Make<C> = <const W extends number = 1>(options: ZooOptions<W>) => ZooNet<Scaled<C, W>>
// The trees' own types name every layer: too long for a declaration file, and nothing in them is for users.
const named = <Taps, P, S, C extends Channels>(
  make: (o: ZooOptions<1>) => SegmentationNet<Taps, P, S, C>,
): Make<C> => make as unknown as Make<C>

/** What every network of the zoo takes. */
export interface ZooOptions<W extends number = number> {
  readonly classes: number
  /** The multiplier of the published width, of backbone and head: 1. */
  readonly width?: W
  readonly outputStride?: OutputStride
  /** false */
  readonly auxiliary?: boolean
}

// Typed as at width 1; at others `Make` forgets the numbers.
const scaled = <N extends number>(channels: N, { width }: ZooOptions) =>
  Math.max(1, Math.round(channels * (width ?? 1))) as N
const residual = <D extends ResnetDepth>(depth: D, o: ZooOptions<1>, deepStem = false) =>
  resnet({ depth, width: scaled(64, o), outputStride: o.outputStride ?? 8, deepStem })
const mobile = ({ width, outputStride }: ZooOptions<1>, published: OutputStride) => ({
  width,
  outputStride: outputStride ?? published,
})
const common = ({ classes, auxiliary }: ZooOptions) => ({ classes, auxiliary })

const fcnOn =
  <D extends ResnetDepth>(depth: D) =>
  (o: ZooOptions<1>) =>
    fcn({ ...common(o), backbone: residual(depth, o) })
const pspnetOn =
  <D extends ResnetDepth>(depth: D) =>
  (o: ZooOptions<1>) =>
    pspnet({ ...common(o), backbone: residual(depth, o, true), neckChannels: scaled(512, o) })
const deeplabv3On =
  <D extends ResnetDepth>(depth: D) =>
  (o: ZooOptions<1>) =>
    deeplabv3({ ...common(o), backbone: residual(depth, o), channels: scaled(256, o) })
const deeplabv3plusOn =
  <D extends ResnetDepth>(depth: D) =>
  (o: ZooOptions<1>) =>
    deeplabv3plus({ ...common(o), backbone: residual(depth, o, true), channels: scaled(256, o) })

/**
 * Networks by name.
 * @example zoo.deeplabv3_resnet50({ classes: 19, outputStride: 16, width: 0.5, auxiliary: true })
 */
export const zoo = {
  fcn_resnet18: named(fcnOn(18)),
  fcn_resnet50: named(fcnOn(50)),
  fcn_resnet101: named(fcnOn(101)),
  fcn_mobilenet_v2: named(o => fcn({ ...common(o), backbone: mobilenetV2(mobile(o, 8)) })),
  pspnet_resnet18: named(pspnetOn(18)),
  pspnet_resnet50: named(pspnetOn(50)),
  pspnet_resnet101: named(pspnetOn(101)),
  deeplabv3_resnet18: named(deeplabv3On(18)),
  deeplabv3_resnet50: named(deeplabv3On(50)),
  deeplabv3_resnet101: named(deeplabv3On(101)),
  deeplabv3_mobilenet_v3_large: named(o =>
    deeplabv3({
      ...common(o),
      backbone: mobilenetV3(mobile(o, 16)),
      auxiliary: o.auxiliary ? 'low' : false,
      channels: scaled(256, o),
    }),
  ),
  deeplabv3_mobilenet_v2: named(o =>
    deeplabv3({ ...common(o), backbone: mobilenetV2(mobile(o, 8)), channels: scaled(256, o) }),
  ),
  deeplabv3plus_resnet18: named(deeplabv3plusOn(18)),
  deeplabv3plus_resnet50: named(deeplabv3plusOn(50)),
  deeplabv3plus_resnet101: named(deeplabv3plusOn(101)),
  lraspp_mobilenet_v3_large: named(o =>
    lraspp({
      ...common(o),
      backbone: mobilenetV3(mobile(o, 16)),
      low: 'low',
      channels: scaled(128, o),
    }),
  ),
  segformer_b0: named(o =>
    segformer({
      ...common(o),
      backbone: mit({ width: scaled(32, o), outputStride: o.outputStride }),
      channels: scaled(256, o),
    }),
  ),
  unet: named(o => unet({ ...common(o), width: scaled(64, o), depth: 4 })),
} as const

/** The name of a network. */
export type ZooName = keyof typeof zoo
/** All names. */
export const zooNames = Object.keys(zoo) as readonly ZooName[] // the keys of a literal
