/**
 * Kernels on the WebGPU device give what the kernel interpreter gives, on whichever adapter this machine has
 * (SwiftShader comes with the development dependencies on Linux x64).
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import * as ix from '../../src/backend/affine.ts'
import type { Instr, Kernel } from '../../src/backend/kernel.ts'
import { type DType, isFloat, makeData, type TypedArray } from '../../src/dsl/dtype.ts'
import { isDerived, type ScalarOp, type ScalarRecord, scalars, scalarType } from '../../src/dsl/scalar.ts'
import { kernelCase } from './kernels.ts'
import {
  assertClose,
  both,
  compilePlan,
  fill,
  mapKernel,
  planOf,
  reduceKernel,
  skip,
} from './webgpu-support.ts'

const smooth = [0, -0, 0.5, 1, -1, 1.5, -1.5, 2.5, -2.5, 3, 1e-3, -7.25, 1234.567, 65537, -1e6, 16777216]
const special = [
  ...smooth,
  ...[
    0.499999, 0.75, 2147483520, 2147483648, -2147483648, -2147483904, 4294967040, 4294967296, 3e9, -3e9, 1e20,
  ],
  ...[-1e20, 3.4028234663852886e38, -3.4028234663852886e38, Infinity, -Infinity, NaN, 1.1754943508222875e-38],
]
const samples: Readonly<Record<DType, readonly number[]>> = {
  f32: special,
  f64: [],
  i32: [0, 1, -1, 2, 3, -3, 7, 31, 32, 33, -32, 1000, 65536, -65537, 2147483647, -2147483648],
  u32: [0, 1, 2, 3, 7, 31, 32, 33, 1000, 65536, 65537, 2147483647, 2147483648, 4294967295],
  bool: [0, 1],
}
/** On infinities and NaN drivers may fold arithmetic; these operations must not depend on that. */
const total: readonly ScalarOp[] = [
  'max',
  'min',
  'neg',
  'abs',
  'select',
  'isnan',
  'opaque',
  'not',
  'lt',
  'le',
]
const ranges: Readonly<Record<string, readonly number[]>> = {
  exp2i: [-126, -20, -1, 0, 1, 5, 127],
  exponent: [1.1754943508222875e-38, 0.1, 0.5, 1, 1.999, 2, 3, 1e20, 3.4e38],
  sqrt: [0, 1e-30, 0.5, 1, 2, 3, 1e20, 3e38],
}
// WGSL allows 2.5 ULP for division and square roots.
const loose: readonly ScalarOp[] = ['div', 'sqrt']

test('every core scalar operation on every dtype gives what the interpreter gives', { skip }, async () => {
  const items: { kernel: Kernel; data: TypedArray[]; name: string; fn: ScalarOp }[] = []
  for (const fn of Object.keys(scalars) as ScalarOp[]) {
    const record: ScalarRecord = scalars[fn]
    if (isDerived(record) || fn === 'cast' || fn === 'bitcast') continue
    for (const dtype of ['f32', 'i32', 'u32', 'bool'] as const) {
      const from: DType[] = Array.from({ length: record.arity }, (_, i) =>
        fn === 'select' && i === 0 ? 'bool' : dtype,
      )
      let to: DType
      try {
        to = scalarType(fn, from)
      } catch {
        continue
      }
      if (fn === 'abs' && dtype === 'u32') continue
      const values = ranges[fn] ?? (dtype === 'f32' && !total.includes(fn) ? smooth : samples[dtype])
      // Every combination; division by zero is defined for integers only.
      const columns = from.map((d, i) =>
        d === 'bool' && dtype !== 'bool'
          ? [0, 1]
          : values.filter(v => i === 0 || v !== 0 || fn !== 'div' || !isFloat(dtype)),
      )
      const rows = columns.reduce<number[][]>((all, c) => all.flatMap(r => c.map(v => [...r, v])), [[]])
      const data = from.map((d, i) => {
        const made = makeData(d, rows.length)
        rows.forEach((r, j) => {
          made[j] = r[i]
        })
        return made
      })
      const rest: Instr = { k: 'scalar', fn, args: from.map((_, i) => i), dtype: to }
      const kernel = mapKernel(from, rows.length, [rest])
      items.push({ kernel, data: [...data, makeData(to, rows.length)], name: `${fn} ${dtype}`, fn })
    }
  }
  assert.ok(items.length > 60, `only ${items.length} operations were tried`)
  const { got, want } = await both(items)
  for (const [n, { name, fn, data }] of items.entries())
    assertClose(
      got[n],
      want[n],
      loose.includes(fn) ? 4e-7 : 0,
      i => `${name}(${data.slice(0, -1).map(d => d[i])})`,
    )
})

test('conversions truncate, saturate, and send NaN to 0; to bool they test for zero', { skip }, async () => {
  const kinds = ['f32', 'i32', 'u32', 'bool'] as const
  const items = kinds.flatMap(from =>
    kinds.flatMap(to =>
      (['cast', 'bitcast'] as const).flatMap(fn => {
        if (fn === 'bitcast' && (to === 'bool' || from === 'bool')) return []
        // A NaN need not keep its bits.
        const data = Object.assign(
          makeData(from, samples[from].length),
          samples[from].map(v => (fn === 'bitcast' && Number.isNaN(v) ? 1 : v)),
        )
        const kernel = mapKernel([from], data.length, [{ k: 'scalar', fn, args: [0], dtype: to }])
        return [{ kernel, data: [data, makeData(to, data.length)], name: `${fn} ${from} to ${to}` }]
      }),
    ),
  )
  const { got, want } = await both(items)
  for (const [n, { name, data }] of items.entries())
    assertClose(got[n], want[n], 0, i => `${name} of ${data[0][i]}`)
})

test('literals have exactly their bits, also -0, infinities and NaN', { skip }, async () => {
  const values = [...special, 0.1, 1 / 3, 1e-30, 6.02214076e23, 16777217, -0]
  const items = (['f32', 'i32', 'u32'] as const).flatMap(dtype =>
    (dtype === 'f32' ? values : samples[dtype]).map(value => ({
      kernel: mapKernel([], 1, [{ k: 'lit', value, dtype }]),
      data: [makeData(dtype, 1)],
      value,
    })),
  )
  const { got, want } = await both(items)
  for (const [n, { value }] of items.entries())
    if (Number.isNaN(value)) assert.ok(Number.isNaN(got[n][0]))
    else assert.ok(Object.is(got[n][0], want[n][0]), `${value}: ${got[n][0]} is not ${want[n][0]}`)
})

test('random kernels on the device equal the interpreter, whatever the schedule', { skip }, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(kernelCase, { minLength: 8, maxLength: 8 }), async items => {
      const { got, want } = await both(items)
      for (const i of got.keys()) assertClose(got[i], want[i], 0, at => `result ${i} at ${at}`)
    }),
    { numRuns: Number(process.env.COTANGENT_FUZZ ?? 12), includeErrorInReport: true },
  )
})

test('max, min, argmax and argmin let NaN win, and arg reductions give the first', { skip }, async () => {
  const rows = [
    [1, 3, 3, 2],
    [1, NaN, 3, NaN],
    [NaN, 1, -1, 0],
    [-Infinity, -Infinity, -Infinity, -Infinity],
    [Infinity, 1, Infinity, NaN],
    [-2, -2, -5, -5],
  ]
  const items = rows.flatMap(row =>
    (['max', 'min', 'argmax', 'argmin'] as const).map(how => ({
      kernel: reduceKernel(how, 'f32', 4),
      data: [Float32Array.from(row), makeData(how.startsWith('arg') ? 'i32' : 'f32', 1)],
      name: `${how} of ${row}`,
    })),
  )
  const { got, want } = await both(items)
  for (const [n, { name }] of items.entries()) assertClose(got[n], want[n], 0, () => name)
})

test('a sum of a million terms in one loop is accurate to the last bits', { skip }, async () => {
  for (const n of [1_000_000, 1025, 70_001]) {
    const x = Float32Array.from({ length: n }, (_, i) => 0.1 + (i % 7) * 0.01)
    const { got, want } = await both([
      { kernel: reduceKernel('sum', 'f32', n), data: [x, new Float32Array(1)] },
    ])
    // Three levels of blocks: the error stays below a few hundred half-units even if none cancels.
    assertClose(got[0], want[0], 2e-6, () => `sum of ${n}`)
  }
})

test('more than 65,535 workgroups compute every element', { skip }, async () => {
  const n = 65_535 * 64 + 1000
  const kernel = mapKernel([], n, [{ k: 'index', index: ix.addConst(ix.axis(0, n), 7), dtype: 'i32' }])
  const program = await compilePlan(planOf([{ kernel }]), { poison: true })
  const [r] = await program.run([], [])
  const { data } = await r.read()
  r.dispose()
  for (let i = 0; i < n; i++) if (data[i] !== i + 7) assert.fail(`element ${i} is ${data[i]}`)
})

test('kernels of no points and scalars run', { skip }, async () => {
  const { got, want } = await both([
    { kernel: fill('f32', 0, 1), data: [new Float32Array(0)] },
    { kernel: { ...fill('i32', 1, 9), axes: [] }, data: [new Int32Array(1)] },
    { kernel: reduceKernel('max', 'f32', 0), data: [new Float32Array(0), new Float32Array(1)] },
    { kernel: reduceKernel('sum', 'u32', 0), data: [new Uint32Array(0), new Uint32Array(1)] },
  ])
  for (const i of got.keys()) assertClose(got[i], want[i], 0, () => `kernel ${i}`)
  assert.equal(got[2][0], -Infinity)
})
