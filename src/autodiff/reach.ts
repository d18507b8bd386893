/**
 * Which operands move a result, and which it only depends on. In: an equation that holds functions, and what of its results
 * matters. Out: what of its operands matters. A walk of its own beside the cotangents, since those of a float that reaches
 * the loss through an integer (a loop's counter) are 0 and nothing in them tells why.
 */
import type { Closed } from '../dsl/prim.ts'
import { range } from '../dsl/shape.ts'
import type { Eqn, Tensor } from '../dsl/tensor.ts'

/**
 * Of a list of tensors, the positions with which the loss moves, and those on which it depends at all. An integer may be said to
 * move it: what makes integers has no operand that moves them, so that this ends there.
 */
export interface Reach {
  readonly moves: ReadonlySet<number>
  readonly depends: ReadonlySet<number>
}

/** The reach of `inputs`, given that of `outputs`; `transform.ts` has it. */
export type ReachOf = (outputs: readonly Tensor[], to: Reach, inputs: readonly Tensor[]) => Reach

/** The reach of an equation's operands, given that of its results. */
export type Reaches<E> = (e: E, to: Reach, of: ReachOf) => Reach

const through = ({ params, body }: Closed, to: Reach, of: ReachOf): Reach => of(body, to, params)
const each = (f: (part: keyof Reach) => Iterable<number>): Reach => ({
  moves: new Set(f('moves')),
  depends: new Set(f('depends')),
})

/** A call's own rule answers for its cotangents; else its body says. */
export const callReach: Reaches<Eqn<'call'>> = (e, to, of) => {
  if (e.params.rule.vjp === undefined) return through(e.params, to, of)
  const all = new Set(range(e.inputs.length))
  return { moves: to.moves.size > 0 ? all : new Set(), depends: all }
}

/** Either branch may be taken; the condition is only depended on. */
export const condReach: Reaches<Eqn<'cond'>> = (e, to, of) => {
  const branches = [through(e.params.onTrue, to, of), through(e.params.onFalse, to, of)]
  const { moves, depends } = each(part => branches.flatMap(b => [...b[part]].map(i => i + 1)))
  return { moves, depends: new Set([0, ...depends]) }
}

/** A carry matters to the step before if it does to the one after: repeated until nothing is added. */
export const scanReach: Reaches<Eqn<'scan'>> = (e, to, of) => {
  const { step, constants, carries } = e.params
  let after = to
  for (;;) {
    const reach = through(step, after, of)
    const grown = each(part => [
      ...after[part],
      ...range(carries).filter(i => reach[part].has(constants + i)),
    ])
    if (grown.moves.size === after.moves.size && grown.depends.size === after.depends.size) return reach
    after = grown
  }
}
