/** Data-last forms: `add(x, y)` and `pipe(x, add(y))` are one function. */
import { scope, Tensor } from './tensor.ts'

type Body = (...args: never[]) => unknown

/**
 * A function that is also data-last: with an incomplete list of arguments it waits for its first one.
 * @typeParam F the overloads that callers see; the body below is checked against the untyped language only
 * @param isWhole whether a list of arguments is complete (the data is there)
 * @example const sub = dual<BinaryOp>(args => args.length === 2, (x, y) => ...); pipe(x, sub(1)) // x - 1
 */
export const dual = <F>(isWhole: (args: readonly unknown[]) => boolean, body: Body): F => {
  const f = body as (...xs: unknown[]) => unknown
  const both = (...args: unknown[]): unknown => (isWhole(args) ? f(...args) : (x: unknown) => f(x, ...args))
  // The overloads say in literal shapes what the body does with any shape; the compiler cannot relate the two.
  return both as F
}

/** For `op(x, y)` with n operands, numbers among them: whole when all n are there. */
export const withOperands =
  (n: number) =>
  (args: readonly unknown[]): boolean =>
    args.length >= n

/** For `op(x, ...options)`: whole when the first argument is a tensor. */
export const withData = (args: readonly unknown[]): boolean => args[0] instanceof Tensor

/** For `op(x, w, ...options)`, both tensors: whole when the first two arguments are. */
export const withTwo = (args: readonly unknown[]): boolean =>
  args[0] instanceof Tensor && args[1] instanceof Tensor

/**
 * Names what a derived operation is made of, for errors and profiles.
 * @example dual<PoolOp>(withData, named('avgPool2d', (x, options) => ...))
 */
export const named =
  <A extends readonly unknown[], R>(op: string, body: (...args: A) => R) =>
  (...args: A): R =>
    scope(op, () => body(...args))
