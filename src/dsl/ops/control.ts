/** Control flow on traced values: `scan` over a sequence, `cond` between two functions. Both have derivatives. */
import { close, parametersLike } from '../closure.ts'
import { ShapeError } from '../errors.ts'
import { showType } from '../shape.ts'
import { bind, currentScope, scope, type Tensor } from '../tensor.ts'
import { isTensor } from '../trace.ts'
import { fillTree, leaves, mapTree } from '../tree.ts'

const tensorsOf = (tree: unknown): Tensor[] => leaves(tree, isTensor).map(l => l.leaf)

/** How a scan runs. */
export interface ScanOptions {
  /** The number of steps: needed where there is no sequence to take it from. */
  readonly length?: number
  /** From the last slice to the first. */
  readonly reverse?: boolean
}

/**
 * A loop with a carry: (c, y_t) = step(c, x_t) for t = 0 .. length - 1; the y_t are stacked.
 * @param step  (carry, slice) => [carry, result]: trees; the carry keeps its types. It may close over any tensor
 * @param init  the first carry: a tensor or a tree
 * @param xs    a tensor or a tree of tensors [length, ...], or null
 * @returns  [the last carry, the results stacked along a new first axis]
 * @throws ShapeError if the lengths differ, or the step changes the carry's types
 * @see jax.lax.scan, whose meaning this is
 * @example const [total, sums] = scan((c: Tensor, x: Tensor) => [add(c, x), add(c, x)], scalar, xs)
 */
export function scan<C, X, Y>(
  step: (carry: C, x: X) => readonly [C, Y],
  init: C,
  xs: X,
  { length, reverse = false }: ScanOptions = {},
): readonly [C, Y] {
  return scope('scan', () => {
    const sequences = tensorsOf(xs)
    const n = length ?? sequences[0]?.shape[0]
    if (n === undefined)
      throw new ShapeError(
        'scan',
        'without a sequence the length must be given',
        ['scan(step, init, null, { length: 10 })'],
        currentScope(),
      )
    const slices = mapTree(xs, isTensor, x => ({ shape: x.shape.slice(1), dtype: x.dtype }))
    const { captured, closed, result } = close('scan', step as (...a: never[]) => unknown, [init, slices])
    // By step's type the result is a pair of trees.
    const [carry, out] = result as readonly [C, Y]
    const carries = tensorsOf(carry)
    if (carries.map(showType).join() !== tensorsOf(init).map(showType).join())
      throw new ShapeError(
        'scan',
        'the step changes the types of the carry',
        [`takes  ${tensorsOf(init).map(showType)}`, `gives  ${carries.map(showType)}`],
        currentScope(),
      )
    const params = { step: closed, length: n, constants: captured.length, carries: carries.length, reverse }
    const made = bind('scan', params, [...captured, ...tensorsOf(init), ...sequences])
    return [
      fillTree(init, isTensor, made.slice(0, carries.length)) as C,
      fillTree(out, isTensor, made.slice(carries.length)) as Y,
    ]
  })
}

/**
 * One of two functions of the operands, by a scalar condition. The reference takes one branch; compiled backends
 * compute both and choose. Either way the branch that is not taken adds nothing, not even a NaN, to a derivative.
 * @param condition  bool[]; to choose by element use `where`
 * @param onTrue   (...operands) => tree; it may close over any tensor
 * @param onFalse  the same, with results of the same types
 * @throws ShapeError if the branches give different types
 * @example cond(less(x, 0), () => neg(x), () => sqrt(x))
 */
export function cond<Xs extends readonly unknown[], Y>(
  condition: Tensor,
  onTrue: (...operands: Xs) => Y,
  onFalse: (...operands: Xs) => Y,
  ...operands: Xs
): Y {
  return scope('cond', () => {
    const yes = close('onTrue', onTrue as (...a: never[]) => unknown, operands)
    const no = close('onFalse', onFalse as (...a: never[]) => unknown, operands)
    // Both branches take what either closes over.
    const [a, b] = [yes.captured.length, no.captured.length]
    const args = yes.closed.params.slice(a)
    const other = no.closed.params.slice(b)
    const params = {
      onTrue: {
        params: [...yes.closed.params.slice(0, a), ...parametersLike(no.captured), ...args],
        body: yes.closed.body,
      },
      onFalse: {
        params: [...parametersLike(yes.captured), ...no.closed.params.slice(0, b), ...other],
        body: no.closed.body,
      },
    }
    const made = bind('cond', params, [
      condition,
      ...yes.captured,
      ...no.captured,
      ...operands.flatMap(tensorsOf),
    ])
    return fillTree(yes.result, isTensor, made) as Y
  })
}
