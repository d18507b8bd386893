/**
 * Mutants that compute what the program computes, each with its proof. They are named by file, definition and code
 * (the change as `{before => after}`, as the report prints it), whatever line they are on; one that no longer exists,
 * or that a check tells apart after all, is an error.
 */
import { autodiffEquivalents } from './equivalents/autodiff.ts'
import { backendEquivalents } from './equivalents/backend.ts'
import { dslEquivalents } from './equivalents/dsl.ts'
import type { Equivalence } from './equivalents/equivalence.ts'

export const equivalents: readonly Equivalence[] = [
  ...autodiffEquivalents,
  ...backendEquivalents,
  ...dslEquivalents,
]
