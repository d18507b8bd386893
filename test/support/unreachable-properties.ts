/** Gradients that would be 0 because they stop at an operation without one: errors, wherever the way leads through. */
import assert from 'node:assert/strict'
import { custom, grad, vjp } from '../../src/autodiff/grad.ts'
import { pullback } from '../../src/autodiff/transform.ts'
import { vmap } from '../../src/autodiff/vmap.ts'
import * as b from '../../src/dsl/build.ts'
import { cond, scan } from '../../src/dsl/ops/control.ts'
import { scope, type Tensor, tensor } from '../../src/dsl/tensor.ts'
import { list, throwsGradientError } from './samples.ts'

/** A gradient that would be 0 because it stops at an operation is an error that names operation, place and argument. */
export function unreachable(): void {
  const x = tensor([1, 2], 'f64')
  const asFloat = (t: Tensor) => b.sum(b.cast(t, 'f64'))
  const only = (f: (t: Tensor) => Tensor, message: RegExp, at: Tensor = x) =>
    throwsGradientError(() => grad((t: Tensor) => scope('head', () => f(t)))(at), message)
  only(
    t => asFloat(b.less(t, 1.5)),
    /^grad: the result depends on the argument only through lt \(in head\), which has no derivative; if that is meant, put stopGradient\(\) there$/,
  )
  only(t => asFloat(b.reduce('argmax', t, 0)), /only through argmax \(in head\)/)
  only(t => asFloat(b.cast(t, 'i32')), /only through cast/)
  only(t => b.sum(b.map('exp2i', t)), /only through exp2i/)
  only(t => asFloat(custom('rounded', z => [b.cast(z, 'i32')], {})(t)[0]), /only through rounded \(in head\)/)
  only(
    t =>
      asFloat(
        cond(
          b.eq(b.scalar(0, 'f64'), 0),
          (z: Tensor) => b.cast(z, 'i32'),
          (z: Tensor) => b.cast(z, 'i32'),
          t,
        ),
      ),
    /only through cond \(in head \/ cond\)/,
  )
  only(t => asFloat(b.less(b.map('sin', t), 1.5)), /only through lt \(in head\)/)
  only(
    t =>
      asFloat(
        vmap((z: Tensor) =>
          cond(
            b.less(z, 1),
            () => b.scalar(1, 'i32'),
            () => b.scalar(2, 'i32'),
          ),
        )(t),
      ),
    /only through lt/,
  )
  const integers = (z: Tensor) =>
    cond(
      b.eq(b.cast(z, 'i32'), 1),
      (v: Tensor) => b.cast(v, 'i32'),
      (v: Tensor) => b.cast(v, 'i32'),
      z,
    )
  only(
    t =>
      asFloat(
        vmap((z: Tensor, c: Tensor) =>
          cond(
            c,
            (v: Tensor) => b.cast(v, 'i32'),
            (v: Tensor) => b.cast(v, 'i32'),
            z,
          ),
        )(t, tensor([1, 0], 'bool')),
      ),
    /only through branch/,
  )
  only(t => asFloat(vmap(integers)(t)), /only through cast/)
  const [u, v] = [b.mul(x, 2), b.mul(x, 3)]
  throwsGradientError(
    () => pullback([asFloat(b.less(v, 1))], [u, v], [b.scalar(1, 'f64')]),
    /depends on argument 1 only through lt/,
  )
  // not even where the result itself is the cotangent
  const [y, back] = vjp((t: Tensor) => asFloat(b.less(t, 1)), x)
  throwsGradientError(() => back(y), /only through lt/)
  // an operation that moves, but of which only the discrete result is used
  const mixed = custom('mixed', z => [b.less(z, 1), b.mul(z, 3)], {})
  throwsGradientError(
    () => grad((p: { a: Tensor; c: Tensor }) => b.sum(b.select(mixed(p.a)[0], p.c, 1)))({ a: x, c: x }),
    /depends on 'a' only through select, which/,
  )
  throwsGradientError(
    () => vjp((t: Tensor) => mixed(t)[0], x)[1](tensor([1, 0], 'bool')),
    /only through mixed, which/,
  )
  throwsGradientError(
    () => vjp((t: Tensor) => [b.sum(x), mixed(t)[0]], x)[1]([b.scalar(1, 'f64'), tensor([1, 0], 'bool')]),
    /only through mixed, which/,
  )
  only(t => asFloat(b.less(b.select(mixed(t)[0], x, 1), 1)), /only through select/)
  // the way to it is not to blame, nor is what was cut off
  only(t => asFloat(b.less(b.mul(t, tensor([1, 2], 'f64')), 1)), /only through lt/)
  only(t => {
    const cut = b.stopGradient(asFloat(b.cast(t, 'i32')))
    return b.add(cut, asFloat(b.less(t, 1)))
  }, /only through lt/)
  only(t => b.add(asFloat(b.cast(b.stopGradient(t), 'i32')), asFloat(b.less(t, 1))), /only through lt/)
  // a way round: the gradient is that of the way
  assert.deepEqual(list(grad((t: Tensor) => b.sum(b.mul(t, b.cast(b.less(t, 1.5), 'f64'))))(x)), [1, 0])
  // meant, not used, or of no result: 0
  assert.deepEqual(list(grad((t: Tensor) => asFloat(b.less(b.stopGradient(t), 1.5)))(x)), [0, 0])
  assert.deepEqual(list(grad((t: Tensor) => b.stopGradient(asFloat(b.less(t, 1.5))))(x)), [0, 0])
  assert.deepEqual(list(grad((_: Tensor) => b.sum(b.mul(tensor([1, 2], 'f64'), 3)))(x)), [0, 0])
  throwsGradientError(
    () => vjp((t: Tensor) => [b.less(t, 1), b.sum(x)], x)[1]([tensor([1, 0], 'bool'), b.scalar(1, 'f64')]),
    /only through lt/,
  )
  // inside functions the operand is named
  const call = custom('inner', z => [asFloat(b.less(z, 1))], {})
  only(t => call(t)[0], /depends on inner's argument 0 only through lt/)
  const branch = (_: Tensor, z: Tensor) => asFloat(b.less(z, 1))
  const flag = b.eq(b.scalar(0, 'f64'), 0)
  only(t => cond(flag, branch, branch, b.full([], 1, 'i32'), t), /depends on operand 1 only through lt/)
  only(
    t =>
      scan(
        (c: Tensor, z: Tensor) => [b.add(c, b.cast(b.less(z, 1), 'f64')), null] as const,
        b.scalar(0, 'f64'),
        t,
      )[0],
    /depends on operand 1 only through lt/,
  )
  reachOfControl(x)
  throwsGradientError(
    () => grad((p: { a: Tensor; c: Tensor }) => b.add(b.sum(p.a), asFloat(b.less(p.c, 1))))({ a: x, c: x }),
    /depends on 'c' only through lt, which/,
  )
}

/** Functions inside equations: what a float moves and what only depends on it, through integers too. */
function reachOfControl(x: Tensor): void {
  const asFloat = (t: Tensor) => b.sum(b.cast(t, 'f64'))
  const only = (f: (t: Tensor) => Tensor, message: RegExp) =>
    throwsGradientError(() => grad((t: Tensor) => scope('head', () => f(t)))(x), message)
  const gives = (f: (t: Tensor) => Tensor, expected: readonly number[]) =>
    assert.deepEqual(list(grad(f)(x)), expected)
  const same = (t: Tensor) => t
  const zero = b.scalar(0, 'f64')
  const half = b.sum(tensor([0.5], 'f64'))
  // a loop's counter: the float h never sees x itself, at any step; behind a constant and two steps late
  interface Carry {
    readonly unused: Tensor
    readonly n: Tensor
    readonly h: Tensor
  }
  const counted = (t: Tensor, from = same) =>
    scan(
      (c: Carry, z: Tensor): readonly [Carry, Tensor] => [
        {
          unused: b.add(c.unused, z),
          n: b.add(c.n, b.cast(b.less(from(z), 0), 'i32')),
          h: b.add(b.mul(c.h, half), b.cast(c.n, 'f64')),
        },
        b.mul(z, 3),
      ],
      { unused: zero, n: b.scalar(0, 'i32'), h: b.scalar(1, 'f64') },
      t,
    )
  only(t => counted(t)[0].h, /only through scan \(in head/)
  gives(t => counted(t, b.stopGradient)[0].h, [0, 0])
  gives(t => b.add(counted(t)[0].h, b.sum(t)), [1, 1])
  gives(t => b.add(counted(t)[0].h, b.sum(counted(t)[1])), [3, 3])
  gives(
    t => {
      const [last, slices] = counted(t)
      return b.add(last.h, b.sum(slices))
    },
    [3, 3],
  )
  // the other results of the same loop
  gives(t => b.sum(counted(t)[1]), [3, 3])
  gives(t => counted(t)[0].unused, [1, 1])
  // a carry that reaches the result only as another one, one step later
  const passed = (t: Tensor, cut = same) =>
    scan(
      (c: readonly [Tensor, Tensor, Tensor], _: Tensor): readonly [typeof c, null] => [
        [cut(c[0]), c[0], c[1]],
        null,
      ],
      [b.sum(t), zero, zero],
      b.iota([3], 0, 'f64'),
    )[0]
  const two = b.sum(tensor([1, 1], 'f64'))
  gives(t => passed(t)[2], [1, 1])
  gives(t => passed(t, c => b.mul(c, two))[2], [2, 2])
  gives(
    t => {
      const [p, q, r] = passed(t)
      return b.add(b.add(asFloat(b.less(p, 0)), asFloat(b.less(q, 0))), r)
    },
    [1, 1],
  )
  // a constant of the loop, and one that only chooses
  const looped = (t: Tensor, use: (z: Tensor) => Tensor) =>
    scan(
      (c: Tensor, z: Tensor) => [b.add(c, b.mul(z, use(t))), null] as const,
      zero,
      tensor([1, 10], 'f64'),
    )[0]
  gives(t => looped(t, b.sum), [11, 11])
  only(t => looped(t, z => b.cast(b.cast(b.sum(z), 'i32'), 'f64')), /only through cast/)
  // results of a branch: one moves, one only chooses
  const flag = b.eq(zero, 0)
  const chosen = (t: Tensor, w: Tensor) => {
    const branch = (z: Tensor, v: Tensor) => [b.sum(v), b.cast(b.sum(z), 'i32')] as const
    return cond(flag, branch, branch, t, w)
  }
  only(t => {
    const [v, n] = chosen(t, tensor([1, 2], 'f64'))
    return b.mul(v, b.cast(n, 'f64'))
  }, /only through cond/)
  gives(t => chosen(t, x)[0], [0, 0])
  gives(t => chosen(x, t)[0], [1, 1])
  gives(t => b.mul(chosen(t, t)[0], b.cast(chosen(t, t)[1], 'f64')), [3, 3])
  only(
    t =>
      cond(
        b.less(b.sum(t), 1),
        () => zero,
        () => two,
      ),
    /only through lt/,
  )
  // results that differ between the branches
  const summed = (z: Tensor) => [b.sum(z), b.scalar(0, 'i32')] as const
  const counting = (z: Tensor) => [two, b.cast(b.sum(z), 'i32')] as const
  const still = (_: Tensor) => [two, b.scalar(0, 'i32')] as const
  const product = ([v, n]: readonly [Tensor, Tensor]) => b.mul(v, b.add(b.cast(n, 'f64'), 1))
  gives(t => product(cond(flag, summed, counting, t)), [1, 1])
  gives(t => product(cond(flag, counting, summed, t)), [0, 0])
  only(t => product(cond(flag, still, counting, t)), /only through cond/)
  only(t => product(cond(flag, counting, still, t)), /only through cond/)
  // one branch is enough
  gives(
    t =>
      cond(
        flag,
        (z: Tensor) => b.sum(z),
        (z: Tensor) => b.sum(b.stopGradient(z)),
        t,
      ),
    [1, 1],
  )
  gives(
    t =>
      cond(
        flag,
        (z: Tensor) => b.sum(b.stopGradient(z)),
        (z: Tensor) => b.sum(z),
        t,
      ),
    [0, 0],
  )
  // a call of several results, with a rule and without
  const pair = (z: Tensor, w: Tensor) => [b.mul(z, 2), b.less(w, 1)] as const
  const ruled = custom('ruled', (z, w) => [...pair(z, w)], {
    vjp: ([z, w], _, [d]) => [b.mul(d, 2), b.zerosLike(b.add(z, w))],
  })
  const plain = custom('plain', (z, w) => [...pair(z, w)], {})
  gives(t => b.sum(ruled(t, x)[0]), [2, 2])
  gives(t => b.sum(ruled(x, t)[0]), [0, 0])
  gives(t => b.sum(plain(t, x)[0]), [2, 2])
  gives(t => b.sum(plain(x, t)[0]), [0, 0])
  // a rule that lets a gradient through what has none: the straight-through estimator
  const through = custom('straightThrough', z => [b.cast(b.cast(z, 'i32'), 'f64')], {
    vjp: (_, __, [d]) => [d],
  })
  gives(t => b.sum(through(t)[0]), [1, 1])
  only(t => asFloat(plain(x, t)[1]), /only through cast/)
  only(t => asFloat(ruled(x, t)[1]), /only through cast/)
}
