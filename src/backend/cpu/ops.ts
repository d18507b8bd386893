/**
 * Scalar operations on single elements as WebAssembly: operands in locals, the result on the stack. Registers hold
 * f32, f64, i32 and u32 as themselves and bool as 0 or 1. The names of most instructions come from the scalar records;
 * here are those with no instruction of their own. `lanes.ts` has the operations on vectors.
 */
import type { DType } from '../../dsl/dtype.ts'
import { isDerived, type ScalarOp, scalars } from '../../dsl/scalar.ts'
import { type Code, put } from './wasm.ts'

/** How an operation is applied: the operands' dtype (that of the last one) and the result's. */
export interface Operation {
  readonly fn: ScalarOp
  readonly from: DType
  readonly to: DType
}

/** The register of one element. */
export const registerOf = (d: DType): 'i32' | 'f32' | 'f64' => (d === 'f32' || d === 'f64' ? d : 'i32')
const isFloatRegister = (d: DType): d is 'f32' | 'f64' => d === 'f32' || d === 'f64'
/** The suffix of instructions that read integers of a dtype. */
export const signOf = (d: DType): 's' | 'u' => (d === 'i32' ? 's' : 'u')

/** The instruction that a record names for a dtype, if any. */
export function named(fn: ScalarOp, dtype: DType): string | undefined {
  const record = scalars[fn]
  if (isDerived(record)) throw new Error(`cpu: ${fn} must be expanded before a kernel is rendered`)
  return record.wasm === 'own' ? undefined : record.wasm[dtype]
}

/** Writes one operation on single elements. */
export function putScalar(code: Code, o: Operation, x: readonly number[]) {
  const get = (i: number) => put(code, 'local.get', x[i])
  const all = () => x.forEach((_, i) => void get(i))
  const int = !isFloatRegister(o.from)
  const sign = signOf(o.from)
  switch (o.fn) {
    case 'neg':
      if (!int) break
      put(code, 'i32.const', 0)
      get(0)
      return put(code, 'i32.sub')
    case 'abs':
      if (!int) break
      get(0)
      if (o.from === 'u32') return
      put(code, 'i32.const', 0)
      get(0)
      put(code, 'i32.sub')
      get(0)
      put(code, 'i32.const', 0)
      put(code, 'i32.ge_s')
      return put(code, 'select')
    case 'max':
    case 'min':
      if (!int) break
      all()
      all()
      put(code, `i32.${o.fn === 'max' ? 'gt' : 'lt'}_${sign}`)
      return put(code, 'select')
    case 'div':
    case 'rem':
      if (!int) break
      return putIntegerDivision(code, o, x)
    case 'not':
      get(0)
      if (o.from === 'f32' || o.from === 'f64') {
        put(code, `${o.from}.const`, 0)
        put(code, `${o.from}.eq`)
        if (o.to !== 'bool') put(code, `${registerOf(o.to)}.convert_i32_u`)
        return
      }
      return put(code, 'i32.eqz')
    case 'select':
      get(1)
      get(2)
      get(0)
      return put(code, 'select')
    case 'cast':
      get(0)
      return putCast(code, o.from, o.to)
    case 'bitcast':
      get(0)
      if (registerOf(o.from) !== registerOf(o.to))
        put(code, o.from === 'f32' ? 'i32.reinterpret_f32' : 'f32.reinterpret_i32')
      return
    case 'isnan':
      get(0)
      get(0)
      return put(code, `${o.from}.ne`)
    case 'opaque':
      return get(0)
    case 'exp2i':
    case 'exponent':
      get(0)
      return putExponent(code, o)
  }
  const name = named(o.fn, o.from)
  if (name === undefined) throw new Error(`cpu: no rule for ${o.fn} on ${o.from}`)
  all()
  put(code, name)
}

/** WebAssembly traps on x / 0 and on the smallest integer / -1; the language says x / 0 = x, x % 0 = 0. */
function putIntegerDivision(code: Code, o: Operation, x: readonly number[]) {
  const isConst = (n: number) => {
    put(code, 'local.get', x[1])
    put(code, 'i32.const', n)
    put(code, 'i32.eq')
  }
  const safeDivisor = () => {
    put(code, 'i32.const', 1)
    put(code, 'local.get', x[1])
    isConst(0)
    if (o.from === 'i32') {
      isConst(-1)
      put(code, 'i32.or')
    }
    put(code, 'select')
  }
  if (o.fn === 'div' && o.from === 'i32') {
    put(code, 'i32.const', 0)
    put(code, 'local.get', x[0])
    put(code, 'i32.sub')
  }
  put(code, 'local.get', x[0])
  safeDivisor()
  put(code, `i32.${o.fn}_${signOf(o.from)}`)
  if (o.fn === 'div' && o.from === 'i32') {
    isConst(-1)
    put(code, 'select')
  }
}

function putCast(code: Code, from: DType, to: DType) {
  const a = registerOf(from)
  if (to === 'bool') {
    if (from === 'bool') return
    put(code, `${a}.const`, 0)
    return put(code, `${a}.ne`)
  }
  const b = registerOf(to)
  if (a === b) return
  if (b === 'i32') return put(code, `i32.trunc_sat_${a}_${signOf(to)}`)
  if (a === 'i32') return put(code, `${b}.convert_i32_${signOf(from)}`)
  put(code, b === 'f64' ? 'f64.promote_f32' : 'f32.demote_f64')
}

/** exp2i builds a number from its exponent, exponent reads it; biased by 127 and 1023. */
function putExponent(code: Code, o: Operation) {
  const wide = o.from === 'f64'
  const i = wide ? 'i64' : 'i32'
  const [bias, shift] = wide ? [1023, 52] : [127, 23]
  if (o.fn === 'exp2i') {
    put(code, `i32.trunc_sat_${o.from}_s`)
    if (wide) put(code, 'i64.extend_i32_s')
    put(code, `${i}.const`, bias)
    put(code, `${i}.add`)
    put(code, `${i}.const`, shift)
    put(code, `${i}.shl`)
    return put(code, `${o.from}.reinterpret_${i}`)
  }
  put(code, `${i}.reinterpret_${o.from}`)
  put(code, `${i}.const`, shift)
  put(code, `${i}.shr_u`)
  put(code, `${i}.const`, bias)
  put(code, `${i}.sub`)
  put(code, `${o.from}.convert_${i}_s`)
}
