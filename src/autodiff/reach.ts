/**
 * Which operands move a result, and which it only depends on. In: an equation that holds functions, and what of its results
 * matters. Out: what of its operands matters. A walk of its own beside the cotangents, since those of a float that reaches
 * the loss through an integer (a loop's counter) are 0 and nothing in them tells why.
 */
import type { Closed } from '../dsl/prim.ts'
import type { Eqn, Tensor } from '../dsl/tensor.ts'

/** Of a list of tensors, by position: whether the loss moves with it, and whether it depends on it at all. */
export interface Reach {
  readonly moves: readonly boolean[]
  readonly depends: readonly boolean[]
}

/** The reach of `inputs`, given that of `outputs`; `transform.ts` has it. */
export type ReachOf = (outputs: readonly Tensor[], to: Reach, inputs: readonly Tensor[]) => Reach

/** The reach of an equation's operands, given that of its results. */
export type Reaches<E> = (e: E, to: Reach, of: ReachOf) => Reach

const through = ({ params, body }: Closed, to: Reach, of: ReachOf): Reach => of(body, to, params)
const both = (a: readonly boolean[], b: readonly boolean[]): boolean[] => a.map((x, i) => x || b[i])
const either = (a: Reach, b: Reach): Reach => ({
  moves: both(a.moves, b.moves),
  depends: both(a.depends, b.depends),
})

/** A call's own rule answers for its cotangents; else its body says. */
export const callReach: Reaches<Eqn<'call'>> = (e, to, of) => {
  const { rule } = e.params
  if (rule.vjp === undefined && rule.jvp === undefined) return through(e.params, to, of)
  const [moves, depends] = [to.moves.includes(true), to.depends.includes(true)]
  return { moves: e.inputs.map(() => moves), depends: e.inputs.map(() => depends) }
}

/** Either branch may be taken; the condition is only depended on. */
export const condReach: Reaches<Eqn<'cond'>> = (e, to, of) => {
  const { moves, depends } = either(through(e.params.onTrue, to, of), through(e.params.onFalse, to, of))
  return { moves: [false, ...moves], depends: [to.depends.includes(true), ...depends] }
}

/** A carry matters to the step before if it does to the one after: repeated until nothing is added. */
export const scanReach: Reaches<Eqn<'scan'>> = (e, to, of) => {
  const { step, length, constants, carries } = e.params
  const carry = (xs: readonly boolean[]) => xs.slice(constants, constants + carries)
  const count = (r: Reach) => [...r.moves, ...r.depends].filter(Boolean).length
  if (length === 0) {
    // its results are the first carries
    const first = (xs: readonly boolean[]) =>
      step.params.map((_, i) => i >= constants && i < constants + carries && xs[i - constants])
    return { moves: first(to.moves), depends: first(to.depends) }
  }
  let after = to
  for (;;) {
    const reach = through(step, after, of)
    const slices = to.moves.slice(carries).map(() => false)
    const before: Reach = {
      moves: [...carry(reach.moves), ...slices],
      depends: [...carry(reach.depends), ...slices],
    }
    const grown = either(after, before)
    if (count(grown) === count(after)) return reach
    after = grown
  }
}
