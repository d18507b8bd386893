/**
 * What this machine can do. In: nothing but the machine. Out: checks, each with what was seen, and what to do about what is missing.
 */
import { accessSync, constants, existsSync, readdirSync, statfsSync } from 'node:fs'
import { arch, availableParallelism, cpus, freemem, homedir, platform, release, totalmem } from 'node:os'
import { basename, join } from 'node:path'
import * as E from 'fp-ts/lib/Either.js'
import { type AdapterInfo, describe, messageOf, openAdapter } from '../backend/webgpu/dawn.ts'
import { canLoad, hiddenDrivers, packagedDawn, privateFolder } from '../backend/webgpu/vulkan.ts'
import { CotangentError } from '../dsl/errors.ts'
import { type BackendName, openBackend } from '../node.ts'
import { knownMatmul } from './doctor-matmul.ts'

/** How a check came out: `error` only for what Cotangent cannot do without. */
export type Status = 'ok' | 'warning' | 'error'

/** One check. */
export interface Check {
  readonly name: string
  readonly status: Status
  /** What was seen. */
  readonly value: string
  /** What to do; absent where nothing need be done. */
  readonly mend?: string
}

const check = (
  name: string,
  value: string,
  mend?: string,
  status: Status = mend ? 'warning' : 'ok',
): Check => ({
  name,
  status,
  value,
  ...(mend === undefined ? {} : { mend }),
})
const gibibytes = (bytes: number): string =>
  bytes < 2 ** 30 ? `${(bytes / 2 ** 20).toFixed(0)} MiB` : `${(bytes / 2 ** 30).toFixed(1)} GiB`

/** The oldest Node that runs it. */
const oldestNode = [20, 11] as const

/** Node, system, cores, memory. */
export function hostChecks(version = process.versions.node): readonly Check[] {
  const [major, minor] = version.split('.').map(Number)
  const old = major < oldestNode[0] || (major === oldestNode[0] && minor < oldestNode[1])
  const limit = process.constrainedMemory?.() ?? 0
  const total = limit > 0 && limit < totalmem() ? limit : totalmem()
  return [
    check(
      'Node.js',
      `${version} (V8 ${process.versions.v8})`,
      old ? `install Node.js ${oldestNode.join('.')} or later` : undefined,
      old ? 'error' : 'ok',
    ),
    check('system', `${platform()} ${release()} ${arch()}`),
    check('cores', `${availableParallelism()} of ${cpus()[0]?.model.trim() ?? 'an unknown processor'}`),
    check(
      'memory',
      `${gibibytes(freemem())} free of ${gibibytes(total)}`,
      freemem() < 2 ** 30
        ? 'less than 1 GiB is free: take a smaller --batch or --size, or close programs'
        : undefined,
    ),
  ]
}

/** Free space where runs and caches are written. */
export function diskChecks(folders: readonly string[] = [process.cwd(), homedir()]): readonly Check[] {
  return [...new Set(folders)].map(folder => {
    try {
      accessSync(folder, constants.W_OK)
      const { bavail, bsize } = statfsSync(folder)
      const free = bavail * bsize
      return check(
        'disk',
        `${gibibytes(free)} free at ${folder}`,
        free < 2 ** 30
          ? 'less than 1 GiB is free: checkpoints and caches need room; name another folder with --out'
          : undefined,
      )
    } catch (error) {
      return check('disk', messageOf(error), `choose a folder that can be written to instead of ${folder}`)
    }
  })
}

/** The folders in which a Vulkan loader looks for drivers. @see the loader's LoaderDriverInterface.md */
const manifestFolders = ['/etc/vulkan/icd.d', '/usr/share/vulkan/icd.d', '/usr/local/share/vulkan/icd.d']
const manifests = (): readonly string[] => {
  const named = (process.env.VK_DRIVER_FILES ?? process.env.VK_ICD_FILENAMES ?? '').split(':').filter(Boolean)
  const found = manifestFolders
    .filter(folder => existsSync(folder))
    .flatMap(folder => readdirSync(folder).map(file => join(folder, file)))
  return [...named, ...found, ...hiddenDrivers()]
}

/** Kernel devices of GPUs. */
function gpuDevices(): readonly string[] {
  const render = existsSync('/dev/dri')
    ? readdirSync('/dev/dri')
        .filter(name => name.startsWith('renderD'))
        .map(name => `/dev/dri/${name}`)
    : []
  return [...(existsSync('/dev/nvidiactl') ? ['/dev/nvidiactl'] : []), ...render]
}

/** Dawn, and on Linux the Vulkan loader and its drivers. */
export function driverChecks(): readonly Check[] {
  const folder = process.env.COTANGENT_DAWN_DIR // the offline bundle brings its own
  const dawn = folder ? join(folder, 'dawn.node') : packagedDawn()
  const packaged = check(
    'Dawn',
    dawn ?? `none for ${platform()} ${arch()}`,
    dawn
      ? undefined
      : 'npm install webgpu (its packages exist for Linux, macOS and Windows on x64 and arm64)',
  )
  if (platform() !== 'linux') return [packaged]
  const loader = canLoad('libvulkan.so.1')
  const own = privateFolder()
  const drivers = manifests()
  const devices = gpuDevices()
  return [
    packaged,
    check(
      'Vulkan loader',
      loader
        ? 'libvulkan.so.1'
        : `not installed; ${typeof own === 'string' ? 'the packaged one is used' : own.missing}`,
      loader ? undefined : 'apt-get install libvulkan1',
    ),
    check(
      'Vulkan drivers',
      drivers.length > 0 ? drivers.map(d => basename(d)).join(', ') : 'none is announced',
      drivers.length > 0 ? undefined : driverAdvice(devices),
    ),
    check(
      'GPU devices',
      devices.length > 0 ? devices.join(', ') : 'none',
      devices.length > 0
        ? undefined
        : 'there is no /dev/nvidiactl and no /dev/dri/renderD*: pass the GPU into the container, or load its kernel driver',
    ),
  ]
}

const driverAdvice = (devices: readonly string[]): string =>
  devices.some(d => d.includes('nvidia'))
    ? "install NVIDIA's driver libraries; in a container, set NVIDIA_DRIVER_CAPABILITIES=all (graphics is what Vulkan needs)"
    : devices.length > 0
      ? 'apt-get install mesa-vulkan-drivers (25 or later: Dawn refuses 22)'
      : "install your GPU's driver; for a software adapter apt-get install mesa-vulkan-drivers (25 or later)"

/** The adapter that `--backend webgpu` takes, with what limits large arrays. */
export async function adapterChecks(): Promise<readonly Check[]> {
  const found = await openAdapter()()
  if (E.isLeft(found)) {
    const [first, ...rest] = found.left.message.split('\n')
    return [check('adapter', first, rest.map(l => l.trim()).join('; ') || 'install a GPU driver')]
  }
  const { info } = found.right
  return [
    check(
      'adapter',
      describe(info),
      info.software
        ? 'a CPU plays the GPU: right numbers, no speed; --backend cpu is faster, a GPU driver is better'
        : undefined,
    ),
    check('limits', limitsOf(info)),
    check(
      'features',
      ['shader-f16', 'subgroups', 'timestamp-query']
        .map(f => `${info.features.includes(f) ? '' : 'no '}${f}`)
        .join(', '),
    ),
  ]
}
const limitsOf = ({ limits, subgroups }: AdapterInfo): string =>
  [
    `${gibibytes(limits.maxBufferSize)} a buffer`,
    `${gibibytes(limits.maxStorageBufferBindingSize)} a binding`,
    `${limits.maxComputeInvocationsPerWorkgroup} invocations and ${limits.maxComputeWorkgroupStorageSize / 1024} KiB a workgroup`,
    ...(subgroups.max > 0 ? [`subgroups of ${subgroups.min} to ${subgroups.max}`] : []),
  ].join(', ')

/** Sizes that take about as long on each. */
const products = {
  reference: { n: 32, repeat: 1 },
  cpu: { n: 256, repeat: 5 },
  webgpu: { n: 128, repeat: 5 },
} as const
const onGPU = { n: 1024, repeat: 20 } as const

/** A known product on a backend; only the CPU's failing is an error. */
export async function backendCheck(name: Exclude<BackendName, 'auto'>): Promise<Check> {
  const failed: Status = name === 'cpu' ? 'error' : 'warning'
  const opened = await openBackend(name)()
  if (E.isLeft(opened)) return check(name, 'not available', opened.left.message.split('\n')[0], failed)
  const backend = opened.right
  try {
    const software = name !== 'webgpu' || /\bsoftware\b/.test(backend.description)
    const { n, repeat } = software ? products[name] : onGPU
    const { wrong, gflops, milliseconds } = await knownMatmul(backend, n, repeat)
    const speed = `${n} x ${n} in ${milliseconds.toPrecision(3)} ms, ${gflops.toPrecision(3)} GFLOP/s`
    return wrong === null
      ? check(name, `${speed}; ${backend.description}`)
      : check(
          name,
          `a wrong product: ${wrong}`,
          `report it with this table; until then choose another --backend (${backend.description})`,
          'error',
        )
  } catch (error) {
    if (!(error instanceof CotangentError)) throw error
    return check(name, 'fails', error.message.split('\n')[0], failed)
  } finally {
    backend.close()
  }
}
