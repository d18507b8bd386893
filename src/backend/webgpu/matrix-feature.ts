/**
 * Subgroup matrices as Dawn offers them: behind a flag, because WebGPU has not settled them yet. In: what an adapter says
 * of itself. Out: the sizes that it multiplies in f16 and sums in f32, or what it lacks.
 */
import type { MatrixShape } from '../kernel.ts'
import type { AdapterInfo } from './dawn.ts'
import type { Matrices } from './machine.ts'

/** The feature that a device asks for. */
export const MATRIX_FEATURE = 'chromium-experimental-subgroup-matrix'
/** The flag with which Dawn's instance is made. */
export const MATRIX_FLAG = 'enable-dawn-features=allow_unsafe_apis'

/**
 * The sizes of f16 matrices with f32 sums, in the driver's order.
 * @param configs  `subgroupMatrixConfigs` of WebGPU's adapter information; undefined where Dawn does not know it
 */
export const matrixShapes = (configs: Iterable<object> | undefined): readonly MatrixShape[] =>
  [...(configs ?? [])].flatMap(config => {
    const of = (field: string): unknown => Reflect.get(config, field)
    const [m, n, k] = ['M', 'N', 'K'].map(size => Number(of(size)))
    return of('componentType') === 'f16' && of('resultComponentType') === 'f32' ? [{ m, n, k }] : []
  })

type About = Pick<AdapterInfo, 'features' | 'matrices' | 'subgroups'>

/** The subgroup matrices that shaders of a device may use; null where they were not asked for, or it has none. */
export const matricesOf = (info: About): Matrices | null =>
  info.features.includes(MATRIX_FEATURE) && matrixLack(info) === null
    ? { shapes: info.matrices, subgroup: info.subgroups }
    : null

/** What of subgroup matrices an adapter lacks, as the end of a sentence; null where it has all. */
export function matrixLack({ features, matrices, subgroups }: About): string | null {
  const missing = [MATRIX_FEATURE, 'shader-f16'].filter(f => !features.includes(f))
  if (missing.length > 0) return `the feature ${missing.join(' and ')}`
  if (matrices.length === 0) return 'matrices of f16 whose products are summed in f32'
  return subgroups.max > 0 ? null : 'a known size of subgroups'
}
