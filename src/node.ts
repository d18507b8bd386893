/** What needs Node: opening a backend. The rest of the public API is in index.ts and runs in a browser too. */
import { pipe } from 'fp-ts/lib/function.js'
import * as TE from 'fp-ts/lib/TaskEither.js'
import type { Backend } from './backend/backend.ts'
import { cpuBackend } from './backend/cpu/executor.ts'
import { coversOnce } from './backend/cpu/nest.ts'
import { referenceBackend } from './backend/cpu/reference-backend.ts'
import { cores, startThreads } from './backend/cpu/threads.ts'
import { planGraph } from './backend/pipeline.ts'
import { chooseSchedule, cpuTarget } from './backend/schedule.ts'
import type { AdapterOptions } from './backend/webgpu/dawn.ts'
import { openDevice } from './backend/webgpu/device.ts'
import { type WebGPUOptions, webgpuBackend } from './backend/webgpu/executor.ts'
import { webgpuScheduler } from './backend/webgpu/tune.ts'
import type { DeviceError } from './dsl/errors.ts'

/** The backends, by name; `auto` is a real GPU where there is one, else the CPU. */
export const backendNames = ['auto', 'cpu', 'webgpu', 'reference'] as const
export type BackendName = (typeof backendNames)[number]

/** Which adapter, how many threads, and what tests need. */
export interface BackendOptions extends AdapterOptions, WebGPUOptions {
  /** Threads of the CPU backend: all cores. */
  readonly threads?: number
}

/**
 * Opens a backend.
 * @param name `auto`: a real GPU through WebGPU, else the compiled CPU backend; `webgpu` also takes a software
 *   adapter; `reference` is the oracle, and slow
 * @param options.adapter a part of the GPU adapter's name
 * @returns Left(DeviceError) if there is no such adapter; it says what to install
 * @example const backend = await unwrap(openBackend('auto'))
 */
export const openBackend = (
  name: BackendName,
  options: BackendOptions = {},
): TE.TaskEither<DeviceError, Backend> => {
  switch (name) {
    case 'reference':
      return TE.right(referenceBackend())
    case 'cpu':
      return TE.right(openCPU(options.threads))
    case 'webgpu':
      return openWebGPU(options)
    case 'auto':
      return options.adapter === undefined
        ? pipe(
            openWebGPU({ ...options, software: false }),
            TE.orElse(() => TE.right(openCPU(options.threads))),
          )
        : openWebGPU(options)
  }
}

const openCPU = (threads = cores()): Backend =>
  cpuBackend(
    (g, donated) => planGraph(g, k => chooseSchedule(k, cpuTarget), { donated, inPlace: coversOnce }),
    { threads, start: memory => startThreads(threads, memory) },
  )
const openWebGPU = (options: AdapterOptions & WebGPUOptions): TE.TaskEither<DeviceError, Backend> =>
  pipe(
    openDevice(options),
    TE.map(device =>
      webgpuBackend(
        device,
        (g, donated) => planGraph(g, webgpuScheduler(device.info), { donated, inPlace: () => true }),
        options,
      ),
    ),
  )
