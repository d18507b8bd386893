/**
 * Random small kernels whose f32 arithmetic is exact (integers below 2^24), so that every renderer must agree
 * with the interpreter bit for bit: strided, flipped, padded, reshaped and windowed loads, gathers, scatters,
 * every reduction, epilogues, register tiles.
 */
import fc from 'fast-check'
import * as ix from '../../src/backend/affine.ts'
import type {
  Accumulator,
  Axis,
  Instr,
  Kernel,
  KernelBuffer,
  Schedule,
  Stage,
  Store,
} from '../../src/backend/kernel.ts'
import { type DType, makeData, type TypedArray } from '../../src/dsl/dtype.ts'
import type { ScalarOp } from '../../src/dsl/scalar.ts'

/** A kernel, a schedule for it, and data for the buffers that it reads (zeros for the others). */
export interface Case {
  readonly kernel: Kernel
  readonly schedule: Schedule
  readonly data: readonly TypedArray[]
}

const dtype = fc.constantFrom<DType>('f32', 'f32', 'i32', 'u32', 'bool')
const how = fc.constantFrom<Accumulator['how']>('sum', 'prod', 'max', 'min', 'argmax', 'argmin')
const load = fc.record({
  kind: fc.constantFrom('strided', 'flipped', 'padded', 'reshaped', 'window', 'gather'),
  dtype,
  axes: fc.nat(1023),
  shift: fc.integer({ min: -2, max: 2 }),
  seed: fc.nat(1000),
})
const step = fc.record({ op: fc.nat(1000), a: fc.nat(20), b: fc.nat(20), c: fc.nat(20) })
const spec = fc.record({
  parallel: fc.array(fc.constantFrom(1, 2, 3, 4, 4, 5, 7, 8), { maxLength: 3 }),
  reduce: fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 2 }),
  loads: fc.array(load, { minLength: 1, maxLength: 3 }),
  steps: fc.array(step, { maxLength: 6 }),
  accumulate: fc.array(fc.record({ how, a: fc.nat(20) }), { minLength: 1, maxLength: 2 }),
  after: load,
  afterSteps: fc.array(step, { maxLength: 3 }),
  // Small: software drivers take a second to compile a thousand statements.
  tiles: fc.array(fc.constantFrom(1, 1, 2, 3), { minLength: 5, maxLength: 5 }),
  // Small tiles beside vectors: 4 times as many statements.
  vector: fc.option(fc.nat(4)),
  order: fc.boolean(),
  scatter: fc.boolean(),
  // A sum of products of two loads, the first along axis 0 and not 1, the second the other way round; and a stage.
  product: fc.boolean(),
  stage: fc.option(
    fc.constantFrom<Stage>(
      { block: [4, 8], tile: [4, 4], depth: 4, buffers: 1 },
      { block: [8, 4], tile: [4, 4], depth: 8, buffers: 2 },
    ),
  ),
})

interface Value {
  readonly id: number
  readonly dtype: DType
  /** Largest magnitude, where it is known: f32 stays exact below 2^24. */
  readonly bound: number
}

/** Makes the kernels. */
export const kernelCase: fc.Arbitrary<Case> = spec.map(build)

function build(s: typeof spec extends fc.Arbitrary<infer T> ? T : never): Case {
  const axes: Axis[] = [
    ...s.parallel.map((extent): Axis => ({ extent, kind: 'parallel' })),
    ...s.reduce.map((extent): Axis => ({ extent, kind: 'reduce' })),
  ]
  const buffers: KernelBuffer[] = []
  const data: TypedArray[] = []
  const body: Instr[] = []
  const epilogue: Instr[] = []
  let into = body
  const emit = (x: Instr, bound: number): Value => {
    into.push(x)
    return { id: body.length + epilogue.length - 1, dtype: x.dtype, bound }
  }
  const buffer = (
    dtype: DType,
    size: number,
    access: KernelBuffer['access'],
    fill: (i: number) => number,
  ) => {
    buffers.push({ dtype, size, access })
    const made = makeData(dtype, size)
    for (let i = 0; i < size; i++) made[i] = fill(i)
    data.push(made)
    return buffers.length - 1
  }
  const noise = (seed: number, type: DType) => (i: number) => {
    const n = ((Math.imul(i + 1, 2654435761) ^ Math.imul(seed + 7, 40503)) >>> 13) % 9
    return type === 'bool' ? n % 2 : type === 'u32' ? n : n - 4
  }
  const flat = (index: readonly ix.Affine[], shape: readonly number[]) =>
    index.reduce((n, i, a) => ix.add(ix.scale(n, shape[a]), i), ix.constant(0))

  const makeLoad = (l: (typeof s.loads)[number], among: readonly number[]): Value => {
    const bound = l.dtype === 'bool' ? 1 : 8
    const chosen = among.filter((_, i) => (l.axes >> i) & 1)
    if (l.axes & 64) chosen.reverse()
    const shape = chosen.map(a => axes[a].extent)
    const size = shape.reduce((n, e) => n * e, 1)
    const at = chosen.map(a => ix.axis(a, axes[a].extent))
    const plain = (n: number) => buffer(l.dtype, n, 'read', noise(l.seed, l.dtype))
    const get = (b: number, index: ix.Affine, guard: ix.Condition[]): Value =>
      emit({ k: 'load', buffer: b, index, guard, dtype: l.dtype }, bound)
    if (chosen.length > 0 && l.kind === 'flipped') {
      const flipped = at.map((i, d) => (d === 0 ? ix.addConst(ix.scale(i, -1), shape[0] - 1) : i))
      return get(plain(size), flat(flipped, shape), [])
    }
    if (chosen.length > 0 && l.kind === 'padded') {
      const moved = ix.addConst(at[0], l.shift)
      const c = ix.condition(moved, 0, shape[0])
      return get(plain(size), flat([moved, ...at.slice(1)], shape), c ? [c] : [])
    }
    if (chosen.length > 1 && l.kind === 'reshaped') {
      const whole = flat(at, shape)
      const inner = shape[0]
      const turned = flat([ix.mod(whole, inner), ix.div(whole, inner)], [inner, size / inner])
      return get(plain(size), turned, [])
    }
    if (chosen.length > 1 && l.kind === 'window') {
      // s * i + d * j - p, and only even ones, as in a transposed convolution
      const n = shape[0] + 1
      const p = ix.addConst(ix.addScaled(ix.scale(at[0], 2), at[1], -1), l.shift + 10)
      const half = ix.addConst(ix.div(p, 2), -5)
      const guard = [ix.condition(ix.mod(p, 2), 0, 1), ix.condition(half, 0, n)].filter(c => c !== null)
      return get(plain(n), half, guard)
    }
    if (l.kind === 'gather') {
      const index = emit(
        {
          k: 'load',
          buffer: buffer('i32', size, 'read', noise(l.seed + 1, 'i32')),
          index: flat(at, shape),
          guard: [],
          dtype: 'i32',
        },
        8,
      )
      const k = ix.value(index.id)
      return get(plain(15), flat([k, ix.constant(1)], [5, 3]), [{ index: k, lo: 0, hi: 5 }])
    }
    return get(plain(size), flat(at, shape), [])
  }

  const everyAxis = axes.map((_, i) => i)
  const kept = everyAxis.filter(i => axes[i].kind === 'parallel')
  const product = s.product && s.loads.length > 1 && s.parallel.length > 1
  const factor = (l: (typeof s.loads)[number], own: number) => ({
    ...l,
    dtype: 'f32' as const,
    axes: (l.axes | (1 << own)) & ~(2 >> own),
  })
  const loads = s.loads.map((l, i): Value => makeLoad(product && i < 2 ? factor(l, i) : l, everyAxis))
  const values = [...loads]
  if (axes.length > 0) {
    const whole = flat(
      axes.map((a, i) => ix.axis(i, a.extent)),
      axes.map(a => a.extent),
    )
    values.push(emit({ k: 'index', index: whole, dtype: 'i32' }, 10000))
  }
  const apply = (list: Value[], x: (typeof s.steps)[number]) => {
    const made = scalarStep(list, x, emit)
    if (made) list.push(made)
  }
  for (const x of s.steps) apply(values, x)

  const reduced = s.reduce.reduce((n, e) => n * e, 1)
  const accumulators: Accumulator[] = []
  const results: Value[] = []
  const multiplied = product
    ? emit({ k: 'scalar', fn: 'mul', args: [loads[0].id, loads[1].id], dtype: 'f32' }, 64)
    : null
  into = epilogue
  for (const { how, a } of multiplied ? [{ how: 'sum', a: 0 } as const] : s.accumulate) {
    const candidates = multiplied ? [multiplied] : values.filter(v => v.dtype !== 'bool')
    const v = candidates[candidates.length - 1 - (a % Math.max(candidates.length, 1))]
    if (v === undefined) continue
    const exact = v.dtype !== 'f32' || v.bound ** reduced < 2 ** 24
    const safe = how === 'prod' && !exact ? 'sum' : how
    accumulators.push({ how: safe, value: v.id, dtype: v.dtype })
    const dtype = safe.startsWith('arg') ? 'i32' : v.dtype
    const bound =
      safe === 'prod' || v.bound * reduced >= 2 ** 24 ? Number.POSITIVE_INFINITY : v.bound * reduced
    results.push(emit({ k: 'acc', accumulator: accumulators.length - 1, dtype }, bound))
  }
  results.push(makeLoad(s.after, kept))
  for (const x of s.afterSteps) apply(results, x)

  const places = s.order ? kept : [...kept].reverse()
  const out = flat(
    places.map(a => ix.axis(a, axes[a].extent)),
    places.map(a => axes[a].extent),
  )
  const points = places.reduce((n, a) => n * axes[a].extent, 1)
  const stores: Store[] = results.slice(-3).map(v => ({
    buffer: buffer(v.dtype, points, 'write', () => 0),
    index: out,
    value: v.id,
    mode: 'set',
    guard: [],
  }))
  const number = values.find(v => v.dtype === 'i32')
  const update = values.find(v => v.dtype === 'f32')
  if (s.scatter && !product && number && update) {
    const k = ix.value(number.id)
    stores.push({
      buffer: buffer('f32', points * 4, 'add', () => 0),
      index: ix.add(ix.scale(out, 4), k),
      value: update.id,
      mode: 'add',
      guard: [{ index: k, lo: 0, hi: 4 }],
    })
  }
  return {
    kernel: { name: 'random', axes, buffers, body, accumulators, epilogue, stores },
    schedule: {
      vector: s.vector !== null && s.vector < axes.length ? s.vector : null,
      tiles: axes
        .map((_, axis) => ({ axis, size: s.vector === null ? s.tiles[axis] : Math.min(2, s.tiles[axis]) }))
        .filter(t => t.size > 1),
      ...(s.stage === null ? {} : { stage: s.stage }),
    },
    data,
  }
}

/** One scalar operation on values of one dtype, or none where it would not be exact. */
function scalarStep(
  list: readonly Value[],
  x: { op: number; a: number; b: number; c: number },
  emit: (i: Instr, bound: number) => Value,
): Value | null {
  const a = list[list.length - 1 - (x.a % list.length)]
  const like = list.filter(v => v.dtype === a.dtype)
  const b = like[x.b % like.length]
  const scalar = (fn: ScalarOp, args: Value[], dtype: DType, bound: number) =>
    dtype === 'f32' && !(bound < 2 ** 12)
      ? null
      : emit({ k: 'scalar', fn, args: args.map(v => v.id), dtype }, bound)
  const larger = Math.max(a.bound, b.bound)
  const floats: (() => Value | null)[] = [
    () => scalar('add', [a, b], a.dtype, a.bound + b.bound),
    () => scalar('sub', [a, b], a.dtype, a.dtype === 'u32' ? Number.POSITIVE_INFINITY : a.bound + b.bound),
    () => scalar('mul', [a, b], a.dtype, a.bound * b.bound),
    () => scalar('max', [a, b], a.dtype, larger),
    () => scalar('min', [a, b], a.dtype, larger),
    () => scalar('neg', [a], a.dtype, a.dtype === 'u32' ? Number.POSITIVE_INFINITY : a.bound),
    () => scalar('lt', [a, b], 'bool', 1),
    () => scalar('le', [a, b], 'bool', 1),
  ]
  const every: (() => Value | null)[] = [
    () => scalar('eq', [a, b], 'bool', 1),
    () => scalar('ne', [a, b], 'bool', 1),
    () => {
      const conditions = list.filter(v => v.dtype === 'bool')
      return conditions.length > 0
        ? scalar('select', [conditions[x.c % conditions.length], a, b], a.dtype, larger)
        : null
    },
    () => scalar('cast', [a], 'f32', a.bound),
    () => scalar('cast', [a], 'i32', a.bound),
    () => scalar('cast', [a], 'u32', Number.POSITIVE_INFINITY),
    () => scalar('cast', [a], 'bool', 1),
  ]
  const bits: (() => Value | null)[] = (['and', 'or', 'xor'] as const).map(
    fn => () => scalar(fn, [a, b], a.dtype, a.dtype === 'bool' ? 1 : Number.POSITIVE_INFINITY),
  )
  const integers: (() => Value | null)[] = (['div', 'rem', 'shl', 'shr'] as const).map(
    fn => () => scalar(fn, [a, b], a.dtype, Number.POSITIVE_INFINITY),
  )
  const not = () => scalar('not', [a], 'bool', 1)
  const choices =
    a.dtype === 'bool'
      ? [...every, ...bits, not]
      : a.dtype === 'f32'
        ? [...every, ...floats]
        : [...every, ...floats, ...bits, ...integers]
  return choices[x.op % choices.length]()
}
