/** Batching: `vmap` is the function example by example, whatever is shared by the batch; and what it refuses. */
import assert from 'node:assert/strict'
import { checkpoint } from '../../src/autodiff/checkpoint.ts'
import { custom, grad, jvp } from '../../src/autodiff/grad.ts'
import { type InAxes, vmap } from '../../src/autodiff/vmap.ts'
import { evaluate } from '../../src/backend/cpu/reference-backend.ts'
import * as b from '../../src/dsl/build.ts'
import { ShapeError } from '../../src/dsl/errors.ts'
import { equations } from '../../src/dsl/graph.ts'
import { cond, scan } from '../../src/dsl/ops/control.ts'
import { range, type Shape, size } from '../../src/dsl/shape.ts'
import { bind1, constant, scope, type Tensor, tensor } from '../../src/dsl/tensor.ts'
import { key, uniformAt } from '../../src/dsl/threefry.ts'
import { fact, type Property } from './property.ts'

const n = 3
const noise = (shape: Shape, seed: number): Tensor =>
  constant(
    shape,
    'f64',
    Float64Array.from(range(size(shape)), i => 0.2 + uniformAt(key(seed), i)),
  )
const list = (t: Tensor): number[] => Array.from(evaluate(t).data)
const example = (x: Tensor, i: number): Tensor => b.reshape(b.sliceAxis(x, 0, i, i + 1), x.shape.slice(1))

type F = (...xs: readonly Tensor[]) => readonly Tensor[]
/** vmap against the function on each example; the shared arguments have no batch axis. */
function agrees(name: string, f: F, xs: readonly Tensor[], axes: InAxes): void {
  const got = vmap(f, axes)(...xs)
  range(n).forEach(i => {
    const want = f(...xs.map((x, k) => (axes[k] === 0 ? example(x, i) : x)))
    want.forEach((w, k) => {
      const g = example(got[k], i)
      assert.deepEqual([g.shape, g.dtype], [w.shape, w.dtype], name)
      const [u, v] = [list(g), list(w)]
      u.forEach((a, j) => {
        // the same operations in the same order, but for the order of a few sums
        const near = Object.is(a, v[j]) || Math.abs(a - v[j]) <= 1e-12 * (1 + Math.abs(a))
        assert.ok(near, `${name}, shared ${axes}: example ${i}, result ${k}[${j}] is ${a}, expected ${v[j]}`)
      })
    })
  })
}

const at = (shape: Shape, axis: number, extent: number): Tensor =>
  b.map('rem', b.iota(shape, axis), b.full(shape, extent, 'i32'))
const mean = (x: Tensor): Tensor => b.mean(x)
const window = { axes: [1], size: [2], stride: [1], dilation: [1] }
const matmul = { extents: [2, 3, 2], lhs: [0, 1], rhs: [2, 1], out: [0, 2], windows: [] }
const loop = (w: Tensor, h: Tensor, xs: Tensor): readonly Tensor[] => {
  const [last, all] = scan(
    (c: readonly Tensor[], x: Tensor) => {
      const next = b.map('tanh', b.add(b.mul(c[0], w), x))
      return [
        [next, b.add(c[1], 1)],
        [b.mul(next, x), b.add(b.sum(x), b.cast(c[1], 'f64'))],
      ] as const
    },
    [h, b.full([], 2, 'i32')] as const,
    xs,
  )
  return [...last, ...all]
}
/** Functions of two tensors [2, 3]. */
const functions: { readonly [name: string]: (x: Tensor, y: Tensor) => readonly Tensor[] } = {
  map: (x, y) => [b.mul(x, y), b.map('sin', x), b.select(b.less(x, y), x, 7)],
  reduce: (x, y) => [b.sum(x, 1), b.reduce('max', y, 0), b.reduce('argmax', x, 1)],
  shape: (x, y) => [
    b.reshape(x, [3, 2]),
    b.permute(y, [1, 0]),
    b.broadcastTo(x, [4, 2, 3]),
    b.flip(y, [1]),
    b.flip(x, [0]),
  ],
  pad: (x, y) => [b.pad(x, [1, 0], [0, 2], 3, [0, 1]), b.slice(y, [0, 1], [2, 3], [1, 2])],
  concat: (x, y) => [b.concat([x, y], 0), b.concat([y, x, x], 1)],
  contract: (x, y) => [b.contract(matmul, x, y), b.contract(matmul, y, b.mul(x, 2))],
  window: (x, y) => [b.unfold(x, window), b.fold(b.unfold(b.mul(x, y), window), window, [2, 3])],
  gather: (x, y) => [b.gather(x, at([2, 4], 1, 3), 1), b.gather(x, b.cast(b.mul(y, 1.9), 'i32'), 1)],
  scatter: (x, y) => [
    b.scatterAdd(at([2, 3], 0, 2), x, 0, 3),
    b.scatterAdd(b.cast(b.mul(y, 1.9), 'i32'), x, 1, 4),
  ],
  random: (x, y) => {
    const seed = b.cast(b.mul(b.reshape(b.sliceAxis(x, 1, 0, 2), [2, 2]), 1000), 'u32')
    return [bind1('randomBits', { shape: [2] }, [seed]), b.mul(x, y)]
  },
  stops: (x, y) => [b.stopGradient(b.mul(x, y)), b.barrier(x), b.barrier(b.add(y, x))],
  call: (x, y) => custom('f', (p, q) => [b.mul(p, q), b.sum(q)], {})(x, y),
  checkpoint: (x, y) => [
    ...grad((p: readonly Tensor[]) => mean(checkpoint(b.mul)(p[0], b.map('sin', p[1]))))([x, y]),
  ],
  cond: (x, y) => [
    cond(b.less(mean(x), 0.7), b.mul, b.add, x, y),
    cond(
      b.less(mean(x), 0.7),
      (u: Tensor) => b.sum(u),
      (u: Tensor) => b.mul(b.sum(u), b.sum(x)),
      y,
    ),
    cond(b.eq(b.scalar(0, 'f64'), 0), b.sub, b.add, x, y),
  ],
  scan: (x, y) => [
    ...loop(b.sum(x, 0), b.sum(y, 0), y),
    ...loop(b.sum(x, 0), tensor([1, 2, 3], 'f64'), noise([4, 3], 4)),
    ...loop(tensor([0.1, 0.2, 0.3], 'f64'), tensor([1, 2, 3], 'f64'), x),
    ...loop(tensor([0.1, 0.2, 0.3], 'f64'), b.sum(y, 0), noise([4, 3], 5)),
  ],
  gradient: (x, y) => [grad((t: Tensor) => mean(b.mul(b.map('sin', t), b.mul(y, t))))(x)],
  constant: x => [b.mul(noise([2, 3], 9), 2), b.sum(x)],
}

/** (x, y) to (x y, sin y), with rules that are right up to a factor: it shows which are asked. */
const marked = custom('marked', (x, y) => [b.mul(x, y), b.map('sin', y)], {
  vjp: ([x, y], [xy, sin], [d, e]) => [
    b.mul(b.mul(d, y), b.add(xy, 2)),
    b.add(b.mul(b.mul(d, x), 3), b.mul(e, sin)),
  ],
  jvp: ([x, y], [xy, sin], [dx, dy]) => [
    b.add(b.mul(b.mul(dx, y), xy), b.mul(dy, x)),
    b.mul(b.mul(dy, sin), 5),
  ],
})
const onlyFirst = custom('onlyFirst', (x, y) => [b.mul(x, y)], {
  vjp: ([, y], _, [d]) => [b.mul(b.mul(d, y), 4), null],
})

function customRules(): void {
  const [x, y] = [noise([n, 2], 1), noise([n, 2], 2)]
  const [u, v] = [noise([2], 3), noise([2], 4)]
  const loss: F = (p, q) => {
    const g = grad((t: readonly Tensor[]) =>
      b.add(b.sum(b.mul(marked(t[0], t[1])[0], 2)), b.sum(marked(t[0], t[1])[1])),
    )([p, q])
    const forward = jvp((t: readonly Tensor[]) => marked(t[0], t[1]), [p, q], [b.mul(p, 3), b.add(q, 1)])[1]
    const one = jvp((t: Tensor) => marked(t, q), p, b.map('sin', p))[1]
    const other = jvp((t: Tensor) => marked(p, t), q, b.map('sin', q))[1]
    return [...g, ...forward, ...one, ...other, grad((t: Tensor) => b.sum(onlyFirst(t, q)[0]))(p)]
  }
  agrees('custom rules', loss, [x, y], [0, 0])
  agrees('custom rules', loss, [x, v], [0, null])
  agrees('custom rules', loss, [u, y], [null, 0])
  // the gradient through vmap: what is shared gets the sum over the examples
  const total = (p: Tensor, q: Tensor, axes: InAxes) => {
    const [r, s] = vmap((a: Tensor, c: Tensor) => marked(a, c), axes)(p, q)
    return b.add(b.sum(b.mul(r, 2)), b.sum(s))
  }
  const alone = (p: Tensor, q: Tensor) => b.add(b.sum(b.mul(marked(p, q)[0], 2)), b.sum(marked(p, q)[1]))
  const near = (got: Tensor, want: readonly number[]) => {
    list(got).forEach((g, i) => {
      assert.ok(Math.abs(g - want[i]) <= 1e-12 * (1 + Math.abs(g)), `${g}, expected ${want[i]}`)
    })
    assert.equal(size(got.shape), want.length)
  }
  const rows = (f: (i: number) => Tensor) => range(n).map(i => list(f(i)))
  const summed = (all: readonly (readonly number[])[]) =>
    all[0].map((_, j) => all.reduce((t, r) => t + r[j], 0))
  near(
    grad((p: Tensor) => total(p, v, [0, null]))(x),
    rows(i => grad((p: Tensor) => alone(p, v))(example(x, i))).flat(),
  )
  near(
    grad((q: Tensor) => total(x, q, [0, null]))(v),
    summed(rows(i => grad((q: Tensor) => alone(example(x, i), q))(v))),
  )
  near(
    grad((p: Tensor) => total(p, y, [null, 0]))(u),
    summed(rows(i => grad((p: Tensor) => alone(p, example(y, i)))(u))),
  )
  near(
    grad((q: Tensor) => total(u, q, [null, 0]))(y),
    rows(i => grad((q: Tensor) => alone(u, q))(example(y, i))).flat(),
  )
  const tangents = jvp((q: Tensor) => vmap((a: Tensor, c: Tensor) => marked(a, c), [0, null])(x, q), v, u)[1]
  tangents.forEach((t, k) => {
    near(t, rows(i => jvp((q: Tensor) => marked(example(x, i), q), v, u)[1][k]).flat())
  })
  const moving = jvp((p: Tensor) => vmap((a: Tensor, c: Tensor) => marked(a, c), [0, null])(p, v), x, y)[1]
  moving.forEach((t, k) => {
    near(t, rows(i => jvp((p: Tensor) => marked(p, v), example(x, i), example(y, i))[1][k]).flat())
  })
  near(
    grad((p: Tensor) => b.sum(vmap((a: Tensor, c: Tensor) => onlyFirst(a, c)[0], [0, 0])(p, y)))(x),
    rows(i => grad((p: Tensor) => b.sum(onlyFirst(p, example(y, i))[0]))(example(x, i))).flat(),
  )
  near(
    grad((p: Tensor) => b.sum(vmap((a: Tensor, c: Tensor) => onlyFirst(a, c)[0], [0, null])(p, v)))(x),
    rows(i => grad((p: Tensor) => b.sum(onlyFirst(p, v)[0]))(example(x, i))).flat(),
  )
  // as many operands as results, fewer and more
  const product = custom('product', (p, q) => [b.mul(p, q)], {
    jvp: ([p, q], _, [dp, dq]) => [b.add(b.mul(dp, q), b.mul(b.mul(dq, p), 6))],
  })
  const [slope] = jvp(
    ([p, q]: readonly Tensor[]) => vmap((a: Tensor, c: Tensor) => product(a, c), [0, null])(p, q),
    [x, v],
    [y, u],
  )[1]
  near(slope, rows(i => b.add(b.mul(example(y, i), v), b.mul(b.mul(u, example(x, i)), 6))).flat())
  const two = custom('two', p => [b.mul(p, 2), b.mul(p, 3)], {
    vjp: ([p], [r, s], [d, e]) => [b.add(b.mul(b.mul(d, p), r), b.mul(b.mul(e, p), s))],
  })
  agrees(
    'two results',
    p => [grad((t: Tensor) => b.sum(b.sub(...(two(t) as [Tensor, Tensor]))))(p)],
    [x],
    [0],
  )
  near(
    grad((p: Tensor) => b.sum(b.sub(...(vmap((t: Tensor) => two(t))(p) as [Tensor, Tensor]))))(x),
    list(b.mul(b.mul(x, x), -1)),
  )
  const counts: number[] = []
  const counted = custom('counted', (p, q) => [b.mul(p, q)], {
    vjp: (inputs, outputs, cotangents) => {
      counts.push(inputs.length, outputs.length, cotangents.length)
      return [cotangents[0], cotangents[0]]
    },
    jvp: (inputs, outputs, tangents) => {
      counts.push(inputs.length, outputs.length, tangents.length)
      return [tangents[0]]
    },
  })
  const batch = (p: Tensor) => b.sum(vmap((a: Tensor) => counted(a, v)[0])(p))
  grad(batch)(x)
  jvp(batch, x, x)
  assert.deepEqual(counts, [2, 1, 1, 2, 1, 2])
  // a mode without a rule stays one
  const reverse = custom('reverse', z => [z], { vjp: (_, __, [d]) => [d] })
  assert.throws(
    () => jvp((t: Tensor) => vmap((z: Tensor) => reverse(z)[0])(t), x, x),
    /reverse has a reverse rule \(vjp\) only/,
  )
  const forward = custom('forward', z => [z], { jvp: (_, __, [d]) => [d] })
  assert.throws(
    () => grad((t: Tensor) => b.sum(vmap((z: Tensor) => forward(z)[0])(t)))(x),
    /forward has a forward rule \(jvp\) only/,
  )
}

/** What does not depend on the batch is computed once, and stands where it stood. */
function sharing(): void {
  const [x, y] = [noise([n, 2], 1), noise([2], 2)]
  const shapes = (t: Tensor) =>
    equations([t]).flatMap(e => (e.op === 'map' && e.params.fn === 'sin' ? [e.types[0].shape] : []))
  const f = (p: Tensor, q: Tensor) => scope('inside', () => b.mul(b.map('sin', p), b.map('sin', q)))
  const kept = shapes(vmap(f, [0, null])(x, y))
  assert.deepEqual(kept.map(t => t.length).sort(), [1, 2])
  const places = equations([vmap(f, [0, null])(x, y)]).filter(
    e => e.op === 'map' && e.types[0].shape.length === 2,
  )
  assert.ok(places.every(e => e.scope === 'inside'))
  const outer = b.map('sin', y)
  const closed = vmap((p: Tensor) => b.mul(p, outer))(x)
  assert.ok(equations([closed]).includes(outer.eqn), 'what is closed over is not made anew')
  const flagged = vmap((p: Tensor) => cond(b.eq(b.scalar(0, 'f64'), 0), b.neg, b.neg, p))(x)
  assert.ok(
    equations([flagged]).some(e => e.op === 'cond'),
    'one condition for the whole batch stays a condition',
  )
  const stopped = vmap((p: Tensor) => b.mul(p, b.stopGradient(p)))
  assert.deepEqual(list(grad((p: Tensor) => b.sum(stopped(p)))(x)), list(x))
  const branches = vmap((p: Tensor) => cond(b.less(b.sum(p), 1.2), b.neg, (t: Tensor) => b.mul(t, t), p))
  range(n).forEach(i => {
    const own = grad((p: Tensor) => b.sum(branches(b.reshape(p, [1, 2]))))(example(x, i))
    assert.deepEqual(list(example(grad((p: Tensor) => b.sum(branches(p)))(x), i)), list(own))
  })
  const barred = vmap((p: Tensor) => b.barrier(p))(x)
  assert.ok(
    equations([barred]).some(e => e.op === 'barrier'),
    'a barrier stays one',
  )
  const remat = vmap((p: Tensor) => checkpoint(b.neg)(p))(x)
  assert.ok(
    equations([remat]).some(
      e => e.op === 'call' && e.params.remat === true && e.params.name === 'checkpoint',
    ),
  )
}

function refusals(): void {
  const [x, y] = [noise([n, 2], 1), noise([2], 2)]
  const refused = (f: () => unknown, message: RegExp) =>
    assert.throws(f, (e: Error) => e instanceof ShapeError && message.test(e.message), String(message))
  refused(() => vmap(b.add, [null, null])(x, y), /^vmap: no argument has a batch axis$/)
  refused(
    () => scope('head', () => vmap(b.add)(x, y)),
    /^vmap: the batches differ: 3, 2\n {2}while tracing head$/,
  )
  refused(() => vmap((p: { a: Tensor; c: Tensor }) => b.sum(p.a))({ a: x, c: y }), /the batches differ: 3, 2/)
  refused(() => vmap(() => x)(), /no argument has a batch axis/)
  // a batch of one, a batch of none, trees in and out
  assert.deepEqual(vmap((t: Tensor) => b.sum(t))(noise([1, 4], 1)).shape, [1])
  assert.deepEqual(vmap((t: Tensor) => b.mul(t, 2))(noise([0, 4], 1)).shape, [0, 4])
  const tree = vmap(
    (p: { a: Tensor; l: readonly Tensor[] }, q: Tensor) => ({ s: b.add(p.a, p.l[1]), t: [b.mul(p.l[0], q)] }),
    [0, null],
  )
  const made = tree({ a: x, l: [b.mul(x, 2), b.mul(x, 3)] }, y)
  assert.deepEqual(
    list(made.s),
    list(b.mul(x, 4)).map((v, i) => list(b.add(x, b.mul(x, 3)))[i] ?? v),
  )
  assert.deepEqual([made.t[0].shape, list(made.t[0])], [[n, 2], list(b.mul(b.mul(x, 2), y))])
}

export const vmapProperties: readonly Property[] = [
  ...Object.entries(functions).map(([name, f]) =>
    fact(`vmap of ${name} is the function example by example, whatever is shared`, () => {
      const [x, y] = [noise([n, 2, 3], 1), noise([n, 2, 3], 2)]
      const [u, v] = [noise([2, 3], 3), noise([2, 3], 4)]
      agrees(name, f as F, [x, y], [0, 0])
      agrees(name, f as F, [x, v], [0, null])
      agrees(name, f as F, [u, y], [null, 0])
    }),
  ),
  fact('vmap of a custom rule asks the rule, and sums what the batch shares', customRules),
  fact('vmap leaves alone what does not depend on the batch', sharing),
  fact('vmap refuses batches that differ, and none', refusals),
]
