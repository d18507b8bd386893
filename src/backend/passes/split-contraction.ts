/**
 * Cuts contractions with few results and many terms (weight gradients) in parts along an index that both operands
 * have, and sums the parts in a fixed order: parallel, more precise in f32, and the same bits in every run. The
 * cut depends on the shapes alone.
 */
import * as b from '../../dsl/build.ts'
import { type Graph, rewrite } from '../../dsl/graph.ts'
import type { Contraction } from '../../dsl/prim.ts'
import { size } from '../../dsl/shape.ts'
import type { Tensor } from '../../dsl/tensor.ts'

/** Terms a result below which nothing is cut. */
const LONG = 4096
/** Results, the parts' included, that keep a few cores busy with tiles of 64; a GPU wants eight times as many. */
const ENOUGH = 2 ** 16

/**
 * Cuts the long contractions with fewer results than `enough` (those of the parts count).
 * @example splitContractions(g) // dw[o,c,u,v] over n, i, j becomes dw'[n,o,c,u,v] over i, j, summed over n
 */
export const splitContractions = (g: Graph, enough = ENOUGH): Graph =>
  rewrite(g, (e, [l, r]) => {
    if (e.op !== 'contract') return null
    const { spec } = e.params
    const cut = choose(spec, size(e.types[0].shape), enough)
    if (cut === null) return null
    const [parts, operands] = split(spec, cut, [l, r])
    return [b.sum(b.contract(parts, ...operands), [0])]
  })

interface Cut {
  readonly index: number
  readonly parts: number
}

/** The longest index that is summed, in both operands and in no window, and into how many parts it is cut. */
function choose(
  { extents, lhs, rhs, out, windows }: Contraction,
  results: number,
  enough: number,
): Cut | null {
  const summed = extents.flatMap((_, i) => (out.includes(i) ? [] : [i]))
  const terms = size(summed.filter(i => !windows.some(w => w.big === i)).map(i => extents[i]))
  if (terms < LONG || results >= enough || results === 0) return null
  const free = summed.filter(
    i => lhs.includes(i) && rhs.includes(i) && !windows.some(w => w.big === i || w.out === i || w.tap === i),
  )
  if (free.length === 0) return null
  const index = free.reduce((a, i) => (extents[i] > extents[a] ? i : a))
  const most = Math.min(extents[index], Math.floor(enough / results), Math.floor(terms / (LONG / 16)))
  for (let parts = most; parts > 1; parts--) if (extents[index] % parts === 0) return { index, parts }
  return null
}

/** The contraction with an index of parts, first in the result, and its operands reshaped for it. */
function split(
  spec: Contraction,
  { index, parts }: Cut,
  operands: readonly [Tensor, Tensor],
): [Contraction, readonly [Tensor, Tensor]] {
  const part = spec.extents.length
  const rest = spec.extents[index] / parts
  const widen = (indices: readonly number[]) => indices.flatMap(i => (i === index ? [part, i] : [i]))
  const reshape = (x: Tensor, indices: readonly number[]) =>
    b.reshape(
      x,
      indices.flatMap((i, a) => (i === index ? [parts, rest] : [x.shape[a]])),
    )
  return [
    {
      ...spec,
      extents: [...spec.extents.map((n, i) => (i === index ? rest : n)), parts],
      lhs: widen(spec.lhs),
      rhs: widen(spec.rhs),
      out: [part, ...spec.out],
    },
    [reshape(operands[0], spec.lhs), reshape(operands[1], spec.rhs)],
  ]
}
