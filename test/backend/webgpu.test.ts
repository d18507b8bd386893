/**
 * The WebGPU backend as a `Backend`: memory, donation, order, limits, errors; on whichever adapter this machine
 * has (SwiftShader comes with the development dependencies on Linux x64).
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as ix from '../../src/backend/affine.ts'
import { unwrap } from '../../src/backend/compile.ts'
import type { Instr, Kernel } from '../../src/backend/kernel.ts'
import type { BufferRef, Dispatch, Plan } from '../../src/backend/plan.ts'
import { openDevice } from '../../src/backend/webgpu/device.ts'
import { webgpuBackend } from '../../src/backend/webgpu/executor.ts'
import type { KernelTime } from '../../src/backend/work.ts'
import { array } from '../../src/dsl/array.ts'
import type { DType } from '../../src/dsl/dtype.ts'
import { CompileError, DeviceError } from '../../src/dsl/errors.ts'
import {
  compilePlan,
  device,
  fill,
  mapKernel,
  noGraph,
  plainSchedule,
  planOf,
  skip,
} from './webgpu-support.ts'

/** x -> x + 1 -> (x + 1) + 1 -> ... through arena ranges that take turns. */
function chainPlan(length: number, n: number): Plan {
  const addOne = mapKernel(['f32'], n, [
    { k: 'lit', value: 1, dtype: 'f32' },
    { k: 'scalar', fn: 'add', args: [0, 1], dtype: 'f32' },
  ])
  const bytes = Math.ceil(n / 64) * 256
  const ref = (i: number): BufferRef =>
    i === 0
      ? { k: 'input', index: 0 }
      : i === length
        ? { k: 'output', index: 0 }
        : { k: 'arena', offset: (i % 2) * bytes, bytes: 4 * n }
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
    arenaBytes: 2 * bytes,
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
  // what earlier tests dropped is not to be collected on the way
  await device().collectGarbage()
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

test('a profile has the time and the work of every kernel; without timestamps it is an error', {
  skip,
}, async t => {
  const runs: (readonly KernelTime[])[] = []
  const compiled = compilePlan(chainPlan(4, 20_000), { profile: times => runs.push(times) })
  if (!device().info.features.includes('timestamp-query')) {
    t.diagnostic(`${device().info.name} has no timestamps: only the error is tested`)
    await assert.rejects(
      compiled,
      (e: Error) => e instanceof CompileError && /timestamp-query/.test(e.message),
    )
    return
  }
  const program = await compiled
  for (let i = 0; i < 2; i++) {
    const [y] = await program.run([array([20_000], 'f32', new Float32Array(20_000))], [])
    assert.equal((await y.read()).data[7], 4)
  }
  assert.deepEqual(
    runs.map(r => r.length),
    [4, 4],
  )
  const [a, b] = runs[1]
  assert.ok(a.time >= 0 && b.start >= a.start && runs[1].some(x => x.time > 0))
  assert.equal(a.flops, 20_000)
})
