/**
 * CIRKD with a memory: a row of the table in README.md whose state, queues of the teacher's features by class, goes
 * in and comes out of every step. In: two networks with typed taps. Out: a `Distillation` with state.
 */

import { array, type NDArray } from '../dsl/array.ts'
import { cast, concat, eq, iota, map, permute, reshape, select, sliceAxis } from '../dsl/build.ts'
import { einsum } from '../dsl/ops/linalg.ts'
import { uniform } from '../dsl/ops/random.ts'
import { argmax } from '../dsl/ops/reduce.ts'
import { logSoftmax } from '../dsl/ops/softmax.ts'
import { range } from '../dsl/shape.ts'
import type { Tensor } from '../dsl/tensor.ts'
import { foldIn, type Key } from '../dsl/threefry.ts'
import { type FeatureMap, featureMap } from '../nn/feature.ts'
import { normal } from '../nn/init.ts'
import { keyOf } from '../nn/mode.ts'
import { adapter } from './align.ts'
import { divergence, maskAt, plus, term } from './compare.ts'
import { inTurn, type Normalise, unit } from './normalise.ts'
import { classesAt, pixelsOf, prototypes } from './relations.ts'
import { type Memory, remembering } from './taps.ts'

/**
 * The queues of a pair, [classes, size, channels], of unit length: single pixels, and means of a class in an
 * image.
 */
export type Queues = { readonly pixels: NDArray; readonly regions: NDArray }

/** How much is remembered. */
export interface MemoryOptions {
  readonly classes: number
  /** Entries a class, of each queue: 64. */
  readonly size?: number
  /** tau: 0.1 */
  readonly temperature?: number
}

/**
 * Cross-image relational distillation with a memory: how alike each pixel is to remembered features of the teacher,
 * as probabilities softmax(similarity / tau) over all entries; KL, averaged over pixels, for the queue of pixels
 * and for that of regions. Each step adds, before it compares, one random pixel and the mean of every class in
 * every image. The student's features come through a small adapter.
 * @see Yang et al. 2022, arXiv:2204.06986, whose queues take up to 16 pixels of a class and image, and of which a
 *   random part is compared
 * @example cirkdMemory({ student, teacher, taps: [['neck', 'neck']], classes: 19 })
 */
export const cirkdMemory = remembering('cirkdMemory', adapter, (options: MemoryOptions) => queues(options))

const queues = ({ classes, size = 64, temperature = 0.1 }: MemoryOptions): Memory<Queues> => ({
  init: (key, channels) => ({
    pixels: directions(foldIn(key, 0), [classes, size, channels]),
    regions: directions(foldIn(key, 1), [classes, size, channels]),
  }),
  apply: ({ pixels, regions }, student, teacher, context) => {
    const mask = context.mask && maskAt(context.mask, teacher)
    const hot = classesAt(context.label, classes, teacher)
    const members = mask ? map('and', hot, mask) : hot
    const x = unit('C')(mask ? featureMap('cirkdMemory', select(mask, teacher, 0)) : teacher)
    const { means, count } = prototypes(x, members)
    const present = map('lt', 0, reshape(count, [count.shape[0], classes]))
    const state = {
      pixels: pushed(pixels, present, drawn(x, members, context.key)),
      regions: pushed(regions, present, unit('C')(asEntries(means))),
    }
    const against = (queue: Tensor) => term(inTurn(unit('C'), alikeTo(queue, temperature)), divergence('C'))
    const both = plus([1, against(state.pixels)], [1, against(state.regions)])
    return { value: both(student, teacher, context), state }
  },
})

/** Random vectors of unit length. */
function directions(key: Key, shape: readonly [number, number, number]): NDArray {
  const { data } = normal(key, shape)
  const channels = shape[2]
  const lengths = Array.from({ length: data.length / channels }, (_, i) =>
    Math.hypot(...Array.from(data.subarray(i * channels, (i + 1) * channels), Number)),
  )
  return array(
    shape,
    'f32',
    Array.from(data, (v, i) => Number(v) / lengths[Math.floor(i / channels)]),
  )
}

/** Vectors [batch, channels, classes] as a map, [batch, channels, classes, 1]. */
const asEntries = (x: Tensor): FeatureMap => featureMap('cirkdMemory', reshape(x, [...x.shape, 1]))

/** A random pixel of each class of each image: [batch, channels, classes, 1]; any pixel where the class has none. */
function drawn(x: FeatureMap, members: Tensor, key: Tensor): FeatureMap {
  const of = pixelsOf(members)
  const [n, , pixels] = of.shape
  const score = select(of, uniform(keyOf(key), [n, 1, pixels]), -1)
  const picked = argmax(score, { axis: 2, keepdims: true })
  const hot = cast(eq(iota([1, 1, pixels], 2), picked), x.dtype)
  return asEntries(einsum('ncp,nkp->nck', pixelsOf(x), hot))
}

/** A queue with the entries of every image's classes that are present behind it; as many leave at its head. */
function pushed(queue: Tensor, present: Tensor, entries: FeatureMap): Tensor {
  const [n, channels, classes] = entries.shape
  const byClass = permute(reshape(entries, [n, channels, classes]), [0, 2, 1])
  return range(n).reduce((q, i) => {
    const entry = reshape(sliceAxis(byClass, 0, i, i + 1), [classes, 1, channels])
    const here = reshape(sliceAxis(present, 0, i, i + 1), [classes, 1, 1])
    return select(here, concat([sliceAxis(q, 1, 1, q.shape[1]), entry], 1), q)
  }, queue)
}

/** Log-probabilities of each entry for each pixel: [batch, classes size, h, w]. */
const alikeTo =
  (queue: Tensor, temperature: number): Normalise =>
  x => {
    const [n, , h, w] = x.shape
    const [classes, size] = queue.shape
    const alike = einsum('ncp,ksc->nksp', pixelsOf(x), queue)
    const flat = featureMap('cirkdMemory', reshape(alike, [n, classes * size, h, w]))
    return logSoftmax(flat, { axis: 1, temperature })
  }
