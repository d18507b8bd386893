/**
 * The scalar language in WGSL: types, literals, operations, accumulators, and the helper functions that a shader
 * brings along. Everything is text; names of operands go in, expressions or statements come out.
 *
 * Drivers may assume that no value is infinite or NaN, and fold accordingly. So NaN is tested by its bits, and a
 * non-finite literal is made at run time, from a zero that comes in a uniform (`ct_zero`).
 */
import type { DType } from '../../dsl/dtype.ts'
import { CompileError } from '../../dsl/errors.ts'
import { type Core, isDerived, scalars } from '../../dsl/scalar.ts'
import type { Accumulator, Instr, KernelBuffer } from '../kernel.ts'

/** What a buffer's elements are in storage; bool takes a u32 word of 0 or 1. */
export const storageType = (d: DType): 'f32' | 'i32' | 'u32' => {
  if (d === 'f64') throw new CompileError('webgpu: f64 runs on the CPU only; use f32, or the cpu backend')
  return d === 'bool' ? 'u32' : d
}

/** What a buffer's elements are in memory. */
export type ElementType = 'f16' | 'f32' | 'i32' | 'u32'
export const elementType = ({ dtype, storage }: KernelBuffer): ElementType => storage ?? storageType(dtype)

/**
 * A literal that has exactly the value, rounded to the dtype.
 * @example literal(0.1, 'f32') // '0.10000000149011612f'
 */
export function literal(value: number, dtype: DType): string {
  if (dtype === 'bool') return value ? 'true' : 'false'
  if (dtype === 'u32') return `${value >>> 0}u`
  if (dtype === 'i32') return (value | 0) === -(2 ** 31) ? 'i32(-2147483648)' : `${value | 0}i`
  const x = Math.fround(value)
  const word = new Uint32Array(new Float32Array([x]).buffer)[0]
  if (!Number.isFinite(x)) return `bitcast<${storageType(dtype)}>(${word}u ^ ct_zero)`
  // Below the normal numbers, and for -0, compilers differ on what a decimal means.
  return Math.abs(x) < 2 ** -126 && !Object.is(x, 0) ? `bitcast<f32>(${word}u)` : `${x}f`
}

/** A scalar operation applied to the names of its operands. `from` are their dtypes. */
export function scalarText(
  x: Extract<Instr, { k: 'scalar' }>,
  args: readonly string[],
  from: readonly DType[],
): string {
  const d = from[from.length - 1]
  if (x.fn === 'cast') return castText(args[0], d, x.dtype)
  if (x.fn === 'bitcast')
    return `bitcast<${storageType(x.dtype)}>(${d === 'bool' ? castText(args[0], d, 'u32') : args[0]})`
  if (x.fn === 'not' && d !== 'bool') return castText(`!${castText(args[0], d, 'bool')}`, 'bool', d)
  // Through a function, for WGSL rejects a program that divides constants by a constant 0.
  if ((x.fn === 'div' || x.fn === 'rem') && (d === 'i32' || d === 'u32'))
    return `ct_${x.fn}_${d}(${args.join(', ')})`
  const record = scalars[x.fn]
  if (isDerived(record)) throw new Error(`webgpu: ${x.fn} must be expanded before rendering`)
  // The table types `wgsl` by arity; the instruction was checked to have that many operands.
  return (record as unknown as Core<1>).wgsl(d, ...(args as [string]))
}

/** Conversion by value: floats truncate and saturate, NaN gives 0, anything to bool is x != 0. */
export function castText(x: string, from: DType, to: DType): string {
  if (from === to) return x
  if (from === 'bool') return `select(${literal(0, to)}, ${literal(1, to)}, ${x})`
  if (to === 'bool')
    return from === 'f32' ? `((bitcast<u32>(${x}) << 1u) != 0u)` : `(${x} != ${literal(0, from)})`
  return from === 'f32' ? `ct_${to}(${x})` : `${storageType(to)}(${x})`
}

const isNaNText = (d: DType, x: string) => (d === 'f32' ? `ct_isnan(${x})` : 'false')
const extreme = { f32: Infinity, f64: Infinity, i32: 2 ** 31 - 1, u32: 2 ** 32 - 1, bool: 1 } as const
const least = { f32: -Infinity, f64: -Infinity, i32: -(2 ** 31), u32: 0, bool: 0 } as const

/** What an accumulator starts from, for values of this dtype. */
export function identity(how: Accumulator['how'], dtype: DType): string {
  if (how === 'sum') return literal(0, dtype)
  if (how === 'prod') return literal(1, dtype)
  return literal((how === 'max' || how === 'argmax' ? least : extreme)[dtype], dtype)
}

/**
 * The statement that combines the value `v` into the accumulator named `a`. A NaN is the extremum; an arg
 * reduction keeps the position `at` of the first one in `a_at`. No branches: `||` and `&&` are some, and
 * SwiftShader compiles a row of them in exponential time.
 */
export function combine(how: Accumulator['how'], dtype: DType, a: string, v: string, at: string): string {
  const arg = how === 'argmax' || how === 'argmin'
  const max = how === 'max' || how === 'argmax'
  if (dtype === 'bool' && !arg) return `${a} = ${a} ${max || how === 'sum' ? '|' : '&'} ${v};`
  if (how === 'sum') return `${a} += ${v};`
  if (how === 'prod') return `${a} *= ${v};`
  const beyond =
    dtype === 'bool' ? (max ? `(${v} & !${a})` : `(!${v} & ${a})`) : `(${v} ${max ? '>' : '<'} ${a})`
  if (arg) {
    const better = dtype === 'f32' ? `(${beyond} | ${isNaNText(dtype, v)}) & !${isNaNText(dtype, a)}` : beyond
    return `{ let c = ${better}; ${a} = select(${a}, ${v}, c); ${a}_at = select(${a}_at, ${at}, c); }`
  }
  return dtype === 'f32'
    ? `${a} = select(${a}, ${v}, ${beyond} | ${isNaNText(dtype, v)});`
    : `${a} = ${max ? 'max' : 'min'}(${a}, ${v});`
}

/** The sum of some names, as a balanced tree: fewer roundings in a row, and no additions that wait for each other. */
export function pairwise(names: readonly string[]): string {
  if (names.length === 1) return names[0]
  const half = Math.ceil(names.length / 2)
  const side = (xs: readonly string[]) => (xs.length > 1 ? `(${pairwise(xs)})` : xs[0])
  return `${side(names.slice(0, half))} + ${side(names.slice(half))}`
}

/** A number in an index expression. */
export function int32(n: number): string {
  if (!Number.isInteger(n) || Math.abs(n) >= 2 ** 31)
    throw new CompileError(`webgpu: ${n} in an index does not fit in 32 bits`)
  return n < 0 ? `(${n})` : String(n)
}

// 2147483648 and 4294967296 are the first floats beyond i32 and u32.
const helpers: Readonly<Record<string, string>> = {
  ct_isnan: 'fn ct_isnan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }',
  ct_opaque: 'fn ct_opaque(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) ^ ct_zero); }',
  ct_exp2i: 'fn ct_exp2i(x: f32) -> f32 { return bitcast<f32>((i32(x) + 127) << 23u); }',
  ct_exponent: 'fn ct_exponent(x: f32) -> f32 { return f32(i32((bitcast<u32>(x) >> 23u) & 255u) - 127); }',
  ct_i32: `fn ct_i32(x: f32) -> i32 {
  let y = select(select(i32(x), 2147483647, x >= 2147483648f), i32(-2147483648), x <= -2147483648f);
  return select(y, 0, ct_isnan(x));
}`,
  ct_u32: `fn ct_u32(x: f32) -> u32 {
  let y = select(select(u32(x), 4294967295u, x >= 4294967296f), 0u, x <= 0f);
  return select(y, 0u, ct_isnan(x));
}`,
  ct_div_i32: 'fn ct_div_i32(x: i32, y: i32) -> i32 { return x / y; }',
  ct_div_u32: 'fn ct_div_u32(x: u32, y: u32) -> u32 { return x / y; }',
  ct_rem_i32: 'fn ct_rem_i32(x: i32, y: i32) -> i32 { return x % y; }',
  ct_rem_u32: 'fn ct_rem_u32(x: u32, y: u32) -> u32 { return x % y; }',
  // Quotient and remainder towards minus infinity, for y > 0.
  ct_div: 'fn ct_div(x: i32, y: i32) -> i32 { return x / y - select(0, 1, x % y < 0); }',
  ct_mod: 'fn ct_mod(x: i32, y: i32) -> i32 { let r = x % y; return select(r, r + y, r < 0); }',
}

/** The helper functions that a text calls, in a fixed order, with those that they call. */
export function helpersFor(text: string): string[] {
  const called = Object.keys(helpers).filter(name => text.includes(`${name}(`))
  const all =
    called.includes('ct_i32') || called.includes('ct_u32') ? new Set(['ct_isnan', ...called]) : called
  return [...all].map(name => helpers[name])
}
