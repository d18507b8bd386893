/** The rules of shapes and dtypes: what each primitive takes, what it refuses and with which words, what it gives. */
import assert from 'node:assert/strict'
import type { DType } from '../../src/dsl/dtype.ts'
import { ShapeError } from '../../src/dsl/errors.ts'
import { infer } from '../../src/dsl/infer.ts'
import type { Closed, Contraction, Op, Prims, Window } from '../../src/dsl/prim.ts'
import { type ScalarOp, scalars } from '../../src/dsl/scalar.ts'
import { type Shape, showType } from '../../src/dsl/shape.ts'
import { input, type TensorType } from '../../src/dsl/tensor.ts'
import { fact, type Property } from './property.ts'

const f = (...shape: Shape): TensorType => ({ shape, dtype: 'f32' })
const of = (dtype: DType, ...shape: Shape): TensorType => ({ shape, dtype })

/** An application of a primitive, and the types that it gives or the words in which it is refused. */
type Case<K extends Op> = readonly [Prims[K], readonly TensorType[], readonly TensorType[] | RegExp]
const closed = (params: readonly TensorType[], body: readonly TensorType[]): Closed => ({
  params: params.map((t, i) => input(`p${i}`, t)),
  body: body.map((t, i) => input(`r${i}`, t)),
})

const matmul: Contraction = { extents: [2, 3, 4], lhs: [0, 1], rhs: [1, 2], out: [0, 2], windows: [] }
/** x[n, 7] against w[2, 3]: y[n, 2, 3] at stride 2, dilation 1 */
const window: Window = { big: 1, out: 4, tap: 3, stride: 2, dilation: 1, padding: 0 }
const conv: Contraction = {
  extents: [5, 7, 2, 3, 3],
  lhs: [0, 1],
  rhs: [2, 3],
  out: [0, 2, 4],
  windows: [window],
}
const sliding = (
  axes: number[],
  size: number[],
  stride = axes.map(() => 1),
  dilation = axes.map(() => 1),
) => ({
  sliding: { axes, size, stride, dilation },
})
const square = closed([f(2)], [f(2)])
/** (constant f32[3], carry f32[2], slice i32[4]) to (carry, slice f64[5]) */
const step = closed([f(3), f(2), of('i32', 4)], [f(2), of('f64', 5)])
const scanOf = (p: Partial<Prims['scan']> = {}): Prims['scan'] => ({
  step,
  length: 6,
  constants: 1,
  carries: 1,
  reverse: false,
  ...p,
})
const scanArguments = [f(3), f(2), of('i32', 6, 4)]

/** At least one case on each side of each rule's boundary. */
const cases: { readonly [K in Op]: readonly Case<K>[] } = {
  input: [[{ name: 'x', type: f(2) }, [], [f(2)]]],
  const: [
    [{ data: new Int32Array(6), shape: [2, 3], dtype: 'i32' }, [], [of('i32', 2, 3)]],
    [{ data: new Int32Array(5), shape: [2, 3], dtype: 'i32' }, [], /5 values do not fill \[2,3\]/],
  ],
  iota: [[{ shape: [2, 3], axis: 1, dtype: 'u32' }, [], [of('u32', 2, 3)]]],
  randomBits: [
    [{ shape: [4, 5] }, [of('u32', 2)], [of('u32', 4, 5)]],
    [{ shape: [4] }, [of('u32', 3, 7, 2)], [of('u32', 3, 7, 4)]],
    [{ shape: [4] }, [of('u32', 2, 3)], /a key is u32\[2\], got u32\[2, 3\]/],
    [{ shape: [4] }, [of('i32', 2)], /a key is u32\[2\]/],
    [{ shape: [4] }, [of('i32', 3)], /a key is u32\[2\]/],
  ],
  map: [
    [{ fn: 'add' }, [f(2, 3), f(2, 3)], [f(2, 3)]],
    [{ fn: 'select' }, [of('bool', 2), of('i32', 2), of('i32', 2)], [of('i32', 2)]],
    [{ fn: 'cast', to: 'i32' }, [f(2)], [of('i32', 2)]],
    [{ fn: 'add' }, [f(2, 3), f(3, 2)], /the operands' shapes differ/],
    [{ fn: 'select' }, [of('bool', 2), f(2), f(1)], /the operands' shapes differ/],
    [{ fn: 'add' }, [f(2), of('f64', 2)], /one dtype/],
  ],
  reduce: [
    [{ how: 'sum', axes: [0, 2] }, [f(2, 3, 4)], [f(3)]],
    [{ how: 'sum', axes: [] }, [f(2)], [f(2)]],
    [{ how: 'sum', axes: [0] }, [f(0, 3)], [f(3)]],
    [{ how: 'prod', axes: [0] }, [f(0, 3)], [f(3)]],
    [{ how: 'max', axes: [0, 1] }, [f(2, 3)], [f()]],
    [{ how: 'max', axes: [1] }, [f(0, 3)], [f(0)]],
    [{ how: 'argmax', axes: [1] }, [f(2, 3)], [of('i32', 2)]],
    [{ how: 'argmin', axes: [0] }, [of('i32', 2, 3)], [of('i32', 3)]],
    [{ how: 'sum', axes: [2] }, [f(2, 3)], /not distinct axes/],
    [{ how: 'sum', axes: [-1] }, [f(2, 3)], /not distinct axes/],
    [{ how: 'sum', axes: [0, 0] }, [f(2, 3)], /not distinct axes/],
    [{ how: 'sum', axes: [0.5] }, [f(2, 3)], /not distinct axes/],
    [{ how: 'sum', axes: [0] }, [of('bool', 2)], /takes numbers, got bool/],
    [{ how: 'max', axes: [0] }, [f(0, 3)], /max over an empty axis of f32\[0, 3\] has no value/],
    [{ how: 'min', axes: [0, 1] }, [f(2, 0)], /min over an empty axis/],
    [{ how: 'argmax', axes: [0, 1] }, [f(2, 3)], /argmax takes one axis, got \[0,1\]/],
    [{ how: 'argmin', axes: [] }, [f(2, 3)], /argmin takes one axis/],
  ],
  reshape: [
    [{ shape: [3, 2] }, [f(2, 3)], [f(3, 2)]],
    [{ shape: [5] }, [f(2, 3)], /f32\[2, 3\] has 6 elements, \[5\] has 5/],
  ],
  permute: [
    [{ order: [2, 0, 1] }, [of('i32', 2, 3, 4)], [of('i32', 4, 2, 3)]],
    [{ order: [0, 1] }, [f(2, 3, 4)], /no permutation/],
    [{ order: [0, 1, 2] }, [f(2, 3)], /no permutation/],
    [{ order: [0, 0] }, [f(2, 3)], /no permutation/],
  ],
  broadcast: [
    [{ shape: [4, 2, 3], dims: [1, 2] }, [f(2, 3)], [f(4, 2, 3)]],
    [{ shape: [4, 2, 3], dims: [0, 2] }, [f(1, 3)], [f(4, 2, 3)]],
    [{ shape: [4], dims: [] }, [f()], [f(4)]],
    [{ shape: [4, 2, 3], dims: [2] }, [f(2, 3)], /does not broadcast/],
    [{ shape: [4, 2, 3], dims: [1] }, [f(2, 3)], /does not broadcast/],
    [{ shape: [4, 2, 3], dims: [0, 1, 2] }, [f(2, 3)], /does not broadcast/],
    [{ shape: [2, 2], dims: [1, 0] }, [f(2, 2)], /does not broadcast/],
    [{ shape: [2, 2], dims: [0, 0] }, [f(2, 2)], /does not broadcast/],
    [{ shape: [2, 2], dims: [2] }, [f(1)], /does not broadcast/],
    [{ shape: [2, 2], dims: [2] }, [f(2)], /does not broadcast/],
    [{ shape: [2, 3], dims: [1] }, [f(2)], /does not broadcast/],
    [{ shape: [1, 3], dims: [0] }, [f(2)], /does not broadcast/],
    [{ shape: [2, 3], dims: [0, 1] }, [f(2, 2)], /does not broadcast/],
  ],
  pad: [
    [{ low: [1], high: [2], interior: [0], value: 0 }, [f(3)], [f(6)]],
    [{ low: [1, 0], high: [2, 0], interior: [3, 1], value: 0 }, [f(3, 2)], [f(12, 3)]],
    [{ low: [1], high: [2], interior: [3], value: 0 }, [f(0)], [f(3)]],
    [{ low: [-1], high: [-1], interior: [0], value: 0 }, [f(2)], [f(0)]],
    [
      { low: [-1], high: [-2], interior: [0], value: 0 },
      [f(2)],
      /the widths \[-1\], \[-2\] do not fit f32\[2\]/,
    ],
    [{ low: [1, 0], high: [-4, 0], interior: [0, 0], value: 0 }, [f(2, 2)], /do not fit/],
    [{ low: [0, 0], high: [0, 0], interior: [0, 0], value: 0 }, [f(2)], /do not fit/],
  ],
  slice: [
    [{ start: [1], stop: [6], step: [2] }, [f(7)], [f(3)]],
    [{ start: [0, 2], stop: [3, 2], step: [1, 1] }, [f(3, 4)], [f(3, 0)]],
    [{ start: [1], stop: [7], step: [3] }, [f(7)], [f(2)]],
    [{ start: [-1], stop: [2], step: [1] }, [f(7)], /do not fit/],
    [{ start: [3], stop: [2], step: [1] }, [f(7)], /do not fit/],
    [{ start: [3], stop: [8], step: [1] }, [f(7)], /do not fit/],
    [{ start: [3], stop: [4], step: [0] }, [f(7)], /do not fit/],
    [{ start: [0, 0], stop: [1, 1], step: [1, 1] }, [f(7)], /do not fit/],
    [{ start: [0, 0], stop: [1, 9], step: [1, 1] }, [f(7, 7)], /do not fit/],
  ],
  flip: [
    [{ axes: [1] }, [f(2, 3)], [f(2, 3)]],
    [{ axes: [2] }, [f(2, 3)], /\[2\] are not axes/],
  ],
  concat: [
    [{ axis: 1 }, [of('i32', 2, 3), of('i32', 2, 4), of('i32', 2, 0)], [of('i32', 2, 7)]],
    [{ axis: 0 }, [f(1, 3), f(2, 3)], [f(3, 3)]],
    [{ axis: 0 }, [of('i32', 2, 3)], [of('i32', 2, 3)]],
    [{ axis: 1 }, [f(2, 3), f(3, 3)], /must agree but on axis 1/],
    [{ axis: 1 }, [f(2, 3), of('f64', 2, 3)], /must agree/],
    [{ axis: 0 }, [f(2), f(2, 3)], /must agree/],
    [{ axis: 0 }, [f(2, 3), f(2)], /must agree/],
    [{ axis: -1 }, [f(2, 3), f(2, 3)], /must agree/],
    [{ axis: 2 }, [f(2, 3), f(2, 3)], /must agree/],
  ],
  contract: [
    [{ spec: matmul }, [f(2, 3), f(3, 4)], [f(2, 4)]],
    [{ spec: matmul }, [of('i32', 2, 3), of('i32', 3, 4)], [of('i32', 2, 4)]],
    [{ spec: conv }, [f(5, 7), f(2, 3)], [f(5, 2, 3)]],
    [{ spec: matmul }, [f(2, 4), f(3, 4)], /the operands do not fit the contraction/],
    [{ spec: matmul }, [f(2, 3), f(4, 4)], /the operands do not fit/],
    [{ spec: matmul }, [f(2, 3, 1), f(3, 4)], /the operands do not fit/],
    [{ spec: matmul }, [f(2, 3), f(3)], /the operands do not fit/],
    [{ spec: matmul }, [f(2, 3), of('f64', 3, 4)], /numbers of one dtype/],
    [{ spec: matmul }, [of('bool', 2, 3), of('bool', 3, 4)], /numbers of one dtype/],
    [{ spec: { ...matmul, out: [0] } }, [f(2, 3), f(3, 4)], /index 2 occurs in one place only/],
    [{ spec: { ...matmul, out: [2] } }, [f(2, 3), f(3, 4)], /index 0 occurs in one place only/],
    [{ spec: { ...conv, out: [0, 4] } }, [f(5, 7), f(2, 3)], /index 2 occurs in one place only/],
    [{ spec: { ...conv, windows: [] } }, [f(5, 7), f(2, 3)], /index 1 occurs in one place only/],
    // big alone in an operand, out alone in the result, tap alone in the other operand: a window ties each
    [
      {
        spec: {
          extents: [3, 7, 5],
          lhs: [1],
          rhs: [2],
          out: [0],
          windows: [{ ...window, big: 1, out: 0, tap: 2 }],
        },
      },
      [f(7), f(5)],
      [f(3)],
    ],
  ],
  unfold: [
    [sliding([1], [3]), [f(2, 5)], [f(2, 3, 3)]],
    [sliding([1], [3], [2]), [f(2, 8)], [f(2, 3, 3)]],
    [sliding([0], [3], [1], [2]), [of('i32', 5)], [of('i32', 1, 3)]],
    [sliding([0], [3], [1], [2]), [f(6)], [f(2, 3)]],
    [sliding([1, 0], [3, 2], [2, 1], [1, 3]), [f(6, 7)], [f(3, 3, 3, 2)]],
    [sliding([0], [3]), [f(2)], [f(0, 3)]],
    [sliding([0], [4]), [f(2)], /a window of 4 \(dilation 1\) does not fit into the extent 2 of axis 0/],
    [sliding([1], [1]), [f(2)], /the axes \[1\] are not axes of \[2\]/],
    [sliding([0, 0], [1, 1]), [f(2)], /are not axes of/],
  ],
  fold: [
    [{ ...sliding([1], [3]), shape: [2, 5] }, [of('f64', 2, 3, 3)], [of('f64', 2, 5)]],
    [
      { ...sliding([1], [3]), shape: [2, 5] },
      [f(2, 3, 2)],
      /windows of \[2,5\] have the shape \[2,3,3\], got f32\[2, 3, 2\]/,
    ],
    [{ ...sliding([1], [9]), shape: [2, 5] }, [f(2, 3, 2)], /does not fit into/],
  ],
  gather: [
    [{ axis: 1 }, [f(2, 3), of('i32', 2, 7)], [f(2, 7)]],
    [{ axis: 0 }, [of('f64', 2, 3), of('i32', 5, 3)], [of('f64', 5, 3)]],
    [{ axis: 1 }, [f(2, 3), f(2, 7)], /indices are i32, got f32\[2, 7\]/],
    [{ axis: 1 }, [f(2, 3), of('i32', 3, 7)], /must agree but on axis 1/],
    [{ axis: 1 }, [f(2, 3), of('i32', 2)], /must agree/],
    [{ axis: 1 }, [f(2, 3), of('i32', 2, 3, 1)], /must agree/],
    [{ axis: 0 }, [f(2, 3, 4), of('i32', 9, 3, 5)], /must agree/],
  ],
  scatterAdd: [
    [{ axis: 1, extent: 9 }, [of('i32', 2, 7), f(2, 7)], [f(2, 9)]],
    [{ axis: 0, extent: 9 }, [of('i32', 2, 7), of('f64', 2, 7)], [of('f64', 9, 7)]],
    [{ axis: 1, extent: 9 }, [f(2, 7), f(2, 7)], /indices are i32/],
    [{ axis: 1, extent: 9 }, [of('i32', 2, 7), f(2, 6)], /must have one shape/],
  ],
  stopGradient: [[{}, [f(2)], [f(2)]]],
  barrier: [[{}, [of('f64', 2)], [of('f64', 2)]]],
  call: [
    [{ name: 'g', rule: {}, ...closed([f(2), f(3)], [f(4), f(5)]) }, [f(2), f(3)], [f(4), f(5)]],
    [
      { name: 'g', rule: {}, ...square },
      [f(3)],
      /g: the arguments do not fit\n {2}takes {2}f32\[2\]\n {2}got {4}f32\[3\]/,
    ],
    [{ name: 'g', rule: {}, ...square }, [of('f64', 2)], /the arguments do not fit/],
    [{ name: 'g', rule: {}, ...square }, [f(2), f(2)], /the arguments do not fit/],
    [{ name: 'g', rule: {}, ...closed([f(2), f(2)], [f(2)]) }, [f(2)], /the arguments do not fit/],
    [{ name: 'g', rule: {}, ...closed([f(2), f(3)], [f(2)]) }, [f(2), f(2)], /the arguments do not fit/],
  ],
  cond: [
    [{ onTrue: square, onFalse: square }, [of('bool'), f(2)], [f(2)]],
    [{ onTrue: square, onFalse: square }, [f(), f(2)], /must be a bool scalar, got f32\[\]/],
    [{ onTrue: square, onFalse: square }, [of('bool', 1), f(2)], /must be a bool scalar/],
    [
      { onTrue: closed([f(3)], [f(2)]), onFalse: square },
      [of('bool'), f(2)],
      /onTrue: the arguments do not fit/,
    ],
    [
      { onTrue: square, onFalse: closed([f(3)], [f(2)]) },
      [of('bool'), f(2)],
      /onFalse: the arguments do not fit/,
    ],
    [
      { onTrue: square, onFalse: closed([f(2)], [f(3)]) },
      [of('bool'), f(2)],
      /the same types\n {2}true {3}f32\[2\]\n {2}false {2}f32\[3\]/,
    ],
    [{ onTrue: square, onFalse: closed([f(2)], [f(2), f(2)]) }, [of('bool'), f(2)], /the same types/],
  ],
  scan: [
    [scanOf(), scanArguments, [f(2), of('f64', 6, 5)]],
    [scanOf({ length: 0 }), [f(3), f(2), of('i32', 0, 4)], [f(2), of('f64', 0, 5)]],
    [scanOf({ length: 5 }), scanArguments, /a sequence of 5 steps is needed, got i32\[6, 4\]/],
    [scanOf(), [f(4), f(2), of('i32', 6, 4)], /step: the arguments do not fit/],
    [scanOf(), [f(3), f(3), of('i32', 6, 4)], /step: the arguments do not fit/],
    [scanOf(), [f(3), f(2), f(6, 4)], /step: the arguments do not fit/],
    [scanOf(), [f(3), f(2), of('i32', 6, 5)], /step: the arguments do not fit/],
    [
      scanOf({ step: closed([f(3), f(2), of('i32', 4)], [f(4), of('f64', 5)]) }),
      scanArguments,
      /must give carries of the types that it takes\n {2}takes {2}f32\[2\]\n {2}gives {2}f32\[4\]/,
    ],
    // two carries and no constant: the carries are told from the slices by their number
    [
      scanOf({ step: closed([f(1), f(2), f(4)], [f(1), f(2), f(7)]), constants: 0, carries: 2 }),
      [f(1), f(2), f(6, 4)],
      [f(1), f(2), f(6, 7)],
    ],
  ],
}

/** Applies the rule, with a place in the user's function. */
function applied<K extends Op>(op: K, [params, inputs, want]: Case<K>): void {
  const what = `${op} of ${inputs.map(showType).join(', ')}`
  if (want instanceof RegExp) {
    assert.throws(
      () => infer(op, params, inputs, 'head'),
      (e: Error) => e instanceof ShapeError && want.test(e.message),
      `${what} is refused with ${want}`,
    )
    return
  }
  const got = infer(op, params, inputs, 'head')
  // types and nothing else: a result that kept a tensor would keep its graph
  assert.deepEqual(got, want, what)
}

const everyDType = ['f32', 'f64', 'i32', 'u32', 'bool'] as const
/** What the records say in words, as sets. */
const domains: { readonly [on: string]: readonly DType[] } = {
  float: ['f32', 'f64'],
  number: ['f32', 'f64', 'i32', 'u32'],
  integer: ['i32', 'u32'],
  bool: ['bool'],
  bits: ['i32', 'u32', 'bool'],
  any: everyDType,
}
const domainNames: { readonly [on: string]: RegExp } = {
  float: /takes floats, got/,
  number: /takes numbers, got/,
  integer: /takes integers, got/,
  bool: /takes bool, got/,
  bits: /takes integers or bool, got/,
}

/** Every scalar operation on every dtype: its type, or an error that says what it takes. */
function scalarTypes(): void {
  for (const fn of Object.keys(scalars) as ScalarOp[]) {
    const { arity, on, out } = scalars[fn]
    const lead = fn === 'select' ? [of('bool', 2)] : []
    for (const d of everyDType) {
      const operands = (last: DType) => [
        ...lead,
        ...Array.from({ length: arity - lead.length }, (_, i) => of(i === 0 ? d : last, 2)),
      ]
      const to = out === 'to' ? { to: 'u32' as const } : {}
      if (domains[on].includes(d)) {
        const want = out === 'to' ? 'u32' : out === 'bool' ? 'bool' : d
        assert.deepEqual(
          infer('map', { fn, ...to }, operands(d), '').map(showType),
          [`${want}[2]`],
          `${fn} of ${d}`,
        )
      } else
        assert.throws(() => infer('map', { fn, ...to }, operands(d), ''), domainNames[on], `${fn} of ${d}`)
      if (arity - lead.length > 1)
        for (const other of everyDType)
          if (other !== d)
            assert.throws(
              () => infer('map', { fn }, operands(other), ''),
              /must have one dtype; use cast, got/,
            )
    }
  }
  assert.throws(() => infer('map', { fn: 'cast' }, [f(2)], ''), /needs the dtype to convert to/)
  assert.throws(
    () => infer('map', { fn: 'select' }, [f(2), f(2), f(2)], ''),
    /the condition must be bool, got f32/,
  )
}

export const shapeProperties: readonly Property[] = [
  ...(Object.keys(cases) as Op[]).map(op =>
    fact(`${op}: its rule gives the types, or names what is broken`, () => {
      // the row fits the op; TypeScript cannot relate the two through an index
      for (const c of cases[op]) applied(op, c as unknown as Case<Op>)
    }),
  ),
  fact('every scalar operation takes the dtypes of its domain, and says so for others', scalarTypes),
  fact('an error of a scalar operation carries its own name', () => {
    assert.throws(
      () => infer('map', { fn: 'mul' }, [f(2), f(3)], 'head'),
      /^ShapeError: mul: the operands' shapes differ\n/,
    )
    assert.throws(
      () => infer('flip', { axes: [3] }, [f(2)], 'head'),
      /^ShapeError: flip: .*\n {2}while tracing head$/,
    )
  }),
]
