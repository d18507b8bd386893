/** Rematerialisation: time for memory. */
import { close } from '../dsl/closure.ts'
import { bind } from '../dsl/tensor.ts'
import { isTensor } from '../dsl/trace.ts'
import { fillTree, leaves } from '../dsl/tree.ts'

/**
 * The same function, whose intermediate values are not kept for the backward pass but computed again there, behind
 * barriers that no pass removes.
 * @param f  a function over trees of tensors; it may close over any tensor
 * @see Chen, Xu, Zhang, Guestrin 2016, arXiv:1604.06174
 * @example const y = checkpoint(block)(params, x)
 */
export const checkpoint =
  <Xs extends readonly unknown[], Y>(f: (...xs: Xs) => Y) =>
  (...xs: Xs): Y => {
    const { captured, closed, result } = close('checkpoint', f as (...a: never[]) => unknown, xs)
    const operands = xs.flatMap(x => leaves(x, isTensor).map(l => l.leaf))
    const made = bind('call', { name: 'checkpoint', ...closed, rule: {}, remat: true }, [
      ...captured,
      ...operands,
    ])
    return fillTree(result, isTensor, made) as Y
  }
