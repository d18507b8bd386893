import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { checkpoint } from '../../src/autodiff/checkpoint.ts'
import { custom, grad, jvp } from '../../src/autodiff/grad.ts'
import { vmap } from '../../src/autodiff/vmap.ts'
import type { Backend } from '../../src/backend/backend.ts'
import { compile, unwrap } from '../../src/backend/compile.ts'
import { interpret } from '../../src/backend/cpu/reference.ts'
import { evaluate, referenceBackend } from '../../src/backend/cpu/reference-backend.ts'
import { array, type NDArray } from '../../src/dsl/array.ts'
import * as b from '../../src/dsl/build.ts'
import { cond, scan } from '../../src/dsl/ops/control.ts'
import { range } from '../../src/dsl/shape.ts'
import { type Tensor, tensor } from '../../src/dsl/tensor.ts'
import { trace } from '../../src/dsl/trace.ts'
import { closeAll, cpu } from '../support/backends.ts'
import { arbitraryProgram, programArguments, programLoss, runProgram } from '../support/programs.ts'

after(closeAll)
const near = (got: ArrayLike<number>, want: readonly number[], tolerance = 1e-9): void => {
  assert.equal(got.length, want.length)
  want.forEach((w, i) => {
    assert.ok(Math.abs(got[i] - w) <= tolerance * (1 + Math.abs(w)), `[${i}] is ${got[i]}, expected ${w}`)
  })
}

/** A recurrence with a constant that is closed over, a carry and a sequence; and the same as a plain loop. */
const recurrence = (w: Tensor, c: Tensor, xs: Tensor, reverse = false) =>
  scan(
    (h: Tensor, x: Tensor) => {
      const next = b.map('tanh', b.add(b.mul(h, w), x))
      return [next, b.mul(next, x)] as const
    },
    c,
    xs,
    { reverse },
  )
const unrolled = (w: Tensor, c: Tensor, xs: Tensor, reverse = false) => {
  let h = c
  const out: Tensor[] = []
  const steps = range(xs.shape[0])
  for (const t of reverse ? steps.reverse() : steps) {
    const x = b.reshape(b.sliceAxis(xs, 0, t, t + 1), xs.shape.slice(1))
    h = b.map('tanh', b.add(b.mul(h, w), x))
    out[t] = b.reshape(b.mul(h, x), [1, ...h.shape])
  }
  return [h, b.concat(out, 0)] as const
}
const w = tensor([0.5, -1.2, 0.8], 'f64')
const c = tensor([0.1, 0.2, -0.3], 'f64')
const xs = tensor(
  [
    [0.3, -0.1, 0.4],
    [1, 0.5, -0.7],
    [-0.2, 0.9, 0.6],
    [0.8, -0.4, 0.1],
  ],
  'f64',
)
type Args = { w: Tensor; c: Tensor; xs: Tensor }
const args: Args = { w, c, xs }

for (const reverse of [false, true])
  test(`a scan ${reverse ? 'backwards ' : ''}is the loop written out: values, both derivatives, second order`, () => {
    const lossOf = (f: typeof recurrence) => (a: Args) => {
      const [h, ys] = f(a.w, a.c, a.xs, reverse)
      return b.add(b.sum(b.mul(h, h)), b.sum(b.map('sin', ys)))
    }
    const flat = (t: Args) => [...evaluate(t.w).data, ...evaluate(t.c).data, ...evaluate(t.xs).data]
    const [mine, plain] = [lossOf(recurrence), lossOf(unrolled)]
    near(evaluate(mine(args)).data, [...evaluate(plain(args)).data])
    near(flat(grad(mine)(args)), flat(grad(plain)(args)))
    near(evaluate(jvp(mine, args, args)[1]).data, [...evaluate(jvp(plain, args, args)[1]).data])
    const second = (f: (a: Args) => Tensor) =>
      grad((a: Args) => b.sum(b.mul(grad(f)(a).w, b.map('sin', a.xs))))(args)
    near(flat(second(mine)), flat(second(plain)))
  })

test('a scan without a sequence takes its length from the options, and says when it lacks one', () => {
  const [x] = scan((v: Tensor) => [b.mul(v, 2), null] as const, tensor(3), null, { length: 4 })
  assert.equal(evaluate(x).data[0], 48)
  assert.throws(
    () => scan((v: Tensor) => [v, null] as const, tensor(3), null),
    /without a sequence the length must be given/,
  )
  assert.throws(
    () => scan((v: Tensor) => [b.reshape(v, [1]), null] as const, tensor(3), null, { length: 2 }),
    /changes the types of the carry/,
  )
})

test('cond takes one branch, and the other adds nothing to the gradient, not even NaN', () => {
  const f = (x: Tensor) =>
    cond(
      b.less(b.sum(x), 0),
      () => b.sum(b.mul(x, 3)),
      () => b.sum(b.map('sqrt', x)),
    )
  near(evaluate(grad(f)(tensor([-4, -9], 'f64'))).data, [3, 3])
  near(evaluate(grad(f)(tensor([4, 9], 'f64'))).data, [1 / 4, 1 / 6])
  near(evaluate(jvp(f, tensor([4, 9], 'f64'), tensor([1, 0], 'f64'))[1]).data, [1 / 4])
  const second = grad((x: Tensor) => b.sum(grad(f)(x)))
  near(evaluate(second(tensor([4, 9], 'f64'))).data, [-1 / 32, -1 / 108])
  assert.throws(
    () =>
      cond(
        tensor([1], 'bool'),
        () => w,
        () => c,
      ),
    /the condition must be a bool scalar/,
  )
})

test('compiled backends run scan and cond, with their gradients, as the reference does', async () => {
  const f = (a: Args) => {
    const [h, ys] = recurrence(a.w, a.c, a.xs)
    return cond(
      b.less(0, b.sum(h)),
      () => b.sum(b.mul(ys, h)),
      () => b.sum(ys),
    )
  }
  const data = Object.fromEntries(Object.entries(args).map(([k, t]) => [k, evaluate(t)])) as {
    [K in keyof Args]: NDArray
  }
  const run = async (backend: Backend) => (await unwrap(compile(grad(f), [data], backend)))(data)
  const [got, want] = [await run(await cpu()), await run(referenceBackend())]
  for (const k of ['w', 'c', 'xs'] as const) near(got[k].data, [...want[k].data])
})

test('checkpoint changes no value and no derivative, and its barriers survive every pass', async () => {
  const block = (x: Tensor) => b.map('tanh', b.mul(b.map('sin', x), w))
  const deep = (wrap: typeof checkpoint) => (x: Tensor) => b.sum(wrap(block)(wrap(block)(x)))
  const none = (f => f) as typeof checkpoint
  near(evaluate(grad(deep(checkpoint))(c)).data, [...evaluate(grad(deep(none))(c)).data])
  const count = (wrap: typeof checkpoint) =>
    unwrap(compile(grad(deep(wrap)), [evaluate(c)], cpuBackendOf())).then(
      e => e.graph.eqns.filter(x => x.op === 'barrier').length,
    )
  assert.equal(await count(none), 0)
  assert.ok((await count(checkpoint)) >= 2)
})
const cpuBackendOf = referenceBackend

/** Stacks the results of a function of one example. */
const oneByOne = (
  f: (x: readonly Tensor[]) => readonly Tensor[],
  batches: readonly NDArray[],
  n: number,
): NDArray[] => {
  const rows = range(n).map(i => {
    const example = batches.map(a => {
      const step = a.data.length / n
      return array(a.shape.slice(1), 'f64', Array.from(a.data.slice(i * step, (i + 1) * step)))
    })
    return interpret(trace(f as (...a: never[]) => unknown, [example]).graph, example)
  })
  return rows[0].map((first, k) =>
    array(
      [n, ...first.shape],
      'f64',
      rows.flatMap(r => Array.from(r[k].data)),
    ),
  )
}

test('vmap of a random program, and of its gradient, is the program example by example', () => {
  fc.assert(
    fc.property(arbitraryProgram(7), program => {
      const n = 3
      const batches = programArguments({ ...program, shapes: program.shapes.map(s => [n, ...s]) }, 'f64')
      for (const f of [runProgram(program), (x: readonly Tensor[]) => grad(programLoss(program))(x)]) {
        const g = trace(((x: readonly Tensor[]) => vmap(f)(x)) as (...a: never[]) => unknown, [batches]).graph
        const got = interpret(g, batches)
        oneByOne(f, batches, n).forEach((want, i) => {
          assert.deepEqual(got[i].shape, want.shape)
          // the same operations in the same order: equal but for the order of a few sums
          near(got[i].data, Array.from(want.data), 1e-11)
        })
      }
    }),
    { numRuns: 150 },
  )
})

test('vmap with a shared argument gives a gradient per example; grad of vmap sums them', () => {
  const loss = (p: Tensor, x: Tensor) => b.sum(b.map('sin', b.mul(p, x)))
  const per = evaluate(vmap((p: Tensor, x: Tensor) => grad(loss)(p, x), [null, 0])(w, xs))
  assert.deepEqual(per.shape, [4, 3])
  const total = evaluate(grad((p: Tensor) => b.sum(vmap(loss, [null, 0])(p, xs)))(w))
  near(
    total.data,
    range(3).map(j => range(4).reduce((s, i) => s + per.data[i * 3 + j], 0)),
  )
  assert.throws(() => vmap(loss, [null, null])(w, w), /no argument has a batch axis/)
  assert.throws(() => vmap(loss)(w, xs), /the batches differ/)
})

test('vmap goes through scan, cond with a condition per example, and custom rules', () => {
  const f = (x: Tensor) => {
    const [h] = recurrence(w, c, x)
    return cond(
      b.less(b.sum(h), 0),
      () => b.neg(h),
      () => h,
    )
  }
  const batch = b.concat([b.reshape(xs, [1, 4, 3]), b.reshape(b.neg(xs), [1, 4, 3])], 0)
  near(evaluate(vmap(f)(batch)).data, [...evaluate(f(xs)).data, ...evaluate(f(b.neg(xs))).data])
  const triple = custom('triple', x => [x], { vjp: (_, __, [dy]) => [b.mul(dy, 3)] })
  near(evaluate(grad((x: Tensor) => b.sum(vmap((v: Tensor) => triple(v)[0])(x)))(w)).data, [3, 3, 3])
})
