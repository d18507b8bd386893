/** Learning rates over time. In: a step, from 0. Out: the learning rate, on the host; it goes in as an argument. */
import { UsageError } from '../dsl/errors.ts'

/** The learning rate at a step (the first is 0); beyond the last step it stays. */
export type Schedule = (step: number) => number

const part = (step: number, total: number): number => Math.min(Math.max(step / total, 0), 1)
const checkTotal = (name: string, total: number): void => {
  if (!(total > 0)) throw new UsageError(`${name}: the number of steps must be positive, got ${total}`)
}

/**
 * Polynomial decay: end + (base - end) (1 - step / total)^power, power 0.9, end 0.
 * @throws UsageError if `total` is not positive
 * @see Liu, Rabinovich, Berg 2015, arXiv:1506.04579
 * @example poly(0.02, 40000)(20000) // 0.0107
 */
export const poly = (
  base: number,
  total: number,
  { power = 0.9, end = 0 }: { readonly power?: number; readonly end?: number } = {},
): Schedule => {
  checkTotal('poly', total)
  return step => end + (base - end) * (1 - part(step, total)) ** power
}

/**
 * Half a cosine: end + (base - end) (1 + cos(pi step / total)) / 2, end 0.
 * @throws UsageError if `total` is not positive
 * @see Loshchilov & Hutter 2017, arXiv:1608.03983
 * @example cosine(0.1, 1000)(500) // 0.05
 */
export const cosine = (
  base: number,
  total: number,
  { end = 0 }: { readonly end?: number } = {},
): Schedule => {
  checkTotal('cosine', total)
  return step => end + ((base - end) * (1 + Math.cos(Math.PI * part(step, total)))) / 2
}

/**
 * Multiplies a schedule by a line from `from` (0) to 1 over the first steps.
 * @throws UsageError if `steps` is not positive
 * @example pipe(poly(0.02, 40000), warmUp(1500, { from: 1e-6 }))
 */
export const warmUp = (
  steps: number,
  { from = 0 }: { readonly from?: number } = {},
): ((schedule: Schedule) => Schedule) => {
  checkTotal('warmUp', steps)
  return schedule => step => schedule(step) * (from + (1 - from) * part(step, steps))
}
