/**
 * Opens the WebGPU backend, with f16 storage, subgroup matrices and measured schedules where they are asked for. In: the options of
 * `openBackend`. Out: a backend. `node.ts` imports this module when it is wanted, with all that it needs.
 */
import { pipe } from 'fp-ts/lib/function.js'
import * as TE from 'fp-ts/lib/TaskEither.js'
import type { Backend } from './backend/backend.ts'
import { planGraph } from './backend/pipeline.ts'
import { tuner } from './backend/webgpu/autotune.ts'
import { type Device, openDevice } from './backend/webgpu/device.ts'
import { webgpuBackend } from './backend/webgpu/executor.ts'
import { storeHalf } from './backend/webgpu/half.ts'
import { withMatrices } from './backend/webgpu/matrix-check.ts'
import { webgpuScheduler } from './backend/webgpu/tune.ts'
import { scheduleCache } from './data/schedule-cache.ts'
import { DeviceError } from './dsl/errors.ts'
import type { BackendOptions } from './node.ts'

/**
 * A WebGPU backend on the adapter that the options choose.
 * @param version  Cotangent's: schedules that another one measured are not used
 * @returns Left(DeviceError) if there is no such adapter, or it cannot store f16 and is to, or its subgroup matrices are
 *   asked for and are not there, or wrong
 * @example const backend = await unwrap(openWebGPU({ adapter: 'nvidia' }, () => '0.1.0'))
 */
export const openWebGPU = (
  options: BackendOptions,
  version: () => string,
): TE.TaskEither<DeviceError, Backend> =>
  pipe(
    openDevice(options),
    TE.chain(device => {
      const { info } = device
      if (options.storage === 'f16' && !info.features.includes('shader-f16')) {
        device.close()
        return TE.left(
          new DeviceError(
            `webgpu: storage f16 needs the feature shader-f16, which ${info.name} has not; leave it out, or choose another adapter`,
          ),
        )
      }
      return options.subgroupMatrices ? checked(device) : TE.right(device)
    }),
    TE.map(device => {
      const plan: ToPlan = (g, donated) =>
        planGraph(g, webgpuScheduler(device.info), { donated, inPlace: () => true })
      return webgpuBackend(
        device,
        options.storage === 'f16' ? (g, donated) => storeHalf(plan(g, donated)) : plan,
        options.tune ? { ...options, refine: tunerOn(device, options, version()) } : options,
      )
    }),
  )
/** The device if its subgroup matrices are right; else it is closed. */
const checked = (device: Device): TE.TaskEither<DeviceError, Device> =>
  pipe(
    withMatrices(device),
    TE.mapLeft(error => {
      device.close()
      return error
    }),
  )
type ToPlan = Parameters<typeof webgpuBackend>[1]
const tunerOn = (device: Device, { tuneCache, onChoice }: BackendOptions, version: string) => {
  const { name: adapter, driver } = device.info
  return tuner(device, scheduleCache({ adapter, driver, version }, tuneCache), onChoice)
}
