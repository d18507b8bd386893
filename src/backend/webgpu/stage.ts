/**
 * The numbers of a stage. In: a stage, a kernel, what the machine has. Out: whether the kernel can be computed so, with
 * which memory, and who computes what. staged.ts and matrices.ts make text of it; presets.ts and tune.ts choose by it.
 */
import type { Kernel, MatrixShape, Schedule, Stage } from '../kernel.ts'
import { type Contraction, contractionOf } from './contraction.ts'
import { RUNS } from './loops.ts'
import type { Machine, Matrices } from './machine.ts'
import { LANES } from './tiles.ts'

/** Invocations of a workgroup that every adapter allows. */
const MOST_INVOCATIONS = 256
const { longest: LONGEST, block: RUN } = RUNS.many
/** Beyond, the runs would be too many for one sum. */
const MOST_TERMS = LONGEST * RUN

/** Invocations of a workgroup. */
export const invocationsOf = ({ block, tile }: Stage): number => (block[0] / tile[0]) * (block[1] / tile[1])

/** Workgroup memory of a stage, in bytes. */
export function bytesOfStage(stage: Stage): number {
  const { block, depth, buffers, matrix } = stage
  const operands = (block[0] + block[1]) * depth * buffers
  return matrix === undefined ? 4 * operands : 2 * operands + 4 * LANES * LANES * invocationsOf(stage)
}

const fits = (n: number, unit: number) => n > 0 && Number.isInteger(n / unit)

/** Whether a value is a stage, whose numbers divide each other as they must. */
export function isStage(x: unknown): x is Stage {
  if (typeof x !== 'object' || x === null) return false
  const { block, tile, depth, buffers, matrix }: Partial<Record<keyof Stage, unknown>> = x
  if (!Array.isArray(block) || !Array.isArray(tile) || block.length !== 2) return false
  return (
    [0, 1].every(i => fits(Number(tile[i]), LANES) && fits(Number(block[i]), Number(tile[i]))) &&
    fits(Number(depth), LANES) &&
    fits(RUN, Number(depth)) &&
    (buffers === 1 || buffers === 2) &&
    (matrix === undefined || isShape(matrix))
  )
}

function isShape(x: unknown): x is MatrixShape {
  if (typeof x !== 'object' || x === null) return false
  const { m, n, k }: Partial<Record<keyof MatrixShape, unknown>> = x
  return [m, n, k].every(size => Number.isInteger(size) && Number(size) > 0)
}

/** The product that can be computed in stages; null where a kernel is none. */
export function productOf(k: Kernel): Contraction | null {
  const product = contractionOf(k)
  return product !== null && product.terms.extent <= MOST_TERMS ? product : null
}

/**
 * How the subgroups of a workgroup share a block: rows, then columns. The block is a grid of regions, in each of which
 * every invocation has 4 x 4 results; of a region every subgroup computes a grid of matrices, the same in all.
 */
export interface Deal {
  readonly region: readonly [number, number]
  readonly regions: readonly [number, number]
  readonly subgroups: readonly [number, number]
  /** Matrices of a subgroup in a region. */
  readonly matrices: readonly [number, number]
  /** Whether there may be more subgroups than these: then the others wait. */
  readonly more: boolean
}

/** How a stage's matrices are shared out; null where the machine has none of their sizes, or sizes do not divide. */
export function dealOf(stage: Stage, machine: Matrices | null): Deal | null {
  const { block, tile, depth, matrix } = stage
  if (matrix === undefined || machine === null) return null
  const { m, n, k } = matrix
  const { min, max } = machine.subgroup
  const invocations = invocationsOf(stage)
  const region = [(LANES * block[0]) / tile[0], (LANES * block[1]) / tile[1]] as const
  const has = machine.shapes.some(s => s.m === m && s.n === n && s.k === k)
  if (!has || !fits(region[0], m) || !fits(region[1], n) || !fits(depth, k) || !fits(invocations, max))
    return null
  const regions = [tile[0] / LANES, tile[1] / LANES] as const
  const all = [region[0] / m, region[1] / n] as const
  const most = invocations / max
  /** The most subgroups at work; of equals, those that load the fewest matrices. */
  let best: Deal | null = null
  let rank = [0, 0]
  for (let r = 1; r <= all[0]; r++)
    for (let c = 1; r * c <= most && c <= all[1]; c++) {
      if (!fits(all[0], r) || !fits(all[1], c)) continue
      const matrices = [all[0] / r, all[1] / c] as const
      const loads = matrices[0] * regions[0] + matrices[1] * regions[1]
      if (r * c < rank[0] || (r * c === rank[0] && loads >= rank[1])) continue
      rank = [r * c, loads]
      best = { region, regions, subgroups: [r, c], matrices, more: min < max || r * c < most }
    }
  return best
}

/** A stage, what it is for, and how its matrices are shared out where it has some. */
export interface Staging {
  readonly stage: Stage
  readonly product: Contraction
  readonly deal: Deal | null
}

/**
 * The stage of a schedule; null where it wants none, or none that the machine has room or matrices for, and where the
 * kernel is no product.
 */
export function stagingOf(
  k: Kernel,
  { stage }: Schedule,
  { workgroupBytes, matrices }: Pick<Machine, 'workgroupBytes' | 'matrices'>,
): Staging | null {
  if (stage === undefined || !isStage(stage)) return null
  if (bytesOfStage(stage) > workgroupBytes || invocationsOf(stage) > MOST_INVOCATIONS) return null
  const deal = dealOf(stage, matrices)
  if (stage.matrix !== undefined && deal === null) return null
  const product = productOf(k)
  return product && { stage, product, deal }
}
