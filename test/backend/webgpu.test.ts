/**
 * The WebGPU backend against the kernel interpreter, on whichever adapter this machine has (SwiftShader comes
 * with the development dependencies on Linux x64).
 */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import fc from 'fast-check'
import * as ix from '../../src/backend/affine.ts'
import type { Program } from '../../src/backend/backend.ts'
import { unwrap } from '../../src/backend/compile.ts'
import { interpretKernel } from '../../src/backend/interpret.ts'
import type { Accumulator, Instr, Kernel, Schedule } from '../../src/backend/kernel.ts'
import type { BufferRef, Dispatch, Plan } from '../../src/backend/plan.ts'
import { describe } from '../../src/backend/webgpu/dawn.ts'
import { openDevice } from '../../src/backend/webgpu/device.ts'
import { type WebGPUOptions, webgpuBackend } from '../../src/backend/webgpu/executor.ts'
import { array } from '../../src/dsl/array.ts'
import { type DType, dtypes, isFloat, makeData, type TypedArray } from '../../src/dsl/dtype.ts'
import { CompileError, DeviceError } from '../../src/dsl/errors.ts'
import { isDerived, type ScalarOp, type ScalarRecord, scalars, scalarType } from '../../src/dsl/scalar.ts'
import { kernelCase } from './kernels.ts'

const opened = await openDevice()()
/** Where no software adapter can be installed, a machine without a GPU cannot run these tests: it says so. */
const skip =
  opened._tag === 'Left' && !(process.platform === 'linux' && process.arch === 'x64')
    ? `no WebGPU adapter on ${process.platform} ${process.arch}: ${opened.left.message}`
    : false
if (opened._tag === 'Left' && !skip) throw opened.left
const found = opened._tag === 'Right' ? opened.right : null
const device = () => {
  if (found === null) throw new Error('no device')
  return found
}
if (found) console.log(`# WebGPU adapter: ${describe(found.info)}`)
after(() => found?.close())

const plainSchedule: Schedule = { vector: null, tiles: [] }
const noGraph = { inputs: [], outputs: [], eqns: [] }

const compilePlan = (plan: Plan, options: WebGPUOptions = {}, on = device()): Promise<Program> =>
  unwrap(webgpuBackend(on, () => plan, options).compile(noGraph))

/** One-dimensional type of a buffer. */
const flatType = (b: { dtype: DType; size: number }) => ({ shape: [b.size], dtype: b.dtype })

/** A plan of independent kernels: what they read are arguments, what they write are results. */
function planOf(items: readonly { readonly kernel: Kernel; readonly schedule?: Schedule }[]): Plan {
  const inputs: Plan['inputs'][number][] = []
  const outputs: Plan['outputs'][number][] = []
  const steps: Dispatch[] = []
  for (const { kernel, schedule = plainSchedule } of items) {
    const bindings = kernel.buffers.map((b): BufferRef => {
      const read = b.access === 'read'
      const index = (read ? inputs : outputs).push(flatType(b)) - 1
      return { k: read ? 'input' : 'output', index }
    })
    // Added to is what was zero before: a kernel of its own, as in the real plans.
    for (const [i, b] of kernel.buffers.entries())
      if (b.access === 'add')
        steps.push({
          kernel: fill(b.dtype, b.size, 0),
          schedule: plainSchedule,
          bindings: [bindings[i]],
          scope: '',
        })
    steps.push({ kernel, schedule, bindings, scope: 'test' })
  }
  return { inputs, outputs, constants: [], steps, arenaBytes: 0 }
}

const fill = (dtype: DType, size: number, value: number): Kernel => ({
  name: 'fill',
  axes: [{ extent: size, kind: 'parallel' }],
  buffers: [{ dtype, size, access: 'write' }],
  body: [{ k: 'lit', value, dtype }],
  accumulators: [],
  epilogue: [],
  stores: [{ buffer: 0, index: ix.axis(0, size), value: 0, mode: 'set', guard: [] }],
})

/** y[i] = the last instruction, with a load of each operand at i before the rest. */
function mapKernel(from: readonly DType[], n: number, rest: readonly Instr[]): Kernel {
  const i = ix.axis(0, n)
  const body: Instr[] = [
    ...from.map((dtype, buffer): Instr => ({ k: 'load', buffer, index: i, guard: [], dtype })),
    ...rest,
  ]
  const dtype = body[body.length - 1].dtype
  return {
    name: 'map',
    axes: [{ extent: n, kind: 'parallel' }],
    buffers: [
      ...from.map(d => ({ dtype: d, size: n, access: 'read' as const })),
      { dtype, size: n, access: 'write' },
    ],
    body,
    accumulators: [],
    epilogue: [],
    stores: [{ buffer: from.length, index: i, value: body.length - 1, mode: 'set', guard: [] }],
  }
}

/** y = how of x[n], in one invocation. */
const reduceKernel = (how: Accumulator['how'], dtype: DType, n: number): Kernel => {
  const arg = how === 'argmax' || how === 'argmin'
  return {
    name: how,
    axes: [{ extent: n, kind: 'reduce' }],
    buffers: [
      { dtype, size: n, access: 'read' },
      { dtype: arg ? 'i32' : dtype, size: 1, access: 'write' },
    ],
    body: [{ k: 'load', buffer: 0, index: ix.axis(0, n), guard: [], dtype }],
    accumulators: [{ how, value: 0, dtype }],
    epilogue: [{ k: 'acc', accumulator: 0, dtype: arg ? 'i32' : dtype }],
    stores: [{ buffer: 1, index: ix.constant(0), value: 1, mode: 'set', guard: [] }],
  }
}

const flat = (data: TypedArray, dtype: DType) => array([data.length], dtype, data as Float32Array)

/** The results of kernels on data for all their buffers: the device's, and the interpreter's. */
async function both(items: readonly { kernel: Kernel; schedule?: Schedule; data: readonly TypedArray[] }[]) {
  const program = await compilePlan(planOf(items), { poison: true })
  const args = items.flatMap(({ kernel, data }) =>
    kernel.buffers.flatMap((b, i) => (b.access === 'read' ? [flat(data[i], b.dtype)] : [])),
  )
  const out = await program.run(args, [])
  const got = await Promise.all(out.map(async r => (await r.read()).data))
  for (const r of out) r.dispose()
  const want = items.flatMap(({ kernel, data }) => {
    const copies = data.map(d => d.slice())
    interpretKernel(kernel, copies)
    return kernel.buffers.flatMap((b, i) => (b.access === 'read' ? [] : [copies[i]]))
  })
  return { got, want }
}

/** Equal as numbers: NaN is NaN, and the sign of zero does not matter. */
function assertClose(
  got: TypedArray,
  want: TypedArray,
  tolerance: number,
  what: (i: number) => string,
): void {
  assert.equal(got.length, want.length)
  for (let i = 0; i < want.length; i++) {
    const [g, w] = [got[i], want[i]]
    const same = g === w || (Number.isNaN(g) && Number.isNaN(w)) || Math.abs(g - w) <= tolerance * Math.abs(w)
    if (!same) assert.fail(`${what(i)}: the device gives ${g}, the interpreter ${w}`)
  }
}

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

/** x -> x + 1 -> (x + 1) + 1 -> ... through arena ranges that take turns. */
function chainPlan(length: number, n: number): Plan {
  const addOne = mapKernel(['f32'], n, [
    { k: 'lit', value: 1, dtype: 'f32' },
    { k: 'scalar', fn: 'add', args: [0, 1], dtype: 'f32' },
  ])
  const ref = (i: number): BufferRef =>
    i === 0
      ? { k: 'input', index: 0 }
      : i === length
        ? { k: 'output', index: 0 }
        : { k: 'arena', offset: (i % 2) * 1024, bytes: 4 * n }
  return {
    inputs: [{ shape: [n], dtype: 'f32' }],
    outputs: [{ shape: [n], dtype: 'f32' }],
    constants: [],
    steps: Array.from({ length }, (_, i) => ({
      kernel: addOne,
      schedule: plainSchedule,
      bindings: [ref(i), ref(i + 1)],
      scope: '',
    })),
    arenaBytes: 2048,
  }
}

test('a chain through a poisoned arena is right, in one submit or in many', { skip }, async () => {
  for (const options of [{ poison: true }, { poison: true, maxDispatchesPerSubmit: 3 }]) {
    const program = await compilePlan(chainPlan(10, 200), options)
    const [y] = await program.run(
      [
        array(
          [200],
          'f32',
          Array.from({ length: 200 }, (_, i) => i),
        ),
      ],
      [],
    )
    const { data } = await y.read()
    assert.deepEqual(
      [...data],
      Array.from({ length: 200 }, (_, i) => i + 10),
    )
  }
})

test('poison shows what is read before it was written', { skip }, async () => {
  const plan = chainPlan(3, 5)
  const program = await compilePlan({ ...plan, steps: plan.steps.slice(1) }, { poison: true })
  const [y] = await program.run([array([5], 'f32', [1, 2, 3, 4, 5])], [])
  assert.ok((await y.read()).data.every(Number.isNaN))
})

test('more arena ranges than the device binds share one binding, of mixed dtypes too', { skip }, async () => {
  const count = device().info.limits.maxStorageBuffersPerShaderStage + 3
  const kinds = Array.from({ length: count }, (_, i): DType => (i % 2 ? 'i32' : 'f32'))
  const arena = (i: number): BufferRef => ({ k: 'arena', offset: 256 * i, bytes: 12 })
  const body: Instr[] = kinds.map((dtype, buffer) => ({
    k: 'load',
    buffer,
    index: ix.axis(0, 3),
    guard: [],
    dtype,
  }))
  const sum = kinds.flatMap((d, i): Instr[] =>
    d === 'f32'
      ? [{ k: 'scalar', fn: 'opaque', args: [i], dtype: 'f32' }]
      : [{ k: 'scalar', fn: 'cast', args: [i], dtype: 'f32' }],
  )
  body.push(...sum)
  for (let i = 0; i < count; i++)
    body.push({ k: 'scalar', fn: 'add', args: [i === 0 ? count : body.length - 1, count + i], dtype: 'f32' })
  const kernel: Kernel = {
    name: 'many',
    axes: [{ extent: 3, kind: 'parallel' }],
    buffers: [
      ...kinds.map(dtype => ({ dtype, size: 3, access: 'read' as const })),
      { dtype: 'f32', size: 3, access: 'write' },
    ],
    body,
    accumulators: [],
    epilogue: [],
    stores: [{ buffer: count, index: ix.axis(0, 3), value: body.length - 1, mode: 'set', guard: [] }],
  }
  const plan: Plan = {
    inputs: [],
    outputs: [{ shape: [3], dtype: 'f32' }],
    constants: [],
    steps: [
      ...kinds.map(
        (d, i): Dispatch => ({
          kernel: fill(d, 3, i),
          schedule: plainSchedule,
          bindings: [arena(i)],
          scope: '',
        }),
      ),
      {
        kernel,
        schedule: plainSchedule,
        bindings: [...kinds.map((_, i) => arena(i)), { k: 'output', index: 0 }],
        scope: '',
      },
    ],
    arenaBytes: 256 * count,
  }
  const [y] = await (await compilePlan(plan)).run([], [])
  assert.equal((await y.read()).data[2], (count * (count - 1)) / 2)
})

test('bool arguments, constants and results are words on the device and bytes on the host', {
  skip,
}, async () => {
  const both = mapKernel(['bool', 'bool'], 5, [{ k: 'scalar', fn: 'and', args: [0, 1], dtype: 'bool' }])
  const t = { shape: [5], dtype: 'bool' as const }
  const plan: Plan = {
    inputs: [t],
    outputs: [t],
    constants: [{ type: t, data: Uint8Array.from([1, 1, 0, 0, 1]) }],
    steps: [
      {
        kernel: both,
        schedule: plainSchedule,
        bindings: [
          { k: 'input', index: 0 },
          { k: 'const', index: 0 },
          { k: 'output', index: 0 },
        ],
        scope: '',
      },
    ],
    arenaBytes: 0,
  }
  const [y] = await (await compilePlan(plan)).run([array([5], 'bool', [1, 0, 1, 0, 1])], [])
  assert.deepEqual([...(await y.read()).data], [1, 0, 0, 0, 1])
})

test('a loop that donates its state and uploads a batch allocates nothing after its first steps', {
  skip,
}, async () => {
  const n = 1000
  const add = mapKernel(['f32', 'f32'], n, [{ k: 'scalar', fn: 'add', args: [0, 1], dtype: 'f32' }])
  const backend = webgpuBackend(device(), () => planOf([{ kernel: add }, { kernel: add }]))
  const program = await unwrap(backend.compile(noGraph))
  const zeros = array([n], 'f32', new Float32Array(n))
  const ones = array([n], 'f32', new Float32Array(n).fill(1))
  const twos = array([n], 'f32', new Float32Array(n).fill(2))
  let state = await program.run([zeros, ones, zeros, twos], [])
  const held: number[] = []
  for (let i = 0; i < 60; i++) {
    state = await program.run([state[0], ones, state[1], twos], [true, false, true, false])
    held.push(backend.memory().buffers)
  }
  assert.equal((await state[0].read()).data[7], 61)
  assert.equal((await state[1].read()).data[7], 122)
  assert.ok(
    held.slice(3).every(b => b === held[3]),
    `buffers held: ${held}`,
  )
})

test('a donated or disposed array is gone, and says so', { skip }, async () => {
  const program = await compilePlan(chainPlan(1, 4))
  const x = array([4], 'f32', [1, 2, 3, 4])
  const [y] = await program.run([x], [])
  const [z] = await program.run([y], [true])
  await assert.rejects(y.read(), DeviceError)
  await assert.rejects(program.run([y], []), /donated or disposed/)
  assert.deepEqual([...(await z.read()).data], [3, 4, 5, 6])
  z.dispose()
  z.dispose()
  await assert.rejects(z.read(), DeviceError)
})

test('a read that is under way survives dispose', { skip }, async () => {
  const program = await compilePlan(chainPlan(1, 4))
  const [y] = await program.run([array([4], 'f32', [1, 2, 3, 4])], [])
  const reading = y.read()
  y.dispose()
  await program.run([array([4], 'f32', [0, 0, 0, 0])], [])
  assert.deepEqual([...(await reading).data], [2, 3, 4, 5])
})

test('an argument of the wrong type, or of another device, is refused', { skip }, async () => {
  const plan = chainPlan(1, 4)
  const [a, b] = [await compilePlan(plan), await compilePlan(plan)]
  await assert.rejects(a.run([array([3], 'f32', [1, 2, 3])], []), /f32\[3\].*f32\[4\]/)
  const [y] = await a.run([array([4], 'f32', [1, 2, 3, 4])], [])
  await assert.rejects(b.run([y], []), /another/)
})

test('what is too large, and f64, are compile errors that name the sizes', { skip }, async () => {
  const huge = device().info.limits.maxStorageBufferBindingSize / 4 + 1024
  const plan = { ...chainPlan(1, 4), outputs: [{ shape: [huge], dtype: 'f32' as const }] }
  await assert.rejects(
    compilePlan(plan),
    (e: Error) => e instanceof CompileError && /result 0.*MiB.*allows.*MiB/.test(e.message),
  )
  const arena = { ...chainPlan(1, 4), arenaBytes: device().info.limits.maxBufferSize * 2 }
  await assert.rejects(
    compilePlan(arena),
    (e: Error) => e instanceof CompileError && /arena.*MiB/.test(e.message),
  )
  const wide = { ...chainPlan(1, 4), inputs: [{ shape: [4], dtype: 'f64' as const }] }
  await assert.rejects(
    compilePlan(wide),
    (e: Error) => e instanceof CompileError && /f64 runs on the CPU only/.test(e.message),
  )
  const inner = planOf([{ kernel: fill('f64', 4, 1) }])
  await assert.rejects(
    compilePlan({ ...inner, outputs: [{ shape: [4], dtype: 'f32' }] }),
    /f64 runs on the CPU only/,
  )
})

test('a closed device rejects runs and reads with a DeviceError, at once', { skip }, async () => {
  const other = await unwrap(openDevice())
  const program = await compilePlan(chainPlan(2, 4), {}, other)
  const x = array([4], 'f32', [1, 2, 3, 4])
  const [y] = await program.run([x], [])
  other.close()
  await assert.rejects(program.run([x], []), DeviceError)
  await assert.rejects(y.read(), DeviceError)
})

test('kernels of no points and scalars run', { skip }, async () => {
  const { got, want } = await both([
    { kernel: fill('f32', 0, 1), data: [new Float32Array(0)] },
    { kernel: { ...fill('i32', 1, 9), axes: [] }, data: [new Int32Array(1)] },
    { kernel: reduceKernel('max', 'f32', 0), data: [new Float32Array(0), new Float32Array(1)] },
    { kernel: reduceKernel('sum', 'u32', 0), data: [new Uint32Array(0), new Uint32Array(1)] },
  ])
  for (const i of got.keys()) assertClose(got[i], want[i], 0, () => `kernel ${i}`)
  assert.equal(dtypes.f32.round(got[2][0]), -Infinity)
})
