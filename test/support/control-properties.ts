/** Derivatives of what holds functions: scans, conditions, custom rules, calls and checkpoints. */
import assert from 'node:assert/strict'
import { checkpoint } from '../../src/autodiff/checkpoint.ts'
import { custom, grad, jvp } from '../../src/autodiff/grad.ts'
import * as b from '../../src/dsl/build.ts'
import { equations } from '../../src/dsl/graph.ts'
import { cond, scan } from '../../src/dsl/ops/control.ts'
import { range } from '../../src/dsl/shape.ts'
import { scope, type Tensor, tensor } from '../../src/dsl/tensor.ts'
import { checkGrads } from '../../src/testing/check-grads.ts'
import { fact, type Property } from './property.ts'
import { list, throwsGradientError, values } from './samples.ts'

/** A scan with everything at once: two constants, an integer too, carries and slices of both kinds, in both directions. */
const loop =
  (reverse: boolean) =>
  ({ w, v, h, c, xs }: { readonly [K in 'w' | 'v' | 'h' | 'c' | 'xs']: Tensor }) => {
    const offset = b.iota([3], 0)
    const [last, out] = scan(
      (carry: { h: Tensor; n: Tensor; c: Tensor }, slice: { i: Tensor; x: Tensor; j: Tensor }) => {
        const count = b.cast(b.add(b.add(carry.n, slice.i), offset), 'f64')
        const next = b.map('tanh', b.add(b.mul(b.mul(carry.h, w), b.add(v, 0.2)), b.mul(slice.x, count)))
        const step = {
          h: next,
          n: b.add(carry.n, slice.j),
          c: b.add(b.mul(carry.c, slice.x), b.map('sin', next)),
        }
        return [
          step,
          { k: slice.i, y: b.mul(next, slice.x), m: b.cast(carry.n, 'f64'), z: b.sub(next, v) },
        ] as const
      },
      { h, n: b.full([3], 1, 'i32'), c },
      { i: b.iota([4, 3], 0), x: xs, j: b.full([4, 3], 2, 'i32') },
      { reverse },
    )
    const k = b.cast(out.k, 'f64')
    const parts = [b.mul(last.h, 1.5), last.c, b.mul(out.y, k), b.mul(out.z, out.m), b.mul(out.z, out.z)]
    return parts.map(p => b.sum(p)).reduce((x, y) => b.add(x, y))
  }
const loopArguments = {
  w: values([3], 1),
  v: values([3], 2),
  h: values([3], 3),
  c: values([3], 4),
  xs: values([4, 3], 5),
}
const asWritten =
  (reverse: boolean) =>
  ({ w, v, h, c, xs }: { readonly [K in 'w' | 'v' | 'h' | 'c' | 'xs']: Tensor }) => {
    const steps = range(4)
    let [H, C] = [h, c]
    let n = 1
    let total: Tensor = b.scalar(0, 'f64')
    for (const t of reverse ? steps.reverse() : steps) {
      const x = b.reshape(b.sliceAxis(xs, 0, t, t + 1), [3])
      const count = b.add(b.iota([3], 0, 'f64'), n + t)
      const m = n
      H = b.map('tanh', b.add(b.mul(b.mul(H, w), b.add(v, 0.2)), b.mul(x, count)))
      C = b.add(b.mul(C, x), b.map('sin', H))
      n += 2
      const z = b.sub(H, v)
      const here = [b.mul(b.mul(H, x), t), b.mul(z, m), b.mul(z, z)]
        .map(p => b.sum(p))
        .reduce((p, q) => b.add(p, q))
      total = b.add(total, here)
    }
    return b.add(b.add(total, b.sum(b.mul(H, 1.5))), b.sum(C))
  }
function scans(): void {
  for (const reverse of [false, true]) {
    const f = loop(reverse)
    checkGrads(f as (...a: never[]) => unknown, [loopArguments], { directions: 1 })
    // each argument alone: the others' derivatives are not asked for
    for (const name of ['w', 'v', 'h', 'c', 'xs'] as const) {
      const others = Object.fromEntries(
        Object.entries(loopArguments).map(([k, a]) => [k, tensor(Array.from(a.data), 'f64')]),
      )
      const whole = { ...others, xs: b.reshape(others.xs, [4, 3]) } as Parameters<typeof f>[0]
      const [mine, plain] = [f, asWritten(reverse)].map(g => (x: Tensor) => g({ ...whole, [name]: x }))
      const x = whole[name]
      const same = (p: Tensor, q: Tensor) => {
        const [u, v] = [list(p), list(q)]
        assert.ok(
          u.length === v.length && u.every((a, i) => Math.abs(a - v[i]) <= 1e-11 * (1 + Math.abs(a))),
          `${name}: ${u}, written out ${v}`,
        )
      }
      same(mine(x), plain(x))
      same(grad(mine)(x), grad(plain)(x))
      same(jvp(mine, x, b.map('sin', x))[1], jvp(plain, x, b.map('sin', x))[1])
    }
  }
}

/** Conditions whose branches have integers among their operands and results, and use some operands only. */
function conditions(): void {
  const f =
    (positive: boolean) =>
    (x: Tensor, y: Tensor): Tensor => {
      const chosen = cond(
        b.less(b.scalar(0, 'f64'), positive ? 1 : -1),
        (n: Tensor, u: Tensor, v: Tensor) => ({
          k: n,
          p: b.mul(u, v),
          q: b.map('sin', u),
          r: b.full([], 2, 'i32'),
        }),
        (n: Tensor, _u: Tensor, v: Tensor) => ({
          k: b.add(n, 1),
          p: b.map('cos', v),
          q: b.mul(b.mul(v, v), b.cast(n, 'f64')),
          r: b.full([], 3, 'i32'),
        }),
        b.full([], 3, 'i32'),
        x,
        y,
      )
      return b.add(
        b.mul(b.sum(chosen.p), b.cast(b.add(chosen.k, chosen.r), 'f64')),
        b.sum(b.mul(chosen.q, 0.7)),
      )
    }
  for (const positive of [true, false]) {
    checkGrads(f(positive) as (...a: never[]) => unknown, [values([3], 6), values([3], 7)], { directions: 1 })
    const [x, y] = [6, 7].map(seed => tensor(Array.from(values([3], seed).data), 'f64'))
    const [u, v] = [list(x), list(y)]
    const dx = u.map((a, i) => (positive ? 5 * v[i] + 0.7 * Math.cos(a) : 0))
    const dy = v.map((a, i) => (positive ? 5 * u[i] : -7 * Math.sin(a) + 0.7 * 2 * a * 3))
    const near = (got: Tensor, want: readonly number[]) =>
      list(got).forEach((g, i) => {
        assert.ok(Math.abs(g - want[i]) <= 1e-12 * (1 + Math.abs(g)), `${g}, expected ${want[i]}`)
      })
    near(grad((t: Tensor) => f(positive)(t, y))(x), dx)
    near(grad((t: Tensor) => f(positive)(x, t))(y), dy)
    near(jvp((t: Tensor) => f(positive)(t, y), x, b.full([3], 1, 'f64'))[1], [dx.reduce((p, q) => p + q)])
    near(jvp((t: Tensor) => f(positive)(x, t), y, b.full([3], 1, 'f64'))[1], [dy.reduce((p, q) => p + q)])
  }
}

/** (x, y) to (x y, x + y), with rules that are wrong by factors, so that it shows who is asked. */
const marked = custom('marked', (x, y) => [b.mul(x, y), b.add(x, y)], {
  vjp: ([x, y], [xy], [d, e]) => [
    b.add(b.mul(d, b.mul(y, 10)), e),
    b.add(b.mul(d, b.add(x, xy)), b.mul(e, 100)),
  ],
  jvp: ([_x, y], [xy], [dx, dy]) => [b.add(b.mul(dx, y), b.mul(b.mul(dy, xy), 1000)), b.sub(dx, dy)],
})
function calls(): void {
  const [x, y] = [tensor(3, 'f64'), tensor(5, 'f64')]
  const g = grad((t: readonly Tensor[]) =>
    b.add(b.mul(marked(t[0], t[1])[0], 2), b.mul(marked(t[0], t[1])[1], 7)),
  )([x, y])
  assert.deepEqual(g.map(list), [[2 * 50 + 7], [2 * 18 + 700]])
  const second = grad((t: Tensor) => b.sum(marked(x, t)[1]))(y)
  assert.deepEqual(list(second), [100], 'a result without a cotangent has the cotangent 0')
  const [, t] = jvp((v: Tensor) => marked(v, y), x, tensor(2, 'f64'))
  assert.deepEqual(t.map(list), [[10], [2]], 'an operand that does not move has the tangent 0')
  const [, both] = jvp(
    (v: readonly Tensor[]) => marked(v[0], v[1]),
    [x, y],
    [tensor(2, 'f64'), tensor(3, 'f64')],
  )
  assert.deepEqual(both.map(list), [[10 + 45000], [-1]])

  const reverse = custom('reverse', z => [z], { vjp: (_, __, [d]) => [d] })
  const forward = custom('forward', z => [z], { jvp: (_, __, [d]) => [d] })
  throwsGradientError(
    () => jvp((z: Tensor) => reverse(z)[0], x, x),
    /^jvp: reverse has a reverse rule \(vjp\) only; give it a jvp/,
  )
  throwsGradientError(
    () => grad((z: Tensor) => forward(z)[0])(x),
    /^grad: forward has a forward rule \(jvp\) only; give it a vjp/,
  )
  const none = custom('none', z => [z], { vjp: () => [null] })
  throwsGradientError(
    () => grad((z: Tensor) => scope('head', () => none(z)[0]))(x),
    /the rule of none \(in head\) gives no cotangent for its argument 0, which needs one/,
  )
  const few = custom('few', (z, w) => [b.add(z, w)], { vjp: (_, __, [d]) => [d] })
  throwsGradientError(() => grad((z: Tensor) => few(x, z)[0])(x), /gives no cotangent for its argument 1/)
  assert.deepEqual(list(grad((z: Tensor) => few(z, x)[0])(x)), [1], 'what is not asked for may be left out')
  const wrong = custom('wrong', z => [z], { vjp: (_, __, [d]) => [b.reshape(d, [1])] })
  throwsGradientError(
    () => grad((z: Tensor) => wrong(z)[0])(x),
    /the rule of wrong gives f64\[1\] for its argument 0, a f64\[\]/,
  )
}

/** Calls without rules: through their bodies, behind barriers only where that is asked for. */
function bodies(): void {
  const f = (x: Tensor, y: Tensor) =>
    [b.mul(b.map('sin', x), y), b.cast(b.less(x, y), 'i32'), b.map('tanh', y)] as const
  const bare = custom('bare', (x, y) => f(x, y), {})
  const saved = (x: Tensor, y: Tensor) => checkpoint(f)(x, y)
  const closing = (x: Tensor, y: Tensor) => checkpoint((t: Tensor) => f(t, y))(x)
  const loss = (g: (x: Tensor, y: Tensor) => readonly Tensor[]) => (x: Tensor, y: Tensor) => {
    const [p, k, q] = g(x, y)
    return b.sum(b.add(b.mul(p, b.cast(k, 'f64')), b.mul(q, q)))
  }
  const [x, y] = [tensor([0.3, 2, -1], 'f64'), tensor([1, 0.5, 0.25], 'f64')]
  for (const g of [bare, saved, closing]) {
    checkGrads(loss(g) as (...a: never[]) => unknown, [values([3], 8), values([3], 9)], { directions: 1 })
    assert.deepEqual(list(grad(loss(g))(x, y)), list(grad(loss(f))(x, y)))
    assert.deepEqual(list(grad((t: Tensor) => loss(g)(x, t))(y)), list(grad((t: Tensor) => loss(f)(x, t))(y)))
    for (const at of [0, 1]) {
      const one = (h: typeof f | typeof bare) => (t: Tensor) => loss(h)(at === 0 ? t : x, at === 1 ? t : y)
      assert.deepEqual(list(jvp(one(g), at === 0 ? x : y, x)[1]), list(jvp(one(f), at === 0 ? x : y, x)[1]))
    }
  }
  const barriers = (g: Tensor) => equations([g]).filter(e => e.op === 'barrier').length
  assert.equal(barriers(grad(loss(bare))(x, y)), 0)
  for (const g of [saved, closing])
    assert.equal(
      barriers(grad((t: readonly Tensor[]) => loss(g)(t[0], t[1]))([x, y])[0]),
      2,
      'one per operand',
    )
}

export const controlProperties: readonly Property[] = [
  fact('a scan is the loop written out, whatever is asked for', scans),
  fact('a condition has the derivative of its branch', conditions),
  fact('a custom rule is asked in its mode, and its answers are checked', calls),
  fact(
    'a call without a rule has the derivative of its body, behind barriers where it is a checkpoint',
    bodies,
  ),
]
