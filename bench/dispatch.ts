/**
 * What JavaScript costs on the WebGPU backend: microseconds a dispatch to encode and submit a step of many kernels in
 * the steady state, and how much of a core the main thread takes while it waits for the device.
 *
 *     node --import tsx bench/dispatch.ts [--adapter NAME] [--kernels 1000] [--json FILE]
 *
 * Targets: at most 3 microseconds a dispatch; a wait takes no core.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { axis } from '../src/backend/affine.ts'
import type { Kernel } from '../src/backend/kernel.ts'
import { planGraph } from '../src/backend/pipeline.ts'
import type { Dispatch, Plan } from '../src/backend/plan.ts'
import { describe } from '../src/backend/webgpu/dawn.ts'
import { openDevice } from '../src/backend/webgpu/device.ts'
import { type Step, submit } from '../src/backend/webgpu/encode.ts'
import { load } from '../src/backend/webgpu/load.ts'
import { makePool } from '../src/backend/webgpu/pool.ts'
import { webgpuScheduler } from '../src/backend/webgpu/tune.ts'
import { spec, trace } from '../src/dsl/trace.ts'
import * as ct from '../src/index.ts'

const { values } = parseArgs({
  options: {
    adapter: { type: 'string' },
    kernels: { type: 'string', default: '1000' },
    json: { type: 'string' },
  },
})
const count = Number(values.kernels)
const opened = await openDevice(values.adapter ? { adapter: values.adapter } : {})()
if (opened._tag === 'Left') throw opened.left
const device = opened.right
console.log(describe(device.info))

/** y = x * factor on 64 numbers: nothing for the device to do. */
const scale = (factor: number): Kernel => ({
  name: 'scale',
  axes: [{ extent: 64, kind: 'parallel' }],
  buffers: [
    { dtype: 'f32', size: 64, access: 'read' },
    { dtype: 'f32', size: 64, access: 'write' },
  ],
  body: [
    { k: 'load', buffer: 0, index: axis(0, 64), guard: [], dtype: 'f32' },
    { k: 'lit', value: factor, dtype: 'f32' },
    { k: 'scalar', fn: 'mul', args: [0, 1], dtype: 'f32' },
  ],
  accumulators: [],
  epilogue: [],
  stores: [{ buffer: 1, index: axis(0, 64), value: 2, mode: 'set', guard: [] }],
})
/** Kernels in a chain through the arena, of 40 different shaders, as a network's step has. */
const chain: Plan = {
  inputs: [],
  outputs: [],
  constants: [],
  arenaBytes: 512 * count,
  steps: Array.from(
    { length: count },
    (_, i): Dispatch => ({
      kernel: scale(1 + (i % 40)),
      schedule: { vector: null, tiles: [] },
      scope: '',
      bindings: [
        { k: 'arena', offset: 256 * i, bytes: 256 },
        { k: 'arena', offset: 256 * (i + 1), bytes: 256 },
      ],
    }),
  ),
}
const nothing = { input: [], output: [] }
const run = (steps: readonly Step[]): void => submit(device, steps, nothing, Infinity, null)
const finished = () => device.wait(device.queue.onSubmittedWorkDone())
const median = (xs: readonly number[]): number => xs.toSorted((a, b) => a - b)[xs.length >> 1]

/** Microseconds of CPU time of the main thread so far; 0 where the system does not tell. */
function mainThread(): number {
  try {
    const fields = readFileSync(`/proc/self/task/${process.pid}/stat`, 'utf8').split(') ')[1].split(' ')
    // user and system time, in hundredths of a second
    return (Number(fields[11]) + Number(fields[12])) * 1e4
  } catch {
    return 0
  }
}

const program = await load(device, makePool(device), chain, {})
const times: number[] = []
for (let i = 0; i < 60; i++) {
  const start = performance.now()
  run(program.steps)
  times.push(performance.now() - start)
  await finished()
}
const perDispatch = (1000 * median(times.slice(20))) / count
const least = (1000 * Math.min(...times.slice(20))) / count
console.log(
  `encode and submit: ${perDispatch.toFixed(2)} us a dispatch (median of 40 runs of ${count}; least ${least.toFixed(2)})`,
)

const side = 512
const product = planGraph(
  trace((a: ct.Tensor, b: ct.Tensor) => ct.matmul(a, b), [spec([side, side]), spec([side, side])]).graph,
  webgpuScheduler(device.info),
)
const arena = side * side * 4
const slow = await load(
  device,
  makePool(device),
  {
    ...product,
    inputs: [],
    outputs: [],
    arenaBytes: 3 * arena,
    // enough of them for a second or more on a software adapter, and still a wait on a GPU
    steps: Array.from({ length: device.info.software ? 40 : 4000 }, () => product.steps)
      .flat()
      .map(s => ({
        ...s,
        bindings: s.bindings.map((_, i) => ({ k: 'arena', offset: i * arena, bytes: arena }) as const),
      })),
  },
  {},
)
run(slow.steps.slice(0, 1))
await finished()
run(slow.steps)
const [cpu, start] = [mainThread(), performance.now()]
await finished()
const waited = performance.now() - start
const used = (mainThread() - cpu) / 1000
console.log(
  `waiting ${waited.toFixed(0)} ms for the device: the main thread took ${used.toFixed(0)} ms, ${((100 * used) / waited).toFixed(1)} % of a core`,
)
device.close()
if (values.json !== undefined)
  writeFileSync(
    values.json,
    `${JSON.stringify({ adapter: device.info.name, driver: device.info.driver, perDispatch, least, waited, used }, null, 2)}\n`,
  )
