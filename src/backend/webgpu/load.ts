/**
 * A plan on its way to the device. In: kernels with their schedules and places. Out: compiled pipelines with their
 * bindings, the arena and the constants on the device: all that a run needs besides its arguments.
 */
import type { NDArray } from '../../dsl/array.ts'
import type { DType } from '../../dsl/dtype.ts'
import { showType } from '../../dsl/shape.ts'
import type { TensorType } from '../../dsl/tensor.ts'
import type { Program } from '../backend.ts'
import { type Plan, peakBytes } from '../plan.ts'
import { BUFFER_USAGE } from './buffers.ts'
import type { Device } from './device.ts'
import { makeStep, type Resource, type Step } from './encode.ts'
import { bytesOf, checkLimits, label, layoutOf, type Span } from './layout.ts'
import type { Machine } from './machine.ts'
import { matricesOf } from './matrix-feature.ts'
import type { WebGPUOptions } from './options.ts'
import type { Pool } from './pool.ts'
import { profileOf } from './presets.ts'
import { renderWGSL } from './render.ts'
import { makeTimer, type Timer, timesOf } from './timing.ts'

/** A compiled plan: what is left of it when its constants are on the device. */
export interface Executable {
  readonly stats: Program['stats']
  readonly inputs: readonly TensorType[]
  readonly outputs: readonly TensorType[]
  readonly takenOver: ReadonlyMap<number, number>
  readonly steps: readonly Step[]
  readonly poison: () => void
  /** The timer, and what is done with the times after a run. */
  readonly profile: { readonly timer: Timer; readonly report: () => Promise<void> } | null
  /** Whether a run passed WebGPU's validation. */
  proven: boolean
}

/** What of a device matters to its shaders. */
export const machineOf = ({ info }: Device): Machine => ({
  subgroup: info.subgroups.min || (info.software ? 8 : 32),
  longestInnermost: info.software,
  hidesTrips: info.software,
  neighbours: !info.software,
  subgroups: info.features.includes('subgroups') ? { min: Math.max(info.subgroups.min, 1) } : null,
  sharing: profileOf(info).sharing,
  workgroupBytes: info.limits.maxComputeWorkgroupStorageSize,
  matrices: matricesOf(info),
})

/**
 * Compiles a plan and puts its constants on the device.
 * @throws CompileError if the device cannot hold or bind what the plan needs; DeviceError if the device fails
 */
export async function load(
  device: Device,
  pool: Pool,
  plan: Plan,
  options: Pick<WebGPUOptions, 'poison' | 'profile'>,
): Promise<Executable> {
  checkLimits(plan, device.info.limits)
  const layouts = plan.steps.map(step => layoutOf(step, device.info.limits))
  const shaders = plan.steps.map((step, i) =>
    renderWGSL(step.kernel, step.schedule, layouts[i].slots, machineOf(device)),
  )
  const real = plan.steps.flatMap((step, i) =>
    shaders[i].workgroups[0] === 0 ? [] : [{ step, shader: shaders[i], spans: layouts[i].spans }],
  )
  const pipelines = await device.pipelines(
    real.map(({ step, shader }) => ({ label: label(step), wgsl: shader.text })),
  )
  await pool.makeRoom(plan.arenaBytes)
  const arena = await device.createBuffer(Math.max(plan.arenaBytes, 4), 'arena')
  const zero = await device.createBuffer(16, 'zero', BUFFER_USAGE.uniform)
  const constants = await Promise.all(
    plan.constants.map(async ({ type, data }) => {
      const buffer = await device.createBuffer(bytesOf(type), `const ${showType(type)}`)
      device.write(buffer, 0, toWords(type.dtype, data))
      return buffer
    }),
  )
  const resourceOf = ({ ref, offset, bytes }: Span, binding: number): Resource => {
    if (ref.k === 'arena') return { binding, fixed: { buffer: arena, offset, size: bytes } }
    if (ref.k === 'const') return { binding, fixed: { buffer: constants[ref.index] } }
    return { binding, kind: ref.k, index: ref.index }
  }
  const steps = real.map(({ shader, spans }, i): Step => {
    const resources = shader.bindings.map(binding => resourceOf(spans[binding], binding))
    if (shader.zeroBinding !== null) resources.push({ binding: shader.zeroBinding, fixed: { buffer: zero } })
    return makeStep(pipelines[i], shader.workgroups, resources)
  })
  const poison = () => {
    if (options.poison) fillWithNaN(device, arena, arena.size)
  }
  const profile = async (record: NonNullable<WebGPUOptions['profile']>) => {
    const timer = await makeTimer(device, real.length)
    const dispatches = real.map(r => r.step)
    return { timer, report: async () => record(timesOf(dispatches, await timer.read())) }
  }
  const { inputs, outputs, arenaBytes } = plan
  return {
    stats: { kernels: plan.steps.length, arenaBytes, peakBytes: peakBytes(plan) },
    inputs,
    outputs,
    takenOver: plan.takenOver ?? new Map(),
    steps,
    poison,
    profile: options.profile ? await profile(options.profile) : null,
    proven: false,
  }
}

/** Host data as device words: bool takes one each. */
export const toWords = (dtype: DType, data: NDArray['data']): ArrayBufferView =>
  dtype === 'bool' ? Uint32Array.from(data, x => (x ? 1 : 0)) : data

/** Writes NaN over the first bytes of a buffer, whether it holds f32 or f16. */
export const fillWithNaN = (device: Device, buffer: GPUBuffer, bytes: number): void => {
  const chunk = new Uint32Array(Math.min(bytes, 2 ** 22) / 4).fill(0x7fff7fff)
  for (let at = 0; at < bytes; at += chunk.byteLength)
    device.write(buffer, at, chunk.subarray(0, Math.min(chunk.length, (bytes - at) / 4)))
}
