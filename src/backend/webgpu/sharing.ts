/**
 * Which loads the lanes of a subgroup share. In: a kernel, its tiles, the grid. Out: for a load, the tile whose
 * positions the lanes deal out among themselves.
 *
 * Note [Shared loads]. A software driver runs an invocation a lane of a vector unit, and loads lane by lane: eight
 * bounds checks and eight insertions, also where all lanes read the same element (Mesa's lavapipe takes the short way only
 * for push constants and the like). In a contraction most loads are such: of a tile of 16 x 8 results 16 elements of the
 * left operand are every lane's. So a lane loads one element of them, and the others take it from there by a broadcast,
 * which is an instruction or two. The same numbers meet in the same order. SwiftShader loads faster than it broadcasts:
 * there no lanes share (a CNN's step took 726 ms so, 538 without).
 *
 * Only loads inside reduce loops are shared, which is more than a matter of profit: what is read outside them may lie in
 * a buffer that the kernel writes in place, and then each point must read its own element (donation.ts).
 */
import { coefficient } from '../affine.ts'
import { axesOf, axesOfGuard } from '../depend.ts'
import type { Kernel, Load } from '../kernel.ts'
import type { Tile } from './tiles.ts'

/** A subgroup, as far as loads are concerned. */
export interface Sharing {
  readonly lanes: number
  /** The axes along which its lanes differ. */
  readonly varying: number
}

/** A load that lanes deal out: lane n loads the element `n * stride` further. */
export interface Shared {
  /** The number of the tile whose positions are dealt out. */
  readonly tile: number
  readonly stride: number
}

/**
 * How a load is shared; null where it is not.
 * @param masks  the axes of every instruction
 * @param id     the load's
 */
export function sharedLoad(
  k: Kernel,
  masks: readonly number[],
  tiles: readonly Tile[],
  { varying }: Sharing,
  id: number,
  x: Load,
): Shared | null {
  const inLoop = k.axes.some((a, i) => a.kind === 'reduce' && a.extent > 1 && masks[id] & (1 << i))
  if (!inLoop || id >= k.body.length || masks[id] & varying || x.dtype === 'bool') return null
  const of = (i: number) => masks[i]
  const guarded = axesOfGuard(x.guard, of)
  /** The axes on which the rest of the index depends, by run-time values. */
  const hidden = (axis: number) =>
    axesOf({ ...x.index, terms: x.index.terms.filter(t => t.atom.k !== 'axis' || t.atom.axis !== axis) }, of)
  let best: Shared | null = null
  for (const [n, { axis, size, groups, together }] of tiles.entries()) {
    const step = coefficient(x.index, axis)
    if (!step || (guarded | hidden(axis)) & (1 << axis) || size * groups !== k.axes[axis].extent) continue
    if (best === null || size > tiles[best.tile].size)
      best = { tile: n, stride: together ? step : step * groups }
  }
  return best
}
