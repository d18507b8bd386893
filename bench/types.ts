/** What the bench measures, and what comes of it. */

import type * as ct from '../src/index.ts'
import type { CoreSpeed } from './cores.ts'
import type { Task } from './peers/harness.mjs'
import type { Summary } from './statistics.ts'

/** A computation over flat lists of tensors. */
export type Compute = (...inputs: readonly ct.Tensor[]) => readonly ct.Tensor[]

/** A workload. */
export interface Workload extends Task {
  readonly title: string
  /** `core` runs by default, `long` with --all, `gpu` with --all where the adapter is no software. */
  readonly group: 'core' | 'long' | 'gpu'
  readonly compute: Compute
  /** `run` times a step; `compile` tracing and compiling; `start` a fresh process up to its first result. */
  readonly kind: 'run' | 'compile' | 'start'
  /** Floating-point operations of a step (a fused multiply and add is two), where they are what limits it. */
  readonly flop?: number
  /** Bytes read and written by a perfect implementation, where they are what limits it. */
  readonly bytes?: number
  /** The largest difference allowed between results, relative to the largest value (or to 1). */
  readonly tolerance: number
}

/** What was measured of one contender on one workload. */
export interface Outcome extends Partial<Summary> {
  readonly contender: string
  /** The first repetition, with what it compiles lazily, in ms. */
  readonly firstMs?: number
  /** Largest difference from Cotangent's results, relative to the largest value (or to 1). */
  readonly difference?: number
  readonly facts?: Readonly<Record<string, number>>
  /** Why there is no time. */
  readonly error?: string
}

/** A workload's outcomes. */
export interface Result {
  readonly workload: string
  readonly title: string
  readonly flop?: number
  readonly bytes?: number
  readonly outcomes: readonly Outcome[]
  /** What the cores could do before each turn. */
  readonly cores: readonly CoreSpeed[]
}
