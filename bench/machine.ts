/** What the times were measured on. In: nothing. Out: facts for the head of a table. */
import { availableParallelism, cpus, loadavg, platform, release, totalmem } from 'node:os'
import { wholeCoresOf } from './cores.ts'

/** A description of this machine and moment. */
export interface Machine {
  readonly cpu: string
  readonly cores: number
  /** Without the second threads of each. */
  readonly wholeCores: number
  readonly memoryGiB: number
  readonly system: string
  readonly node: string
  readonly date: string
  /** Processes that wanted to run in the minute before the bench began. */
  readonly load: number
}

/** @example describeMachine().cores */
export const describeMachine = (): Machine => ({
  cpu: cpus()[0]?.model ?? 'unknown',
  cores: availableParallelism(),
  wholeCores: wholeCoresOf(),
  memoryGiB: Math.round(totalmem() / 2 ** 30),
  system: `${platform()} ${release().split('-')[0]} ${process.arch}`,
  node: process.version,
  date: new Date().toISOString().slice(0, 16).replace('T', ' '),
  load: Math.round(loadavg()[0] * 10) / 10,
})

/**
 * Whether others were using the machine: then contenders with several threads lose more than others, ratios are off by
 * whole factors, and no target is judged.
 */
export const isBusy = ({ load, cores }: Machine): boolean => load > cores / 4
