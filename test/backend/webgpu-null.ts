/** Dawn's Null backend: it offers subgroup matrices and has Tint check every shader, and runs nothing. */
import { createRequire } from 'node:module'
import { MATRIX_FEATURE, MATRIX_FLAG } from '../../src/backend/webgpu/matrix-feature.ts'
import { packagedDawn } from '../../src/backend/webgpu/vulkan.ts'

const path = packagedDawn()
/** Where the npm package has no Dawn, its checks cannot run: it says so. */
export const noDawn =
  path === undefined
    ? `the npm package webgpu has no Dawn for ${process.platform} ${process.arch}`
    : (false as const)

/** Kept for ever: the process dies when Dawn's instance is collected while anything of it is used. */
const kept: GPU[] = []

/** What checks a shader: null where it is right, else what Dawn says. */
export interface Check {
  /** Bytes of workgroup memory that a pipeline may have. */
  readonly workgroupBytes: number
  /** The text alone. */
  readonly module: (wgsl: string) => Promise<string | null>
  /** The text, and what the device allows. */
  readonly pipeline: (wgsl: string) => Promise<string | null>
}

/** Opens the Null device. */
export async function openNull(): Promise<Check> {
  if (path === undefined) throw new Error('no Dawn')
  const dawn: { readonly create: (flags: readonly string[]) => GPU } = createRequire(import.meta.url)(path)
  const gpu = dawn.create(['backend=null', MATRIX_FLAG])
  kept.push(gpu)
  const adapter = await gpu.requestAdapter()
  if (adapter === null) throw new Error('Dawn has no Null adapter')
  // @webgpu/types does not know Dawn's experimental features
  const feature = MATRIX_FEATURE as GPUFeatureName
  const device = await adapter.requestDevice({ requiredFeatures: ['shader-f16', 'subgroups', feature] })
  const compile = async (code: string) => {
    device.pushErrorScope('validation')
    const module = device.createShaderModule({ code })
    const { messages } = await module.getCompilationInfo()
    const error = await device.popErrorScope()
    const said = messages.map(m => `${m.type}: ${m.message}`).join('\n')
    return { module, said: error?.message ?? (said === '' ? null : said) }
  }
  return {
    workgroupBytes: device.limits.maxComputeWorkgroupStorageSize,
    module: async code => (await compile(code)).said,
    pipeline: async code => {
      const { module, said } = await compile(code)
      if (said !== null) return said
      return device
        .createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint: 'main' } })
        .then(
          () => null,
          (e: Error) => e.message,
        )
    },
  }
}
