/**
 * Kernel -> the matrix product that it is, if it is one. In: any kernel. Out: which axes are the rows, the columns, the
 * batch and the terms; and the same kernel seen from other axes, where all rows (columns, terms) are one flat number.
 *
 * A sum of products l * r is a product of matrices: the parallel axes on which l alone depends are the rows, those of r
 * alone the columns, those of both (or none) the batch, and the reduce axes the terms. So is every contraction of the
 * kernel IR: matmul in all its transpositions, and convolution with both its gradients, whose windows are only in the
 * index maps (implicit GEMM; Chetlur et al. 2014, arXiv:1410.0759).
 */
import * as ix from '../affine.ts'
import { dependencies } from '../depend.ts'
import type { Instr, Kernel } from '../kernel.ts'

/** Axes that are counted as one, the last fastest. None has extent 1. */
export interface Flat {
  readonly axes: readonly number[]
  /** The bits of the axes. */
  readonly mask: number
  readonly extent: number
}

/** A kernel that sums products of two values. */
export interface Contraction {
  /** The instructions that are multiplied. */
  readonly operands: { readonly rows: number; readonly columns: number }
  readonly rows: Flat
  /** Its innermost axis is that of neighbours in the first result, where there is such an axis. */
  readonly columns: Flat
  readonly batch: Flat
  readonly terms: Flat
}

/** A kernel as a matrix product; null where it is none, or has no rows, no columns or no terms. */
export function contractionOf(k: Kernel): Contraction | null {
  const [sum, ...more] = k.accumulators
  if (sum === undefined || more.length > 0 || sum.how !== 'sum' || sum.dtype !== 'f32') return null
  const product = k.body[sum.value]
  if (product?.k !== 'scalar' || product.fn !== 'mul' || product.dtype !== 'f32') return null
  if (k.stores.length === 0 || k.stores.some(s => s.mode === 'add')) return null
  if (k.axes.some(a => a.extent === 0)) return null
  const masks = dependencies(k)
  const [l, r] = product.args
  const flat = (keep: (bit: number, kind: 'parallel' | 'reduce') => boolean): Flat => {
    const axes = k.axes.flatMap(({ kind, extent }, i) => (extent > 1 && keep(1 << i, kind) ? [i] : []))
    return {
      axes,
      mask: axes.reduce((m, i) => m | (1 << i), 0),
      extent: axes.reduce((n, i) => n * k.axes[i].extent, 1),
    }
  }
  const sides = [l, r].map((id, n) => ({
    id,
    flat: flat((bit, kind) => kind === 'parallel' && !!(masks[id] & bit) && !(masks[[r, l][n]] & bit)),
  }))
  const batch = flat((bit, kind) => kind === 'parallel' && sides.every(s => !(s.flat.mask & bit)))
  const terms = flat((_, kind) => kind === 'reduce')
  const [first] = k.stores
  const neighbours = sides.findIndex(s => s.flat.axes.some(a => ix.coefficient(first.index, a) === 1))
  const [columns, rows] = neighbours === 0 ? sides : sides.toReversed()
  if (rows.flat.extent === 1 || columns.flat.extent === 1 || terms.extent === 1) return null
  return {
    operands: { rows: rows.id, columns: columns.id },
    rows: rows.flat,
    columns: columns.flat,
    batch,
    terms,
  }
}

/** Flat numbers and what is put in their place. */
export type Place = readonly { readonly flat: Flat; readonly at: ix.Affine }[]

/**
 * An index expression in which every axis of a flat number is the quotient and remainder of what is put there. Axes
 * that lie in memory as they are counted stay together: 64 h + w over [64, 64] is the flat number itself.
 * @param value  what a run-time value becomes
 */
function place(k: Kernel, a: ix.Affine, where: Place, value: (id: number) => number): ix.Affine {
  const coefs = new Map<number, number>()
  let out = ix.constant(a.offset)
  for (const { atom, coef } of a.terms) {
    if (atom.k === 'axis') coefs.set(atom.axis, coef)
    else if (atom.k === 'value') out = ix.addScaled(out, ix.value(value(atom.value)), coef)
    else {
      const of = place(k, atom.of, where, value)
      out = ix.addScaled(out, atom.k === 'div' ? ix.div(of, atom.by) : ix.mod(of, atom.by), coef)
    }
  }
  for (const { flat, at } of where) {
    const coef = (i: number) => coefs.get(flat.axes[i]) ?? 0
    let stride = 1
    for (let i = flat.axes.length - 1; i >= 0; i--) {
      const unit = coef(i)
      let size = k.axes[flat.axes[i]].extent
      while (i > 0 && coef(i - 1) === unit * size) size *= k.axes[flat.axes[--i]].extent
      const whole = ix.div(at, stride)
      out = ix.addScaled(out, i === 0 ? whole : ix.mod(whole, size), unit)
      stride *= size
    }
  }
  return out
}

/** Conditions of what depends on these axes: a flat number may go beyond its extent. */
export interface Edge {
  readonly mask: number
  readonly guard: readonly ix.Condition[]
}
/** A kernel's axes seen from other ones: what the flat numbers are there, and when they exist. */
export interface View {
  readonly where: Place
  readonly edges: readonly Edge[]
}

/** What moves index expressions, guards and instructions to a view; `renamed` gives the new ids of instructions. */
export function mover(k: Kernel, { where, edges }: View, renamed: (id: number) => number) {
  const index = (a: ix.Affine): ix.Affine => place(k, a, where, renamed)
  const guard = (g: readonly ix.Condition[]) => g.map(c => ({ ...c, index: index(c.index) }))
  const instr = (x: Instr, mask: number): Instr => {
    if (x.k === 'index') return { ...x, index: index(x.index) }
    if (x.k === 'inside') return { ...x, guard: guard(x.guard) }
    if (x.k === 'scalar') return { ...x, args: x.args.map(renamed) }
    if (x.k !== 'load') return x
    const beyond = edges.flatMap(e => (mask & e.mask ? e.guard : []))
    return { ...x, index: index(x.index), guard: [...guard(x.guard), ...beyond] }
  }
  return { index, guard, instr }
}

/** Copies instructions of the body, and what they use, to the end of another one. */
export function copier(k: Kernel, masks: readonly number[], view: View, to: Instr[]): (id: number) => number {
  const done = new Map<number, number>()
  const copy = (id: number): number => {
    const known = done.get(id)
    if (known !== undefined) return known
    const x = move.instr(k.body[id], masks[id])
    done.set(id, to.push(x) - 1)
    return to.length - 1
  }
  const move = mover(k, view, copy)
  return copy
}
