/**
 * Factors over time, inside the traced step. In: the step, a scalar tensor. Out: a factor in [0, 1], a scalar
 * tensor. One compiled step serves the whole run.
 */
import { add, cast, less, map, mul, scalar, select } from '../dsl/build.ts'
import { UsageError } from '../dsl/errors.ts'
import type { Tensor } from '../dsl/tensor.ts'

/** A factor at a step (a float scalar; the first is 0), of the step's dtype. */
export type Factor = (step: Tensor) => Tensor

const part = (step: Tensor, steps: number): Tensor => map('min', mul(step, 1 / steps), 1)
function checkSteps(name: string, steps: number): void {
  if (!(steps > 0)) throw new UsageError(`${name}: the number of steps must be positive, got ${steps}`)
}

/**
 * A line from `from` (0) to 1 over the first steps.
 * @throws UsageError if `steps` is not positive
 * @example warmUp(1000)
 */
export function warmUp(steps: number, { from = 0 }: { readonly from?: number } = {}): Factor {
  checkSteps('warmUp', steps)
  return step => add(mul(part(step, steps), 1 - from), from)
}

/**
 * Half a cosine from 1 to `end` (0), which stays: end + (1 - end) (1 + cos(pi step / steps)) / 2.
 * @throws UsageError if `steps` is not positive
 * @example cosineDecay(40000)
 */
export function cosineDecay(steps: number, { end = 0 }: { readonly end?: number } = {}): Factor {
  checkSteps('cosineDecay', steps)
  return step => add(mul(add(map('cos', mul(part(step, steps), Math.PI)), 1), (1 - end) / 2), end)
}

/** 1 before the step, 0 from it on. @example stopAt(20000) */
export const stopAt =
  (at: number): Factor =>
  step =>
    select(less(step, at), scalar(1, step.dtype), 0)

/** 0 before the step, 1 from it on. @example startAt(20000) */
export const startAt =
  (at: number): Factor =>
  step =>
    select(less(step, at), scalar(0, step.dtype), 1)

/** The product of factors at a step, in a float dtype. */
export const factorAt = (factors: readonly Factor[], step: Tensor, like: Tensor): Tensor => {
  const at = cast(step, like.dtype)
  return factors.map(f => f(at)).reduce((a, b) => mul(a, b), scalar(1, like.dtype) as Tensor)
}
