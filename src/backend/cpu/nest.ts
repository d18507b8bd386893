/**
 * The loops of a kernel under a schedule, made legal: which axis the lanes run over, how many positions an
 * iteration takes, in which order the loops nest, and where a long sum is split into blocks.
 */
import type { DType } from '../../dsl/dtype.ts'
import { instructions, type Kernel, type Schedule } from '../kernel.ts'

/** Lanes of a kernel's vectors, which have 128 bits. */
export type Width = 2 | 4

/** Vector registers of x64 that V8 gives out. */
export const REGISTERS = 15

/** 4 lanes, or 2 where something in the kernel is f64: `lanes.ts` says how 32-bit values lie beside it. */
export function widthOf(k: Kernel): Width {
  const wide = (x: { readonly dtype: DType }) => x.dtype === 'f64'
  return instructions(k).some(wide) || k.accumulators.some(wide) || k.buffers.some(wide) ? 2 : 4
}

/** One loop: an iteration covers `tile` groups of `lanes` neighbouring positions. */
export interface Loop {
  readonly axis: number
  readonly extent: number
  readonly parallel: boolean
  readonly lanes: number
  readonly tile: number
}
/** A stretch of a loop with iterations alike. `skip`: the first lanes were counted before, and are masked. */
export interface Segment {
  readonly start: number
  readonly end: number
  readonly tile: number
  readonly skip: number
}
/** A reduce loop that is cut into blocks of `size` positions. */
export interface Split {
  readonly loop: number
  readonly size: number
}
/** The positions of a block, in two locals. */
export interface Span {
  readonly from: number
  readonly to: number
}
export interface Nest {
  /** The axis of the lanes, and how many there are. */
  readonly vector: number | null
  readonly width: Width
  readonly parallel: readonly Loop[]
  readonly reduce: readonly Loop[]
  /** Float sums: after `iterations` of the reduce loop `loop` the partial sum is added to a total. */
  readonly block: { readonly loop: number; readonly iterations: number } | null
}

/** Positions of one iteration. */
export const step = (l: Loop): number => l.lanes * l.tile
/** Iterations of a loop. */
export const iterations = (l: Loop): number => Math.ceil(l.extent / step(l))

/** All combinations of tile positions of the loops, as distances from the first by axis. */
export function positions(
  axes: number,
  loops: readonly Pick<Loop, 'axis' | 'lanes' | 'tile'>[],
): (readonly number[])[] {
  let all: number[][] = [new Array<number>(axes).fill(0)]
  for (const l of loops)
    all = all.flatMap(at => Array.from({ length: l.tile }, (_, t) => at.with(l.axis, t * l.lanes)))
  return all
}

/** Additions after which a partial sum is put aside: rounding errors grow with the block, not with the whole. */
export const BLOCK = 512

/**
 * The loops; axes of extent 1 have none. What the kernel does not allow in the schedule is dropped.
 * @param block  additions of a block
 */
export function makeNest(k: Kernel, s: Schedule, block = BLOCK): Nest {
  const ordered = k.stores.some(x => x.mode === 'add')
  const arg = k.accumulators.some(a => a.how === 'argmax' || a.how === 'argmin')
  const reduceAxes = k.axes.flatMap((a, i) => (a.kind === 'reduce' && a.extent !== 1 ? [i] : []))
  const width = widthOf(k)
  const vector = ordered ? null : legalVector(k, s.vector, width, arg ? reduceAxes.slice(-1) : reduceAxes)
  const loopOf = (axis: number): Loop => {
    const { extent, kind } = k.axes[axis]
    const lanes = axis === vector ? width : 1
    const wanted = s.tiles.find(t => t.axis === axis)?.size ?? 1
    const dropped = ordered || (arg && kind === 'reduce' && lanes === 1)
    const tile = dropped ? 1 : Math.max(1, Math.min(wanted, Math.floor(extent / lanes)))
    return { axis, extent, parallel: kind === 'parallel', lanes, tile }
  }
  const parallel = k.axes.flatMap((a, i) => (a.kind === 'parallel' && a.extent !== 1 ? [loopOf(i)] : []))
  // whole loops innermost, before them the vector axis: neighbours in memory are summed together
  const rank = (l: Loop) => (step(l) === l.extent ? 2 : l.lanes > 1 ? 1 : 0)
  const reduce = reduceAxes.map(loopOf).sort((a, b) => rank(a) - rank(b))
  return { vector, width, parallel, reduce, block: blocks(k, reduce, block) }
}

/** Whether every result is computed once: no tile overlaps another at the end of an axis. */
export const coversOnce = (k: Kernel, s: Schedule): boolean =>
  makeNest(k, s).parallel.every(l => l.extent % step(l) === 0)

function legalVector(
  k: Kernel,
  axis: number | null,
  width: Width,
  reduceAxes: readonly number[],
): number | null {
  if (axis === null || k.axes[axis] === undefined || k.axes[axis].extent < width) return null
  return k.axes[axis].kind === 'parallel' || reduceAxes.includes(axis) ? axis : null
}

function blocks(k: Kernel, reduce: readonly Loop[], block: number): Nest['block'] {
  if (!k.accumulators.some(a => a.how === 'sum' && a.dtype === 'f32')) return null
  const steps = (l: Loop) => Math.ceil(l.extent / l.lanes)
  if (reduce.reduce((n, l) => n * steps(l), 1) <= 2 * block) return null
  let inner = 1
  for (let i = reduce.length - 1; i >= 0; i--) {
    const l = reduce[i]
    const perIteration = inner * (steps(l) / Math.ceil(l.extent / step(l)))
    if (inner * steps(l) > block)
      return { loop: i, iterations: Math.max(1, Math.floor(block / perIteration)) }
    inner *= steps(l)
  }
  return null
}

/** The stretches of a reduce loop: whole tiles, whole vectors, and a last vector that overlaps. */
export function segments(l: Loop): Segment[] {
  const whole = l.extent - (l.extent % step(l))
  const vectors = l.extent - (l.extent % l.lanes)
  const out: Segment[] = []
  if (whole > 0) out.push({ start: 0, end: whole, tile: l.tile, skip: 0 })
  if (vectors > whole) out.push({ start: whole, end: vectors, tile: 1, skip: 0 })
  if (l.extent > vectors)
    out.push({ start: l.extent - l.lanes, end: l.extent, tile: 1, skip: vectors - (l.extent - l.lanes) })
  return out
}
