/**
 * Softmax and its logarithm. In: logits. Out: probabilities, or their logarithms, of the same type. The maximum is
 * subtracted first (as a constant: it cancels), so nothing overflows; a logit of -inf has probability 0.
 */
import { div, map, mul, reduce, stopGradient, sub, sum } from '../build.ts'
import type { Tensor } from '../tensor.ts'
import { type UnaryWith, unaryWith } from './activation.ts'

/** The axis of the classes, and a divisor of the logits (1). */
export interface SoftmaxOptions {
  readonly axis: number
  readonly temperature?: number
}

/**
 * The exponents of softmax and the logarithm of their sum: `shifted = x - max x`, `logSum = log sum e^shifted`.
 * @param x  any shape
 * @returns  `shifted` of x's shape, `logSum` with the extent 1 on the axis; log softmax is their difference
 * @example const { shifted, logSum } = logSumParts(logits, 1)
 */
export function logSumParts(x: Tensor, axis: number): { readonly shifted: Tensor; readonly logSum: Tensor } {
  const shifted = shift(x, axis)
  return { shifted, logSum: map('log', sum(map('exp', shifted), axis, true)) }
}
const shift = (x: Tensor, axis: number): Tensor =>
  sub(x, stopGradient(reduce('max', stopGradient(x), axis, true)))

const scaled = (x: Tensor, temperature = 1): Tensor => (temperature === 1 ? x : mul(x, 1 / temperature))

/**
 * y_i = e^(x_i / T) / sum over the axis of e^(x_j / T). A row of -inf alone is NaN, as in PyTorch.
 * @param x  any shape; the result has its type
 * @throws ShapeError if x lacks the axis
 * @example pipe(logits, softmax({ axis: 1 }))
 */
export const softmax: UnaryWith<SoftmaxOptions> = unaryWith('softmax', (x, { axis, temperature }) => {
  const e = map('exp', shift(scaled(x, temperature), axis))
  return div(e, sum(e, axis, true))
})

/**
 * y_i = x_i / T - log sum over the axis of e^(x_j / T).
 * @param x  any shape; the result has its type
 * @throws ShapeError if x lacks the axis
 * @example logSoftmax(logits, { axis: 1, temperature: 4 })
 */
export const logSoftmax: UnaryWith<SoftmaxOptions> = unaryWith('logSoftmax', (x, { axis, temperature }) => {
  const { shifted, logSum } = logSumParts(scaled(x, temperature), axis)
  return sub(shifted, logSum)
})
