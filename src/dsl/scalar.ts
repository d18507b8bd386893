/**
 * The scalar language: one record per operation, with its meaning in JavaScript, WGSL and WASM (or its
 * expansion into other operations), its partial derivatives written in the language itself, and where it is
 * smooth. Everything elementwise in Cotangent is an expression of these. Adding an operation is one line in
 * `Arity` and one record; the compiler names whichever is missing.
 */
import { type DType, isFloat } from './dtype.ts'
import { ShapeError } from './errors.ts'
import * as math from './math.ts'

/** Every scalar operation and its number of operands. */
// biome-ignore format: a table
export interface Arity {
  add: 2; sub: 2; mul: 2; div: 2; rem: 2; max: 2; min: 2
  neg: 1; abs: 1; sqrt: 1; floor: 1; ceil: 1; round: 1; trunc: 1
  eq: 2; ne: 2; lt: 2; le: 2
  and: 2; or: 2; xor: 2; not: 1; shl: 2; shr: 2
  select: 3; cast: 1; bitcast: 1; isnan: 1; opaque: 1; exp2i: 1; exponent: 1
  exp: 1; expm1: 1; log: 1; log1p: 1; sin: 1; cos: 1; tanh: 1; erf: 1; pow: 2; sign: 1
}
export type ScalarOp = keyof Arity

/** A scalar expression: an argument, a literal, or an operation on expressions. */
export type Ex =
  | { readonly k: 'arg'; readonly i: number; readonly dtype: DType }
  | { readonly k: 'lit'; readonly value: number; readonly dtype: DType }
  | { readonly k: 'op'; readonly fn: ScalarOp; readonly args: readonly Ex[]; readonly dtype: DType }

type Operands<N extends number> = N extends 1
  ? [x: number]
  : N extends 2
    ? [x: number, y: number]
    : [c: number, x: number, y: number]
type ExArgs<N extends number> = N extends 1 ? [x: Ex] : N extends 2 ? [x: Ex, y: Ex] : [c: Ex, x: Ex, y: Ex]
type Texts<N extends number> = N extends 1
  ? [x: string]
  : N extends 2
    ? [x: string, y: string]
    : [c: string, x: string, y: string]

/** Which dtypes an operation takes. `select` and `cast` take all. */
type Domain = 'float' | 'number' | 'integer' | 'bool' | 'bits' | 'any'

interface Meaning<N extends number> {
  readonly arity: N
  readonly on: Domain
  /** The result's dtype: that of the (last) operand, bool, or the parameter `to`. */
  readonly out: 'same' | 'bool' | 'to'
  /** The meaning on numbers, before rounding to the dtype. The oracle. */
  readonly js: (...x: Operands<N>) => number
  /**
   * One partial per operand, given the operands and (last) the result. `null`: the derivative does not exist
   * because operand or result is discrete. A literal 0 is a derivative that is zero almost everywhere.
   */
  readonly partials: ((...x: [...ExArgs<N>, Ex]) => readonly (Ex | null)[]) | null
  /** Open intervals per operand, inside which the operation is smooth: where gradient tests sample. */
  readonly smoothOn: readonly (readonly [number, number])[]
}

/** An operation that each target renders itself. */
export interface Core<N extends number> extends Meaning<N> {
  readonly wgsl: (dtype: DType, ...x: Texts<N>) => string
  /** The instruction per operand dtype (the vector form has the same name); `own`: the renderer knows it. */
  readonly wasm: Partial<Record<DType, string>> | 'own'
}

/** An operation that is an expression of others, the same on every target. */
export interface Derived<N extends number> extends Meaning<N> {
  readonly expand: (...x: ExArgs<N>) => Ex
}
export type ScalarRecord<N extends number = number> = Core<N> | Derived<N>

/** A literal of the dtype of `like`. */
export const lit = (value: number, dtype: DType): Ex => ({ k: 'lit', value, dtype })

/** The result's dtype of an operation, or an error that names the operands. */
export function scalarType(fn: ScalarOp, args: readonly DType[], to?: DType): DType {
  const r = scalars[fn]
  const data = fn === 'select' ? args.slice(1) : args
  const d = data[data.length - 1]
  const fail = (rule: string): never => {
    throw new ShapeError(fn, `${rule}, got ${args.join(', ')}`)
  }
  if (fn === 'select' && args[0] !== 'bool') fail('the condition must be bool')
  if (data.some(x => x !== d)) fail('the operands must have one dtype; use cast')
  const fits: { [K in Domain]: boolean } = {
    float: isFloat(d),
    number: d !== 'bool',
    integer: d === 'i32' || d === 'u32',
    bool: d === 'bool',
    bits: !isFloat(d),
    any: true,
  }
  if (!fits[r.on])
    fail(`takes ${r.on === 'bits' ? 'integers or bool' : r.on === 'bool' ? 'bool' : `${r.on}s`}`)
  if (r.out === 'bool') return 'bool'
  if (r.out === 'same') return d
  if (to === undefined) return fail('needs the dtype to convert to')
  return to
}

const lift = (x: Ex | number, dtype: DType): Ex => (typeof x === 'number' ? lit(x, dtype) : x)

const op = (fn: ScalarOp, xs: readonly (Ex | number)[], to?: DType): Ex => {
  const like = [...xs].reverse().find((x): x is Ex => typeof x !== 'number')
  if (like === undefined) throw new ShapeError(fn, 'needs at least one expression among its operands')
  const args = xs.map(x => lift(x, like.dtype))
  return {
    k: 'op',
    fn,
    args,
    dtype: scalarType(
      fn,
      args.map(a => a.dtype),
      to,
    ),
  }
}

type ExOf<N extends number> = N extends 1
  ? (x: Ex) => Ex
  : N extends 2
    ? (x: Ex | number, y: Ex | number) => Ex
    : (c: Ex, x: Ex | number, y: Ex | number) => Ex

/** The language as functions on expressions: `s.mul(x, s.exp(y))`. Numbers take the dtype of their neighbours. */
export const s = new Proxy(Object.create(null), {
  get:
    (_, fn: ScalarOp) =>
    (...xs: (Ex | number)[]) =>
      op(fn, xs),
}) as { readonly [K in Exclude<ScalarOp, 'cast' | 'bitcast'>]: ExOf<Arity[K]> }
/** Conversion by value. */
export const cast = (x: Ex, to: DType): Ex => op('cast', [x], to)
/** Reinterpretation of the 32 bits. */
export const bitcast = (x: Ex, to: 'f32' | 'i32' | 'u32'): Ex => op('bitcast', [x], to)

const real = [[-3, 3]] as const
const real2 = [
  [-3, 3],
  [-3, 3],
] as const
const infix = (o: string) => (_: DType, x: string, y: string) => `(${x} ${o} ${y})`
const call = (f: string) => (_: DType, x: string) => `${f}(${x})`
const floats = (i: string) => ({ f32: `f32.${i}`, f64: `f64.${i}` })
const all = (i: string) => ({ ...floats(i), i32: `i32.${i}`, u32: `i32.${i}` })
const bits = (i: string) => ({ i32: `i32.${i}`, u32: `i32.${i}`, bool: `i32.${i}` })
const signed = (i: string) => ({ ...floats(i), i32: `i32.${i}_s`, u32: `i32.${i}_u` })
const zero = (x: Ex) => lit(0, x.dtype)
const roundEven = (x: number) => {
  const r = Math.round(x)
  return Math.abs(x % 1) === 0.5 && r % 2 !== 0 ? r - 1 : r
}
/** WGSL's own max and min may drop a NaN; the operand that is NaN, tested by its bits, wins here. */
const keepNaN = (cmp: string) => (d: DType, x: string, y: string) =>
  d === 'f32'
    ? `select(select(${y}, ${x}, ${x} ${cmp} ${y}), ${x}, ct_isnan(${x}))`
    : `select(${y}, ${x}, ${x} ${cmp} ${y})`
/** At a tie the gradient is shared equally, as in PyTorch. */
const share = (x: Ex, y: Ex): Ex =>
  s.select(s.eq(x, y), lit(0.5, x.dtype), s.select(s.lt(y, x), lit(1, x.dtype), zero(x)))

/** The operations. */
// biome-ignore format: a table reads best with one record a line
export const scalars: { readonly [K in ScalarOp]: ScalarRecord<Arity[K]> } = {
  add: { arity: 2, on: 'number', out: 'same', js: (x, y) => x + y, wgsl: infix('+'), wasm: all('add'), partials: x => [lit(1, x.dtype), lit(1, x.dtype)], smoothOn: real2 },
  sub: { arity: 2, on: 'number', out: 'same', js: (x, y) => x - y, wgsl: infix('-'), wasm: all('sub'), partials: x => [lit(1, x.dtype), lit(-1, x.dtype)], smoothOn: real2 },
  mul: { arity: 2, on: 'number', out: 'same', js: (x, y) => x * y, wgsl: infix('*'), wasm: all('mul'), partials: (x, y) => [y, x], smoothOn: real2 },
  // d(x/y) = dx / y - (x/y) dy / y
  div: { arity: 2, on: 'number', out: 'same', js: (x, y) => x / y, wgsl: infix('/'), wasm: signed('div'), partials: (_, y, q) => [s.div(1, y), s.neg(s.div(q, y))], smoothOn: [[-3, 3], [0.3, 3]] },
  // x - y trunc(x/y), as % in C, JavaScript and WGSL
  rem: { arity: 2, on: 'integer', out: 'same', js: (x, y) => x % y, wgsl: infix('%'), wasm: { i32: 'i32.rem_s', u32: 'i32.rem_u' }, partials: null, smoothOn: [] },
  max: { arity: 2, on: 'number', out: 'same', js: (x, y) => Math.max(x, y), wgsl: keepNaN('>'), wasm: signed('max'), partials: (x, y) => [share(x, y), share(y, x)], smoothOn: [[1, 2], [-2, 0]] },
  min: { arity: 2, on: 'number', out: 'same', js: (x, y) => Math.min(x, y), wgsl: keepNaN('<'), wasm: signed('min'), partials: (x, y) => [share(y, x), share(x, y)], smoothOn: [[1, 2], [-2, 0]] },
  neg: { arity: 1, on: 'number', out: 'same', js: x => -x, wgsl: (d, x) => (d === 'u32' ? `(0u - ${x})` : `(-${x})`), wasm: all('neg'), partials: x => [lit(-1, x.dtype)], smoothOn: real },
  // 0 at 0
  abs: { arity: 1, on: 'number', out: 'same', js: x => Math.abs(x), wgsl: call('abs'), wasm: { ...floats('abs'), i32: 'i32.abs' }, partials: x => [s.sign(x)], smoothOn: [[0.2, 3]] },
  sqrt: { arity: 1, on: 'float', out: 'same', js: x => Math.sqrt(x), wgsl: call('sqrt'), wasm: floats('sqrt'), partials: (_, y) => [s.div(0.5, y)], smoothOn: [[0.2, 4]] },
  floor: { arity: 1, on: 'float', out: 'same', js: x => Math.floor(x), wgsl: call('floor'), wasm: floats('floor'), partials: x => [zero(x)], smoothOn: [[0.2, 0.8]] },
  ceil: { arity: 1, on: 'float', out: 'same', js: x => Math.ceil(x), wgsl: call('ceil'), wasm: floats('ceil'), partials: x => [zero(x)], smoothOn: [[0.2, 0.8]] },
  // ties to even, as IEEE, WGSL and PyTorch
  round: { arity: 1, on: 'float', out: 'same', js: roundEven, wgsl: call('round'), wasm: floats('nearest'), partials: x => [zero(x)], smoothOn: [[0.6, 1.4]] },
  trunc: { arity: 1, on: 'float', out: 'same', js: x => Math.trunc(x), wgsl: call('trunc'), wasm: floats('trunc'), partials: x => [zero(x)], smoothOn: [[0.2, 0.8]] },
  eq: { arity: 2, on: 'any', out: 'bool', js: (x, y) => Number(x === y), wgsl: infix('=='), wasm: { ...all('eq'), bool: 'i32.eq' }, partials: null, smoothOn: [] },
  ne: { arity: 2, on: 'any', out: 'bool', js: (x, y) => Number(x !== y), wgsl: infix('!='), wasm: { ...all('ne'), bool: 'i32.ne' }, partials: null, smoothOn: [] },
  lt: { arity: 2, on: 'number', out: 'bool', js: (x, y) => Number(x < y), wgsl: infix('<'), wasm: signed('lt'), partials: null, smoothOn: [] },
  le: { arity: 2, on: 'number', out: 'bool', js: (x, y) => Number(x <= y), wgsl: infix('<='), wasm: signed('le'), partials: null, smoothOn: [] },
  and: { arity: 2, on: 'bits', out: 'same', js: (x, y) => x & y, wgsl: infix('&'), wasm: bits('and'), partials: null, smoothOn: [] },
  or: { arity: 2, on: 'bits', out: 'same', js: (x, y) => x | y, wgsl: infix('|'), wasm: bits('or'), partials: null, smoothOn: [] },
  xor: { arity: 2, on: 'bits', out: 'same', js: (x, y) => x ^ y, wgsl: (d, x, y) => (d === 'bool' ? `(${x} != ${y})` : `(${x} ^ ${y})`), wasm: bits('xor'), partials: null, smoothOn: [] },
  not: { arity: 1, on: 'bool', out: 'same', js: x => Number(!x), wgsl: (_, x) => `(!${x})`, wasm: 'own', partials: null, smoothOn: [] },
  shl: { arity: 2, on: 'integer', out: 'same', js: (x, y) => x << y, wgsl: (d, x, y) => (d === 'u32' ? `(${x} << (${y} & 31u))` : `(${x} << (u32(${y}) & 31u))`), wasm: { i32: 'i32.shl', u32: 'i32.shl' }, partials: null, smoothOn: [] },
  // logical for u32, arithmetic for i32
  shr: { arity: 2, on: 'integer', out: 'same', js: (x, y) => (x < 0 || x <= 0x7fffffff ? x >> y : x >>> y), wgsl: (d, x, y) => (d === 'u32' ? `(${x} >> (${y} & 31u))` : `(${x} >> (u32(${y}) & 31u))`), wasm: { i32: 'i32.shr_s', u32: 'i32.shr_u' }, partials: null, smoothOn: [] },
  select: { arity: 3, on: 'any', out: 'same', js: (c, x, y) => (c ? x : y), wgsl: (_, c, x, y) => `select(${y}, ${x}, ${c})`, wasm: 'own', partials: (c, x) => [null, s.select(c, lit(1, x.dtype), zero(x)), s.select(c, zero(x), lit(1, x.dtype))], smoothOn: [[0, 0], [-3, 3], [-3, 3]] },
  // by value; float to integer truncates and saturates, NaN gives 0; anything to bool is x != 0
  cast: { arity: 1, on: 'any', out: 'to', js: x => x, wgsl: (_, x) => x, wasm: 'own', partials: null, smoothOn: [] },
  bitcast: { arity: 1, on: 'any', out: 'to', js: x => x, wgsl: (_, x) => x, wasm: 'own', partials: null, smoothOn: [] },
  // by the bits on WGSL, where `x != x` is folded away
  isnan: { arity: 1, on: 'float', out: 'bool', js: x => Number(Number.isNaN(x)), wgsl: call('ct_isnan'), wasm: 'own', partials: null, smoothOn: [] },
  // the identity, which no driver can see through: keeps (x + y) - x from being folded
  opaque: { arity: 1, on: 'float', out: 'same', js: x => x, wgsl: call('ct_opaque'), wasm: 'own', partials: x => [lit(1, x.dtype)], smoothOn: real },
  // 2^x for integral x in the range of normal exponents
  exp2i: { arity: 1, on: 'float', out: 'same', js: x => 2 ** x, wgsl: call('ct_exp2i'), wasm: 'own', partials: null, smoothOn: [] },
  // floor(log2 x) of a positive normal number, from its bits
  exponent: { arity: 1, on: 'float', out: 'same', js: x => { const e = Math.floor(Math.log2(x)); return 2 ** e > x ? e - 1 : e }, wgsl: call('ct_exponent'), wasm: 'own', partials: null, smoothOn: [] },
  sign: { arity: 1, on: 'number', out: 'same', js: x => Math.sign(x), expand: x => s.select(s.lt(x, 0), lit(-1, x.dtype), s.select(s.lt(0, x), lit(1, x.dtype), x)), partials: x => [zero(x)], smoothOn: [[0.2, 3]] },
  exp: { arity: 1, on: 'float', out: 'same', js: Math.exp, expand: x => math.exp(s, x), partials: (_, y) => [y], smoothOn: real },
  expm1: { arity: 1, on: 'float', out: 'same', js: Math.expm1, expand: x => math.expm1(s, x), partials: (_, y) => [s.add(y, 1)], smoothOn: real },
  log: { arity: 1, on: 'float', out: 'same', js: Math.log, expand: x => math.log(s, x), partials: x => [s.div(1, x)], smoothOn: [[0.2, 4]] },
  log1p: { arity: 1, on: 'float', out: 'same', js: Math.log1p, expand: x => math.log1p(s, x), partials: x => [s.div(1, s.add(x, 1))], smoothOn: [[-0.7, 4]] },
  sin: { arity: 1, on: 'float', out: 'same', js: Math.sin, expand: x => math.sin(s, x), partials: x => [s.cos(x)], smoothOn: real },
  cos: { arity: 1, on: 'float', out: 'same', js: Math.cos, expand: x => math.cos(s, x), partials: x => [s.neg(s.sin(x))], smoothOn: real },
  // 1 - tanh^2
  tanh: { arity: 1, on: 'float', out: 'same', js: Math.tanh, expand: x => math.tanh(s, x), partials: (_, y) => [s.sub(1, s.mul(y, y))], smoothOn: real },
  // 2 / sqrt(pi) exp(-x^2)
  erf: { arity: 1, on: 'float', out: 'same', js: math.erfNumber, expand: x => math.erf(s, x), partials: x => [s.mul(2 / Math.sqrt(Math.PI), s.exp(s.neg(s.mul(x, x))))], smoothOn: real },
  // y x^(y-1), and x^y log x, which is 0 where x = 0 and y > 0 (as in PyTorch). At y = 0 the first is 0 by itself, and
  // its derivative by y is 1/x, but where 1/x has no finite value (tiny x, NaN)
  pow: {
    arity: 2, on: 'float', out: 'same', js: (x, y) => (x === 1 || (x === -1 && Math.abs(y) === Infinity) ? 1 : x ** y), expand: (x, y) => math.pow(s, x, y),
    partials: (x, y, z) => [
      s.select(s.and(s.eq(y, 0), s.not(s.lt(2 ** -126, s.abs(x)))), zero(x), s.mul(y, s.pow(x, s.sub(y, 1)))),
      s.select(s.and(s.eq(x, 0), s.le(0, y)), zero(x), s.mul(z, s.log(x))),
    ],
    smoothOn: [[0.3, 3], [-2, 2]],
  },
}

/** Whether the renderers meet the operation, or only its expansion. */
export const isDerived = <N extends number>(r: ScalarRecord<N>): r is Derived<N> => 'expand' in r
