/**
 * Local rules that hold for every value, NaN and infinities included: moves that move nothing, moves of moves,
 * operations on scalar constants, neutral elements. (x * 0 and x - x are not 0 for every x: no such rules.)
 */
import * as b from '../../dsl/build.ts'
import { type Graph, rewrite } from '../../dsl/graph.ts'
import { applyScalar } from '../../dsl/scalar-eval.ts'
import { range, sameShape, size } from '../../dsl/shape.ts'
import { bind1, type Eqn, type Tensor } from '../../dsl/tensor.ts'

/** The number that every element of a tensor is, if that is known. */
export function uniformValue(t: Tensor): number | null {
  const e = t.eqn
  if (e.op === 'const') return e.params.data.length === 1 ? e.params.data[0] : null
  return e.op === 'broadcast' || e.op === 'reshape' ? uniformValue(e.inputs[0]) : null
}

/** The operand that x op y equals for every x, or null. */
function neutral(fn: string, [x, y]: readonly Tensor[]): Tensor | null {
  const [u, v] = [uniformValue(x), y ? uniformValue(y) : null]
  if ((fn === 'mul' && v === 1) || (fn === 'div' && v === 1)) return x
  if (fn === 'mul' && u === 1) return y
  // x - 0 is x for every x; x + 0 is not, at -0
  if (fn === 'sub' && Object.is(v, 0)) return x
  return null
}

/** What is computed from no elements, though it has some itself: kernels never read an empty tensor. */
function fromNothing(e: Eqn, xs: readonly Tensor[]): Tensor | null {
  const { shape, dtype } = e.types[0]
  const empty = (t: Tensor): boolean => size(t.shape) === 0
  if (size(shape) === 0 || !xs.some(empty)) return null
  switch (e.op) {
    case 'reduce':
      return b.full(shape, e.params.how === 'prod' ? 1 : 0, dtype)
    case 'pad':
      return b.full(shape, e.params.value, dtype)
    case 'concat':
      return b.concat(
        xs.filter(t => !empty(t)),
        e.params.axis,
      )
    case 'contract':
    case 'fold':
    case 'scatterAdd':
      return b.full(shape, 0, dtype)
    default:
      return null
  }
}

function simplifyEquation(e: Eqn, xs: readonly Tensor[]): Tensor | null {
  const nothing = fromNothing(e, xs)
  if (nothing !== null) return nothing
  const [x] = xs
  const inner = x?.eqn
  switch (e.op) {
    case 'stopGradient':
      return x
    case 'reshape':
      if (sameShape(x.shape, e.params.shape)) return x
      return inner.op === 'reshape' ? b.reshape(inner.inputs[0], e.params.shape) : null
    case 'permute':
      if (e.params.order.every((a, i) => a === i)) return x
      return inner.op === 'permute'
        ? b.permute(
            inner.inputs[0],
            e.params.order.map(a => inner.params.order[a]),
          )
        : null
    case 'broadcast':
      if (sameShape(x.shape, e.params.shape)) return x
      return inner.op === 'broadcast'
        ? bind1(
            'broadcast',
            { shape: e.params.shape, dims: inner.params.dims.map(d => e.params.dims[d]) },
            inner.inputs,
          )
        : null
    case 'pad': {
      // Each axis is padded by one of the two: one pad does both.
      const { low, high, interior, value } = e.params
      const moves = (p: typeof e.params, a: number) =>
        p.low[a] !== 0 || p.high[a] !== 0 || p.interior[a] !== 0
      if (inner.op !== 'pad' || !Object.is(inner.params.value, value)) return null
      const p = inner.params
      if (low.some((_, a) => moves(e.params, a) && moves(p, a))) return null
      const join = (x: readonly number[], y: readonly number[]) => x.map((w, a) => w + y[a])
      return b.pad(inner.inputs[0], join(low, p.low), join(high, p.high), value, join(interior, p.interior))
    }
    case 'reduce': {
      const { how, axes } = e.params
      const single = axes.every(a => x.shape[a] === 1)
      return single && how !== 'argmax' && how !== 'argmin' ? b.reshape(x, e.types[0].shape) : null
    }
    case 'map': {
      const values = xs.map(uniformValue)
      if (values.every(v => v !== null)) {
        const { dtype, shape } = e.types[0]
        return b.full(
          shape,
          applyScalar(e.params.fn, xs[xs.length - 1].dtype, values as number[], dtype),
          dtype,
        )
      }
      return neutral(e.params.fn, xs)
    }
    default:
      return null
  }
}

export const simplify = (g: Graph): Graph =>
  rewrite(g, (e, xs) => {
    const y = simplifyEquation(e, xs)
    return y === null ? null : [y]
  })

/** Parts of a long reduction: enough that one thread's share is short, and rounding errors stay small. */
const maxSerial = 2048
/** Results that are enough to keep a device busy without a split. */
const enough = 4096

/**
 * Cuts a long sum, maximum or product with few results into two: parallel, and more precise in f32 (partial
 * sums). The cut depends on the shape alone, so two runs give the same bits.
 */
export const splitReductions = (g: Graph): Graph =>
  rewrite(g, (e, [x]) => {
    if (e.op !== 'reduce' || e.params.how === 'argmax' || e.params.how === 'argmin') return null
    const { how, axes } = e.params
    const length = size(axes.map(a => x.shape[a]))
    if (length <= maxSerial || size(e.types[0].shape) >= enough) return null
    const kept = range(x.shape.length).filter(a => !axes.includes(a))
    const parts = partition(length)
    if (parts === 1) return null
    const rows = b.reshape(b.permute(x, [...kept, ...axes]), [
      ...kept.map(a => x.shape[a]),
      parts,
      length / parts,
    ])
    const partial = b.reduce(how, rows, rows.shape.length - 1)
    return [b.reduce(how, partial, partial.shape.length - 1)]
  })

/** The divisor of n that comes nearest to its square root. */
function partition(n: number): number {
  for (let d = Math.floor(Math.sqrt(n)); d > 1; d--) if (n % d === 0) return d >= 8 ? d : 1
  return 1
}
