/** Running one pass on one function: the values are compared, and the graph that is left is given. */
import assert from 'node:assert/strict'
import { interpret } from '../../src/backend/cpu/reference.ts'
import { array, type NDArray } from '../../src/dsl/array.ts'
import { type Graph, makeGraph } from '../../src/dsl/graph.ts'
import { range, type Shape, showType, size } from '../../src/dsl/shape.ts'
import { type Eqn, input, type Tensor } from '../../src/dsl/tensor.ts'
import { key, uniformAt } from '../../src/dsl/threefry.ts'
import { verify } from '../../src/dsl/verify.ts'

/** A function of one f64 argument. */
export type F = (x: Tensor) => Tensor | readonly Tensor[]
/** The graph of a function of one f64 argument. */
export const graphOf = (f: F, shape: Shape): Graph => {
  const x = input('x', { shape, dtype: 'f64' })
  const y = f(x)
  return makeGraph([x], Array.isArray(y) ? y : [y as Tensor])
}
const noise = (shape: Shape): NDArray =>
  array(
    shape,
    'f64',
    range(size(shape)).map(i => 2 * uniformAt(key(7), i) - 1),
  )
const same = (got: readonly NDArray[], want: readonly NDArray[], tolerance: number): void =>
  want.forEach((w, i) => {
    assert.equal(showType(got[i]), showType(w))
    w.data.forEach((v, k) => {
      const g = got[i].data[k]
      assert.ok(
        Object.is(g, v) || Math.abs(g - v) <= tolerance * (1 + Math.abs(v)),
        `[${k}] is ${g}, expected ${v}`,
      )
    })
  })
/** Runs a pass on a function, checks its values, and gives the graph. */
export function passed(pass: (g: Graph) => Graph, f: F, shape: Shape, tolerance = 0): Graph {
  const g = graphOf(f, shape)
  const out = pass(g)
  verify(out)
  same(interpret(out, [noise(shape)]), interpret(g, [noise(shape)]), tolerance)
  return out
}
/** The names of a graph's operations, but constants. */
export const ops = (g: Graph): string[] =>
  g.eqns.map(e => (e.op === 'map' ? e.params.fn : e.op)).filter(o => o !== 'const')
/** The only equation of a kind. */
export const single = <K extends Eqn['op']>(g: Graph, op: K): Eqn<K> => {
  const found = g.eqns.filter(e => e.op === op)
  assert.equal(found.length, 1, `one ${op} is left of ${ops(g)}`)
  // the filter has found this op; the union of equations is not generic in it
  return found[0] as unknown as Eqn<K>
}
