/**
 * The derivative of a function of one number at 0 by central differences, and whether there is one: a kink or a
 * jump near 0 shows as differences of unlike steps that disagree. In: a function. Out: a slope with its error.
 */

/** A measured slope; `kink`: the function is not smooth enough near 0 to have one. */
export interface Slope {
  readonly value: number
  /** What the measurement may be wrong by. */
  readonly error: number
  readonly kink: boolean
  /** The step of the differences. */
  readonly step: number
}

/** Steps, tried in order: rounding errors grow as 1 / h, kinks come less near. */
const steps = [1e-4, 1e-5, 1e-6] as const

/**
 * Differences of two steps, extrapolated (Richardson): the error is of the fourth order in the step.
 * @param f      called at 0 and a few points near it
 * @param scale  the size of derivatives that counts as 1
 * @example slope(h => Math.sin(1 + h), 1).value // cos 1
 */
export function slope(f: (h: number) => number, scale: number): Slope {
  const middle = f(0)
  let before = 0
  for (const h of steps) {
    const [near, far] = [h / 2, h].map(d => {
      const [plus, minus] = [f(d), f(-d)]
      const size = Math.max(Math.abs(plus), Math.abs(minus), Math.abs(middle))
      // A kink at 0 itself: the two one-sided slopes differ, by as much for every step.
      return { central: (plus - minus) / (2 * d), bend: Math.abs(plus - 2 * middle + minus) / d, size }
    })
    // An evaluation may be wrong by a thousand roundings.
    const rounding = (1e-13 * far.size) / h
    const step = Math.abs(far.central - near.central)
    const unit = scale + Math.abs(near.central)
    // Of a smooth function the disagreement falls with the square of the step: a hundredfold.
    const converges = step <= 1e-6 * unit + rounding || step < before / 30
    before = step
    const bends = near.bend > 0.75 * far.bend && near.bend > 1e-6 * unit + rounding
    if (converges && !bends)
      return {
        value: (4 * near.central - far.central) / 3,
        error: 1e-8 * unit + step + rounding,
        kink: false,
        step: h,
      }
  }
  return { value: Number.NaN, error: Number.POSITIVE_INFINITY, kink: true, step: steps[0] }
}
