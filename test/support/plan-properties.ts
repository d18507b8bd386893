/** Plans: loops with the work before and after them, in as few kernels as fit, with the reference's values. */
import assert from 'node:assert/strict'
import { interpret } from '../../src/backend/cpu/reference.ts'
import { planGraph } from '../../src/backend/pipeline.ts'
import { array } from '../../src/dsl/array.ts'
import * as b from '../../src/dsl/build.ts'
import { makeGraph } from '../../src/dsl/graph.ts'
import { range, type Shape, size } from '../../src/dsl/shape.ts'
import { input, type Tensor } from '../../src/dsl/tensor.ts'
import { key, uniformAt } from '../../src/dsl/threefry.ts'
import { runPlan } from './plan-runner.ts'
import { fact, type Property } from './property.ts'

/** Runs a function's plan against the reference; gives the names of its kernels. */
function planned(f: (x: Tensor) => Tensor, shape: Shape): string[] {
  const x = input('x', { shape, dtype: 'f64' })
  const g = makeGraph([x], [f(x)])
  const data = range(size(shape)).map(i => 2 * uniformAt(key(3), i) - 1)
  const args = [array(shape, 'f64', data)]
  const [got, want] = [runPlan(g, args)[0], interpret(g, args)[0]]
  assert.deepEqual(got.shape, want.shape)
  want.data.forEach((w, i) => {
    assert.ok(
      Math.abs(got.data[i] - w) <= 1e-12 * (1 + Math.abs(w)),
      `[${i}] is ${got.data[i]}, expected ${w}`,
    )
  })
  return planGraph(g, () => ({ vector: null, tiles: [] })).steps.map(s => s.kernel.name)
}

const product = { extents: [4, 6, 4], lhs: [0, 1], rhs: [2, 1], out: [0, 2], windows: [] }
/** Loops with a result of 4 by 4 elements. */
const heads: readonly ((x: Tensor) => Tensor)[] = [
  x => b.contract(product, x, b.map('sin', x)),
  x => b.sum(b.reshape(x, [4, 2, 3]), 2),
  x => b.reduce('max', b.reshape(x, [2, 4, 3]), 0),
]
const marked = (y: Tensor): Tensor => b.add(y, b.iota(y.shape, y.rank - 1, 'f64'))
/** What follows a loop element by element: one kernel does both. */
const epilogues: readonly ((y: Tensor) => Tensor)[] = [
  y => b.neg(y),
  y => marked(b.reshape(y, [size(y.shape)])),
  y => marked(b.permute(y, [1, 0])),
  y => marked(b.reshape(b.permute(b.reshape(marked(y), [2, -1, 2]), [2, 0, 1]), [-1])),
  y => b.sub(b.map('sin', y), b.mul(y, marked(y))),
  y => b.mul(b.permute(b.neg(y), [1, 0]), marked(b.permute(y, [1, 0]))),
]
/** What needs an element at more than one place: the loop's result is stored. */
const twoWays: readonly ((y: Tensor) => Tensor)[] = [
  y => b.sub(y, b.permute(marked(y), [1, 0])),
  y => b.mul(b.reshape(y, [-1]), b.reshape(b.permute(marked(y), [1, 0]), [-1])),
]

function epilogueFusion(): void {
  for (const head of heads) {
    const square = (x: Tensor) => {
      const y = head(x)
      return b.contract(
        { extents: [y.shape[0], y.shape[1], y.shape[0]], lhs: [0, 1], rhs: [2, 1], out: [0, 2], windows: [] },
        y,
        y,
      )
    }
    const before = planned(head, [4, 6]).length
    for (const after of epilogues)
      assert.equal(planned(x => after(head(x)), [4, 6]).length, before, 'the epilogue is a part of the loop')
    const whole = planned(square, [4, 6]).length
    for (const after of twoWays)
      assert.equal(planned(x => after(square(x)), [4, 6]).length, whole + 1, 'the result is stored between')
  }
}

function folds(): void {
  for (const stride of [1, 2, 3])
    for (const dilation of [1, 2])
      for (const taps of [1, 2, 3])
        for (const before of [(w: Tensor) => w, (w: Tensor) => b.map('cos', w), (w: Tensor) => b.add(w, 1)]) {
          const n = 9
          const sliding = { axes: [1], size: [taps], stride: [stride], dilation: [dilation] }
          const f = (x: Tensor) => b.neg(b.fold(before(b.unfold(x, sliding)), sliding, [2, n]))
          assert.ok(planned(f, [2, n]).length <= 2)
          const given = Math.floor((n - dilation * (taps - 1) - 1) / stride) + 1
          planned(w => b.fold(before(w), sliding, [2, n]), [2, given, taps])
        }
}

export const planProperties: readonly Property[] = [
  fact('work that follows a loop element by element is a part of its kernel', epilogueFusion),
  fact('overlapping windows add up in one kernel, whatever lies between', folds),
]
