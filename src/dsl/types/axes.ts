/** Shape rules that take or rearrange whole axes, for the compiler: reductions, permutations, joins. */
import type { DType } from '../dtype.ts'
import type { Shape } from '../shape.ts'
import type { Tensor } from '../tensor.ts'
import type { Add, Less, Sub } from './arithmetic.ts'
import type { AnyRank, SameExtent, Show } from './broadcast.ts'
import type { ShapeMismatch } from './mismatch.ts'

/** One axis or a list of axes; negative ones count from the end. */
export type Axes = number | readonly number[]

/** The axis counted from the front, `never` if there is no such axis; distributes over unions. */
export type Axis<A extends number, Rank extends number> = A extends number
  ? number extends A
    ? number
    : `${A}` extends `-${infer K extends number}`
      ? Sub<Rank, K>
      : Less<A, Rank> extends false
        ? never
        : A
  : never

type Each<A> = A extends readonly (infer E extends number)[] ? E : A extends number ? A : never
/** The axes as a union of positions; `number` if dynamic. */
export type AxisSet<A, S extends Shape> = Axis<Each<A>, S['length']>

/** The first axis of a list that the shape lacks. */
type Missing<A, S extends Shape> = A extends readonly [infer H extends number, ...infer T]
  ? [Axis<H, S['length']>] extends [never]
    ? H
    : Missing<T, S>
  : A extends number
    ? [Axis<A, S['length']>] extends [never]
      ? A
      : never
    : never

/** `unknown` if the shape has all the axes; else the sentence. */
export type AxesCheck<Op extends string, S extends Shape, A> =
  AnyRank<S> extends true
    ? unknown
    : [Missing<A, S>] extends [never]
      ? unknown
      : ShapeMismatch<`${Op}: ${Show<S>} has no axis ${Missing<A, S>}`>

/** The options of a reduction. */
export interface ReduceOptions {
  /** The axes to combine; all by default. Negative ones count from the end. */
  readonly axes?: Axes
  /** Whether the axes stay, with extent 1. */
  readonly keepdims?: boolean
}
/**
 * Refuses what is no option, since a misspelt one would be ignored. A wide value (`number`) comes from an object
 * made elsewhere, which may serve several operations: it passes.
 */
export type Only<O, Options> = [Exclude<keyof O, keyof Options>] extends [never]
  ? unknown
  : { readonly [K in Exclude<keyof O, keyof Options>]: number extends O[K] ? number : never }
/** An option's type; the default where it is not given. */
export type Option<O, K extends string, Default> = K extends keyof O ? O[K] : Default

type DropAxes<
  S extends Shape,
  A,
  Keep,
  I extends readonly 0[] = [],
  Out extends Shape = readonly [],
> = S extends readonly [infer D extends number, ...infer T extends Shape]
  ? DropAxes<
      T,
      A,
      Keep,
      [...I, 0],
      I['length'] extends A ? (Keep extends true ? readonly [...Out, 1] : Out) : readonly [...Out, D]
    >
  : Out
type AllOnes<S extends Shape> = { readonly [I in keyof S]: 1 }

/** The shape without the axes; with extent 1 there if `Keep`. */
export type Reduced<S extends Shape, A, Keep> = [Keep] extends [boolean]
  ? boolean extends Keep
    ? Shape
    : [A] extends [undefined]
      ? Keep extends true
        ? AllOnes<S>
        : readonly []
      : [A] extends [Axes]
        ? AnyRank<S> extends true
          ? Shape
          : number extends AxisSet<A, S>
            ? Shape
            : DropAxes<S, AxisSet<A, S>, Keep>
        : Shape
  : Shape

/** A reduction: `op(x, options)`, or `op(options)` on a tensor that comes last; of all axes `op(x)`. */
export interface ReduceOp<Op extends string, Options extends ReduceOptions = ReduceOptions> {
  <const O extends Options>(
    options: O & Only<O, Options>,
  ): <S extends Shape, D extends DType>(
    x: Tensor<S, D> & AxesCheck<Op, S, Option<O, 'axes', undefined>>,
  ) => Tensor<Reduced<S, Option<O, 'axes', undefined>, Option<O, 'keepdims', false>>, D>
  <S extends Shape, D extends DType, const O extends Options>(
    x: Tensor<S, D> & AxesCheck<Op, S, Option<O, 'axes', undefined>>,
    options: O & Only<O, Options>,
  ): Tensor<Reduced<S, Option<O, 'axes', undefined>, Option<O, 'keepdims', false>>, D>
  (): <D extends DType>(x: Tensor<Shape, D>) => Tensor<readonly [], D>
  <D extends DType>(x: Tensor<Shape, D>): Tensor<readonly [], D>
}

/** The shape with one extent replaced. */
export type WithExtent<S extends Shape, A extends number, N extends number> =
  AnyRank<S> extends true
    ? Shape
    : number extends Axis<A, S['length']>
      ? Dynamic<S>
      : Replace<S, Axis<A, S['length']>, N>
type Replace<
  S extends Shape,
  A extends number,
  N extends number,
  I extends readonly 0[] = [],
  Out extends Shape = readonly [],
> = S extends readonly [infer D extends number, ...infer T extends Shape]
  ? Replace<T, A, N, [...I, 0], readonly [...Out, I['length'] extends A ? N : D]>
  : Out
/** The same rank, every extent dynamic. */
export type Dynamic<S extends Shape> = { readonly [I in keyof S]: number }

/** The extent of an axis. */
export type ExtentAt<S extends Shape, A extends number> =
  AnyRank<S> extends true ? number : number extends Axis<A, S['length']> ? number : S[Axis<A, S['length']>]

/** The shape with its axes in another order. */
export type Permuted<S extends Shape, Order extends Shape> =
  AnyRank<S> extends true ? Dynamic<Order> : { readonly [I in keyof Order]: ExtentAt<S, Order[I]> }
/** `unknown` if the list is as long as the rank and within it; else the sentence. */
export type PermuteCheck<S extends Shape, Order extends Shape> =
  AnyRank<S> extends true
    ? unknown
    : AnyRank<Order> extends true
      ? unknown
      : Order['length'] extends S['length']
        ? AxesCheck<'permute', S, Order>
        : ShapeMismatch<`permute: ${Show<S>} has ${S['length']} axes, the order ${Show<Order>} names ${Order['length']}`>
/** The last two axes exchanged. */
export type Swapped<S extends Shape> = S extends readonly [
  ...infer H extends Shape,
  infer A extends number,
  infer B extends number,
]
  ? readonly [...H, B, A]
  : Shape

/** A new axis of extent N at a position of the result. */
export type Inserted<S extends Shape, A extends number, N extends number> =
  AnyRank<S> extends true
    ? Shape
    : Axis<A, [...S, 0]['length']> extends infer At extends number
      ? number extends At
        ? readonly [number, ...Dynamic<S>]
        : InsertAt<S, At, N>
      : never
type InsertAt<
  S extends Shape,
  At extends number,
  N extends number,
  Out extends Shape = readonly [],
> = Out['length'] extends At
  ? readonly [...Out, N, ...S]
  : S extends readonly [infer D extends number, ...infer T extends Shape]
    ? InsertAt<T, At, N, readonly [...Out, D]>
    : readonly [...Out, N]

/** All literal ones dropped; of unknown rank if an extent is dynamic. */
export type Squeezed<S extends Shape, Out extends Shape = readonly []> = S extends readonly [
  infer D extends number,
  ...infer T extends Shape,
]
  ? number extends D
    ? Shape
    : Squeezed<T, D extends 1 ? Out : readonly [...Out, D]>
  : S extends readonly []
    ? Out
    : Shape

/** Two shapes joined along a position; a text if they clash. */
type JoinTwo<
  A extends Shape,
  B extends Shape,
  At,
  I extends readonly 0[] = [],
  Out extends Shape = readonly [],
> = A extends readonly [infer a extends number, ...infer AT extends Shape]
  ? B extends readonly [infer b extends number, ...infer BT extends Shape]
    ? I['length'] extends At
      ? JoinTwo<AT, BT, At, [...I, 0], readonly [...Out, Add<a, b>]>
      : [SameExtent<a, b>] extends [never]
        ? `${a} against ${b} on axis ${I['length']}`
        : JoinTwo<AT, BT, At, [...I, 0], readonly [...Out, SameExtent<a, b>]>
    : `the ranks differ`
  : B extends readonly []
    ? Out
    : `the ranks differ`
type JoinAll<T extends readonly Tensor[], At, Acc extends Shape> = T extends readonly [
  Tensor<infer S>,
  ...infer Rest extends readonly Tensor[],
]
  ? AnyRank<S> extends true
    ? Shape
    : AnyRank<Acc> extends true
      ? Shape
      : JoinTwo<Acc, S, At> extends infer R
        ? R extends Shape
          ? JoinAll<Rest, At, R>
          : [R, Acc, S]
        : never
  : T extends readonly []
    ? Acc
    : Shape
/** The joined shape, or the clash and the two shapes. */
type Joined<T extends readonly Tensor[], A extends number> = T extends readonly [
  Tensor<infer S>,
  ...infer Rest extends readonly Tensor[],
]
  ? AnyRank<S> extends true
    ? Shape
    : number extends A
      ? Dynamic<S>
      : JoinAll<Rest, Axis<A, S['length']>, S>
  : Shape
/** The shape of tensors joined along an axis. */
export type Concat<T extends readonly Tensor[], A extends number> =
  Joined<T, A> extends infer R extends Shape ? R : Shape
/** `unknown` if the tensors agree but on the axis; else the sentence. */
export type ConcatCheck<T extends readonly Tensor[], A extends number> =
  Joined<T, A> extends readonly [infer Why extends string, infer P extends Shape, infer Q extends Shape]
    ? ShapeMismatch<`concat: ${Show<P>} and ${Show<Q>} must agree but on axis ${A}: ${Why}`>
    : unknown
/** The shape of equal tensors stacked along a new axis. */
export type Stacked<T extends readonly Tensor[], A extends number> = T extends readonly [
  Tensor<infer S>,
  ...(readonly Tensor[]),
]
  ? Inserted<S, A, T['length']>
  : Shape
/** The dtype of the tensors of a list. */
export type ListDType<T extends readonly Tensor[]> = T[number]['dtype']
