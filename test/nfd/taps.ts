/** Networks of one tap for tests of distillation losses: they are never run, their outputs are given. */

import { array, type NDArray } from '../../src/dsl/array.ts'
import { keyTensor } from '../../src/dsl/ops/random.ts'
import { constant, type Tensor } from '../../src/dsl/tensor.ts'
import { key } from '../../src/dsl/threefry.ts'
import { isType } from '../../src/dsl/trace.ts'
import { mapTree } from '../../src/dsl/tree.ts'
import type { Context } from '../../src/nfd/distil.ts'
import type { Tapped } from '../../src/nfd/taps.ts'
import { type FeatureMap, featureMap } from '../../src/nn/feature.ts'
import type { Tensors } from '../../src/nn/module.ts'
import type { SegmentationOutput } from '../../src/nn/segmentation.ts'

/** A network with the tap `f` of so many channels. */
export const tapped = <const C extends number>(channels: C): Tapped<{ readonly f: C }> => ({
  name: `a network of ${channels} channels`,
  tapChannels: { f: channels },
})

/** What such a network gives; the feature stands for the logits too. */
export const output = (x: Tensor): SegmentationOutput<{ readonly f: FeatureMap }> => {
  const f = featureMap('test', x)
  return { logits: f, taps: { f } }
}

/** An array as a constant. */
export const traced = (a: NDArray): Tensor => constant(a.shape, a.dtype, a.data)
/** A tree of arrays as constants. */
export const constants = <T>(tree: T): Tensors<T> =>
  mapTree(tree, (x): x is NDArray => isType(x) && 'data' in x, traced) as Tensors<T>

/** Labels [n, h, w] from a list, repeated. */
export const labels = (shape: readonly [number, number, number], values: readonly number[]): NDArray =>
  array(
    shape,
    'i32',
    Array.from({ length: shape[0] * shape[1] * shape[2] }, (_, i) => values[i % values.length]),
  )

/** A context: labels (one pixel of class 0), a key and a step. */
export const contextOf = ({
  label = labels([1, 1, 1], [0]),
  seed = 1,
  step = 0,
}: {
  readonly label?: NDArray
  readonly seed?: number
  readonly step?: number
} = {}): Context => ({
  label: traced(label),
  key: keyTensor(key(seed)),
  step: constant([], 'i32', Int32Array.of(step)),
})
