/** Tracing: a function over trees of tensors, called once with tensors that stand for its arguments. */
import type { DType } from './dtype.ts'
import { CompileError } from './errors.ts'
import { type Graph, makeGraph } from './graph.ts'
import type { Shape } from './shape.ts'
import { input, Tensor, type TensorType } from './tensor.ts'
import { leaves, type MapTree, mapTree } from './tree.ts'

export const isTensor = (x: unknown): x is Tensor => x instanceof Tensor

/** Whether a value says what a tensor will be: `{ shape, dtype }`, as `spec` makes and arrays are. */
export const isType = (x: unknown): x is TensorType =>
  typeof x === 'object' && x !== null && 'shape' in x && 'dtype' in x && Array.isArray(x.shape)

/**
 * The type of an argument.
 * @example compile(f, [spec([8, 3, 64, 64])], backend)
 */
export const spec = <const S extends Shape, D extends DType = 'f32'>(
  shape: S,
  dtype?: D,
): TensorType<S, D> => ({
  shape,
  dtype: (dtype ?? 'f32') as D,
})

/** A tree of specifications for a tree of tensors. */
export type Specs<T> = MapTree<T, Tensor, TensorType>

/** A traced function: its graph, and the tree of its results with tensors as leaves. */
export interface Traced {
  readonly graph: Graph
  readonly result: unknown
}

/**
 * Calls `fn` on tensors of the given types and collects the equations.
 * @param specs one tree of types per argument
 * @throws ShapeError, CompileError as the function's operations do
 */
export function trace(fn: (...args: never[]) => unknown, specs: readonly unknown[]): Traced {
  const inputs: Tensor[] = []
  const args = specs.map((tree, i) =>
    mapTree(tree, isType, (t, path) => {
      const x = input(path ? `argument ${i}.${path}` : `argument ${i}`, { shape: t.shape, dtype: t.dtype })
      inputs.push(x)
      return x
    }),
  )
  const result = (fn as (...xs: unknown[]) => unknown)(...args)
  const outputs = leaves(result, isTensor).map(l => l.leaf)
  if (outputs.length === 0) throw new CompileError('the function returns no tensor')
  return { graph: makeGraph(inputs, outputs), result }
}
