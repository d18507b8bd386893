/**
 * Graphs made ready for an oracle. `widen`: every f32 becomes f64, so that one traced f32 function has an exact
 * value to be compared with. `freeze`: what `stopGradient` stops is held at its value, so that differences of
 * the function are what its derivative means. In and out: graphs without functions inside (`inline`).
 */

import { interpret } from '../backend/cpu/reference.ts'
import { inline } from '../backend/passes/inline.ts'
import type { NDArray } from '../dsl/array.ts'
import type { DType, FloatDType } from '../dsl/dtype.ts'
import { type Graph, makeGraph, rewrite } from '../dsl/graph.ts'
import { bind, bind1, constant, type Eqn, input, results, type Tensor } from '../dsl/tensor.ts'

const up = (d: DType): DType => (d === 'f32' ? 'f64' : d)

/** An equation on widened operands. */
function widened(e: Eqn, xs: readonly Tensor[]): readonly Tensor[] {
  const narrow = (x: Tensor) => bind1('map', { fn: 'cast', to: 'f32' }, [x])
  switch (e.op) {
    case 'const':
      return e.params.dtype === 'f32'
        ? [constant(e.params.shape, 'f64', Float64Array.from(e.params.data))]
        : results(e)
    case 'iota':
      return bind('iota', { ...e.params, dtype: up(e.params.dtype) }, [])
    case 'map': {
      const { fn, to } = e.params
      // The 32 bits of a float are those of the rounded one.
      if (fn === 'bitcast' && e.inputs[0].dtype === 'f32') return bind('map', e.params, xs.map(narrow))
      if (fn === 'bitcast' && to === 'f32')
        return bind('map', { fn: 'cast', to: 'f64' }, bind('map', e.params, xs))
      return bind('map', to === undefined ? { fn } : { fn, to: up(to) }, xs)
    }
    default:
      return bind(e.op, e.params, xs)
  }
}

/** The same function in f64, with calls, conditions and scans written out. */
export function widen(graph: Graph): Graph {
  const g = inline(graph)
  const inputs = g.inputs.map(x => input('argument', { shape: x.shape, dtype: up(x.dtype) }))
  const map = new Map<Eqn, readonly Tensor[]>(g.inputs.map((x, i) => [x.eqn, [inputs[i]]]))
  const get = (x: Tensor): Tensor => (map.get(x.eqn) as readonly Tensor[])[x.output]
  for (const e of g.eqns) map.set(e, widened(e, e.inputs.map(get)))
  return makeGraph(inputs, g.outputs.map(get))
}

/** What a graph of arguments of one float dtype is compared with: in f64 it is its own oracle. */
export const oracleOf = (graph: Graph, float: FloatDType): Graph =>
  float === 'f64' ? inline(graph) : widen(graph)

/** The graph with each `stopGradient` replaced by its value at the given arguments. */
export function freeze(g: Graph, args: readonly NDArray[]): Graph {
  const stops = g.eqns.filter(e => e.op === 'stopGradient')
  if (stops.length === 0) return g
  const values = interpret(makeGraph(g.inputs, stops.flatMap(results)), args)
  const at = new Map<Eqn, number>(stops.map((e, i) => [e, i]))
  return rewrite(g, e => {
    const i = at.get(e)
    return i === undefined ? null : [constant(values[i].shape, values[i].dtype, values[i].data)]
  })
}
