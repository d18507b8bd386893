/** Data-last forms: `add(x, y)` and `pipe(x, add(y))` are one function. */

/**
 * A function that is also data-last: with fewer arguments than `isWhole` asks for, it waits for its first one.
 * @param isWhole whether a list of arguments is complete (the data is there)
 * @example const sub = dual(args => args.length === 2, (x, y) => ...); pipe(x, sub(1)) // x - 1
 */
export const dual =
  (isWhole: (args: readonly unknown[]) => boolean, body: (...args: never[]) => unknown) =>
  (...args: unknown[]): unknown => {
    const f = body as (...xs: unknown[]) => unknown
    return isWhole(args) ? f(...args) : (x: unknown) => f(x, ...args)
  }
