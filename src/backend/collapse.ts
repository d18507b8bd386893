/**
 * Kernel -> Kernel: neighbouring axes over which every index moves as over one are merged, so that loops are
 * long and vectors whole (a 1x1 convolution over height and width is a matrix product over their product).
 */
import type { Affine, Atom, Condition } from './affine.ts'
import type { Instr, Kernel } from './kernel.ts'

/**
 * Merges axes wherever the index maps allow it. Axes of extent 1 disappear. The result computes the same, in
 * the same order.
 */
export function collapseAxes(kernel: Kernel): Kernel {
  let k = dropUnits(kernel)
  for (let i = 0; i < k.axes.length; ) {
    const inner = k.axes.findIndex((a, j) => j > i && a.kind === k.axes[i].kind)
    if (inner >= 0 && k.axes[i].extent > 0 && mergeable(k, i, inner)) k = merge(k, i, inner)
    else i++
  }
  return k
}

function dropUnits(k: Kernel): Kernel {
  const unit = k.axes.map(a => a.extent === 1)
  if (!unit.includes(true)) return k
  const place = k.axes.map((_, i) => unit.slice(0, i).filter(u => !u).length)
  return mapAtoms({ ...k, axes: k.axes.filter((_, i) => !unit[i]) }, t =>
    t.k === 'axis' ? (unit[t.axis] ? null : { ...t, axis: place[t.axis] }) : t,
  )
}

/** Whether the coefficient of `outer` is that of `inner` times its extent, everywhere. */
function mergeable(k: Kernel, outer: number, inner: number): boolean {
  const n = k.axes[inner].extent
  const fits = (a: Affine): boolean => {
    let difference = 0
    for (const { atom, coef } of a.terms) {
      if (atom.k === 'axis' && atom.axis === outer) difference += coef
      else if (atom.k === 'axis' && atom.axis === inner) difference -= coef * n
      else if ((atom.k === 'div' || atom.k === 'mod') && !fits(atom.of)) return false
    }
    return difference === 0
  }
  return indicesOf(k).every(fits)
}

function merge(k: Kernel, outer: number, inner: number): Kernel {
  const extent = k.axes[outer].extent * k.axes[inner].extent
  const axes = k.axes.flatMap((a, i) => (i === inner ? [] : [i === outer ? { ...a, extent } : a]))
  return mapAtoms({ ...k, axes }, t => {
    if (t.k !== 'axis') return t
    if (t.axis === outer) return null
    if (t.axis === inner) return { k: 'axis', axis: outer, extent }
    return t.axis > inner ? { ...t, axis: t.axis - 1 } : t
  })
}

/** Every index expression of a kernel, those of guards too. */
export function indicesOf(k: Kernel): Affine[] {
  const out: Affine[] = []
  const guard = (g: readonly Condition[]) => out.push(...g.map(c => c.index))
  for (const x of [...k.body, ...k.epilogue]) {
    if (x.k === 'load' || x.k === 'index') out.push(x.index)
    if (x.k === 'load' || x.k === 'inside') guard(x.guard)
  }
  for (const s of k.stores) {
    out.push(s.index)
    guard(s.guard)
  }
  return out
}

/** Replaces the axis atoms of all indices; null drops the term. */
function mapAtoms(k: Kernel, atom: (t: Atom) => Atom | null): Kernel {
  const affine = (a: Affine): Affine => ({
    offset: a.offset,
    terms: a.terms.flatMap(t => {
      const inner = t.atom.k === 'div' || t.atom.k === 'mod' ? { ...t.atom, of: affine(t.atom.of) } : t.atom
      const next = atom(inner)
      return next === null ? [] : [{ atom: next, coef: t.coef }]
    }),
  })
  return mapIndices(k, affine)
}

/** The kernel with every index expression, those of guards too, replaced by its image. */
export function mapIndices(k: Kernel, affine: (a: Affine) => Affine): Kernel {
  const guard = (g: readonly Condition[]) => g.map(c => ({ ...c, index: affine(c.index) }))
  const instr = (x: Instr): Instr => {
    if (x.k === 'index') return { ...x, index: affine(x.index) }
    if (x.k === 'inside') return { ...x, guard: guard(x.guard) }
    return x.k === 'load' ? { ...x, index: affine(x.index), guard: guard(x.guard) } : x
  }
  return {
    ...k,
    body: k.body.map(instr),
    epilogue: k.epilogue.map(instr),
    stores: k.stores.map(s => ({ ...s, index: affine(s.index), guard: guard(s.guard) })),
  }
}
