/**
 * Natural-number arithmetic for the TypeScript compiler, on decimal digits with lookup tables. In and out are
 * number literals; a `number` that is no literal is dynamic and makes the result `number`.
 *
 * Inside, a number is a string of digits, the lowest first ('640' is 46), so that carries run forwards; nothing
 * recurses deeper than the number of digits. Counting tuples would end near 1,000.
 */

type Digit = '0' | '1' | '2' | '3' | '4' | '5' | '6' | '7' | '8' | '9'
type Carry = '0' | '1'

/** `Sum[a][b]` is a + b as carry and digit; a may be 10, for a 9 with a carry. */
// biome-ignore format: a table
type Sum = {
  '0': { '0': '00', '1': '01', '2': '02', '3': '03', '4': '04', '5': '05', '6': '06', '7': '07', '8': '08', '9': '09' }
  '1': { '0': '01', '1': '02', '2': '03', '3': '04', '4': '05', '5': '06', '6': '07', '7': '08', '8': '09', '9': '10' }
  '2': { '0': '02', '1': '03', '2': '04', '3': '05', '4': '06', '5': '07', '6': '08', '7': '09', '8': '10', '9': '11' }
  '3': { '0': '03', '1': '04', '2': '05', '3': '06', '4': '07', '5': '08', '6': '09', '7': '10', '8': '11', '9': '12' }
  '4': { '0': '04', '1': '05', '2': '06', '3': '07', '4': '08', '5': '09', '6': '10', '7': '11', '8': '12', '9': '13' }
  '5': { '0': '05', '1': '06', '2': '07', '3': '08', '4': '09', '5': '10', '6': '11', '7': '12', '8': '13', '9': '14' }
  '6': { '0': '06', '1': '07', '2': '08', '3': '09', '4': '10', '5': '11', '6': '12', '7': '13', '8': '14', '9': '15' }
  '7': { '0': '07', '1': '08', '2': '09', '3': '10', '4': '11', '5': '12', '6': '13', '7': '14', '8': '15', '9': '16' }
  '8': { '0': '08', '1': '09', '2': '10', '3': '11', '4': '12', '5': '13', '6': '14', '7': '15', '8': '16', '9': '17' }
  '9': { '0': '09', '1': '10', '2': '11', '3': '12', '4': '13', '5': '14', '6': '15', '7': '16', '8': '17', '9': '18' }
  '10': { '0': '10', '1': '11', '2': '12', '3': '13', '4': '14', '5': '15', '6': '16', '7': '17', '8': '18', '9': '19' }
}
/** `Times[a][b]` is a b as tens and ones. */
// biome-ignore format: a table
type Times = {
  '0': { '0': '00', '1': '00', '2': '00', '3': '00', '4': '00', '5': '00', '6': '00', '7': '00', '8': '00', '9': '00' }
  '1': { '0': '00', '1': '01', '2': '02', '3': '03', '4': '04', '5': '05', '6': '06', '7': '07', '8': '08', '9': '09' }
  '2': { '0': '00', '1': '02', '2': '04', '3': '06', '4': '08', '5': '10', '6': '12', '7': '14', '8': '16', '9': '18' }
  '3': { '0': '00', '1': '03', '2': '06', '3': '09', '4': '12', '5': '15', '6': '18', '7': '21', '8': '24', '9': '27' }
  '4': { '0': '00', '1': '04', '2': '08', '3': '12', '4': '16', '5': '20', '6': '24', '7': '28', '8': '32', '9': '36' }
  '5': { '0': '00', '1': '05', '2': '10', '3': '15', '4': '20', '5': '25', '6': '30', '7': '35', '8': '40', '9': '45' }
  '6': { '0': '00', '1': '06', '2': '12', '3': '18', '4': '24', '5': '30', '6': '36', '7': '42', '8': '48', '9': '54' }
  '7': { '0': '00', '1': '07', '2': '14', '3': '21', '4': '28', '5': '35', '6': '42', '7': '49', '8': '56', '9': '63' }
  '8': { '0': '00', '1': '08', '2': '16', '3': '24', '4': '32', '5': '40', '6': '48', '7': '56', '8': '64', '9': '72' }
  '9': { '0': '00', '1': '09', '2': '18', '3': '27', '4': '36', '5': '45', '6': '54', '7': '63', '8': '72', '9': '81' }
}
/** `Plus[carry][a]` is a + carry. */
// biome-ignore format: a table
type Plus = {
  '0': { '0': '0', '1': '1', '2': '2', '3': '3', '4': '4', '5': '5', '6': '6', '7': '7', '8': '8', '9': '9' }
  '1': { '0': '1', '1': '2', '2': '3', '3': '4', '4': '5', '5': '6', '6': '7', '7': '8', '8': '9', '9': '10' }
}
/** 9 - a */
// biome-ignore format: a table
type Nines = { '0': '9', '1': '8', '2': '7', '3': '6', '4': '5', '5': '4', '6': '3', '7': '2', '8': '1', '9': '0' }

type Reverse<S extends string, Out extends string = ''> = S extends `${infer C}${infer T}`
  ? Reverse<T, `${C}${Out}`>
  : Out
type Trim<S extends string> = S extends `0${infer T}` ? (T extends '' ? '0' : Trim<T>) : S
type Parse<S extends string> = Trim<S> extends `${infer N extends number}` ? N : never
type Digits<N extends number> = Reverse<`${N}`>
type Value<S extends string> = Parse<Reverse<S>>

type AddDigits<A extends string, B extends string, C extends Carry = '0', Out extends string = ''> = [
  A,
  B,
] extends [`${infer a extends Digit}${infer AT}`, `${infer b extends Digit}${infer BT}`]
  ? Sum[Plus[C][a]][b] extends `${infer c extends Carry}${infer d}`
    ? AddDigits<AT, BT, c, `${Out}${d}`>
    : never
  : C extends '0'
    ? `${Out}${A}${B}`
    : AddDigits<A extends '' ? B : A, '1', '0', Out>

/** a - b by the nines' complement of b plus one; `never` where it would be negative. b has no leading zeros. */
type SubDigits<
  A extends string,
  B extends string,
  C extends Carry = '1',
  Out extends string = '',
> = A extends `${infer a extends Digit}${infer AT}`
  ? B extends `${infer b extends Digit}${infer BT}`
    ? SubStep<Sum[Plus[C][a]][Nines[b]], AT, BT, Out>
    : SubStep<Sum[Plus[C][a]]['9'], AT, '', Out>
  : [B, C] extends ['', '1']
    ? Out
    : never
type SubStep<
  R extends string,
  AT extends string,
  BT extends string,
  Out extends string,
> = R extends `${infer c extends Carry}${infer d}` ? SubDigits<AT, BT, c, `${Out}${d}`> : never

/** A number by one digit. The carry is a digit. */
type Scale<
  A extends string,
  D extends Digit,
  C extends Digit = '0',
  Out extends string = '',
> = A extends `${infer a extends Digit}${infer AT}`
  ? Times[a][D] extends `${infer t extends Digit}${infer o extends Digit}`
    ? Sum[o][C] extends `${infer c extends Carry}${infer d}`
      ? Plus[c][t] extends infer next extends Digit
        ? Scale<AT, D, next, `${Out}${d}`>
        : never
      : never
    : never
  : C extends '0'
    ? Out
    : `${Out}${C}`
type MulDigits<
  A extends string,
  B extends string,
  Shift extends string = '',
  Out extends string = '0',
> = B extends `${infer b extends Digit}${infer BT}`
  ? MulDigits<A, BT, `0${Shift}`, b extends '0' ? Out : AddDigits<Out, `${Shift}${Scale<A, b>}`>>
  : Out

/** How often b goes into a (at most 9 times), and what is left. */
type Fit<A extends string, B extends string, Q extends Digit = '0'> = [SubDigits<A, B>] extends [never]
  ? [Q, A]
  : Plus['1'][Q] extends infer Q1 extends Digit
    ? Fit<SubDigits<A, B>, B, Q1>
    : never
/** Long division; `A` comes highest digit first. */
type LongDivision<
  A extends string,
  B extends string,
  Rest extends string = '',
  Q extends string = '',
> = A extends `${infer a}${infer AT}`
  ? Fit<`${a}${Rest}`, B> extends [infer q extends string, infer r extends string]
    ? LongDivision<AT, B, r, `${Q}${q}`>
    : never
  : [Parse<Q>, Value<Rest>]

type Dynamic<A extends number, B extends number> = number extends A ? true : number extends B ? true : false

/** a + b */
export type Add<A extends number, B extends number> =
  Dynamic<A, B> extends true
    ? number
    : A extends 0
      ? B
      : B extends 0
        ? A
        : Value<AddDigits<Digits<A>, Digits<B>>>
/** a - b; `never` where it would be negative. */
export type Sub<A extends number, B extends number> =
  Dynamic<A, B> extends true ? number : B extends 0 ? A : Value<SubDigits<Digits<A>, Digits<B>>>
/** a b; a zero makes it 0 even beside a dynamic operand. */
export type Mul<A extends number, B extends number> = A extends 0
  ? 0
  : B extends 0
    ? 0
    : A extends 1
      ? B
      : B extends 1
        ? A
        : Dynamic<A, B> extends true
          ? number
          : Value<MulDigits<Digits<A>, Digits<B>>>
/** [floor(a / b), a mod b] */
export type DivMod<A extends number, B extends number> =
  Dynamic<A, B> extends true
    ? [number, number]
    : B extends 0
      ? [never, never]
      : B extends 1
        ? [A, 0]
        : LongDivision<`${A}`, Digits<B>>
/** floor(a / b) */
export type Div<A extends number, B extends number> = DivMod<A, B>[0]
/** ceil(a / b) */
export type CeilDiv<A extends number, B extends number> = Div<Add<A, Sub<B, 1>>, B>
/** Whether a < b; `boolean` where either is dynamic. */
export type Less<A extends number, B extends number> =
  Dynamic<A, B> extends true ? boolean : [Sub<A, B>] extends [never] ? true : false
/** The product of a list: 1 of the empty list. */
export type Product<S extends readonly number[], Out extends number = 1> = S extends readonly [
  infer D extends number,
  ...infer T extends readonly number[],
]
  ? Product<T, Mul<Out, D>>
  : S extends readonly []
    ? Out
    : number
