/**
 * Functions inside a traced function, as data. In: a function over trees of tensors, and the types of its
 * arguments. Out: its equations over parameters of its own, and the outer tensors that it uses, which become
 * further parameters (a function may close over anything, and derivatives with respect to it are right).
 */
import { equations, substitute } from './graph.ts'
import type { Closed } from './prim.ts'
import { input, type Tensor, type TensorType } from './tensor.ts'
import { isTensor, isType } from './trace.ts'
import { fillTree, leaves } from './tree.ts'

/** A function as data, with the tensors that it closes over: they are its first parameters. */
export interface Closure {
  readonly captured: readonly Tensor[]
  readonly closed: Closed
  /** The tree of results, with tensors as leaves. */
  readonly result: unknown
}

/**
 * Traces a function.
 * @param args trees of tensors or types, one per argument
 * @example const { captured, closed } = close('step', f, [x, y]); bind('call', { ...closed, ... }, [...captured, x, y])
 */
export function close(name: string, f: (...args: never[]) => unknown, args: readonly unknown[]): Closure {
  const params: Tensor[] = []
  const inner = args.map(tree => {
    const own = leaves(tree, isType).map(({ leaf }) => input(`${name}'s argument`, typeOf(leaf)))
    params.push(...own)
    return fillTree(tree, isType, own)
  })
  const first = params.length > 0 ? params[0].eqn.id : input(name, { shape: [], dtype: 'f32' }).eqn.id
  const result = (f as (...xs: unknown[]) => unknown)(...inner)
  const body = leaves(result, isTensor).map(l => l.leaf)
  // Ids ascend in the order of tracing: what is older than the first parameter comes from outside.
  const captured = new Map<string, Tensor>()
  const capture = (x: Tensor): void => {
    if (x.eqn.id < first && x.eqn.op !== 'const') captured.set(`${x.eqn.id}.${x.output}`, x)
  }
  body.forEach(capture)
  for (const e of equations(body)) if (e.id >= first) e.inputs.forEach(capture)
  const outer = [...captured.values()]
  const own = parametersLike(outer)
  return {
    captured: outer,
    closed: { params: [...own, ...params], body: substitute(body, outer, own) },
    result,
  }
}

/** Fresh parameters of the tensors' types. */
export const parametersLike = (xs: readonly Tensor[]): Tensor[] =>
  xs.map(x => input('a tensor that is closed over', typeOf(x)))

const typeOf = ({ shape, dtype }: TensorType): TensorType => ({ shape, dtype })
