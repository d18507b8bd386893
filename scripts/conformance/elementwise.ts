/** Elementwise cases: functions of one number with their derivatives as formulas, and broadcasting operations. */
import { define } from './case.ts'
import { at, bools, floats, type Grid, given, grid, type Index } from './grid.ts'

/** erf by its definition: Simpson's rule on 4000 intervals, an error below 1e-14. */
const erf = (x: number): number => {
  const n = 4000
  const h = x / n
  const f = (k: number) => Math.exp(-((k * h) ** 2))
  let sum = f(0) + f(n)
  for (let k = 1; k < n; k++) sum += (k % 2 ? 4 : 2) * f(k)
  return ((2 / Math.sqrt(Math.PI)) * sum * h) / 3
}
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))
const density = (x: number) => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI)
const normal = (x: number) => (1 + erf(x / Math.SQRT2)) / 2
const softplus = (x: number) => (x > 30 ? x : Math.log1p(Math.exp(x)))
const inner = (x: number) => Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)
const innerSlope = (x: number) => Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * x ** 2)
const half = (x: number) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x))

type Real = (x: number) => number
interface Row {
  readonly f: Real
  readonly slope: Real
  readonly range?: readonly [number, number]
  /** Further arguments: kinks, zeros, large ones. */
  readonly also?: readonly number[]
  readonly attrs?: Readonly<Record<string, number>>
}
// biome-ignore format: a table
const rows: readonly (readonly [string, Row])[] = [
  ['abs', { f: Math.abs, slope: Math.sign, also: [0] }],
  ['ceil', { f: Math.ceil, slope: () => 0, also: [1, -1, 0.5, -0.5, 0] }],
  ['floor', { f: Math.floor, slope: () => 0, also: [1, -1, 0.5, -0.5, 0] }],
  ['round', { f: half, slope: () => 0, also: [0.5, 1.5, 2.5, -0.5, -1.5, -2.5] }],
  ['trunc', { f: Math.trunc, slope: () => 0, also: [1, -1, 1.5, -1.5] }],
  ['sign', { f: Math.sign, slope: () => 0, also: [0, 1e-30, -1e-30] }],
  ['neg', { f: x => -x, slope: () => -1, also: [0] }],
  ['square', { f: x => x * x, slope: x => 2 * x, also: [0] }],
  ['exp', { f: Math.exp, slope: Math.exp, range: [-4, 3], also: [0, -80] }],
  ['expm1', { f: Math.expm1, slope: Math.exp, also: [0, 1e-6, -1e-6, -40] }],
  ['log', { f: Math.log, slope: x => 1 / x, range: [0.05, 9], also: [1, 1.0009765625] }],
  ['log1p', { f: Math.log1p, slope: x => 1 / (1 + x), range: [-0.8, 9], also: [0, 1e-6] }],
  ['sqrt', { f: Math.sqrt, slope: x => 0.5 / Math.sqrt(x), range: [0.1, 50] }],
  ['rsqrt', { f: x => 1 / Math.sqrt(x), slope: x => -0.5 * x ** -1.5, range: [0.2, 50] }],
  ['reciprocal', { f: x => 1 / x, slope: x => -1 / (x * x), range: [-3, -0.3], also: [0.25, 7] }],
  ['sin', { f: Math.sin, slope: Math.cos, range: [-9, 9], also: [0, 1000] }],
  ['cos', { f: Math.cos, slope: x => -Math.sin(x), range: [-9, 9], also: [0, 1000] }],
  ['tanh', { f: Math.tanh, slope: x => Math.cosh(x) ** -2, also: [0, 0.001, 300, -300] }],
  ['erf', { f: erf, slope: x => (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x), range: [-3, 3], also: [0] }],
  ['sigmoid', { f: sigmoid, slope: x => sigmoid(x) * sigmoid(-x), range: [-6, 6], also: [0, 700, -700] }],
  ['silu', { f: x => x * sigmoid(x), slope: x => sigmoid(x) * (1 + x * sigmoid(-x)), range: [-6, 6], also: [0, 90, -90] }],
  ['softplus', { f: softplus, slope: sigmoid, range: [-6, 6], also: [0, 500, -500] }],
  ['log_sigmoid', { f: x => -softplus(-x), slope: x => sigmoid(-x), range: [-6, 6], also: [0, 500, -500] }],
  ['gelu', { f: x => x * normal(x), slope: x => normal(x) + x * density(x), range: [-3, 3], also: [0] }],
  ['gelu_tanh', { f: x => (x * (1 + Math.tanh(inner(x)))) / 2, slope: x => (1 + Math.tanh(inner(x))) / 2 + (x * innerSlope(x)) / (2 * Math.cosh(inner(x)) ** 2), range: [-3, 3], also: [0] }],
  ['mish', { f: x => x * Math.tanh(softplus(x)), slope: x => Math.tanh(softplus(x)) + (x * sigmoid(x)) / Math.cosh(softplus(x)) ** 2, range: [-6, 6], also: [0, 50] }],
  ['relu', { f: x => Math.max(x, 0), slope: x => Number(x > 0), also: [0, 1e-30] }],
  ['relu6', { f: x => Math.min(Math.max(2.5 * x, 0), 6), slope: x => (2.5 * x > 0 && 2.5 * x < 6 ? 2.5 : 0), range: [-3, 3], also: [0], attrs: { input_scale: 2.5 } }],
  ['hardswish', { f: x => (x * Math.min(Math.max(x + 3, 0), 6)) / 6, slope: x => (x <= -3 ? 0 : x < 3 ? x / 3 + 0.5 : 1), range: [-4, 4], also: [0, 5, -5] }],
  ['leaky_relu', { f: x => (x > 0 ? x : 0.3 * x), slope: x => (x > 0 ? 1 : 0.3), attrs: { negative_slope: 0.3 } }],
  ['leaky_relu', { f: x => (x > 0 ? x : 0.01 * x), slope: x => (x > 0 ? 1 : 0.01), also: [0] }],
  ['elu', { f: x => (x > 0 ? x : 1.7 * Math.expm1(x)), slope: x => (x > 0 ? 1 : 1.7 * Math.exp(x)), also: [90, -90], attrs: { alpha: 1.7 } }],
  ['elu', { f: x => (x > 0 ? x : Math.expm1(x)), slope: x => (x > 0 ? 1 : Math.exp(x)), also: [0] }],
  ['clamp', { f: x => Math.min(Math.max(x, -0.7), 1.3), slope: x => Number(x >= -0.7 && x <= 1.3), attrs: { min: -0.7, max: 1.3 } }],
  ['clamp', { f: x => Math.max(x, 0.5), slope: x => Number(x >= 0.5), also: [0.5], attrs: { min: 0.5 } }],
  ['clamp', { f: x => Math.min(x, -0.25), slope: x => Number(x <= -0.25), also: [-0.25], attrs: { max: -0.25 } }],
]

const shapes = [[3, 5], [13], [2, 1, 7], [1, 3, 1, 2, 1], [1, 1]] as const

const broadcast = (x: Grid, i: Index): number =>
  at(
    x,
    i.slice(i.length - x.shape.length).map((v, a) => (x.shape[a] === 1 ? 0 : v)),
  )
const together = (xs: readonly Grid[]): readonly number[] => {
  const rank = Math.max(...xs.map(x => x.shape.length))
  return Array.from({ length: rank }, (_, a) =>
    xs.reduce((n, x) => {
      const d = x.shape[a - rank + x.shape.length] ?? 1
      return d === 1 ? n : d
    }, 1),
  )
}
const over =
  (f: (...v: number[]) => number, dtype?: Grid['dtype']) =>
  (...xs: readonly Grid[]): Grid => ({
    ...grid(together(xs), i => f(...xs.map(x => broadcast(x, i)))),
    ...(dtype ? { dtype } : {}),
  })

/** Adds the elementwise cases. */
export function elementwiseCases(): void {
  rows.forEach(([op, { f, slope, range = [-2, 2], also = [], attrs = {} }], n) => {
    const inputs = [floats(shapes[n % shapes.length], ...range)]
    if (also.length > 0) inputs.push(given([also.length], also))
    for (const x of inputs)
      define(op, attrs, [x], over(f), {
        pullback: ([v], dy) => [grid(v.shape, i => at(dy, i) * slope(at(v, i)))],
      })
  })
  define('exp', {}, [given([], [0.3])], over(Math.exp), { note: 'rank 0' })

  const pairs = [
    [[5], [3, 5]],
    [
      [2, 1, 3],
      [4, 1],
    ],
    [
      [1, 3],
      [1, 3],
    ],
    [[3, 1, 2], []],
  ] as const
  const operations: readonly (readonly [string, (x: number, y: number) => number])[] = [
    ['add', (x, y) => x + y],
    ['sub', (x, y) => x - y],
    ['mul', (x, y) => x * y],
    ['div', (x, y) => x / y],
    ['pow', (x, y) => x ** y],
    ['maximum', Math.max],
    ['minimum', Math.min],
  ]
  for (const [a, b] of pairs) {
    for (const [op, f] of operations) {
      // operands on a grid of 0.1 and of 0.1 + 0.05 never tie; bases and divisors stay away from 0
      const apart = (x: Grid, by: number) => ({
        ...x,
        data: x.data.map(v => Number((Math.round(v * 10) / 10 + by).toFixed(2))),
      })
      const x = op === 'pow' ? floats(a, 1, 3) : apart(floats(a), 0)
      const y = op === 'div' ? floats(b, 1, 3) : apart(floats(b), 0.05)
      define(op, {}, [x, y], over(f), { step: op.endsWith('imum') ? 0.02 : 0.25 })
    }
    define(
      'less',
      {},
      [floats(a), floats(b)],
      over((x, y) => Number(x < y), 'bool'),
      { wrt: [] },
    )
    define(
      'where',
      {},
      [bools(b), floats(a), floats(b)],
      over((c, x, y) => (c ? x : y)),
    )
  }
  define(
    'div',
    {},
    [floats([4, 1]), floats([3], -3, -1)],
    over((x, y) => x / y),
    { note: 'negative divisors' },
  )
  define(
    'pow',
    {},
    [given([4], [-2, -0.5, 1.5, -1]), given([4], [3, 2, -2, 5])],
    over((x, y) => x ** y),
    {
      wrt: [0],
      step: 0.1,
      note: 'negative bases, whole powers',
    },
  )
  const tied = given([4], [1, -2, 0, 3])
  const other = given([4], [1, -2, 1, 0])
  for (const [op, f] of operations.filter(([o]) => o.endsWith('imum')))
    define(op, {}, [tied, other], over(f), {
      note: 'ties share the gradient equally',
      pullback: ([x, y], dy) =>
        [0, 1].map(k =>
          grid(x.shape, i =>
            at(x, i) === at(y, i)
              ? at(dy, i) / 2
              : f(at(x, i), at(y, i)) === at(k ? y : x, i)
                ? at(dy, i)
                : 0,
          ),
        ),
    })
  define(
    'less',
    {},
    [given([4], [Number.NaN, 1, -Infinity, 0]), given([4], [1, Number.NaN, Infinity, 0])],
    over((x, y) => Number(x < y), 'bool'),
    { wrt: [], note: 'NaN, infinities' },
  )
}
