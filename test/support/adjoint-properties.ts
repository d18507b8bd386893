/** Linear primitives and their rules: A's tangent is A, and A' is its adjoint, <A x, y> = <x, A' y>, in exact integers. */
import assert from 'node:assert/strict'
import { jvp, vjp } from '../../src/autodiff/grad.ts'
import { rules } from '../../src/autodiff/vjp.ts'
import * as b from '../../src/dsl/build.ts'
import type { Op } from '../../src/dsl/prim.ts'
import { range, type Shape, size } from '../../src/dsl/shape.ts'
import { bind1, constant, type Tensor, tensor } from '../../src/dsl/tensor.ts'
import { key, uniformAt } from '../../src/dsl/threefry.ts'
import { fact, type Property } from './property.ts'
import { list } from './samples.ts'

type Linear = (...xs: readonly Tensor[]) => Tensor
/** A function that is linear in its operands together, and their shapes. */
type Case = readonly [Linear, ...Shape[]]

/** Integers from -4 to 4: sums of products are exact. */
const integers = (shape: Shape, seed: number): Tensor =>
  constant(
    shape,
    'f64',
    Float64Array.from(range(size(shape)), i => Math.floor(9 * uniformAt(key(seed), i)) - 4),
  )
/** Columns, with some twice and some not at all. */
const columns = tensor(
  [
    [2, 0, 2, 3],
    [1, 1, 1, 0],
  ],
  'i32',
)
const windows = { axes: [1, 0], size: [2, 3], stride: [2, 1], dilation: [1, 2] }
/** y[n,o,i] = sum x[n,c,h] w[o,c,t],  h = 2i + 2t - 1: windows with holes and padding. */
const convolution = {
  extents: [2, 3, 7, 4, 3, 3],
  lhs: [0, 1, 2],
  rhs: [3, 1, 4],
  out: [0, 3, 5],
  windows: [{ big: 2, out: 5, tap: 4, stride: 2, dilation: 2, padding: 1 }],
}
const product = { extents: [2, 3, 4], lhs: [1, 0], rhs: [1, 2], out: [2, 0], windows: [] }

const cases: { readonly [K in Op]?: readonly Case[] } = {
  reshape: [[x => b.reshape(x, [3, 2]), [2, 3]]],
  permute: [[x => b.permute(x, [2, 0, 1]), [2, 3, 4]]],
  barrier: [[x => b.barrier(x), [3]]],
  flip: [
    [x => b.flip(x, [1]), [2, 3]],
    [x => b.flip(x, [0, 2]), [2, 3, 4]],
  ],
  broadcast: [
    [x => b.broadcastTo(x, [3, 2]), [2]],
    [x => bind1('broadcast', { shape: [4, 2, 5, 3], dims: [1, 2, 3] }, [x]), [2, 1, 3]],
  ],
  pad: [
    [x => b.pad(x, [2], [1], 0, [2]), [4]],
    [x => b.pad(x, [1, -1], [3, 0], 0, [0, 2]), [2, 4]],
    [x => b.pad(x, [-1, 2], [1, -3], 0, [1, 1]), [4, 3]],
  ],
  slice: [
    [x => b.slice(x, [1], [6], [2]), [7]],
    [x => b.slice(x, [0, 2], [3, 5], [2, 1]), [4, 5]],
  ],
  concat: [
    [(x, y, z) => b.concat([x, y, z], 1), [2, 1], [2, 3], [2, 2]],
    [(x, y) => b.concat([x, y, x], 0), [2, 2], [1, 2]],
  ],
  unfold: [[x => b.unfold(x, windows), [6, 5]]],
  fold: [[x => b.fold(x, windows, [6, 5]), [2, 2, 2, 3]]],
  gather: [[x => b.gather(x, columns, 1), [2, 5]]],
  scatterAdd: [[x => b.scatterAdd(columns, x, 1, 5), [2, 4]]],
  contract: [
    [x => b.contract(product, x, integers([3, 4], 90)), [3, 2]],
    [x => b.contract(product, integers([3, 2], 91), x), [3, 4]],
    [x => b.contract(convolution, x, integers([4, 3, 3], 92)), [2, 3, 7]],
    [x => b.contract(convolution, integers([2, 3, 7], 93), x), [4, 3, 3]],
  ],
}

const inner = (xs: readonly Tensor[], ys: readonly Tensor[]): number => {
  const [u, v] = [xs.flatMap(list), ys.flatMap(list)]
  assert.equal(u.length, v.length)
  return u.reduce((t, a, i) => t + a * v[i], 0)
}
function adjoint(op: Op, [f, ...shapes]: Case): void {
  const [x, dx] = [1, 20].map(seed => shapes.map((shape, i) => integers(shape, seed + i)))
  const apply = (xs: readonly Tensor[]) => f(...xs)
  const [y, back] = vjp(apply, x)
  const dy = integers(y.shape, 50)
  const made = back(dy)
  assert.deepEqual(
    made.map(t => t.shape),
    shapes,
    op,
  )
  assert.equal(inner([y], [dy]), inner(x, made), `${op}: <A x, y> and <x, A' y>`)
  const [, tangent] = jvp(apply, x, dx)
  assert.deepEqual(list(tangent), list(apply(dx)), `${op}: its tangent is itself`)
  // and in each operand alone, whatever the others are
  shapes.forEach((_, i) => {
    const alone = (t: Tensor) => apply(x.map((u, k) => (k === i ? t : u)))
    assert.deepEqual(list(vjp(alone, x[i])[1](dy)), list(made[i]), `${op} by operand ${i}`)
  })
}

export const adjointProperties: readonly Property[] = (Object.keys(rules) as Op[])
  .filter(op => ['linear', 'bilinear'].includes(rules[op].kind))
  .map(op =>
    fact(`${op}: its rule is its adjoint`, () => {
      const own = cases[op]
      assert.ok(own, `${op} has a row`)
      for (const c of own) adjoint(op, c)
    }),
  )
