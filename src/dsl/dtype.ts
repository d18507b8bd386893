/**
 * Element types. The only table of them: adding one (f16 is foreseen) is one row here, and the compiler
 * names every table that then lacks it.
 */

/** The element type of a tensor. */
export type DType = 'f32' | 'f64' | 'i32' | 'u32' | 'bool'
/** The types that have derivatives. */
export type FloatDType = 'f32' | 'f64'
export type IntDType = 'i32' | 'u32'

/** The typed array that holds each dtype on the host. */
export interface DataOf {
  f32: Float32Array
  f64: Float64Array
  i32: Int32Array
  u32: Uint32Array
  bool: Uint8Array
}
export type TypedArray = DataOf[DType]

/** `bytes` is the size of an element in a device buffer; bool takes a 32-bit word there (WGSL has no bool in storage). */
export const dtypes = {
  f32: { bytes: 4, float: true, make: (n: number) => new Float32Array(n), round: Math.fround },
  f64: { bytes: 8, float: true, make: (n: number) => new Float64Array(n), round: (x: number) => x },
  i32: { bytes: 4, float: false, make: (n: number) => new Int32Array(n), round: (x: number) => x | 0 },
  u32: { bytes: 4, float: false, make: (n: number) => new Uint32Array(n), round: (x: number) => x >>> 0 },
  bool: { bytes: 4, float: false, make: (n: number) => new Uint8Array(n), round: (x: number) => (x ? 1 : 0) },
} as const satisfies {
  [D in DType]: {
    bytes: number
    float: boolean
    make: (n: number) => DataOf[D]
    round: (x: number) => number
  }
}

/** True for the dtypes that have derivatives. */
export const isFloat = (d: DType): d is FloatDType => dtypes[d].float

/**
 * A zero-filled host array.
 * @example zeros('f32', 6) // Float32Array(6)
 */
export const makeData = <D extends DType>(dtype: D, n: number): DataOf[D] =>
  dtypes[dtype].make(n) as DataOf[D]
