/**
 * The primitives as functions on tensors of any shape: what derivative rules, passes and derived operations are
 * written with. Operands broadcast as in NumPy, numbers take the dtype of their neighbour, negative axes count
 * from the end. The public operations in `ops/` add literal types to these.
 */
import { type DType, makeData } from './dtype.ts'
import { ShapeError } from './errors.ts'
import type { Contraction, Reduction, Sliding } from './prim.ts'
import type { Ex, ScalarOp } from './scalar.ts'
import { range, type Shape, sameShape, showType, size } from './shape.ts'
import { bind1, constant, currentScope, Tensor } from './tensor.ts'

/** A tensor, or a number that takes its neighbour's dtype. */
export type Operand = Tensor | number

const fail = (op: string, rule: string, lines: readonly string[] = []): never => {
  throw new ShapeError(op, rule, lines, currentScope())
}

/** A scalar constant. */
export const scalar = <D extends DType>(value: number, dtype: D): Tensor<readonly [], D> => {
  const data = makeData(dtype, 1)
  data[0] = value
  return constant([], dtype, data)
}

/** A tensor of one value. */
export const full = (shape: Shape, value: number, dtype: DType): Tensor =>
  broadcastTo(scalar(value, dtype), shape)

export const zerosLike = (x: Tensor): Tensor => full(x.shape, 0, x.dtype)

/** Axes counted from the end where negative, checked. */
export function normalAxes(op: string, axes: number | readonly number[] | undefined, rank: number): number[] {
  const list = axes === undefined ? range(rank) : typeof axes === 'number' ? [axes] : [...axes]
  const out = list.map(a => (a < 0 ? a + rank : a))
  if (out.some((a, i) => !(a >= 0 && a < rank) || out.indexOf(a) !== i))
    fail(op, `[${list}] are not distinct axes of a tensor of rank ${rank}`)
  return out
}

/** The shape that shapes broadcast to: aligned at the end, extent 1 repeats. */
export function broadcastShapes(op: string, shapes: readonly Shape[]): Shape {
  const rank = Math.max(...shapes.map(s => s.length))
  return range(rank).map(i => {
    const extents = shapes.map(s => s[i - rank + s.length] ?? 1)
    const n = extents.find(d => d !== 1) ?? 1
    if (extents.some(d => d !== 1 && d !== n))
      fail(
        op,
        `the shapes do not broadcast: ${extents.join(' against ')} on axis ${i - rank}`,
        shapes.map(s => `[${s.join(', ')}]`),
      )
    return n
  })
}

/** Repeats `x` to `shape`, aligned at the end. */
export function broadcastTo(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x
  const lead = shape.length - x.shape.length
  if (lead < 0) fail('broadcastTo', `${showType(x)} has more axes than [${shape}]`)
  return bind1('broadcast', { shape, dims: x.shape.map((_, i) => i + lead) }, [x])
}

/** A scalar operation, broadcasting. */
export function map(fn: ScalarOp, ...xs: readonly Operand[]): Tensor {
  const like = [...xs].reverse().find((x): x is Tensor => x instanceof Tensor)
  if (like === undefined) return fail(fn, 'needs at least one tensor')
  const shape = broadcastShapes(
    fn,
    xs.map(x => (typeof x === 'number' ? [] : x.shape)),
  )
  const operands = xs.map(x => broadcastTo(typeof x === 'number' ? scalar(x, like.dtype) : x, shape))
  return bind1('map', { fn }, operands)
}

export const add = (x: Operand, y: Operand): Tensor => map('add', x, y)
export const sub = (x: Operand, y: Operand): Tensor => map('sub', x, y)
export const mul = (x: Operand, y: Operand): Tensor => map('mul', x, y)
export const div = (x: Operand, y: Operand): Tensor => map('div', x, y)
export const neg = (x: Tensor): Tensor => map('neg', x)
/** c ? x : y */
export const select = (c: Tensor, x: Operand, y: Operand): Tensor => map('select', c, x, y)
export const eq = (x: Operand, y: Operand): Tensor => map('eq', x, y)
export const less = (x: Operand, y: Operand): Tensor => map('lt', x, y)
export const lessEqual = (x: Operand, y: Operand): Tensor => map('le', x, y)

/** Conversion by value; to its own dtype it is the tensor itself. */
export const cast = (x: Tensor, to: DType): Tensor =>
  x.dtype === to ? x : bind1('map', { fn: 'cast', to }, [x])

/** A scalar expression over tensors of one shape, as equations. */
export function applyEx(ex: Ex, args: readonly Tensor[], memo = new Map<Ex, Tensor>()): Tensor {
  const known = memo.get(ex)
  if (known) return known
  const shape = args[0].shape
  let out: Tensor
  if (ex.k === 'arg') out = args[ex.i]
  else if (ex.k === 'lit') out = full(shape, ex.value, ex.dtype)
  else {
    const xs = ex.args.map(a => applyEx(a, args, memo))
    out = bind1(
      'map',
      ex.fn === 'cast' || ex.fn === 'bitcast' ? { fn: ex.fn, to: ex.dtype } : { fn: ex.fn },
      xs,
    )
  }
  memo.set(ex, out)
  return out
}

/** Combines over axes; `keep` leaves them with extent 1. */
export function reduce(how: Reduction, x: Tensor, axes?: number | readonly number[], keep = false): Tensor {
  const list = normalAxes(how, axes, x.shape.length)
  if (list.length === 0 && how !== 'argmax' && how !== 'argmin') return x
  const y = bind1('reduce', { how, axes: list }, [x])
  return keep
    ? reshape(
        y,
        x.shape.map((n, a) => (list.includes(a) ? 1 : n)),
      )
    : y
}
export const sum = (x: Tensor, axes?: number | readonly number[], keep = false): Tensor =>
  reduce('sum', x, axes, keep)

/** A mean; of no elements it is NaN. */
export function mean(x: Tensor, axes?: number | readonly number[], keep = false): Tensor {
  const list = normalAxes('mean', axes, x.shape.length)
  return div(sum(x, list, keep), size(list.map(a => x.shape[a])))
}

/** One extent may be -1: it is computed. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const hole = shape.indexOf(-1)
  const known = size(shape.filter(d => d !== -1))
  const full = hole < 0 ? shape : shape.map(d => (d === -1 ? size(x.shape) / known : d))
  if (full.some(d => !Number.isInteger(d) || d < 0))
    fail('reshape', `${showType(x)} does not fill [${shape}]`)
  return sameShape(full, x.shape) ? x : bind1('reshape', { shape: full }, [x])
}

/** The same value as the result of an equation of its own; simplification removes it. */
export const identity = (x: Tensor): Tensor => bind1('reshape', { shape: x.shape }, [x])

export function permute(x: Tensor, order: readonly number[]): Tensor {
  const list = normalAxes('permute', order, x.shape.length)
  return list.every((a, i) => a === i) && list.length === x.shape.length
    ? x
    : bind1('permute', { order: list }, [x])
}

/** Pads with a constant; negative widths crop; `interior` spreads the elements. */
export function pad(
  x: Tensor,
  low: readonly number[],
  high: readonly number[],
  value = 0,
  interior: readonly number[] = low.map(() => 0),
): Tensor {
  return [...low, ...high, ...interior].every(w => w === 0)
    ? x
    : bind1('pad', { low, high, interior, value }, [x])
}

export function slice(
  x: Tensor,
  start: readonly number[],
  stop: readonly number[],
  step: readonly number[] = start.map(() => 1),
): Tensor {
  const whole = x.shape.every((n, a) => start[a] === 0 && stop[a] === n && step[a] === 1)
  return whole ? x : bind1('slice', { start, stop, step }, [x])
}

/** A slice along one axis. */
export const sliceAxis = (x: Tensor, axis: number, start: number, stop: number): Tensor =>
  slice(
    x,
    x.shape.map((_, a) => (a === axis ? start : 0)),
    x.shape.map((n, a) => (a === axis ? stop : n)),
  )

export const flip = (x: Tensor, axes: readonly number[]): Tensor =>
  axes.length === 0 ? x : bind1('flip', { axes: normalAxes('flip', axes, x.shape.length) }, [x])

export function concat(xs: readonly Tensor[], axis: number): Tensor {
  if (xs.length === 0) return fail('concat', 'needs at least one tensor')
  return xs.length === 1
    ? xs[0]
    : bind1('concat', { axis: normalAxes('concat', axis, xs[0].shape.length)[0] }, xs)
}

export const contract = (spec: Contraction, lhs: Tensor, rhs: Tensor): Tensor =>
  bind1('contract', { spec }, [lhs, rhs])
export const unfold = (x: Tensor, sliding: Sliding): Tensor => bind1('unfold', { sliding }, [x])
export const fold = (y: Tensor, sliding: Sliding, shape: Shape): Tensor =>
  bind1('fold', { sliding, shape }, [y])
export const gather = (x: Tensor, index: Tensor, axis: number): Tensor =>
  bind1('gather', { axis: normalAxes('gather', axis, x.shape.length)[0] }, [x, index])
export const scatterAdd = (index: Tensor, updates: Tensor, axis: number, extent: number): Tensor =>
  bind1('scatterAdd', { axis, extent }, [index, updates])
/** y[i] = i[axis] */
export const iota = (shape: Shape, axis: number, dtype: DType = 'i32'): Tensor =>
  bind1('iota', { shape, axis, dtype }, [])
/** The identity that no pass removes: what is built on it is computed again, not shared. */
export const barrier = (x: Tensor): Tensor => bind1('barrier', {}, [x])
export const stopGradient = <T extends Tensor>(x: T): T => bind1('stopGradient', {}, [x]) as T
