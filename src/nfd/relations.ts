/**
 * Relational methods: rows of the table in README.md that compare how pixels relate to each other, not what they
 * hold. In: two networks with typed taps, whose channels may differ. Out: a `Distillation` without parameters.
 */
import { broadcastTo, cast, div, eq, iota, map, mean, reshape, select, sum } from '../dsl/build.ts'
import { einsum } from '../dsl/ops/linalg.ts'
import { cosineSimilarity } from '../dsl/ops/loss.ts'
import { adaptiveMaxPool2d } from '../dsl/ops/pool.ts'
import { resizeNearest } from '../dsl/ops/resize.ts'
import { logSoftmax } from '../dsl/ops/softmax.ts'
import type { Tensor } from '../dsl/tensor.ts'
import { type FeatureMap, featureMap, floats } from '../nn/feature.ts'
import { anyChannels } from './align.ts'
import { divergence, squaredError, type Term, term } from './compare.ts'
import { impossible, inTurn, type Mask, type Normalise, unit } from './normalise.ts'
import { features } from './taps.ts'

/** A feature's pixels: [batch, channels, h w]. */
export const pixelsOf = (x: Tensor): Tensor => {
  const [n, c, h, w] = x.shape
  return reshape(x, [n, c, h * w])
}

/**
 * Structured (pair-wise) distillation: the largest values of a grid of cells (2 x 2), of unit length over C; mean
 * squared error of the Gram matrices of each image's cells.
 * @param options.grid cells a side: 2
 * @see Liu et al. 2019, arXiv:1903.04197 (whose code lets no gradient through the length; here it flows)
 * @example skd({ student, teacher, taps: [['stage4', 'stage4']] })
 */
export const skd = features('skd', anyChannels, ({ grid = 2 }: { readonly grid?: number }) =>
  term(gramOfCells(grid), (s, t) => mean(squaredError(s, t), [2, 3], true)),
)
const gramOfCells =
  (grid: number): Normalise =>
  (x, mask) => {
    // a pixel that does not count is never the largest; a cell without any is 0
    const cells = adaptiveMaxPool2d(featureMap('skd', mask ? select(mask, x, impossible) : x), [grid, grid])
    const empty = map('le', cells, impossible / 2)
    const directions = pixelsOf(unit('C', 1e-8)(featureMap('skd', select(empty, 0, cells))))
    const gram = einsum('ncp,ncq->npq', directions, directions)
    return featureMap('skd', reshape(gram, [x.shape[0], 1, grid * grid, grid * grid]))
  }

/**
 * Intra-class feature variation distillation: each pixel's cosine with the mean feature of its class in its image;
 * mean squared error. Pixels of no class (ignored ones) add nothing.
 * @param options.classes the number of classes
 * @see Wang et al. 2020, "Intra-class Feature Variation Distillation for Semantic Segmentation", ECCV
 * @example ifvd({ student, teacher, taps: [['neck', 'neck']], classes: 19 })
 */
export const ifvd = features(
  'ifvd',
  anyChannels,
  ({ classes }: { readonly classes: number }): Term =>
    (s, t, context) => {
      const hot = classesAt(context.label, classes, t)
      return term(toPrototypes(hot), squaredError)(s, t, context)
    },
)

/** Which pixels of a feature are of which class: bool [batch, classes, h, w], by the nearest label. */
export function classesAt(label: Tensor, classes: number, like: FeatureMap): Tensor {
  const [n, h, w] = label.shape
  const nearest = resizeNearest(
    reshape(label, [n, 1, h, w]) as Tensor<readonly [number, number, number, number]>,
    {
      size: [like.shape[2], like.shape[3]],
    },
  )
  return eq(nearest, iota([1, classes, 1, 1], 1, label.dtype))
}

/**
 * The means of a feature's pixels by class, [batch, channels, classes], and how many there are, [batch, 1,
 * classes].
 */
export function prototypes(x: FeatureMap, hot: Tensor): { readonly means: Tensor; readonly count: Tensor } {
  const members = pixelsOf(cast(hot, x.dtype))
  const count = reshape(sum(members, [2]), [hot.shape[0], 1, hot.shape[1]])
  const sums = einsum('ncp,nkp->nck', pixelsOf(x), members)
  return { means: div(sums, map('max', count, 1)), count }
}

const toPrototypes =
  (hot: Tensor): Normalise =>
  (x, mask) => {
    const members = mask ? map('and', hot, mask) : hot
    const { means } = prototypes(x, members)
    const own = einsum('nck,nkp->ncp', means, pixelsOf(cast(members, x.dtype)))
    const cosine = cosineSimilarity(floats('ifvd', pixelsOf(x)), floats('ifvd', own), { axis: 1 })
    // a pixel of no class has the prototype 0, and the cosine 0 in both networks
    return featureMap('ifvd', reshape(cosine, [x.shape[0], 1, x.shape[2], x.shape[3]]))
  }

/**
 * Cross-image relational distillation in the batch: features of unit length over C; how alike each pixel is to the
 * pixels of each image of the batch, as probabilities softmax(similarity / tau); KL, averaged over pixels and
 * images. tau 0.1. Memory and time grow with (batch h w)^2: take small features.
 * @see Yang et al. 2022, arXiv:2204.06986 (tau and the factor are ours)
 * @example cirkd({ student, teacher, taps: [['neck', 'neck']] })
 */
export const cirkd = features(
  'cirkd',
  anyChannels,
  ({ temperature = 0.1 }: { readonly temperature?: number }) =>
    term(inTurn(unit('C'), alikeAcross(temperature)), (logQ, logP, mask) =>
      div(divergence('C')(logQ, logP), imagesOf(logP, mask)),
    ),
)
/** The number of images of which a pixel counts. */
const imagesOf = (like: FeatureMap, mask?: Mask): Tensor | number => {
  if (!mask) return like.shape[0]
  const counted = broadcastTo(mask, [like.shape[0], 1, ...mask.shape.slice(2)])
  const used = map('lt', 0, sum(cast(counted, like.dtype), [1, 2, 3]))
  return map('max', sum(cast(used, like.dtype)), 1)
}
/** Log-probabilities of pixel q of image j for each pixel of each image: [batch, batch h w (j, q), h, w]. */
const alikeAcross =
  (temperature: number): Normalise =>
  (x, mask) => {
    const [n, , h, w] = x.shape
    const pixels = pixelsOf(x)
    const all = einsum('icp,jcq->ijqp', pixels, pixels)
    const counted = mask && reshape(broadcastTo(mask, [n, 1, h, w]), [1, n, h * w, 1])
    const kept = featureMap('cirkd', counted ? select(counted, all, impossible) : all)
    return featureMap('cirkd', reshape(logSoftmax(kept, { axis: 2, temperature }), [n, n * h * w, h, w]))
  }
