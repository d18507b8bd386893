/**
 * Feature methods: rows of the table in README.md. In: two networks with typed taps. Out: a `Distillation`.
 * Each is align, normalise, compare; `align` is a 1 x 1 convolution unless another is given.
 */
import { anyChannels, attentive, conv1x1, generator, refined } from './align.ts'
import { divergence, logSumOfFourths, scaled, smoothL1, squaredError, sumOfSquares, term } from './compare.ts'
import { fused } from './fused.ts'
import {
  asIs,
  attention,
  byDeviation,
  inTurn,
  logProbabilities,
  type NormaliseOptions,
  normalise,
  overSamples,
  pooled,
  unit,
} from './normalise.ts'
import { features } from './taps.ts'

/**
 * Normalised feature distillation:
 *   L = weight * sum over pairs of mean((N(align(Fs)) - N(Ft))^2),  N(F) = (F - mean F) / sqrt(var F + eps)
 * over the axes, population variance. With eps = 0 a term over HW is 2 (1 - r), r the mean Pearson correlation of the
 * channels' planes: in [0, 4].
 * Options: axes ('HW'), eps (1e-5), epsMode ('absolute').
 * @see Liu, Yang, Chen 2022, arXiv:2207.05256; the weight, eps and population variance are ours
 * @example nfd({ student, teacher, taps: [['stage4', 'stage4'], ['neck', 'neck']], weight: 5 })
 */
export const nfd = features('nfd', conv1x1, (options: NormaliseOptions) =>
  fused(options, term(normalise(options), squaredError)),
)

/**
 * FitNets: mean((align(Fs) - Ft)^2), which also asks for the magnitude of the teacher's features.
 * @see Romero et al. 2015, arXiv:1412.6550 (their stages of training: `staged`)
 * @example fitnet({ student, teacher, taps: [['stage4', 'stage4']] })
 */
export const fitnet = features('fitnet', conv1x1, () => term(asIs, squaredError))

/**
 * PKD: Pearson's correlation by standardised features, mean((N(Fs) - N(Ft))^2) / 2 with N(F) = (F - mean) / (std +
 * 1e-6) over NHW, unbiased std. The usual weight on detectors is 10.
 * @see Cao et al. 2022, arXiv:2207.02039
 * @example pkd({ student, teacher, taps: [['stage4', 'stage4']] })
 */
export const pkd = features('pkd', conv1x1, () => term(byDeviation('NHW', 1e-6), scaled(0.5, squaredError)))

/**
 * Channel-wise distillation: tau^2 KL of each channel's distribution over the pixels, averaged over samples and
 * channels. tau 4; the usual weight is 50 on features.
 * @see Shu et al. 2021, arXiv:2011.13256
 * @example cwd({ student, teacher, taps: [['neck', 'neck']], weight: 50 })
 */
export const cwd = features('cwd', conv1x1, ({ temperature = 4 }: { readonly temperature?: number }) =>
  term(logProbabilities('HW', temperature), scaled(temperature ** 2, divergence('HW'))),
)

/**
 * Attention transfer: the attention map is the mean over C of F^2, of unit length over HW; mean squared error.
 * Channels may differ: there is no aligner.
 * @see Zagoruyko, Komodakis 2017, arXiv:1612.03928
 * @example at({ student, teacher, taps: [['stage4', 'stage4']] })
 */
export const at = features('at', anyChannels, () => term(inTurn(attention, unit('HW')), squaredError))

/**
 * Attention-guided feature distillation: what attention leaves of the features, divided by the norm over the whole
 * batch; sum of squares / batch. The student's attention is learned (in the aligner), the teacher's has no
 * parameters. The usual weight is 2.
 * @see Mansourian et al. 2024, arXiv:2403.05451; github.com/AmirMansurian/AttnFD
 * @example attnfd({ student, teacher, taps: [['stage4', 'stage4']], weight: 2 })
 */
export const attnfd = features('attnfd', attentive, () =>
  term(unit('NCHW'), sumOfSquares, inTurn(refined, unit('NCHW'))),
)

/**
 * Feature distillation for contrastive models: the teacher's features whitened by a layer norm over C without
 * affine, the student's as they are; smooth L1 with beta 2.
 * @see Wei et al. 2022, arXiv:2205.14141
 * @example layerNormFd({ student, teacher, taps: [['stage4', 'stage4']] })
 */
export const layerNormFd = features('layerNormFd', conv1x1, () =>
  term(asIs, smoothL1(2), normalise({ axes: 'C' })),
)

/**
 * A simple recipe: a linear projector, pooled features, batch norm without affine, log of the sum of |d|^4.
 * @see Miles, Mikolajczyk 2024, arXiv:2303.11098
 * @example simpleRecipe({ student, teacher, taps: [['stage4', 'stage4']] })
 */
export const simpleRecipe = features('simpleRecipe', conv1x1, () =>
  term(inTurn(pooled, overSamples), logSumOfFourths),
)

/**
 * Masked generative distillation: the student's feature with pixels dropped at random (0.75), from which two 3 x 3
 * convolutions generate the teacher's; sum of squares / batch. The usual weight is 2e-5. Another rate: `align:
 * generator(0.5)`.
 * @see Yang et al. 2022, arXiv:2205.01529
 * @example mgd({ student, teacher, taps: [['stage4', 'stage4']], weight: 2e-5 })
 */
export const mgd = features('mgd', generator(0.75), () => term(asIs, sumOfSquares))
