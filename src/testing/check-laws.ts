/**
 * Invariances of a loss as data: what a change of the arguments must do to its value. In: a loss, laws, arguments.
 * Out: a report, or a CheckError that names the law with both values.
 */
import { evaluate } from '../backend/cpu/reference-backend.ts'
import { isFloat } from '../dsl/dtype.ts'
import { constant, type Tensor } from '../dsl/tensor.ts'
import { isType } from '../dsl/trace.ts'
import { fillTree } from '../dsl/tree.ts'
import { arrayLeaves, CheckError, wide } from './numbers.ts'

/** A law: how the value follows a change of the arguments. */
export interface Law<Args extends readonly unknown[]> {
  readonly name: string
  /** The changed arguments. */
  readonly change: (...args: Args) => Args
  /** `same`, or the value that is expected after the change from that before it. */
  readonly expect: 'same' | ((before: number) => number)
  /** The relative difference that is allowed, 1e-9 by default. */
  readonly tolerance?: number
}

/** What was compared. */
export interface LawReport {
  readonly checked: number
  /** The largest difference, relative to the value. */
  readonly worst: number
}

/**
 * Checks laws of a loss, in f64 on the reference.
 * @param loss  (...trees) => scalar; it follows its arguments' dtype
 * @param laws  invariances and other rules of its value
 * @param args  trees of arrays
 * @throws CheckError with the law, the value and what was expected
 * @example
 * checkLaws((s: Tensor, t: Tensor) => mse(standardise(s), standardise(t)),
 *   [{ name: 'ignores the scale', change: (s, t) => [mul(s, 3), t], expect: 'same' }], [student, teacher])
 */
export function checkLaws<Args extends readonly unknown[]>(
  loss: (...args: Args) => Tensor,
  laws: readonly Law<Args>[],
  args: readonly unknown[],
): LawReport {
  const tensors = arrayLeaves(args).map(({ leaf }) => {
    const a = wide(leaf)
    return constant(a.shape, a.dtype, a.data)
  })
  // The arrays of the tree are exchanged for tensors of the same shapes: the tree that the loss takes.
  const given = fillTree(args, isType, tensors) as unknown as Args
  const value = (xs: Args): number => {
    const y = loss(...xs)
    if (y.rank !== 0 || !isFloat(y.dtype))
      throw new CheckError(`checkLaws: the loss must be a scalar, got ${y}`)
    return evaluate(y).data[0]
  }
  const before = value(given)
  let worst = 0
  for (const { name, change, expect, tolerance = 1e-9 } of laws) {
    const got = value(change(...given))
    const want = expect === 'same' ? before : expect(before)
    const error = Math.abs(got - want)
    if (!(error <= tolerance * (1e-3 + Math.abs(want))))
      throw new CheckError(
        `checkLaws: ${name}: the loss is ${got} after the change, expected ${want} (before: ${before})`,
      )
    worst = Math.max(worst, error / (1e-3 + Math.abs(want)))
  }
  return { checked: laws.length, worst }
}
