/**
 * What is wrong with an operation's operands: as a type that the compiler prints while one writes, and as an
 * error thrown while the function is traced.
 */
import { ShapeError } from '../errors.ts'
import { currentScope } from '../tensor.ts'

declare const problem: unique symbol

/**
 * The type of an argument that does not fit; no value has it, so the compiler prints its sentence.
 * @typeParam Why the sentence, such as `conv2d: input has 16 channels, the kernel expects 32`
 */
export interface ShapeMismatch<Why extends string> {
  readonly [problem]: Why
}

/**
 * Throws the error of an operation, with the place in the user's function.
 * @param rule the rule that is broken
 * @param lines both values with their axes named, and the mend
 * @throws ShapeError always
 * @example mismatch('matmul', 'the inner extents differ: 3 and 4', ['x  f32[2, 3]  [rows, inner]', 'y  ...'])
 */
export const mismatch = (op: string, rule: string, lines: readonly string[] = []): never => {
  // The operation itself is no place in the user's function.
  const place = currentScope().split(' / ')
  if (place[place.length - 1] === op) place.pop()
  throw new ShapeError(op, rule, lines, place.join(' / '))
}
