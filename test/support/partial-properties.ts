/** The partials of each scalar operation: against differences where it is smooth, and what they are at kinks. */
import assert from 'node:assert/strict'
import { grad, jvp } from '../../src/autodiff/grad.ts'
import { interpret } from '../../src/backend/cpu/reference.ts'
import { array, type NDArray } from '../../src/dsl/array.ts'
import * as b from '../../src/dsl/build.ts'
import { equations } from '../../src/dsl/graph.ts'
import { type Ex, type ScalarOp, type ScalarRecord, scalars } from '../../src/dsl/scalar.ts'
import { constant, type Tensor } from '../../src/dsl/tensor.ts'
import { key, uniformAt } from '../../src/dsl/threefry.ts'
import { trace } from '../../src/dsl/trace.ts'
import { fact, type Property, property } from './property.ts'

type F = (xs: readonly Tensor[]) => Tensor
const scalarArray = (v: number): NDArray => array([], 'f64', [v])
/** A graph of scalars as a function of numbers. */
const numeric = (f: (xs: readonly Tensor[]) => unknown, n: number) => {
  const specs = Array.from({ length: n }, () => scalarArray(0))
  const { graph } = trace(f as (...a: never[]) => unknown, [specs])
  return (x: readonly number[]): number[] => interpret(graph, x.map(scalarArray)).map(y => y.data[0])
}
/** The gradient at a point, in both modes. */
function derivatives(f: F, n: number) {
  const reverse = numeric(xs => grad(f)(xs), n)
  const forward = Array.from({ length: n }, (_, i) =>
    numeric(
      xs =>
        jvp(
          f,
          xs,
          xs.map((_, j) => b.scalar(i === j ? 1 : 0, 'f64')),
        )[1],
      n,
    ),
  )
  return (x: readonly number[]) => {
    const [r, t] = [reverse(x), forward.map(g => g(x)[0])]
    r.forEach((v, i) => {
      // forward mode multiplies the other operands' infinite partials by their tangents, which are 0
      const agree =
        Math.abs(v - t[i]) <= 1e-12 * (1 + Math.abs(v)) ||
        !Number.isFinite(v) ||
        r.some(u => !Number.isFinite(u))
      assert.ok(agree, `at ${x}: reverse mode gives ${v}, forward mode ${t[i]}`)
    })
    return r
  }
}

const smooth = (Object.keys(scalars) as ScalarOp[]).filter(fn => scalars[fn].partials !== null)
/** A scalar operation as a function of its floats; a condition holds or not. */
const applied =
  (fn: ScalarOp, holds: boolean): F =>
  xs =>
    b.map(fn, ...(fn === 'select' ? [b.less(b.scalar(0, 'f64'), holds ? 1 : 0), ...xs] : xs))

/** A difference of step 1e-6 in f64: truncation 1e-12, rounding 1e-10, grown by the value. */
const tolerance = 1e-7
const h = 1e-6

function againstDifferences(fn: ScalarOp, cases: number): void {
  const record: ScalarRecord = scalars[fn]
  const domain = record.smoothOn.slice(fn === 'select' ? 1 : 0)
  assert.equal(record.smoothOn.length, record.arity, `${fn} says where it is smooth`)
  for (const holds of fn === 'select' ? [true, false] : [true]) {
    // squared: a derivative that is constant by pieces has none itself
    const f: F = xs => {
      const y = applied(fn, holds)(xs)
      return b.mul(y, y)
    }
    const [value, gradient] = [numeric(xs => f(xs), domain.length), derivatives(f, domain.length)]
    const second = domain.map((_, i) => derivatives(xs => grad(f)(xs)[i], domain.length))
    const slopeOf = (g: (x: readonly number[]) => number, x: readonly number[], i: number): number => {
      const at = (d: number) => g(x.map((v, j) => (i === j ? v + d : v)))
      return (at(h) - at(-h)) / (2 * h)
    }
    for (let k = 0; k < cases; k++) {
      const x = domain.map(([lo, hi], i) => lo + (hi - lo) * (0.05 + 0.9 * uniformAt(key(k), i)))
      gradient(x).forEach((got, i) => {
        const want = slopeOf(y => value(y)[0], x, i)
        assert.ok(
          Math.abs(got - want) <= tolerance * (1 + Math.abs(want)),
          `${fn} by operand ${i} at ${x}: ${got}, differences ${want}`,
        )
        second[i](x).forEach((got2, j) => {
          const want2 = slopeOf(y => gradient(y)[i], x, j)
          assert.ok(
            Math.abs(got2 - want2) <= tolerance * (1 + Math.abs(want2)),
            `${fn} by operands ${i} and ${j} at ${x}: ${got2}, differences ${want2}`,
          )
        })
      })
    }
  }
}

/** Gradients of operations at points where conventions decide, as PyTorch has them. */
const kinks: readonly (readonly [ScalarOp, readonly number[], readonly number[]])[] = [
  ['max', [1, 1], [0.5, 0.5]],
  ['max', [2, 1], [1, 0]],
  ['max', [1, 2], [0, 1]],
  ['min', [1, 1], [0.5, 0.5]],
  ['min', [2, 1], [0, 1]],
  ['min', [1, 2], [1, 0]],
  ['abs', [0], [0]],
  ['abs', [-2], [-1]],
  ['sign', [0], [0]],
  ['sign', [-2], [0]],
  ['floor', [1], [0]],
  ['ceil', [1], [0]],
  ['round', [0.5], [0]],
  ['trunc', [-1.5], [0]],
  ['sqrt', [0], [Number.POSITIVE_INFINITY]],
  ['pow', [0, 2], [0, 0]],
  ['pow', [0, 1], [1, 0]],
  ['pow', [0, 0], [0, 0]],
  ['pow', [3, 0], [0, Math.log(3)]],
  ['pow', [0, 0.5], [Number.POSITIVE_INFINITY, 0]],
  ['pow', [0, -1], [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY]],
  ['pow', [-2, 3], [12, Number.NaN]],
  ['pow', [Number.NaN, 0], [0, Number.NaN]],
]
/** d/dy d/dx x^y at y = 0 is 1 / x (NaN below 0, as that of x^y by y), and taken for 0 where 1 / x overflows in f32. */
const powers: readonly (readonly [number, number])[] = [
  [2, 0.5],
  [-2, Number.NaN],
  [2 ** -125, 2 ** 125],
  [-(2 ** -125), Number.NaN],
  [1.5 * 2 ** -126, 2 ** 126 / 1.5],
  [2 ** -126, 0],
  [1.5 * 2 ** -127, 0],
  [-(2 ** -126), 0],
  [0, 0],
]
function conventions(): void {
  for (const [fn, x, want] of kinks) {
    const got = derivatives(applied(fn, true), x.length)(x)
    want.forEach((w, i) => {
      assert.ok(
        Object.is(got[i], w) || (Number.isFinite(w) && Math.abs(got[i] - w) <= 1e-12 * Math.abs(w)),
        `${fn} by operand ${i} at ${x}: ${got[i]}, expected ${w}`,
      )
    })
  }
  // forward over reverse: what is not selected has a NaN of its own, which reverse mode multiplies by 0
  const slope = (x: Tensor) => (y: Tensor) => grad((t: Tensor) => b.map('pow', t, y))(x)
  const mixed = numeric(([x, y]) => jvp(slope(x), y, b.scalar(1, 'f64'))[1], 2)
  for (const [x, want] of powers) {
    const [got] = mixed([x, 0])
    // the exponential and the logarithm in pow
    assert.ok(
      Object.is(got, want) || Math.abs(got - want) <= 1e-9 * Math.abs(want),
      `pow by both operands at ${x}, 0: ${got}, expected ${want}`,
    )
  }
}

/** What is not chosen, or does not move, adds nothing: not even where the cotangent is infinite or NaN. */
function zeros(): void {
  for (const bad of [Number.POSITIVE_INFINITY, Number.NaN]) {
    const at = (fn: ScalarOp, holds: boolean, n: number, x: readonly number[]) =>
      numeric(xs => grad((ys: readonly Tensor[]) => b.mul(applied(fn, holds)(ys), bad))(xs), n)(x)
    assert.deepEqual(at('select', true, 2, [1, 2])[1], 0)
    assert.deepEqual(at('select', false, 2, [1, 2])[0], 0)
    assert.deepEqual(at('max', true, 2, [1, 2])[0], 0)
    assert.deepEqual(at('min', true, 2, [1, 2])[1], 0)
    assert.deepEqual(at('floor', true, 1, [1.5]), [0])
    assert.deepEqual(at('pow', true, 2, [0, 2])[1], 0)
    assert.deepEqual(at('pow', true, 2, [0, 0])[0], 0)
  }
}

/** How many equations the derivative of an operation adds: factors of 1, -1 and 0 are no products. */
function cost(): void {
  const ops = (fn: ScalarOp, i: number): string[] => {
    const x = b.identity(constant([], 'f64', Float64Array.of(1)))
    const y = b.identity(constant([], 'f64', Float64Array.of(2)))
    const known = new Set(equations([x, y]))
    const [, dy] = jvp(
      (t: Tensor) => b.map(fn, ...(scalars[fn].arity === 1 ? [t] : i === 0 ? [t, y] : [x, t])),
      x,
      y,
    )
    return equations([dy]).flatMap(e => (known.has(e) ? [] : e.op === 'map' ? [e.params.fn] : []))
  }
  assert.deepEqual(ops('add', 0), [])
  assert.deepEqual(ops('add', 1), [])
  assert.deepEqual(ops('sub', 0), [])
  assert.deepEqual(ops('sub', 1), ['neg'])
  assert.deepEqual(ops('neg', 0), ['neg'])
  assert.deepEqual(ops('floor', 0), [])
  assert.deepEqual(ops('mul', 0), ['mul'])
  assert.ok(!ops('max', 0).slice(1).includes('neg') && ops('max', 0).filter(o => o === 'mul').length === 1)
}

/** The factors that derivative rules take apart. */
function literals(): void {
  for (const fn of smooth) {
    const record: ScalarRecord = scalars[fn]
    const args = Array.from({ length: record.arity + 1 }, (_, i): Ex => {
      const dtype = fn === 'select' && i === 0 ? 'bool' : 'f64'
      return { k: 'arg', i, dtype }
    })
    const partials = record.partials as ((...x: readonly Ex[]) => readonly (Ex | null)[]) | null
    for (const p of partials?.(...args) ?? []) if (p?.k === 'lit') assert.ok([-1, 0, 1].includes(p.value), fn)
  }
}

export const partialProperties: readonly Property[] = [
  ...smooth.map(fn =>
    property(`${fn}: its partials, and theirs, agree with differences where it is smooth`, [4, 20], n =>
      againstDifferences(fn, n),
    ),
  ),
  fact('kinks follow PyTorch: shares at ties, 0 at corners, powers of 0', conventions),
  fact('what is not chosen has the gradient 0, whatever its cotangent', zeros),
  fact('a derivative of 1, -1 or 0 is no product', cost),
  fact('a partial that is a literal is 1, -1 or 0', literals),
]
