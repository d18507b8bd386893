/** The signatures of the operations in ops/shape.ts: each direct and data-last, checked and computed in literal shapes. */
import type { DType } from '../dtype.ts'
import type { Shape } from '../shape.ts'
import type { Tensor } from '../tensor.ts'
import type { Mul } from './arithmetic.ts'
import type {
  Axes,
  AxesCheck,
  Concat,
  ConcatCheck,
  ExtentAt,
  Inserted,
  ListDType,
  Only,
  Option,
  PermuteCheck,
  Permuted,
  Reduced,
  Squeezed,
  Stacked,
  WithExtent,
} from './axes.ts'
import type { None } from './broadcast.ts'
import type {
  BroadcastToCheck,
  Flattened,
  Padded,
  ReshapeCheck,
  Reshaped,
  Shuffled,
  Sliced,
  SliceOptions,
  SplitParts,
  SplitSizes,
  Tiled,
  Widths,
} from './extents.ts'

/** `reshape`: direct and data-last. */
export interface Reshape {
  <const T extends Shape>(
    shape: T,
  ): <S extends Shape, D extends DType>(x: Tensor<S, D> & ReshapeCheck<S, T>) => Tensor<Reshaped<S, T>, D>
  <S extends Shape, D extends DType, const T extends Shape>(
    x: Tensor<S, D> & ReshapeCheck<S, T>,
    shape: T,
  ): Tensor<Reshaped<S, T>, D>
}

/** `permute`: direct and data-last. */
export interface Permute {
  <const O extends Shape>(
    order: O,
  ): <S extends Shape, D extends DType>(x: Tensor<S, D> & PermuteCheck<S, O>) => Tensor<Permuted<S, O>, D>
  <S extends Shape, D extends DType, const O extends Shape>(
    x: Tensor<S, D> & PermuteCheck<S, O>,
    order: O,
  ): Tensor<Permuted<S, O>, D>
}

/** `flatten`: direct and data-last. */
export interface Flatten {
  (): <S extends Shape, D extends DType>(x: Tensor<S, D>) => Tensor<Flattened<S, 0>, D>
  <const O extends { readonly from?: number }>(
    options: O & Only<O, { readonly from?: number }>,
  ): <S extends Shape, D extends DType>(
    x: Tensor<S, D>,
  ) => Tensor<Flattened<S, Option<O, 'from', 0> & number>, D>
  <S extends Shape, D extends DType, const O extends { readonly from?: number }>(
    x: Tensor<S, D>,
    options: O & Only<O, { readonly from?: number }>,
  ): Tensor<Flattened<S, Option<O, 'from', 0> & number>, D>
  <S extends Shape, D extends DType>(x: Tensor<S, D>): Tensor<Flattened<S, 0>, D>
}

/** `squeeze`: direct and data-last. */
export interface Squeeze {
  (): <S extends Shape, D extends DType>(x: Tensor<S, D>) => Tensor<Squeezed<S>, D>
  <const A extends Axes>(
    axes: A,
  ): <S extends Shape, D extends DType>(
    x: Tensor<S, D> & AxesCheck<'squeeze', S, A>,
  ) => Tensor<Reduced<S, A, false>, D>
  <S extends Shape, D extends DType, const A extends Axes>(
    x: Tensor<S, D> & AxesCheck<'squeeze', S, A>,
    axes: A,
  ): Tensor<Reduced<S, A, false>, D>
  <S extends Shape, D extends DType>(x: Tensor<S, D>): Tensor<Squeezed<S>, D>
}

/** `unsqueeze`: direct and data-last. */
export interface Unsqueeze {
  <const A extends number>(
    axis: A,
  ): <S extends Shape, D extends DType>(x: Tensor<S, D>) => Tensor<Inserted<S, A, 1>, D>
  <S extends Shape, D extends DType, const A extends number>(
    x: Tensor<S, D>,
    axis: A,
  ): Tensor<Inserted<S, A, 1>, D>
}

/** `broadcastTo`: direct and data-last. */
export interface BroadcastTo {
  <const T extends Shape>(
    shape: T,
  ): <S extends Shape, D extends DType>(x: Tensor<S, D> & BroadcastToCheck<S, T>) => Tensor<T, D>
  <S extends Shape, D extends DType, const T extends Shape>(
    x: Tensor<S, D> & BroadcastToCheck<S, T>,
    shape: T,
  ): Tensor<T, D>
}

/** Which axis tensors are joined along. */
export interface JoinOptions {
  /** 0 by default. */
  readonly axis?: number
}

/** `concat`: direct and data-last. */
export interface ConcatOp {
  <const O extends JoinOptions>(
    options: O & Only<O, JoinOptions>,
  ): <const T extends readonly Tensor[]>(
    xs: T & ConcatCheck<T, Option<O, 'axis', 0> & number>,
  ) => Tensor<Concat<T, Option<O, 'axis', 0> & number>, ListDType<T>>
  <const T extends readonly Tensor[], const O extends JoinOptions = None>(
    xs: T & ConcatCheck<T, Option<O, 'axis', 0> & number>,
    options?: O & Only<O, JoinOptions>,
  ): Tensor<Concat<T, Option<O, 'axis', 0> & number>, ListDType<T>>
}

/** `stack`: direct and data-last. */
export interface StackOp {
  <const O extends JoinOptions>(
    options: O & Only<O, JoinOptions>,
  ): <const T extends readonly Tensor[]>(
    xs: T,
  ) => Tensor<Stacked<T, Option<O, 'axis', 0> & number>, ListDType<T>>
  <const T extends readonly Tensor[], const O extends JoinOptions = None>(
    xs: T,
    options?: O & Only<O, JoinOptions>,
  ): Tensor<Stacked<T, Option<O, 'axis', 0> & number>, ListDType<T>>
}

/** `slice`: direct and data-last. */
export interface Slice {
  <const O extends SliceOptions>(
    options: O & Only<O, SliceOptions>,
  ): <S extends Shape, D extends DType>(x: Tensor<S, D>) => Tensor<Sliced<S, O>, D>
  <S extends Shape, D extends DType, const O extends SliceOptions>(
    x: Tensor<S, D>,
    options: O & Only<O, SliceOptions>,
  ): Tensor<Sliced<S, O>, D>
}

/** How `split` cuts: into `parts` equal ones, or into `sizes`. */
export type SplitOptions = { readonly axis?: number } & (
  | { readonly sizes: readonly number[] }
  | { readonly parts: number }
)

type SplitOf<S extends Shape, D extends DType, O> = O extends { readonly sizes: infer N extends Shape }
  ? SplitSizes<S, D, Option<O, 'axis', 0> & number, N>
  : O extends { readonly parts: infer P extends number }
    ? SplitParts<S, D, Option<O, 'axis', 0> & number, P>
    : readonly Tensor<Shape, D>[]

/** `split`: direct and data-last. */
export interface Split {
  <const O extends SplitOptions>(
    options: O,
  ): <S extends Shape, D extends DType>(x: Tensor<S, D>) => SplitOf<S, D, O>
  <S extends Shape, D extends DType, const O extends SplitOptions>(
    x: Tensor<S, D>,
    options: O,
  ): SplitOf<S, D, O>
}

/** How `pad` extends a tensor. */
export interface PadOptions {
  /** [before, after] per axis. */
  readonly widths: Widths
  /** `constant` (default): `value`; `edge`: the border repeats; `reflect`: mirrored at the border, without it. */
  readonly mode?: 'constant' | 'edge' | 'reflect'
  /** 0 by default. */
  readonly value?: number
}

/** `pad`: direct and data-last. */
export interface Pad {
  <const O extends PadOptions>(
    options: O & Only<O, PadOptions>,
  ): <S extends Shape, D extends DType>(x: Tensor<S, D>) => Tensor<Padded<S, O['widths']>, D>
  <S extends Shape, D extends DType, const O extends PadOptions>(
    x: Tensor<S, D>,
    options: O & Only<O, PadOptions>,
  ): Tensor<Padded<S, O['widths']>, D>
}

/** `flip`: direct and data-last. */
export interface Flip {
  <const A extends Axes>(
    axes: A,
  ): <S extends Shape, D extends DType>(x: Tensor<S, D> & AxesCheck<'flip', S, A>) => Tensor<S, D>
  <S extends Shape, D extends DType, const A extends Axes>(
    x: Tensor<S, D> & AxesCheck<'flip', S, A>,
    axes: A,
  ): Tensor<S, D>
}

/** How far `roll` moves, and along which axis. */
export interface RollOptions {
  readonly shift: number
  readonly axis: number
}

/** `roll`: direct and data-last. */
export interface Roll {
  (options: RollOptions): <S extends Shape, D extends DType>(x: Tensor<S, D>) => Tensor<S, D>
  <S extends Shape, D extends DType>(x: Tensor<S, D>, options: RollOptions): Tensor<S, D>
}

/** `tile`: direct and data-last. */
export interface Tile {
  <const R extends Shape>(
    repeats: R,
  ): <S extends Shape, D extends DType>(x: Tensor<S, D>) => Tensor<Tiled<S, R>, D>
  <S extends Shape, D extends DType, const R extends Shape>(
    x: Tensor<S, D>,
    repeats: R,
  ): Tensor<Tiled<S, R>, D>
}

/** How often `repeat` repeats, and along which axis. */
export interface RepeatOptions {
  readonly times: number
  readonly axis: number
}

/** `repeat`: direct and data-last. */
export interface Repeat {
  <const O extends RepeatOptions>(
    options: O & Only<O, RepeatOptions>,
  ): <S extends Shape, D extends DType>(
    x: Tensor<S, D>,
  ) => Tensor<WithExtent<S, O['axis'], Mul<ExtentAt<S, O['axis']>, O['times']>>, D>
  <S extends Shape, D extends DType, const O extends RepeatOptions>(
    x: Tensor<S, D>,
    options: O & Only<O, RepeatOptions>,
  ): Tensor<WithExtent<S, O['axis'], Mul<ExtentAt<S, O['axis']>, O['times']>>, D>
}

/** `tril` and `triu`: direct and data-last. */
export interface Triangle {
  (diagonal: number): <S extends Shape, D extends DType>(x: Tensor<S, D>) => Tensor<S, D>
  <S extends Shape, D extends DType>(x: Tensor<S, D>, diagonal?: number): Tensor<S, D>
}

/** `pixelShuffle`: direct and data-last. */
export interface PixelShuffle {
  <const R extends number>(
    factor: R,
  ): <S extends Shape, D extends DType>(x: Tensor<S, D>) => Tensor<Shuffled<S, R>, D>
  <S extends Shape, D extends DType, const R extends number>(
    x: Tensor<S, D>,
    factor: R,
  ): Tensor<Shuffled<S, R>, D>
}
