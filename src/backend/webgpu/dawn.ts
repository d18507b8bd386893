/**
 * Finds and loads Dawn, headless. In: which adapter one wants. Out: a `GPUAdapter` and what it says of itself,
 * or a `DeviceError` that says what was tried and what to install. The lowest layer of the WebGPU backend.
 *
 * Note [Two Dawns]. Dawn looks for the Vulkan loader beside itself, then on the system's library path. So there
 * are two sources, tried in turn; a real GPU goes before a software one within each:
 *   1. `dawn.node` of the npm package `webgpu`, which finds the system's loader (Metal on macOS, D3D12 on Windows);
 *   2. on Linux x64, a private folder with a copy of `dawn.node`, the Vulkan loader and SwiftShader beside it
 *      (see `vulkan.ts`), for servers that have a driver but no loader, or neither.
 * `COTANGENT_DAWN_DIR` names a folder laid out like the private one, used instead of both (the offline bundle
 * sets it): dawn.node, libvulkan.so.1, and vk_swiftshader_icd.json with libvk_swiftshader.so, both optional.
 */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import * as TE from 'fp-ts/lib/TaskEither.js'
import { DeviceError } from '../../dsl/errors.ts'
import type { MatrixShape } from '../kernel.ts'
import { MATRIX_FLAG, matrixShapes } from './matrix-feature.ts'
import { canLoad, hiddenDrivers, packagedDawn, privateFolder, SWIFTSHADER_MANIFEST } from './vulkan.ts'

/** The limits that compute needs, by their WebGPU names. @see https://www.w3.org/TR/webgpu/#limits */
export const COMPUTE_LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxUniformBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxBindingsPerBindGroup',
  'maxBindGroups',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupSizeY',
  'maxComputeWorkgroupSizeZ',
  'maxComputeWorkgroupsPerDimension',
  'minStorageBufferOffsetAlignment',
  'minUniformBufferOffsetAlignment',
] as const

/** The adapter's compute limits; sizes and alignments in bytes. */
export type Limits = Readonly<Record<(typeof COMPUTE_LIMITS)[number], number>>

/** What is known of an adapter before a device is opened on it. */
export interface AdapterInfo {
  /** As the driver names it, lower case with dashes: `nvidia-h200`, `swiftshader-device-subzero`. */
  readonly name: string
  readonly vendor: string
  readonly architecture: string
  /** The driver's name and version: `SwiftShader driver 5.0.0`. */
  readonly driver: string
  /** A CPU that plays a GPU (SwiftShader, lavapipe, WARP): right numbers, no speed. */
  readonly software: boolean
  /** Where Dawn came from: one of the sources of Note [Two Dawns], in words. */
  readonly source: string
  /** Smallest and largest subgroup, in invocations; 0 where the adapter does not say. */
  readonly subgroups: { readonly min: number; readonly max: number }
  /** The sizes of subgroup matrices of f16 with sums in f32; none where they were not asked for. */
  readonly matrices: readonly MatrixShape[]
  readonly limits: Limits
  readonly features: readonly string[]
}

/** Which adapter to open. With neither option: the first real GPU, else a software one. */
export interface AdapterOptions {
  /** Part of the adapter's name, in any case: `nvidia`, `NVIDIA H200`, `swiftshader`. */
  readonly adapter?: string
  /** `true`: only a software adapter will do. `false`: only a real GPU. */
  readonly software?: boolean
  /**
   * Products of matrices, and so convolutions, by subgroup matrices (tensor cores), for adapters that have them. Both
   * operands are rounded to f16, sums are f32: an error of 2^-11 of every operand (2^-10 where a driver cuts off, as WGSL
   * allows it), and operands beyond 65504 overflow. So values and gradients must be scaled, as in f16 storage. When the
   * backend is opened it is checked on a small product. Was never run on hardware: its speed is not measured. Dawn holds
   * the feature for experimental. Default: false.
   */
  readonly subgroupMatrices?: boolean
}

/** An adapter, ready for `requestDevice` (once: an adapter is used up by it). */
export interface OpenAdapter {
  readonly adapter: GPUAdapter
  readonly info: AdapterInfo
}

/**
 * Finds an adapter: see `AdapterOptions` and Note [Two Dawns].
 * @returns  Left(DeviceError) when none fits: it names each source tried, the adapters seen, and what to install
 * @example  const either = await openAdapter({ adapter: 'h200', software: false })()
 */
export const openAdapter = (options: AdapterOptions = {}): TE.TaskEither<DeviceError, OpenAdapter> =>
  TE.tryCatch(
    () => choose(options),
    e => (e instanceof DeviceError ? e : new DeviceError(`webgpu: Dawn failed: ${messageOf(e)}`)),
  )

/** The compute limits of an adapter or a device, copied out of its prototype. */
export const limitsOf = (limits: GPUSupportedLimits): Limits => {
  const pick = <K extends keyof Limits>(key: K) => [key, limits[key]] as const
  // fromEntries forgets the keys' type; COMPUTE_LIMITS is all of them.
  return Object.fromEntries(COMPUTE_LIMITS.map(pick)) as Limits
}

/** The message of anything thrown. */
export const messageOf = (e: unknown): string => (e instanceof Error ? e.message : String(e))

/** One line for logs and tests: `swiftshader-device-subzero (software; SwiftShader driver 5.0.0; ...)`. */
export const describe = (info: AdapterInfo): string =>
  `${info.name} (${[info.software ? 'software' : 'GPU', info.driver, `Dawn from ${info.source}`].filter(Boolean).join('; ')})`

// ---------------------------------------------------------------------------------------------------------

const require = createRequire(import.meta.url)

interface Dawn {
  readonly create: (flags: readonly string[]) => GPU
}

/** A `dawn.node` to load, with the Vulkan driver manifests to add to those that the loader finds by itself. */
interface Source {
  readonly name: string
  readonly path: string
  readonly manifests: readonly string[]
}

/** Timestamps to the ns, for tuning; WebGPU rounds them to 65 microseconds against spying by web pages. */
const FLAGS = ['disable-dawn-features=timestamp_quantization']

/** Every instance ever created: the process dies when one is collected while anything made from it is used. */
const instances = new Map<string, GPU>()

const instanceOf = (source: Source, choice: readonly string[]): GPU => {
  const flags = [...choice, ...FLAGS]
  const key = JSON.stringify([source.path, flags])
  const known = instances.get(key)
  if (known) return known
  const dawn: Dawn = require(source.path)
  const gpu = dawn.create(flags)
  instances.set(key, gpu)
  return gpu
}

const choose = async (options: AdapterOptions): Promise<OpenAdapter> => {
  const log: string[] = []
  for (const candidate of sources()) {
    const source = candidate()
    if (typeof source === 'string') {
      log.push(source)
      continue
    }
    const found = await findIn(source, options)
    if (typeof found !== 'string') return found
    log.push(`${source.name}: ${found}`)
  }
  throw new DeviceError(
    [
      `webgpu: ${wanted(options)}`,
      ...log.map(line => `  tried ${line}`),
      process.platform === 'linux'
        ? "  Linux needs a Vulkan loader and a driver: apt-get install libvulkan1 and your GPU's driver, or" +
          ' mesa-vulkan-drivers >= 25 for a software adapter'
        : "  install your GPU's current driver",
    ].join('\n'),
  )
}

const wanted = ({ adapter, software }: AdapterOptions): string => {
  const kind = software === undefined ? '' : software ? ' software' : ' hardware'
  return `no${kind} adapter ${adapter === undefined ? 'found' : `has a name with "${adapter}" in it`}`
}

/** The adapter of this source that fits the options, or why there is none. */
const findIn = async (source: Source, options: AdapterOptions): Promise<OpenAdapter | string> => {
  const names = options.adapter === undefined ? [] : await namesIn(source)
  const needle = options.adapter === undefined ? undefined : dashed(options.adapter)
  const match = names.find(name => needle !== undefined && dashed(name).includes(needle))
  if (needle !== undefined && match === undefined)
    return names.length ? `has ${names.join(', ')}` : 'has no adapter'
  const flags = [
    ...(match === undefined ? [] : [`adapter=${match}`]),
    ...(options.subgroupMatrices ? [MATRIX_FLAG] : []),
  ]
  const adapter = await request(source, flags, {
    powerPreference: 'high-performance',
    forceFallbackAdapter: options.software === true,
  })
  if (!adapter) return options.software ? 'has no software adapter' : 'has no adapter'
  const info = infoOf(adapter, source)
  if (info.software && needle === undefined && options.software !== true) {
    // Dawn sorts a virtual machine's GPU, whose kind it does not know, behind software ones.
    const real = (await namesIn(source)).find(name => !SOFTWARE.test(name))
    if (real !== undefined) return findIn(source, { ...options, adapter: real })
  }
  return options.software === undefined || options.software === info.software
    ? { adapter, info }
    : `has ${info.name}, which is ${info.software ? 'software' : 'no software adapter'}`
}

/** A name as WebGPU reports it (`nvidia-h200`), so that the printed name and the driver's own both match. */
const dashed = (name: string): string =>
  name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '')

/**
 * The full names of a source's adapters. WebGPU lists none; but asked for a name that nothing bears, `dawn.node`
 * names them all in its error (dawn/src/dawn/node/binding/GPU.cpp).
 */
const namesIn = (source: Source): Promise<readonly string[]> =>
  request(source, ['adapter=\u0001'], {}).then(
    () => [],
    e => [...messageOf(e).matchAll(/name: '(.*)'/g)].map(m => m[1]),
  )

/** `requestAdapter`, with the source's manifests in the environment while Dawn enumerates (synchronously). */
const request = (source: Source, flags: readonly string[], options: GPURequestAdapterOptions) => {
  // The loader ignores VK_ADD_DRIVER_FILES where the user names the drivers; then ours join the user's.
  const variable =
    ['VK_DRIVER_FILES', 'VK_ICD_FILENAMES'].find(name => process.env[name]) ?? 'VK_ADD_DRIVER_FILES'
  const before = process.env[variable]
  const gpu = instanceOf(source, flags)
  if (source.manifests.length)
    process.env[variable] = [...(before ? [before] : []), ...source.manifests].join(':')
  try {
    return gpu.requestAdapter(options)
  } finally {
    if (before === undefined) delete process.env[variable]
    else process.env[variable] = before
  }
}

const infoOf = (adapter: GPUAdapter, source: Source): AdapterInfo => {
  const { vendor, architecture, device, description, isFallbackAdapter, ...about } = fieldsOf(adapter.info)
  return {
    name: dashed(device || description || vendor) || 'unnamed',
    vendor,
    architecture,
    driver: description,
    software: isFallbackAdapter || SOFTWARE.test(`${device} ${description} ${architecture}`),
    source: source.name,
    subgroups: { min: about.subgroupMinSize ?? 0, max: about.subgroupMaxSize ?? 0 },
    matrices: matrixShapes(Reflect.get(adapter.info, 'subgroupMatrixConfigs')),
    limits: limitsOf(adapter.limits),
    features: [...adapter.features].sort(),
  }
}

/** Mesa's, Google's and Microsoft's adapters that run on the CPU. */
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|softpipe|basic render|\bwarp\b/i

/** `GPUAdapterInfo` has its fields on the prototype, where destructuring with a rest does not see them. */
const fieldsOf = (info: GPUAdapterInfo) => ({
  vendor: info.vendor,
  architecture: info.architecture,
  device: info.device,
  description: info.description,
  isFallbackAdapter: info.isFallbackAdapter,
  subgroupMinSize: info.subgroupMinSize,
  subgroupMaxSize: info.subgroupMaxSize,
})

/** The sources of Note [Two Dawns], each a way to it or a sentence on why it is not there. */
const sources = (): readonly (() => Source | string)[] => {
  const folder = process.env.COTANGENT_DAWN_DIR
  return folder ? [() => folderSource('COTANGENT_DAWN_DIR', resolve(folder))] : [systemSource, privateSource]
}

const systemSource = (): Source | string => {
  const name = process.platform === 'linux' ? "the system's Vulkan loader" : "the system's driver"
  const path = packagedDawn()
  if (!path) return `${name}: the npm package webgpu has no Dawn for ${process.platform} ${process.arch}`
  if (process.platform === 'linux' && !systemHasLoader()) return `${name}: there is no libvulkan.so.1`
  return { name, path, manifests: hiddenDrivers() }
}

let hasLoader: boolean | undefined

/** Asked before Dawn is loaded (it complains on stderr), and once: a private loader in the process answers too. */
const systemHasLoader = (): boolean => {
  hasLoader ??= canLoad('libvulkan.so.1')
  return hasLoader
}

const privateSource = (): Source | string => {
  const folder = privateFolder()
  return typeof folder === 'string'
    ? folderSource('the private Vulkan loader', folder)
    : `the private Vulkan loader: ${folder.missing}`
}

const folderSource = (name: string, folder: string): Source | string => {
  const path = join(folder, 'dawn.node')
  if (!existsSync(path)) return `${name}: there is no ${path}`
  const swiftshader = join(folder, SWIFTSHADER_MANIFEST)
  return { name, path, manifests: [...hiddenDrivers(), ...(existsSync(swiftshader) ? [swiftshader] : [])] }
}
