/**
 * The networks, the optimiser and the distillation of a run. In: settings. Out: values whose parameter types are forgotten, since
 * the network is chosen at run time.
 */

import type { Conv1x1 } from '../nfd/align.ts'
import type { Distillation } from '../nfd/distil.ts'
import { nfd } from '../nfd/nfd.ts'
import type { Aligners } from '../nfd/taps.ts'
import type { FeatureMap } from '../nn/feature.ts'
import { adamw, kernelsOnly, type Optimiser } from '../nn/optim.ts'
import { pspnet } from '../nn/pspnet.ts'
import type { SegmentationNet } from '../nn/segmentation.ts'
import { unet } from '../nn/unet.ts'
import type { Settings } from './settings.ts'

type Taps = Readonly<Record<string, FeatureMap>>
/** A segmentation network whose trees and taps are known at run time only. */
export type Network = SegmentationNet<Taps, unknown, unknown>

/**
 * The network of the settings at a width.
 * @throws UsageError if the width is not one the network takes
 * @example networkOf(settings, settings.width, dataset.classes.length)
 */
export function networkOf({ net }: Pick<Settings, 'net'>, width: number, classes: number): Network {
  // A network only ever sees the trees that it made itself, and a tap is asked for by a name in `tapChannels`.
  return (net === 'pspnet' ? pspnet({ classes, width }) : unet({ classes, width })) as unknown as Network
}

/** A distillation between such networks. */
export type Method = Distillation<Taps, Taps, Aligners<Conv1x1>>

/** The taps that are compared: the deepest features and those before the classifier. */
const tapNames = { pspnet: ['stage4', 'neck'], encdec: ['stage3', 'neck'] } as const satisfies Record<
  Settings['net'],
  readonly string[]
>

/**
 * NFD between the taps of two networks of one kind.
 * @throws UsageError if the weight is negative
 */
export const methodOf = (settings: Settings, student: Network, teacher: Network): Method =>
  nfd({
    student,
    teacher,
    taps: tapNames[settings.net].map((tap): readonly [string, string] => [tap, tap]),
    axes: settings.axes,
    weight: settings.nfdWeight,
  })

/** AdamW. Only the network's kernels are decayed: aligners get no signal along their gains, decay would bend them. */
export const optimiserOf = (): Optimiser =>
  adamw({ weightDecay: 1e-2, decay: (path, p) => kernelsOnly(path, p) && path.startsWith('net.') })
