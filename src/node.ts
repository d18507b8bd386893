/** What needs Node: opening a backend. The rest of the public API is in index.ts and runs in a browser too. */
import { createRequire } from 'node:module'
import { pipe } from 'fp-ts/lib/function.js'
import * as TE from 'fp-ts/lib/TaskEither.js'
import type { Backend } from './backend/backend.ts'
import { cpuBackend } from './backend/cpu/executor.ts'
import { coversOnce } from './backend/cpu/nest.ts'
import { referenceBackend } from './backend/cpu/reference-backend.ts'
import { chooseSchedule } from './backend/cpu/schedule.ts'
import { cores, startThreads } from './backend/cpu/threads.ts'
import { planGraph } from './backend/pipeline.ts'
import type { Choice } from './backend/webgpu/choice.ts'
import type { AdapterOptions } from './backend/webgpu/dawn.ts'
import type { WebGPUOptions } from './backend/webgpu/options.ts'
import { DeviceError } from './dsl/errors.ts'

/** The backends, by name; `auto` is a real GPU where there is one, else the CPU. */
export const backendNames = ['auto', 'cpu', 'webgpu', 'reference'] as const
export type BackendName = (typeof backendNames)[number]

/** Which adapter, how many threads, and what tests need. */
export interface BackendOptions extends AdapterOptions, Omit<WebGPUOptions, 'refine'> {
  /** Threads of the CPU backend: all cores. */
  readonly threads?: number
  /**
   * WebGPU: 'f16' holds large intermediates in half the memory, for adapters with `shader-f16`; sums and everything
   * that is computed stay f32 (src/backend/webgpu/half.ts says what). Default: 'f32'.
   */
  readonly storage?: 'f32' | 'f16'
  /**
   * WebGPU: measures a few schedules of each new kernel when a program is compiled, and keeps the fastest. What was
   * measured is kept on disk, by adapter, driver and version; without this option nothing is read from there.
   */
  readonly tune?: boolean
  /** Where tuned schedules are kept: a folder. Default: `cotangent/schedules` in the user's cache folder. */
  readonly tuneCache?: string
  /** Told of each kernel's schedule, measured now or before; `describeChoice` makes a line of it. */
  readonly onChoice?: (choice: Choice) => void
}
export { type Choice, describeChoice } from './backend/webgpu/choice.ts'

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
      return refused(name, options) ?? TE.right(referenceBackend())
    case 'cpu':
      return openCPU(options)
    case 'webgpu':
      return openWebGPU(options)
    case 'auto':
      return options.adapter === undefined
        ? pipe(
            openWebGPU({ ...options, software: false }),
            TE.orElse(() => openCPU(options)),
          )
        : openWebGPU(options)
  }
}

const openCPU = (options: BackendOptions): TE.TaskEither<DeviceError, Backend> => {
  const { threads = cores(), profile } = options
  return (
    refused('cpu', options) ??
    TE.right(
      cpuBackend(
        (g, donated) => planGraph(g, k => chooseSchedule(k), { donated, inPlace: coversOnce }),
        { threads, start: memory => startThreads(threads, memory) },
        profile,
      ),
    )
  )
}
/** What only WebGPU has, asked of another backend; null where nothing was. */
function refused(
  name: string,
  { storage, subgroupMatrices }: BackendOptions,
): TE.TaskEither<DeviceError, never> | null {
  const what =
    storage === 'f16'
      ? 'storage f16 is for WebGPU adapters with shader-f16'
      : subgroupMatrices
        ? 'subgroup matrices are for WebGPU adapters that have them'
        : null
  return what && TE.left(new DeviceError(`${name}: ${what}; leave it out, or choose backend webgpu`))
}
/** Dawn and what writes WGSL are read when they are asked for: a first result on the CPU does not wait for them. */
const openWebGPU = (options: BackendOptions): TE.TaskEither<DeviceError, Backend> =>
  pipe(
    TE.fromTask(() => import('./webgpu.ts')),
    TE.chain(webgpu => webgpu.openWebGPU(options, version)),
  )
/** The version in package.json. */
const version = (): string => {
  const manifest: { readonly version: string } = createRequire(import.meta.url)('../package.json')
  return manifest.version
}
