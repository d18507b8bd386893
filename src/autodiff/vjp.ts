/**
 * The derivative rules: one per primitive, one page, for both modes.
 *
 * Almost every primitive is linear in its data: its tangent is itself, its cotangent is its transpose. What
 * remains (scalar operations, products, extrema) has partials. Every rule is written in ordinary operations,
 * so second derivatives need nothing new.
 */
import * as b from '../dsl/build.ts'
import { isFloat } from '../dsl/dtype.ts'
import type { Op } from '../dsl/prim.ts'
import { type Ex, lit, type ScalarRecord, s, scalars } from '../dsl/scalar.ts'
import { range, size } from '../dsl/shape.ts'
import type { Eqn, Tensor } from '../dsl/tensor.ts'
import {
  callCotangents,
  callTangents,
  condCotangents,
  condTangents,
  scanCotangents,
  scanTangents,
  type Walks,
} from './control.ts'
import { callReach, condReach, type Reaches, scanReach } from './reach.ts'

/**
 * How a primitive is differentiated.
 * - linear: in the listed operands together; `transpose` gives the cotangent of operand i (`tangent`: where the
 *   primitive is affine)
 * - bilinear: linear in each operand alone
 * - partials: an elementwise factor per operand
 * - own: the equation holds functions, and has rules in both modes; - none: no derivative flows (its results are discrete or cut off)
 */
export type Rule<K extends Op> =
  | {
      readonly kind: 'linear'
      readonly data: 'all' | readonly number[]
      readonly transpose: (e: Eqn<K>, dy: Tensor, i: number) => Tensor
      readonly tangent?: (e: Eqn<K>, dx: Tensor) => Tensor
    }
  | { readonly kind: 'bilinear'; readonly transpose: (e: Eqn<K>, dy: Tensor, i: number) => Tensor }
  | {
      readonly kind: 'partials'
      readonly partials: (e: Eqn<K>, y: Tensor) => readonly ((d: Tensor, mode: 'jvp' | 'vjp') => Tensor)[]
    }
  | {
      readonly kind: 'own'
      readonly cotangents: (
        e: Eqn<K>,
        dys: readonly Tensor[],
        wanted: readonly number[],
        walks: Walks,
        place: string,
      ) => readonly Tensor[]
      readonly tangents: (
        e: Eqn<K>,
        dxs: readonly (Tensor | null)[],
        walks: Walks,
        place: string,
      ) => readonly (Tensor | null)[]
      readonly reach: Reaches<Eqn<K>>
    }
  | { readonly kind: 'none' }

export type Rules = { readonly [K in Op]: Rule<K> }

/** y's cotangent, repeated over the reduced axes of the operand. */
const spread = (e: Eqn<'reduce'>, dy: Tensor): Tensor => {
  const kept = range(e.inputs[0].shape.length).filter(a => !e.params.axes.includes(a))
  return b.reshape(
    dy,
    e.inputs[0].shape.map((n, a) => (kept.includes(a) ? n : 1)),
  )
}
const over = (e: Eqn<'reduce'>, dy: Tensor): Tensor => b.broadcastTo(spread(e, dy), e.inputs[0].shape)

/** d max = mean of dx over the places that attain it (equal shares at ties, as PyTorch's amax). */
function extremumPartials(e: Eqn<'reduce'>, y: Tensor) {
  const [x] = e.inputs
  const here = b.cast(b.eq(x, over(e, y)), x.dtype)
  const share = b.div(here, over(e, b.sum(here, e.params.axes)))
  return [
    (d: Tensor, mode: 'jvp' | 'vjp') =>
      mode === 'vjp' ? b.mul(share, over(e, d)) : b.sum(b.mul(share, d), e.params.axes),
  ]
}

/** d prod / dx_i = product of the others, right where elements are zero. O(n^2) along the reduced axes. */
function productPartials(e: Eqn<'reduce'>) {
  const [x] = e.inputs
  const { axes } = e.params
  const kept = range(x.shape.length).filter(a => !axes.includes(a))
  const n = size(axes.map(a => x.shape[a]))
  const lead = kept.map(a => x.shape[a])
  const rows = b.reshape(b.permute(x, [...kept, ...axes]), [...lead, 1, n])
  const square = [...lead, n, n]
  const diagonal = b.eq(b.iota(square, lead.length), b.iota(square, lead.length + 1))
  const others = b.reduce(
    'prod',
    b.select(diagonal, b.full(square, 1, x.dtype), b.broadcastTo(rows, square)),
    lead.length + 1,
  )
  const order = [...kept, ...axes]
  const back = range(order.length).map(a => order.indexOf(a))
  const partial = b.permute(b.reshape(others, [...lead, ...axes.map(a => x.shape[a])]), back)
  return [
    (d: Tensor, mode: 'jvp' | 'vjp') =>
      mode === 'vjp' ? b.mul(partial, over(e, d)) : b.sum(b.mul(partial, d), axes),
  ]
}

/** The partials of a scalar operation, from its record. */
function scalarPartials(e: Eqn<'map'>, y: Tensor): readonly ((d: Tensor) => Tensor)[] {
  const { fn } = e.params
  if (fn === 'cast')
    return [d => b.cast(d, isFloat(d.dtype) && d.dtype === y.dtype ? e.inputs[0].dtype : y.dtype)]
  const record: ScalarRecord = scalars[fn]
  const args: Ex[] = [...e.inputs, y].map((t, i) => ({ k: 'arg', i, dtype: t.dtype }))
  const partials = (record.partials as ((...x: Ex[]) => readonly (Ex | null)[]) | null)?.(...args) ?? []
  return partials.map(p => (d: Tensor) => {
    if (p === null) throw new Error(`${fn}: a discrete operand has no derivative`)
    if (p.k === 'lit')
      return p.value === 1
        ? d
        : p.value === -1
          ? b.neg(d)
          : p.value === 0
            ? b.zerosLike(d)
            : b.mul(d, p.value)
    // select's partials are 0 and 1: select the cotangent, for 0 * inf is not 0
    if (p.k === 'op' && p.fn === 'select')
      return b.applyEx(chooseTimes(p, { k: 'arg', i: args.length, dtype: d.dtype }), [...e.inputs, y, d])
    return b.mul(d, b.applyEx(p, [...e.inputs, y]))
  })
}
/** d times a nest of selects, with the product taken in the leaves. */
const chooseTimes = (p: Ex, d: Ex): Ex => {
  if (p.k === 'op' && p.fn === 'select')
    return s.select(p.args[0], chooseTimes(p.args[1], d), chooseTimes(p.args[2], d))
  if (p.k === 'lit') return p.value === 0 ? lit(0, d.dtype) : p.value === 1 ? d : s.mul(d, p)
  return s.mul(d, p)
}

/** The positions that `pad` or `slice` moved, as the other one's parameters. */
const unpad = (e: Eqn<'pad'>, dy: Tensor): Tensor => {
  const { low, high, interior } = e.params
  const inner = b.pad(
    dy,
    low.map(w => -w),
    high.map(w => -w),
  )
  return b.slice(
    inner,
    low.map(() => 0),
    inner.shape,
    interior.map(w => w + 1),
  )
}
const unslice = (e: Eqn<'slice'>, dy: Tensor): Tensor => {
  const { start, step } = e.params
  const spanned = dy.shape.map((n, a) => (n === 0 ? 0 : (n - 1) * step[a] + 1))
  return b.pad(
    dy,
    start,
    e.inputs[0].shape.map((n, a) => n - start[a] - spanned[a]),
    0,
    step.map(k => k - 1),
  )
}
const part = (e: Eqn<'concat'>, dy: Tensor, i: number): Tensor => {
  const { axis } = e.params
  const start = e.inputs.slice(0, i).reduce((n, x) => n + x.shape[axis], 0)
  return b.sliceAxis(dy, axis, start, start + e.inputs[i].shape[axis])
}
/** Sum over what was repeated. */
const unbroadcast = (e: Eqn<'broadcast'>, dy: Tensor): Tensor => {
  const [x] = e.inputs
  const { dims, shape } = e.params
  const repeated = range(shape.length).filter(
    d => !dims.includes(d) || (x.shape[dims.indexOf(d)] === 1 && shape[d] !== 1),
  )
  return b.reshape(b.sum(dy, repeated), x.shape)
}
const inverse = (order: readonly number[]): number[] => range(order.length).map(a => order.indexOf(a))

/** The rules. */
export const rules: Rules = {
  // y = x[..]: linear, so dx is the transpose of the move
  reshape: { kind: 'linear', data: 'all', transpose: (e, dy) => b.reshape(dy, e.inputs[0].shape) },
  permute: { kind: 'linear', data: 'all', transpose: (e, dy) => b.permute(dy, inverse(e.params.order)) },
  barrier: { kind: 'linear', data: 'all', transpose: (_, dy) => dy },
  flip: { kind: 'linear', data: 'all', transpose: (e, dy) => b.flip(dy, e.params.axes) },
  broadcast: { kind: 'linear', data: 'all', transpose: unbroadcast },
  // affine: the padding value is a constant, its tangent 0
  pad: {
    kind: 'linear',
    data: 'all',
    transpose: unpad,
    tangent: (e, dx) => b.pad(dx, e.params.low, e.params.high, 0, e.params.interior),
  },
  slice: { kind: 'linear', data: 'all', transpose: unslice },
  concat: { kind: 'linear', data: 'all', transpose: part },
  unfold: {
    kind: 'linear',
    data: 'all',
    transpose: (e, dy) => b.fold(dy, e.params.sliding, e.inputs[0].shape),
  },
  fold: { kind: 'linear', data: 'all', transpose: (e, dy) => b.unfold(dy, e.params.sliding) },
  gather: {
    kind: 'linear',
    data: [0],
    transpose: (e, dy) => b.scatterAdd(e.inputs[1], dy, e.params.axis, e.inputs[0].shape[e.params.axis]),
  },
  scatterAdd: { kind: 'linear', data: [1], transpose: (e, dy) => b.gather(dy, e.inputs[0], e.params.axis) },
  // y_o = sum x_l w_r: exchange the roles of operand and result
  contract: {
    kind: 'bilinear',
    transpose: ({ params: { spec: c }, inputs: [l, r] }, dy, i) =>
      i === 0
        ? b.contract({ ...c, lhs: c.out, out: c.lhs }, dy, r)
        : b.contract({ ...c, rhs: c.out, out: c.rhs }, l, dy),
  },
  reduce: {
    kind: 'partials',
    partials: (e, y) =>
      e.params.how === 'sum'
        ? [(d, mode) => (mode === 'vjp' ? over(e, d) : b.sum(d, e.params.axes))]
        : e.params.how === 'prod'
          ? productPartials(e)
          : extremumPartials(e, y),
  },
  map: { kind: 'partials', partials: scalarPartials },
  // equations that hold functions
  call: { kind: 'own', cotangents: callCotangents, tangents: callTangents, reach: callReach },
  cond: { kind: 'own', cotangents: condCotangents, tangents: condTangents, reach: condReach },
  scan: { kind: 'own', cotangents: scanCotangents, tangents: scanTangents, reach: scanReach },
  input: { kind: 'none' },
  const: { kind: 'none' },
  iota: { kind: 'none' },
  randomBits: { kind: 'none' },
  stopGradient: { kind: 'none' },
}
