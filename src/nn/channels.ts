/**
 * Channels that the compiler knows. In: the literal numbers of a configuration. Out: the type of `tapChannels`, which
 * distillation reads, so that taps that do not fit do not compile. A `number` in gives `number`: it is checked when a
 * method is made.
 */
import type { Div, Mul } from '../dsl/types/arithmetic.ts'
import type { FeatureMap } from './feature.ts'

/** The channels of features, by name. */
export type Channels = { readonly [tap: string]: number }

/** The channels of a backbone's four stages, and of what else it shows. */
export type BackboneChannels = Channels & {
  readonly stage1: number
  readonly stage2: number
  readonly stage3: number
  readonly stage4: number
}

/** The features of these channels: names alone are typed. */
export type TapsOf<C> = { readonly [K in keyof C]: FeatureMap }
/** The channels of a network on a backbone: the backbone's, and those of the head's last features. */
export type WithNeck<C, N extends number> = C & { readonly neck: N }

/** Stages whose channels double: `Doubling<16>` has 16, 32, 64, 128. */
export type Doubling<N extends number> = {
  readonly stage1: N
  readonly stage2: Mul<N, 2>
  readonly stage3: Mul<N, 4>
  readonly stage4: Mul<N, 8>
}
/** Published channels under a width multiplier: themselves at 1. */
export type Scaled<C, Multiplier extends number> = {
  readonly [K in keyof C]: [Multiplier] extends [1] ? C[K] : number
}
/** A quarter, rounded down, one at least. */
export type Quarter<N extends number> = Div<N, 4> extends 0 ? 1 : Div<N, 4>

/**
 * Channels under the type that the compiler computed. It computes as the networks do, but cannot see it: the names are
 * checked here, the numbers by test/nn/channels.test.ts.
 * @example channelsAs<Doubling<W>>({ stage1: n, stage2: 2 * n, stage3: 4 * n, stage4: 8 * n })
 */
export const channelsAs = <C extends Channels>(channels: { readonly [K in keyof C]: number }): C =>
  channels as C
