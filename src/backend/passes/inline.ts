/** Replaces every call by its body: a backend meets primitives only. */
import { type Graph, rewrite, substitute } from '../../dsl/graph.ts'

export function inline(g: Graph): Graph {
  let out = g
  while (out.eqns.some(e => e.op === 'call'))
    out = rewrite(out, (e, xs) => (e.op === 'call' ? substitute(e.params.body, e.params.params, xs) : null))
  return out
}
