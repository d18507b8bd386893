/**
 * Sizes at which kernels change their shape: a tile less one, a tile, a tile plus one, reductions longer than a
 * workgroup and than one thread's share, and more workgroups than a dispatch has in one dimension.
 */
import type { Backend } from '../backend/backend.ts'
import { array, type NDArray } from '../dsl/array.ts'
import * as b from '../dsl/build.ts'
import { range, type Shape, size } from '../dsl/shape.ts'
import type { Tensor } from '../dsl/tensor.ts'
import { key, uniformAt } from '../dsl/threefry.ts'
import { checkBackends, runGraph } from './check-backends.ts'
import { traceList } from './check-grads.ts'
import { CheckError } from './numbers.ts'

/** A function at a size. */
export interface SizeCase {
  readonly name: string
  readonly run: (backend: Backend) => Promise<void>
}

const random = (shape: Shape, seed: number): NDArray =>
  array(
    shape,
    'f32',
    range(size(shape)).map(i => 2 * uniformAt(key(seed), i) - 1),
  )
const compared = (name: string, f: (...xs: Tensor[]) => Tensor, ...shapes: readonly Shape[]): SizeCase => ({
  name,
  run: async backend => {
    await checkBackends(
      f,
      shapes.map((s, i) => random(s, i + 1)),
      [backend],
    )
  },
})

const matmul = (x: Tensor, w: Tensor): Tensor => {
  const [m, k] = x.shape
  const n = w.shape[1]
  return b.contract({ extents: [m, k, n], lhs: [0, 1], rhs: [1, 2], out: [0, 2], windows: [] }, x, w)
}
const conv = (x: Tensor, w: Tensor): Tensor => {
  const [n, c, h] = x.shape
  const [o, , k] = w.shape
  const window = { big: 2, out: 5, tap: 4, stride: 1, dilation: 1, padding: 1 }
  const spec = {
    extents: [n, c, h, o, k, h + 2 - k + 1],
    lhs: [0, 1, 2],
    rhs: [3, 1, 4],
    out: [0, 3, 5],
    windows: [window],
  }
  return b.contract(spec, x, w)
}

/** Around tiles of contractions: 4, 8, 16, 32. */
const around = [3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33] as const
/** Around a workgroup (64, 256), a thread's share of a long reduction (2048), and prime lengths beyond. */
const lengths = [63, 64, 65, 255, 256, 257, 1023, 2047, 2048, 2049, 2053, 4096, 6000] as const

/** The cases that every backend computes in a few seconds. */
export const sizeCases: readonly SizeCase[] = [
  ...around.map(n => compared(`matmul ${n}x${n}x${n}`, matmul, [n, n], [n, n])),
  ...around.map(n => compared(`matmul ${n}x1x${n + 1}`, matmul, [n, 1], [1, n + 1])),
  ...[7, 8, 9, 16, 17].map(n => compared(`conv over ${n}, 2 images`, conv, [2, 3, n], [n, 3, 3])),
  ...lengths.map(n => compared(`sum of ${n}`, x => b.sum(b.mul(x, x)), [n])),
  ...lengths.map(n => compared(`maxima of 3 x ${n}`, x => b.reduce('max', x, 1), [3, n])),
  ...[63, 64, 65, 257].map(n =>
    compared(`argmax of ${n}`, x => b.cast(b.reduce('argmax', b.stopGradient(x), 0), 'f32'), [n]),
  ),
  ...lengths.map(n =>
    compared(
      `softmax of ${n}`,
      x => {
        const e = b.map('exp', b.sub(x, b.reduce('max', x, 1, true)))
        return b.div(e, b.sum(e, 1, true))
      },
      [2, n],
    ),
  ),
]

/**
 * More than 65,535 workgroups of 64: an elementwise kernel over 4.2 million elements, and a sum along each of as many
 * rows. Its values are known in closed form.
 */
export const manyWorkgroups: SizeCase = {
  name: 'more than 65,535 workgroups',
  run: async backend => {
    const n = 65_536 * 64 + 3
    const graph = traceList(
      ([x]) => [
        b.add(b.mul(b.cast(b.map('and', b.iota([n], 0), b.full([n], 1023, 'i32')), 'f32'), 2), x),
        b.sum(
          b.broadcastTo(
            b.reshape(b.cast(b.map('and', b.iota([n], 0), b.full([n], 255, 'i32')), 'f32'), [n, 1]),
            [n, 3],
          ),
          1,
        ),
      ],
      [{ shape: [], dtype: 'f32' }],
    )
    const [twice, rows] = await runGraph(backend, graph, [array([], 'f32', [1])])
    for (let i = 0; i < n; i++)
      if (twice.data[i] !== 2 * (i & 1023) + 1 || rows.data[i] !== 3 * (i & 255))
        throw new CheckError(
          `${backend.name}: element ${i} of ${n} is ${twice.data[i]} and ${rows.data[i]}, expected ${2 * (i & 1023) + 1} and ${3 * (i & 255)}`,
        )
  },
}
