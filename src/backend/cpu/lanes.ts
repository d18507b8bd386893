/**
 * Scalar operations on all lanes of a vector: operands in locals, the result on the stack.
 *
 * Note [Lanes]. A kernel's vectors have 4 lanes of 32 bits, or 2 of 64 where something in the kernel is f64. Of two
 * lanes an f64 fills its own; f32, i32 and u32 lie in the low half of the vector, where the instructions that convert
 * between the sizes have them, and the high half means nothing. A bool is a mask of all ones, as wide as the kernel's
 * lanes: beside 32-bit numbers of two lanes it is narrowed, and what they compare to is widened.
 */
import type { DType } from '../../dsl/dtype.ts'
import { type Emitter, newLocal } from './emit.ts'
import type { Width } from './nest.ts'
import { named, type Operation, putScalar, registerOf, signOf } from './ops.ts'
import { type Code, put } from './wasm.ts'

/** What operations on vectors need of the renderer. */
export interface Vectors {
  readonly emitter: Emitter
  /** Lanes of a vector. */
  readonly width: Width
}

/** The vector type whose instructions work on a dtype; the bits of a mask are integers. */
export const shapeOf = (d: DType): 'f32x4' | 'f64x2' | 'i32x4' =>
  d === 'f32' ? 'f32x4' : d === 'f64' ? 'f64x2' : 'i32x4'

/** Bytes of a lane that holds a dtype. */
export const laneBytes = (d: DType, width: Width): 4 | 8 =>
  d === 'f64' || (d === 'bool' && width === 2) ? 8 : 4

/** The lanes' numbers, from 0. */
export const lanesOf = (width: Width): readonly number[] => Array.from({ length: width }, (_, lane) => lane)

/** Makes the mask on the stack, over lanes of `from` bytes, one over lanes of `to` bytes. */
export function putMaskAs(code: Code, from: 4 | 8, to: 4 | 8) {
  if (from === to) return
  if (to === 8) return put(code, 'i64x2.extend_low_i32x4_s')
  putInts(code, [0, 0, 0, 0])
  put(code, 'i8x16.shuffle', 0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11)
}

/** Makes 32-bit words 0 and 1, in lanes of 4 bytes, bools. */
export function putBoolsOfWords(code: Code, width: Width) {
  put(code, 'i32x4.neg')
  putMaskAs(code, 4, laneBytes('bool', width))
}

/** Makes bools 32-bit words 0 and 1, in lanes of 4 bytes. */
export function putWordsOfBools(code: Code, width: Width) {
  putMaskAs(code, laneBytes('bool', width), 4)
  putInts(code, [1, 1, 1, 1])
  put(code, 'v128.and')
}

/** Pushes a vector whose lanes are all the element in `local`. */
export function putSplat(code: Code, dtype: DType, local: number) {
  if (dtype === 'bool') put(code, 'i32.const', 0)
  put(code, 'local.get', local)
  if (dtype === 'bool') put(code, 'i32.sub')
  put(code, `${shapeOf(dtype)}.splat`)
}

/** Pushes one lane of a vector as an element. */
export function putLane(code: Code, dtype: DType, local: number, lane: number, width: Width) {
  put(code, 'local.get', local)
  put(code, `${shapeOf(dtype)}.extract_lane`, dtype === 'bool' ? (lane * 4) / width : lane)
  if (dtype === 'bool') {
    put(code, 'i32.const', 1)
    put(code, 'i32.and')
  }
}

/** Pushes a constant vector of four 32-bit integers. */
export function putInts(code: Code, words: readonly number[]) {
  put(code, 'v128.const', ...new Uint8Array(Int32Array.from(words).buffer))
}

/** Pushes a vector whose lanes are all one number. */
export function putConstant(code: Code, dtype: DType, x: number) {
  const bytes = (words: Float32Array | Float64Array) =>
    put(code, 'v128.const', ...new Uint8Array(words.buffer, 0, 16))
  if (dtype === 'f64') bytes(Float64Array.of(x, x))
  else if (dtype === 'f32') bytes(Float32Array.of(x, x, x, x))
  else putInts(code, new Array<number>(4).fill(dtype === 'bool' ? -x : x))
}

/**
 * Writes one operation on all lanes.
 * @param x        vectors
 * @param dtypes   the operands' dtypes
 * @param uniform  for a shift: the local of the shift count as one i32, where all lanes share it
 */
export function putVector(
  c: Vectors,
  code: Code,
  o: Operation,
  x: readonly number[],
  dtypes: readonly DType[],
  uniform: number | null,
) {
  const get = (i: number) => put(code, 'local.get', x[i])
  const all = () => x.forEach((_, i) => void get(i))
  const shape = shapeOf(o.from)
  const float = shape !== 'i32x4'
  const bytes = (d: DType) => laneBytes(d, c.width)
  switch (o.fn) {
    case 'select':
      get(1)
      get(2)
      get(0)
      putMaskAs(code, bytes('bool'), bytes(o.to))
      return put(code, 'v128.bitselect')
    case 'and':
    case 'or':
    case 'xor':
      all()
      return put(code, `v128.${o.fn}`)
    case 'not':
      get(0)
      return put(code, 'v128.not')
    case 'isnan':
      get(0)
      get(0)
      put(code, `${shape}.ne`)
      return putMaskAs(code, bytes(o.from), bytes('bool'))
    case 'opaque':
    case 'bitcast':
      return get(0)
    case 'neg':
    case 'abs':
      get(0)
      if (o.fn === 'abs' && o.from === 'u32') return
      return put(code, `${shape}.${o.fn}`)
    case 'max':
    case 'min':
      all()
      return put(code, float ? `${shape}.${o.fn}` : `i32x4.${o.fn}_${signOf(o.from)}`)
    case 'cast':
      get(0)
      return putVectorCast(code, o.from, o.to, c.width)
    case 'exp2i':
    case 'exponent':
      get(0)
      return putVectorExponent(code, o)
    case 'shl':
    case 'shr':
      if (uniform === null) return putLanes(c, code, o, x, dtypes)
      get(0)
      put(code, 'local.get', uniform)
      return put(code, o.fn === 'shl' ? 'i32x4.shl' : `i32x4.shr_${signOf(o.from)}`)
    case 'div':
    case 'rem':
      if (!float) return putLanes(c, code, o, x, dtypes)
  }
  const name = named(o.fn, o.from)
  if (name === undefined) throw new Error(`cpu: no rule for ${o.fn} on lanes of ${o.from}`)
  all()
  put(code, shape + name.slice(name.indexOf('.')))
  if (o.to === 'bool') putMaskAs(code, bytes(o.from), bytes('bool'))
}

/** Casts the vector on the stack. */
function putVectorCast(code: Code, from: DType, to: DType, width: Width) {
  if (from === to) return
  if (to === 'bool') {
    putInts(code, [0, 0, 0, 0])
    put(code, `${shapeOf(from)}.ne`)
    return putMaskAs(code, laneBytes(from, width), laneBytes('bool', width))
  }
  if (from === 'bool') {
    putMaskAs(code, laneBytes('bool', width), laneBytes(to, width))
    putConstant(code, to, 1)
    return put(code, 'v128.and')
  }
  if (from === 'f32' && to === 'f64') return put(code, 'f64x2.promote_low_f32x4')
  if (from === 'f64' && to === 'f32') return put(code, 'f32x4.demote_f64x2_zero')
  if (from === 'f32') return put(code, `i32x4.trunc_sat_f32x4_${signOf(to)}`)
  if (from === 'f64') return put(code, `i32x4.trunc_sat_f64x2_${signOf(to)}_zero`)
  if (to === 'f32') return put(code, `f32x4.convert_i32x4_${signOf(from)}`)
  if (to === 'f64') put(code, `f64x2.convert_low_i32x4_${signOf(from)}`)
}

/** exp2i and exponent of the vector on the stack. */
function putVectorExponent(code: Code, o: Operation) {
  const wide = o.from === 'f64'
  const [bias, shift] = wide ? [1023, 52] : [127, 23]
  const integers = wide ? 'i64x2' : 'i32x4'
  if (o.fn === 'exp2i') {
    // 1.5 2^23 + 127 + x ends with the bits of 127 + x, the biased exponent
    putConstant(code, o.from, 1.5 * 2 ** shift + bias)
    put(code, `${o.from === 'f64' ? 'f64x2' : 'f32x4'}.add`)
    put(code, 'i32.const', shift)
    return put(code, `${integers}.shl`)
  }
  put(code, 'i32.const', shift)
  put(code, `${integers}.shr_u`)
  if (!wide) {
    putInts(code, [127, 127, 127, 127])
    put(code, 'i32x4.sub')
    return put(code, 'f32x4.convert_i32x4_s')
  }
  // no instruction makes an f64 of 64 bits: with the bits of 2^52 above it the integer is 2^52 + itself
  putConstant(code, 'f64', 2 ** 52)
  put(code, 'v128.or')
  putConstant(code, 'f64', 2 ** 52 + bias)
  put(code, 'f64x2.sub')
}

/** An operation on 32-bit integers without a vector instruction: lane by lane. */
function putLanes(c: Vectors, code: Code, o: Operation, x: readonly number[], dtypes: readonly DType[]) {
  const operands = dtypes.map(d => newLocal(c.emitter, registerOf(d)))
  const results = lanesOf(c.width).map(lane => {
    for (const [i, d] of dtypes.entries()) {
      putLane(code, d, x[i], lane, c.width)
      put(code, 'local.set', operands[i])
    }
    const r = newLocal(c.emitter, registerOf(o.to))
    putScalar(code, o, operands)
    put(code, 'local.set', r)
    return r
  })
  for (const [lane, r] of results.entries()) {
    if (lane === 0) putSplat(code, o.to, r)
    else {
      put(code, 'local.get', r)
      put(code, 'i32x4.replace_lane', lane)
    }
  }
}
