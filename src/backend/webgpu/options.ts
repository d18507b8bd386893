/** What a caller may ask of the WebGPU backend. */
import type { Plan } from '../plan.ts'
import type { KernelTime } from '../work.ts'

/** Options of the WebGPU backend. */
export interface WebGPUOptions {
  /** Fills the arena and every result with NaN before each run: what is read unwritten shows. For tests. */
  readonly poison?: boolean
  /**
   * Is called after every run with the time of each kernel, by the device's clock. Each kernel then is a compute
   * pass of its own and every run waits for its end. Needs the feature `timestamp-query`.
   */
  readonly profile?: (times: readonly KernelTime[]) => void
  /**
   * Bytes on the device beyond which dead arrays are collected before more is allocated; grows with what is alive.
   * Default: 1 GiB.
   */
  readonly memoryBudget?: number
  /** Changes the schedules of a plan before it is compiled: the tuner's hook. */
  readonly refine?: (plan: Plan) => Promise<Plan>
  /** Splits long plans, for drivers that kill what runs too long. Default: no limit. */
  readonly maxDispatchesPerSubmit?: number
}
