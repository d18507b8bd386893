/** Shape rules that compute extents, for the compiler: reshape, flatten, pad, slice, tile, split. */
import type { DType } from '../dtype.ts'
import type { Shape } from '../shape.ts'
import type { Tensor } from '../tensor.ts'
import type { Add, CeilDiv, Div, DivMod, Less, Mul, Product, Sub } from './arithmetic.ts'
import type { Dynamic, ExtentAt, WithExtent } from './axes.ts'
import type { AnyRank, SameExtent, Show } from './broadcast.ts'
import type { ShapeMismatch } from './mismatch.ts'

/** The extents but the -1. */
type Known<T extends Shape, Out extends Shape = readonly []> = T extends readonly [
  infer D extends number,
  ...infer R extends Shape,
]
  ? Known<R, D extends -1 ? Out : readonly [...Out, D]>
  : Out
type Fill<T extends Shape, N extends number> = { readonly [I in keyof T]: T[I] extends -1 ? N : T[I] }
type HasHole<T extends Shape> = -1 extends T[number] ? true : false

/** The new shape, its -1 computed. */
export type Reshaped<S extends Shape, T extends Shape> =
  AnyRank<T> extends true
    ? Shape
    : HasHole<T> extends true
      ? Fill<T, number extends T[number] ? number : Div<Product<S>, Product<Known<T>>>>
      : T
/** `unknown` if the elements fill the new shape; else the sentence. */
export type ReshapeCheck<S extends Shape, T extends Shape> =
  number extends Product<S>
    ? unknown
    : number extends Product<Known<T>>
      ? unknown
      : AnyRank<T> extends true
        ? unknown
        : HasHole<T> extends true
          ? DivMod<Product<S>, Product<Known<T>>>[1] extends 0
            ? unknown
            : ShapeMismatch<`reshape: ${Show<S>} has ${Product<S>} elements, no multiple of the ${Product<Known<T>>} in ${Show<T>}`>
          : Product<S> extends Product<T>
            ? unknown
            : ShapeMismatch<`reshape: ${Show<S>} has ${Product<S>} elements, ${Show<T>} has ${Product<T>}`>

/** The axes from a position on as one. */
export type Flattened<S extends Shape, From extends number, Head extends Shape = readonly []> =
  AnyRank<S> extends true
    ? Shape
    : number extends From
      ? Shape
      : Head['length'] extends From
        ? readonly [...Head, Product<S>]
        : S extends readonly [infer D extends number, ...infer T extends Shape]
          ? Flattened<T, From, readonly [...Head, D]>
          : Shape

/** `unknown` if the shape broadcasts to the other; else the sentence. */
export type BroadcastToCheck<S extends Shape, T extends Shape> =
  AnyRank<S> extends true
    ? unknown
    : AnyRank<T> extends true
      ? unknown
      : Repeats<S, T> extends true
        ? unknown
        : ShapeMismatch<`broadcastTo: ${Show<S>} does not broadcast to ${Show<T>}`>
type Repeats<S extends Shape, T extends Shape> = S extends readonly [
  ...infer SH extends Shape,
  infer s extends number,
]
  ? T extends readonly [...infer TH extends Shape, infer t extends number]
    ? s extends 1
      ? Repeats<SH, TH>
      : [SameExtent<s, t>] extends [never]
        ? false
        : Repeats<SH, TH>
    : false
  : true

/** Widths before and after, one pair per axis. */
export type Widths = readonly (readonly [before: number, after: number])[]
/** The padded shape. A negative width crops; it makes the extent dynamic. */
export type Padded<S extends Shape, W extends Widths> = {
  readonly [I in keyof S]: I extends keyof W
    ? W[I] extends readonly [infer B extends number, infer A extends number]
      ? PadExtent<S[I], B, A>
      : number
    : number
}
type PadExtent<
  N extends number,
  B extends number,
  A extends number,
> = `${B}${A}` extends `${string}-${string}` ? number : Add<Add<N, B>, A>

/** A position counted from the end where negative, and clamped to the extent. */
type Position<P, N extends number, Default extends number> = P extends number
  ? number extends P
    ? number
    : `${P}` extends `-${infer K extends number}`
      ? Less<N, K> extends true
        ? 0
        : Sub<N, K>
      : Less<N, P> extends true
        ? N
        : number extends N
          ? number
          : P
  : Default
type SliceExtent<A extends number, B extends number, Step> =
  Less<A, B> extends true
    ? Step extends number
      ? CeilDiv<Sub<B, A>, Step>
      : Sub<B, A>
    : Less<A, B> extends false
      ? 0
      : number
type At<L, I> = I extends keyof L ? L[I] : undefined
type Starts<O> = O extends { readonly starts: infer L } ? L : readonly []
type Stops<O> = O extends { readonly stops: infer L } ? L : readonly []
type Steps<O> = O extends { readonly steps: infer L } ? L : readonly []
type SliceList<N extends number, A, B, Step> = [A, B, Step] extends [undefined, undefined, undefined]
  ? N
  : SliceExtent<Position<A, N, 0>, Position<B, N, N>, Step>

/** The options of a slice: one entry per axis, counted from the first; axes without an entry stay whole. */
export interface SliceOptions {
  /** The first position, 0 by default; negative ones count from the end. */
  readonly starts?: readonly number[]
  /** The position after the last, the extent by default; negative ones count from the end. */
  readonly stops?: readonly number[]
  /** Positive, 1 by default. */
  readonly steps?: readonly number[]
}
/** The shape of a slice. */
export type Sliced<S extends Shape, O extends SliceOptions> =
  AnyRank<Starts<O> & Shape> extends true
    ? Dynamic<S>
    : AnyRank<Stops<O> & Shape> extends true
      ? Dynamic<S>
      : AnyRank<Steps<O> & Shape> extends true
        ? Dynamic<S>
        : { readonly [I in keyof S]: SliceList<S[I], At<Starts<O>, I>, At<Stops<O>, I>, At<Steps<O>, I>> }

/** The shape repeated per axis; a list shorter than the rank repeats the last axes. */
export type Tiled<S extends Shape, R extends Shape> =
  AnyRank<S> extends true
    ? Shape
    : S['length'] extends R['length']
      ? { readonly [I in keyof S]: I extends keyof R ? Mul<S[I], R[I] & number> : S[I] }
      : Shape

/** The tensors of a split into literal sizes; of unknown number if the sizes are dynamic. */
export type SplitSizes<S extends Shape, D extends DType, A extends number, N extends Shape> =
  AnyRank<N> extends true
    ? readonly Tensor<WithExtent<S, A, number>, D>[]
    : { readonly [I in keyof N]: Tensor<WithExtent<S, A, N[I]>, D> }
/** The tensors of a split into equal parts. */
export type SplitParts<
  S extends Shape,
  D extends DType,
  A extends number,
  P extends number,
> = number extends P
  ? readonly Tensor<WithExtent<S, A, number>, D>[]
  : RepeatType<Tensor<WithExtent<S, A, Div<ExtentAt<S, A>, P>>, D>, P>
type RepeatType<T, N extends number, Out extends readonly unknown[] = readonly []> = Out['length'] extends N
  ? Out
  : RepeatType<T, N, readonly [...Out, T]>

/** [n, c r^2, h, w] to [n, c, h r, w r]. */
export type Shuffled<S extends Shape, R extends number> = S extends readonly [
  infer N extends number,
  infer C extends number,
  infer H extends number,
  infer W extends number,
]
  ? readonly [N, Div<C, Mul<R, R>>, Mul<H, R>, Mul<W, R>]
  : Shape
