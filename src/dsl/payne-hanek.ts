/**
 * Argument reduction of sin and cos for every finite f32, in u32 arithmetic: the scalar language has no wide floats,
 * but integers that wrap, and no driver regroups integers. In: |x|; out: its quadrant and the rest of the angle.
 * Used by `math.ts`.
 *
 * |x| = m 2^(e-23) with a whole m of 24 bits, so in turns |x| / 2pi = m F with F = 2^(e-23) / 2pi, and whole turns of
 * F do not matter: 80 bits of F from the place of its first fraction on are enough, for no f32 above pi/4 comes nearer
 * to a multiple of pi/2 than 2^-30 of it.
 * @see Payne & Hanek 1983, "Radian reduction for trigonometric functions"
 */
import type { DType } from './dtype.ts'
import type { Ex, s as Lang } from './scalar.ts'

type L = typeof Lang

/** 24 zeros and the first 232 bits after the point of 1 / 2pi. */
const digits = [
  0x28, 0xbe60db93, 0x91054a7f, 0x9d5f47d, 0x4d377036, 0xd8a5664f, 0x10e4107f, 0x9458eaf7,
] as const

const u32 = (value: number): Ex => ({ k: 'lit', value, dtype: 'u32' })
/** An expression of another type: converted, or its bits. */
export const convert = (fn: 'cast' | 'bitcast', x: Ex, dtype: DType): Ex => ({
  k: 'op',
  fn,
  args: [x],
  dtype,
})
const high = (s: L, x: Ex): Ex => s.shr(x, 16)
const low = (s: L, x: Ex): Ex => s.and(x, 0xffff)

/** 80 bits of `digits` from bit p (0 to 128) on, as five limbs of 16 bits, the first the most significant. */
function window(s: L, p: Ex): readonly Ex[] {
  const word = s.shr(p, 5)
  const words = [0, 1, 2, 3].map(i =>
    [3, 2, 1, 0].reduce<Ex>((y, j) => s.select(s.eq(word, j), u32(digits[i + j]), y), u32(digits[i + 4])),
  )
  const halves = words.flatMap(w => [high(s, w), low(s, w)])
  const odd = s.ne(s.and(p, 16), 0)
  // a shift by less than 16 as a product: vector shifts by a number per lane are slow on a CPU
  const bits = convert('cast', s.and(p, 15), 'f32')
  const factor = convert('cast', s.exp2i(bits), 'u32')
  const shifted = [0, 1, 2, 3, 4, 5].map(i => s.mul(s.select(odd, halves[i + 1], halves[i]), factor))
  return [0, 1, 2, 3, 4].map(i => s.or(low(s, shifted[i]), high(s, shifted[i + 1])))
}

/** The fraction of m F as 32 + 32 bits, from the limbs of F: long multiplication from the last limb on. */
function multiply(s: L, m: Ex, limbs: readonly Ex[]): readonly [Ex, Ex] {
  const [mHigh, mLow] = [high(s, m), low(s, m)]
  const digit: Ex[] = []
  let carry = s.mul(mHigh, limbs[4])
  carry = s.add(carry, high(s, s.mul(mLow, limbs[4])))
  for (let i = 3; i >= 0; i--) {
    const p = s.mul(mLow, limbs[i])
    const column = s.add(low(s, p), carry)
    digit[i] = low(s, column)
    carry = s.add(s.add(s.mul(mHigh, limbs[i]), high(s, p)), high(s, column))
  }
  return [s.or(s.shl(digit[0], 16), digit[1]), s.or(s.shl(digit[2], 16), digit[3])]
}

/**
 * a = quadrant pi/2 + rest, |rest| <= pi/4, modulo a turn; for 0 <= a < infinity.
 * @param a  |x|, f32
 * @returns  `quadrant` 0, 1, 2 or 3 as f32, and `rest` within 1.5 ULP
 * @example const { quadrant, rest } = payneHanek(s, s.abs(x))
 */
export function payneHanek(s: L, a: Ex): { readonly quadrant: Ex; readonly rest: Ex } {
  const bits = convert('bitcast', a, 'u32')
  const m = s.or(s.and(bits, 0x7fffff), 0x800000)
  const limbs = window(s, s.sub(s.shr(bits, 23), 126))
  const [top, tail] = multiply(s, m, limbs)
  const near = s.lt(a, Math.PI / 4)
  const quarter = s.shr(s.add(top, 2 ** 29), 30)
  const left = convert('cast', convert('bitcast', s.sub(top, s.shl(quarter, 30)), 'i32'), 'f32')
  const turns = s.add(left, s.mul(convert('cast', tail, 'f32'), 2 ** -32))
  return {
    quadrant: s.select(near, 0, convert('cast', quarter, 'f32')),
    rest: s.select(near, a, s.mul(turns, 2 * Math.PI * 2 ** -32)),
  }
}
