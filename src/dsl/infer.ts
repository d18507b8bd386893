/**
 * The rules of shapes and dtypes: one per primitive, in one table. In: parameters and operand types. Out: the
 * types of the results, or a ShapeError that names the rule, both values and the place.
 */
import { ShapeError } from './errors.ts'
import type { Closed, Op, Prims, Sliding } from './prim.ts'
import { scalarType } from './scalar.ts'
import { range, type Shape, sameShape, showType, size } from './shape.ts'
import type { TensorType } from './tensor.ts'

type Fail = (rule: string, lines?: readonly string[]) => never
type InferRule<K extends Op> = (
  params: Prims[K],
  inputs: readonly TensorType[],
  fail: Fail,
) => readonly TensorType[]

const isAxisList = (axes: readonly number[], rank: number): boolean =>
  axes.every((a, i) => Number.isInteger(a) && a >= 0 && a < rank && axes.indexOf(a) === i)

/** The extents of the windows' positions. */
export const slidingExtent = (n: number, size: number, stride: number, dilation: number): number =>
  Math.floor((n - dilation * (size - 1) - 1) / stride) + 1

function unfolded(x: Shape, w: Sliding, fail: Fail): Shape {
  if (!isAxisList(w.axes, x.length)) fail(`the axes [${w.axes}] are not axes of [${x}]`)
  const out = [...x]
  w.axes.forEach((a, i) => {
    out[a] = slidingExtent(x[a], w.size[i], w.stride[i], w.dilation[i])
    if (out[a] < 0)
      fail(
        `a window of ${w.size[i]} (dilation ${w.dilation[i]}) does not fit into the extent ${x[a]} of axis ${a}`,
      )
  })
  return [...out, ...w.size]
}

function checkArguments(name: string, f: Closed, xs: readonly TensorType[], fail: Fail): void {
  const fits = f.params.length === xs.length && xs.every((x, i) => showType(x) === showType(f.params[i]))
  if (!fits)
    fail(`${name}: the arguments do not fit`, [
      `takes  ${f.params.map(showType)}`,
      `got    ${xs.map(showType)}`,
    ])
}

/** One rule per primitive. */
export const inferRules = {
  input: p => [p.type],
  const: (p, _, fail) =>
    p.data.length === size(p.shape) ? [p] : fail(`${p.data.length} values do not fill [${p.shape}]`),
  iota: p => [p],
  randomBits: (p, [key], fail) =>
    key.dtype === 'u32' && key.shape[key.shape.length - 1] === 2
      ? [{ shape: [...key.shape.slice(0, -1), ...p.shape], dtype: 'u32' }]
      : fail(`a key is u32[2], got ${showType(key)}`),
  map: (p, xs, fail) => {
    if (xs.some(x => !sameShape(x.shape, xs[0].shape)))
      fail(`${p.fn}: the operands' shapes differ`, xs.map(showType))
    return [
      {
        shape: xs[0].shape,
        dtype: scalarType(
          p.fn,
          xs.map(x => x.dtype),
          p.to,
        ),
      },
    ]
  },
  reduce: (p, [x], fail) => {
    if (!isAxisList(p.axes, x.shape.length))
      fail(`the axes [${p.axes}] are not distinct axes of ${showType(x)}`)
    if (x.dtype === 'bool') fail('takes numbers, got bool; cast first')
    const arg = p.how === 'argmax' || p.how === 'argmin'
    if (arg && p.axes.length !== 1) fail(`${p.how} takes one axis, got [${p.axes}]`)
    if (p.how !== 'sum' && p.how !== 'prod' && p.axes.some(a => x.shape[a] === 0))
      fail(`${p.how} over an empty axis of ${showType(x)} has no value`)
    return [{ shape: x.shape.filter((_, a) => !p.axes.includes(a)), dtype: arg ? 'i32' : x.dtype }]
  },
  reshape: (p, [x], fail) =>
    size(p.shape) === size(x.shape)
      ? [{ shape: p.shape, dtype: x.dtype }]
      : fail(`${showType(x)} has ${size(x.shape)} elements, [${p.shape}] has ${size(p.shape)}`),
  permute: (p, [x], fail) =>
    p.order.length === x.shape.length && isAxisList(p.order, x.shape.length)
      ? [{ shape: p.order.map(a => x.shape[a]), dtype: x.dtype }]
      : fail(`[${p.order}] is no permutation of the axes of ${showType(x)}`),
  broadcast: (p, [x], fail) =>
    p.dims.length === x.shape.length &&
    p.dims.every(
      (d, i) =>
        d < p.shape.length &&
        (i === 0 || d > p.dims[i - 1]) &&
        (x.shape[i] === p.shape[d] || x.shape[i] === 1),
    )
      ? [{ shape: p.shape, dtype: x.dtype }]
      : fail(`${showType(x)} does not broadcast to [${p.shape}] along the axes [${p.dims}]`),
  pad: (p, [x], fail) => {
    const shape = x.shape.map((n, a) => p.low[a] + p.high[a] + n + Math.max(n - 1, 0) * p.interior[a])
    if (p.low.length !== shape.length || shape.some(n => n < 0))
      fail(`the widths [${p.low}], [${p.high}] do not fit ${showType(x)}`)
    return [{ shape, dtype: x.dtype }]
  },
  slice: (p, [x], fail) => {
    const ok = (n: number, a: number) =>
      p.start[a] >= 0 && p.start[a] <= p.stop[a] && p.stop[a] <= n && p.step[a] > 0
    if (p.start.length !== x.shape.length || !x.shape.every(ok))
      fail(`starts [${p.start}], stops [${p.stop}], steps [${p.step}] do not fit ${showType(x)}`)
    return [{ shape: x.shape.map((_, a) => Math.ceil((p.stop[a] - p.start[a]) / p.step[a])), dtype: x.dtype }]
  },
  flip: (p, [x], fail) =>
    isAxisList(p.axes, x.shape.length) ? [x] : fail(`[${p.axes}] are not axes of ${showType(x)}`),
  concat: (p, xs, fail) => {
    const ok = xs.every(
      x =>
        x.dtype === xs[0].dtype &&
        x.shape.length === xs[0].shape.length &&
        x.shape.every((n, a) => a === p.axis || n === xs[0].shape[a]),
    )
    if (!ok || p.axis < 0 || p.axis >= xs[0].shape.length)
      fail(`the operands must agree but on axis ${p.axis}`, xs.map(showType))
    return [
      {
        shape: xs[0].shape.map((n, a) => (a === p.axis ? xs.reduce((t, x) => t + x.shape[a], 0) : n)),
        dtype: xs[0].dtype,
      },
    ]
  },
  contract: ({ spec: c }, [l, r], fail) => {
    const fits = (t: TensorType, indices: readonly number[]) =>
      t.shape.length === indices.length && indices.every((x, a) => t.shape[a] === c.extents[x])
    const windowed = c.windows.flatMap(w => [w.big, w.out, w.tap])
    if (!fits(l, c.lhs) || !fits(r, c.rhs))
      fail('the operands do not fit the contraction', [showType(l), showType(r)])
    if (l.dtype !== r.dtype || l.dtype === 'bool')
      fail('the operands must be numbers of one dtype', [showType(l), showType(r)])
    for (const x of range(c.extents.length)) {
      const places = [c.lhs, c.rhs, c.out].filter(o => o.includes(x)).length
      if (places < 2 && !windowed.includes(x))
        fail(`index ${x} occurs in one place only; sum or broadcast it apart`)
    }
    return [{ shape: c.out.map(x => c.extents[x]), dtype: l.dtype }]
  },
  unfold: (p, [x], fail) => [{ shape: unfolded(x.shape, p.sliding, fail), dtype: x.dtype }],
  fold: (p, [y], fail) =>
    sameShape(unfolded(p.shape, p.sliding, fail), y.shape)
      ? [{ shape: p.shape, dtype: y.dtype }]
      : fail(
          `windows of [${p.shape}] have the shape [${unfolded(p.shape, p.sliding, fail)}], got ${showType(y)}`,
        ),
  gather: (p, [x, i], fail) => {
    if (i.dtype !== 'i32') fail(`indices are i32, got ${showType(i)}`)
    if (i.shape.length !== x.shape.length || !x.shape.every((n, a) => a === p.axis || n === i.shape[a]))
      fail(`data and indices must agree but on axis ${p.axis}`, [showType(x), showType(i)])
    return [{ shape: i.shape, dtype: x.dtype }]
  },
  scatterAdd: (p, [i, u], fail) => {
    if (i.dtype !== 'i32') fail(`indices are i32, got ${showType(i)}`)
    if (!sameShape(i.shape, u.shape))
      fail('indices and updates must have one shape', [showType(i), showType(u)])
    return [{ shape: u.shape.map((n, a) => (a === p.axis ? p.extent : n)), dtype: u.dtype }]
  },
  stopGradient: (_, [x]) => [x],
  barrier: (_, [x]) => [x],
  call: (p, xs, fail) => {
    checkArguments(p.name, p, xs, fail)
    return p.body
  },
  cond: (p, [c, ...xs], fail) => {
    if (c.dtype !== 'bool' || c.shape.length !== 0)
      fail(`the condition must be a bool scalar, got ${showType(c)}; use where() to choose by element`)
    checkArguments('onTrue', p.onTrue, xs, fail)
    checkArguments('onFalse', p.onFalse, xs, fail)
    const [yes, no] = [p.onTrue.body.map(showType), p.onFalse.body.map(showType)]
    if (yes.join() !== no.join())
      fail('the branches must give the same types', [`true   ${yes}`, `false  ${no}`])
    return p.onTrue.body
  },
  scan: (p, xs, fail) => {
    const fixed = p.constants + p.carries
    const sequences = xs.slice(fixed)
    const bad = sequences.find(x => x.shape[0] !== p.length)
    if (bad) fail(`a sequence of ${p.length} steps is needed, got ${showType(bad)}`)
    const slices = sequences.map(x => ({ shape: x.shape.slice(1), dtype: x.dtype }))
    checkArguments('step', p.step, [...xs.slice(0, fixed), ...slices], fail)
    const [before, after] = [xs.slice(p.constants, fixed), p.step.body.slice(0, p.carries)]
    if (before.map(showType).join() !== after.map(showType).join())
      fail('the step must give carries of the types that it takes', [
        `takes  ${before.map(showType)}`,
        `gives  ${after.map(showType)}`,
      ])
    const stacked = p.step.body.slice(p.carries).map(y => ({ shape: [p.length, ...y.shape], dtype: y.dtype }))
    return [...after, ...stacked]
  },
} satisfies { readonly [K in Op]: InferRule<K> }

/** The types of a primitive's results. @throws ShapeError if the operands break its rule */
export function infer<K extends Op>(
  op: K,
  params: Prims[K],
  inputs: readonly TensorType[],
  scope: string,
): readonly TensorType[] {
  // The table is checked row by row above; for a generic K its row must be named.
  const rule = inferRules[op] as unknown as InferRule<K>
  return rule(params, inputs, (why, lines) => {
    throw new ShapeError(
      op === 'map' ? (params as Prims['map']).fn : op,
      why.replace(/^\w+: the operands/, 'the operands'),
      lines,
      scope,
    )
  }).map(t => ({ shape: t.shape, dtype: t.dtype }))
}
