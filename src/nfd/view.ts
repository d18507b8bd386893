/**
 * Change of input: the teacher sees another view of the image than the student. In: a teacher, a view. Out: a teacher
 * whose outputs lie on the student's pixels again.
 */
import { add, flip, mul } from '../dsl/build.ts'
import { type KeyTensor, normal } from '../dsl/ops/random.ts'
import type { Tensor } from '../dsl/tensor.ts'
import { isTensor } from '../dsl/trace.ts'
import { mapTree } from '../dsl/tree.ts'
import { floats } from '../nn/feature.ts'
import { keyOf } from '../nn/mode.ts'

/** A change of images [batch, 3, h, w], and its inverse on the geometry of the outputs [batch, c, h', w']. */
export interface View {
  readonly input: (image: Tensor, key: KeyTensor) => Tensor
  readonly output: (x: Tensor, key: KeyTensor) => Tensor
}

/** The mirror image, left for right. */
export const mirrored: View = { input: x => flip(x, [3]), output: x => flip(x, [3]) }

/** Normal noise of a deviation on the image; its outputs lie where they lay. @example noisy(0.1) */
export const noisy = (std: number): View => ({
  input: (x, key) => add(x, mul(normal(key, x.shape, { dtype: floats('noisy', x).dtype }), std)),
  output: x => x,
})

/**
 * A teacher that sees the image through a view.
 * @example const teach = seenThrough(mirrored, constantTeacher(net)); teach(params, state, image, key)
 */
export const seenThrough =
  <P, S, Out>(view: View, teacher: (params: P, state: S, image: Tensor) => Out) =>
  (params: P, state: S, image: Tensor, key: Tensor): Out =>
    // an output keeps its type under a view, so the tree keeps its own
    mapTree(teacher(params, state, view.input(image, keyOf(key))), isTensor, x =>
      view.output(x, keyOf(key)),
    ) as Out
