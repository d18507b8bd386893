/**
 * What a network costs, told without running it. In: a module and the shape of its images. Out: its parameters, and the
 * multiply-adds of one evaluation, counted on the traced graph. No initial value is drawn.
 */
import type { Contraction } from '../dsl/prim.ts'
import { size } from '../dsl/shape.ts'
import type { Tensor } from '../dsl/tensor.ts'
import { isType, spec, trace } from '../dsl/trace.ts'
import { leaves } from '../dsl/tree.ts'
import type { Mode } from './module.ts'

/** What counting needs of a module. */
export interface Countable {
  readonly init: (key: readonly [number, number]) => { readonly params: unknown; readonly state: unknown }
  readonly apply: (params: never, state: never, x: Tensor, mode: Mode) => { readonly out: unknown }
}

/** Numbers of parameters and of multiply-adds. */
export interface Cost {
  readonly parameters: number
  readonly multiplyAdds: number
}

/**
 * The numbers of trained values, and of multiplications of a weight or an activation with an activation in matrix
 * products, convolutions and attention, in evaluation on one image (padding counts as if it were there, as usual).
 * Resizing and pooling, whose factors are constants, count as nothing, as in published tables.
 * @throws ShapeError as the module does
 * @example costOf(resnetClassifier({ depth: 18, classes: 1000 }), [224, 224]) // 11,689,512 and 1.814e9
 */
export function costOf(module: Countable, [height, width]: readonly [number, number]): Cost {
  const { params, state } = module.init([0, 0])
  // A module takes the trees that it made.
  const evaluate = (p: never, s: never, x: Tensor) => module.apply(p, s, x, { training: false }).out
  const { graph } = trace(evaluate, [params, state, spec([1, 3, height, width])])
  const multiplyAdds = graph.eqns.reduce((n, e) => {
    const counted = e.op === 'contract' && e.inputs.every(x => x.eqn.op !== 'const')
    return counted ? n + productsOf(e.params.spec) : n
  }, 0)
  return { parameters: countParameters(params), multiplyAdds }
}

/** The number of values in a tree of arrays. @example countParameters(net.init(key(0)).params) */
export const countParameters = (tree: unknown): number =>
  leaves(tree, isType).reduce((n, l) => n + size(l.leaf.shape), 0)

/** Each tap of each window at each of its positions; the windowed index itself follows from these two. */
function productsOf({ extents, windows }: Contraction): number {
  const bound = new Set(windows.map(w => w.big))
  return size(extents.filter((_, i) => !bound.has(i)))
}
