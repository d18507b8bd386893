/** Derivatives of functions over trees: `grad`, `valueAndGrad`, `vjp`, `jvp`, and rules of one's own. */
import * as b from '../dsl/build.ts'
import { close } from '../dsl/closure.ts'
import { isFloat } from '../dsl/dtype.ts'
import { GradientError } from '../dsl/errors.ts'
import type { CustomRule } from '../dsl/prim.ts'
import { showType } from '../dsl/shape.ts'
import { bind, type Tensor } from '../dsl/tensor.ts'
import { isTensor } from '../dsl/trace.ts'
import { fillTree, leaves, mapTree } from '../dsl/tree.ts'
import { fence, pullback, pushforward } from './transform.ts'

type Fn<A, Rest extends readonly unknown[], R> = (x: A, ...rest: Rest) => R

/** Derivatives are as many as what they belong to, and of its types. */
function checkTypes(
  op: string,
  ds: readonly Tensor[],
  xs: readonly Tensor[],
  [what, of]: readonly [string, string],
): void {
  if (ds.length !== xs.length) throw new GradientError(`${op}: ${ds.length} ${what}s for ${xs.length} ${of}s`)
  ds.forEach((d, i) => {
    if (showType(d) !== showType(xs[i]))
      throw new GradientError(`${op}: the ${what} is ${showType(d)}, its ${of} ${showType(xs[i])}`)
  })
}

/** Fences the leaves of a tree, checks that each has a derivative, and applies the function. */
function differentiable(
  op: string,
  tree: unknown,
): { readonly tree: unknown; readonly xs: Tensor[]; readonly paths: string[] } {
  const xs: Tensor[] = []
  const paths: string[] = []
  const fenced = mapTree(tree, isTensor, (x, path) => {
    if (!isFloat(x.dtype))
      throw new GradientError(
        `${op}: the argument${path ? ` at '${path}'` : ''} is ${showType(x)}; only f32 and f64 have derivatives. Pass it as another argument`,
      )
    const y = fence(x)
    xs.push(y)
    paths.push(path ? `'${path}'` : 'the argument')
    return y
  })
  if (xs.length === 0) throw new GradientError(`${op}: the argument holds no tensor`)
  return { tree: fenced, xs, paths }
}

function checkScalar(op: string, y: unknown): Tensor {
  if (!isTensor(y))
    throw new GradientError(`${op}: the function must return a scalar tensor, got ${typeof y}`)
  if (y.shape.length !== 0 || !isFloat(y.dtype))
    throw new GradientError(
      `${op}: the function must return a scalar, got ${showType(y)}; did you forget mean()?`,
    )
  return y
}

/**
 * The value and the gradient with respect to the first argument, a tree of tensors.
 * An argument that the result does not use has the gradient 0; one that it uses only through an operation
 * without a derivative is an error.
 * @param f (tree, ...rest) => scalar
 * @returns (tree, ...rest) => [scalar, tree]
 * @throws GradientError if the result is no scalar, or a derivative cannot be had
 * @example const [loss, g] = valueAndGrad((p: Params) => mseLoss(model(p, x), y))(params)
 */
export const valueAndGrad =
  <A, Rest extends readonly unknown[], R extends Tensor>(f: Fn<A, Rest, R>) =>
  (x: A, ...rest: Rest): readonly [R, A] => {
    const [[y], g] = valueAuxAndGrad((a: A, ...r: Rest) => [f(a, ...r), null] as const)(x, ...rest)
    return [y, g]
  }

/**
 * As `valueAndGrad`, for a function that returns [loss, anything else]: predictions, new running statistics.
 * @returns (tree, ...rest) => [[loss, else], tree]
 */
export const valueAuxAndGrad =
  <A, Rest extends readonly unknown[], R extends Tensor, X>(f: Fn<A, Rest, readonly [R, X]>) =>
  (x: A, ...rest: Rest): readonly [readonly [R, X], A] => {
    const { tree, xs, paths } = differentiable('grad', x)
    const [y, aux] = f(tree as A, ...rest)
    const gs = pullback([checkScalar('grad', y)], xs, [b.scalar(1, y.dtype)], paths)
    return [[y, aux], fillTree(x, isTensor, gs) as A]
  }

/**
 * The gradient of a scalar function with respect to its first argument, a tree of tensors.
 * @example grad((x: Tensor) => sum(mul(x, x)))(x) // 2x
 */
export const grad =
  <A, Rest extends readonly unknown[], R extends Tensor>(f: Fn<A, Rest, R>) =>
  (x: A, ...rest: Rest): A =>
    valueAndGrad(f)(x, ...rest)[1]

/**
 * Reverse mode: the results, and the function from their cotangents to those of the argument.
 * @returns [f(x), (dy) => dx], trees shaped as f's result and as x
 * @throws GradientError if a cotangent has another type than its result, or a derivative cannot be had
 */
export function vjp<A, R>(f: (x: A) => R, x: A): readonly [R, (dy: R) => A] {
  const { tree, xs, paths } = differentiable('vjp', x)
  const y = f(tree as A)
  const ys = leaves(y, isTensor).map(l => l.leaf)
  return [
    y,
    dy => {
      const ds = leaves(dy, isTensor).map(l => l.leaf)
      checkTypes('vjp', ds, ys, ['cotangent', 'result'])
      return fillTree(x, isTensor, pullback(ys, xs, ds, paths)) as A
    },
  ]
}

/**
 * Forward mode: the results, and their tangents along `dx`.
 * @returns [f(x), J dx], trees shaped as f's result
 * @throws GradientError if a tangent has another type than its primal, or a derivative cannot be had
 */
export function jvp<A, R>(f: (x: A) => R, x: A, dx: A): readonly [R, R] {
  const { tree, xs } = differentiable('jvp', x)
  const ds = leaves(dx, isTensor).map(l => l.leaf)
  checkTypes('jvp', ds, xs, ['tangent', 'primal'])
  const y = f(tree as A)
  const ys = leaves(y, isTensor).map(l => l.leaf)
  const ts = pushforward(ys, xs, ds).map((t, i) => t ?? b.zerosLike(ys[i]))
  return [y, fillTree(y, isTensor, ts) as R]
}

/**
 * A function with a derivative of its own.
 * @param forward pure, over tensors; it may not close over traced tensors (pass them as arguments)
 * @param rule `vjp(inputs, outputs, cotangents)` gives one cotangent per input (null: never needed);
 *   `jvp(inputs, outputs, tangents)` one tangent per output. A mode without a rule is an error when it is asked for.
 * @throws GradientError if `forward` closes over a traced tensor, whose gradient would be lost
 * @example const clipped = custom('clipGradient', x => [x], { vjp: (_, __, [dy]) => [clamp(dy, { min: -1, max: 1 })] })
 */
export const custom =
  (name: string, forward: (...xs: readonly Tensor[]) => readonly Tensor[], rule: CustomRule) =>
  (...xs: readonly Tensor[]): readonly Tensor[] => {
    const { captured, closed } = close(name, forward, xs)
    if (captured.length > 0)
      throw new GradientError(
        `${name}: the function closes over a traced tensor, whose gradient would be lost; pass it as an argument`,
      )
    return bind('call', { name, ...closed, rule }, xs)
  }
