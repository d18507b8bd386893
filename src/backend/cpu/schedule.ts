/**
 * Kernel -> Schedule, on the CPU: which axis the lanes run over and how many results are kept in registers, by the least
 * estimated cost of the innermost body per point. Schedules change speed, never results.
 */
import { type Affine, coefficient, show } from '../affine.ts'
import { axesOf, axesOfGuard, dependencies } from '../depend.ts'
import { type Instr, instructions, type Kernel, type Load, type Schedule } from '../kernel.ts'
import { REGISTERS, widthOf } from './nest.ts'

/** Accumulators that stay in the 16 registers of WebAssembly's SIMD on x64: more of them spill. */
export const ACCUMULATORS = 8
/** Instructions that an unrolled innermost body may have. */
const UNROLLED = 220
/** Bodies beyond this are not tiled: their own parallelism is enough. */
const TILED_BODY = 24

/**
 * Chooses a schedule.
 * @example renderKernel(kernel, chooseSchedule(kernel), 'k0')
 */
export function chooseSchedule(kernel: Kernel): Schedule {
  const facts = look(kernel)
  let best: Schedule = { vector: null, tiles: [] }
  let least = Infinity
  for (const s of candidates(facts)) {
    const c = cost(facts, s)
    // a larger tile must pay
    if (c < least * 0.999) {
      least = c
      best = s
    }
  }
  return { vector: best.vector, tiles: [...best.tiles, ...unrolling(facts, best)] }
}

/** What the cost of a kernel depends on. */
interface Facts {
  readonly kernel: Kernel
  /** Of a vector. */
  readonly lanes: number
  readonly all: readonly Instr[]
  /** Axes of every instruction. */
  readonly masks: readonly number[]
  /** Axes of reduce loops. */
  readonly reduce: number
  readonly reduceSize: number
  /** The innermost loop's axis where nothing is reduced. */
  readonly last: number
  /** Instructions inside the reduce loops (of a map: all). */
  readonly inner: readonly number[]
  /** The different conditions of guards, with their axes. */
  readonly conditions: readonly { readonly index: Affine; readonly mask: number }[]
}

function look(kernel: Kernel): Facts {
  const masks = dependencies(kernel)
  const all = instructions(kernel)
  let reduce = 0
  let reduceSize = 1
  for (const [i, a] of kernel.axes.entries()) {
    if (a.kind !== 'reduce' || a.extent <= 1) continue
    reduce |= 1 << i
    reduceSize *= a.extent
  }
  const last = kernel.axes.findLastIndex(a => a.kind === 'parallel' && a.extent > 1)
  const inner = all.flatMap((_, i) => (reduce === 0 || masks[i] & reduce ? [i] : []))
  const guards = [...all.flatMap(x => (x.k === 'load' || x.k === 'inside' ? x.guard : []))]
  const distinct = new Map(guards.map(c => [`${show(c.index)} ${c.lo} ${c.hi}`, c.index]))
  const conditions = [...distinct.values()].map(index => ({ index, mask: axesOf(index, id => masks[id]) }))
  return { kernel, lanes: widthOf(kernel), all, masks, reduce, reduceSize, last, inner, conditions }
}

function* candidates(f: Facts): Generator<Schedule> {
  const { axes } = f.kernel
  const vectors = [null, ...(f.lanes > 1 ? axes.keys() : [])].filter(
    v => v === null || axes[v].extent >= f.lanes,
  )
  const tileable = f.reduce !== 0 && f.kernel.accumulators.length > 0 && f.inner.length <= TILED_BODY
  const limit = ACCUMULATORS / Math.max(1, f.kernel.accumulators.length)
  // an axis is worth a tile where some value inside does not depend on it, and is shared
  const shared = axes.flatMap((a, i) =>
    a.kind === 'parallel' &&
    a.extent > 1 &&
    [
      ...f.inner.filter(id => f.all[id].k === 'load').map(id => f.masks[id]),
      ...f.conditions.map(c => c.mask),
    ].some(m => !(m & (1 << i)))
      ? [i]
      : [],
  )
  for (const vector of vectors) {
    // several vectors at once hide the latency of long chains: exp over tanh takes 0.6 of the time
    const simple = f.reduce === 0 && f.all.length <= 200 && f.conditions.length === 0 ? [1, 4] : [1]
    for (const v of vector === null ? [1] : tileable ? [1, 2, 4] : simple) {
      if (vector !== null && v > 1 && axes[vector].extent < v * f.lanes) continue
      const own = vector !== null && v > 1 ? [{ axis: vector, size: v }] : []
      yield { vector, tiles: own }
      if (v === 1) yield* alongLines(f, vector)
      if (!tileable) continue
      for (const a of shared) {
        if (a === vector) continue
        for (const x of [2, 3, 4, 6, 8]) {
          if (x * v > limit || x > axes[a].extent) continue
          yield { vector, tiles: [...own, { axis: a, size: x }] }
          for (const b of shared) {
            if (b <= a || b === vector) continue
            for (const y of [2, 3, 4])
              if (x * y * v <= limit && y <= axes[b].extent)
                yield { vector, tiles: [...own, { axis: a, size: x }, { axis: b, size: y }] }
          }
        }
      }
    }
  }
}

/** Positions that share the lines of memory of lanes that lie apart. */
const LINE = 8

/** A map whose lanes lie apart in a load, as in a transposition: tiles along its lines, so that each is read once. */
function* alongLines(f: Facts, vector: number | null): Generator<Schedule> {
  if (vector === null || f.reduce !== 0 || f.inner.length * LINE > UNROLLED) return
  for (const [axis, { extent }] of f.kernel.axes.entries())
    if (axis !== vector && extent >= LINE && f.all.some(x => x.k === 'load' && isAlong(f, x, vector, axis)))
      yield { vector, tiles: [{ axis, size: LINE }] }
}
/** Whether the lanes of a load lie apart, and its neighbours along the axis together. */
const isAlong = (f: Facts, x: Load, vector: number, axis: number): boolean =>
  Math.abs(laneStep(f, x.index, vector) ?? 0) > 1 && Math.abs(coefficient(x.index, axis) ?? 0) === 1

/** Instructions a point of the kernel, about; infinite where the schedule is not allowed. */
function cost(f: Facts, s: Schedule): number {
  const { kernel, masks } = f
  const size = (axis: number) => s.tiles.find(t => t.axis === axis)?.size ?? 1
  const copies = (mask: number) => s.tiles.reduce((n, t) => (mask & (1 << t.axis) ? n * t.size : n), 1)
  const bit = s.vector === null ? 0 : 1 << s.vector
  const reduced = (bit & f.reduce) !== 0
  let inside = 0
  let outside = 0
  for (const [id, x] of f.all.entries()) {
    const c = copies(masks[id]) * instructionCost(f, x, masks[id], s)
    if (f.reduce !== 0 && !(masks[id] & f.reduce)) outside += c
    else inside += f.reduce === 0 && f.last >= 0 && !(masks[id] & (1 << f.last)) ? c / 8 : c
  }
  for (const { index, mask } of f.conditions) {
    const c = copies(mask) * (3 + indexCost(f, index, s.vector))
    if (f.reduce !== 0 && !(mask & f.reduce)) outside += c
    else inside += c
  }
  const results = s.tiles.reduce((n, t) => n * t.size, 1)
  const updates = kernel.accumulators.reduce((n, a) => n + (a.how.startsWith('arg') ? 8 : 1) * results, 0)
  for (const st of kernel.stores) {
    const lanes = bit !== 0 && !reduced
    const contiguous =
      laneStep(f, st.index, s.vector) === 1 && !(axesOfGuard(st.guard, id => masks[id]) & bit)
    outside += results * (lanes && !contiguous ? 2 * f.lanes : 1)
  }
  if (reduced) outside += 3 * f.lanes * results
  // one chain of additions has a latency of about 8 instructions
  const chain = kernel.accumulators.length > 0 && f.reduce !== 0 ? 8 : 0
  const perStep = Math.max(chain, inside + updates) + 2 + (reduced ? entry(f, s) : 0)
  const lanes = bit !== 0 ? f.lanes : 1
  const width = (axis: number) => size(axis) * (axis === s.vector ? f.lanes : 1)
  const waste = kernel.axes.reduce((n, a, i) => {
    if (a.kind === 'reduce' || a.extent === 0) return n
    return (n * Math.ceil(a.extent / width(i)) * width(i)) / a.extent
  }, 1)
  const points = results * lanes
  // of equal tiles, the one over fewer axes touches less memory; neighbouring lanes touch least
  const spread = 1 + 0.01 * s.tiles.filter(t => t.axis !== s.vector).length
  if (f.reduce === 0) return ((perStep + outside) / points) * waste
  return (perStep / points + (outside + 4) / (points * f.reduceSize)) * waste * spread
}

/** What it costs to enter a loop over lanes, a step: much where the axis has few. */
const entry = ({ kernel, lanes }: Facts, { vector }: Schedule): number =>
  vector === null ? 0 : 10 / Math.ceil(kernel.axes[vector].extent / lanes)

function instructionCost(f: Facts, x: Instr, mask: number, s: Schedule): number {
  const { vector } = s
  const bit = vector === null ? 0 : 1 << vector
  const lanes = (mask & bit) !== 0
  switch (x.k) {
    case 'lit':
    case 'acc':
      return 0
    case 'index':
      return indexCost(f, x.index, vector)
    case 'inside':
      return x.guard.length
    case 'load': {
      const guard = 2 * x.guard.length
      const step = laneStep(f, x.index, vector)
      // where many iterations share a load with lanes apart it is packed (pack.ts)
      const packed = (mask & f.reduce) !== 0 && !(bit & f.reduce) && sharers(f, mask) >= 64
      const lines = vector !== null && s.tiles.some(t => f.reduce === 0 && isAlong(f, x, vector, t.axis))
      const apart = packed ? 1.05 + 16 / sharers(f, mask) : lines ? f.lanes : 2 * f.lanes
      // an element that all lanes take costs a little more than lanes side by side
      if (!lanes) return (vector === null ? 1 : 1.1) + guard + indexCost(f, x.index, vector)
      const access = step === 1 ? 1 : step === -1 || step === 0 ? 2 : apart
      return access + guard + (step === null ? indexCost(f, x.index, vector) : 0)
    }
    case 'scalar': {
      const integer = x.dtype === 'i32' || x.dtype === 'u32'
      const division = x.fn === 'rem' || (x.fn === 'div' && integer)
      if (division) return lanes ? 15 * f.lanes : 15
      return x.fn === 'div' || x.fn === 'sqrt' ? 4 : 1
    }
  }
}

/** How many points share what a load reads. */
const sharers = (f: Facts, mask: number): number =>
  f.kernel.axes.reduce((n, a, i) => (a.kind === 'parallel' && !(mask & (1 << i)) ? n * a.extent : n), 1)

/** Quotients cost; those of the lanes cost once a lane. */
function indexCost(f: Facts, a: Affine, vector: number | null): number {
  let n = 0
  const bit = vector === null ? 0 : 1 << vector
  for (const { atom } of a.terms) {
    const lanes = axesOf({ terms: [{ atom, coef: 1 }], offset: 0 }, id => f.masks[id]) & bit ? f.lanes : 1
    if (atom.k === 'div' || atom.k === 'mod') n += 3 * lanes + indexCost(f, atom.of, vector)
    else if (atom.k === 'value') n += 2 * lanes
  }
  return n
}

/** How far apart neighbouring lanes are, or null where that varies. */
function laneStep(f: Facts, a: Affine, vector: number | null): number | null {
  if (vector === null) return 0
  const varies = a.terms.some(({ atom }) => atom.k === 'value' && (f.masks[atom.value] & (1 << vector)) !== 0)
  return varies ? null : coefficient(a, vector)
}

/**
 * The innermost reduce axes unrolled whole where they are small, or else a few steps of the last one. What an unrolled
 * body loads must fit into the registers beside the accumulators, unless the body can be cut (cuts.ts), which takes a
 * loop around it.
 */
function unrolling(f: Facts, s: Schedule): { axis: number; size: number }[] {
  if (f.reduce === 0 || f.kernel.accumulators.length === 0) return []
  const copies = (mask: number) => s.tiles.reduce((n, t) => (mask & (1 << t.axis) ? n * t.size : n), 1)
  const count = (ids: readonly number[]) => ids.reduce((n, id) => n + copies(f.masks[id]), 0)
  const loads = Math.max(1, count(f.inner.filter(id => f.all[id].k === 'load')))
  const registers = REGISTERS - s.tiles.reduce((n, t) => n * t.size, f.kernel.accumulators.length)
  const most = UNROLLED / Math.max(1, count(f.inner))
  const uncut = Math.min(registers / loads, most)
  const limit = canCut(f, s) ? most : uncut
  const free = f.kernel.axes.flatMap((a, i) =>
    a.kind === 'reduce' && a.extent > 1 && i !== s.vector ? [{ axis: i, size: a.extent }] : [],
  )
  const whole: { axis: number; size: number }[] = []
  let n = 1
  for (const [i, a] of [...free.entries()].reverse()) {
    if (n * a.size > (i > 0 ? limit : uncut)) break
    n *= a.size
    whole.push(a)
  }
  const last = free[free.length - 1]
  if (whole.length > 0 || last === undefined || (s.vector !== null && f.reduce & (1 << s.vector)))
    return whole
  const steps = [4, 2].find(x => x <= limit && (x <= uncut ? x : 2 * x) <= last.size)
  return steps === undefined ? [] : [{ axis: last.axis, size: steps }]
}

/** Whether the body is a contraction's, all lanes over its results: loads and arithmetic, without conditions. */
const canCut = (f: Facts, { vector }: Schedule): boolean =>
  vector !== null &&
  !(f.reduce & (1 << vector)) &&
  f.inner.every(id => {
    const x = f.all[id]
    return x.k === 'scalar' || (x.k === 'load' && x.guard.length === 0)
  })
