/**
 * The meaning of scalar expressions on numbers: every operation computed by its record's `js`, then rounded to
 * its dtype. In: an expression and numbers for its arguments; out: a number (bool as 0 or 1). Derived
 * operations are expanded first, so the result is what a backend with IEEE arithmetic computes, bit for bit.
 * The oracle of the renderers, and the scalar core of an interpreter of kernels.
 */
import { type DType, dtypes, isFloat } from './dtype.ts'
import { type Ex, isDerived, type ScalarOp, type ScalarRecord, scalars } from './scalar.ts'

const words = new DataView(new ArrayBuffer(4))
const writeBits = {
  f32: x => words.setFloat32(0, x),
  i32: x => words.setInt32(0, x),
  u32: x => words.setUint32(0, x),
} as const satisfies Partial<Record<DType, (x: number) => void>>
const readBits = {
  f32: () => words.getFloat32(0),
  i32: () => words.getInt32(0),
  u32: () => words.getUint32(0),
} as const satisfies Partial<Record<DType, () => number>>
const has32Bits = (d: DType): d is keyof typeof writeBits => d in writeBits

/** Conversion by value: to integers it truncates and saturates, NaN gives 0, and i32 <-> u32 keeps the bits. */
function convert(x: number, from: DType, to: DType): number {
  if (to === 'bool') return Number(x !== 0)
  if (!isFloat(from) || isFloat(to)) return dtypes[to].round(x)
  const [low, high] = to === 'i32' ? [-(2 ** 31), 2 ** 31 - 1] : [0, 2 ** 32 - 1]
  return Number.isNaN(x) ? 0 : Math.trunc(Math.min(high, Math.max(low, x))) + 0
}

/** Integer operations where JavaScript's numbers differ from 32 bits; x / 0 is x and x % 0 is 0, as in WGSL. */
const integer: { readonly [K in ScalarOp]?: (x: number, y: number) => number } = {
  mul: Math.imul,
  div: (x, y) => (y === 0 ? x : Math.trunc(x / y)),
  rem: (x, y) => (y === 0 ? 0 : x % y),
  not: x => Number(x === 0),
}

/**
 * One operation on numbers, rounded to the dtype of its result.
 * @param fn     the operation; a derived one gets its `js` meaning
 * @param dtype  the dtype of the (last) operand
 * @param args   values of that dtype (`select`: first a bool)
 * @param to     the dtype that `cast` and `bitcast` convert to
 * @example applyScalar('add', 'f32', [0.1, 0.2]) // 0.30000001192092896
 */
export function applyScalar(fn: ScalarOp, dtype: DType, args: readonly number[], to: DType = dtype): number {
  if (fn === 'cast') return convert(args[0], dtype, to)
  if (fn === 'bitcast') {
    if (!has32Bits(dtype) || !has32Bits(to)) return args[0]
    writeBits[dtype](args[0])
    return readBits[to]()
  }
  const record: ScalarRecord = scalars[fn]
  const exact = isFloat(dtype) ? undefined : integer[fn]
  const value = exact ? exact(args[0], args[1]) : record.js(...operands(args))
  return record.out === 'bool' ? value : dtypes[dtype].round(value)
}
// scalarType has checked the number of operands when the expression was made
const operands = (args: readonly number[]) => args as [number, number, number]

/**
 * The value of an expression, every operation rounded to its dtype; shared sub-expressions are computed once.
 * @param args  the values of the arguments `{ k: 'arg', i }`, by i
 * @example evalEx(s.exp({ k: 'arg', i: 0, dtype: 'f32' }), [1]) // 2.7182817459106445
 */
export function evalEx(ex: Ex, args: readonly number[]): number {
  return evaluator(ex)(args)
}

/**
 * The same as a function of the arguments, for many evaluations of one expression.
 * @example evaluator(s.exp(x))([1]) // 2.7182817459106445
 */
export function evaluator(ex: Ex): (args: readonly number[]) => number {
  const steps: ((values: number[], args: readonly number[]) => number)[] = []
  const places = new Map<Ex, number>()
  const visit = (e: Ex): number => {
    const known = places.get(e)
    if (known !== undefined) return known
    const place = emit(e)
    places.set(e, place)
    return place
  }
  const emit = (e: Ex): number => {
    if (e.k === 'arg') return steps.push((_, args) => dtypes[e.dtype].round(args[e.i])) - 1
    if (e.k === 'lit') {
      const value = dtypes[e.dtype].round(e.value)
      return steps.push(() => value) - 1
    }
    const expanded = expand(e)
    if (expanded !== e) return visit(expanded)
    const from = e.args.map(visit)
    const dtype = e.args[e.args.length - 1].dtype
    return (
      steps.push(values =>
        applyScalar(
          e.fn,
          dtype,
          from.map(i => values[i]),
          e.dtype,
        ),
      ) - 1
    )
  }
  const root = visit(ex)
  return args => {
    const values: number[] = []
    for (const step of steps) values.push(step(values, args))
    return values[root]
  }
}

/** The expansion of a derived operation; any other expression as it is. */
export function expand(e: Ex): Ex {
  if (e.k !== 'op') return e
  const record: ScalarRecord = scalars[e.fn]
  return isDerived(record) ? record.expand(...(e.args as [Ex, Ex, Ex])) : e
}
