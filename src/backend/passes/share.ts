/** Shares common subexpressions: equal primitives on equal operands are computed once, but behind a barrier again. */
import type { TypedArray } from '../../dsl/dtype.ts'
import { type Graph, rebind, rewrite } from '../../dsl/graph.ts'
import { type Eqn, results, type Tensor } from '../../dsl/tensor.ts'

const dataIds = new WeakMap<TypedArray, number>()
let nextData = 0
/** Small constants are equal by value (bit by bit: -0 is not 0), large ones by identity. */
function dataKey(data: TypedArray): string {
  if (data.length <= 16) return Array.from(data, v => (Object.is(v, -0) ? '-0' : String(v))).join()
  const id = dataIds.get(data) ?? nextData++
  dataIds.set(data, id)
  return `#${id}`
}

export function share(g: Graph): Graph {
  const known = new Map<string, readonly Tensor[]>()
  return rewrite(g, (e, xs) => {
    if (e.op === 'input' || e.op === 'barrier') return null
    const key = `${keyOf(e)}|${xs.map(x => `${x.eqn.id}.${x.output}`).join()}`
    const same = known.get(key)
    if (same) return same
    const made = xs.every((x, i) => x === e.inputs[i]) ? results(e) : rebind(e, xs)
    known.set(key, made)
    return made
  })
}

const keyOf = (e: Eqn): string =>
  e.op === 'const'
    ? `const ${e.params.dtype}[${e.params.shape}]${dataKey(e.params.data)}`
    : `${e.op}${JSON.stringify(e.params, (_, v) => (Object.is(v, -0) ? '-0' : v === Number.NEGATIVE_INFINITY ? '-inf' : v === Number.POSITIVE_INFINITY ? 'inf' : Number.isNaN(v) ? 'nan' : v))}`
