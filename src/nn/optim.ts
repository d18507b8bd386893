/**
 * Optimisers as pairs of pure functions. In: trees of gradients, state and parameters. Out: the new parameters and
 * the new state. The state is a tree of arrays like any other, so it is saved, donated and kept on the device like
 * the parameters. The formulas are PyTorch's.
 */

import { array, type NDArray } from '../dsl/array.ts'
import { add, cast, div, less, map, mul, neg, type Operand, scalar, select, sub, sum } from '../dsl/build.ts'
import { makeData } from '../dsl/dtype.ts'
import { CompileError, UsageError } from '../dsl/errors.ts'
import { size } from '../dsl/shape.ts'
import { scope, type Tensor } from '../dsl/tensor.ts'
import { isTensor, isType } from '../dsl/trace.ts'
import { leaves, mapTree } from '../dsl/tree.ts'

/** An optimiser's state: the number of steps done (i32[]), and its moments, each a tree like the parameters. */
export type OptimiserState<P> = { readonly step: NDArray; readonly moments: readonly P[] }

/** An optimiser. Both functions are pure; `update` is called while a step is traced. */
export interface Optimiser {
  readonly name: string
  /** The state before the first step: zeros. */
  readonly init: <P>(params: P) => OptimiserState<P>
  /**
   * One step.
   * @param learningRate  a scalar of the parameters' dtype
   * @throws CompileError if a parameter has no gradient
   */
  readonly update: <T>(
    grads: T,
    state: { readonly step: Tensor; readonly moments: readonly T[] },
    params: T,
    learningRate: Tensor,
  ) => {
    readonly params: T
    readonly state: { readonly step: Tensor; readonly moments: readonly T[] }
  }
}

/** Which parameters are decayed: by their dotted path in the tree, and the parameter itself. */
export type Decay = (path: string, param: Tensor) => boolean

/**
 * Decays kernels and matrices, not biases and the gains of norms.
 * @example sgd({ momentum: 0.9, weightDecay: 1e-4, decay: (path, p) => kernelsOnly(path, p) && !path.startsWith('aligners') })
 */
export const kernelsOnly: Decay = (_, param) => param.shape.length >= 2

/** Weight decay: `weightDecay` (0) times the parameters for which `decay` holds (all). */
export interface DecayOptions {
  readonly weightDecay?: number
  readonly decay?: Decay
}

/** What an optimiser does to one parameter: its new value and its new moments. */
type Rule = (
  p: Tensor,
  grad: Tensor,
  moments: readonly Tensor[],
  at: { readonly step: Tensor; readonly learningRate: Tensor; readonly decay: number },
) => readonly [p: Tensor, moments: readonly Tensor[]]

const zerosOf = (tree: unknown): unknown =>
  mapTree(tree, isType, t => array(t.shape, t.dtype, makeData(t.dtype, size(t.shape))))

/** The leaf of another tree at the same path. */
function follower(tree: unknown, what: string): (path: string) => Tensor {
  const byPath = new Map(leaves(tree, isTensor).map(l => [l.path, l.leaf]))
  return path => {
    const leaf = byPath.get(path)
    if (leaf) return leaf
    throw new CompileError(
      `the optimiser found no ${what} at '${path}'; the trees must have the form of the parameters`,
    )
  }
}

const optimiser = (
  name: string,
  moments: number,
  { weightDecay = 0, decay = () => true }: DecayOptions,
  rule: Rule,
): Optimiser => ({
  name,
  init: <P>(params: P) => ({
    step: array([], 'i32', [0]),
    // zeros in the form of `params`
    moments: Array.from({ length: moments }, () => zerosOf(params) as P),
  }),
  update: <T>(
    grads: T,
    state: { readonly step: Tensor; readonly moments: readonly T[] },
    params: T,
    learningRate: Tensor,
  ) =>
    scope(name, () => {
      const step = add(state.step, 1)
      const gradAt = follower(grads, 'gradient')
      const momentsAt = state.moments.map(m => follower(m, 'moment'))
      const done = new Map(
        leaves(params, isTensor).map(({ path, leaf: p }) => [
          path,
          rule(
            p,
            gradAt(path),
            momentsAt.map(at => at(path)),
            { step, learningRate, decay: weightDecay !== 0 && decay(path, p) ? weightDecay : 0 },
          ),
        ]),
      )
      // every leaf is replaced by one of its own type, so the trees keep their form
      const rebuild = (pick: (r: readonly [Tensor, readonly Tensor[]]) => Tensor): T =>
        mapTree(params, isTensor, (p, path) => pick(done.get(path) ?? [p, []])) as T
      return {
        params: rebuild(r => r[0]),
        state: { step, moments: state.moments.map((_, i) => rebuild(r => r[1][i])) },
      }
    }),
})

const inUnit = (name: string, options: Readonly<Record<string, number>>): void => {
  for (const [key, value] of Object.entries(options))
    if (!(value >= 0 && value < 1)) throw new UsageError(`${name}: ${key} must be in [0, 1), got ${value}`)
}
/** x + k y, without the zero. */
const plus = (x: Tensor, k: number, y: Tensor): Tensor => (k === 0 ? x : add(x, mul(y, k)))

/** `momentum` in [0, 1): 0; `nesterov`: false. */
export interface SgdOptions extends DecayOptions {
  readonly momentum?: number
  readonly nesterov?: boolean
}

/**
 * Stochastic gradient descent with momentum:
 *   g <- grad + wd p,  v <- mu v + g,  p <- p - lr v  (lr (g + mu v) with Nesterov's)
 * @throws UsageError if the momentum is not in [0, 1), or Nesterov's is asked for without it
 * @see torch.optim.SGD (dampening 0)
 * @example sgd({ momentum: 0.9, weightDecay: 1e-4 })
 */
export function sgd({ momentum = 0, nesterov = false, ...decay }: SgdOptions = {}): Optimiser {
  inUnit('sgd', { momentum })
  if (nesterov && momentum === 0) throw new UsageError("sgd: Nesterov's momentum needs momentum above 0")
  return optimiser('sgd', momentum === 0 ? 0 : 1, decay, (p, grad, [v], at) => {
    const g = plus(grad, at.decay, p)
    const moved = v ? add(mul(v, momentum), g) : g
    const direction = nesterov ? plus(g, momentum, moved) : moved
    return [sub(p, mul(direction, at.learningRate)), v ? [moved] : []]
  })
}

/** `b1` (0.9) and `b2` (0.999): the parts of the old moments; `eps` (1e-8) is added to the root. */
export interface AdamOptions extends DecayOptions {
  readonly b1?: number
  readonly b2?: number
  readonly eps?: number
}

/** 1 - b^step = -expm1(step log b): exact to rounding in f32 too, where 1 - b^step would cancel. */
const debias = (b: number, step: Tensor, like: Tensor): Operand =>
  b === 0 ? 1 : neg(map('expm1', mul(cast(step, like.dtype), Math.log(b))))

const adaptive = (
  name: string,
  { b1 = 0.9, b2 = 0.999, eps = 1e-8, ...decay }: AdamOptions,
  decoupled: boolean,
): Optimiser => {
  inUnit(name, { b1, b2 })
  return optimiser(name, 2, decay, (p, grad, [m, v], at) => {
    const g = decoupled ? grad : plus(grad, at.decay, p)
    const shrunk = decoupled && at.decay !== 0 ? sub(p, mul(mul(p, at.decay), at.learningRate)) : p
    const first = add(mul(m, b1), mul(g, 1 - b1))
    const second = add(mul(v, b2), mul(mul(g, g), 1 - b2))
    const root = add(map('sqrt', div(second, debias(b2, at.step, p))), eps)
    const direction = div(div(first, debias(b1, at.step, p)), root)
    return [sub(shrunk, mul(direction, at.learningRate)), [first, second]]
  })
}

/**
 * Adam; weight decay is added to the gradient:
 *   g <- grad + wd p,  m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2,
 *   p <- p - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
 * @throws UsageError if b1 or b2 is not in [0, 1)
 * @see Kingma & Ba 2015, arXiv:1412.6980; torch.optim.Adam
 * @example adam({ b2: 0.99 })
 */
export const adam = (options: AdamOptions = {}): Optimiser => adaptive('adam', options, false)

/**
 * Adam with decoupled weight decay (0.01): p <- p - lr wd p, then Adam's step without it.
 * @throws UsageError if b1 or b2 is not in [0, 1)
 * @see Loshchilov & Hutter 2019, arXiv:1711.05101; torch.optim.AdamW
 * @example adamw({ weightDecay: 0.05, decay: kernelsOnly })
 */
export const adamw = (options: AdamOptions = {}): Optimiser =>
  adaptive('adamw', { weightDecay: 0.01, ...options }, true)

/**
 * Scales a tree of gradients so that the norm of all of them together is at most `maxNorm`:
 *   g min(1, maxNorm / (norm + 1e-6))
 * @returns the scaled tree, and the norm before (a scalar)
 * @throws UsageError if the bound is not positive; CompileError if the tree holds no tensor
 * @see torch.nn.utils.clip_grad_norm_
 * @example const { grads, norm } = clipByGlobalNorm(g, 10)
 */
export function clipByGlobalNorm<T>(tree: T, maxNorm: number): { readonly grads: T; readonly norm: Tensor } {
  if (!(maxNorm > 0)) throw new UsageError(`clipByGlobalNorm: the bound must be positive, got ${maxNorm}`)
  return scope('clipByGlobalNorm', () => {
    const all = leaves(tree, isTensor).map(l => l.leaf)
    if (all.length === 0) throw new CompileError('clipByGlobalNorm: the tree holds no tensor')
    const squares = all.map(g => sum(mul(g, g))).reduce((a, b) => add(a, b))
    const norm = map('sqrt', squares)
    const ratio = div(maxNorm, add(norm, 1e-6))
    const factor = select(less(ratio, 1), ratio, scalar(1, norm.dtype))
    // each leaf is replaced by one of its type
    return { grads: mapTree(tree, isTensor, g => mul(g, factor)) as T, norm }
  })
}
