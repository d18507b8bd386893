/** Shape and dtype rules of elementwise operations, for the compiler: broadcasting aligned at the last axis. */
import type { DType } from '../dtype.ts'
import type { Shape } from '../shape.ts'
import type { Tensor } from '../tensor.ts'
import type { ShapeMismatch } from './mismatch.ts'

/** A tensor, or a number that takes its neighbour's dtype. */
export type Operand = Tensor | number
/** No options. */
export type None = Record<never, never>

/** Whether not even the rank is known. */
export type AnyRank<S extends Shape> = number extends S['length'] ? true : false

/** `8, 3, 64` */
type Join<S extends Shape> = S extends readonly [infer D extends number, ...infer T extends Shape]
  ? T extends readonly []
    ? `${D}`
    : `${D}, ${Join<T>}`
  : ''
/** `[8, 3, 64]`, as sentences name a shape. */
export type Show<S extends Shape> = `[${Join<S>}]`

/** The extent that two equal ones have: a literal beside a dynamic one wins; `never` where they differ. */
export type SameExtent<A extends number, B extends number> = number extends A
  ? B
  : number extends B
    ? A
    : A extends B
      ? A
      : never
type BroadcastExtent<A extends number, B extends number> = A extends 1
  ? B
  : B extends 1
    ? A
    : SameExtent<A, B>

/** The shape, or the clash as a text. */
type Align<A extends Shape, B extends Shape, Out extends Shape = readonly []> = A extends readonly [
  ...infer AH extends Shape,
  infer a extends number,
]
  ? B extends readonly [...infer BH extends Shape, infer b extends number]
    ? [BroadcastExtent<a, b>] extends [never]
      ? `${a} against ${b} on axis -${[0, ...Out]['length'] & number}`
      : Align<AH, BH, readonly [BroadcastExtent<a, b>, ...Out]>
    : readonly [...A, ...Out]
  : readonly [...B, ...Out]

type Aligned<A extends Shape, B extends Shape> =
  AnyRank<A> extends true ? Shape : AnyRank<B> extends true ? Shape : Align<A, B>

/** The shape that two shapes broadcast to. */
export type Broadcast<A extends Shape, B extends Shape> =
  Aligned<A, B> extends infer R extends Shape ? R : Shape

/** An operand's shape: a number is a scalar. */
export type ShapeOf<A> = A extends Tensor<infer S> ? S : readonly []
/** An operand's dtype: a number has none. */
export type DTypeOf<A> = A extends Tensor<Shape, infer D> ? D : never
/** The dtype that operands agree on. */
export type CommonDType<D extends DType, E extends DType> = [D] extends [never]
  ? E
  : [E] extends [never]
    ? D
    : Extract<D, E>

/** `unknown` if two operands may have one dtype; else the sentence. */
export type DTypeCheck<Op extends string, D extends DType, E extends DType> = [CommonDType<D, E>] extends [
  never,
]
  ? ShapeMismatch<`${Op}: the operands are ${D} and ${E}; use cast`>
  : unknown

/** `unknown` if two operands fit; else the sentence. */
export type BroadcastCheck<Op extends string, A extends Operand, B extends Operand> =
  Aligned<ShapeOf<A>, ShapeOf<B>> extends infer Clash extends string
    ? ShapeMismatch<`${Op}: ${Show<ShapeOf<A>>} and ${Show<ShapeOf<B>>} do not broadcast: ${Clash}`>
    : DTypeCheck<Op, DTypeOf<A>, DTypeOf<B>>

/** An elementwise operation of two operands: `op(x, y)`, or `op(y)` on a tensor that comes last. */
export interface BinaryOp<Op extends string> {
  <B extends Operand>(
    y: B,
  ): <A extends Operand>(
    x: A & BroadcastCheck<Op, A, B>,
  ) => Tensor<Broadcast<ShapeOf<A>, ShapeOf<B>>, CommonDType<DTypeOf<A>, DTypeOf<B>>>
  <A extends Operand, B extends Operand>(
    x: A,
    y: B & BroadcastCheck<Op, A, B>,
  ): Tensor<Broadcast<ShapeOf<A>, ShapeOf<B>>, CommonDType<DTypeOf<A>, DTypeOf<B>>>
}

/** A comparison of two operands; the result is bool. */
export interface CompareOp<Op extends string> {
  <B extends Operand>(
    y: B,
  ): <A extends Operand>(x: A & BroadcastCheck<Op, A, B>) => Tensor<Broadcast<ShapeOf<A>, ShapeOf<B>>, 'bool'>
  <A extends Operand, B extends Operand>(
    x: A,
    y: B & BroadcastCheck<Op, A, B>,
  ): Tensor<Broadcast<ShapeOf<A>, ShapeOf<B>>, 'bool'>
}

/** An elementwise operation of one tensor; the type stays. */
export type UnaryOp = <S extends Shape, D extends DType>(x: Tensor<S, D>) => Tensor<S, D>
