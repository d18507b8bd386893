/** A property of the system: what the tests assert and what mutants must break. */

/** A claim that is checked on a number of random cases, or (where the numbers are the same) on all there are. */
export interface Property {
  /** The claim. */
  readonly name: string
  /** How many random cases tell most mistakes, and how many the tests run. */
  readonly quick: number
  readonly thorough: number
  /** Throws where the claim does not hold. */
  readonly run: (cases: number) => void
}

/** A claim about random cases. */
export const property = (
  name: string,
  [quick, thorough]: readonly [number, number],
  run: (cases: number) => void,
): Property => ({ name, quick, thorough, run })

/** A claim that is checked on every case that it speaks of. */
export const fact = (name: string, run: () => void): Property => ({ name, quick: 1, thorough: 1, run })
