/**
 * Kernel -> Kernel, the same in fewer operations: indices are simplified by what their guards say, axes are split
 * where that removes quotients, and merged where indices move over them as over one. The last step before a
 * schedule is chosen.
 */
import {
  type Affine,
  type Atom,
  add,
  addConst,
  axis,
  type Condition,
  constant,
  div,
  mod,
  scale,
  show,
} from './affine.ts'
import { collapseAxes, indicesOf, mapIndices } from './collapse.ts'
import type { Instr, Kernel } from './kernel.ts'

/**
 * The kernel in normal form; it computes the same.
 * @example const kernel = normaliseKernel(lowered); const schedule = chooseSchedule(kernel)
 */
export const normaliseKernel = (kernel: Kernel): Kernel => collapseAxes(splitAxes(useGuards(kernel)))

/**
 * Where a guard keeps a quotient or remainder q in [0, n), the guarded index is simplified as if q were an axis
 * of extent n: a reshape behind a padding or a stride becomes affine in q.
 */
function useGuards(k: Kernel): Kernel {
  const instr = (x: Instr): Instr => (x.k === 'load' ? { ...x, index: within(x.index, x.guard) } : x)
  return {
    ...k,
    body: k.body.map(instr),
    epilogue: k.epilogue.map(instr),
    stores: k.stores.map(s => ({ ...s, index: within(s.index, s.guard) })),
  }
}

/** Numbers of the axes that stand for quotients: beyond those of any kernel. */
const STAND_IN = 1000

function within(index: Affine, guard: readonly Condition[]): Affine {
  const stands = new Map<string, Affine>()
  const originals: Affine[] = []
  for (const { index: of, lo, hi } of guard) {
    const [term] = of.terms
    if (of.terms.length !== 1 || term.coef !== 1) continue
    if (term.atom.k !== 'div' && term.atom.k !== 'mod') continue
    const atom = single(term.atom)
    if (stands.has(show(atom))) continue
    // lo <= atom + offset < hi: the atom is the stand-in, which counts from 0, plus a constant
    const shift = lo - of.offset
    stands.set(show(atom), addConst(axis(STAND_IN + originals.length, Math.max(1, hi - lo)), shift))
    originals.push(addConst(atom, -shift))
  }
  if (originals.length === 0) return index
  const replaced = rebuild(index, t => stands.get(show(single(t))) ?? null)
  return rebuild(replaced, t => (t.k === 'axis' && t.axis >= STAND_IN ? originals[t.axis - STAND_IN] : null))
}

/** Axes that a kernel may have after splitting. */
const MOST_AXES = 16

/**
 * An axis i in quotients and remainders by n, where n divides its extent, becomes n p + q: then (i / n) is p and
 * (i % n) is q, and of ((i - k) / n) what remains does not contain p, so that lanes can run over p.
 */
function splitAxes(kernel: Kernel): Kernel {
  let k = kernel
  for (let a = 0; a < k.axes.length && k.axes.length < MOST_AXES; ) {
    const n = divisor(k, a)
    if (n === null) a++
    else k = split(k, a, n)
  }
  return k
}

/** The smallest number by which expressions that contain the axis are divided, if it divides the extent. */
function divisor(k: Kernel, a: number): number | null {
  const found = new Set<number>()
  const look = (x: Affine): boolean => {
    let contains = false
    for (const { atom } of x.terms) {
      if (atom.k === 'axis') contains ||= atom.axis === a
      else if (atom.k !== 'value' && look(atom.of)) {
        found.add(atom.by)
        contains = true
      }
    }
    return contains
  }
  indicesOf(k).forEach(look)
  const { extent } = k.axes[a]
  const n = Math.min(...found)
  return n < extent && extent % n === 0 ? n : null
}

function split(k: Kernel, a: number, n: number): Kernel {
  const { extent, kind } = k.axes[a]
  const pair = add(scale(axis(a, extent / n), n), axis(a + 1, n))
  const halves = [extent / n, n].map(e => ({ extent: e, kind }))
  const change = (t: Atom): Affine | null => {
    if (t.k !== 'axis' || t.axis < a) return null
    return t.axis === a ? pair : axis(t.axis + 1, t.extent)
  }
  return mapIndices({ ...k, axes: k.axes.toSpliced(a, 1, ...halves) }, x => rebuild(x, change))
}

const single = (atom: Atom): Affine => ({ terms: [{ atom, coef: 1 }], offset: 0 })

/** The expression made anew, so that it simplifies; `change` gives other expressions for atoms. */
function rebuild(a: Affine, change: (t: Atom) => Affine | null): Affine {
  return a.terms.reduce(
    (out, { atom, coef }) => {
      const inner = (t: Atom): Affine => {
        if (t.k === 'axis' || t.k === 'value') return single(t)
        const of = rebuild(t.of, change)
        return t.k === 'div' ? div(of, t.by) : mod(of, t.by)
      }
      return add(out, scale(change(atom) ?? inner(atom), coef))
    },
    addConst(constant(0), a.offset),
  )
}
