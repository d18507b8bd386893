/**
 * The renderer of the CPU backend: a kernel and a schedule become one WebAssembly function, a loop nest whose
 * innermost body computes a tile of results in registers, all lanes of a vector at a time. Parallel axes that the
 * tile does not divide end with an overlapping tile (results are computed twice, equal); reduce axes with a masked
 * one.
 */
import { type Affine, add, axis, constant, scale } from '../affine.ts'
import { axesOfGuard } from '../depend.ts'
import { instructions, type Kernel, type Schedule, type Store } from '../kernel.ts'
import { append, emitter, inScope, memo, newLocal, putLoop } from './emit.ts'
import { type Fold, isArg, putFinish, putFlush, putUpdate, startFold } from './fold.ts'
import { address, index, indexVector, insideElement, laneStride, type Shift } from './indices.ts'
import { lanesOf, putLane, putVector, putWordsOfBools } from './lanes.ts'
import { type Loop, makeNest, type Nest, type Segment, segments, step } from './nest.ts'
import { putScalar, registerOf } from './ops.ts'
import { choosePacking, type Packing, putPacking } from './pack.ts'
import { align, bytesOf, load, makeValues, type Values } from './values.ts'
import { type Code, EMPTY, put, type ValueType, type WasmFunction } from './wasm.ts'

/**
 * A rendered kernel. The function takes the addresses of the kernel's buffers and of the scratch memory, then `from` and `to`: it runs
 * that range of its `slices`, so that a caller can divide long kernels. Slices are independent.
 */
export interface Rendered {
  readonly fn: WasmFunction
  readonly slices: number
  /** Bytes at the address `scratch` that the function writes and reads for itself. */
  readonly scratchBytes: number
  /** Whether each call packs its operand anew, however few slices it runs: no slice has a part of its own to pack. */
  readonly packsEachCall: boolean
}

/**
 * Renders a kernel. Every schedule gives the same results, up to the rounding of float sums and products.
 * @param name  the name under which the function is exported
 * @example encodeModule([renderKernel(kernel, schedule, 'k0').fn])
 */
export function renderKernel(kernel: Kernel, schedule: Schedule, name: string): Rendered {
  const plain = makeNest(kernel, schedule)
  const buffers = kernel.buffers.length
  const params: ValueType[] = [...kernel.buffers.map((): ValueType => 'i32'), 'i32', 'i32', 'i32']
  const e = emitter(params.length)
  const tiled = [...plain.parallel, ...plain.reduce].reduce((m, l) => (l.tile > 1 ? m | (1 << l.axis) : m), 0)
  const c = makeValues(kernel, e, plain, tiled)
  const packing = choosePacking(c, plain, loops => positions(kernel.axes.length, loops))
  const nest = packing === null ? plain : reuseInnermost(plain, fixedOver(c, packing))
  const outer = nest.parallel.find(l => iterations(l) > 1)
  const empty = kernel.axes.some(a => a.kind === 'parallel' && a.extent === 0)
  if (!empty) {
    const range = { loop: outer, scratch: buffers, from: buffers + 1, to: buffers + 2, packing }
    openParallel(c, nest, 0, range)
  }
  const [scope] = e.scopes
  append(scope.head, scope.tail)
  return {
    fn: { name, params, locals: e.locals, code: scope.head },
    slices: empty ? 0 : outer === undefined ? 1 : iterations(outer),
    scratchBytes: packing?.bytes ?? 0,
    packsEachCall: packing !== null && (outer === undefined || fixedOver(c, packing)(outer)),
  }
}

const iterations = (l: Loop): number => Math.ceil(l.extent / step(l))
const innermost = (c: Values) => c.emitter.scopes[c.emitter.scopes.length - 1]

/** Whether a packed load does not change over a loop. */
const fixedOver =
  (c: Values, { id }: Packing) =>
  (l: Loop): boolean =>
    (c.dependsOn(id) & (1 << l.axis)) === 0

/** The nest with the loops innermost over which a packed load does not change. */
const reuseInnermost = (nest: Nest, fixed: (l: Loop) => boolean): Nest => ({
  ...nest,
  parallel: [...nest.parallel.filter(l => !fixed(l)), ...nest.parallel.filter(fixed)],
})

/** The loop whose range is a parameter, the parameters, and what is packed. */
interface Range {
  readonly loop: Loop | undefined
  readonly packing: Packing | null
  readonly scratch: number
  readonly from: number
  readonly to: number
}

/** Opens the i-th parallel loop and those inside it. */
function openParallel(c: Values, nest: Nest, i: number, range: Range): void {
  const { packing } = range
  const over = (l: Loop) => packing !== null && !fixedOver(c, packing)(l)
  if (packing !== null && !c.packed.has(packing.id) && !nest.parallel.slice(i).some(over))
    putPacking(c, packing, range.scratch)
  if (i === nest.parallel.length) {
    atPoint(c, nest)
    return
  }
  const l = nest.parallel[i]
  const e = c.emitter
  const out = innermost(c).tail
  const level = e.scopes.length
  if (iterations(l) === 1) {
    c.places[l.axis] = { local: null, base: 0, level }
    const whole = inScope(e, () => openParallel(c, nest, i + 1, range))
    append(out, whole)
    return
  }
  const counter = newLocal(e, 'i32')
  const overlaps = l.extent % step(l) !== 0
  const position = overlaps ? newLocal(e, 'i32') : counter
  c.places[l.axis] = { local: position, base: 0, level }
  const body = inScope(e, () => {
    if (overlaps) putMin(innermost(c).head, counter, l.extent - step(l), position)
    openParallel(c, nest, i + 1, range)
  })
  const ranged = l === range.loop
  if (ranged) {
    put(out, 'local.get', range.from)
    put(out, 'i32.const', step(l))
    put(out, 'i32.mul')
  } else put(out, 'i32.const', 0)
  put(out, 'local.set', counter)
  putLoop(
    out,
    counter,
    step(l),
    code => {
      if (!ranged) return put(code, 'i32.const', iterations(l) * step(l))
      put(code, 'local.get', range.to)
      put(code, 'i32.const', step(l))
      put(code, 'i32.mul')
    },
    body,
  )
}

/** target = min(x, limit) */
function putMin(code: Code, x: number, limit: number, target: number): void {
  put(code, 'local.get', x)
  put(code, 'i32.const', limit)
  put(code, 'local.get', x)
  put(code, 'i32.const', limit)
  put(code, 'i32.lt_u')
  put(code, 'select')
  put(code, 'local.set', target)
}

/** All combinations of tile positions of the loops, as shifts. */
function positions(axes: number, loops: readonly { axis: number; lanes: number; tile: number }[]): Shift[] {
  let all: number[][] = [new Array<number>(axes).fill(0)]
  for (const l of loops)
    all = all.flatMap(at => Array.from({ length: l.tile }, (_, t) => at.with(l.axis, t * l.lanes)))
  return all
}

/** What happens at one tile of the parallel axes: the reduce loops, then the epilogue and the stores. */
function atPoint(c: Values, nest: Nest): void {
  const { kernel, emitter: e } = c
  // larger tiles outside: what the inner positions share stays in few registers
  const points = positions(
    kernel.axes.length,
    [...nest.parallel].sort((a, b) => b.tile - a.tile),
  )
  const reduceVector = nest.reduce.find(l => l.lanes > 1)
  const head = innermost(c).head
  const folds = kernel.accumulators.map(a =>
    points.map(() =>
      Array.from({ length: reduceVector?.tile ?? 1 }, () =>
        startFold(e, head, a, nest.vector === null ? null : nest.width, nest.block !== null),
      ),
    ),
  )
  const some = kernel.axes.every(a => a.extent > 0)
  const adds = kernel.stores.filter(s => s.mode === 'add')
  if (some && (folds.length > 0 || adds.length > 0)) {
    const state: ReduceState = { nest, points, folds, adds, current: nest.reduce.map(() => null) }
    openReduce(c, state, 0)
  }
  c.places[30] = { local: null, base: 0, level: e.scopes.length }
  const after = inScope(e, () => {
    for (const [a, byPoint] of folds.entries())
      for (const [p, registers] of byPoint.entries()) {
        const result = putFinish(e, innermost(c).head, registers, reduceVector !== undefined)
        c.results.set(`${a}:${points[p].join()}`, result)
      }
    const sets = kernel.stores.filter(s => s.mode === 'set')
    for (const at of points) for (const s of sets) putStore(c, nest, s, at)
  })
  append(innermost(c).tail, after)
}

interface ReduceState {
  readonly nest: Nest
  readonly points: readonly Shift[]
  /** By accumulator, parallel position and position on the vector axis. */
  readonly folds: readonly (readonly (readonly Fold[])[])[]
  readonly adds: readonly Store[]
  /** The segment in which each reduce loop is. */
  readonly current: (Segment | null)[]
}

/** Opens the i-th reduce loop, segment by segment, and those inside it. */
function openReduce(c: Values, s: ReduceState, i: number): void {
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
    const out = innermost(c).tail
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
      putLoop(out, counter, stride, end, body)
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
    putLoop(out, counter, stride, code => put(code, 'local.get', limit), body)
    flush(out)
    put(out, 'local.get', counter)
    end(out)
    put(out, 'i32.lt_u')
    put(out, 'br_if', 0)
    put(out, 'end')
  }
}

/** The innermost body: accumulators take the values of every tile position; stores of mode 'add' happen. */
function atReducePoint(c: Values, s: ReduceState): void {
  const { kernel } = c
  const loops = s.nest.reduce.map((l, i) => ({ axis: l.axis, lanes: l.lanes, tile: s.current[i]?.tile ?? 1 }))
  const skip = s.current.reduce((n, x) => Math.max(n, x?.skip ?? 0), 0)
  const vectorAxis = s.nest.reduce.find(l => l.lanes > 1)?.axis
  for (const inner of positions(kernel.axes.length, loops)) {
    const register = vectorAxis === undefined ? 0 : inner[vectorAxis] / c.width
    for (const [p, point] of s.points.entries()) {
      const at = point.map((x, a) => x + inner[a])
      for (const byPoint of s.folds) {
        const fold = byPoint[p][register]
        const value = accumulated(c, fold, at)
        const position = isArg(fold.accumulator) ? flatPosition(c, at, fold.width !== null) : null
        putUpdate(c.emitter, innermost(c).head, fold, value, position, skip)
      }
      for (const add of s.adds) putAdd(c, add, at)
    }
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

/** Writes a store of mode 'set' at a tile position. */
function putStore(c: Values, nest: Nest, s: Store, at: Shift) {
  const { dtype } = instructions(c.kernel)[s.value]
  const lanes = nest.parallel.some(l => l.lanes > 1)
  const bit = nest.vector === null ? 0 : 1 << nest.vector
  const uniformGuard = (axesOfGuard(s.guard, c.dependsOn) & bit) === 0
  const stride = laneStride(c, s.index)
  if (!lanes) return putElement(c, s, at, 0, code => put(code, 'local.get', c.value(s.value, at)))
  const value = c.lanes(s.value, at)
  if (stride === 1 && uniformGuard) {
    const a = address(c, s.index, at, 0, bytesOf(dtype), s.buffer)
    const guard = s.guard.length > 0 ? insideElement(c, s.guard, at, 0) : null
    const code = innermost(c).head
    if (guard !== null) {
      put(code, 'local.get', guard)
      put(code, 'if', EMPTY)
    }
    put(code, 'local.get', a.local)
    put(code, 'local.get', value)
    if (dtype === 'bool') putWordsOfBools(code, c.width)
    if (bytesOf(dtype) * c.width === 16) put(code, 'v128.store', align(dtype), a.offset)
    else put(code, 'v128.store64_lane', align(dtype), a.offset, 0)
    if (guard !== null) put(code, 'end')
    return
  }
  // lanes that write one element: the last one wins, as in the loop
  for (const lane of stride === 0 && uniformGuard ? [c.width - 1] : lanesOf(c.width))
    putElement(c, s, at, lane, code => putLane(code, dtype, value, lane, c.width))
}

/** Stores one element, which `push` pushes. */
function putElement(c: Values, s: Store, at: Shift, lane: number, push: (code: Code) => void): void {
  const { dtype } = instructions(c.kernel)[s.value]
  const value: Code = []
  push(value)
  const a = address(c, s.index, at, lane, bytesOf(dtype), s.buffer)
  const guard = s.guard.length > 0 ? insideElement(c, s.guard, at, lane) : null
  const code = innermost(c).head
  if (guard !== null) {
    put(code, 'local.get', guard)
    put(code, 'if', EMPTY)
  }
  put(code, 'local.get', a.local)
  append(code, value)
  put(code, `${registerOf(dtype)}.store`, align(dtype), a.offset)
  if (guard !== null) put(code, 'end')
}

/** buffer[index] += value, one element. */
function putAdd(c: Values, s: Store, at: Shift): void {
  const { dtype } = instructions(c.kernel)[s.value]
  const value = c.value(s.value, at)
  const a = address(c, s.index, at, 0, bytesOf(dtype), s.buffer)
  putElement(c, s, at, 0, code => {
    put(code, 'local.get', a.local)
    put(code, load(dtype), align(dtype), a.offset)
    put(code, 'local.get', value)
    if (dtype === 'bool') put(code, 'i32.or')
    else put(code, `${registerOf(dtype)}.add`)
  })
}
