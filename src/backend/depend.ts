/** On which axes the parts of a kernel depend. Sets of axes are bits of a number (a kernel has at most 30). */
import type { Affine, Condition } from './affine.ts'
import { instructions, type Kernel } from './kernel.ts'

/** The bit for results of accumulators, which stand only after the reduce loops. */
export const AFTER = 1 << 30

/** The axes in an expression; `of` gives those of an instruction that is used as a run-time index. */
export function axesOf(a: Affine, of: (id: number) => number): number {
  let mask = 0
  for (const { atom } of a.terms) {
    if (atom.k === 'axis') mask |= 1 << atom.axis
    else mask |= atom.k === 'value' ? of(atom.value) : axesOf(atom.of, of)
  }
  return mask
}

/** The axes in the conditions of a guard. */
export const axesOfGuard = (g: readonly Condition[], of: (id: number) => number): number =>
  g.reduce((mask, c) => mask | axesOf(c.index, of), 0)

/** The axes on which every instruction depends, by id. */
export function dependencies(kernel: Kernel): number[] {
  const masks: number[] = []
  const of = (id: number) => masks[id]
  const parallel = kernel.axes.reduce(
    (m, a, i) => (a.kind === 'parallel' && a.extent > 1 ? m | (1 << i) : m),
    0,
  )
  for (const x of instructions(kernel)) {
    switch (x.k) {
      case 'lit':
        masks.push(0)
        break
      case 'index':
        masks.push(axesOf(x.index, of))
        break
      case 'inside':
        masks.push(axesOfGuard(x.guard, of))
        break
      case 'load':
        masks.push(axesOf(x.index, of) | axesOfGuard(x.guard, of))
        break
      case 'scalar':
        masks.push(x.args.reduce((m, a) => m | masks[a], 0))
        break
      case 'acc':
        masks.push(parallel | AFTER)
        break
    }
  }
  return masks
}
