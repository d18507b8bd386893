/** What each pass leaves behind: the same values, and a graph of the form that it is there for. */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { grad } from '../../src/autodiff/grad.ts'
import { alignment, placeInArena } from '../../src/backend/memory.ts'
import { inline } from '../../src/backend/passes/inline.ts'
import { share } from '../../src/backend/passes/share.ts'
import { explicitWindows } from '../../src/backend/passes/windows.ts'
import * as b from '../../src/dsl/build.ts'
import { cond, scan } from '../../src/dsl/ops/control.ts'
import type { Contraction } from '../../src/dsl/prim.ts'
import { range, type Shape, showType, size } from '../../src/dsl/shape.ts'
import { bind, constant, input, type Tensor, tensor } from '../../src/dsl/tensor.ts'
import { type F, graphOf, ops, passed } from './passed.ts'
import { fact, type Property, property } from './property.ts'

function sharing(): void {
  const alike = (f: F, shape: Shape = [2, 3]) => ops(passed(share, f, shape))
  assert.deepEqual(
    alike(x => b.add(b.map('sin', x), b.map('sin', x))),
    ['sin', 'add'],
  )
  assert.deepEqual(
    alike(x => b.add(b.neg(b.map('sin', x)), b.neg(b.map('sin', x)))),
    ['sin', 'neg', 'add'],
  )
  assert.deepEqual(
    alike(x => b.add(b.map('sin', x), b.map('cos', x))),
    ['sin', 'cos', 'add'],
  )
  assert.deepEqual(
    alike(x => b.sub(b.sub(x, b.neg(x)), b.sub(b.neg(x), x))),
    ['neg', 'sub', 'sub', 'sub'],
  )
  assert.deepEqual(
    alike(x => b.mul(b.sum(x, 0), b.sum(x, [0])), [2]),
    ['reduce', 'mul'],
  )
  assert.deepEqual(
    alike(x => [b.sum(x, 0), b.sum(x, 1)]),
    ['reduce', 'reduce'],
  )
  assert.deepEqual(
    alike(x => b.add(b.barrier(x), b.barrier(x))),
    ['barrier', 'barrier', 'add'],
  )
  assert.deepEqual(
    alike(x => b.add(b.neg(b.barrier(x)), b.neg(b.barrier(x)))),
    ['barrier', 'neg', 'barrier', 'neg', 'add'],
  )
  const padded = (v: number) => (x: Tensor) => b.pad(x, [1, 0], [0, 0], v)
  for (const [v, w] of [
    [0, -0],
    [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
    [Number.NaN, Number.POSITIVE_INFINITY],
    [Number.NaN, Number.NEGATIVE_INFINITY],
    [0, Number.NaN],
    [1, 2],
  ]) {
    assert.equal(alike(x => [padded(v)(x), padded(w)(x)]).length, 2, `pads of ${v} and ${w}`)
    assert.equal(alike(x => [padded(v)(x), padded(v)(x), padded(w)(x), padded(w)(x)]).length, 2)
  }
  // the second result of one equation is not the first
  const both = (x: Tensor) => bind('call', { name: 'both', rule: {}, ...pairOf(x) }, [x])
  const twice = passed(share, x => [...both(x).map(y => b.neg(y))], [2])
  assert.deepEqual(ops(twice), ['call', 'neg', 'neg'])

  const constants = (...list: Tensor[]) =>
    passed(
      share,
      x => list.map(c => b.mul(b.cast(b.reshape(c, [size(c.shape)]), 'f64'), b.sum(x))),
      [2],
    ).eqns.filter(e => e.op === 'const').length
  const count = (n: number, from = 0) => Float64Array.from(range(n), i => i + from)
  assert.equal(
    constants(constant([16], 'f64', count(16)), constant([16], 'f64', count(16))),
    1,
    'equal by value',
  )
  const large = count(17)
  assert.equal(constants(constant([17], 'f64', large), constant([17], 'f64', large)), 1, 'equal by identity')
  assert.equal(
    constants(constant([17], 'f64', large), constant([17], 'f64', count(17))),
    2,
    'large, and not looked at',
  )
  assert.equal(constants(constant([17], 'f64', large), constant([17], 'f64', count(17, 1))), 2)
  assert.equal(constants(constant([17], 'f64', count(17, 2)), constant([17], 'f64', large)), 2)
  assert.equal(constants(constant([2], 'f64', count(2)), constant([2], 'f64', count(2, 1))), 2)
  assert.equal(constants(constant([2], 'f64', count(2)), constant([2, 1], 'f64', count(2))), 2)
  assert.equal(constants(tensor([1, 2], 'i32'), tensor([1, 2], 'u32')), 2)
  assert.equal(constants(tensor([0], 'f64'), tensor([-0], 'f64')), 2)
  assert.equal(constants(tensor([1, 12], 'f64'), tensor([11, 2], 'f64')), 2)
  assert.equal(constants(tensor([Number.NaN], 'f64'), tensor([Number.NaN], 'f64')), 1)
  assert.equal(constants(tensor([0, 1], 'f64'), tensor([0, 1], 'f64'), tensor([0, -0], 'f64')), 2)
  // what is not changed is not made anew
  const kept = graphOf(x => [b.map('sin', x), b.sub(x, b.sum(x, [0], true))], [2])
  assert.equal(share(kept).eqns[0], kept.eqns[0])
  const half = graphOf(x => b.add(b.map('sin', x), b.map('sin', x)), [2])
  assert.equal(share(half).eqns.length, 2)
}
const pairOf = (like: Tensor) => {
  const p = input('p', { shape: like.shape, dtype: like.dtype })
  return { params: [p], body: [b.map('sin', p), b.map('cos', p)] }
}

function windows(): void {
  for (const stride of [1, 2, 3])
    for (const dilation of [1, 2])
      for (const [padding, taps, n] of [
        [0, 1, 5],
        [0, 3, 6],
        [1, 3, 5],
        [2, 2, 7],
        [2, 3, 6],
      ]) {
        const out = Math.floor((n + 2 * padding - dilation * (taps - 1) - 1) / stride) + 1
        const window = { big: 1, out: 4, tap: 3, stride, dilation, padding }
        const spec = {
          lhs: [0, 1],
          rhs: [2, 3],
          out: [0, 2, 4],
          extents: [2, n, 3, taps, out],
          windows: [window],
        }
        for (const exchanged of [false, true]) {
          const convolve = (x: Tensor, w: Tensor) =>
            exchanged ? b.contract({ ...spec, lhs: spec.rhs, rhs: spec.lhs }, w, x) : b.contract(spec, x, w)
          const kernel = b.map('sin', b.iota([3, taps], 1, 'f64'))
          const loss = (x: Tensor, w: Tensor) => b.sum(b.mul(convolve(x, w), convolve(x, w)))
          for (const f of [
            (x: Tensor) => convolve(x, kernel),
            (x: Tensor) => grad((y: Tensor) => loss(y, kernel))(x),
            (x: Tensor) => grad((w: Tensor) => loss(x, w))(kernel),
          ] as F[]) {
            const g = passed(explicitWindows, f, [2, n], 1e-13)
            for (const e of g.eqns) if (e.op === 'contract') plain(e.params.spec, window, n)
          }
        }
      }
  // two windows at once, unlike in everything
  const plane = (x: Tensor, w: Tensor) => b.contract(image, x, w)
  const kernel = b.map('sin', b.iota([3, 2, 2, 3], 3, 'f64'))
  const loss = (x: Tensor, w: Tensor) => b.sum(b.mul(plane(x, w), plane(x, w)))
  for (const f of [
    x => plane(x, kernel),
    x => grad((y: Tensor) => loss(y, kernel))(x),
    x => grad((w: Tensor) => loss(x, w))(kernel),
  ] as F[])
    for (const e of passed(explicitWindows, f, [2, 5, 7], 1e-13).eqns)
      if (e.op === 'contract') assert.ok(e.params.spec.windows.every(w => w.padding === 0))

  const matrix = graphOf(x => b.contract(matmul, x, x), [3, 3])
  assert.equal(
    explicitWindows(matrix).eqns[0],
    matrix.eqns[0],
    'a contraction without windows stays as it is',
  )
  const both: Contraction = {
    extents: [3, 4, 2],
    lhs: [0],
    rhs: [0],
    out: [1, 2],
    windows: [{ big: 1, out: 0, tap: 2, stride: 1, dilation: 1, padding: 0 }],
  }
  assert.throws(
    () => explicitWindows(graphOf(x => b.contract(both, x, x), [3])),
    /both its big and its tap index/,
  )
}
const matmul: Contraction = { extents: [3, 3, 3], lhs: [0, 1], rhs: [1, 2], out: [0, 2], windows: [] }
/** y[o,i,j] = sum x[c,h,v] w[o,c,s,t],  h = 2i + s - 1,  v = j + 2t - 2 */
const image: Contraction = {
  extents: [2, 5, 7, 3, 2, 3, 3, 7],
  lhs: [0, 1, 2],
  rhs: [3, 0, 4, 5],
  out: [3, 6, 7],
  windows: [
    { big: 1, out: 6, tap: 4, stride: 2, dilation: 1, padding: 1 },
    { big: 2, out: 7, tap: 5, stride: 1, dilation: 2, padding: 2 },
  ],
}
/** Windows without padding, in an operand that is no longer than they reach or the image was. */
function plain(c: Contraction, before: Contraction['windows'][number], n: number): void {
  for (const w of c.windows) {
    assert.equal(w.padding, 0)
    assert.ok(!c.out.includes(w.big) && w.stride > 0 && w.dilation > 0)
    const reach = w.stride * (c.extents[w.out] - 1) + w.dilation * (c.extents[w.tap] - 1) + 1
    assert.ok(reach <= c.extents[w.big], 'every position is inside')
    const given = w.out === before.out ? n + before.padding : reach
    assert.equal(c.extents[w.big], Math.max(reach, given), 'and nothing is padded for nothing')
  }
}

function inlining(): void {
  const flagged = (holds: boolean) => (x: Tensor) =>
    cond(
      b.less(b.scalar(0, 'f64'), holds ? 1 : -1),
      () => ({ p: b.map('sin', x), q: b.mul(x, 2) }),
      () => ({ p: b.map('cos', x), q: b.mul(x, 3) }),
    )
  for (const holds of [true, false]) {
    const g = passed(
      inline,
      x => {
        const { p, q } = flagged(holds)(x)
        return [p, b.sub(p, q)]
      },
      [3],
    )
    assert.ok(!ops(g).includes('cond'))
  }
  const called = passed(
    inline,
    x => bind('call', { name: 'f', rule: {}, ...pairOf(x) }, [x]).map(y => b.neg(y)),
    [3],
  )
  assert.deepEqual(ops(called), ['sin', 'cos', 'neg', 'neg'])
  for (const reverse of [false, true])
    for (const n of [0, 1, 4]) {
      const f = (x: Tensor) => {
        const w = b.map('sin', x)
        const xs = b.mul(b.iota([n, 3], 0, 'f64'), 0.7)
        const [last, out] = scan(
          (c: { h: Tensor; k: Tensor }, s: { x: Tensor; i: Tensor }) => {
            const h = b.map('tanh', b.add(b.mul(c.h, w), s.x))
            return [
              { h, k: b.add(c.k, s.i) },
              { y: b.mul(h, x), k: b.sub(c.k, s.i), z: b.less(h, s.x) },
            ] as const
          },
          { h: b.neg(x), k: b.iota([2], 0) },
          { x: xs, i: b.iota([n, 2], 0) },
          { reverse },
        )
        return [last.h, last.k, out.y, out.k, out.z]
      }
      const g = passed(inline, f, [3])
      assert.ok(!ops(g).includes('scan'))
      assert.deepEqual(g.outputs.map(showType), [
        'f64[3]',
        'i32[2]',
        `f64[${n}, 3]`,
        `i32[${n}, 2]`,
        `bool[${n}, 3]`,
      ])
    }
  // functions in functions
  const nested = (x: Tensor) =>
    bind(
      'call',
      { name: 'outer', rule: {}, params: [], body: [flagged(true)(b.full([2], 1, 'f64')).p] },
      [],
    ).map(y => b.mul(y, b.sum(x)))
  assert.ok(!ops(passed(inline, nested, [3])).some(o => o === 'call' || o === 'cond'))
}

const lifetimes = fc.array(
  fc.record({
    bytes: fc.oneof(fc.integer({ min: 1, max: 5000 }), fc.constantFrom(256, 300, 1000)),
    first: fc.nat(12),
    length: fc.nat(6),
  }),
  { maxLength: 14 },
)
/** The last value fills the gap between the third and the second. */
const exactFit = [
  { bytes: 1024, first: 0, length: 1 },
  { bytes: 768, first: 0, length: 2 },
  { bytes: 512, first: 2, length: 1 },
  { bytes: 512, first: 2, length: 0 },
]
/** Disjoint where both live; as low as the larger ones allow; and no byte more than that. */
function arena(numRuns: number): void {
  // WebGPU's minStorageBufferOffsetAlignment
  assert.equal(alignment, 256)
  const up = (n: number) => Math.ceil(n / alignment) * alignment
  fc.assert(
    fc.property(lifetimes, values => {
      const lives = values.map(v => ({ bytes: v.bytes, first: v.first, last: v.first + v.length }))
      const { offsets, bytes } = placeInArena(lives)
      const larger = (j: number, i: number) =>
        lives[j].bytes > lives[i].bytes || (lives[j].bytes === lives[i].bytes && j < i)
      const meet = (i: number, at: number, j: number) =>
        lives[i].first <= lives[j].last &&
        lives[j].first <= lives[i].last &&
        at < offsets[j] + up(lives[j].bytes) &&
        offsets[j] < at + up(lives[i].bytes)
      lives.forEach((_, i) => {
        assert.equal(offsets[i] % alignment, 0)
        assert.ok(!lives.some((_, j) => j !== i && meet(i, offsets[i], j)), 'two values overlap')
        for (let at = 0; at < offsets[i]; at += alignment)
          assert.ok(
            lives.some((_, j) => larger(j, i) && meet(i, at, j)),
            `value ${i} at ${offsets[i]} could lie at ${at}`,
          )
      })
      assert.equal(bytes, Math.max(0, ...lives.map((v, i) => offsets[i] + up(v.bytes))))
    }),
    { numRuns, examples: [[exactFit]] },
  )
}

export const passProperties: readonly Property[] = [
  fact('share computes equal subexpressions once, but behind a barrier again', sharing),
  fact('explicitWindows leaves windows without padding, and pads no more than needed', windows),
  fact('inline leaves primitives with the values of the functions', inlining),
  property(
    'values that live at the same time never overlap in the arena, and lie as low as they can',
    [60, 300],
    arena,
  ),
]
