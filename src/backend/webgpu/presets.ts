/**
 * What the choice of schedules depends on, for the adapters that are known. In: what an adapter says of itself. Out:
 * weights, for tune.ts.
 *
 * Note [Adapters]. The weights of lavapipe and SwiftShader were fitted to measured kernels. There an invocation is a
 * lane of a core's vector unit: a load that neighbouring positions share, or that lies beside another, is what saves
 * time, workgroup memory is not; large unrolled tiles cost compile time, on SwiftShader above all. Costs of loads are those of a lane that loads for
 * itself (what lavapipe's lanes share costs less: sharing.ts). The presets of
 * GPUs are not measured: they follow from what is published of the chips (lanes, registers, size of subgroups), and
 * autotune.ts measures the rest. A GPU needs many invocations to hide its memory behind.
 */
import type { MatrixShape, Stage } from '../kernel.ts'
import type { AdapterInfo } from './dawn.ts'
import { matricesOf } from './matrix-feature.ts'
import { bytesOfStage, dealOf } from './stage.ts'

/** The weights. Costs are in multiply-and-adds. */
export interface Profile {
  /** Results that one invocation may keep in registers. */
  readonly results: number
  /** Statements that unrolling may make: compile time. */
  readonly statements: number
  /** Invocations below which the device is not busy. */
  readonly busy: number
  /** A load of one element, of one of eight neighbours, of one in an aligned vector. */
  readonly load: { readonly single: number; readonly beside: number; readonly quad: number }
  /** Lanes that share loads: see Note [Shared loads] in sharing.ts. Null: none do. */
  readonly sharing: number | null
  /** A load where invocations that run together touch elements far apart; null where this does not matter. */
  readonly apart: number | null
  /** What an invocation costs beside its points. */
  readonly invocation: number
  /** Sizes of teams to choose from (team.ts): none where barriers cost more than they bring. */
  readonly teams: readonly number[]
  /** Stages of contractions to choose from (staged.ts), the preferred ones of equals first: none likewise. */
  readonly stages: readonly Stage[]
  /** Stages by subgroup matrices (matrices.ts): none where they were not asked for. */
  readonly matrices: readonly Stage[]
}

/** Mesa's lavapipe: 8 lanes on each core, compiles 500 statements in 50 ms. */
const lavapipe: Profile = {
  results: 128,
  statements: 600,
  busy: 128,
  load: { single: 5, beside: 2, quad: 0.5 },
  sharing: null,
  apart: null,
  invocation: 12,
  teams: [],
  stages: [],
  matrices: [],
}
/** SwiftShader: 4 lanes, compiles 64 multiply-and-adds in 200 ms. */
const swiftshader: Profile = {
  results: 32,
  statements: 200,
  busy: 64,
  load: { single: 3, beside: 3, quad: 2 },
  sharing: null,
  apart: null,
  invocation: 12,
  teams: [],
  stages: [],
  matrices: [],
}
const stage = (
  rows: number,
  columns: number,
  tile: Stage['tile'],
  depth: number,
  buffers: Stage['buffers'] = 2,
): Stage => ({ block: [rows, columns], tile, depth, buffers })
/** Blocks that others found good, from the largest to the smallest. */
const stages: readonly Stage[] = [
  stage(128, 128, [8, 8], 16),
  stage(128, 128, [8, 8], 8),
  stage(128, 64, [8, 4], 16),
  stage(128, 64, [8, 4], 8),
  stage(64, 128, [4, 8], 16),
  stage(64, 128, [4, 8], 8),
  stage(64, 64, [4, 4], 16),
  stage(64, 64, [8, 8], 16),
  stage(64, 64, [4, 4], 32, 1),
  stage(32, 32, [4, 4], 16),
]
/** Blocks for matrices of any size, from the largest to the smallest: 16 results of an invocation at a time. Unmeasured. */
const blocks: readonly Stage[] = [
  stage(128, 128, [8, 8], 32, 1),
  stage(128, 64, [8, 8], 32),
  stage(64, 64, [8, 4], 32),
  stage(64, 64, [8, 4], 32, 1),
  stage(32, 32, [4, 4], 32),
]
/** Workgroup memory that WebGPU guarantees. */
const GUARANTEED_BYTES = 16384

/** A GPU of which nothing else is known. */
const gpu: Profile = {
  results: 64,
  statements: 400,
  busy: 8192,
  load: { single: 3, beside: 2, quad: 0.75 },
  sharing: null,
  apart: 12,
  invocation: 8,
  teams: [32, 64, 128, 256],
  stages,
  matrices: [],
}
/** By vendor, as WebGPU names them. Unmeasured: see Note [Adapters]. */
const gpus: Readonly<Record<string, Profile>> = {
  // 255 registers an invocation, subgroups of 32, 10,000 lanes and more
  nvidia: { ...gpu, busy: 16384 },
  // subgroups of 64, or of 32
  amd: { ...gpu, teams: [64, 128, 256] },
  // 1,000 to 5,000 lanes, subgroups of 32
  apple: { ...gpu, busy: 4096 },
  // subgroups of 8 to 32 share 4 KiB of registers a thread: small tiles
  intel: { ...gpu, results: 32, busy: 2048, teams: [32, 64, 128] },
  qualcomm: { ...gpu, results: 16, busy: 1024, teams: [64, 128] },
  arm: { ...gpu, results: 16, busy: 1024, teams: [16, 64] },
}

/** What of an adapter is looked at. */
export type Adapter = Pick<AdapterInfo, 'software' | 'name'> &
  Partial<Pick<AdapterInfo, 'vendor' | 'features' | 'matrices' | 'subgroups'>> & {
    readonly limits?: Pick<AdapterInfo['limits'], 'maxComputeWorkgroupStorageSize'>
  }

/**
 * The profile of an adapter: what it has registers and memory for. Unknown software adapters compile slowly. Subgroup
 * matrices were asked for, so a software adapter that has them gets them.
 */
export function profileOf(adapter: Adapter): Profile {
  const { software, name, vendor, limits } = adapter
  const room = limits?.maxComputeWorkgroupStorageSize ?? GUARANTEED_BYTES
  const matrices = matrixStages(adapter, room)
  if (software)
    return /llvmpipe|lavapipe/.test(name)
      ? { ...lavapipe, sharing: evenSubgroups(adapter), matrices }
      : { ...swiftshader, matrices }
  const profile = gpus[vendor ?? ''] ?? Object.entries(gpus).find(([key]) => name.includes(key))?.[1] ?? gpu
  const fits = (s: Stage) => s.tile[0] * s.tile[1] <= profile.results && bytesOfStage(s) <= room
  return { ...profile, stages: profile.stages.filter(fits), matrices }
}

/** The lanes of every subgroup, where shaders may use them and all have as many; else null. */
const evenSubgroups = ({ features = [], subgroups = NONE }: Adapter): number | null =>
  features.includes('subgroups') && subgroups.min > 1 && subgroups.min === subgroups.max
    ? subgroups.min
    : null

/** The blocks that an adapter can compute by its largest matrices. */
function matrixStages({ features = [], matrices = [], subgroups = NONE }: Adapter, room: number): Stage[] {
  const machine = matricesOf({ features, matrices, subgroups })
  const volume = ({ m, n, k }: MatrixShape) => m * n * k
  const sizes = [...(machine?.shapes ?? [])].sort((a, b) => volume(b) - volume(a))
  const stages = sizes.map(matrix =>
    blocks
      .map(block => ({ ...block, matrix }))
      .filter(s => dealOf(s, machine) !== null && bytesOfStage(s) <= room),
  )
  return stages.find(s => s.length > 0) ?? []
}
const NONE = { min: 0, max: 0 } as const
