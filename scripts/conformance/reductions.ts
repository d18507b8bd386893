/** Cases that reduce or scan axes: sums, extrema, moments, softmax, running sums, positions, sorting. */
import { type CaseOptions, define } from './case.ts'
import { at, floats, front, type Grid, given, grid, type Index, indices, put, spaced } from './grid.ts'

/** The elements of x whose index agrees with `i` off the axes. */
const line = (x: Grid, axes: readonly number[], i: Index): number[] =>
  [...indices(axes.map(a => x.shape[a]))].map(inner =>
    at(
      x,
      i.map((v, a) => (axes.includes(a) ? inner[axes.indexOf(a)] : v)),
    ),
  )
/** A reduction of x: f of each line. */
const reduce = (x: Grid, axes: readonly number[], keepdims: boolean, f: (v: number[]) => number): Grid => {
  const list = axes.map(a => front(a, x)).sort((a, b) => a - b)
  const kept = x.shape.map((n, a) => (list.includes(a) ? 1 : n))
  const y = grid(kept, i => f(line(x, list, i)))
  return keepdims ? y : { ...y, shape: x.shape.filter((_, a) => !list.includes(a)) }
}
/** A function along one axis: y's line is f of x's line. */
const along = (x: Grid, axis: number, f: (v: number[]) => number[], extent?: number): Grid => {
  const a = front(axis, x)
  return grid(
    x.shape.map((n, k) => (k === a ? (extent ?? n) : n)),
    i => f(line(x, [a], put(i, a, 0)))[i[a]],
  )
}

const sum = (v: readonly number[]): number => v.reduce((a, b) => a + b, 0)
const mean = (v: readonly number[]): number => sum(v) / v.length
const variance = (v: readonly number[], correction: number): number =>
  sum(v.map(x => (x - mean(v)) ** 2)) / (v.length - correction)
const logsumexp = (v: readonly number[]): number => {
  const top = Math.max(...v)
  return top + Math.log(sum(v.map(x => Math.exp(x - top))))
}
const logSoftmax = (v: readonly number[]): number[] => v.map(x => x - logsumexp(v))

type Reducer = readonly [
  op: string,
  f: (v: number[]) => number,
  attrs?: Readonly<Record<string, number>>,
  extra?: CaseOptions & { readonly distinct?: boolean },
]
const reducers: readonly Reducer[] = [
  ['sum', sum],
  ['mean', mean],
  ['max', v => Math.max(...v), {}, { step: 0.02, distinct: true }],
  ['min', v => Math.min(...v), {}, { step: 0.02, distinct: true }],
  ['prod', v => v.reduce((a, b) => a * b, 1)],
  ['logsumexp', logsumexp],
  ['var', v => variance(v, 1), { correction: 1 }],
  ['var', v => variance(v, 0), { correction: 0 }],
  ['std', v => Math.sqrt(variance(v, 0)), { correction: 0 }, { step: 0.1 }],
  ['std', v => Math.sqrt(variance(v, 1)), { correction: 1 }, { step: 0.1 }],
  ['norm', v => sum(v.map(Math.abs)), { ord: 1 }, { step: 0.02, distinct: true }],
  ['norm', v => Math.hypot(...v), { ord: 2 }, { step: 0.1 }],
]
const reductions = [
  [[3, 4], [-2], true],
  [[2, 1, 5], [2, 0], false],
  [[2, 3, 1, 2], [-1, 1], true],
  [[7], [0], false],
] as const

/** Adds the reductions. */
export function reductionCases(): void {
  for (const [op, f, attrs = {}, { distinct, ...options } = {}] of reducers)
    for (const [shape, axes, keepdims] of reductions) {
      // 0.035 keeps the magnitudes off the kink of |x| as well
      const shift = (x: Grid) => ({ ...x, data: x.data.map(v => Number((v + 0.035).toFixed(3))) })
      const x = distinct ? shift(spaced(shape)) : floats(shape)
      define(op, { axes, keepdims, ...attrs }, [x], v => reduce(v, axes, keepdims, f), options)
    }
  for (const op of ['max', 'min'] as const) {
    const top = (v: readonly number[]) => Math[op](...v)
    const x = given([2, 4], op === 'max' ? [3, 1, 3, 3, 0, 0, -1, -2] : [1, 1, 2, 5, -3, 0, -3, -3])
    define(op, { axes: [1], keepdims: false }, [x], v => reduce(v, [1], false, top), {
      note: 'ties share the gradient equally',
      pullback: ([v], dy) => [
        grid(v.shape, ([i, j]) => {
          const row = line(v, [1], [i, 0])
          return row[j] === top(row) ? dy.data[i] / row.filter(e => e === row[j]).length : 0
        }),
      ],
    })
  }
  define('prod', { axes: [1], keepdims: true }, [given([3, 3], [0, 2, 3, 0, 0, 3, 1, 2, -3])], v =>
    reduce(v, [1], true, w => w.reduce((a, b) => a * b, 1)),
  )
  define(
    'logsumexp',
    { axes: [0], keepdims: false },
    [given([3, 2], [1000, -1000, 1001, -1001, 999, -1003])],
    v => reduce(v, [0], false, logsumexp),
  )
  define(
    'norm',
    { axes: [-1], ord: 2, keepdims: true },
    [given([2, 3], [0, 0, 0, 3, 0, 4])],
    v => reduce(v, [1], true, w => Math.hypot(...w)),
    {
      note: 'the gradient at 0 is 0',
      pullback: ([v], dy) => [
        grid(v.shape, ([i, j]) => {
          const n = Math.hypot(...line(v, [1], [i, 0]))
          return n === 0 ? 0 : (dy.data[i] * at(v, [i, j])) / n
        }),
      ],
    },
  )

  for (const [shape, axis] of [
    [[2, 5], -1],
    [[3, 1, 2], 0],
    [[2, 3, 4], 1],
    [[1, 4, 1, 2], 1],
    [[4, 1], 1],
  ] as const) {
    define('softmax', { axis }, [floats(shape, -4, 4)], v => along(v, axis, w => logSoftmax(w).map(Math.exp)))
    define('log_softmax', { axis }, [floats(shape, -4, 4)], v => along(v, axis, logSoftmax))
    define('cumsum', { axis }, [floats(shape)], v =>
      along(v, axis, w => w.map((_, k) => sum(w.slice(0, k + 1)))),
    )
    const x = spaced(shape)
    const pick = (better: (a: number, b: number) => boolean) => (w: readonly number[]) =>
      w.reduce((best, e, k) => (better(e, w[best]) ? k : best), 0)
    const position = (v: Grid, better: (a: number, b: number) => boolean): Grid => ({
      ...reduce(v, [axis], false, pick(better)),
      dtype: 'int64',
    })
    define('argmax', { axis }, [x], v => position(v, (a, b) => a > b), { wrt: [] })
    define('argmin', { axis }, [x], v => position(v, (a, b) => a < b), { wrt: [] })
    const ascending = (w: readonly number[]) => [...w].sort((a, b) => a - b)
    define('sort', { axis }, [x], v => along(v, axis, ascending), { step: 0.02 })
    define('sort', { axis, descending: true }, [x], v => along(v, axis, w => ascending(w).reverse()), {
      step: 0.02,
    })
    const k = Math.min(2, x.shape[front(axis, x)])
    define('topk', { axis, k }, [x], v => along(v, axis, w => ascending(w).reverse().slice(0, k), k), {
      step: 0.02,
    })
  }
  define(
    'argmax',
    { axis: 1 },
    [given([2, 4], [1, 3, 3, 0, -1, -1, -1, -1])],
    () => given([2], [1, 0], 'int64'),
    {
      wrt: [],
      note: 'ties: the first',
    },
  )
  define('softmax', { axis: 1 }, [given([2, 3], [900, 901, 899, -900, -902, -901])], v =>
    along(v, 1, w => logSoftmax(w).map(Math.exp)),
  )
}
