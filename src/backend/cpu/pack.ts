/**
 * Packing: what the innermost parallel loops read again and again, lanes far apart or rows far apart in memory,
 * is copied once into a scratch buffer, in the order in which the reduce loops read it.
 */
import { add, axis, constant, scale } from '../affine.ts'
import { append, inScope, newLocal, putLoop } from './emit.ts'
import { laneStride, type Shift, sum } from './indices.ts'
import { type Loop, type Nest, step } from './nest.ts'
import { bytesOf, type Values } from './values.ts'
import { put } from './wasm.ts'

/** What is packed: a load, and the parallel loops over whose iterations the copy is kept. */
export interface Packing {
  readonly id: number
  readonly axes: readonly number[]
  /** Tile positions of the load, as shifts. */
  readonly variants: readonly Shift[]
  readonly bytes: number
}

/** Iterations that must share a copy. */
const REUSE = 8
/** Distance of rows in bytes from which lines of the first cache collide. */
const FAR = 1024
/** A copy should stay in the second cache. */
const LIMIT = 1 << 22

/** The load of a kernel that is worth a copy, if any; `positions` enumerates the tile. */
export function choosePacking(
  c: Values,
  nest: Nest,
  positions: (loops: readonly Loop[]) => readonly Shift[],
): Packing | null {
  const last = nest.reduce[nest.reduce.length - 1]
  const lanes = nest.parallel.find(l => l.lanes > 1)
  if (last === undefined || lanes === undefined) return null
  if (nest.parallel.length === 0 || c.kernel.stores.some(s => s.mode === 'add')) return null
  for (const [id, x] of c.kernel.body.entries()) {
    const mask = c.dependsOn(id)
    const has = (l: Loop) => (mask & (1 << l.axis)) !== 0
    if (x.k !== 'load' || !has(lanes)) continue
    const axes = nest.reduce.filter(has)
    const stride = laneStride(c, x.index)
    const shared = nest.parallel.filter(l => !has(l)).reduce((n, l) => n * Math.ceil(l.extent / step(l)), 1)
    const row = x.index.terms.find(t => t.atom.k === 'axis' && t.atom.axis === last.axis)?.coef ?? 0
    if (shared < REUSE || axes.length === 0 || (stride === 1 && Math.abs(row) * bytesOf(x.dtype) < FAR))
      continue
    const variants = positions(nest.parallel.filter(has))
    const bytes = axes.reduce((n, l) => n * l.extent, 16 * variants.length)
    if (bytes > 0 && bytes <= LIMIT) return { id, axes: axes.map(l => l.axis), variants, bytes }
  }
  return null
}

/** Writes the loops that fill the scratch buffer, whose address is in the local `scratch`. */
export function putPacking(c: Values, p: Packing, scratch: number) {
  let index = constant(0)
  let size = 1
  for (const a of [...p.axes].reverse()) {
    const { extent } = c.kernel.axes[a]
    index = add(index, scale(axis(a, extent), size))
    size *= extent
  }
  const mask = c.dependsOn(p.id)
  const places = new Map(p.variants.map((at, i) => [c.shiftKey(mask, at), 16 * i]))
  const locate = (at: Shift) => {
    const s = sum(c, index, at, 0, 16 * p.variants.length, scratch)
    const own = at.map((x, a) => (p.axes.includes(a) ? 0 : x))
    return { local: s.local ?? scratch, offset: s.offset + (places.get(c.shiftKey(mask, own)) ?? 0) }
  }
  const open = (i: number) => {
    const { scopes } = c.emitter
    const scope = scopes[scopes.length - 1]
    if (i === p.axes.length) {
      for (const at of p.variants) {
        const value = c.lanes(p.id, at)
        const { local, offset } = locate(at)
        put(scope.head, 'local.get', local)
        put(scope.head, 'local.get', value)
        put(scope.head, 'v128.store', 4, offset)
      }
      return
    }
    const counter = newLocal(c.emitter, 'i32')
    c.places[p.axes[i]] = { local: counter, base: 0, level: scopes.length }
    const body = inScope(c.emitter, () => open(i + 1))
    put(scope.tail, 'i32.const', 0)
    put(scope.tail, 'local.set', counter)
    const { extent } = c.kernel.axes[p.axes[i]]
    putLoop(scope.tail, counter, 1, code => put(code, 'i32.const', extent), body)
  }
  // a scope of its own, so that nothing of these loops is taken for known later
  const { scopes } = c.emitter
  append(
    scopes[scopes.length - 1].tail,
    inScope(c.emitter, () => open(0)),
  )
  c.packed.set(p.id, { locate })
}
