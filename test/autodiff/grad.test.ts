import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { custom, grad, jvp, valueAndGrad, vjp } from '../../src/autodiff/grad.ts'
import { pullback } from '../../src/autodiff/transform.ts'
import { rules } from '../../src/autodiff/vjp.ts'
import { interpret } from '../../src/backend/cpu/reference.ts'
import { evaluate } from '../../src/backend/cpu/reference-backend.ts'
import { inline } from '../../src/backend/passes/inline.ts'
import { array, type NDArray } from '../../src/dsl/array.ts'
import * as b from '../../src/dsl/build.ts'
import { GradientError } from '../../src/dsl/errors.ts'
import { type ScalarOp, type ScalarRecord, scalars } from '../../src/dsl/scalar.ts'
import { constant, scope, type Tensor, tensor } from '../../src/dsl/tensor.ts'
import { key, uniformAt } from '../../src/dsl/threefry.ts'
import { trace } from '../../src/dsl/trace.ts'
import { arbitraryProgram, programArguments, programLoss } from '../support/programs.ts'

type Args = readonly Tensor[]
const run = (f: (args: Args) => unknown, args: readonly NDArray[]): NDArray[] => {
  const { graph } = trace(f as (...a: never[]) => unknown, [args])
  return interpret(inline(graph), args)
}
const direction = (args: readonly NDArray[], seed: number): NDArray[] =>
  args.map((a, k) =>
    array(
      a.shape,
      'f64',
      Array.from(a.data, (_, i) => 2 * uniformAt(key(seed + k), i) - 1),
    ),
  )
const inner = (a: readonly NDArray[], b: readonly NDArray[]): number =>
  a.reduce((n, x, i) => n + Array.from(x.data).reduce((m, v, j) => m + v * b[i].data[j], 0), 0)
const moved = (args: readonly NDArray[], by: readonly NDArray[], h: number): NDArray[] =>
  args.map((a, i) =>
    array(
      a.shape,
      'f64',
      Array.from(a.data, (v, j) => v + h * by[i].data[j]),
    ),
  )

/**
 * Two central differences of unlike step agree to 1e-5 only where the function is smooth along the segment; a
 * kink in between (max, argmax, select) shows as a disagreement, and is told apart from a wrong gradient.
 */
function differences(
  f: (args: Args) => Tensor,
  args: readonly NDArray[],
  by: readonly NDArray[],
): number | null {
  const at = (h: number) =>
    (run(f, moved(args, by, h))[0].data[0] - run(f, moved(args, by, -h))[0].data[0]) / (2 * h)
  const [coarse, fine] = [at(1e-4), at(1e-5)]
  return Math.abs(coarse - fine) <= 1e-6 * (1 + Math.abs(fine)) ? fine : null
}

test('reverse mode, forward mode and central differences agree on random programs, in f64', t => {
  let compared = 0
  let moving = 0
  fc.assert(
    fc.property(arbitraryProgram(), program => {
      const args = programArguments(program, 'f64')
      const f = programLoss(program)
      const by = direction(args, program.seed)
      const want = differences(f, args, by)
      if (want === null) return
      const reverse = inner(run(grad(f), args), by)
      const tangents = by.map(d => constant(d.shape, 'f64', d.data))
      const [, forward] = run(a => jvp(f, a, tangents), args)
      const tolerance = 1e-6 * (1 + Math.abs(want))
      // stopGradient is a difference on purpose: the programs that use it compare the modes only.
      if (!usesStop(program.steps.map(s => s.op)))
        assert.ok(Math.abs(reverse - want) <= tolerance, `reverse ${reverse}, differences ${want}`)
      assert.ok(
        Math.abs(reverse - forward.data[0]) <= 1e-9 * (1 + Math.abs(want)),
        `reverse ${reverse}, forward ${forward.data[0]}`,
      )
      compared++
      if (reverse !== 0) moving++
    }),
    { numRuns: 300 },
  )
  t.diagnostic(`${compared} programs compared, ${moving} with a gradient other than 0`)
  assert.ok(compared >= 200 && moving >= 150, `only ${compared} compared, ${moving} moving`)
})

const usesStop = (ops: readonly string[]): boolean => ops.includes('stopGradient')

test('second derivatives: the Hessian is symmetric and agrees with differences of the gradient', () => {
  let compared = 0
  fc.assert(
    fc.property(arbitraryProgram(5), program => {
      // With stopGradient the Jacobian of the gradient is not symmetric, and is not meant to be.
      fc.pre(!usesStop(program.steps.map(s => s.op)))
      const args = programArguments(program, 'f64')
      const f = programLoss(program)
      const [u, v] = [direction(args, 1), direction(args, 100)]
      const along = (d: readonly NDArray[]) => (a: Args) =>
        grad(f)(a)
          .map((g, i) => b.sum(b.mul(g, constant(d[i].shape, 'f64', d[i].data))))
          .reduce((x, y) => b.add(x, y))
      const hu = run(grad(along(u)), args)
      const hv = run(grad(along(v)), args)
      const [uhv, vhu] = [inner(hv, u), inner(hu, v)]
      assert.ok(Math.abs(uhv - vhu) <= 1e-8 * (1 + Math.abs(uhv)), `${uhv} against ${vhu}`)
      const want = differences(along(u), args, v)
      if (want === null) return
      assert.ok(Math.abs(vhu - want) <= 1e-5 * (1 + Math.abs(want)), `hessian ${vhu}, differences ${want}`)
      compared++
    }),
    { numRuns: 150 },
  )
  assert.ok(compared > 60, `only ${compared} compared`)
})

test("every scalar operation's partials agree with central differences where it is smooth", () => {
  for (const fn of Object.keys(scalars) as ScalarOp[]) {
    const record: ScalarRecord = scalars[fn]
    if (record.partials === null) continue
    assert.ok(record.smoothOn.length === record.arity, `${fn} says where it is smooth`)
    for (let k = 0; k < 20; k++) {
      const point = record.smoothOn.map(([lo, hi], i) => lo + (hi - lo) * (0.05 + 0.9 * uniformAt(key(k), i)))
      const data = record.smoothOn.map((_, i) => i).filter(i => !(fn === 'select' && i === 0))
      const f = (x: Args) =>
        b.sum(
          b.map(fn, ...(fn === 'select' ? [b.less(b.scalar(0, 'f64'), b.scalar(k % 2, 'f64')), ...x] : x)),
        )
      const args = data.map(i => array([], 'f64', [point[i]]))
      const got = run(grad(f), args)
      data.forEach((_, i) => {
        const by = args.map((_, j) => array([], 'f64', [i === j ? 1 : 0]))
        const want =
          (run(f, moved(args, by, 1e-6))[0].data[0] - run(f, moved(args, by, -1e-6))[0].data[0]) / 2e-6
        // A difference of step 1e-6 in f64: truncation 1e-12, rounding 1e-10, grown by the value.
        assert.ok(
          Math.abs(got[i].data[0] - want) <= 1e-7 * (1 + Math.abs(want)),
          `${fn} by operand ${i} at ${point}: ${got[i].data[0]}, differences ${want}`,
        )
      })
    }
  }
})

test('every scalar operation on floats has partials, or is discrete', () => {
  const discrete = [
    'eq',
    'ne',
    'lt',
    'le',
    'not',
    'and',
    'or',
    'xor',
    'shl',
    'shr',
    'rem',
    'cast',
    'bitcast',
    'isnan',
    'exp2i',
    'exponent',
  ]
  const without = (Object.keys(scalars) as ScalarOp[]).filter(fn => scalars[fn].partials === null)
  assert.deepEqual(without.sort(), discrete.sort())
})

test('kinks follow PyTorch: max shares at a tie, abs and sign give 0 at 0, prod is right at zeros', () => {
  const g = (f: (x: Tensor) => Tensor, x: readonly number[]) =>
    Array.from(evaluate(grad(f)(tensor(x, 'f64'))).data)
  assert.deepEqual(
    g(x => b.reduce('max', x), [3, 3, 1]),
    [0.5, 0.5, 0],
  )
  assert.deepEqual(
    g(x => b.sum(b.map('max', x, b.full([2], 1, 'f64'))), [1, 2]),
    [0.5, 1],
  )
  assert.deepEqual(
    g(x => b.sum(b.map('abs', x)), [0, -2]),
    [0, -1],
  )
  assert.deepEqual(
    g(x => b.reduce('prod', x), [0, 3, 4]),
    [12, 0, 0],
  )
  assert.deepEqual(
    g(x => b.reduce('prod', x), [0, 0, 4]),
    [0, 0, 0],
  )
})

test('the gradient of a tree has its shape, and what is not used has the gradient 0', () => {
  const p = { w: tensor([1, 2]), layers: [{ b: tensor(3) }, { b: tensor(4) }] }
  const [loss, g] = valueAndGrad((q: typeof p) => b.mul(b.sum(q.w), q.layers[1].b) as Tensor)(p)
  assert.equal(evaluate(loss).data[0], 12)
  assert.deepEqual(Object.keys(g), ['w', 'layers'])
  assert.deepEqual([...evaluate(g.w).data], [4, 4])
  assert.equal(evaluate(g.layers[0].b).data[0], 0)
  assert.equal(evaluate(g.layers[1].b).data[0], 3)
})

test('a gradient that cannot be had is an error that names the operation and the place', () => {
  const hard = (x: Tensor) => scope('head', () => b.sum(b.cast(b.reduce('argmax', x, 0), 'f32')))
  assert.throws(
    () => grad(hard)(tensor([1, 2])),
    (e: Error) =>
      e instanceof GradientError && /argmax \(in head\)/.test(e.message) && /stopGradient/.test(e.message),
  )
  assert.throws(
    () => grad((x: Tensor) => x)(tensor([1, 2])),
    /the function must return a scalar, got f32\[2\]; did you forget mean\(\)\?/,
  )
  assert.throws(
    () => grad((x: Tensor) => b.sum(x))(tensor([1, 2], 'i32')),
    /only f32 and f64 have derivatives/,
  )
})

test('stopGradient says that a derivative is not wanted', () => {
  const f = (x: Tensor) => b.sum(b.mul(x, b.stopGradient(x)))
  assert.deepEqual([...evaluate(grad(f)(tensor([2, 3]))).data], [2, 3])
  assert.deepEqual([...evaluate(grad((x: Tensor) => b.sum(b.stopGradient(x)))(tensor([2, 3]))).data], [0, 0])
})

test('a custom rule replaces the derivative; a missing mode or cotangent is an error', () => {
  const clip = custom('clip', x => [x], { vjp: (_, __, [dy]) => [b.map('min', dy, 1)] })
  assert.deepEqual(
    [...evaluate(grad((x: Tensor) => b.sum(b.mul(clip(x)[0], tensor([0.5, 7]))))(tensor([1, 1]))).data],
    [0.5, 1],
  )
  assert.throws(() => jvp((x: Tensor) => clip(x)[0], tensor([1]), tensor([1])), /reverse rule \(vjp\) only/)
  const none = custom('none', x => [x], { vjp: () => [null] })
  assert.throws(
    () => grad((x: Tensor) => b.sum(none(x)[0]))(tensor([1])),
    /gives no cotangent for its argument 0/,
  )
  const bare = custom('bare', x => [b.mul(x, x)], {})
  assert.deepEqual([...evaluate(grad((x: Tensor) => b.sum(bare(x)[0]))(tensor([3]))).data], [6])
  const outer = tensor([2])
  assert.throws(() => {
    grad((x: Tensor) => {
      const y = b.mul(x, outer)
      return b.sum(custom('closes', z => [b.mul(z, y)], {})(x)[0])
    })(tensor([1]))
  }, /closes over a traced tensor/)
})

test('vjp gives the pullback at any cotangent', () => {
  const [y, back] = vjp((x: Tensor) => b.mul(x, x), tensor([1, 2, 3]))
  assert.deepEqual([...evaluate(y).data], [1, 4, 9])
  assert.deepEqual([...evaluate(back(tensor([1, 0, 2]))).data], [2, 0, 12])
})

test('a broken rule table is noticed: the rules are an argument', () => {
  const broken = {
    ...rules,
    flip: { ...rules.flip, transpose: (_: unknown, dy: Tensor) => dy },
  } as typeof rules
  const x = b.identity(tensor([1, 2, 3]))
  const y = b.sum(b.mul(b.flip(x, [0]), tensor([1, 10, 100])))
  assert.deepEqual(
    [...evaluate(pullback([y], [x], [b.scalar(1, 'f32')], ['x'], broken)[0]).data],
    [1, 10, 100],
  )
  assert.deepEqual([...evaluate(pullback([y], [x], [b.scalar(1, 'f32')])[0]).data], [100, 10, 1])
})
