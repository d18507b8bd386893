/** Runs one kernel through the WebAssembly renderer, and compares with the interpreter. */
import assert from 'node:assert/strict'
import { renderKernel } from '../../src/backend/cpu/render.ts'
import { encodeModule } from '../../src/backend/cpu/wasm.ts'
import { interpretKernel } from '../../src/backend/interpret.ts'
import { type Kernel, printKernel, type Schedule } from '../../src/backend/kernel.ts'
import { deviceBytes } from '../../src/backend/plan.ts'
import type { DType, TypedArray } from '../../src/dsl/dtype.ts'

const memory = new WebAssembly.Memory({ initial: 256 })

const words = (dtype: DType, at: number, n: number): TypedArray => {
  const { buffer } = memory
  if (dtype === 'f32') return new Float32Array(buffer, at, n)
  if (dtype === 'f64') return new Float64Array(buffer, at, n)
  return dtype === 'u32' ? new Uint32Array(buffer, at, n) : new Int32Array(buffer, at, n)
}

/** The buffers after the kernel ran; its slices in two calls, so that ranges are tested. Surroundings are NaN, and stay so. */
export function runWasm(
  kernel: Kernel,
  schedule: Schedule,
  data: readonly TypedArray[],
  block?: number,
): TypedArray[] {
  const { fn, slices, scratchBytes } = renderKernel(kernel, schedule, 'f', block)
  const module = new WebAssembly.Module(encodeModule([fn]))
  const { exports } = new WebAssembly.Instance(module, { env: { memory } })
  const run = exports.f as (...x: number[]) => void
  let top = 1024
  const addresses = kernel.buffers.map((b, i) => {
    const at = top
    top += Math.ceil((deviceBytes(b.dtype, data[i].length) + 64) / 256) * 256
    return at
  })
  const scratch = top
  top += scratchBytes
  new Uint8Array(memory.buffer, 0, top + 64).fill(0xff)
  const views = kernel.buffers.map((b, i) => words(b.dtype, addresses[i], data[i].length))
  for (const [i, v] of views.entries()) v.set(data[i])
  const half = slices >> 1
  if (half > 0) run(...addresses, scratch, 0, half)
  if (slices > half) run(...addresses, scratch, half, slices)
  for (const [i, v] of views.entries()) {
    const end = addresses[i] + v.byteLength
    const behind = new Uint8Array(memory.buffer, end, (addresses[i + 1] ?? scratch) - end)
    assert.ok(
      behind.every(byte => byte === 0xff),
      `${kernel.name}: written behind b${i}`,
    )
  }
  assert.ok(
    new Uint8Array(memory.buffer, top, 64).every(byte => byte === 0xff),
    `${kernel.name}: written behind the scratch memory`,
  )
  return views.map((v, i) => {
    const out = data[i].slice()
    out.set(v)
    return out
  })
}

/** Whether a kernel has sums that are cut into blocks when they are long. */
const summing = (k: Kernel) => k.accumulators.some(a => a.how === 'sum' && a.dtype === 'f32')

/**
 * Asserts that the kernel computes the same under every schedule as in the interpreter: bit for bit (NaN by
 * class, and -0 as 0 after a sum), float sums and products within `tolerance(magnitude)`.
 * @param blocks  additions of a block, one run each; few, since the sums of small kernels are not cut by themselves
 */
export function agrees(
  kernel: Kernel,
  data: readonly TypedArray[],
  schedules: readonly Schedule[],
  tolerance: (reference: number) => number = () => 0,
  blocks: readonly (number | undefined)[] = summing(kernel) ? [undefined, 3] : [undefined],
): void {
  const expected = data.map(d => d.slice())
  interpretKernel(kernel, expected)
  const runs = schedules.flatMap(schedule => blocks.map(block => [schedule, block] as const))
  for (const [schedule, block] of runs) {
    const actual = runWasm(kernel, schedule, data, block)
    for (const [b, e] of expected.entries())
      for (let i = 0; i < e.length; i++) {
        const same = Object.is(e[i], actual[b][i]) || Math.abs(e[i] - actual[b][i]) <= tolerance(e[i])
        if (!same)
          assert.fail(
            `${kernel.name}: b${b}[${i}] is ${actual[b][i]}, expected ${e[i]} under ${JSON.stringify(schedule)}, blocks of ${block}\n${printKernel(kernel)}`,
          )
      }
  }
}
