/**
 * Random kernels for the tests of renderers: maps, reductions, scatters and gathers over few axes of awkward
 * sizes, with strides, flips, windows, padding guards, quotients and remainders, and random scalar operations.
 */
import fc from 'fast-check'
import {
  type Affine,
  add,
  addConst,
  axis,
  bounds,
  type Condition,
  constant,
  div,
  mod,
  scale,
  value,
} from '../../src/backend/affine.ts'
import type {
  Accumulator,
  Axis,
  Instr,
  Kernel,
  KernelBuffer,
  Schedule,
  Store,
} from '../../src/backend/kernel.ts'
import { type DType, makeData, type TypedArray } from '../../src/dsl/dtype.ts'
import { isDerived, type ScalarOp, scalars } from '../../src/dsl/scalar.ts'

export interface Case {
  readonly kernel: Kernel
  readonly data: readonly TypedArray[]
  readonly schedules: readonly Schedule[]
}
/** Draws an integer in [lo, hi]. */
export type Draw = (lo: number, hi: number) => number

const SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 12, 17, 0]
const DTYPES: readonly DType[] = ['f32', 'f32', 'i32', 'u32', 'bool', 'f64']
const CORE: readonly ScalarOp[] = [
  ...[
    'add',
    'sub',
    'mul',
    'div',
    'rem',
    'max',
    'min',
    'neg',
    'abs',
    'sqrt',
    'floor',
    'ceil',
    'round',
    'trunc',
  ],
  ...['eq', 'ne', 'lt', 'le', 'and', 'or', 'xor', 'not', 'shl', 'shr', 'select', 'cast', 'isnan', 'opaque'],
].filter((f): f is ScalarOp => f in scalars)

/** What an operation takes; the dtype is that of the last operand. */
export function takes(fn: ScalarOp, d: DType): boolean {
  const { on } = scalars[fn]
  const float = d === 'f32' || d === 'f64'
  if (fn === 'not') return d === 'bool'
  if (fn === 'bitcast') return d !== 'f64' && d !== 'bool'
  if (on === 'float') return float
  if (on === 'number') return d !== 'bool'
  if (on === 'integer') return d === 'i32' || d === 'u32'
  return on === 'bits' ? !float : true
}

/** Random elements; floats in [-2, 2] with a few special values where `wild`. */
export function randomData(draw: Draw, dtype: DType, n: number, wild: boolean): TypedArray {
  const out = makeData(dtype, n)
  const special = [Number.NaN, Infinity, -Infinity, -0, 1e-40, 3e38]
  for (let i = 0; i < n; i++) {
    const r = draw(0, 1000)
    if (dtype === 'bool') out[i] = r & 1
    else if (dtype === 'f32' || dtype === 'f64')
      out[i] = wild && r % 29 === 0 ? special[r % special.length] : (r - 500) / 250
    else if (wild && r % 17 === 0) out[i] = [0, -1, 2 ** 31 - 1, -(2 ** 31), 1][r % 5]
    else out[i] = (r % 41) - (dtype === 'i32' ? 20 : 0)
  }
  return out
}

/** A seeded source for `draw`, so that data and structure follow from one number. */
export function seeded(seed: number): Draw {
  let s = seed | 0
  return (lo, hi) => {
    s = (Math.imul(s, 1664525) + 1013904223) | 0
    return lo + ((Math.imul(s ^ (s >>> 15), 0x2c1b3c6d) >>> 0) % (hi - lo + 1))
  }
}
export const seeds = fc.integer({ min: 0, max: 2 ** 31 - 1 })

/** The kernel of a seed. */
export function randomCase(seed: number): Case {
  const draw = seeded(seed)
  draw(0, 1)
  draw(0, 1)
  const pick = <T>(xs: readonly T[]): T => xs[draw(0, xs.length - 1)]
  const axes: Axis[] = []
  let points = 1
  for (let i = draw(1, 4); i > 0; i--) {
    const extent = draw(0, 30) === 0 ? 0 : pick(SIZES.slice(0, -1))
    if (points * extent > 3000) continue
    points *= extent
    axes.push({ extent, kind: draw(0, 2) === 0 ? 'reduce' : 'parallel' })
  }
  const scatter = draw(0, 7) === 0
  const reduce = axes.flatMap((a, i) => (a.kind === 'reduce' ? [i] : []))
  const parallel = axes.flatMap((a, i) => (a.kind === 'parallel' ? [i] : []))
  const buffers: KernelBuffer[] = []
  const data: TypedArray[] = []
  const body: Instr[] = []
  const at = (i: number) => axis(i, axes[i].extent)
  const all = axes.map((_, i) => i)
  const push = (x: Instr) => body.push(x) - 1
  const wild = draw(0, 1) === 0 && reduce.length === 0

  /** One dimension of a load over some axes: its index and, behind padding, its condition. */
  const dimension = (from: readonly number[]): { index: Affine; lo: number; hi: number } => {
    const a = at(pick(from))
    const b = at(pick(from))
    const e = (bounds(a) ?? [0, 0])[1]
    const forms: (() => Affine)[] = [
      () => a,
      () => a,
      () => a,
      () => scale(a, 2),
      () => addConst(scale(a, -1), e),
      () => add(a, b),
      () => div(add(scale(a, 3), b), 2),
      () => mod(add(a, scale(b, 2)), 3),
      () => div(a, 2),
      () => mod(a, 2),
      () => constant(0),
    ]
    const index = pick(forms)()
    const [low, high] = bounds(index) ?? [0, 0]
    if (draw(0, 3) === 0) {
      const pad = draw(1, 2)
      const size = Math.max(1, high + 1 - pad)
      return { index: addConst(index, -pad + (low < 0 ? -low : 0)), lo: 0, hi: size }
    }
    return {
      index: addConst(index, -Math.min(0, low)),
      lo: Number.NEGATIVE_INFINITY,
      hi: high + 1 - Math.min(0, low),
    }
  }
  const loadFrom = (dtype: DType): number => {
    const dims = all.length === 0 ? [] : Array.from({ length: draw(0, 3) }, () => dimension(all))
    let index = constant(0)
    const guard: Condition[] = []
    let size = 1
    for (const d of dims.reverse()) {
      index = add(index, scale(d.index, size))
      size *= Math.max(1, d.hi)
      if (d.lo === 0) guard.push({ index: d.index, lo: 0, hi: d.hi })
    }
    if (draw(0, 5) === 0 && points > 0) {
      // a run-time index, kept in the table by a guard
      const rows = draw(1, 5)
      const positions =
        draw(0, 1) === 0 ? push({ k: 'index', index: mod(index, rows), dtype: 'i32' }) : loadFrom('i32')
      buffers.push({ dtype, size: rows, access: 'read' })
      data.push(randomData(draw, dtype, rows, wild))
      const g = { index: value(positions), lo: 0, hi: rows }
      return push({ k: 'load', buffer: buffers.length - 1, index: value(positions), guard: [g], dtype })
    }
    buffers.push({ dtype, size, access: 'read' })
    data.push(randomData(draw, dtype, size, wild))
    return push({ k: 'load', buffer: buffers.length - 1, index, guard, dtype })
  }
  for (let i = draw(1, 3); i > 0; i--) loadFrom(pick(draw(0, 2) === 0 ? DTYPES : ['f32', 'i32', 'f32']))
  if (draw(0, 3) === 0 && all.length > 0) push({ k: 'index', index: dimension(all).index, dtype: 'i32' })
  if (draw(0, 3) === 0 && all.length > 0)
    push({ k: 'inside', guard: [{ index: dimension(all).index, lo: 1, hi: 3 }], dtype: 'bool' })
  const operate = (pool: readonly number[], typeOf: (id: number) => DType): Instr | null => {
    const fn = pick(CORE)
    const last = pick(pool)
    const dtype = typeOf(last)
    if (!takes(fn, dtype)) return null
    const same = pool.filter(p => typeOf(p) === dtype)
    const args = Array.from({ length: scalars[fn].arity }, () => pick(same))
    args[args.length - 1] = last
    if (fn === 'select') {
      const bools = pool.filter(p => typeOf(p) === 'bool')
      if (bools.length === 0) return null
      args[0] = pick(bools)
    }
    const { out } = scalars[fn]
    return { k: 'scalar', fn, args, dtype: out === 'bool' ? 'bool' : out === 'to' ? pick(DTYPES) : dtype }
  }
  const typeOfBody = (id: number) => body[id].dtype
  for (let i = draw(0, wild ? 12 : 4); i > 0; i--) {
    if (draw(0, 5) === 0) push({ k: 'lit', value: draw(0, 3), dtype: pick(['f32', 'i32', 'u32']) })
    const x = operate(
      body.map((_, id) => id),
      typeOfBody,
    )
    if (x) push(x)
  }
  const epilogue: Instr[] = []
  const accumulators: Accumulator[] = []
  const stores: Store[] = []
  const output = (over: readonly number[], dtype: DType): { buffer: number; index: Affine } => {
    const order = [...over]
    if (draw(0, 2) === 0) order.reverse()
    let index = constant(0)
    let size = 1
    for (const i of order.reverse()) {
      index = add(
        index,
        scale(draw(0, 4) === 0 ? addConst(scale(at(i), -1), Math.max(0, axes[i].extent - 1)) : at(i), size),
      )
      size *= axes[i].extent
    }
    buffers.push({ dtype, size: Math.max(1, size), access: 'write' })
    data.push(makeData(dtype, Math.max(1, size)))
    return { buffer: buffers.length - 1, index }
  }
  if (scatter) {
    const candidates = body.flatMap((x, id) => (x.dtype !== 'bool' ? [id] : []))
    if (candidates.length > 0) {
      const v = pick(candidates)
      const rows = draw(1, 4)
      const where = points > 0 ? loadFrom('i32') : push({ k: 'lit', value: 0, dtype: 'i32' })
      buffers.push({ dtype: body[v].dtype, size: rows, access: 'add' })
      data.push(makeData(body[v].dtype, rows))
      const index = value(where)
      stores.push({
        buffer: buffers.length - 1,
        index,
        value: v,
        mode: 'add',
        guard: [{ index, lo: 0, hi: rows }],
      })
    }
  } else if (reduce.length === 0) {
    for (let i = draw(1, 2); i > 0; i--) {
      const v = draw(0, 1) === 0 ? body.length - 1 : pick(body.map((_, id) => id))
      const guard: Condition[] =
        draw(0, 5) === 0 && all.length ? [{ index: at(pick(all)), lo: 1, hi: 3 }] : []
      stores.push({ ...output(parallel, body[v].dtype), value: v, mode: 'set', guard })
    }
  } else {
    const candidates = body.flatMap((x, id) => (x.dtype !== 'bool' ? [id] : []))
    for (let i = draw(1, 2); i > 0 && candidates.length > 0; i--) {
      const v = pick(candidates)
      const how = pick(['sum', 'sum', 'max', 'min', 'argmax', 'argmin'] as const)
      accumulators.push({ how, value: v, dtype: body[v].dtype })
    }
    for (const [i, a] of accumulators.entries()) {
      const dtype = a.how.startsWith('arg') ? 'i32' : a.dtype
      epilogue.push({ k: 'acc', accumulator: i, dtype })
    }
    for (const [i, x] of epilogue.entries())
      stores.push({ ...output(parallel, x.dtype), value: body.length + i, mode: 'set', guard: [] })
  }
  const kernel: Kernel = { name: `random ${seed}`, axes, buffers, body, accumulators, epilogue, stores }
  return { kernel, data, schedules: randomSchedules(draw, axes) }
}

/** The kernel with f64 in place of f32: its vectors have two lanes, and 32-bit integers are beside f64. */
export function widenKernel(k: Kernel): Kernel {
  const wide = <T extends { readonly dtype: DType }>(x: T): T =>
    x.dtype === 'f32' ? { ...x, dtype: 'f64' } : x
  return {
    ...k,
    name: `${k.name} in f64`,
    buffers: k.buffers.map(wide),
    body: k.body.map(wide),
    accumulators: k.accumulators.map(wide),
    epilogue: k.epilogue.map(wide),
  }
}
/** Its data. */
export const widenData = (data: readonly TypedArray[]): TypedArray[] =>
  data.map(d => (d instanceof Float32Array ? Float64Array.from(d) : d))

/** Several schedules, the plain one first. */
export function randomSchedules(draw: Draw, axes: readonly Axis[]): Schedule[] {
  const random = (): Schedule => ({
    vector: axes.length === 0 ? null : draw(-1, axes.length - 1) < 0 ? null : draw(0, axes.length - 1),
    tiles: axes.flatMap((_, i) => (draw(0, 1) ? [{ axis: i, size: draw(1, 4) }] : [])),
  })
  return [{ vector: null, tiles: [] }, random(), random(), random()]
}

/** The core operations with a WebAssembly meaning that takes any operand. */
export const coreOps = (Object.keys(scalars) as ScalarOp[]).filter(fn => !isDerived(scalars[fn]))
