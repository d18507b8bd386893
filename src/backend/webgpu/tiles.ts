/**
 * Schedule -> the positions that one invocation computes, and which bindings it reads and writes four elements at
 * a time. In: a kernel, its schedule, where its buffers are bound. Out: what `emit.ts` and `render.ts` follow.
 */
import { type Affine, coefficient } from '../affine.ts'
import { axesOf, axesOfGuard, dependencies } from '../depend.ts'
import type { Kernel, Schedule } from '../kernel.ts'
import { type ElementType, elementType } from './wgsl.ts'

/** Where a kernel's buffer is bound. Buffers may share a binding: `offset` tells them apart. */
export interface Slot {
  readonly binding: number
  /** Bound as `read_write` even where it is only read: a buffer must not be bound both ways in one dispatch. */
  readonly readWrite: boolean
  /** Where the buffer starts in the binding, in elements. */
  readonly offset: number
}

/**
 * An axis of which one invocation computes several positions. Of group i these are
 *   together   i size, i size + 1, ...: neighbours, for vectors, for windows that overlap, and in reduce loops
 *   apart      i, i + groups, ...: neighbouring invocations touch neighbouring elements
 */
export interface Tile {
  readonly axis: number
  readonly size: number
  readonly groups: number
  readonly together: boolean
  /** Whether groups of 4 positions never straddle the end: `together`, with size and extent multiples of 4. */
  readonly quads: boolean
}

/** A position in the tile, one number per tile. */
export type At = readonly number[]

/** Elements of a vector. */
export const LANES = 4

/**
 * The tiles of a schedule. Parallel ones first. `vector` is the axis of vectors: 4 neighbours, times its tile.
 * Reduce axes are unrolled only from the innermost one outwards, so that the order of the terms stays.
 */
export function tilesOf(k: Kernel, schedule: Schedule): Tile[] {
  const wanted = (axis: number) => {
    const own = schedule.tiles.find(t => t.axis === axis)?.size ?? 1
    return schedule.vector === axis ? own * LANES : own
  }
  const tile = (axis: number, size: number, together: boolean): Tile => {
    const { extent } = k.axes[axis]
    const quads = together && size % LANES === 0 && extent % LANES === 0
    return { axis, size, groups: Math.ceil(extent / size), together, quads }
  }
  const tiles: Tile[] = []
  for (const [axis, { extent, kind }] of k.axes.entries()) {
    const size = Math.min(wanted(axis), extent)
    if (kind === 'parallel' && size > 1) tiles.push(tile(axis, size, schedule.vector === axis))
  }
  const inner: Tile[] = []
  for (const [axis, { extent, kind }] of [...k.axes.entries()].reverse()) {
    if (kind === 'parallel' || extent <= 1) continue
    const size = Math.min(wanted(axis), extent)
    if (size <= 1 || extent % size !== 0) break
    inner.unshift(tile(axis, size, true))
    if (size < extent) break
  }
  return [...tiles, ...inner]
}

/**
 * The parallel axis along which invocations that run together should lie: that of most accesses to neighbouring
 * elements, the last of equals; -1 where there is one point.
 */
export function fastestAxis(k: Kernel, tiles: readonly Tile[]): number {
  const indices = [
    ...[...k.body, ...k.epilogue].flatMap(x => (x.k === 'load' ? [x.index] : [])),
    ...k.stores.map(s => s.index),
  ]
  const neighbours = (axis: number) => indices.filter(a => Math.abs(coefficient(a, axis) ?? 0) === 1).length
  const groups = (axis: number) => tiles.find(t => t.axis === axis)?.groups ?? k.axes[axis].extent
  return k.axes.reduce(
    (best, { kind }, i) =>
      kind === 'parallel' && groups(i) > 1 && (best < 0 || neighbours(i) >= neighbours(best)) ? i : best,
    -1,
  )
}

/**
 * The bindings that hold vectors of four: every access to them goes along one tile of quads, four aligned
 * neighbours at a time. Others are bound as single elements.
 */
export function quadBindings(k: Kernel, slots: readonly Slot[], tiles: readonly Tile[]): ReadonlySet<number> {
  const possible = tiles.filter(t => t.quads)
  const masks = dependencies(k)
  const of = (id: number) => masks[id]
  const along = (t: Tile, index: Affine): boolean =>
    coefficient(index, t.axis) === 1 &&
    index.offset % LANES === 0 &&
    index.terms.every(({ atom, coef }) =>
      atom.k === 'axis' && atom.axis === t.axis
        ? coef === 1
        : coef % LANES === 0 && !(axesOf({ terms: [{ atom, coef }], offset: 0 }, of) & (1 << t.axis)),
    )
  const quad = (buffer: number, index: Affine, guardMask: number) =>
    k.buffers[buffer].size % LANES === 0 &&
    slots[buffer].offset % LANES === 0 &&
    possible.some(t => along(t, index) && !(guardMask & (1 << t.axis)))
  const verdicts = new Map<number, boolean>()
  const access = (buffer: number, yes: boolean) => {
    const { binding } = slots[buffer]
    verdicts.set(binding, yes && (verdicts.get(binding) ?? true))
  }
  for (const x of [...k.body, ...k.epilogue])
    if (x.k === 'load') access(x.buffer, quad(x.buffer, x.index, axesOfGuard(x.guard, of)))
  for (const s of k.stores)
    access(s.buffer, s.mode === 'set' && quad(s.buffer, s.index, axesOfGuard(s.guard, of)))
  const uniform = (binding: number) => typesIn(k, slots, binding).size === 1
  return new Set([...verdicts].flatMap(([binding, yes]) => (yes && uniform(binding) ? [binding] : [])))
}

/** The element type of a binding: that of its buffers, or words where they differ. f16 never shares with others. */
export function bindingType(k: Kernel, slots: readonly Slot[], binding: number): ElementType {
  const [first, ...others] = typesIn(k, slots, binding)
  return others.length === 0 ? first : 'u32'
}

const typesIn = (k: Kernel, slots: readonly Slot[], binding: number): ReadonlySet<ElementType> =>
  new Set(k.buffers.filter((_, i) => slots[i].binding === binding).map(elementType))
