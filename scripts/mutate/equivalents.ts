/** Mutants that compute what the program computes, each with its proof. Named by file, definition and code, not by line. */

export interface Equivalent {
  readonly file: string
  /** The definition that it is in. */
  readonly path: string
  /** The code around it, with the change as `{before => after}`, as the report prints it. */
  readonly code: string
  readonly proof: string
}

export const equivalents: readonly Equivalent[] = []
