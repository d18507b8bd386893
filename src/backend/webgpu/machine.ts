/** What a shader's text depends on besides its kernel. */
import type { MatrixShape } from '../kernel.ts'

/** Subgroup matrices of f16, whose products are summed in f32. */
export interface Matrices {
  /** In the driver's order. */
  readonly shapes: readonly MatrixShape[]
  /** Invocations of a subgroup. */
  readonly subgroup: { readonly min: number; readonly max: number }
}

/** What of a device matters to a shader's text. */
export interface Machine {
  /** Invocations that run together: where there are few, workgroups are of this size. */
  readonly subgroup: number
  /**
   * The longest reduce loop goes innermost, where the order of the terms is free. Software drivers pay for entering
   * a loop; a GPU gains more from windows whose elements stay in the cache.
   */
  readonly longestInnermost: boolean
  /** Whether the driver unrolls too much: see Note [Hidden trips] in loops.ts. */
  readonly hidesTrips: boolean
  /** Whether invocations that run together should touch neighbours in memory, so that their accesses merge. */
  readonly neighbours: boolean
  /** The smallest subgroup, where shaders may use them. */
  readonly subgroups: { readonly min: number } | null
  /** Lanes of a subgroup that share loads: see Note [Shared loads] in sharing.ts. Null: none do. */
  readonly sharing: number | null
  /** Bytes of memory that a workgroup may share. */
  readonly workgroupBytes: number
  /** Where shaders may use them. */
  readonly matrices: Matrices | null
}
