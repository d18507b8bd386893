import assert from 'node:assert/strict'
import test from 'node:test'
import { axis } from '../../src/backend/affine.ts'
import type { Resident } from '../../src/backend/backend.ts'
import { cpuExecutor } from '../../src/backend/cpu/executor.ts'
import type { Kernel } from '../../src/backend/kernel.ts'
import type { Dispatch, Plan } from '../../src/backend/plan.ts'
import { array } from '../../src/dsl/array.ts'
import type { DType } from '../../src/dsl/dtype.ts'
import type { ScalarOp } from '../../src/dsl/scalar.ts'

/** z = fn(x, y) over n elements. */
const binary = (fn: ScalarOp, n: number, dtype: DType = 'f32'): Kernel => ({
  name: fn,
  axes: [{ extent: n, kind: 'parallel' }],
  buffers: [0, 1, 2].map(b => ({ dtype, size: n, access: b === 2 ? 'write' : 'read' })),
  body: [
    { k: 'load', buffer: 0, index: axis(0, n), guard: [], dtype },
    { k: 'load', buffer: 1, index: axis(0, n), guard: [], dtype },
    { k: 'scalar', fn, args: [0, 1], dtype },
  ],
  accumulators: [],
  epilogue: [],
  stores: [{ buffer: 2, index: axis(0, n), value: 2, mode: 'set', guard: [] }],
})
const step = (kernel: Kernel, ...bindings: Dispatch['bindings']): Dispatch => ({
  kernel,
  schedule: { vector: 0, tiles: [] },
  bindings,
  scope: '',
})
const input = (index: number) => ({ k: 'input', index }) as const
const output = { k: 'output', index: 0 } as const

/** (x + y) * constant, by way of the arena. */
function plan(n: number): Plan {
  const type = { shape: [n], dtype: 'f32' } as const
  const middle = { k: 'arena', offset: 256, bytes: 4 * n } as const
  return {
    inputs: [type, type],
    outputs: [type],
    constants: [{ type, data: new Float32Array(n).fill(10) }],
    steps: [
      step(binary('add', n), input(0), input(1), middle),
      step(binary('mul', n), middle, { k: 'const', index: 0 }, output),
    ],
    arenaBytes: 256 + 4 * n,
  }
}
const KEEP = [false, false]

test('a plan runs on host arrays and on arrays that stayed on the device', async () => {
  const executor = cpuExecutor()
  const program = await executor.load(plan(3))
  const x = array([3], 'f32', [1, 2, 3])
  const [y] = await program.run([x, x], KEEP)
  assert.deepEqual([...(await y.read()).data], [20, 40, 60])
  const [z] = await program.run([y, x], KEEP)
  assert.deepEqual([...(await z.read()).data], [210, 420, 630])
  assert.deepEqual(program.stats, { kernels: 2, arenaBytes: 268, peakBytes: 268 + 4 * 12 })
})

test('runs keep the order of their calls, and what they hold outlives dispose', async () => {
  const executor = cpuExecutor()
  const program = await executor.load(plan(2))
  const x = array([2], 'f32', [1, 1])
  const [a] = await program.run([x, x], KEEP)
  const first = program.run([a, x], KEEP)
  const second = program.run([a, a], [true, false])
  a.dispose()
  const [[b], [c]] = await Promise.all([first, second])
  assert.deepEqual([...(await b.read()).data, ...(await c.read()).data], [210, 210, 400, 400])
})

test('a donated or disposed array is gone, and says so', async () => {
  const executor = cpuExecutor()
  const program = await executor.load(plan(2))
  const x = array([2], 'f32', [1, 1])
  const [a] = await program.run([x, x], KEEP)
  await program.run([a, x], [true, false])
  await assert.rejects(() => a.read(), { tag: 'DeviceError', message: /donated/ })
  await assert.rejects(() => program.run([a, x], KEEP), { tag: 'DeviceError' })
})

test('memory returns to its level when results are disposed of, donated or passed on, step after step', async () => {
  const executor = cpuExecutor()
  const program = await executor.load(plan(1000))
  const one = array([1000], 'f32', new Float32Array(1000).fill(1e-3))
  let [state]: readonly Resident[] = await program.run([one, one], KEEP)
  const level = executor.memory()
  for (let i = 0; i < 20; i++) [state] = await program.run([state, one], [true, false])
  assert.deepEqual(executor.memory(), level)
  state.dispose()
  state.dispose()
  assert.equal(executor.memory().buffers, level.buffers - 1)
})

test('an argument of another type, another number of them, or of another device is refused', async () => {
  const executor = cpuExecutor()
  const program = await executor.load(plan(2))
  const x = array([2], 'f32', [1, 1])
  await assert.rejects(() => program.run([x], KEEP), { tag: 'ShapeError' })
  await assert.rejects(() => program.run([x, array([2], 'i32', [1, 1])], KEEP), {
    tag: 'ShapeError',
    message: /argument 1 must be f32\[2\], got i32\[2\]/,
  })
  const [foreign] = await (await cpuExecutor().load(plan(2))).run([x, x], KEEP)
  await assert.rejects(() => program.run([foreign, x], KEEP), { message: /another device/ })
  executor.close()
  await assert.rejects(() => program.run([x, x], KEEP), { tag: 'DeviceError', message: /closed/ })
})

test('a plan beyond the address space is an error that says so', async () => {
  const large = { ...plan(2), arenaBytes: 5 * 2 ** 30 }
  await assert.rejects(() => cpuExecutor().load(large), { tag: 'CompileError', message: /4096 MiB/ })
})

test('bools cross as bytes on the host and words on the device', async () => {
  const type = { shape: [5], dtype: 'bool' } as const
  const kernel = binary('xor', 5, 'bool')
  const executor = cpuExecutor()
  const program = await executor.load({
    inputs: [type, type],
    outputs: [type],
    constants: [],
    steps: [step(kernel, input(0), input(1), output)],
    arenaBytes: 0,
  })
  const x = array([5], 'bool', [0, 1, 1, 0, 1])
  const y = array([5], 'bool', [1, 1, 0, 0, 0])
  const [z] = await program.run([x, y], KEEP)
  assert.deepEqual((await z.read()).data, Uint8Array.of(1, 0, 1, 0, 1))
})

test('a long run gives way to the event loop', async () => {
  const n = 1 << 16
  const type = { shape: [n], dtype: 'f32' } as const
  const middle = (i: number) => ({ k: 'arena', offset: 4 * n * (i % 2), bytes: 4 * n }) as const
  const steps = Array.from({ length: 3000 }, (_, i) => step(binary('add', n), input(0), input(1), middle(i)))
  steps.push(step(binary('mul', n), middle(0), middle(1), output))
  const program = await cpuExecutor().load({
    inputs: [type, type],
    outputs: [type],
    constants: [],
    steps,
    arenaBytes: 8 * n,
  })
  let turns = 0
  const timer = setInterval(() => turns++, 1)
  const x = array([n], 'f32', new Float32Array(n))
  const start = performance.now()
  await program.run([x, x], KEEP)
  clearInterval(timer)
  const took = performance.now() - start
  // a turn every 20 ms, allowing for a busy machine
  assert.ok(turns >= Math.floor(took / 100), `${turns} turns in ${took} ms`)
  assert.ok(took > 20, 'the run was too short to say anything')
})
