/**
 * Replaces functions by their bodies: a backend meets primitives only. A call is its body; of a condition both
 * branches are computed and one is chosen by element; a scan is unrolled.
 */
import * as b from '../../dsl/build.ts'
import { type Graph, rewrite, substitute } from '../../dsl/graph.ts'
import type { Closed } from '../../dsl/prim.ts'
import { range } from '../../dsl/shape.ts'
import type { Eqn, Tensor } from '../../dsl/tensor.ts'

export function inline(g: Graph): Graph {
  let out = g
  while (out.eqns.some(e => e.op === 'call' || e.op === 'cond' || e.op === 'scan')) out = rewrite(out, expand)
  return out
}

const apply = (f: Closed, xs: readonly Tensor[]): readonly Tensor[] => substitute(f.body, f.params, xs)

function expand(e: Eqn, xs: readonly Tensor[]): readonly Tensor[] | null {
  if (e.op === 'call') return apply(e.params, xs)
  if (e.op === 'cond') {
    const [c, ...operands] = xs
    const [yes, no] = [apply(e.params.onTrue, operands), apply(e.params.onFalse, operands)]
    return yes.map((y, i) => b.select(c, y, no[i]))
  }
  return e.op === 'scan' ? unroll(e, xs) : null
}

function unroll({ params: p }: Eqn<'scan'>, xs: readonly Tensor[]): readonly Tensor[] {
  const fixed = p.constants + p.carries
  let carries = xs.slice(p.constants, fixed)
  const slices: (readonly Tensor[])[] = []
  for (const k of range(p.length)) {
    const t = p.reverse ? p.length - 1 - k : k
    const at = xs.slice(fixed).map(x => b.reshape(b.sliceAxis(x, 0, t, t + 1), x.shape.slice(1)))
    const out = apply(p.step, [...xs.slice(0, p.constants), ...carries, ...at])
    carries = out.slice(0, p.carries)
    slices[t] = out.slice(p.carries)
  }
  const stacked = p.step.body.slice(p.carries).map((y, i) =>
    p.length === 0
      ? b.full([0, ...y.shape], 0, y.dtype)
      : b.concat(
          slices.map(row => b.reshape(row[i], [1, ...y.shape])),
          0,
        ),
  )
  return [...carries, ...stacked]
}
