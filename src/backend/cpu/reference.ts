/**
 * The reference interpreter: what every primitive means, as obvious loops over row-major arrays. Slow, and the
 * oracle of everything fast. f32 values are rounded after each operation; sums are accumulated in f64.
 */
import type { NDArray } from '../../dsl/array.ts'
import { type DType, dtypes, makeData, type TypedArray } from '../../dsl/dtype.ts'
import { type Graph, makeGraph } from '../../dsl/graph.ts'
import type { Closed, Contraction, Op, Prims, Reduction, Sliding } from '../../dsl/prim.ts'
import { applyScalar } from '../../dsl/scalar-eval.ts'
import { range, type Shape, size, strides } from '../../dsl/shape.ts'
import type { Tensor, TensorType } from '../../dsl/tensor.ts'
import { threefry2x32 } from '../../dsl/threefry.ts'

type Rule<K extends Op> = (
  p: Prims[K],
  xs: readonly NDArray[],
  type: TensorType,
) => TypedArray | readonly NDArray[]

/** Calls f at every index of a shape, in row-major order. */
function each(shape: Shape, f: (index: readonly number[], flat: number) => void): void {
  const index = shape.map(() => 0)
  const n = size(shape)
  for (let flat = 0; flat < n; flat++) {
    f(index, flat)
    for (let a = shape.length - 1; a >= 0 && ++index[a] === shape[a]; a--) index[a] = 0
  }
}
const dot = (index: readonly number[], by: readonly number[]): number => {
  let n = 0
  for (let a = 0; a < by.length; a++) n += index[a] * by[a]
  return n
}
/** y[index] = x at a flat position, or `otherwise` where the position is negative. */
function pick(
  type: TensorType,
  x: NDArray,
  at: (index: readonly number[]) => number,
  otherwise = 0,
): TypedArray {
  const y = makeData(type.dtype, size(type.shape))
  each(type.shape, (index, flat) => {
    const from = at(index)
    y[flat] = from < 0 ? otherwise : x.data[from]
  })
  return y
}

function reduceData(how: Reduction, axes: readonly number[], x: NDArray, type: TensorType): TypedArray {
  const kept = range(x.shape.length).filter(a => !axes.includes(a))
  const [inner, outer] = [axes.map(a => x.shape[a]), strides(x.shape)]
  const y = makeData(type.dtype, size(type.shape))
  each(type.shape, (index, flat) => {
    const base = dot(
      index,
      kept.map(a => outer[a]),
    )
    let acc = how === 'sum' ? 0 : how === 'prod' ? 1 : Number.NaN
    let best = -1
    each(inner, (at, k) => {
      const v =
        x.data[
          base +
            dot(
              at,
              axes.map(a => outer[a]),
            )
        ]
      if (how === 'sum') acc += v
      else if (how === 'prod') acc = dtypes[x.dtype].round(acc * v)
      else {
        // NaN is the extremum, the first one wins
        const better = how === 'max' || how === 'argmax' ? v > acc : v < acc
        if (best < 0 || (!Number.isNaN(acc) && (better || Number.isNaN(v)))) {
          acc = v
          best = k
        }
      }
    })
    y[flat] = how === 'argmax' || how === 'argmin' ? best : acc
  })
  return y
}

function contractData(c: Contraction, l: NDArray, r: NDArray, type: TensorType): TypedArray {
  // Of a window's three indices two are free, and one follows: `out` where `big` is in the result, else `big`.
  const follows = c.windows.map(w => (c.out.includes(w.big) ? w.out : w.big))
  const summed = range(c.extents.length).filter(x => !c.out.includes(x) && !follows.includes(x))
  const [ls, rs] = [strides(l.shape), strides(r.shape)]
  const y = makeData(type.dtype, size(type.shape))
  const at = c.extents.map(() => 0)
  each(type.shape, (index, flat) => {
    c.out.forEach((x, a) => {
      at[x] = index[a]
    })
    let acc = 0
    each(
      summed.map(x => c.extents[x]),
      inner => {
        summed.forEach((x, a) => {
          at[x] = inner[a]
        })
        for (let i = 0; i < c.windows.length; i++) {
          const w = c.windows[i]
          const v =
            follows[i] === w.big
              ? w.stride * at[w.out] + w.dilation * at[w.tap] - w.padding
              : (at[w.big] + w.padding - w.dilation * at[w.tap]) / w.stride
          if (v < 0 || v >= c.extents[follows[i]] || !Number.isInteger(v)) return
          at[follows[i]] = v
        }
        let [i, j] = [0, 0]
        for (let a = 0; a < ls.length; a++) i += at[c.lhs[a]] * ls[a]
        for (let a = 0; a < rs.length; a++) j += at[c.rhs[a]] * rs[a]
        acc += l.data[i] * r.data[j]
      },
    )
    y[flat] = acc
  })
  return y
}

/** Calls f(position in x, position in y) for every element of every window. */
function eachWindow(xShape: Shape, yShape: Shape, w: Sliding, f: (x: number, y: number) => void): void {
  const by = strides(xShape)
  each(yShape, (index, flat) => {
    let at = 0
    for (let a = 0; a < xShape.length; a++) {
      const k = w.axes.indexOf(a)
      at += by[a] * (k < 0 ? index[a] : w.stride[k] * index[a] + w.dilation[k] * index[xShape.length + k])
    }
    f(at, flat)
  })
}

/** One rule per primitive. */
export const referenceRules = {
  input: () => {
    throw new Error('an argument is not interpreted')
  },
  call: (p, xs) => apply(p, xs),
  const: p => p.data,
  iota: (p, _, type) => {
    const y = makeData(type.dtype, size(type.shape))
    each(type.shape, (index, flat) => {
      y[flat] = index[p.axis]
    })
    return y
  },
  randomBits: (p, [k], type) => {
    const n = size(p.shape)
    const y = new Uint32Array(size(type.shape))
    for (let i = 0; i < y.length; i++) {
      const at = 2 * Math.floor(i / n)
      y[i] = threefry2x32([k.data[at], k.data[at + 1]], i % n, 0)[0]
    }
    return y
  },
  map: (p, xs, type) => {
    const y = makeData(type.dtype, size(type.shape))
    const operand = xs[xs.length - 1].dtype
    const f = (...x: number[]) => applyScalar(p.fn, operand, x, type.dtype)
    const [a, b, c] = xs.map(x => x.data)
    if (c) for (let i = 0; i < y.length; i++) y[i] = f(a[i], b[i], c[i])
    else if (b) for (let i = 0; i < y.length; i++) y[i] = f(a[i], b[i])
    else for (let i = 0; i < y.length; i++) y[i] = f(a[i])
    return y
  },
  reduce: (p, [x], type) => reduceData(p.how, p.axes, x, type),
  reshape: (_, [x]) => x.data,
  permute: (p, [x], type) => {
    const by = strides(x.shape)
    return pick(type, x, index =>
      dot(
        index,
        p.order.map(a => by[a]),
      ),
    )
  },
  broadcast: (p, [x], type) => {
    const by = strides(x.shape)
    return pick(type, x, index =>
      p.dims.reduce((n, d, a) => n + (x.shape[a] === 1 ? 0 : index[d] * by[a]), 0),
    )
  },
  pad: (p, [x], type) => {
    const by = strides(x.shape)
    const at = (i: number, a: number) => (i - p.low[a]) / (p.interior[a] + 1)
    const ok = (v: number, a: number) => v >= 0 && v < x.shape[a] && Number.isInteger(v)
    return pick(
      type,
      x,
      index =>
        index.every((i, a) => ok(at(i, a), a)) ? index.reduce((n, i, a) => n + at(i, a) * by[a], 0) : -1,
      p.value,
    )
  },
  slice: (p, [x], type) => {
    const by = strides(x.shape)
    return pick(type, x, index => index.reduce((n, i, a) => n + (p.start[a] + i * p.step[a]) * by[a], 0))
  },
  flip: (p, [x], type) => {
    const by = strides(x.shape)
    return pick(type, x, index =>
      index.reduce((n, i, a) => n + (p.axes.includes(a) ? x.shape[a] - 1 - i : i) * by[a], 0),
    )
  },
  concat: (p, xs, type) => {
    const y = makeData(type.dtype, size(type.shape))
    const by = strides(type.shape)
    let from = 0
    for (const x of xs) {
      each(x.shape, (index, flat) => {
        y[dot(index, by) + from * by[p.axis]] = x.data[flat]
      })
      from += x.shape[p.axis]
    }
    return y
  },
  contract: (p, [l, r], type) => contractData(p.spec, l, r, type),
  unfold: (p, [x], type) => {
    const y = makeData(type.dtype, size(type.shape))
    eachWindow(x.shape, type.shape, p.sliding, (i, j) => {
      y[j] = x.data[i]
    })
    return y
  },
  fold: (p, [y], type) => {
    const acc = new Float64Array(size(type.shape))
    eachWindow(type.shape, y.shape, p.sliding, (i, j) => {
      acc[i] += y.data[j]
    })
    return makeData(type.dtype, acc.length).map((_, i) => acc[i]) as TypedArray
  },
  gather: (p, [x, i], type) => {
    const by = strides(x.shape)
    const y = makeData(type.dtype, size(type.shape))
    each(type.shape, (index, flat) => {
      const k = i.data[flat]
      const ok = k >= 0 && k < x.shape[p.axis]
      // an index out of range reads NaN (0 for integers): loud, and no access
      y[flat] = ok ? x.data[dot(index, by) + (k - index[p.axis]) * by[p.axis]] : Number.NaN
    })
    return y
  },
  scatterAdd: (p, [i, u], type) => {
    const by = strides(type.shape)
    const acc = new Float64Array(size(type.shape))
    each(u.shape, (index, flat) => {
      const k = i.data[flat]
      if (k >= 0 && k < p.extent) acc[dot(index, by) + (k - index[p.axis]) * by[p.axis]] += u.data[flat]
    })
    return makeData(type.dtype, acc.length).map((_, n) => acc[n]) as TypedArray
  },
  stopGradient: (_, [x]) => x.data,
  barrier: (_, [x]) => x.data,
  cond: (p, [c, ...xs]) => apply(c.data[0] ? p.onTrue : p.onFalse, xs),
  scan: (p, xs) => {
    const fixed = p.constants + p.carries
    const sequences = xs.slice(fixed)
    let carries = xs.slice(p.constants, fixed)
    const stacked = p.step.body.slice(p.carries).map(y => ({
      shape: [p.length, ...y.shape],
      dtype: y.dtype,
      data: makeData(y.dtype, p.length * size(y.shape)),
    }))
    for (let k = 0; k < p.length; k++) {
      const t = p.reverse ? p.length - 1 - k : k
      const slices = sequences.map(x => {
        const n = size(x.shape.slice(1))
        return { shape: x.shape.slice(1), dtype: x.dtype, data: x.data.slice(t * n, (t + 1) * n) }
      })
      const out = apply(p.step, [...xs.slice(0, p.constants), ...carries, ...slices])
      carries = out.slice(0, p.carries)
      out.slice(p.carries).forEach((y, i) => {
        stacked[i].data.set(y.data, t * y.data.length)
      })
    }
    return [...carries, ...stacked]
  },
} satisfies { readonly [K in Op]: Rule<K> }

/** A function as data, applied. */
const apply = (f: Closed, xs: readonly NDArray[]): NDArray[] => interpret(makeGraph(f.params, f.body), xs)

/**
 * Runs a graph on host arrays.
 * @param args one per input of the graph
 */
export function interpret(graph: Graph, args: readonly NDArray[]): NDArray[] {
  const values = new Map<Tensor['eqn'], readonly NDArray[]>()
  graph.inputs.forEach((t, i) => {
    values.set(t.eqn, [args[i]])
  })
  const get = (t: Tensor): NDArray => (values.get(t.eqn) as readonly NDArray[])[t.output]
  const last = new Map<Tensor['eqn'], number>()
  graph.eqns.forEach((e, i) => {
    for (const x of e.inputs) last.set(x.eqn, i)
  })
  for (const t of graph.outputs) last.set(t.eqn, Number.POSITIVE_INFINITY)
  graph.eqns.forEach((e, i) => {
    // The row fits the equation's op; TypeScript cannot relate the two through an index.
    const rule = referenceRules[e.op] as Rule<Op>
    const out = rule(e.params, e.inputs.map(get), e.types[0])
    values.set(e, Array.isArray(out) ? out : [{ ...e.types[0], data: out as TypedArray }])
    for (const x of e.inputs) if (last.get(x.eqn) === i) values.delete(x.eqn)
  })
  return graph.outputs.map(get)
}

/** The dtypes that the interpreter knows: all. */
export const referenceDTypes = Object.keys(dtypes) as readonly DType[]
