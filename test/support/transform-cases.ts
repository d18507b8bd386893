/** Compositions of the transforms that break other systems: the same cases run on every backend. */
import assert from 'node:assert/strict'
import { checkpoint } from '../../src/autodiff/checkpoint.ts'
import { grad } from '../../src/autodiff/grad.ts'
import { vmap } from '../../src/autodiff/vmap.ts'
import type { Backend } from '../../src/backend/backend.ts'
import { compile, unwrap } from '../../src/backend/compile.ts'
import { referenceBackend } from '../../src/backend/cpu/reference-backend.ts'
import { array, type NDArray } from '../../src/dsl/array.ts'
import * as b from '../../src/dsl/build.ts'
import { relu } from '../../src/dsl/ops/activation.ts'
import { conv2d } from '../../src/dsl/ops/conv.ts'
import { standardise } from '../../src/dsl/ops/norm.ts'
import { range, size } from '../../src/dsl/shape.ts'
import type { Tensor } from '../../src/dsl/tensor.ts'
import { key, uniformAt } from '../../src/dsl/threefry.ts'

/** A case: a function of arrays, and their shapes. */
export interface TransformCase {
  readonly name: string
  readonly shapes: readonly (readonly number[])[]
  readonly f: (xs: readonly Tensor[]) => readonly Tensor[]
}

type Images = Tensor<readonly [number, number, number, number], 'f32'>
const conv = (x: Tensor, w: Tensor): Tensor =>
  relu(conv2d(x as Images, w as Images, { padding: 1 }) as Images)
const sumSquares = (x: Tensor): Tensor => b.mean(b.mul(x, x))
const network = (p: readonly Tensor[], x: Tensor): Tensor =>
  sumSquares(b.map('tanh', conv(conv(x, p[0]), p[1])))
const image = [2, 3, 6, 5]
const w0 = [4, 3, 3, 3]
const w1 = [4, 4, 3, 3]
const dotWith = (gs: readonly Tensor[], v: readonly Tensor[]): Tensor =>
  gs.map((g, i) => b.sum(b.mul(g, v[i]))).reduce((x, y) => b.add(x, y))

export const transformCases: readonly TransformCase[] = [
  {
    name: "a frozen teacher before a trained student: the gradients of the student's parameters alone",
    shapes: [image, w0, w0, w1],
    f: ([x, teacher, s0, s1]) => {
      const N = standardise({ axes: [2, 3] })
      const target = b.stopGradient(conv(x, teacher)) as Images
      return grad((p: readonly Tensor[]) => {
        const feature = conv(conv(x, p[0]), p[1]) as Images
        const d = b.sub(N(feature), N(target))
        return b.mean(b.mul(d, d))
      })([s0, s1])
    },
  },
  {
    name: 'a shared parameter used twice gets both gradients',
    shapes: [[2, 4, 6, 5], w1],
    f: ([x, w]) => [grad((p: Tensor) => sumSquares(conv(conv(x, p), p)))(w)],
  },
  {
    name: 'a gradient through checkpoint',
    shapes: [image, w0, w1],
    f: ([x, p0, p1]) => grad((p: readonly Tensor[]) => checkpoint(network)(p, x))([p0, p1]),
  },
  {
    name: 'vmap of grad: a gradient per example',
    shapes: [image, w0, w1],
    f: ([x, p0, p1]) =>
      vmap((e: Tensor) => grad((p: readonly Tensor[]) => network(p, b.reshape(e, [1, 3, 6, 5])))([p0, p1]))(
        x,
      ),
  },
  {
    name: 'grad of vmap',
    shapes: [image, w0, w1],
    f: ([x, p0, p1]) =>
      grad((p: readonly Tensor[]) => b.mean(vmap((e: Tensor) => network(p, b.reshape(e, [1, 3, 6, 5])))(x)))([
        p0,
        p1,
      ]),
  },
  {
    name: 'grad of grad of a whole network: a Hessian-vector product',
    shapes: [image, w0, w1, w0, w1],
    f: ([x, p0, p1, v0, v1]) => {
      const g = grad((p: readonly Tensor[]) => network(p, x))
      return grad((p: readonly Tensor[]) => dotWith(g(p), [v0, v1]))([p0, p1])
    },
  },
  {
    name: 'an empty batch has the gradient 0 of a sum',
    shapes: [[0, 3, 6, 5], w0, w1],
    f: ([x, p0, p1]) => grad((p: readonly Tensor[]) => b.sum(conv(conv(x, p[0]), p[1])))([p0, p1]),
  },
]

const values = (seed: number, shape: readonly number[], dtype: 'f32' | 'f64'): NDArray =>
  array(
    shape,
    dtype,
    range(size(shape)).map(i => Math.fround(2 * uniformAt(key(seed), i) - 1)),
  )

/** Runs a case on a backend in f32 and compares it with the reference in f64. */
export async function checkTransformCase(c: TransformCase, backend: Backend): Promise<void> {
  const run = async (on: Backend, dtype: 'f32' | 'f64') => {
    const args = c.shapes.map((s, i) => values(i + 1, s, dtype))
    return (await unwrap(compile(c.f, [args], on)))(args)
  }
  const [got, want] = [await run(backend, 'f32'), await run(referenceBackend(), 'f64')]
  want.forEach((w, i) => {
    assert.deepEqual(got[i].shape, w.shape)
    const scale = Math.max(1e-6, ...Array.from(w.data, Math.abs))
    w.data.forEach((v, k) => {
      // some thousand roundings of f32 in sums of both signs
      const error = Math.abs(v - got[i].data[k])
      assert.ok(error <= 1e-4 * scale, `result ${i}[${k}] is ${got[i].data[k]}, the reference has ${v}`)
    })
    assert.ok(c.shapes[0][0] === 0 ? w.data.every(v => v === 0) : scale > 1e-6, `result ${i} says nothing`)
  })
}
