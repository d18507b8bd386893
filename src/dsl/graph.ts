/**
 * Graphs: a function as data. In: traced results and the arguments they came from. Out: the equations between
 * them, in topological order. Passes and derivatives are functions from graph to graph.
 */
import { CompileError } from './errors.ts'
import { atScope, bind, type Eqn, type Tensor } from './tensor.ts'

/** A function of `inputs`. `eqns` holds every equation that `outputs` need, operands first. */
export interface Graph {
  readonly inputs: readonly Tensor[]
  readonly outputs: readonly Tensor[]
  readonly eqns: readonly Eqn[]
}

/** Every equation that the tensors need, operands first. Stops at `until`. */
export function equations(of: readonly Tensor[], until: readonly Tensor[] = []): Eqn[] {
  const seen = new Set<Eqn>(until.map(t => t.eqn))
  const found: Eqn[] = []
  const stack = of.map(t => t.eqn)
  for (let e = stack.pop(); e !== undefined; e = stack.pop()) {
    if (seen.has(e)) continue
    seen.add(e)
    found.push(e)
    for (const x of e.inputs) stack.push(x.eqn)
  }
  return found.sort((a, b) => a.id - b.id)
}

/**
 * The graph from `inputs` to `outputs`.
 * @throws CompileError if a result needs an argument of another function (a traced tensor leaked out)
 */
export function makeGraph(inputs: readonly Tensor[], outputs: readonly Tensor[]): Graph {
  const eqns = equations(outputs, inputs)
  const leak = eqns.find(e => e.op === 'input')
  if (leak?.op === 'input')
    throw new CompileError(
      `the function uses ${leak.params.name}, an argument of another traced function; pass it as an argument of this one`,
    )
  return { inputs, outputs, eqns }
}

/**
 * Rebuilds a graph, equation by equation. `change` gives the new results of an equation from its new operands,
 * or null to keep it.
 */
export function rewrite(
  g: Graph,
  change: (eqn: Eqn, inputs: readonly Tensor[]) => readonly Tensor[] | null,
): Graph {
  const map = new Map<Eqn, readonly Tensor[]>()
  const get = (t: Tensor): Tensor => map.get(t.eqn)?.[t.output] ?? t
  for (const e of g.eqns) {
    const inputs = e.inputs.map(get)
    const changed = atScope(e.scope, () => change(e, inputs))
    if (changed !== null) map.set(e, changed)
    else if (inputs.some((t, i) => t !== e.inputs[i])) map.set(e, rebind(e, inputs))
  }
  return makeGraph(g.inputs, g.outputs.map(get))
}

/** The same primitive on other operands, at the same place of the user's function. */
export const rebind = (e: Eqn, inputs: readonly Tensor[]): readonly Tensor[] =>
  atScope(e.scope, () => bind(e.op, e.params, inputs))

/** The results with some tensors replaced: the equations between are copied onto the new ones. */
export function substitute(
  outputs: readonly Tensor[],
  from: readonly Tensor[],
  to: readonly Tensor[],
): readonly Tensor[] {
  const map = new Map<Eqn, readonly Tensor[]>()
  from.forEach((t, i) => {
    const known = [...(map.get(t.eqn) ?? [])]
    known[t.output] = to[i]
    map.set(t.eqn, known)
  })
  const get = (t: Tensor): Tensor => map.get(t.eqn)?.[t.output] ?? t
  for (const e of equations(outputs, from)) {
    const inputs = e.inputs.map(get)
    if (inputs.some((t, i) => t !== e.inputs[i])) map.set(e, rebind(e, inputs))
  }
  return outputs.map(get)
}
