/**
 * Where the body of a reduce loop is cut, so that what it loads fits into registers beside the accumulators.
 *
 * Note [Cuts]. V8 moves the loads of a basic block before its arithmetic. A product in tiles of 3 rows and 3 vectors
 * takes 9 registers for the sums, 6 for what is loaded and one for a product: one more than there are, and it runs at
 * two thirds of its speed. A jump that is never taken ends a basic block, and what is loaded behind it stays there:
 * with it the tile is faster than one of 4 rows and 2 vectors, which needs none. The jump leaves the loop; one over
 * the rest of the body makes values meet there, and halves the speed.
 */
import { loadsOf } from '../kernel.ts'
import { innermost } from './emit.ts'
import type { Shift } from './indices.ts'
import { type Loop, REGISTERS } from './nest.ts'
import type { Values } from './values.ts'
import { put } from './wasm.ts'

/**
 * What cuts the body of the innermost loop before a point, where that is needed.
 * @param reduce  the reduce loops, the innermost of those that count in a block
 * @param points  the tile positions, in order
 * @param sums    accumulators, each in a register
 */
export function cutter(
  c: Values,
  reduce: readonly Loop[],
  points: readonly Shift[],
  sums: number,
): (point: number) => void {
  const inner = reduce.map(l => c.places[l.axis]).findLast(x => x.local !== null)
  if (inner === undefined || inner.local === null) return () => undefined
  const { local, level } = inner
  const cuts = cutsOf(c, level, points, REGISTERS - sums - 1)
  return point => {
    if (!cuts.has(point)) return
    const { head } = innermost(c.emitter)
    put(head, 'local.get', local)
    put(head, 'i32.const', -point)
    put(head, 'i32.eq')
    put(head, 'br_if', 1)
  }
}

/** The points whose loads find no room beside those of the points before, from the scope `level` on. */
function cutsOf(c: Values, level: number, points: readonly Shift[], room: number): ReadonlySet<number> {
  const loads = loadsOf(c.kernel)
    .map(({ id }) => ({ id, mask: c.dependsOn(id) }))
    .filter(({ mask }) => c.levelOf(mask) >= level)
  const cuts = new Set<number>()
  if (room < loads.length) return cuts
  let held = new Set<string>()
  for (const [p, at] of points.entries()) {
    const own = loads.map(({ id, mask }) => `${id}${c.shiftKey(mask, at)}`)
    const all = new Set([...held, ...own])
    const full = all.size > room
    if (full) cuts.add(p)
    held = full ? new Set(own) : all
  }
  return cuts
}
