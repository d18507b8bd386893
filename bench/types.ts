/** What the bench measures, and what comes of it. */
import type * as ct from '../src/index.ts'
import type { Outcome } from './measure.ts'
import type { Task } from './peers/harness.mjs'

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

/** A workload's outcomes. */
export interface Result {
  readonly workload: string
  readonly title: string
  readonly flop?: number
  readonly bytes?: number
  readonly outcomes: readonly Outcome[]
}
