/**
 * Element types as files store them. In: a stored dtype and its bytes, little-endian. Out: an array of ours, every
 * value unchanged: 16-bit floats widen to f32, small integers to i32 and u32, and a 64-bit integer that no 32-bit
 * one holds is an error. The names are those of safetensors.
 */
import type { NDArray } from '../dsl/array.ts'
import type { DType, TypedArray } from '../dsl/dtype.ts'
import { DataError } from '../dsl/errors.ts'
import { type Shape, size } from '../dsl/shape.ts'

interface Stored {
  /** The bytes of an element in the file. */
  readonly bytes: number
  /** What it is read as. */
  readonly dtype: DType
  /** `at` begins the messages of errors. */
  readonly widen: (data: ArrayBuffer, at: string) => TypedArray
}

/** Every dtype that is read. Complex numbers, 8-bit floats and quantised types are not in it. */
export const stored = {
  F64: { bytes: 8, dtype: 'f64', widen: b => new Float64Array(b) },
  F32: { bytes: 4, dtype: 'f32', widen: b => new Float32Array(b) },
  F16: { bytes: 2, dtype: 'f32', widen: b => widenHalf(new Uint16Array(b)) },
  BF16: { bytes: 2, dtype: 'f32', widen: b => widenBrain(new Uint16Array(b)) },
  I64: { bytes: 8, dtype: 'i32', widen: (b, at) => narrow(new BigInt64Array(b), Int32Array, at) },
  I32: { bytes: 4, dtype: 'i32', widen: b => new Int32Array(b) },
  I16: { bytes: 2, dtype: 'i32', widen: b => Int32Array.from(new Int16Array(b)) },
  I8: { bytes: 1, dtype: 'i32', widen: b => Int32Array.from(new Int8Array(b)) },
  U64: { bytes: 8, dtype: 'u32', widen: (b, at) => narrow(new BigUint64Array(b), Uint32Array, at) },
  U32: { bytes: 4, dtype: 'u32', widen: b => new Uint32Array(b) },
  U16: { bytes: 2, dtype: 'u32', widen: b => Uint32Array.from(new Uint16Array(b)) },
  U8: { bytes: 1, dtype: 'u32', widen: b => Uint32Array.from(new Uint8Array(b)) },
  BOOL: { bytes: 1, dtype: 'bool', widen: (b, at) => checkBool(new Uint8Array(b), at) },
} as const satisfies Record<string, Stored>

/** A dtype in a file. */
export type StoredDType = keyof typeof stored

/** The stored dtype of a name, or undefined. */
export const storedDType = (name: string): StoredDType | undefined =>
  Object.hasOwn(stored, name) ? (name as StoredDType) : undefined // an own key of the table

/** How each of our dtypes is written. */
export const storedAs = {
  f32: 'F32',
  f64: 'F64',
  i32: 'I32',
  u32: 'U32',
  bool: 'BOOL',
} as const satisfies Record<DType, StoredDType>

/** An array in a file, without its values. */
export interface StoredArray {
  readonly dtype: StoredDType
  readonly shape: Shape
}

/** Named arrays in a file: their types at hand, their values on demand. */
export interface ArrayFile {
  readonly entries: ReadonlyMap<string, StoredArray>
  /**
   * One array, as fresh memory.
   * @throws DataError if there is none of that name or its bytes are damaged
   */
  readonly read: (name: string) => NDArray
}

/** The size of an array's values in the file, in bytes. */
export const storedBytes = ({ dtype, shape }: StoredArray): number => size(shape) * stored[dtype].bytes

/**
 * The array that these bytes hold.
 * @param data  exactly the array's bytes, row-major and little-endian; they may become the array's own memory
 * @param at    begins the messages of errors: the path and the tensor
 * @throws DataError if a 64-bit integer does not fit in 32 bits, or a bool is neither 0 nor 1
 * @example widen({ dtype: 'F16', shape: [1] }, new Uint16Array([0x3c00]).buffer, 'a') // f32[1] of 1
 */
export function widen({ dtype, shape }: StoredArray, data: ArrayBuffer, at: string): NDArray {
  const row: Stored = stored[dtype]
  return { shape, dtype: row.dtype, data: row.widen(data, at) }
}

// IEEE 754 binary16. A float32 with the half's exponent field is 2^112 too small (the biases are 127 and 15);
// the product is exact, also for subnormals.
function widenHalf(halves: Uint16Array): Float32Array {
  const values = new Float32Array(halves.length)
  const bits = new Uint32Array(values.buffer)
  for (let i = 0; i < halves.length; i++) {
    const h = halves[i]
    bits[i] = (h & 0x7fff) << 13
    if ((h & 0x7c00) === 0x7c00) bits[i] |= 0x7f800000
    else values[i] *= 2 ** 112
    bits[i] |= (h & 0x8000) << 16
  }
  return values
}

/** bfloat16 is the upper half of a float32. */
function widenBrain(halves: Uint16Array): Float32Array {
  const bits = new Uint32Array(halves.length)
  for (let i = 0; i < halves.length; i++) bits[i] = halves[i] << 16
  return new Float32Array(bits.buffer)
}

function narrow<T extends Int32Array | Uint32Array>(
  wide: BigInt64Array | BigUint64Array,
  to: new (n: number) => T,
  at: string,
): T {
  const out = new to(wide.length)
  for (let i = 0; i < wide.length; i++) {
    out[i] = Number(wide[i])
    if (BigInt(out[i]) !== wide[i])
      throw new DataError(
        `${at}: the value ${wide[i]} at ${i} does not fit in 32 bits, and there is no 64-bit integer dtype; leave the tensor out or convert it`,
      )
  }
  return out
}

function checkBool(values: Uint8Array, at: string): Uint8Array {
  const bad = values.findIndex(x => x > 1)
  if (bad >= 0) throw new DataError(`${at}: the value ${values[bad]} at ${bad} is no bool (0 or 1)`)
  return values
}
