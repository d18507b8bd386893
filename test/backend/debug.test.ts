/** The first operation that makes a NaN or an infinity is found, with its place. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findNonFinite, type NonFinite, nans } from '../../src/backend/debug.ts'
import { map } from '../../src/dsl/build.ts'
import { scan } from '../../src/dsl/ops/control.ts'
import * as ct from '../../src/index.ts'
import { array, RunError, type Shape, scope, type Tensor, tensor } from '../../src/index.ts'

type F32 = Tensor<Shape, 'f32'>
const vector = (...x: number[]) => array([x.length], 'f32', x)
const found = (x: NonFinite | null): NonFinite => x ?? assert.fail('nothing was found')
const values = (x: NonFinite): readonly number[] => x.operands.map(o => o.greatest)

test('log of a negative number is named with its element, operand and place', () => {
  const f = (x: F32) => ct.sum(scope('head', () => ct.mul(ct.log(ct.sub(x, 3)), 2)))
  const got = found(findNonFinite(f, [vector(4, 5, 2, 1)]))
  assert.equal(got.op, 'log')
  assert.equal(got.scope, 'head')
  assert.deepEqual(got.index, [2])
  assert.deepEqual(values(got), [-1])
  assert.equal(got.value, NaN)
  assert.equal(got.message, 'log makes NaN at [2] of f32[4]\n  operand  -1  (f32[4])\n  in head')
})

test('0 / 0, inf - inf, overflow and division by zero are found', () => {
  const quotient = found(findNonFinite((x: F32) => ct.div(x, x), [array([2, 2], 'f32', [1, 2, 3, 0])]))
  assert.deepEqual([quotient.op, quotient.index, values(quotient)], ['div', [1, 1], [0, 0]])
  const inf = vector(1, Infinity)
  const difference = found(findNonFinite((x: F32, y: F32) => ct.sub(x, y), [inf, inf]))
  assert.deepEqual([difference.op, difference.value, values(difference)], ['sub', NaN, [Infinity, Infinity]])
  const overflow = found(findNonFinite((x: F32) => ct.exp(x), [vector(1, 88, 89)]))
  assert.deepEqual([overflow.op, overflow.value, overflow.index], ['exp', Infinity, [2]])
  // in f64 that is no overflow
  assert.equal(
    findNonFinite((x: Tensor<Shape, 'f64'>) => ct.exp(x), [array([1], 'f64', [89])]),
    null,
  )
  const reciprocal = found(findNonFinite((x: F32) => ct.reciprocal(x), [vector(-0)]))
  assert.deepEqual([reciprocal.op, reciprocal.value], ['div', -Infinity])
})

test('of several operations the first is named, and what it poisons is not', () => {
  const f = (x: F32) => ct.exp(ct.sqrt(ct.mul(ct.log(x), 2)))
  assert.equal(found(findNonFinite(f, [vector(-1)])).op, 'log')
  assert.equal(found(findNonFinite(f, [vector(0.5)])).op, 'sqrt')
})

test('reductions and contractions name the elements that overflow', () => {
  const x = array([2, 2], 'f32', [1, 2, 3e38, 3e38])
  const total = found(findNonFinite((v: F32) => ct.sum(v, { axes: [1] }), [x]))
  assert.deepEqual(
    [total.op, total.index, total.value, values(total)],
    ['sum', [1], Infinity, [Math.fround(3e38)]],
  )
  assert.equal(found(findNonFinite((v: F32) => ct.matmul(v, v), [x])).op, 'contract')
})

test('a gradient names the operation at the place of its primal', () => {
  const f = (x: F32) => ct.sum(scope('distance', () => ct.sqrt(x)))
  assert.equal(findNonFinite(f, [vector(4, 0)]), null)
  const got = found(findNonFinite(ct.grad(f), [vector(4, 0)]))
  assert.deepEqual([got.op, got.scope, got.index, got.value], ['div', 'distance', [1], Infinity])
})

test('functions within functions are looked into', () => {
  const inner = ct.custom('inner', x => [scope('inside', () => map('log', x))], {})
  const got = found(findNonFinite((x: F32) => scope('outside', () => inner(x)[0]), [vector(-2)]))
  assert.equal(got.op, 'log')
  assert.equal(got.scope, 'outside / inside')
  const steps = (x: F32) =>
    scan((c: F32, v: F32) => [scope('step', () => ct.sqrt(ct.sub(c, v))), v], tensor(9), x)
  const late = found(findNonFinite((x: F32) => steps(x)[0], [vector(5, 1, 3)]))
  assert.deepEqual([late.op, late.scope, values(late)], ['sqrt', 'scan / step', [-2]])
})

test('what a mask leaves out, and what was not finite from the start, is not reported', () => {
  const safe = (x: F32) => ct.where(ct.less(0, x), ct.log(x), 0)
  assert.equal(findNonFinite(safe, [vector(-1, 1)]), null)
  assert.equal(
    findNonFinite((x: F32) => ct.add(x, 1), [vector(Infinity, NaN)]),
    null,
  )
  assert.equal(
    findNonFinite((x: F32) => ct.mul(x, Infinity), [vector(1)]),
    null,
  )
  // the pool pads with -infinity
  const pool = (x: F32) => ct.maxPool2d(ct.reshape(x, [1, 1, 2, 2]), { kernel: 2, stride: 1, padding: 1 })
  assert.equal(findNonFinite(pool, [vector(1, 2, 3, 4)]), null)
})

test('arguments may be trees, and tensors made from constants', () => {
  const f = (p: { readonly w: F32; readonly b: F32 }, x: F32) => ct.div(ct.mul(p.w, x), p.b)
  const got = found(findNonFinite(f, [{ w: tensor([1, 2]), b: vector(1, 0) }, tensor([3, 4])]))
  assert.deepEqual([got.op, values(got)], ['div', [8, 0]])
})

test('nans(f) gives the results of f, or throws with the place', () => {
  const f = nans((x: F32) => scope('loss', () => ({ y: ct.log(x) })))
  assert.deepEqual([...f(vector(1, 1)).y.data], [0, 0])
  assert.throws(
    () => f(vector(1, -1)),
    (e: unknown) => e instanceof RunError && /log makes NaN at \[1\].*in loss/s.test(e.message),
  )
})
