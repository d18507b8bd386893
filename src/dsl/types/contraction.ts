/** Shape rules of matrix products and einsum, for the compiler. */
import type { Shape } from '../shape.ts'
import type { Tensor } from '../tensor.ts'
import type { AnyRank, Broadcast, SameExtent, Show } from './broadcast.ts'
import type { ShapeMismatch } from './mismatch.ts'

/** A shape split into its batch and its matrix; a vector is a row on the left, a column on the right. */
type LeftMatrix<S extends Shape> = S extends readonly [infer K extends number]
  ? [batch: readonly [], rows: readonly [], inner: K]
  : S extends readonly [...infer B extends Shape, infer M extends number, infer K extends number]
    ? [batch: B, rows: readonly [M], inner: K]
    : never
type RightMatrix<S extends Shape> = S extends readonly [infer K extends number]
  ? [batch: readonly [], columns: readonly [], inner: K]
  : S extends readonly [...infer B extends Shape, infer K extends number, infer N extends number]
    ? [batch: B, columns: readonly [N], inner: K]
    : never

/** The shape of `matmul(x, y)`. */
export type MatMul<X extends Shape, Y extends Shape> =
  AnyRank<X> extends true
    ? Shape
    : AnyRank<Y> extends true
      ? Shape
      : [LeftMatrix<X>, RightMatrix<Y>] extends [
            [infer B extends Shape, infer M extends Shape, number],
            [infer C extends Shape, infer N extends Shape, number],
          ]
        ? Broadcast<B, C> extends infer R extends Shape
          ? readonly [...R, ...M, ...N]
          : Shape
        : Shape
/** `unknown` if the matrices fit; else the sentence. */
export type MatMulCheck<Op extends string, X extends Shape, Y extends Shape> =
  AnyRank<X> extends true
    ? unknown
    : AnyRank<Y> extends true
      ? unknown
      : [LeftMatrix<X>, RightMatrix<Y>] extends [
            [infer B extends Shape, Shape, infer K extends number],
            [infer C extends Shape, Shape, infer L extends number],
          ]
        ? [SameExtent<K, L>] extends [never]
          ? ShapeMismatch<`${Op}: ${Show<X>} and ${Show<Y>} do not fit: the inner extents are ${K} and ${L}`>
          : AnyRank<Broadcast<B, C>> extends true
            ? ShapeMismatch<`${Op}: the batches ${Show<B>} and ${Show<C>} do not broadcast`>
            : unknown
        : ShapeMismatch<`${Op}: needs vectors or matrices, got ${Show<X>} and ${Show<Y>}`>

/** Pairs of an index and its extent. */
type Pairs = readonly [string, number]
type Spaceless<E extends string> = E extends `${infer A} ${infer B}` ? Spaceless<`${A}${B}`> : E
/** The pairs of one operand beside those known, or a sentence. */
type BindIndices<L extends string, S extends Shape, Known extends Pairs> = L extends `${infer C}${infer T}`
  ? S extends readonly [infer N extends number, ...infer R extends Shape]
    ? [Extract<Known, readonly [C, number]>] extends [never]
      ? BindIndices<T, R, Known | readonly [C, N]>
      : [SameExtent<Extract<Known, readonly [C, number]>[1], N>] extends [never]
        ? `index ${C} is ${Extract<Known, readonly [C, number]>[1]} and ${N}`
        : BindIndices<T, R, Known>
    : `there are more indices than axes`
  : S extends readonly []
    ? Known
    : `there are fewer indices than axes`
type BindAll<
  E extends string,
  T extends readonly Tensor[],
  Known extends Pairs = never,
> = T extends readonly [Tensor<infer S>, ...infer R extends readonly Tensor[]]
  ? AnyRank<S> extends true
    ? unknown
    : E extends `${infer L},${infer More}`
      ? BindNext<BindIndices<L, S, Known>, More, R>
      : R extends readonly []
        ? BindIndices<E, S, Known>
        : `the equation has fewer operands than are given`
  : `the equation has more operands than are given`
type BindNext<B, E extends string, T extends readonly Tensor[]> = [B] extends [Pairs] ? BindAll<E, T, B> : B
type Bound<E extends string, T extends readonly Tensor[]> =
  Spaceless<E> extends `${infer In}->${string}` ? BindAll<In, T> : unknown

/** The shape of `einsum(equation, ...operands)`; of unknown rank without `->`. */
export type Einsum<E extends string, T extends readonly Tensor[]> =
  Spaceless<E> extends `${string}->${infer L}`
    ? [Bound<E, T>] extends [Pairs]
      ? OutExtents<L, Bound<E, T>>
      : Shape
    : Shape
type OutExtents<L extends string, P, Out extends Shape = readonly []> = L extends `${infer C}${infer R}`
  ? Extract<P, readonly [C, number]> extends readonly [string, infer N extends number]
    ? OutExtents<R, P, readonly [...Out, N]>
    : Shape
  : Out
/** `unknown` if the operands fit the equation; else the sentence. */
export type EinsumCheck<E extends string, T extends readonly Tensor[]> =
  Bound<E, T> extends infer Why extends string ? ShapeMismatch<`einsum '${E}': ${Why}`> : unknown
