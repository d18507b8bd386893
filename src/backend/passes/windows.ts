/**
 * Gives every contraction plain windows: big = stride * out + dilation * tap, always in range.
 * Padding, and the holes that a stride leaves in an input gradient, become explicit pads of the operand, so
 * that the inner loops read affine addresses without conditions. In: any contraction. Out: an equal one whose
 * windows have padding 0, stride and dilation positive, and `big` in an operand.
 */
import * as b from '../../dsl/build.ts'
import { type Graph, rewrite } from '../../dsl/graph.ts'
import type { Contraction, Window } from '../../dsl/prim.ts'
import type { Tensor } from '../../dsl/tensor.ts'

export const explicitWindows = (g: Graph): Graph =>
  rewrite(g, (e, [l, r]) =>
    e.op === 'contract' && e.params.spec.windows.length > 0 ? [plain(e.params.spec, l, r)] : null,
  )

function plain(spec: Contraction, lhs: Tensor, rhs: Tensor): Tensor {
  let state: State = { spec, operands: [lhs, rhs] }
  spec.windows.forEach((w, i) => {
    state = spec.out.includes(w.big) ? spreadWindow(state, w, i) : padWindow(state, w, i)
  })
  return b.contract(state.spec, ...state.operands)
}

interface State {
  readonly spec: Contraction
  readonly operands: readonly [Tensor, Tensor]
}

/** Pads the axis of index `x` in whichever operand has it. */
function padAxis({ spec, operands }: State, x: number, low: number, high: number, interior = 0): State {
  const side = spec.lhs.includes(x) ? 0 : 1
  const indices = side === 0 ? spec.lhs : spec.rhs
  const at = (w: number) => indices.map(i => (i === x ? w : 0))
  const padded = b.pad(operands[side], at(low), at(high), 0, at(interior))
  const extents = spec.extents.map((n, i) => (i === x ? padded.shape[indices.indexOf(x)] : n))
  return { spec: { ...spec, extents }, operands: side === 0 ? [padded, operands[1]] : [operands[0], padded] }
}
const flipAxis = ({ spec, operands }: State, x: number): State => {
  const flipIn = (t: Tensor, indices: readonly number[]) =>
    indices.includes(x) ? b.flip(t, [indices.indexOf(x)]) : t
  return { spec, operands: [flipIn(operands[0], spec.lhs), flipIn(operands[1], spec.rhs)] }
}
const setWindow = ({ spec, operands }: State, i: number, w: Window): State => ({
  spec: { ...spec, windows: spec.windows.map((old, k) => (k === i ? w : old)) },
  operands,
})

/** big is in an operand: pad it so that every position of every window is inside. */
function padWindow(state: State, w: Window, i: number): State {
  const { extents } = state.spec
  const last = w.stride * (extents[w.out] - 1) + w.dilation * (extents[w.tap] - 1) - w.padding
  const padded = padAxis(state, w.big, w.padding, Math.max(0, last - (extents[w.big] - 1)))
  return setWindow(padded, i, { ...w, padding: 0 })
}

/**
 * big is in the result: out = (big + padding - dilation * tap) / stride. Spread the operand by the stride and
 * turn the taps round; then spread[big + dilation * tap'] with tap' = taps - 1 - tap is a plain window, in which
 * the spread operand plays `big` and the result plays `out`.
 */
function spreadWindow(state: State, w: Window, i: number): State {
  const { extents } = state.spec
  const reach = w.dilation * (extents[w.tap] - 1)
  const low = reach - w.padding
  const spread = w.stride * (extents[w.out] - 1) + 1
  const high = extents[w.big] + reach - (spread + low)
  const padded = padAxis(state, w.out, low, high, w.stride - 1)
  if (state.spec.out.includes(w.tap))
    throw new Error('a window cannot have both its big and its tap index in the result')
  const flipped = flipAxis(padded, w.tap)
  return setWindow(flipped, i, {
    big: w.out,
    out: w.big,
    tap: w.tap,
    stride: 1,
    dilation: w.dilation,
    padding: 0,
  })
}
