/** What is cut in parts, and in how many: long reductions, and long contractions along an index of both operands. */
import assert from 'node:assert/strict'
import { splitReductions } from '../../src/backend/passes/simplify.ts'
import { splitContractions } from '../../src/backend/passes/split-contraction.ts'
import * as b from '../../src/dsl/build.ts'
import type { Contraction, Reduction } from '../../src/dsl/prim.ts'
import { range, type Shape, size } from '../../src/dsl/shape.ts'
import { constant, type Eqn, input, type Tensor } from '../../src/dsl/tensor.ts'
import { key, uniformAt } from '../../src/dsl/threefry.ts'
import { verify } from '../../src/dsl/verify.ts'
import { graphOf, passed, single } from './passed.ts'
import { fact, type Property } from './property.ts'

function reductions(): void {
  const cut = (how: Reduction, shape: Shape, axes: readonly number[]): readonly number[] | null => {
    const g = splitReductions(graphOf(x => b.reduce(how, x, axes), shape))
    verify(g)
    const all = g.eqns.filter((e): e is Eqn<'reduce'> => e.op === 'reduce')
    all.forEach(e => {
      assert.equal(e.params.how, how)
    })
    if (all.length === 1) return null
    const [first] = all
    assert.deepEqual(
      first.params.axes,
      [first.inputs[0].shape.length - 1],
      'the parts are summed along the last axis',
    )
    return first.inputs[0].shape
  }
  const sum = (n: number) => cut('sum', [n], [0])
  // more than 2048 terms, by the divisor nearest to the root; of fewer than 8 parts there is no use
  assert.deepEqual([sum(2048), sum(2050), sum(2116)], [null, [41, 50], [46, 46]])
  assert.deepEqual(sum(45 * 46), [45, 46])
  assert.deepEqual([sum(8 * 257), sum(7 * 293), sum(2053), sum(3 * 683)], [[8, 257], null, null, null])
  assert.deepEqual(cut('sum', [3, 50, 41], [1, 2]), [3, 41, 50])
  assert.deepEqual(cut('max', [50, 3, 41], [2, 0]), [3, 41, 50])
  assert.deepEqual(cut('prod', [2050, 3], [0]), [3, 41, 50])
  assert.deepEqual(cut('argmax', [2050], [0]), null)
  assert.deepEqual(cut('argmin', [2050], [0]), null)
  // with 4096 results a device is busy anyway
  assert.deepEqual(cut('sum', [4095, 2050], [1]), [4095, 41, 50])
  assert.deepEqual(cut('sum', [4096, 2050], [1]), null)
  assert.deepEqual(cut('sum', [64, 64, 2050], [2]), null)
  const position = (x: Tensor) => b.mul(x, b.add(b.iota(x.shape, x.rank - 1, 'f64'), 1))
  // sums of some thousand terms in another order
  passed(splitReductions, x => b.reduce('sum', position(x), [2, 0]), [50, 3, 41], 1e-11)
  passed(splitReductions, x => b.reduce('max', position(x), [0, 1]), [50, 41, 2])
  passed(splitReductions, x => b.reduce('sum', position(x), [1]), [2, 2050, 3], 1e-11)
}
/** A contraction, the number of terms of a result, and the indices that may be cut: in no window, in both operands. */
interface Form {
  readonly spec: Contraction
  readonly terms: number
  readonly free: readonly number[]
}
const plain = (extents: readonly number[], lhs: number[], rhs: number[], out: number[]): Contraction => ({
  extents,
  lhs,
  rhs,
  out,
  windows: [],
})
/** A window of three indices, without padding. */
const window = (big: number, out: number, tap: number) => ({
  big,
  out,
  tap,
  stride: 1,
  dilation: 1,
  padding: 0,
})
const forms = {
  // y[m,n] = sum_k x[m,k] w[k,n], and its transpose from transposed operands
  product: (m: number, k: number, n: number): Form => ({
    spec: plain([m, k, n], [0, 1], [1, 2], [0, 2]),
    terms: k,
    free: [1],
  }),
  transposed: (m: number, k: number, n: number): Form => ({
    spec: plain([m, k, n], [1, 0], [2, 1], [2, 0]),
    terms: k,
    free: [1],
  }),
  // y[g,m,n] = sum_k x[g,m,k] w[k,g,n]
  batch: (g: number, m: number, k: number, n: number): Form => ({
    spec: plain([g, m, k, n], [0, 1, 2], [2, 0, 3], [0, 1, 3]),
    terms: k,
    free: [2],
  }),
  // y[m,n] = sum_{j,k} x[j,m,k] w[k,n,j]
  twofold: (m: number, j: number, k: number, n: number): Form => ({
    spec: plain([m, j, k, n], [1, 0, 2], [2, 3, 1], [0, 3]),
    terms: j * k,
    free: [1, 2],
  }),
  // dw[o,u] = sum_{n,i} x[n,i+u] dy[n,o,i]
  weightGradient: (n: number, i: number, o: number, u: number): Form => ({
    spec: { ...plain([n, i + u - 1, i, o, u], [0, 1], [0, 3, 2], [3, 4]), windows: [window(1, 2, 4)] },
    terms: n * i,
    free: [0],
  }),
  // dw[u,v] = sum_{n,i,j} x[n,i+u,j+v] dy[n,i,j]
  imageGradient: (n: number, i: number, u: number): Form => ({
    spec: {
      ...plain([n, i + u - 1, i + u - 1, i, i, u, u], [0, 1, 2], [0, 3, 4], [5, 6]),
      windows: [window(1, 3, 5), window(2, 4, 6)],
    },
    terms: n * i * i,
    free: [0],
  }),
  // y[o,i] = sum_{c,u} x[c,i+u] w[o,c,u]
  convolution: (c: number, i: number, o: number, u: number): Form => ({
    spec: { ...plain([c, i + u - 1, i, o, u], [0, 1], [3, 0, 4], [3, 2]), windows: [window(1, 2, 4)] },
    terms: c * u,
    free: [0],
  }),
  // y[i] = sum_u x[i+u] w[u]
  filter: (i: number, u: number): Form => ({
    spec: { ...plain([i + u - 1, i, u], [0], [2], [1]), windows: [window(0, 1, 2)] },
    terms: u,
    free: [],
  }),
  // both operands have the taps, the positions, or the windowed index: none of them may be cut
  taps: (i: number, u: number): Form => ({
    spec: { ...plain([i + u - 1, i, u, 2], [2, 0], [2, 3], [1, 3]), windows: [window(0, 1, 2)] },
    terms: u,
    free: [],
  }),
  positions: (i: number, u: number): Form => ({
    spec: { ...plain([i + u - 1, i, u, 2], [1, 0], [1, 3], [2, 3]), windows: [window(0, 1, 2)] },
    terms: i,
    free: [],
  }),
  image: (i: number, u: number): Form => ({
    spec: { ...plain([i + u - 1, i, u, 2], [0, 1], [0, 3], [2, 3]), windows: [window(0, 1, 2)] },
    terms: i,
    free: [],
  }),
}

/**
 * What is cut: the longest index that may be (the first of such), in as many equal parts as leave no more than
 * `enough` results and no fewer than 256 terms to each; contractions of less than 4096 terms are left alone.
 */
function expected({ spec, terms, free }: Form, enough: number): { index: number; parts: number } | null {
  const results = size(spec.out.map(i => spec.extents[i]))
  if (terms < 4096 || results === 0 || free.length === 0) return null
  const longest = Math.max(...free.map(i => spec.extents[i]))
  const index = free.filter(i => spec.extents[i] === longest)[0]
  const allowed = range(longest)
    .map(p => p + 1)
    .filter(p => longest % p === 0 && p * results <= enough && 256 * p <= terms)
  const parts = Math.max(1, ...allowed)
  return parts === 1 ? null : { index, parts }
}
const operandShapes = ({ spec: { extents, lhs, rhs } }: Form): readonly Shape[] =>
  [lhs, rhs].map(own => own.map(i => extents[i]))
/** Small integers: their sums are exact in any order. */
const integers = (shape: Shape, seed: number): Tensor =>
  constant(
    shape,
    'f64',
    Float64Array.from(range(size(shape)), i => Math.floor(9 * uniformAt(key(seed), i)) - 4),
  )
/** Checks the cut of a contraction; its parts, or null. */
function partsOf(form: Form, enough?: number): number | null {
  const want = expected(form, enough ?? 2 ** 16)
  const [l, r] = operandShapes(form).map(shape => input('operand', { shape, dtype: 'f64' }))
  const whole = b.contract(form.spec, l, r)
  const g = splitContractions({ inputs: [l, r], outputs: [whole], eqns: [whole.eqn] }, enough)
  verify(g)
  const { spec } = single(g, 'contract').params
  if (want === null) {
    assert.equal(g.outputs[0], whole, 'it stays as it is')
    return null
  }
  const sum = single(g, 'reduce')
  assert.deepEqual([sum.params.how, sum.params.axes], ['sum', [0]])
  assert.deepEqual(sum.inputs[0].shape, [want.parts, ...whole.shape])
  assert.equal(spec.extents[want.index] * want.parts, form.spec.extents[want.index])
  return want.parts
}
/** Checks the cut, and that it changes no value. */
function sameValue(form: Form, enough?: number): number | null {
  const [x, y] = operandShapes(form).map(integers)
  passed(
    g => splitContractions(g, enough),
    () => b.contract(form.spec, x, y),
    [1],
  )
  return partsOf(form, enough)
}

function contractions(): void {
  const { product, transposed, batch, twofold, weightGradient, imageGradient } = forms
  // by their length: 256 terms for each part, but for less than 4096 terms none
  assert.deepEqual(
    [4095, 4096, 8192, 4114, 2 * 4099, 8191].map(k => partsOf(product(3, k, 5))),
    [null, 16, 32, 11, 2, null],
  )
  // by their results: those of the parts count
  assert.deepEqual(
    [
      [2, 90],
      [3, 90],
      [3, 48],
      [6, 95],
      [6, 47],
    ].map(([m, enough]) => partsOf(product(m, 4608, 5), enough)),
    [9, 6, 3, 3, null],
  )
  assert.deepEqual(
    [128, 256, 257].map(m => partsOf(product(m, 8192, 256))),
    [2, null, null],
  )
  assert.deepEqual([partsOf(product(0, 8192, 5)), partsOf(product(1, 8192, 1))], [null, 32])
  // the longest index of several, the first of equal ones
  assert.deepEqual([partsOf(twofold(2, 32, 160, 3)), partsOf(twofold(2, 160, 32, 3))], [20, 20])
  assert.deepEqual([partsOf(twofold(2, 80, 80, 3)), partsOf(twofold(2, 5, 1024, 2))], [20, 16])
  // no index of a window; and a windowed one is no further term
  assert.deepEqual([partsOf(weightGradient(64, 32, 2, 3)), partsOf(imageGradient(4, 8, 3))], [null, null])
  assert.deepEqual([partsOf(weightGradient(4, 5000, 2, 3)), partsOf(imageGradient(6, 30, 2))], [4, 6])
  assert.deepEqual(
    [partsOf(forms.convolution(8, 3, 2, 600)), partsOf(forms.convolution(8, 600, 2, 3))],
    [8, null],
  )
  for (const form of [forms.filter, forms.taps, forms.positions, forms.image])
    assert.deepEqual([partsOf(form(5000, 3)), partsOf(form(3, 5000))], [null, null])

  assert.equal(sameValue(product(3, 4096, 2)), 16)
  assert.equal(sameValue(transposed(3, 4096, 2)), 16)
  assert.equal(sameValue(batch(2, 3, 4098, 2)), 6)
  assert.equal(sameValue(twofold(3, 16, 260, 2)), 13)
  assert.equal(sameValue(twofold(3, 260, 16, 2), 50), 5)
  assert.equal(sameValue(weightGradient(6, 700, 2, 3)), 6)
  assert.equal(sameValue(imageGradient(5, 30, 2)), 5)
  assert.equal(sameValue(forms.convolution(8, 3, 2, 520)), 8)
  // what is no contraction, or none that is long, is left alone
  const others = graphOf(x => b.neg(b.contract(product(2, 2, 2).spec, x, x)), [2, 2])
  assert.deepEqual(splitContractions(others).eqns, others.eqns)
}

export const splitProperties: readonly Property[] = [
  fact('splitReductions cuts what is long and has few results', reductions),
  fact('splitContractions cuts the longest index that may be cut, in as many parts as fit', contractions),
]
