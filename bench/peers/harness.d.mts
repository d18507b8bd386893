/** The types of harness.mjs: what the contenders' processes and the bench say to each other. */

/** An input: its type, and the formula of its values from a seed and the position. */
export interface InputSpec {
  readonly name: string
  readonly shape: readonly number[]
  readonly dtype: 'f32' | 'i32'
  readonly seed: number
  /** f32: values in offset +- scale; 1 and 0. */
  readonly scale?: number
  readonly offset?: number
  /** i32: values in [0, below). */
  readonly below?: number
}

/** A workload as a contender sees it. The first `state` inputs are replaced by the last outputs, step by step. */
export interface Task {
  readonly name: string
  readonly inputs: readonly InputSpec[]
  readonly state: number
}

/** A workload, set up in a contender's process. */
export interface Job {
  /** One repetition, finished on the device; a number is the time that counts, in ms. */
  readonly step: () => Promise<unknown>
  /** The results of the first repetition, f32, in the workload's order. */
  readonly outputs: () => Promise<readonly Float32Array[]>
  readonly drop?: () => void
  /** Only the first repetition in a process counts: nothing is warmed up. */
  readonly once?: boolean
  /** Numbers to keep with the times: bytes, kernels. */
  readonly facts?: Readonly<Record<string, number>>
}

export const MARK: string
/** The number of elements of a shape. */
export const elements: (shape: readonly number[]) => number
/** The values of an input, the same in every language. */
export const valuesOf: (spec: InputSpec) => Float32Array | Int32Array
/** Answers the bench's messages until stdin ends. */
export const serve: (description: string, setup: (task: Task) => Promise<Job>) => Promise<void>
/** Awaits a promise of Dawn's without taking a core. */
export const napping: <A>(promise: Promise<A>) => Promise<A>
