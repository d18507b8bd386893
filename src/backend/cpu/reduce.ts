/**
 * The reduce loops of a kernel as WebAssembly: accumulators start, take the values of every reduce point, and give
 * results to the epilogue. In: a nest, the pulled values. Out: code in the innermost scope.
 */
import { type Affine, add, axis, constant, scale } from '../affine.ts'
import { instructions, type Store } from '../kernel.ts'
import { cutter } from './cuts.ts'
import { append, innermost, inScope, memo, newLocal, putLoop, putMin } from './emit.ts'
import { type Fold, isArg, putFinish, putFlush, putUpdate, startFold } from './fold.ts'
import { index, indexVector, type Shift } from './indices.ts'
import { putVector } from './lanes.ts'
import { type Nest, positions, type Segment, type Span, segments, step } from './nest.ts'
import { putScalar, registerOf } from './ops.ts'
import { putAdd, putStore } from './stores.ts'
import type { Values } from './values.ts'
import { type Code, EMPTY, put } from './wasm.ts'

/** The reduce loops of one tile of the parallel axes, as they are written. */
export interface Reduction {
  readonly nest: Nest
  readonly points: readonly Shift[]
  /** By accumulator, parallel position and position on the vector axis. */
  readonly folds: readonly (readonly (readonly Fold[])[])[]
  readonly adds: readonly Store[]
  /** The segment in which each reduce loop is. */
  readonly current: (Segment | null)[]
}

/** The accumulators of a tile, set to the identity in the innermost scope; `blocked`: with totals beside. */
export function startReduction(c: Values, nest: Nest, blocked: boolean): Reduction {
  const { kernel, emitter: e } = c
  // larger tiles outside: what the inner positions share stays in few registers
  const points = positions(
    kernel.axes.length,
    [...nest.parallel].sort((a, b) => b.tile - a.tile),
  )
  const { head } = innermost(e)
  const width = nest.vector === null ? null : nest.width
  const registers = Array.from({ length: nest.reduce.find(l => l.lanes > 1)?.tile ?? 1 })
  const folds = kernel.accumulators.map(a =>
    points.map(() => registers.map(() => startFold(e, head, a, width, blocked))),
  )
  const adds = kernel.stores.filter(s => s.mode === 'add')
  return { nest, points, folds, adds, current: nest.reduce.map(() => null) }
}

/** Combines the accumulators, and writes the epilogue and the stores of mode 'set'. */
export function putResults(c: Values, { nest, points, folds }: Reduction): void {
  const e = c.emitter
  const combineLanes = nest.reduce.some(l => l.lanes > 1)
  c.places[30] = { local: null, base: 0, level: e.scopes.length }
  const after = inScope(e, () => {
    for (const [a, byPoint] of folds.entries())
      for (const [p, registers] of byPoint.entries()) {
        const result = putFinish(e, innermost(e).head, registers, combineLanes)
        c.results.set(`${a}:${points[p].join()}`, result)
      }
    const sets = c.kernel.stores.filter(s => s.mode === 'set')
    for (const at of points) for (const s of sets) putStore(c, nest, s, at)
  })
  append(innermost(e).tail, after)
}

/** Opens the i-th reduce loop, segment by segment and a block at a time, and those inside it. */
export function openReduce(c: Values, s: Reduction, i: number): void {
  if (i === s.nest.reduce.length) {
    atReducePoint(c, s)
    return
  }
  const l = s.nest.reduce[i]
  const e = c.emitter
  const block = s.nest.block?.loop === i ? s.nest.block.iterations : null
  const flush = (code: Code) => {
    for (const f of s.folds.flat(2)) putFlush(code, f)
  }
  for (const segment of segments(l)) {
    const out = innermost(e).tail
    const stride = segment.tile * l.lanes
    const count = (segment.end - segment.start) / stride
    const counter = count > 1 ? newLocal(e, 'i32') : null
    c.places[l.axis] = { local: counter, base: counter === null ? segment.start : 0, level: e.scopes.length }
    s.current[i] = segment
    const body = inScope(e, () => openReduce(c, s, i + 1))
    if (counter === null) {
      append(out, body)
      if (block !== null) flush(out)
      continue
    }
    put(out, 'i32.const', segment.start)
    put(out, 'local.set', counter)
    const end = (code: Code) => put(code, 'i32.const', segment.end)
    if (block === null || block >= count) {
      putReduceLoop(out, counter, stride, end, body)
      if (block !== null) flush(out)
      continue
    }
    const limit = newLocal(e, 'i32')
    put(out, 'loop', EMPTY)
    const next = newLocal(e, 'i32')
    put(out, 'local.get', counter)
    put(out, 'i32.const', block * stride)
    put(out, 'i32.add')
    put(out, 'local.set', next)
    putMin(out, next, segment.end, limit)
    putReduceLoop(out, counter, stride, code => put(code, 'local.get', limit), body)
    flush(out)
    put(out, 'local.get', counter)
    end(out)
    put(out, 'i32.lt_u')
    put(out, 'br_if', 0)
    put(out, 'end')
  }
}

/** Opens a part of the i-th reduce loop, which has one segment, and those inside it. */
export function openSpan(c: Values, s: Reduction, i: number, { from, to }: Span): void {
  const l = s.nest.reduce[i]
  const e = c.emitter
  const out = innermost(e).tail
  const counter = newLocal(e, 'i32')
  c.places[l.axis] = { local: counter, base: 0, level: e.scopes.length }
  const [segment] = segments(l)
  s.current[i] = segment
  const body = inScope(e, () => openReduce(c, s, i + 1))
  put(out, 'local.get', from)
  put(out, 'local.set', counter)
  putReduceLoop(out, counter, step(l), code => put(code, 'local.get', to), body)
}

/** A loop in a block, so that its body can leave it, Note [Cuts]. */
function putReduceLoop(
  out: Code,
  ...loop: readonly [local: number, step: number, end: (code: Code) => void, body: Code]
): void {
  put(out, 'block', EMPTY)
  putLoop(out, ...loop)
  put(out, 'end')
}

/** The innermost body: accumulators take the values of every tile position; stores of mode 'add' happen. */
function atReducePoint(c: Values, s: Reduction): void {
  const { kernel } = c
  const loops = s.nest.reduce.map((l, i) => ({ axis: l.axis, lanes: l.lanes, tile: s.current[i]?.tile ?? 1 }))
  const skip = s.current.reduce((n, x) => Math.max(n, x?.skip ?? 0), 0)
  const vectorAxis = s.nest.reduce.find(l => l.lanes > 1)?.axis
  const visits = positions(kernel.axes.length, loops).flatMap(inner => {
    const register = vectorAxis === undefined ? 0 : inner[vectorAxis] / c.width
    return s.points.map((point, p) => ({ p, register, at: point.map((x, a) => x + inner[a]) }))
  })
  const shifts = visits.map(v => v.at)
  const cut = cutter(c, s.nest.reduce, shifts, s.folds.flat(2).length)
  for (const [i, { p, register, at }] of visits.entries()) {
    cut(i)
    for (const byPoint of s.folds) {
      const fold = byPoint[p][register]
      const value = accumulated(c, fold, at)
      const position = isArg(fold.accumulator) ? flatPosition(c, at, fold.width !== null) : null
      putUpdate(c.emitter, innermost(c.emitter).head, fold, value, position, skip)
    }
    for (const add of s.adds) putAdd(c, add, at)
  }
}

/** The value that an accumulator takes, in its own dtype. */
function accumulated(c: Values, f: Fold, at: Shift): number {
  const { value: id, dtype } = f.accumulator
  const from = instructions(c.kernel)[id].dtype
  const vector = f.width !== null
  const value = vector ? c.lanes(id, at) : c.value(id, at)
  if (from === dtype) return value
  const o = { fn: 'cast', from, to: dtype } as const
  const level = c.levelOf(c.dependsOn(id))
  const key = `cast ${value} ${dtype}`
  return memo(c.emitter, level, key, vector ? 'v128' : registerOf(dtype), code => {
    if (vector) putVector(c, code, o, [value], [from], null)
    else putScalar(code, o, [value])
  })
}

/** The flat position over the reduce axes. */
function flatPosition(c: Values, at: Shift, vector: boolean): number {
  let flat: Affine = constant(0)
  let size = 1
  for (const [i, a] of [...c.kernel.axes.entries()].reverse()) {
    if (a.kind !== 'reduce') continue
    flat = add(flat, scale(axis(i, a.extent), size))
    size *= a.extent
  }
  return vector ? indexVector(c, flat, at) : index(c, flat, at, 0)
}
