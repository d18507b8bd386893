/** What the tests of the WebGPU backend share: the device, small kernels, plans of them, and the comparison. */
import assert from 'node:assert/strict'
import { after } from 'node:test'
import * as ix from '../../src/backend/affine.ts'
import type { Program } from '../../src/backend/backend.ts'
import { unwrap } from '../../src/backend/compile.ts'
import { interpretKernel } from '../../src/backend/interpret.ts'
import type { Accumulator, Instr, Kernel, Schedule } from '../../src/backend/kernel.ts'
import type { BufferRef, Dispatch, Plan } from '../../src/backend/plan.ts'
import { describe } from '../../src/backend/webgpu/dawn.ts'
import { openDevice } from '../../src/backend/webgpu/device.ts'
import { webgpuBackend } from '../../src/backend/webgpu/executor.ts'
import type { WebGPUOptions } from '../../src/backend/webgpu/options.ts'
import { array } from '../../src/dsl/array.ts'
import type { DType, TypedArray } from '../../src/dsl/dtype.ts'

/** COTANGENT_TEST_ADAPTER names another adapter than the best. */
const asked = process.env.COTANGENT_TEST_ADAPTER
const opened = await openDevice(asked ? { adapter: asked } : {})()
/** Where no software adapter can be installed, a machine without a GPU cannot run these tests: it says so. */
export const skip =
  opened._tag === 'Left' && !(process.platform === 'linux' && process.arch === 'x64')
    ? `no WebGPU adapter on ${process.platform} ${process.arch}: ${opened.left.message}`
    : false
if (opened._tag === 'Left' && !skip) throw opened.left
const found = opened._tag === 'Right' ? opened.right : null
export const device = () => {
  if (found === null) throw new Error('no device')
  return found
}
if (found) console.log(`# WebGPU adapter: ${describe(found.info)}`)
after(() => found?.close())

export const plainSchedule: Schedule = { vector: null, tiles: [] }
export const noGraph = { inputs: [], outputs: [], eqns: [] }

export const compilePlan = (plan: Plan, options: WebGPUOptions = {}, on = device()): Promise<Program> =>
  unwrap(webgpuBackend(on, () => plan, options).compile(noGraph))

/** One-dimensional type of a buffer. */
const flatType = (b: { dtype: DType; size: number }) => ({ shape: [b.size], dtype: b.dtype })

/** A plan of independent kernels: what they read are arguments, what they write are results. */
export function planOf(items: readonly { readonly kernel: Kernel; readonly schedule?: Schedule }[]): Plan {
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

export const fill = (dtype: DType, size: number, value: number): Kernel => ({
  name: 'fill',
  axes: [{ extent: size, kind: 'parallel' }],
  buffers: [{ dtype, size, access: 'write' }],
  body: [{ k: 'lit', value, dtype }],
  accumulators: [],
  epilogue: [],
  stores: [{ buffer: 0, index: ix.axis(0, size), value: 0, mode: 'set', guard: [] }],
})

/** y[i] = the last instruction, with a load of each operand at i before the rest. */
export function mapKernel(from: readonly DType[], n: number, rest: readonly Instr[]): Kernel {
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
export const reduceKernel = (how: Accumulator['how'], dtype: DType, n: number): Kernel => {
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
export async function both(
  items: readonly { kernel: Kernel; schedule?: Schedule; data: readonly TypedArray[] }[],
  on = device(),
) {
  const program = await compilePlan(planOf(items), { poison: true }, on)
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
export function assertClose(
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
