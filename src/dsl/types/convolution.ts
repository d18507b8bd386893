/** Shape rules of windows that slide over images, for the compiler: convolution, its transpose, pooling. */
import type { Shape } from '../shape.ts'
import type { Add, CeilDiv, Div, Mul, Sub } from './arithmetic.ts'
import type { Option } from './axes.ts'
import type { AnyRank, Show } from './broadcast.ts'
import type { ShapeMismatch } from './mismatch.ts'

/** One number for all axes, or one per axis. */
export type PerAxis = number | readonly number[]
/** Zeros around each axis: the same on both sides, or [before, after] per axis; `same` keeps ceil(n / stride). */
export type Padding = PerAxis | 'same' | readonly (readonly [before: number, after: number])[]

/** The options of a convolution; numbers hold for every axis. */
export interface ConvOptions {
  readonly stride?: PerAxis
  readonly padding?: Padding
  readonly dilation?: PerAxis
  /** The channels fall into so many groups that do not see each other; as many as channels: depthwise. */
  readonly groups?: number
}

/** An option on axis I. */
type OnAxis<V, I> = V extends number ? V : I extends keyof V ? (V[I] extends number ? V[I] : number) : number
/** Both paddings of axis I together; `same` and dynamic lists are handled by the callers. */
type BothSides<P, I> = P extends number
  ? Add<P, P>
  : I extends keyof P
    ? P[I] extends number
      ? Add<P[I], P[I]>
      : P[I] extends readonly [infer B extends number, infer A extends number]
        ? Add<B, A>
        : number
    : number
/** What a window covers: d (k - 1) + 1 */
type Reach<K extends number, D extends number> = K extends 1 ? 1 : Add<Mul<D, Sub<K, 1>>, 1>

/** floor((n + 2p - reach) / s) + 1; `never` if the window does not fit. */
type Slid<N extends number, K extends number, O, I> =
  Option<O, 'padding', 0> extends 'same'
    ? CeilDiv<N, OnAxis<Option<O, 'stride', 1>, I>>
    : Places<
        Sub<Add<N, BothSides<Option<O, 'padding', 0>, I>>, Reach<K, OnAxis<Option<O, 'dilation', 1>, I>>>,
        OnAxis<Option<O, 'stride', 1>, I>
      >
type Places<Room extends number, Stride extends number> = [Room] extends [never]
  ? never
  : Add<Div<Room, Stride>, 1>

/** The extents of the windows' positions along the axes. */
export type Slide<N extends Shape, K extends Shape, O> = {
  readonly [I in keyof N]: Slid<N[I], I extends keyof K ? K[I] & number : number, O, I>
}
/** s (n - 1) - 2p + d (k - 1) + outputPadding + 1 */
type Spread<N extends number, K extends number, O, I> = Sub<
  Add<
    Add<Mul<OnAxis<Option<O, 'stride', 1>, I>, Sub<N, 1>>, Reach<K, OnAxis<Option<O, 'dilation', 1>, I>>>,
    OnAxis<Option<O, 'outputPadding', 0>, I>
  >,
  BothSides<Option<O, 'padding', 0>, I>
>
type SpreadAll<N extends Shape, K extends Shape, O> = {
  readonly [I in keyof N]: Spread<N[I], I extends keyof K ? K[I] & number : number, O, I>
}

type Groups<O> = Option<O, 'groups', 1> & number

/** The shape of a convolution of [batch, in, ...] with [out, in / groups, ...]. */
export type Conv<X extends Shape, W extends Shape, O> = X extends readonly [
  infer N extends number,
  number,
  ...infer H extends Shape,
]
  ? W extends readonly [infer C extends number, number, ...infer K extends Shape]
    ? readonly [N, C, ...Slide<H, K, O>]
    : AnyImage<X>
  : AnyImage<X>
/** As many dynamic extents as the shape has. */
type AnyImage<X extends Shape> = AnyRank<X> extends true ? Shape : { readonly [I in keyof X]: number }

type RankCheck<
  Op extends string,
  X extends Shape,
  W extends Shape,
  Rank extends number,
> = X['length'] extends Rank
  ? W['length'] extends Rank
    ? unknown
    : ShapeMismatch<`${Op}: the kernel has ${W['length']} axes, ${Show<W>}, not ${Rank}`>
  : ShapeMismatch<`${Op}: the input has ${X['length']} axes, ${Show<X>}, not ${Rank}`>
type Differ<A extends number, B extends number> = number extends A
  ? false
  : number extends B
    ? false
    : A extends B
      ? false
      : true

/** `unknown` if the kernel fits the input; else the sentence. */
export type ConvCheck<Op extends string, X extends Shape, W extends Shape, O, Rank extends number> =
  AnyRank<X> extends true
    ? unknown
    : AnyRank<W> extends true
      ? unknown
      : unknown extends RankCheck<Op, X, W, Rank>
        ? Differ<X[1], Mul<W[1], Groups<O>>> extends true
          ? ShapeMismatch<`${Op}: input has ${X[1]} channels, the kernel expects ${Mul<W[1], Groups<O>>}`>
          : HasNever<Conv<X, W, O>> extends true
            ? ShapeMismatch<`${Op}: the kernel ${Show<W>} does not fit into the input ${Show<X>}`>
            : unknown
        : RankCheck<Op, X, W, Rank>
/** An extent that is `never` is a window that does not fit. */
type HasNever<Y extends Shape> = Y extends readonly [infer H, ...infer T extends Shape]
  ? [H] extends [never]
    ? true
    : HasNever<T>
  : false

/** The shape of a transposed convolution of [batch, in, ...] with [in, out / groups, ...]. */
export type ConvTranspose<X extends Shape, W extends Shape, O> = X extends readonly [
  infer N extends number,
  number,
  ...infer H extends Shape,
]
  ? W extends readonly [number, infer C extends number, ...infer K extends Shape]
    ? readonly [N, Mul<C, Groups<O>>, ...SpreadAll<H, K, O>]
    : AnyImage<X>
  : AnyImage<X>
/** `unknown` if the kernel fits the input; else the sentence. */
export type ConvTransposeCheck<Op extends string, X extends Shape, W extends Shape, Rank extends number> =
  AnyRank<X> extends true
    ? unknown
    : AnyRank<W> extends true
      ? unknown
      : unknown extends RankCheck<Op, X, W, Rank>
        ? Differ<X[1], W[0]> extends true
          ? ShapeMismatch<`${Op}: input has ${X[1]} channels, the kernel expects ${W[0]}`>
          : unknown
        : RankCheck<Op, X, W, Rank>

/** The options of a pool; a bare number or pair is the kernel. */
export interface PoolOptions {
  /** The window's height and width. */
  readonly kernel: PerAxis
  /** The kernel by default: windows side by side. */
  readonly stride?: PerAxis
  readonly padding?: PerAxis
  readonly dilation?: PerAxis
}
/** A bare kernel as options. */
export type Pooling<P> = P extends PerAxis
  ? { readonly kernel: P; readonly stride: P }
  : P extends { readonly stride: PerAxis }
    ? P
    : P & { readonly stride: Option<P, 'kernel', number> }
type KernelShape<P> = readonly [
  OnAxis<Option<P, 'kernel', number>, '0'>,
  OnAxis<Option<P, 'kernel', number>, '1'>,
]
/** The shape of a pool over the last two of four axes. */
export type Pool<X extends Shape, P> = X extends readonly [
  infer N extends number,
  infer C extends number,
  ...infer H extends Shape,
]
  ? readonly [N, C, ...Slide<H, KernelShape<Pooling<P>>, Pooling<P>>]
  : AnyImage<X>
/** `unknown` if the windows fit; else the sentence. */
export type PoolCheck<Op extends string, X extends Shape, P> =
  AnyRank<X> extends true
    ? unknown
    : X['length'] extends 4
      ? HasNever<Pool<X, P>> extends true
        ? ShapeMismatch<`${Op}: the window ${Show<KernelShape<Pooling<P>>>} does not fit into the input ${Show<X>}`>
        : unknown
      : ShapeMismatch<`${Op}: the input has ${X['length']} axes, ${Show<X>}, not 4`>

/** The last two extents replaced. */
export type Resized<X extends Shape, Size extends PerAxis> = X extends readonly [
  infer N extends number,
  infer C extends number,
  number,
  number,
]
  ? readonly [N, C, OnAxis<Size, '0'>, OnAxis<Size, '1'>]
  : AnyImage<X>
/** im2col: [n, c kh kw, positions] */
export type Columns<X extends Shape, P> = X extends readonly [
  infer N extends number,
  infer C extends number,
  ...infer H extends Shape,
]
  ? Slide<H, KernelShape<P>, P> extends readonly [infer A extends number, infer B extends number]
    ? readonly [N, Mul<C, Mul<KernelShape<P>[0], KernelShape<P>[1]>>, Mul<A, B>]
    : readonly [N, number, number]
  : readonly [number, number, number]
