/**
 * What a backend is: something that makes a program of a plan (or, for the reference interpreter, of a graph)
 * and runs it on arrays that live on its device. Shared code never asks which backend it has.
 */
import type { TaskEither } from 'fp-ts/lib/TaskEither.js'
import type { NDArray } from '../dsl/array.ts'
import type { DType } from '../dsl/dtype.ts'
import type { CotangentError } from '../dsl/errors.ts'
import type { Graph } from '../dsl/graph.ts'
import type { TensorType } from '../dsl/tensor.ts'

/**
 * An array on a device. Freed by the garbage collector, or early by `dispose`; a donated one is gone after the
 * call that took it.
 */
export interface Resident {
  readonly type: TensorType
  /** Copies to the host. @throws DeviceError if the array was donated or disposed of, or the device was lost */
  read(): Promise<NDArray>
  dispose(): void
}

/** Host data or a resident array of the same backend. */
export type Argument = NDArray | Resident

export const isResident = (a: Argument): a is Resident => 'read' in a

/** A compiled graph. */
export interface Program {
  /** Kernels in the plan, bytes of intermediates, and of all that a run holds: known before it runs. */
  readonly stats: { readonly kernels: number; readonly arenaBytes: number; readonly peakBytes: number }
  /**
   * Runs once. `donate[i]`: argument i is not needed afterwards, its memory may be reused; it must be true of the
   * arguments that the graph was compiled to overwrite.
   * Calls are executed in order; results are on the device when the promise resolves or when they are read.
   */
  run(args: readonly Argument[], donate: readonly boolean[]): Promise<readonly Resident[]>
}

export interface Backend {
  readonly name: 'reference' | 'cpu' | 'webgpu'
  /** One line for people: the device, its driver. */
  readonly description: string
  readonly dtypes: readonly DType[]
  /** @param donated the arguments that every run gives up: results may be written in their memory */
  compile(graph: Graph, donated?: readonly boolean[]): TaskEither<CotangentError, Program>
  /** Bytes of device memory held now: what leak tests read. */
  memory(): { readonly buffers: number; readonly bytes: number }
  close(): void
}
