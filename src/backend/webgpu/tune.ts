/**
 * Kernel -> Schedule for a WebGPU adapter. In: the adapter's preset (presets.ts). Out: a chooser, which takes the
 * schedule of the least estimated cost per point among tiles, vectors and unrolled reductions. Deterministic, and
 * never a matter of correctness.
 *
 * Note [Choice of stages]. A GPU's contractions go through workgroup memory (staged.ts) where blocks fill the machine:
 * its invocations compute `turns` rounds of tiles, idle ones and edges included, and a term of a tile of r x c results
 * costs r c multiply-and-adds and r + c reads. The block of the least time per result is taken; where even that keeps
 * less than a third of the machine busy, registers alone are better, for they share less and divide more finely.
 * Where subgroup matrices were asked for, a block of them goes before others: they multiply several times as fast as
 * lanes do. Products of fewer rows, columns or terms than a matrix has stay as they are.
 */
import { type Affine, coefficient } from '../affine.ts'
import { axesOf, axesOfGuard, dependencies } from '../depend.ts'
import { type Instr, instructions, type Kernel, type Load, type Schedule, type Stage } from '../kernel.ts'
import { varyingIn } from './grid.ts'
import { type Adapter, type Profile, profileOf } from './presets.ts'
import { sharedLoad } from './sharing.ts'
import { invocationsOf, productOf } from './stage.ts'
import { canShare, teamOf } from './team.ts'
import { fastestAxis, LANES, quadBindings, type Slot, type Tile, tilesOf } from './tiles.ts'

/**
 * The scheduler of an adapter.
 * @example planGraph(graph, webgpuScheduler(device.info))
 */
export const webgpuScheduler =
  (info: Adapter) =>
  (kernel: Kernel): Schedule =>
    tune(kernel, profileOf(info))

/** The schedule of the least estimated cost; a stage before all others: see Note [Choice of stages]. */
export const tune = (kernel: Kernel, profile: Profile): Schedule => {
  const [stage] = stagesFor(kernel, profile, BUSY)
  const unstaged = inRegisters(kernel, profile)
  return stage === undefined ? unstaged : { ...unstaged, stage }
}

function inRegisters(kernel: Kernel, profile: Profile): Schedule {
  const facts = look(kernel)
  let best: Schedule = { vector: null, tiles: [] }
  let least = Infinity
  for (const s of [...candidates(facts, profile), ...teams(facts, profile)]) {
    const c = cost(facts, s, profile)
    if (c < least * 0.99) {
      least = c
      best = s
    }
  }
  return best
}

/**
 * Stages by which a kernel is computed, that of the least time first.
 * @param limit  on the time, in that of a machine that only multiplies and is full
 */
export function stagesFor(kernel: Kernel, profile: Profile, limit: number): readonly Stage[] {
  const stages = [...profile.matrices, ...profile.stages]
  const product = stages.length > 0 ? productOf(kernel) : null
  if (product === null) return []
  const { rows, columns, batch, terms } = product
  const timeOf = (s: Stage): number => {
    const [r, c] = s.tile
    const blocks = batch.extent * Math.ceil(rows.extent / s.block[0]) * Math.ceil(columns.extent / s.block[1])
    // two workgroups of 256 invocations hide each other's waits
    const atOnce = (2 * profile.busy) / invocationsOf(s)
    const turns = Math.ceil(blocks / atOnce)
    const computed = turns * atOnce * s.block[0] * s.block[1]
    const waste = (Math.ceil(terms.extent / s.depth) * s.depth) / terms.extent
    return ((computed * waste) / (batch.extent * rows.extent * columns.extent)) * (1 + 1 / r + 1 / c)
  }
  const isLarge = ({ matrix, depth }: Stage) =>
    matrix === undefined ||
    (rows.extent >= matrix.m && columns.extent >= matrix.n && terms.extent >= Math.max(matrix.k, depth))
  return stages
    .filter(isLarge)
    .map(stage => ({ stage, time: timeOf(stage) }))
    .filter(({ time }) => time <= limit)
    .map(({ stage, time }) => ({ stage, time: stage.matrix === undefined ? time : time / MATRIX_SPEED }))
    .sort((a, b) => a.time - b.time)
    .map(({ stage }) => stage)
}

/** Matrices against lanes, at least, by what vendors publish: enough that one is chosen. Unmeasured. */
const MATRIX_SPEED = 8

/** Limits on the time of stages: to be chosen, and to be worth measuring. */
const BUSY = 4
const MAYBE = 16

/**
 * Schedules worth measuring: the chosen one, other stages, then the cheapest of every kind (vector axis, tiled axes,
 * team or not), then the next cheapest.
 * @param count  at most so many
 */
export function worthTrying(kernel: Kernel, profile: Profile, count: number): readonly Schedule[] {
  const facts = look(kernel)
  const ranked = [...candidates(facts, profile), ...teams(facts, profile)]
    .map(s => ({ s, c: cost(facts, s, profile) }))
    .filter(({ c }) => c < Infinity)
    .sort((a, b) => a.c - b.c)
    .map(({ s }) => s)
  const kindOf = (s: Schedule) => JSON.stringify([s.vector, s.tiles.map(t => t.axis), s.team !== undefined])
  const kinds = [...new Map(ranked.toReversed().map(s => [kindOf(s), s])).values()].reverse()
  const best = tune(kernel, profile)
  const staged = stagesFor(kernel, profile, MAYBE).map(stage => ({ ...best, stage }))
  const half = Math.ceil(count / 2)
  const matrices = staged.filter(s => s.stage.matrix !== undefined).slice(0, MATRICES)
  const lanes = staged.filter(s => s.stage.matrix === undefined).slice(0, half - matrices.length)
  const wanted = [best, ...matrices, ...lanes, ...kinds.slice(0, half), ...ranked]
  return [...new Map(wanted.map(s => [JSON.stringify(s), s])).values()].slice(0, count)
}

/** Blocks of matrices that are worth measuring. */
const MATRICES = 3

/** Points times instructions below which nothing is tiled. */
const SMALL = 8192
/** Bodies longer than this are not tiled with several axes: they have enough to do. */
const SHORT = 24

interface Facts {
  readonly kernel: Kernel
  /** The buffers accessed in vectors along an axis: the same for every tile of it. */
  readonly quads: (vector: number | null, tiles: readonly Tile[]) => ReadonlySet<number>
  readonly all: readonly Instr[]
  readonly masks: readonly number[]
  /** The instructions inside the reduce loops (of a map: all). */
  readonly inner: readonly number[]
  readonly reduce: number
  readonly reduceSize: number
  /** The innermost reduce axis, or -1. */
  readonly last: number
  readonly points: number
}

function look(kernel: Kernel): Facts {
  const all = instructions(kernel)
  const masks = dependencies(kernel)
  let [reduce, reduceSize, points] = [0, 1, 1]
  for (const [i, { kind, extent }] of kernel.axes.entries()) {
    points *= extent
    if (kind === 'parallel' || extent <= 1) continue
    reduce |= 1 << i
    reduceSize *= extent
  }
  const slots = kernel.buffers.map((_, binding): Slot => ({ binding, readWrite: true, offset: 0 }))
  const known = new Map<number | null, ReadonlySet<number>>([[null, new Set()]])
  const quads: Facts['quads'] = (vector, tiles) => {
    const found = known.get(vector) ?? quadBindings(kernel, slots, tiles)
    known.set(vector, found)
    return found
  }
  return {
    kernel,
    quads,
    all,
    masks,
    inner: all.flatMap((_, i) => (reduce === 0 || masks[i] & reduce ? [i] : [])),
    reduce,
    reduceSize,
    last: kernel.axes.findLastIndex(a => a.kind === 'reduce' && a.extent > 1),
    points,
  }
}

function* candidates(f: Facts, p: Profile): Generator<Schedule> {
  const { axes, accumulators, stores } = f.kernel
  yield { vector: null, tiles: [] }
  // so little work is done before a larger shader is compiled
  if (f.points * f.inner.length < SMALL) return
  const accesses = [...f.all.flatMap(x => (x.k === 'load' ? [x.index] : [])), ...stores.map(s => s.index)]
  const vectors = axes.flatMap(({ extent, kind }, i) =>
    extent >= LANES &&
    (kind === 'parallel' || i === f.last) &&
    accesses.some(a => Math.abs(coefficient(a, i) ?? 0) === 1)
      ? [i]
      : [],
  )
  const folds = f.reduce !== 0 && accumulators.length > 0
  const tiled = folds && f.inner.length <= SHORT
  const loads = f.inner.filter(id => f.all[id].k === 'load')
  // an axis is worth a tile where a load inside does not depend on it
  const shared = axes.flatMap(({ kind, extent }, i) =>
    kind === 'parallel' && extent > 1 && loads.some(id => !(f.masks[id] & (1 << i))) ? [i] : [],
  )
  // small windows without a loop
  const small = f.reduceSize > 1 && f.reduceSize <= WINDOW
  const whole = axes.flatMap(({ kind, extent }, axis) =>
    small && kind === 'reduce' && extent > 1 ? [{ axis, size: extent }] : [],
  )
  if (small) {
    yield { vector: null, tiles: whole }
    // strides: every phase of a window at once, so that its conditions are known
    const phases = axes.flatMap(({ kind, extent }, axis) =>
      kind === 'parallel' && extent > 1 && extent < LANES ? [{ axis, size: extent }] : [],
    )
    if (phases.length > 0) yield { vector: null, tiles: [...phases, ...whole] }
    for (const vector of vectors) if (axes[vector].kind === 'parallel') yield { vector, tiles: whole }
  }
  for (const vector of [null, ...vectors])
    for (const t of vector === null ? [1] : [1, 2, 4]) {
      const own = vector === null || t === 1 ? [] : [{ axis: vector, size: t }]
      if (vector !== null && t * LANES > axes[vector].extent) continue
      yield { vector, tiles: own }
      if (!tiled || (vector !== null && axes[vector].kind === 'reduce')) continue
      const width = vector === null ? 1 : t * LANES
      const others = shared.filter(a => a !== vector)
      for (const [n, a] of others.entries())
        for (const x of SIZES) {
          if (x > axes[a].extent || x * width > p.results) continue
          yield { vector, tiles: [...own, { axis: a, size: x }] }
          for (const b of others.slice(n + 1))
            for (const y of SIZES)
              if (y <= axes[b].extent && x * y * width <= p.results)
                yield { vector, tiles: [...own, { axis: a, size: x }, { axis: b, size: y }] }
        }
    }
}

/** Teams, each lane with single elements or with vectors of the innermost reduce axis. */
function* teams(f: Facts, p: Profile): Generator<Schedule> {
  if (p.teams.length === 0 || !canShare(f.kernel)) return
  const vector = f.kernel.axes[f.last].extent >= LANES ? [null, f.last] : [null]
  for (const team of p.teams) for (const v of vector) yield { vector: v, tiles: [], team }
}

/** Terms of a reduction that may be unrolled whole. */
const WINDOW = 9
const SIZES = [2, 3, 4, 8, 16]

/** What a step of a loop costs. */
const LOOP = 2

/** Multiply-and-adds a point, about; infinite where the schedule is not allowed. */
function cost(f: Facts, s: Schedule, p: Profile): number {
  const { kernel, masks } = f
  const tiles = tilesOf(kernel, s)
  const quads = f.quads(s.vector, tiles)
  const copies = (mask: number) => tiles.reduce((n, t) => (mask & (1 << t.axis) ? n * t.size : n), 1)
  const parallel = tiles.filter(t => kernel.axes[t.axis].kind === 'parallel')
  const results = parallel.reduce((n, t) => n * t.size, 1)
  const steps = copies(f.reduce)
  const positions = results * steps
  const accumulators = f.reduce === 0 ? 0 : Math.max(1, kernel.accumulators.length)
  if (results * Math.max(1, accumulators) > p.results) return Infinity

  const team = teamOf(kernel, s, tiles)
  // neighbours run together: in a team along its axis, else along the fastest axis of the grid
  const lane = team?.axis ?? fastestAxis(kernel, tiles)
  const scattered = (index: Affine): boolean => {
    const step = lane < 0 ? 0 : coefficient(index, lane)
    return step === null || Math.abs(step) > LANES
  }
  const access = (buffer: number, index: Affine, mask: number): number => {
    if (p.apart !== null && scattered(index)) return p.apart
    if (quads.has(buffer)) return p.load.quad
    const run = tiles.find(
      t => t.together && mask & (1 << t.axis) && Math.abs(coefficient(index, t.axis) ?? 0) === 1,
    )
    // drivers merge neighbours: the longer the run, the cheaper each
    return run ? p.load.beside * (0.5 + LANES / run.size) : p.load.single
  }
  const varying = p.sharing === null || team !== null ? null : varyingIn(kernel, tiles, p.sharing)
  const loading = (id: number, x: Load): number => {
    const alone = access(x.buffer, x.index, masks[id])
    if (p.sharing === null || varying === null || quads.has(x.buffer)) return alone
    const shared = sharedLoad(kernel, masks, tiles, { lanes: p.sharing, varying }, id, x)
    return shared === null ? alone : BROADCAST + alone / Math.min(p.sharing, tiles[shared.tile].size)
  }
  // indices in tiles alone are constants
  let open = 0
  for (const [i, a] of kernel.axes.entries())
    if (a.extent > 1 && !tiles.some(t => t.axis === i && t.groups === 1)) open |= 1 << i
  const isOpen = (a: Affine) => (axesOf(a, id => masks[id]) & open) !== 0
  let [inside, outside, statements] = [0, 0, positions * accumulators]
  for (const [id, x] of f.all.entries()) {
    const n = copies(masks[id])
    const weight =
      x.k === 'load' ? loading(id, x) + 2 * x.guard.filter(g => isOpen(g.index)).length : ofInstr(f, x)
    const c = n * (weight + (x.k === 'load' || x.k === 'index' ? quotients(x.index, isOpen) : 0))
    if (f.reduce !== 0 && !(masks[id] & f.reduce)) outside += c
    else inside += c
    statements += x.k === 'lit' ? 0 : n
  }
  inside += positions * kernel.accumulators.reduce((n, a) => n + (a.how.startsWith('arg') ? 4 : 1), 0)
  for (const st of kernel.stores) {
    const mask = axesOf(st.index, id => masks[id]) | axesOfGuard(st.guard, id => masks[id])
    const c = results * access(st.buffer, st.index, mask)
    if (st.mode === 'add') inside += c * steps
    else outside += c
  }
  if (positions > 1 && statements > p.statements) return Infinity
  // long rows of results need more registers than there are for what they share
  const row = tiles.length === 0 ? 1 : (parallel.at(-1)?.size ?? 1)
  const crowded =
    positions * ((parallel.length > 1 && row > 8 ? 0.4 : 0) + 0.1 * Math.max(0, parallel.length - 2))
  const groups = kernel.axes.reduce(
    (n, a, i) => (a.kind === 'reduce' ? n : n * groupsOf(tiles, i, a.extent)),
    1,
  )
  const size = team?.size ?? 1
  const dealt = team === null ? 1 : groupsOf(tiles, team.axis, kernel.axes[team.axis].extent)
  const waste = ((groups * results * f.reduceSize) / f.points) * ((Math.ceil(dealt / size) * size) / dealt)
  const idle = Math.max(1, p.busy / (groups * size))
  const joins = team === null ? 0 : JOIN * Math.log2(size) * kernel.accumulators.length
  const looped = steps < f.reduceSize ? LOOP : 0
  const perStep = (inside + crowded + looped) / positions
  const perResult = (size * (outside + joins + p.invocation)) / (results * f.reduceSize)
  return (perStep + perResult) * waste * idle
}

/** What takes an element from the lane that loaded it. Of 0.25 and 1 at most 7 of the benchmarks' 476 schedules differ. */
const BROADCAST = 0.5
/** A shuffle and what combines, or a barrier. */
const JOIN = 4

const groupsOf = (tiles: readonly Tile[], axis: number, extent: number): number =>
  tiles.find(t => t.axis === axis)?.groups ?? extent

function ofInstr(f: Facts, x: Instr): number {
  if (x.k !== 'scalar') return x.k === 'inside' ? x.guard.length : 0
  const integer = f.all[x.args[0]]?.dtype !== 'f32'
  if (x.fn === 'rem' || (x.fn === 'div' && integer)) return 15
  return x.fn === 'div' || x.fn === 'sqrt' ? 3 : x.fn === 'mul' && f.kernel.accumulators.length > 0 ? 0 : 1
}

/** Quotients and remainders cost. */
const quotients = (a: Affine, isOpen: (a: Affine) => boolean): number =>
  a.terms.reduce(
    (n, { atom }) =>
      (atom.k === 'div' || atom.k === 'mod') && isOpen(atom.of) ? n + 3 + quotients(atom.of, isOpen) : n,
    0,
  )
