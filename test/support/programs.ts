/** Random programs for tests in f64 whose arguments lie away from ties. */
import type fc from 'fast-check'
import { type Program, programs } from '../../src/testing/programs.ts'

export { programArguments, programLoss, runProgram } from '../../src/testing/programs.ts'

/**
 * Programs of up to `length` steps on two arguments, with elements and without equal ones; without casts through f32,
 * whose rounding differences in f64 would see.
 */
export const arbitraryProgram = (length = 8): fc.Arbitrary<Program> =>
  programs({ length, empty: false, ties: false, without: ['cast'] })
