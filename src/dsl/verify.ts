/** Checks a graph: what tests run after every pass. */
import type { Graph } from './graph.ts'
import { infer } from './infer.ts'
import { showType } from './shape.ts'

/**
 * Every equation comes after its operands, and has the types that its rule infers.
 * @throws Error with the equation's place: a defect of a pass, never of the user
 */
export function verify(g: Graph): void {
  const known = new Set(g.inputs.map(t => t.eqn))
  for (const e of g.eqns) {
    const fail = (why: string): never => {
      throw new Error(`verify: ${e.op} (equation ${e.id}${e.scope ? `, in ${e.scope}` : ''}): ${why}`)
    }
    for (const x of e.inputs)
      if (!known.has(x.eqn)) fail(`its operand ${showType(x)} is computed after it, or not at all`)
    const types = infer(e.op, e.params, e.inputs, e.scope)
    if (types.map(showType).join() !== e.types.map(showType).join())
      fail(`is ${e.types.map(showType)}, its rule gives ${types.map(showType)}`)
    known.add(e)
  }
  for (const t of g.outputs)
    if (!known.has(t.eqn)) throw new Error(`verify: the result ${showType(t)} is not computed`)
}
