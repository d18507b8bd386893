/**
 * The networks and the optimiser of a run. In: settings. Out: values whose parameter types are forgotten, since
 * the network is chosen at run time.
 */
import type { FeatureMap } from '../nn/feature.ts'
import { adamw, kernelsOnly, type Optimiser } from '../nn/optim.ts'
import { encoderDecoder, pspnet, type SegmentationNet } from '../nn/pspnet.ts'
import type { Settings } from './settings.ts'

/** A segmentation network whose trees and taps are known at run time only. */
export type Network = SegmentationNet<Readonly<Record<string, FeatureMap>>, unknown, unknown>

/**
 * The network of the settings at a width.
 * @throws UsageError if the width is not one the network takes
 * @example networkOf(settings, settings.width, dataset.classes.length)
 */
export function networkOf({ net }: Pick<Settings, 'net'>, width: number, classes: number): Network {
  // A network only ever sees the trees that it made itself, and a tap is asked for by a name in `tapChannels`.
  return (net === 'pspnet' ? pspnet({ classes, width }) : encoderDecoder({ classes, width })) as unknown as Network
}

/** The taps that are compared: the deepest features and those before the classifier. */
export const tapNames = { pspnet: ['stage4', 'neck'], encdec: ['stage3', 'neck'] } as const satisfies Record<
  Settings['net'],
  readonly string[]
>

/** AdamW. Only the network's kernels are decayed: aligners get no signal along their gains, decay would bend them. */
export const optimiserOf = (): Optimiser =>
  adamw({ weightDecay: 1e-2, decay: (path, p) => kernelsOnly(path, p) && path.startsWith('net.') })
