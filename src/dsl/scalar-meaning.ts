/** What a scalar operation does to numbers of given dtypes: the record's meaning, with integer semantics. */
import type { DType } from './dtype.ts'
import { dtypes, isFloat } from './dtype.ts'
import { type ScalarOp, scalars } from './scalar.ts'

type Meaning = (...x: number[]) => number

const words = new DataView(new ArrayBuffer(4))
const put = { f32: 'setFloat32', i32: 'setInt32', u32: 'setUint32' } as const
const get = { f32: 'getFloat32', i32: 'getInt32', u32: 'getUint32' } as const
type Word = keyof typeof put
const isWord = (d: DType): d is Word => d in put

/** Float to integer: truncates, saturates, NaN gives 0 (as WASM's trunc_sat and Rust's `as`). */
const saturate = (lo: number, hi: number) => (x: number) =>
  Number.isNaN(x) ? 0 : Math.min(Math.max(Math.trunc(x), lo), hi)

function conversion(from: DType, to: DType): Meaning {
  if (to === 'bool') return x => Number(x !== 0)
  if (isFloat(from) && to === 'i32') return saturate(-(2 ** 31), 2 ** 31 - 1)
  if (isFloat(from) && to === 'u32') return saturate(0, 2 ** 32 - 1)
  return dtypes[to].round
}

/**
 * The operation on numbers, rounded to the result's dtype.
 * @param args the operands' dtypes
 * @param out the result's dtype
 * @example scalarMeaning('add', ['u32', 'u32'], 'u32')(4294967295, 1) // 0
 */
export function scalarMeaning(fn: ScalarOp, args: readonly DType[], out: DType): Meaning {
  const d = args[args.length - 1]
  if (fn === 'cast') return conversion(d, out)
  if (fn === 'bitcast')
    return x => {
      if (!isWord(d) || !isWord(out)) throw new TypeError(`bitcast from ${d} to ${out}`)
      words[put[d]](0, x)
      return words[get[out]](0)
    }
  const round = dtypes[out].round
  // The records' functions differ in arity; their operands are all numbers.
  const js = scalars[fn].js as Meaning
  if (fn === 'mul' && !isFloat(d)) return (x, y) => round(Math.imul(x, y))
  if ((fn === 'div' || fn === 'rem') && !isFloat(d)) return (x, y) => (y === 0 ? 0 : round(js(x, y)))
  if (fn === 'not' && d !== 'bool') return x => round(~x)
  if (fn === 'shr') return d === 'u32' ? (x, y) => x >>> y : (x, y) => x >> y
  return (x, y, z) => round(js(x, y, z))
}
