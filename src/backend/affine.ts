/**
 * Integer index expressions over a kernel's axes: sums of coefficient times atom, where an atom is an axis, a
 * quotient or remainder that no rule removed, or a value loaded at run time (gather). Smart constructors keep
 * one normal form and simplify by the known ranges, so that a reshape of a permute is often an affine map again.
 */

/** A sum of terms and a constant. All integers; `terms` have distinct atoms and no zero coefficient. */
export interface Affine {
  readonly terms: readonly Term[]
  readonly offset: number
}
export interface Term {
  readonly atom: Atom
  readonly coef: number
}
/** What an index is made of. Every atom lies in [0, extent), but a run-time value may be anything in i32. */
export type Atom =
  | { readonly k: 'axis'; readonly axis: number; readonly extent: number }
  | { readonly k: 'div'; readonly of: Affine; readonly by: number }
  | { readonly k: 'mod'; readonly of: Affine; readonly by: number }
  | { readonly k: 'value'; readonly value: number }

/** lo <= index < hi. A guard is a conjunction of these. */
export interface Condition {
  readonly index: Affine
  readonly lo: number
  readonly hi: number
}

export const constant = (offset: number): Affine => ({ terms: [], offset })
export const axis = (i: number, extent: number): Affine =>
  extent === 1 ? constant(0) : { terms: [{ atom: { k: 'axis', axis: i, extent }, coef: 1 }], offset: 0 }
/** The value of an i32 instruction of the kernel. */
export const value = (v: number): Affine => ({
  terms: [{ atom: { k: 'value', value: v }, coef: 1 }],
  offset: 0,
})

/** A text that is equal for equal expressions. */
export const show = (a: Affine): string => {
  const parts = a.terms.map(t => (t.coef === 1 ? showAtom(t.atom) : `${t.coef}*${showAtom(t.atom)}`))
  if (a.offset !== 0 || parts.length === 0) parts.push(String(a.offset))
  return parts.join(' + ')
}
const showAtom = (t: Atom): string => {
  if (t.k === 'axis') return `i${t.axis}`
  if (t.k === 'value') return `v${t.value}`
  return `(${show(t.of)}) ${t.k === 'div' ? '/' : '%'} ${t.by}`
}

/** a + k b */
export function addScaled(a: Affine, b: Affine, k = 1): Affine {
  if (k === 0) return a
  const terms = new Map(a.terms.map(t => [showAtom(t.atom), t]))
  for (const t of b.terms) {
    const key = showAtom(t.atom)
    const coef = (terms.get(key)?.coef ?? 0) + k * t.coef
    if (coef === 0) terms.delete(key)
    else terms.set(key, { atom: t.atom, coef })
  }
  return { terms: [...terms.values()], offset: a.offset + k * b.offset }
}
export const add = (a: Affine, b: Affine): Affine => addScaled(a, b)
export const scale = (a: Affine, k: number): Affine => addScaled(constant(0), a, k)
export const addConst = (a: Affine, k: number): Affine => ({ terms: a.terms, offset: a.offset + k })

/** The inclusive range of an expression, or null where a run-time value has a part in it. */
export function bounds(a: Affine): readonly [number, number] | null {
  let lo = a.offset
  let hi = a.offset
  for (const { atom, coef } of a.terms) {
    const r = atomBounds(atom)
    if (r === null) return null
    lo += coef > 0 ? coef * r[0] : coef * r[1]
    hi += coef > 0 ? coef * r[1] : coef * r[0]
  }
  return [lo, hi]
}
function atomBounds(t: Atom): readonly [number, number] | null {
  if (t.k === 'axis') return [0, t.extent - 1]
  if (t.k === 'mod') return [0, t.by - 1]
  if (t.k === 'value') return null
  const r = bounds(t.of)
  return r && [Math.floor(r[0] / t.by), Math.floor(r[1] / t.by)]
}

/** Splits a into by * q + r, where every coefficient of q's image is a multiple of `by`. */
function splitBy(a: Affine, by: number): [q: Affine, r: Affine] {
  const q = a.terms.filter(t => t.coef % by === 0).map(t => ({ atom: t.atom, coef: t.coef / by }))
  const r = a.terms.filter(t => t.coef % by !== 0)
  const qo = Math.floor(a.offset / by)
  return [
    { terms: q, offset: qo },
    { terms: r, offset: a.offset - qo * by },
  ]
}
const within = (a: Affine, lo: number, hi: number): boolean => {
  const b = bounds(a)
  return b !== null && b[0] >= lo && b[1] < hi
}

/** floor(a / by), for a >= 0 */
export function div(a: Affine, by: number): Affine {
  if (by === 1) return a
  const [q, r] = splitBy(a, by)
  if (within(r, 0, by)) return q
  // (m x + r) / (m n) = (x + r / m) / n where 0 <= r < m
  const g = commonFactor(r, by)
  if (g > 1) return add(q, div(splitBy(r, g)[0], by / g))
  return add(q, { terms: [{ atom: { k: 'div', of: r, by }, coef: 1 }], offset: 0 })
}

/** a mod by, for a >= 0 */
export function mod(a: Affine, by: number): Affine {
  if (by === 1) return constant(0)
  const r = splitBy(a, by)[1]
  if (within(r, 0, by)) return r
  const g = commonFactor(r, by)
  if (g > 1) {
    const [q, low] = splitBy(r, g)
    return add(scale(mod(q, by / g), g), low)
  }
  return { terms: [{ atom: { k: 'mod', of: r, by }, coef: 1 }], offset: 0 }
}

/** A factor g of `by` with r = g q + low, 0 <= low < g, or 1. */
function commonFactor(r: Affine, by: number): number {
  const factors = new Set(r.terms.map(t => gcd(Math.abs(t.coef), by)).filter(g => g > 1 && g < by))
  for (const g of [...factors].sort((a, b) => b - a)) if (within(splitBy(r, g)[1], 0, g)) return g
  return 1
}
const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b))

/** The coefficient of an axis where the expression is affine in it, or null where it hides in a quotient. */
export function coefficient(a: Affine, axisNumber: number): number | null {
  let c = 0
  for (const { atom, coef } of a.terms) {
    if (atom.k === 'axis' && atom.axis === axisNumber) c += coef
    else if ((atom.k === 'div' || atom.k === 'mod') && coefficient(atom.of, axisNumber) !== 0) return null
  }
  return c
}

/** The run-time values (instruction ids) in an expression. */
export const valuesOf = (a: Affine): number[] =>
  a.terms.flatMap(({ atom }) =>
    atom.k === 'value' ? [atom.value] : atom.k === 'axis' ? [] : valuesOf(atom.of),
  )

/** The number an expression has, given the axes and the run-time values. */
export const evaluateAffine = (a: Affine, axes: readonly number[], values: readonly number[]): number => {
  let n = a.offset
  for (const { atom, coef } of a.terms) {
    if (atom.k === 'axis') n += coef * axes[atom.axis]
    else if (atom.k === 'value') n += coef * values[atom.value]
    else {
      const x = evaluateAffine(atom.of, axes, values)
      n += coef * (atom.k === 'div' ? Math.floor(x / atom.by) : x - atom.by * Math.floor(x / atom.by))
    }
  }
  return n
}

/** The condition lo <= index < hi: null where it always holds. */
export function condition(index: Affine, lo: number, hi: number): Condition | null {
  return within(index, lo, hi) ? null : { index, lo, hi }
}
