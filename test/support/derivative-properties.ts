/** Derivatives of reductions, casts, broadcasts and slices; what is discrete or does not move; and when there is none. */
import assert from 'node:assert/strict'
import { custom, grad, jvp, vjp } from '../../src/autodiff/grad.ts'
import { pullback, pushforward } from '../../src/autodiff/transform.ts'
import * as b from '../../src/dsl/build.ts'
import { equations } from '../../src/dsl/graph.ts'
import { cond, scan } from '../../src/dsl/ops/control.ts'
import type { Reduction } from '../../src/dsl/prim.ts'
import { range, size } from '../../src/dsl/shape.ts'
import { bind1, constant, type Tensor, tensor } from '../../src/dsl/tensor.ts'
import { checkGrads } from '../../src/testing/check-grads.ts'
import { fact, type Property } from './property.ts'
import { list, values } from './samples.ts'
import { unreachable } from './unreachable-properties.ts'

/** Over every set of axes, in an order that is not theirs too. */
function reductions(how: Reduction): void {
  for (const axes of [[0], [1], [2], [0, 1], [0, 2], [2, 0], [0, 1, 2]])
    checkGrads(
      ((x: Tensor) => {
        const y = b.reduce(how, x, axes)
        return b.mul(y, b.add(y, 0.3))
      }) as (...a: never[]) => unknown,
      [values([2, 3, 2], axes.length)],
      { directions: 1 },
    )
}

function ties(): void {
  for (const how of ['max', 'min'] as const) {
    const x = tensor([[3, 3, 3, 3], how === 'max' ? [1, 2, 2, 0] : [4, 3, 3, 5]], 'f64')
    const f = (t: Tensor) => b.sum(b.mul(b.reduce(how, t, 1), tensor([1, 10], 'f64')))
    const shares = [0.25, 0.25, 0.25, 0.25, 0, 5, 5, 0]
    assert.deepEqual(list(grad(f)(x)), shares)
    for (const i of range(8)) {
      const direction = b.reshape(b.cast(b.eq(b.iota([8], 0), i), 'f64'), [2, 4])
      assert.deepEqual(list(jvp(f, x, direction)[1]), [shares[i]])
    }
  }
  const product = (x: Tensor) => b.reduce('prod', x, 0)
  for (const [x, want] of [
    [
      [0, 3, 4],
      [12, 0, 0],
    ],
    [
      [0, 0, 4],
      [0, 0, 0],
    ],
    [
      [2, 3, 4],
      [12, 8, 6],
    ],
  ] as const)
    assert.deepEqual(list(grad(product)(tensor(x, 'f64'))), want)
}

/** A derivative has the dtype of what it belongs to. */
function casts(): void {
  const widen = (x: Tensor) => b.sum(b.mul(b.cast(x, 'f64'), tensor([2, 3], 'f64')))
  const narrow = (x: Tensor) => b.sum(b.mul(b.cast(x, 'f32'), tensor([2, 3], 'f32')))
  for (const [f, dtype, out] of [
    [widen, 'f32', 'f64'],
    [narrow, 'f64', 'f32'],
  ] as const) {
    const x = tensor([5, 7], dtype)
    const [g, t] = [grad(f)(x), jvp(f, x, tensor([1, 10], dtype))[1]]
    assert.deepEqual([g.dtype, t.dtype], [dtype, out])
    assert.deepEqual([list(g), list(t)], [[2, 3], [32]])
  }
}

/** What is used twice gets the sum; integers and what does not move have no tangent. */
function accumulation(): void {
  const x = tensor([1, 2, 3], 'f64')
  assert.deepEqual(list(grad((t: Tensor) => b.sum(b.mul(t, b.add(t, b.map('neg', t)))))(x)), [0, 0, 0])
  assert.deepEqual(list(grad((t: Tensor) => b.sum(b.add(b.mul(t, 2), b.mul(t, 3))))(x)), [5, 5, 5])
  // an argument that is a result
  assert.deepEqual(list(vjp((t: Tensor) => t, x)[1](b.mul(x, 2))), [2, 4, 6])
  assert.deepEqual(list(jvp((t: Tensor) => t, x, b.mul(x, 2))[1]), [2, 4, 6])
  assert.deepEqual(list(jvp((_: Tensor) => b.mul(x, x), x, x)[1]), [0, 0, 0])
  // along a value of the function itself
  const sin = b.map('sin', x)
  const [along] = pushforward([b.mul(sin, sin)], [x], [sin])
  assert.deepEqual(along && list(along), list(b.mul(b.mul(sin, 2), b.mul(sin, b.map('cos', x)))))
  // a padding value does not move
  const padded = (t: Tensor) => b.pad(t, [1], [1], 7)
  assert.deepEqual(list(jvp(padded, x, x)[1]), [0, 1, 2, 3, 0])
  // beside a constant
  const beside = (t: Tensor) => b.concat([tensor([9], 'f64'), t, tensor([8], 'f64')], 0)
  assert.deepEqual(list(jvp(beside, x, x)[1]), [0, 1, 2, 3, 0])
  // indices are no data
  const at = tensor([2, 0], 'i32')
  assert.deepEqual(list(jvp((t: Tensor) => b.gather(t, at, 0), x, x)[1]), [3, 1])
  const seed = tensor([1, 2], 'u32')
  const noise = (t: Tensor) => b.sum(b.mul(t, b.cast(bind1('randomBits', { shape: [3] }, [seed]), 'f64')))
  assert.deepEqual(list(grad(noise)(x)), list(b.cast(bind1('randomBits', { shape: [3] }, [seed]), 'f64')))
}

/** Integers and bools among the results of a function with a derivative have none. */
function discreteResults(): void {
  const x = tensor([1, -2], 'f64')
  const parts = (t: Tensor) => custom('parts', z => [b.less(z, 0), b.mul(z, 3), b.cast(z, 'i32')], {})(t)
  const chosen = (t: Tensor) => {
    const [negative, triple] = parts(t)
    return b.sum(b.select(negative, b.mul(triple, 2), t))
  }
  assert.deepEqual(list(grad(chosen)(x)), [1, 6])
  assert.deepEqual(list(jvp(chosen, x, x)[1]), [-11])
  const told: Tensor[] = []
  const asked = custom('asked', z => [b.cast(z, 'i32'), b.mul(z, 3)], {
    vjp: (_, __, [d, e]) => {
      told.push(d)
      return [e]
    },
  })
  const [, back] = vjp((t: Tensor) => asked(t), x)
  assert.deepEqual(list(back([tensor([5, 6], 'i32'), tensor([1, 2], 'f64')])), [1, 2])
  const z = b.identity(x)
  assert.deepEqual(list(pullback(asked(z), [z], [x, b.mul(x, 2)])[0]), [2, -4])
  assert.deepEqual(
    told.map(list),
    [
      [0, 0],
      [0, 0],
    ],
    'the cotangent of an integer is 0',
  )
}

/** Sums over what was repeated, in the shape of the operand; over what was not, none is made. */
function broadcasts(): void {
  const pairs = [
    [
      [2, 1],
      [2, 3],
    ],
    [
      [1, 3],
      [2, 3],
    ],
    [
      [1, 1],
      [2, 3],
    ],
    [[3], [2, 3]],
    [[1], [2, 3]],
    [[], [2, 3]],
    [
      [2, 1, 2],
      [4, 2, 3, 2],
    ],
  ] as const
  for (const [from, to] of pairs) {
    const x = constant(from, 'f64', Float64Array.from(values(from, 1).data))
    const g = grad((t: Tensor) => b.sum(b.mul(b.broadcastTo(t, to), 2)))(x)
    assert.deepEqual(g.shape, from)
    assert.deepEqual(
      list(g),
      Array.from(values(from, 1).data, () => (2 * size(to)) / size(from)),
    )
  }
  const x = tensor([[1], [2]], 'f64')
  const [y, back] = vjp((t: Tensor) => bind1('broadcast', { shape: [2, 1], dims: [0, 1] }, [t]), x)
  const d = b.identity(y)
  assert.ok(equations([back(d)], [d]).every(e => e.op !== 'reduce'))
}

/** Slices of nothing have the gradient 0, in the shape of the operand, and what is cut away has it too. */
function slices(): void {
  const x = tensor([1, 2, 3, 4, 5], 'f64')
  for (const [start, stop, step, want] of [
    [2, 2, 1, [0, 0, 0, 0, 0]],
    [2, 2, 3, [0, 0, 0, 0, 0]],
    [1, 4, 2, [0, 4, 0, 8, 0]],
    [0, 5, 3, [2, 0, 0, 8, 0]],
    [1, 5, 3, [0, 4, 0, 0, 10]],
  ] as const) {
    const g = grad((t: Tensor) => {
      const part = bind1('slice', { start: [start], stop: [stop], step: [step] }, [t])
      return b.sum(b.mul(part, part))
    })(x)
    assert.deepEqual(g.shape, [5])
    assert.deepEqual(list(g), want)
  }
}

/** Forward mode makes nothing for what does not move, and integers have the tangent 0. */
function stillness(): void {
  const [x, y] = [tensor([1, 2], 'f64'), tensor([3, 5], 'f64')]
  const product = (u: Tensor, v: Tensor) => custom('product', (p, q) => [b.mul(p, q)], {})(u, v)[0]
  const made = (t: Tensor) => equations([t]).filter(e => e.op === 'map').length
  const [value, tangent] = jvp((t: Tensor) => product(t, y), x, x)
  assert.equal(made(tangent) - made(value), 1)
  const flag = b.eq(b.scalar(0, 'f64'), 0)
  const chosen = (t: Tensor) => cond(flag, b.mul, b.add, t, y)
  const [, moving] = jvp(chosen, x, x)
  const [condition] = equations([moving])
    .filter(e => e.op === 'cond')
    .slice(-1)
  assert.equal(condition.inputs.length, 4, 'the condition, two operands, one tangent')
  const counted = (t: Tensor) => {
    const n = cond(
      flag,
      (z: Tensor) => [b.cast(z, 'i32'), z],
      (z: Tensor) => [b.cast(z, 'i32'), z],
      t,
    )[0]
    const [last, all] = scan(
      (c: readonly Tensor[], z: Tensor) =>
        [
          [b.add(c[0], 1), b.add(c[1], z)],
          [b.add(c[0], 2), z],
        ] as const,
      [b.full([], 7, 'i32'), b.scalar(0, 'f64')] as const,
      t,
    )
    return [n, last[0], all[0]]
  }
  assert.deepEqual(jvp(counted, x, x)[1].map(list), [[0, 0], [0], [0, 0]])
  const offset = b.sum(b.iota([2], 0))
  const counting = (t: Tensor) =>
    scan(
      (c: Tensor, s: { x: Tensor; i: Tensor }) =>
        [b.add(c, b.mul(s.x, b.cast(b.add(s.i, offset), 'f64'))), null] as const,
      b.scalar(0, 'f64'),
      { x: t, i: b.iota([2], 0) },
    )[0]
  const [, slope] = jvp(counting, x, x)
  const [loop] = equations([slope])
    .filter(e => e.op === 'scan')
    .slice(-1)
  assert.equal(loop.inputs.length, 6, 'an integer constant, a carry, two sequences, two tangents')
  // the second result of one function as an operand of another
  const both = (t: Tensor) => custom('both', z => [b.mul(z, 2), b.mul(z, 3)], {})(t)
  const [, t] = jvp((v: Tensor) => product(both(v)[1], y), x, tensor([1, 10], 'f64'))
  assert.deepEqual(list(t), [9, 150])
  const swapped = (v: Tensor) => custom('less', (p, q) => [b.sub(p, q)], {})(both(v)[1], both(v)[0])[0]
  assert.deepEqual(list(jvp(swapped, x, x)[1]), [1, 2])
}

export const derivativeProperties: readonly Property[] = [
  ...(['sum', 'max', 'min', 'prod'] as const).map(how =>
    fact(`${how}: its gradient agrees with differences over every set of axes`, () => reductions(how)),
  ),
  fact('ties share the gradient of an extremum, and a product has one at zeros', ties),
  fact('a derivative has the dtype of its primal', casts),
  fact('a derivative that stops at an operation is an error with its name', unreachable),
  fact('discrete results have no derivative', discreteResults),
  fact('uses add up, and what does not move has no tangent', accumulation),
  fact('the gradient of a broadcast sums over what was repeated', broadcasts),
  fact('the gradient of a slice is spread over the operand', slices),
  fact('forward mode makes nothing for what does not move', stillness),
]
