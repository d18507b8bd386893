/** The meaning of single operations on numbers: integers wrap, casts saturate, bits stay bits. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { bitcast, cast, type Ex, s } from '../../src/dsl/scalar.ts'
import { applyScalar, evalEx } from '../../src/dsl/scalar-eval.ts'

const int32 = fc.integer()
const uint32 = fc.nat(0xffffffff)

test('i32 and u32 arithmetic is arithmetic modulo 2^32', () => {
  const ops = { add: (x, y) => x + y, sub: (x, y) => x - y, mul: (x, y) => x * y } satisfies Record<
    string,
    (x: bigint, y: bigint) => bigint
  >
  for (const fn of ['add', 'sub', 'mul'] as const) {
    const exact = (x: number, y: number) => ops[fn](BigInt(x), BigInt(y))
    fc.assert(
      fc.property(
        int32,
        int32,
        (x, y) => applyScalar(fn, 'i32', [x, y]) === Number(BigInt.asIntN(32, exact(x, y))),
      ),
    )
    fc.assert(
      fc.property(
        uint32,
        uint32,
        (x, y) => applyScalar(fn, 'u32', [x, y]) === Number(BigInt.asUintN(32, exact(x, y))),
      ),
    )
  }
})

test('integer division truncates, and x = (x / y) y + x % y', () => {
  for (const [d, arb] of [
    ['i32', int32],
    ['u32', uint32],
  ] as const)
    fc.assert(
      fc.property(arb, arb, (x, y) => {
        const q = applyScalar('div', d, [x, y])
        const r = applyScalar('rem', d, [x, y])
        return y === 0 ? q === x && r === 0 : q * y + r === x || (x === -(2 ** 31) && y === -1 && q === x)
      }),
    )
})

test('shifts take their distance modulo 32, and fill with the sign for i32 only', () => {
  assert.equal(applyScalar('shl', 'u32', [1, 31]), 2 ** 31)
  assert.equal(applyScalar('shl', 'i32', [1, 33]), 2)
  assert.equal(applyScalar('shr', 'u32', [0xffffffff, 28]), 15)
  assert.equal(applyScalar('shr', 'u32', [0x7fffffff, 28]), 7)
  assert.equal(applyScalar('shr', 'i32', [-16, 2]), -4)
})

test('casts truncate, saturate and take NaN to 0; to bool they ask x != 0', () => {
  const rows = [
    [2.9, 'i32', 2],
    [-2.9, 'i32', -2],
    [3e9, 'i32', 2 ** 31 - 1],
    [-3e9, 'i32', -(2 ** 31)],
    [NaN, 'i32', 0],
    [3e9, 'u32', 3e9],
    [5e9, 'u32', 2 ** 32 - 1],
    [-1, 'u32', 0],
    [Infinity, 'u32', 2 ** 32 - 1],
    [-0.5, 'i32', 0],
    [0.1, 'bool', 1],
    [-0, 'bool', 0],
    [NaN, 'bool', 1],
    [0.1, 'f32', Math.fround(0.1)],
  ] as const
  for (const [x, to, want] of rows)
    assert.ok(Object.is(applyScalar('cast', 'f64', [x], to), want), `${x} to ${to}`)
  assert.equal(applyScalar('cast', 'i32', [-1], 'u32'), 2 ** 32 - 1)
  assert.equal(applyScalar('cast', 'u32', [2 ** 24 + 1], 'f32'), 2 ** 24)
})

test('bitcast reads the same 32 bits', () => {
  assert.equal(applyScalar('bitcast', 'f32', [1], 'u32'), 0x3f800000)
  assert.equal(applyScalar('bitcast', 'i32', [-1], 'u32'), 0xffffffff)
  const f32 = fc.float({ noNaN: true })
  fc.assert(
    fc.property(f32, x =>
      Object.is(applyScalar('bitcast', 'i32', [applyScalar('bitcast', 'f32', [x], 'i32')], 'f32'), x),
    ),
  )
})

test('exponent is floor(log2 x) beside every power of two, in f32 and f64', () => {
  for (const [d, low, high, below] of [
    ['f32', -126, 127, 2 ** -24],
    ['f64', -1022, 1023, 2 ** -53],
  ] as const)
    for (let k = low; k <= high; k++) {
      assert.equal(applyScalar('exponent', d, [2 ** k]), k)
      if (k > low) assert.equal(applyScalar('exponent', d, [2 ** k * (1 - below)]), k - 1)
    }
})

test('evalEx rounds after every operation, and expands derived operations', () => {
  const x: Ex = { k: 'arg', i: 0, dtype: 'f32' }
  assert.equal(evalEx(s.sub(s.add(x, 1), 1), [1e-8]), 0)
  assert.equal(evalEx(s.add(x, 0.2), [0.1]), Math.fround(Math.fround(0.1) + Math.fround(0.2)))
  assert.equal(evalEx(cast(s.mul(x, 2.5), 'i32'), [3]), 7)
  assert.equal(evalEx(bitcast(s.neg(x), 'u32'), [0]), 2 ** 31)
  assert.equal(evalEx(s.select(s.lt(x, 0), 7, s.sign(x)), [5]), 1)
})

test('a shared sub-expression is computed once', () => {
  let e: Ex = { k: 'arg', i: 0, dtype: 'f64' }
  // 2^100 nodes as a tree
  for (let n = 0; n < 100; n++) e = s.add(e, e)
  assert.equal(evalEx(e, [1]), 2 ** 100)
})
