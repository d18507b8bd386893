/** Kernels with f64, whose vectors have two lanes, against the interpreter; programs in f64 against the reference. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { type Affine, add, axis, scale } from '../../src/backend/affine.ts'
import { makeNest } from '../../src/backend/cpu/nest.ts'
import { ACCUMULATORS, chooseSchedule } from '../../src/backend/cpu/schedule.ts'
import type { Accumulator, Axis, Kernel, Schedule } from '../../src/backend/kernel.ts'
import { normaliseKernel } from '../../src/backend/normalise.ts'
import { KernelBuilder } from '../../src/backend/values.ts'
import { type DType, isFloat, makeData, type TypedArray } from '../../src/dsl/dtype.ts'
import { cast, type Ex, type ScalarOp, type ScalarRecord, s, scalars } from '../../src/dsl/scalar.ts'
import type { NDArray, Shape, Tensor } from '../../src/index.ts'
import * as ct from '../../src/index.ts'
import { openBackend } from '../../src/node.ts'
import { closeAll, cpu } from '../support/backends.ts'
import { kernelCase } from './kernels.ts'
import { randomCase, randomData, seeded, seeds, widenData, widenKernel } from './random-kernel.ts'
import { agrees } from './run-kernel.ts'

after(closeAll)

const twoLanes = (k: Kernel, schedule: Schedule): boolean => {
  const nest = makeNest(k, schedule)
  return nest.vector !== null && nest.width === 2
}
const chosen = (k: Kernel): [Kernel, Schedule] => {
  const normal = normaliseKernel(k)
  return [normal, chooseSchedule(normal)]
}

test('every random kernel with f64 agrees with the interpreter under every schedule and the chosen one', () => {
  let vectors = 0
  const property = fc.property(seeds, seed => {
    const c = randomCase(seed)
    const [kernel, data] = [widenKernel(c.kernel), widenData(c.data)]
    const sums = kernel.accumulators.some(a => a.how === 'sum' && a.dtype === 'f64')
    // at most 3000 numbers below 40 each, in any order; a rounding of 2^-53 an addition at most, in both
    const tolerance = sums ? (x: number) => 2 ** -53 * 3000 * (40 + Math.abs(x)) * 0.1 : () => 0
    agrees(kernel, data, c.schedules, tolerance)
    const [normal, schedule] = chosen(kernel)
    agrees(normal, data, [schedule], tolerance)
    vectors += c.schedules.filter(x => twoLanes(kernel, x)).length
  })
  fc.assert(property, { numRuns: 500, endOnFailure: true })
  assert.ok(vectors > 300, `only ${vectors} of 2000 had lanes`)
})

test('random kernels whose f64 arithmetic is exact agree bit for bit, sums included', () => {
  let vectors = 0
  const property = fc.property(kernelCase, ({ kernel: k, schedule, data }) => {
    const kernel = widenKernel(k)
    agrees(kernel, widenData(data), [schedule])
    const [normal, own] = chosen(kernel)
    agrees(normal, widenData(data), [own])
    vectors += Number(twoLanes(kernel, schedule)) + Number(twoLanes(normal, own))
  })
  fc.assert(property, { numRuns: 300, endOnFailure: true })
  assert.ok(vectors > 150, `only ${vectors} of 600 had lanes`)
})

/** out[i] = f(inputs[i]...) over n elements. */
function elementwise(name: string, dtypes: readonly DType[], n: number, f: (...x: Ex[]) => Ex): Kernel {
  const b = new KernelBuilder(new Set())
  const index = axis(0, n)
  const ids = dtypes.map((dtype, buffer) => b.emit({ k: 'load', buffer, index, guard: [], dtype }))
  const out = f(...dtypes.map((dtype, i): Ex => ({ k: 'arg', i, dtype })))
  const value = b.expression(out, ids)
  return {
    name,
    axes: [{ extent: n, kind: 'parallel' }],
    buffers: [...dtypes, out.dtype].map((dtype, i) => ({
      dtype,
      size: n,
      access: i === dtypes.length ? 'write' : 'read',
    })),
    body: b.body,
    accumulators: [],
    epilogue: [],
    stores: [{ buffer: dtypes.length, index, value, mode: 'set', guard: [] }],
  }
}

/** Where functions change their form, and what only f64 has: its denormals, its end, halves above 2^24. */
const special = [0, 1, 0.5, 2, 2.5, 6, 88.8, 709, 709.8, 745.2, 0.29, 17.4, 40, Math.PI, Math.PI / 2, 2 ** 41]
  .concat([2 ** 24 + 0.5, 2 ** 31 - 0.5, 2 ** 32, 2 ** 53 - 1, 1e30, 1e300, 1e-300, 2 ** -1022])
  .concat([2 ** -1074, 12345 * 2 ** -1074, Number.MAX_VALUE, Infinity, NaN])
  .flatMap(x => [x, -x])

/** Bit patterns of f64, numbers of all sizes around 1, and the special ones: an odd number. */
function points(seed: number): Float64Array {
  const draw = seeded(seed)
  const n = 400
  const x = new Float64Array(2 * n + special.length + 1)
  const words = new Uint32Array(x.buffer)
  for (let i = 0; i < 2 * n; i++) words[i] = draw(0, 2 ** 31 - 1) * 2 + draw(0, 1)
  for (let i = n; i < 2 * n; i++) x[i] = (draw(0, 2 ** 31 - 2) / 2 ** 30 - 1) * [1, 4, 40, 800][i % 4]
  // the partners of equal and neighbouring operands differ by seed
  x.set(seed % 2 === 0 ? special : special.toReversed(), 2 * n)
  return x
}
/** exp2i and exponent are defined on part of the floats: exponents, and positive normal numbers. */
const domain: { readonly [F in ScalarOp]?: (x: number) => number } = {
  exp2i: x => (Number.isFinite(x) ? Math.trunc(x) % 1023 : 0),
  exponent: x => (Number.isFinite(x) ? Math.max(Math.abs(x), 2 ** -1022) : 1),
}
const laneSchedules: Schedule[] = [
  { vector: 0, tiles: [] },
  { vector: 0, tiles: [{ axis: 0, size: 4 }] },
]

test('every scalar function and comparison has its meaning in f64 lanes, over the bit patterns', () => {
  const names = (Object.keys(scalars) as ScalarOp[]).filter(fn => {
    const { on, out } = scalars[fn]
    return (on === 'float' || on === 'number' || on === 'any') && out !== 'to'
  })
  assert.ok(names.length > 30 && names.includes('tanh') && names.includes('le'), names.join())
  for (const fn of names) {
    const { arity }: ScalarRecord = scalars[fn]
    const dtypes = Array.from(
      { length: arity },
      (_, i): DType => (fn === 'select' && i === 0 ? 'bool' : 'f64'),
    )
    const data = dtypes.map((d, i): TypedArray => {
      const x = points(i).map(domain[fn] ?? (v => v))
      return d === 'bool' ? Uint8Array.from(x, v => Number(v > 0)) : x
    })
    const { length } = data[0]
    const apply: (...x: Ex[]) => Ex = s[fn as 'add']
    const kernel = elementwise(fn, dtypes, length, apply)
    assert.ok(twoLanes(kernel, laneSchedules[0]))
    const out = makeData(kernel.buffers[arity].dtype, length)
    agrees(kernel, [...data, out], laneSchedules)
  }
})

test('casts between f64 and the other dtypes have their meaning in lanes, and so have choices across them', () => {
  const x = points(0)
  const n = x.length
  const wild: TypedArray[] = [
    x,
    Float32Array.from(x),
    ...(['i32', 'u32', 'bool'] as const).map(d => randomData(seeded(2), d, n, true)),
  ]
  const dtypes: DType[] = ['f64', 'f32', 'i32', 'u32', 'bool']
  for (const [i, from] of dtypes.entries())
    for (const [j, to] of dtypes.entries()) {
      // by way of f64, so that the kernel has two lanes whatever the ends
      const direct = elementwise(`${from} to ${to}`, [from, 'f64'], n, (a, b) =>
        s.select(s.lt(b, 1), cast(a, to), cast(b, to)),
      )
      agrees(direct, [wild[i], x, makeData(to, n)], laneSchedules)
      if (from === 'bool' || to === 'bool') continue
      const compared = elementwise(`${from} chooses ${to}`, [from, to, 'f64'], n, (a, b, c) => {
        const few = s.and(s.le(a, cast(c, from)), s.not(s.eq(c, 0)))
        return s.select(isFloat(from) ? s.or(s.isnan(a), few) : few, b, cast(c, to))
      })
      agrees(compared, [wild[i], wild[j], x, makeData(to, n)], laneSchedules)
    }
})

const flat = (at: readonly Affine[], extents: readonly number[]): Affine =>
  at.reduce((n, a, i) => add(scale(n, extents[i]), a))

/** Reduces the axes of a mask of x[3, 5, 7]. */
function reduction(how: Accumulator['how'], mask: number): Kernel {
  const extents = [3, 5, 7]
  const reduced = (i: number) => (mask & (1 << i)) !== 0
  const at = extents.map((e, i) => axis(i, e))
  const kept = [0, 1, 2].filter(i => !reduced(i))
  const dtype = how.startsWith('arg') ? 'i32' : 'f64'
  const size = kept.reduce((n, i) => n * extents[i], 1)
  const index = flat(
    kept.map(i => at[i]),
    kept.map(i => extents[i]),
  )
  return {
    name: `${how} over ${mask}`,
    axes: extents.map((extent, i): Axis => ({ extent, kind: reduced(i) ? 'reduce' : 'parallel' })),
    buffers: [
      { dtype: 'f64', size: 105, access: 'read' },
      { dtype, size, access: 'write' },
    ],
    body: [{ k: 'load', buffer: 0, index: flat(at, extents), guard: [], dtype: 'f64' }],
    accumulators: [{ how, value: 0, dtype: 'f64' }],
    epilogue: [{ k: 'acc', accumulator: 0, dtype }],
    stores: [{ buffer: 1, index, value: 1, mode: 'set', guard: [] }],
  }
}

test('reductions over any axes of odd extents agree bit for bit in f64, ties and NaN included', () => {
  const schedules = [0, 1, 2].flatMap(vector =>
    [1, 2, 3].map((size): Schedule => ({ vector, tiles: [0, 1, 2].map(a => ({ axis: a, size })) })),
  )
  // small integers, so that extrema tie; powers of two, so that products are exact; a NaN for the extrema only
  const integers = Float64Array.from({ length: 105 }, (_, i) => ((i * 37) % 11) - 5)
  const powers = Float64Array.from({ length: 105 }, (_, i) => [1, 2, 0.5, -1, -0.5, 4][(i * 13) % 6])
  const withNaN = integers.with(52, NaN).with(90, NaN)
  for (const how of ['sum', 'prod', 'max', 'min', 'argmax', 'argmin'] as const)
    for (const mask of [1, 2, 4, 3, 5, 6]) {
      const kernel = reduction(how, mask)
      const out = makeData(kernel.buffers[1].dtype, kernel.buffers[1].size)
      for (const x of how === 'sum' ? [integers] : how === 'prod' ? [powers] : [integers, withNaN])
        agrees(kernel, [x, out], [...schedules, chooseSchedule(kernel)])
    }
})

type F64 = Tensor<Shape, 'f64'>
type Images = Tensor<readonly [number, number, number, number], 'f64'>
/** Small integers: sums and products of them are exact in any order. */
const integers = <const S extends Shape>(shape: S, seed: number): NDArray<S, 'f64'> => {
  const draw = seeded(seed)
  const n = shape.reduce((a, b) => a * b, 1)
  return ct.array(
    shape,
    'f64',
    Float64Array.from({ length: n }, () => draw(0, 12) - 6),
  )
}

test('matrix products, convolutions and their gradients in f64 give the bits of the reference', async () => {
  const products = (a: F64, b: F64) => ({
    plain: ct.matmul(a, b),
    turned: ct.matmul(ct.permute(b, [1, 0]), ct.permute(a, [1, 0])),
    guarded: ct.pad(ct.flip(ct.relu(ct.matmul(a, b)), [0, 1]), {
      widths: [
        [1, 0],
        [2, 3],
      ],
    }),
    largest: ct.argmax(ct.matmul(a, b), { axis: 1 }),
  })
  const convolutions = (x: Images, w: Images, v: Images) => {
    const f = (p: { x: Images; w: Images; v: Images }) => {
      const h = ct.relu(ct.conv2d(p.x, p.w, { padding: 1 }) as Images)
      return ct.sum(ct.square(ct.conv2d(h, p.v, { stride: 2, padding: 2, dilation: 2 }) as Images))
    }
    return { loss: f({ x, w, v }), gradient: ct.grad(f)({ x, w, v }) }
  }
  const matrices = [integers([37, 29], 1), integers([29, 301], 2)] as const
  const images = [integers([2, 3, 9, 7], 3), integers([5, 3, 3, 3], 4), integers([6, 5, 3, 3], 5)] as const
  const results = []
  for (const backend of [await cpu(), await ct.unwrap(openBackend('reference'))]) {
    const multiply = await ct.unwrap(ct.compile(products, matrices, backend))
    const convolve = await ct.unwrap(ct.compile(convolutions, images, backend))
    results.push([await multiply(...matrices), await convolve(...images)])
  }
  assert.deepEqual(results[0], results[1])
})

test('the number of threads changes no bit in f64', async () => {
  const f = (a: F64, b: F64) => ct.softmax(ct.tanh(ct.mul(ct.matmul(a, b), 0.01)), { axis: 1 })
  const args = [integers([200, 150], 6), integers([150, 333], 7)] as const
  const results = []
  for (const threads of [1, 2, 3]) {
    const backend = await ct.unwrap(openBackend('cpu', { threads }))
    const run = await ct.unwrap(ct.compile(f, args, backend))
    for (let i = 0; i < 3; i++) results.push((await run(...args)).data)
    backend.close()
  }
  for (const other of results.slice(1)) assert.deepEqual(other, results[0])
})

test('f64 kernels get lanes along memory, as f32 kernels do', () => {
  const n = 64
  const [i, j, k] = [0, 1, 2].map(a => axis(a, n))
  const kernel: Kernel = {
    name: 'matmul',
    axes: (['parallel', 'parallel', 'reduce'] as const).map(kind => ({ extent: n, kind })),
    buffers: [0, 1, 2].map(b => ({ dtype: 'f64', size: n * n, access: b === 2 ? 'write' : 'read' })),
    body: [
      { k: 'load', buffer: 0, index: flat([i, k], [n, n]), guard: [], dtype: 'f64' },
      { k: 'load', buffer: 1, index: flat([k, j], [n, n]), guard: [], dtype: 'f64' },
      { k: 'scalar', fn: 'mul', args: [0, 1], dtype: 'f64' },
    ],
    accumulators: [{ how: 'sum', value: 2, dtype: 'f64' }],
    epilogue: [{ k: 'acc', accumulator: 0, dtype: 'f64' }],
    stores: [{ buffer: 2, index: flat([i, j], [n, n]), value: 3, mode: 'set', guard: [] }],
  }
  const schedule = chooseSchedule(kernel)
  assert.equal(schedule.vector, 1)
  const results = schedule.tiles.reduce((m, t) => (t.axis < 2 ? m * t.size : m), 1)
  assert.equal(results, ACCUMULATORS)
})
