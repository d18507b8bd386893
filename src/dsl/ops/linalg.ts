/**
 * Matrix products, einsum and attention with literal types, each on the contraction primitive: an index that two
 * operands share is summed or kept, and a batch extent of 1 is never copied.
 */
import * as b from '../build.ts'
import type { DType, FloatDType } from '../dtype.ts'
import { dual, withTwo } from '../dual.ts'
import { range, type Shape, showType } from '../shape.ts'
import { scope, type Tensor } from '../tensor.ts'
import type { CommonDType, DTypeCheck } from '../types/broadcast.ts'
import type { Einsum, EinsumCheck, MatMul, MatMulCheck } from '../types/contraction.ts'
import { mismatch } from '../types/mismatch.ts'
import { softmax } from './softmax.ts'

interface MatMulOp<Op extends string> {
  <Y extends Shape, D extends DType>(
    y: Tensor<Y, D>,
  ): <X extends Shape, E extends DType>(
    x: Tensor<X, E> & MatMulCheck<Op, X, Y> & DTypeCheck<Op, E, D>,
  ) => Tensor<MatMul<X, Y>, CommonDType<E, D>>
  <X extends Shape, E extends DType, Y extends Shape, D extends DType>(
    x: Tensor<X, E>,
    y: Tensor<Y, D> & MatMulCheck<Op, X, Y> & DTypeCheck<Op, E, D>,
  ): Tensor<MatMul<X, Y>, CommonDType<E, D>>
}

/** A product of two operands whose axes carry labels; equal labels are one index. */
function product(
  x: Tensor,
  xs: readonly unknown[],
  y: Tensor,
  ys: readonly unknown[],
  out: readonly unknown[],
): Tensor {
  const names = [...new Set([...xs, ...ys])]
  const indices = (labels: readonly unknown[]) => labels.map(l => names.indexOf(l))
  const extents = names.map(l => (xs.includes(l) ? x.shape[xs.indexOf(l)] : y.shape[ys.indexOf(l)]))
  return b.contract({ extents, lhs: indices(xs), rhs: indices(ys), out: indices(out), windows: [] }, x, y)
}

/** Without some axes, of extent 1. */
const without = (x: Tensor, axes: readonly number[]): Tensor =>
  b.reshape(
    x,
    x.shape.filter((_, a) => !axes.includes(a)),
  )

function multiply(op: string, x: Tensor, y: Tensor): Tensor {
  const operands = [`x  ${showType(x)}`, `y  ${showType(y)}`]
  const [p, q] = [x.shape.length, y.shape.length]
  if (p === 0 || q === 0) mismatch(op, 'needs vectors or matrices; use mul for scalars', operands)
  if (x.dtype !== y.dtype) mismatch(op, `the operands are ${x.dtype} and ${y.dtype}; use cast`, operands)
  const [inner, other] = [x.shape[p - 1], y.shape[Math.max(q - 2, 0)]]
  if (inner !== other)
    mismatch(op, `the inner extents differ: ${inner} and ${other}`, [
      `${operands[0]}  [..., rows, inner]`,
      `${operands[1]}  [..., inner, columns]`,
    ])
  const [head, tail] = [x.shape.slice(0, Math.max(p - 2, 0)), y.shape.slice(0, Math.max(q - 2, 0))]
  const batch = b.broadcastShapes(op, [head, tail])
  const [rows, columns, shared] = [batch.length, batch.length + 1, batch.length + 2]
  // An operand that repeats along a batch axis goes without its index.
  const batchOf = (shape: Shape) => {
    const indices = shape.map((_, a) => a + batch.length - shape.length)
    const kept = indices.filter((index, a) => shape[a] === batch[index])
    return { kept, dropped: range(shape.length).filter(a => shape[a] !== batch[indices[a]]) }
  }
  const [left, right] = [batchOf(head), batchOf(tail)]
  return product(
    without(x, left.dropped),
    [...left.kept, ...(p > 1 ? [rows] : []), shared],
    without(y, right.dropped),
    [...right.kept, shared, ...(q > 1 ? [columns] : [])],
    [...range(batch.length), ...(p > 1 ? [rows] : []), ...(q > 1 ? [columns] : [])],
  )
}

/**
 * The matrix product, as in PyTorch and NumPy: matrices are the last two axes, the axes before them broadcast, and
 * a vector is a row on the left and a column on the right.
 *   y[..., i, j] = sum over k of x[..., i, k] y[..., k, j]
 * @param x  [..., rows, inner] or [inner]
 * @param y  [..., inner, columns] or [inner]
 * @returns  [..., rows, columns]
 * @throws ShapeError if the inner extents, the batches or the dtypes disagree
 * @example pipe(x, matmul(w))
 */
export const matmul = dual<MatMulOp<'matmul'>>(withTwo, (x: Tensor, y: Tensor) => multiply('matmul', x, y))
/**
 * The scalar product of two vectors; of matrices it is `matmul`.
 * @throws ShapeError as `matmul`
 * @example dot(x, x) // the squared length
 */
export const dot = dual<MatMulOp<'dot'>>(withTwo, (x: Tensor, y: Tensor) => multiply('dot', x, y))

interface Outer {
  <Y extends Shape, D extends DType>(
    y: Tensor<Y, D>,
  ): <X extends Shape>(x: Tensor<X, D>) => Tensor<readonly [X[0], Y[0]], D>
  <X extends Shape, D extends DType, Y extends Shape>(
    x: Tensor<X, D>,
    y: Tensor<Y, D>,
  ): Tensor<readonly [X[0], Y[0]], D>
}
/**
 * The products of all pairs: y[i, j] = x[i] y[j].
 * @param x  [n]
 * @param y  [m]
 * @returns  [n, m]
 * @throws ShapeError if they are no vectors of one dtype
 * @example outer(rows, columns)
 */
export const outer = dual<Outer>(withTwo, (x: Tensor, y: Tensor) => {
  if (x.shape.length !== 1 || y.shape.length !== 1)
    mismatch('outer', 'takes two vectors', [`x  ${showType(x)}`, `y  ${showType(y)}`])
  return product(x, [0], y, [1], [0, 1])
})

/** An operand of an einsum and its indices. */
interface Labelled {
  readonly x: Tensor
  readonly labels: string
}

/** The operand with its labels outside `kept` summed. */
function summed({ x, labels }: Labelled, kept: string): Labelled {
  const lone = range(labels.length).filter(a => !kept.includes(labels[a]))
  return { x: b.sum(x, lone), labels: [...labels].filter(l => kept.includes(l)).join('') }
}

/** Two operands as one whose labels are `out`. */
function pairwise(p: Labelled, q: Labelled, out: string): Labelled {
  const [l, r] = [summed(p, q.labels + out), summed(q, p.labels + out)]
  return { x: product(l.x, [...l.labels], r.x, [...r.labels], [...out]), labels: out }
}

/** The equation's operands with their labels, and the result's labels. */
function parseEquation(equation: string, xs: readonly Tensor[]) {
  const fail = (rule: string) =>
    mismatch('einsum', rule, [`equation  '${equation}'`, ...xs.map((x, i) => `operand ${i}  ${showType(x)}`)])
  const [left, right] = equation.replaceAll(' ', '').split('->')
  const lists = left.split(',')
  if (lists.length !== xs.length) fail(`the equation has ${lists.length} operands, ${xs.length} are given`)
  const extents = new Map<string, number>()
  const operands = xs.map((x, i): Labelled => {
    const labels = lists[i]
    if (!/^[A-Za-z]*$/.test(labels)) fail(`indices are letters, got '${labels}'`)
    if (labels.length !== x.shape.length)
      fail(`operand ${i} has ${x.shape.length} axes and ${labels.length} indices`)
    ;[...labels].forEach((c, a) => {
      if (labels.indexOf(c) !== a)
        fail(`index ${c} occurs twice in operand ${i}; for a diagonal multiply with eye() and sum`)
      const known = extents.get(c) ?? x.shape[a]
      if (known !== x.shape[a]) fail(`index ${c} is ${known} and ${x.shape[a]}`)
      extents.set(c, known)
    })
    return { x, labels }
  })
  const once = [...extents.keys()].filter(c => left.indexOf(c) === left.lastIndexOf(c))
  const out = right ?? once.sort().join('')
  ;[...out].forEach((c, i) => {
    if (!extents.has(c) || out.indexOf(c) !== i) fail(`index ${c} of the result is not once in the operands`)
  })
  return { operands, out }
}

/**
 * Sums of products after an equation: indices that the result lacks are summed. Without `->` the result has, in
 * alphabetical order, the indices that occur once. More than two operands are joined from the left.
 * @throws ShapeError if the operands do not fit the equation, or an index occurs twice in one operand
 * @example einsum('bhqd,bhkd->bhqk', q, k)
 */
export const einsum = <const E extends string, const T extends readonly Tensor[]>(
  equation: E & EinsumCheck<E, T>,
  ...xs: T
): Tensor<Einsum<E, T>, T[number]['dtype']> => {
  const { operands, out } = parseEquation(equation, xs)
  const [first, ...rest] = operands
  const last = rest.reduce((acc, next, i) => {
    const later = rest
      .slice(i + 1)
      .map(o => o.labels)
      .join('')
    const kept = [...new Set(acc.labels + next.labels)].filter(c => (later + out).includes(c)).join('')
    return pairwise(acc, next, i === rest.length - 1 ? out : kept)
  }, first)
  const { x, labels } = summed(last, out)
  // The equation's own type says the shape.
  return b.permute(
    x,
    [...out].map(c => labels.indexOf(c)),
  ) as Tensor<Einsum<E, T>, T[number]['dtype']>
}

/** The options of `attention`. */
export interface AttentionOptions {
  /** Whether query i sees the keys up to i only. */
  readonly causal?: boolean
  /** The factor of the scores; 1 / sqrt(d) by default. */
  readonly scale?: number
}
/**
 * Scaled dot-product attention: softmax(q k^T / sqrt(d)) v.
 * @param q  [..., queries, d]
 * @param k  [..., keys, d]
 * @param v  [..., keys, dv]
 * @returns  [..., queries, dv]
 * @throws ShapeError if the extents disagree
 * @see Vaswani et al. 2017, arXiv:1706.03762
 * @example attention(q, k, v, { causal: true })
 */
export const attention = <Q extends Shape, V extends Shape, D extends DType>(
  q: Tensor<Q, D>,
  k: Tensor<Shape, D>,
  v: Tensor<V, D>,
  { causal = false, scale }: AttentionOptions = {},
): Tensor<Attended<Q, V>, D> =>
  scope('attention', () => {
    if (k.shape.length < 2 || q.shape.length < 2)
      mismatch('attention', 'needs [..., length, features]', [`q  ${showType(q)}`, `k  ${showType(k)}`])
    const rank = k.shape.length
    const kt = b.permute(k, [...range(rank - 2), rank - 1, rank - 2])
    const scores = b.mul(multiply('attention', q, kt), scale ?? 1 / Math.sqrt(q.shape[q.shape.length - 1]))
    const grid = scores.shape.slice(-2)
    const seen = b.lessEqual(b.iota(grid, 1), b.iota(grid, 0))
    const masked = causal ? b.select(seen, scores, Number.NEGATIVE_INFINITY) : scores
    // softmax takes floats by its type; it is checked again while tracing.
    const weights = softmax(masked as Tensor<Shape, FloatDType>, { axis: -1 })
    return multiply('attention', weights, v)
    // The shapes are those that matmul gives; the untyped language does not say so.
  }) as Tensor<Attended<Q, V>, D>
type Attended<Q extends Shape, V extends Shape> = Q extends readonly [
  ...infer B extends Shape,
  infer L extends number,
  number,
]
  ? V extends readonly [...Shape, infer E extends number]
    ? readonly [...B, L, E]
    : Shape
  : Shape
