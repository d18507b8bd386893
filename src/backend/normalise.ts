/**
 * Kernel -> Kernel, the same in fewer operations: indices are simplified by what their guards say, then axes are
 * merged. The last step before a schedule is chosen.
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
import { collapseAxes } from './collapse.ts'
import type { Instr, Kernel } from './kernel.ts'

/**
 * The kernel in normal form; it computes the same.
 * @example const kernel = normaliseKernel(lowered); const schedule = chooseSchedule(kernel, cpuTarget)
 */
export const normaliseKernel = (kernel: Kernel): Kernel => collapseAxes(useGuards(kernel))

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
  const known = new Map<string, { readonly stand: Affine; readonly atom: Atom }>()
  for (const { index: of, lo, hi } of guard) {
    const [term] = of.terms
    if (of.terms.length !== 1 || term.coef !== 1 || of.offset !== 0 || lo < 0) continue
    if (term.atom.k !== 'div' && term.atom.k !== 'mod') continue
    known.set(show(of), { stand: axis(STAND_IN + known.size, hi), atom: term.atom })
  }
  if (known.size === 0) return index
  const atoms = [...known.values()].map(x => x.atom)
  const replaced = rebuild(index, t => known.get(show(single(t)))?.stand ?? null)
  return rebuild(replaced, t => {
    if (t.k !== 'axis' || t.axis < STAND_IN) return null
    return single(atoms[t.axis - STAND_IN])
  })
}

const single = (atom: Atom): Affine => ({ terms: [{ atom, coef: 1 }], offset: 0 })

/** The expression made anew, so that it simplifies; `change` gives other expressions for atoms. */
function rebuild(a: Affine, change: (t: Atom) => Affine | null): Affine {
  return a.terms.reduce((out, { atom, coef }) => {
    const inner = (t: Atom): Affine => {
      if (t.k === 'axis' || t.k === 'value') return single(t)
      const of = rebuild(t.of, change)
      return t.k === 'div' ? div(of, t.by) : mod(of, t.by)
    }
    return add(out, scale(change(atom) ?? inner(atom), coef))
  }, addConst(constant(0), a.offset))
}
