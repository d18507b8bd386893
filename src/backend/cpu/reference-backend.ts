/** The reference interpreter as a backend: for tests, and for a quick look. */
import * as E from 'fp-ts/lib/Either.js'
import type { NDArray } from '../../dsl/array.ts'
import { DeviceError } from '../../dsl/errors.ts'
import { makeGraph } from '../../dsl/graph.ts'
import type { Tensor } from '../../dsl/tensor.ts'
import { isTensor } from '../../dsl/trace.ts'
import { fillTree, leaves, type MapTree } from '../../dsl/tree.ts'
import { type Argument, type Backend, isResident, type Resident } from '../backend.ts'
import { interpret, referenceDTypes } from './reference.ts'

class HostArray implements Resident {
  private array: NDArray | null
  readonly type: NDArray
  constructor(array: NDArray) {
    this.array = array
    this.type = array
  }
  /** The array now. */
  get(): NDArray {
    if (this.array === null) throw new DeviceError('the array was donated or disposed of')
    return this.array
  }
  read = async (): Promise<NDArray> => this.get()
  dispose = (): void => {
    this.array = null
  }
}

const toHost = (a: Argument): NDArray => {
  if (!isResident(a)) return a
  if (a instanceof HostArray) return a.get()
  throw new DeviceError('the array lives on another backend; read() it first')
}

/** The oracle: every dtype, every primitive, no speed. */
export const referenceBackend = (): Backend => ({
  name: 'reference',
  description: 'reference interpreter (JavaScript)',
  dtypes: referenceDTypes,
  compile: graph => async () => {
    return E.right({
      stats: { kernels: graph.eqns.length, arenaBytes: 0, peakBytes: 0 },
      run: async (args, donate) => {
        const out = interpret(graph, args.map(toHost)).map(a => new HostArray(a))
        args.forEach((a, i) => {
          if (donate[i] && isResident(a)) a.dispose()
        })
        return out
      },
    })
  },
  memory: () => ({ buffers: 0, bytes: 0 }),
  close: () => undefined,
})

/**
 * The value of constant tensors, by the reference interpreter: for a quick look.
 * @param tree a tensor, or a tree of them, made from constants alone
 * @throws CompileError if it depends on an argument of a traced function
 * @example evaluate(add(tensor([1, 2]), 3)).data // Float32Array [4, 5]
 */
export function evaluate<T>(tree: T): MapTree<T, Tensor, NDArray> {
  const outputs = leaves(tree, isTensor).map(l => l.leaf)
  return fillTree(tree, isTensor, interpret(makeGraph([], outputs), [])) as MapTree<T, Tensor, NDArray>
}
