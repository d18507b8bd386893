/**
 * How long each kernel took, by the device's own clock. In: a device and the number of dispatches. Out: a timer
 * that gives every compute pass its pair of timestamps, and reads them after the run.
 */
import { CompileError } from '../../dsl/errors.ts'
import type { Kernel } from '../kernel.ts'
import { type KernelTime, workOf } from '../work.ts'
import { BUFFER_USAGE } from './buffers.ts'
import type { Device } from './device.ts'

/** Timestamps for the dispatches of one program. */
export interface Timer {
  /** The timestamps of a dispatch's compute pass. */
  readonly writes: (dispatch: number) => GPUComputePassTimestampWrites
  /** Waits for the run and gives [start, end] of each dispatch, in nanoseconds. */
  readonly read: () => Promise<readonly (readonly [number, number])[]>
}

/** Timestamps that one query set may hold. @see https://www.w3.org/TR/webgpu/#dom-gpudevice-createqueryset */
const MAX_QUERIES = 4096

/** @throws CompileError  if the adapter has no timestamps */
export async function makeTimer(device: Device, dispatches: number): Promise<Timer> {
  if (!device.info.features.includes('timestamp-query'))
    throw new CompileError(
      `webgpu: a profile needs the feature timestamp-query, which ${device.info.name} does not offer; try another adapter`,
    )
  const sets = Array.from({ length: Math.ceil((2 * dispatches) / MAX_QUERIES) }, (_, i) => {
    const count = Math.min(MAX_QUERIES, 2 * dispatches - i * MAX_QUERIES)
    return { count, set: device.gpu.createQuerySet({ type: 'timestamp', count }) }
  })
  const buffer = await device.createBuffer(
    Math.max(1, sets.length) * MAX_QUERIES * 8,
    'timestamps',
    BUFFER_USAGE.queryResolve | BUFFER_USAGE.copySource,
  )
  return {
    writes: dispatch => ({
      querySet: sets[Math.floor((2 * dispatch) / MAX_QUERIES)].set,
      beginningOfPassWriteIndex: (2 * dispatch) % MAX_QUERIES,
      endOfPassWriteIndex: (2 * dispatch + 1) % MAX_QUERIES,
    }),
    async read() {
      const encoder = device.gpu.createCommandEncoder()
      for (const [i, { set, count }] of sets.entries())
        encoder.resolveQuerySet(set, 0, count, buffer, i * MAX_QUERIES * 8)
      device.queue.submit([encoder.finish()])
      const clock = new BigUint64Array(await device.read(buffer, 0, 16 * dispatches))
      const first = clock.length > 0 ? clock[0] : 0n
      return Array.from({ length: dispatches }, (_, i): readonly [number, number] => [
        Number(clock[2 * i] - first),
        Number(clock[2 * i + 1] - first),
      ])
    },
  }
}

/** The dispatches with their times. */
export const timesOf = (
  steps: readonly { readonly kernel: Kernel; readonly scope: string }[],
  clock: readonly (readonly [number, number])[],
): readonly KernelTime[] =>
  steps.map(({ kernel, scope }, i) => {
    const [start, end] = clock[i]
    return { kernel, scope, start: start / 1000, time: (end - start) / 1000, ...workOf(kernel) }
  })
