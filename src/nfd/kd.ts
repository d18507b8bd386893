/**
 * Methods on logits: rows of the table in README.md. In: options, all with defaults. Out: a `Distillation` without
 * parameters and without taps.
 */
import { divergence, oneMinusProduct, plus, scaled, term } from './compare.ts'
import { byDeviation, centredUnit, classProbabilities, inTurn, logProbabilities } from './normalise.ts'
import { logits } from './taps.ts'

/** What divides both networks' logits. */
export type Temperature = { readonly temperature?: number }

/**
 * Knowledge distillation: T^2 KL(softmax(teacher / T) || softmax(student / T)) over the classes, averaged over
 * pixels. T 1.
 * @throws UsageError if the temperature is not positive
 * @see Hinton, Vinyals, Dean 2015, arXiv:1503.02531
 * @example kd({ temperature: 4, weight: 0.5 })
 */
export const kd = logits<Temperature>('kd', ({ temperature = 1 }) =>
  term(logProbabilities('C', temperature), scaled(temperature ** 2, divergence('C'))),
)

/**
 * KD of standardised logits: (z - mean) / (std + 1e-7) over the classes first, unbiased std, so that the student
 * need not match the magnitude of the teacher's logits. T 2.
 * @see Sun et al. 2024, arXiv:2403.01427
 * @example standardisedKd({ temperature: 2 })
 */
export const standardisedKd = logits<Temperature>('standardisedKd', ({ temperature = 2 }) =>
  term(
    inTurn(byDeviation('C', 1e-7), logProbabilities('C', temperature)),
    scaled(temperature ** 2, divergence('C')),
  ),
)

/**
 * CWD on logits: tau^2 KL of each class's distribution over the pixels. tau 4; the usual weight is 3.
 * @see Shu et al. 2021, arXiv:2011.13256
 * @example cwdLogits({ weight: 3 })
 */
export const cwdLogits = logits<Temperature>('cwdLogits', ({ temperature = 4 }) =>
  term(logProbabilities('HW', temperature), scaled(temperature ** 2, divergence('HW'))),
)

/**
 * DIST: tau^2 (beta inter + gamma intra), each 1 - Pearson's correlation of class probabilities softmax(z / tau):
 * inter over the classes of each pixel, intra over the pixels (of the whole batch) of each class. tau, beta and
 * gamma are 1.
 * @see Huang et al. 2022, arXiv:2205.10536
 * @example dist()
 */
export const dist = logits<Temperature & { readonly beta?: number; readonly gamma?: number }>(
  'dist',
  ({ temperature = 1, beta = 1, gamma = 1 }) => {
    const correlation = (axes: 'C' | 'NHW') =>
      term(
        inTurn(classProbabilities(temperature), centredUnit(axes)),
        scaled(temperature ** 2, oneMinusProduct(axes)),
      )
    return plus([beta, correlation('C')], [gamma, correlation('NHW')])
  },
)
