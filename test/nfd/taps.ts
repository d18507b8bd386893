/** Networks of one tap for tests of distillation losses: they are never run, their outputs are given. */
import type { Tensor } from '../../src/dsl/tensor.ts'
import type { Tapped } from '../../src/nfd/distil.ts'
import { type FeatureMap, featureMap } from '../../src/nn/feature.ts'
import type { SegmentationOutput } from '../../src/nn/pspnet.ts'

type OneTap = { readonly f: FeatureMap }

/** A network with the tap `f` of so many channels. */
export const tapped = (channels: number): Tapped<OneTap> => ({
  name: `a network of ${channels} channels`,
  tapChannels: { f: channels },
  apply: () => {
    throw new Error('a loss does not run networks')
  },
})

/** What such a network gives; the feature stands for the logits too. */
export const output = (x: Tensor): SegmentationOutput<OneTap> => {
  const f = featureMap('test', x)
  return { logits: f, taps: { f } }
}
