/**
 * Compute pipelines, compiled once. In: WGSL text. Out: `GPUComputePipeline`s, compiled in parallel off the main
 * thread, shared by content; a shader that does not compile is a `DeviceError` with the compiler's message.
 */
import { DeviceError } from '../../dsl/errors.ts'
import type { Faults } from './buffers.ts'

/** A compute pipeline to compile. Equal text, entry point, constants and layout share one pipeline. */
export interface PipelineSource {
  /** For errors and debuggers; no part of the identity. */
  readonly label: string
  readonly wgsl: string
  /** Default `main`. */
  readonly entryPoint?: string
  /** Values of the shader's `override` declarations. */
  readonly constants?: Readonly<Record<string, number>>
  /** Default `auto`: derived from the shader. */
  readonly layout?: GPUPipelineLayout
}

/** The pipelines of one device. */
export interface PipelineCache {
  /** Compiles what is not there yet; results in the order of the sources. */
  readonly pipelines: (sources: readonly PipelineSource[]) => Promise<readonly GPUComputePipeline[]>
  readonly size: () => number
  readonly clear: () => void
}

/**
 * Compiled pipelines kept for programs to come, the least recently used go first. Each takes 0.4 MiB on Mesa's
 * lavapipe; WebGPU frees one when the garbage collector does. A network needs tens to hundreds, and keeps its own.
 */
const MAX_PIPELINES = 256

/** A cache of compiled pipelines, keyed by their whole content. */
export const pipelineCache = (gpu: GPUDevice, { wait, guard, fail }: Faults): PipelineCache => {
  const cache = new Map<string, Promise<GPUComputePipeline>>()
  const layoutId = identities<GPUPipelineLayout>()

  const compile = async ({ label, wgsl, entryPoint = 'main', constants, layout }: PipelineSource) => {
    const module = await guard(`shader "${label}"`, () => gpu.createShaderModule({ label, code: wgsl }))
    const compute = { module, entryPoint, constants: { ...constants } }
    try {
      return await wait(gpu.createComputePipelineAsync({ label, layout: layout ?? 'auto', compute }))
    } catch (e) {
      throw e instanceof DeviceError ? fail(`pipeline "${label}": ${e.message}`) : e
    }
  }

  const pipeline = (source: PipelineSource) => {
    const { wgsl, entryPoint = 'main', constants = {}, layout } = source
    const key = JSON.stringify([
      wgsl,
      entryPoint,
      Object.entries(constants).sort(),
      layout ? layoutId(layout) : 0,
    ])
    const known = cache.get(key)
    const compiled = known ?? compile(source)
    // Deleted and set again, so that the map's order is that of last use.
    cache.delete(key)
    cache.set(key, compiled)
    if (!known) compiled.catch(() => cache.delete(key))
    const [oldest] = cache.keys()
    if (cache.size > MAX_PIPELINES) cache.delete(oldest)
    return compiled
  }

  return {
    pipelines: sources => Promise.all(sources.map(pipeline)),
    size: () => cache.size,
    clear: () => cache.clear(),
  }
}

/** Numbers objects from 1 in the order of their first sight, and holds none of them. */
const identities = <A extends object>() => {
  const ids = new WeakMap<A, number>()
  let count = 0
  return (object: A): number => {
    const id = ids.get(object) ?? ++count
    ids.set(object, id)
    return id
  }
}
