/**
 * A program's dispatches -> command buffers. In: compiled steps, and the buffers of a run. Out: what is submitted.
 * The inner loop of every training step: nothing is allocated in it once the bind groups of a run are known.
 */
import type { Device } from './device.ts'
import type { PooledBuffer } from './pool.ts'
import type { Timer } from './timing.ts'

/** A binding: a range of a fixed buffer, or a whole argument or result. */
export type Resource =
  | { readonly binding: number; readonly fixed: GPUBufferBinding }
  | { readonly binding: number; readonly kind: 'input' | 'output'; readonly index: number }

/** The buffers of a run, by position. */
export interface RunBuffers {
  readonly input: readonly PooledBuffer[]
  readonly output: readonly PooledBuffer[]
}

/** A dispatch, ready to be encoded. */
export interface Step {
  readonly pipeline: GPUComputePipeline
  readonly workgroups: readonly [number, number, number]
  readonly resources: readonly Resource[]
  /** The resources that differ from run to run. */
  readonly varying: readonly Extract<Resource, { kind: string }>[]
  /** Bind groups, the newest last, by the identities of the varying buffers. */
  readonly groups: { readonly ids: readonly number[]; readonly group: GPUBindGroup }[]
}

/** Bind groups kept per dispatch whose arguments or results vary. */
const GROUPS_KEPT = 8

/** A dispatch without bind groups as yet. */
export const makeStep = (
  pipeline: GPUComputePipeline,
  workgroups: Step['workgroups'],
  resources: readonly Resource[],
): Step => {
  const varying = resources.flatMap(r => ('kind' in r ? [r] : []))
  return { pipeline, workgroups, resources, varying, groups: [] }
}

/**
 * Encodes and submits all steps.
 * @param most   dispatches of one submit
 * @param timer  gives each dispatch a compute pass of its own, with timestamps
 */
export function submit(
  device: Device,
  steps: readonly Step[],
  buffers: RunBuffers,
  most: number,
  timer: Timer | null,
): void {
  for (let from = 0; from < steps.length; from += most) {
    const encoder = device.gpu.createCommandEncoder()
    const end = Math.min(steps.length, from + most)
    if (timer !== null)
      for (let i = from; i < end; i++) {
        const pass = encoder.beginComputePass({ timestampWrites: timer.writes(i) })
        encode(pass, device, steps[i], buffers)
        pass.end()
      }
    else {
      const pass = encoder.beginComputePass()
      let pipeline: GPUComputePipeline | null = null
      for (let i = from; i < end; i++) pipeline = encode(pass, device, steps[i], buffers, pipeline)
      pass.end()
    }
    device.queue.submit([encoder.finish()])
  }
}

/** Encodes one dispatch; gives the pipeline that is set then. */
function encode(
  pass: GPUComputePassEncoder,
  device: Device,
  step: Step,
  buffers: RunBuffers,
  current: GPUComputePipeline | null = null,
): GPUComputePipeline {
  const { workgroups } = step
  if (step.pipeline !== current) pass.setPipeline(step.pipeline)
  pass.setBindGroup(0, groupOf(device, step, buffers))
  const [x, y, z] = workgroups
  // each number costs a conversion at the border
  if (z !== 1) pass.dispatchWorkgroups(x, y, z)
  else if (y !== 1) pass.dispatchWorkgroups(x, y)
  else pass.dispatchWorkgroups(x)
  return step.pipeline
}

/** The bind group of a step for these arguments and results: found, or made. */
function groupOf(device: Device, step: Step, buffers: RunBuffers): GPUBindGroup {
  const { groups, varying } = step
  search: for (let g = groups.length - 1; g >= 0; g--) {
    const { ids } = groups[g]
    for (let i = 0; i < ids.length; i++)
      if (buffers[varying[i].kind][varying[i].index].id !== ids[i]) continue search
    return groups[g].group
  }
  const group = device.gpu.createBindGroup({
    layout: step.pipeline.getBindGroupLayout(0),
    entries: step.resources.map(r => ({
      binding: r.binding,
      resource: 'fixed' in r ? r.fixed : { buffer: buffers[r.kind][r.index].gpu },
    })),
  })
  if (groups.length >= GROUPS_KEPT) groups.shift()
  groups.push({ ids: varying.map(r => buffers[r.kind][r.index].id), group })
  return group
}
