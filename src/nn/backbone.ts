/**
 * What every backbone is: a module from images to the features of four stages, at strides 4, 8, 16 and 32, that says
 * how many channels each has. Heads are written against this, so that any of them stands on any backbone.
 */
import { UsageError } from '../dsl/errors.ts'
import type { Tensor } from '../dsl/tensor.ts'
import type { BackboneChannels, TapsOf } from './channels.ts'
import type { FeatureMap } from './feature.ts'
import type { Module } from './module.ts'

/** The features of the four stages, each the last of its size. (A `type`: interfaces make no trees of arrays.) */
export type Stages = {
  readonly stage1: FeatureMap
  readonly stage2: FeatureMap
  readonly stage3: FeatureMap
  readonly stage4: FeatureMap
}

/** A feature extractor. @typeParam C the channels of its features by name, literal where they are known */
export interface Backbone<C extends BackboneChannels, P, S> extends Module<Tensor, TapsOf<C>, P, S> {
  /** `resnet50`, `mobilenetV2 width 0.5, stride 8` */
  readonly name: string
  readonly tapChannels: C
}

/** The input's size over the last stage's. */
export type OutputStride = 8 | 16 | 32

/** How a stage enters and goes on. */
export interface StageGrid {
  /** Of the first block. */
  readonly stride: 1 | 2
  /** Of all blocks; see the backbone for that of the first. */
  readonly dilation: number
  /** The dilation of the stage before. */
  readonly before: number
}

/**
 * Strides and dilations of stage 1 to 4 (counted from 0) at an output stride: a stride that is left out dilates all
 * that follows it, so that the kernels see what they saw.
 * @throws UsageError if the output stride is not 8, 16 or 32
 * @see Yu & Koltun 2017, arXiv:1705.09914
 * @example stageGrid('resnet', 3, 8) // { stride: 1, dilation: 4, before: 2 }
 */
export function stageGrid(op: string, stage: number, outputStride: OutputStride): StageGrid {
  if (![8, 16, 32].includes(outputStride))
    throw new UsageError(`${op}: the output stride is 8, 16 or 32, got ${outputStride}`)
  const dilationOf = (s: number) => Math.max((4 * 2 ** Math.max(s, 0)) / outputStride, 1)
  const [before, dilation] = [dilationOf(stage - 1), dilationOf(stage)]
  return { stride: stage === 0 || dilation > before ? 1 : 2, dilation, before }
}

/**
 * The channels of a width multiplier: a multiple of 8, at least 8, and no less than 0.9 of what was asked.
 * @see Sandler et al. 2018, arXiv:1801.04381 (their reference code)
 * @example roundChannels(24 * 0.5) // 16
 */
export function roundChannels(n: number): number {
  const rounded = Math.max(8, Math.floor((n + 4) / 8) * 8)
  return rounded < 0.9 * n ? rounded + 8 : rounded
}

/** @throws UsageError unless every option is a positive integer */
export function checkPositive(op: string, options: Readonly<Record<string, number>>): void {
  for (const [name, n] of Object.entries(options))
    if (!Number.isInteger(n) || n < 1)
      throw new UsageError(`${op}: ${name} must be a positive integer, got ${n}`)
}

/** @throws UsageError unless the width multiplier is positive and finite */
export function checkMultiplier(op: string, width: number): void {
  if (!(width > 0 && Number.isFinite(width)))
    throw new UsageError(`${op}: the width multiplier must be positive, got ${width}`)
}
