/** Why mutants are equal to the program: the rows of the tables beside this file. */

/** Mutants that are equal to the program for one reason. */
export interface Equivalence {
  readonly file: string
  /** Why no input tells them apart. */
  readonly proof: string
  /** `definition: code`, the change as `{before => after}`. */
  readonly mutants: readonly string[]
}
