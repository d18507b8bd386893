/**
 * Choices between float lanes in fewer instructions than compare and blend (x64 has no cheap blend for WebAssembly:
 * `bitselect` is three instructions). In: a select of a kernel. Out: what to compute instead; bit for bit the same but
 * for the payload of NaNs.
 */
import type { Instr } from '../kernel.ts'

type Scalar = Extract<Instr, { k: 'scalar' }>

/** Another way to a select's result; numbers are instructions' ids. */
export type Choice =
  /** y, all ones (a NaN) where x is NaN. */
  | { readonly how: 'orNaN'; readonly x: number; readonly y: number }
  /** `pmax`: p < q ? q : p. `pmin`: q < p ? q : p. */
  | { readonly how: 'pmax' | 'pmin'; readonly p: number; readonly q: number }
  /** The value where the condition holds (or, `where` false, does not), else +0. */
  | { readonly how: 'mask'; readonly condition: Condition; readonly where: boolean; readonly value: number }
  /** The value, its sign flipped where the condition holds (or does not). */
  | { readonly how: 'flip'; readonly condition: Condition; readonly where: boolean; readonly value: number }
  | { readonly how: 'blend'; readonly condition: Condition; readonly a: number; readonly b: number }

/** A boolean instruction, or q <= p. */
export type Condition = number | { readonly le: readonly [q: number, p: number] }

/**
 * How to compute a select of floats.
 * @param x    `select(condition, a, b)`
 * @param all  the kernel's instructions
 */
export function choiceOf(x: Scalar, all: readonly Instr[]): Choice {
  const [c, a, b] = x.args
  const test = scalar(all[c])
  if (test?.fn === 'isnan' && test.args[0] === a) return { how: 'orNaN', x: a, y: b }
  if (test?.fn === 'lt') {
    const [p, q] = test.args
    if (a === q && b === p) return { how: 'pmax', p, q }
    if (a === p && b === q) return { how: 'pmin', p: q, q: p }
  }
  const ordered = test && notAbove(test, all)
  const [condition, then, other]: [Condition, number, number] = ordered ? [{ le: ordered }, b, a] : [c, a, b]
  if (isZero(all[other])) return { how: 'mask', condition, where: true, value: then }
  if (isZero(all[then])) return { how: 'mask', condition, where: false, value: other }
  if (negates(all[then], other)) return { how: 'flip', condition, where: true, value: other }
  if (negates(all[other], then)) return { how: 'flip', condition, where: false, value: then }
  return { how: 'blend', condition, a: then, b: other }
}

const scalar = (x: Instr): Scalar | null => (x.k === 'scalar' ? x : null)
const isZero = (x: Instr): boolean => x.k === 'lit' && Object.is(x.value, 0)
const negates = (x: Instr, of: number): boolean => x.k === 'scalar' && x.fn === 'neg' && x.args[0] === of

/** [q, p] if the test is `p < q or one of them is NaN`, whose opposite is q <= p. */
function notAbove(test: Scalar, all: readonly Instr[]): readonly [number, number] | null {
  if (test.fn !== 'or') return null
  const sides = test.args.map(i => scalar(all[i]))
  const less = sides.find(s => s?.fn === 'lt')
  const nan = sides.find(s => s?.fn === 'isnan')
  if (!less || !nan) return null
  const [p, q] = less.args
  // p < q is false where p is NaN, and so is q <= p: the other must be the one that is tested, p a number
  return nan.args[0] === q && all[p].k === 'lit' ? [q, p] : null
}
