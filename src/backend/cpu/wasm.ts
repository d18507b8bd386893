/**
 * The WebAssembly encoder: instruction names in, bytes out, and the module around them. The last stage of the
 * CPU backend. Names and numbers are those of the core specification 2.0 with SIMD; only what the renderer uses
 * is in the table.
 */

export type ValueType = 'i32' | 'i64' | 'f32' | 'f64' | 'v128'
/** Code in the making. */
export type Code = number[]

/** A function without results. `locals` follow the parameters in numbering; `code` lacks the closing `end`. */
export interface WasmFunction {
  readonly name: string
  readonly params: readonly ValueType[]
  readonly locals: readonly ValueType[]
  readonly code: Code
}

/** What stands behind an opcode. `mem`: alignment (log2) and offset; `bytes`: 16 of them. */
type Immediate = 'none' | 'index' | 'mem' | 'byte' | 'i32' | 'i64' | 'f32' | 'f64' | 'bytes' | 'mem+byte'

interface Opcode {
  readonly bytes: readonly number[]
  readonly immediate: Immediate
}

const table = new Map<string, Opcode>()
const define = (prefix: readonly number[], first: number, names: string, immediate: Immediate = 'none') => {
  for (const [i, name] of names.split(' ').entries())
    table.set(name, { bytes: [...prefix, ...unsigned(first + i)], immediate })
}
const of = (type: string, names: string) =>
  names
    .split(' ')
    .map(n => `${type}.${n}`)
    .join(' ')

/** LEB128 of a non-negative integer below 2^53. */
export function unsigned(n: number): number[] {
  const out: number[] = []
  for (let rest = n; ; ) {
    const low = rest % 128
    rest = Math.floor(rest / 128)
    if (rest === 0) return [...out, low]
    out.push(low | 128)
  }
}
/** Signed LEB128 of an integer in i32, or of a safe integer in i64. */
export function signed(n: number): number[] {
  const out: number[] = []
  for (let rest = n; ; ) {
    const low = ((rest % 128) + 128) % 128
    rest = Math.floor(rest / 128)
    if ((rest === 0 && low < 64) || (rest === -1 && low >= 64)) return [...out, low]
    out.push(low | 128)
  }
}

const INT_COMPARE = 'eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u'
const INT = 'clz ctz popcnt add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl rotr'
const FLOAT = 'abs neg ceil floor trunc nearest sqrt add sub mul div min max copysign'

define([], 0x02, 'block loop if', 'byte')
define([], 0x05, 'else')
define([], 0x0b, 'end')
define([], 0x0c, 'br br_if', 'index')
define([], 0x1b, 'select')
define([], 0x20, 'local.get local.set local.tee', 'index')
define([], 0x28, 'i32.load i64.load f32.load f64.load', 'mem')
define([], 0x36, 'i32.store i64.store f32.store f64.store', 'mem')
define([], 0x41, 'i32.const', 'i32')
define([], 0x42, 'i64.const', 'i64')
define([], 0x43, 'f32.const', 'f32')
define([], 0x44, 'f64.const', 'f64')
define([], 0x45, of('i32', `eqz ${INT_COMPARE}`))
define([], 0x50, of('i64', `eqz ${INT_COMPARE}`))
define([], 0x5b, of('f32', 'eq ne lt gt le ge'))
define([], 0x61, of('f64', 'eq ne lt gt le ge'))
define([], 0x67, of('i32', INT))
define([], 0x79, of('i64', INT))
define([], 0x8b, of('f32', FLOAT))
define([], 0x99, of('f64', FLOAT))
define([], 0xa7, 'i32.wrap_i64')
define([], 0xac, 'i64.extend_i32_s i64.extend_i32_u')
define([], 0xb2, of('f32', 'convert_i32_s convert_i32_u convert_i64_s convert_i64_u demote_f64'))
define([], 0xb7, of('f64', 'convert_i32_s convert_i32_u convert_i64_s convert_i64_u promote_f32'))
define([], 0xbc, 'i32.reinterpret_f32 i64.reinterpret_f64 f32.reinterpret_i32 f64.reinterpret_i64')
define([0xfc], 0x00, of('i32', 'trunc_sat_f32_s trunc_sat_f32_u trunc_sat_f64_s trunc_sat_f64_u'))
define([0xfd], 0x00, 'v128.load', 'mem')
define([0xfd], 0x09, 'v128.load32_splat v128.load64_splat', 'mem')
define([0xfd], 0x0b, 'v128.store', 'mem')
define([0xfd], 0x0c, 'v128.const i8x16.shuffle', 'bytes')
define([0xfd], 0x11, 'i32x4.splat i64x2.splat f32x4.splat f64x2.splat')
define([0xfd], 0x1b, 'i32x4.extract_lane i32x4.replace_lane', 'byte')
define([0xfd], 0x1f, 'f32x4.extract_lane f32x4.replace_lane f64x2.extract_lane f64x2.replace_lane', 'byte')
define([0xfd], 0x37, of('i32x4', INT_COMPARE))
define([0xfd], 0x41, of('f32x4', 'eq ne lt gt le ge'))
define([0xfd], 0x47, of('f64x2', 'eq ne lt gt le ge'))
define([0xfd], 0x4d, of('v128', 'not and andnot or xor bitselect any_true'))
define([0xfd], 0x56, 'v128.load32_lane v128.load64_lane', 'mem+byte')
define([0xfd], 0x5a, 'v128.store32_lane v128.store64_lane', 'mem+byte')
define([0xfd], 0x5d, 'v128.load64_zero', 'mem')
define([0xfd], 0x5e, 'f32x4.demote_f64x2_zero f64x2.promote_low_f32x4')
define([0xfd], 0x67, of('f32x4', 'ceil floor trunc nearest'))
define([0xfd], 0x74, 'f64x2.ceil f64x2.floor')
define([0xfd], 0x7a, 'f64x2.trunc')
define([0xfd], 0x94, 'f64x2.nearest')
define([0xfd], 0xa0, of('i32x4', 'abs neg'))
define([0xfd], 0xab, of('i32x4', 'shl shr_s shr_u add'))
define([0xfd], 0xb1, 'i32x4.sub')
define([0xfd], 0xb5, of('i32x4', 'mul min_s min_u max_s max_u'))
define([0xfd], 0xc7, 'i64x2.extend_low_i32x4_s')
define([0xfd], 0xcb, of('i64x2', 'shl shr_s shr_u add'))
define([0xfd], 0xd1, 'i64x2.sub')
define([0xfd], 0xe0, of('f32x4', 'abs neg'))
define([0xfd], 0xe3, of('f32x4', 'sqrt add sub mul div min max pmin pmax'))
define([0xfd], 0xec, of('f64x2', 'abs neg'))
define([0xfd], 0xef, of('f64x2', 'sqrt add sub mul div min max pmin pmax'))
define([0xfd], 0xf8, 'i32x4.trunc_sat_f32x4_s i32x4.trunc_sat_f32x4_u')
define([0xfd], 0xfa, 'f32x4.convert_i32x4_s f32x4.convert_i32x4_u')
define([0xfd], 0xfc, 'i32x4.trunc_sat_f64x2_s_zero i32x4.trunc_sat_f64x2_u_zero')
define([0xfd], 0xfe, 'f64x2.convert_low_i32x4_s f64x2.convert_low_i32x4_u')

const scratch = new DataView(new ArrayBuffer(8))
const floatBytes = (n: number, bytes: 4 | 8): number[] => {
  if (bytes === 4) scratch.setFloat32(0, n, true)
  else scratch.setFloat64(0, n, true)
  return Array.from({ length: bytes }, (_, i) => scratch.getUint8(i))
}
const immediates: { readonly [I in Immediate]: (x: readonly number[]) => readonly number[] } = {
  none: () => [],
  index: ([i]) => unsigned(i),
  mem: ([align, offset]) => [align, ...unsigned(offset)],
  'mem+byte': ([align, offset, lane]) => [align, ...unsigned(offset), lane],
  byte: x => x,
  bytes: x => x,
  i32: ([n]) => signed(n | 0),
  i64: ([n]) => signed(n),
  f32: ([n]) => floatBytes(n, 4),
  f64: ([n]) => floatBytes(n, 8),
}

/** Whether the encoder knows an instruction. */
export const isInstruction = (name: string): boolean => table.has(name)

/**
 * Appends one instruction.
 * @param x its immediates: an index; alignment (log2) and offset; a lane; a number; 16 bytes
 * @throws Error if the name is not an instruction of the table (a defect of the renderer)
 * @example put(code, 'local.get', 0); put(code, 'f32.load', 2, 16)
 */
export function put(code: Code, name: string, ...x: readonly number[]): void {
  const opcode = table.get(name)
  if (opcode === undefined) throw new Error(`wasm: no instruction ${name} in the encoder's table`)
  for (const b of opcode.bytes) code.push(b)
  for (const b of immediates[opcode.immediate](x)) code.push(b)
}

/** The block type of a block without result. */
export const EMPTY = 0x40

const VALUE_TYPES: { readonly [T in ValueType]: number } = {
  i32: 0x7f,
  i64: 0x7e,
  f32: 0x7d,
  f64: 0x7c,
  v128: 0x7b,
}
const vec = (items: readonly (readonly number[])[]): number[] => [...unsigned(items.length), ...items.flat()]
const text = (s: string): number[] => vec([...new TextEncoder().encode(s)].map(b => [b]))

/**
 * A module that imports the memory `env.memory` (shared between threads or not) and exports the functions under their names.
 * @example new WebAssembly.Module(encodeModule([{ name: 'f', params: ['i32'], locals: [], code: [] }]))
 */
export function encodeModule(functions: readonly WasmFunction[], shared = false): Uint8Array<ArrayBuffer> {
  const section = (id: number, content: readonly number[]) => [id, ...unsigned(content.length)]
  const types = vec(functions.map(f => [0x60, ...vec(f.params.map(p => [VALUE_TYPES[p]])), 0]))
  // a shared memory declares its maximum, all that 32-bit addresses reach
  const limits = shared ? [0x03, ...unsigned(1), ...unsigned(65536)] : [0x00, ...unsigned(1)]
  const imports = vec([[...text('env'), ...text('memory'), 0x02, ...limits]])
  const declared = vec(functions.map((_, i) => unsigned(i)))
  const exports = vec(functions.map((f, i) => [...text(f.name), 0x00, ...unsigned(i)]))
  const bodies = functions.map(f => {
    const head = vec(runs(f.locals).map(([n, t]) => [...unsigned(n), VALUE_TYPES[t]]))
    return { size: unsigned(head.length + f.code.length + 1), head, code: f.code }
  })
  const count = unsigned(functions.length)
  const codeSize = bodies.reduce(
    (n, b) => n + b.size.length + b.head.length + b.code.length + 1,
    count.length,
  )
  const parts: (readonly number[])[] = [[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0]]
  for (const [id, content] of [
    [1, types],
    [2, imports],
    [3, declared],
    [7, exports],
  ] as const)
    parts.push(section(id, content), content)
  parts.push([10, ...unsigned(codeSize)], count)
  for (const b of bodies) parts.push(b.size, b.head, b.code, [0x0b])
  const bytes = new Uint8Array(parts.reduce((n, p) => n + p.length, 0))
  let at = 0
  for (const p of parts) {
    bytes.set(p, at)
    at += p.length
  }
  return bytes
}

/** Neighbouring locals of one type, counted. */
function runs(locals: readonly ValueType[]): [number, ValueType][] {
  const out: [number, ValueType][] = []
  for (const t of locals) {
    const last = out[out.length - 1]
    if (last?.[1] === t) last[0]++
    else out.push([1, t])
  }
  return out
}
