/**
 * Losses and similarities. In: predictions and targets of one shape (or logits and class labels). Out: a scalar, or
 * one value per position with the reduction 'none'. Every one is also data-last: `pipe(logits, crossEntropy(labels))`.
 */
import {
  add,
  cast,
  div,
  eq,
  iota,
  less,
  lessEqual,
  map,
  mean,
  mul,
  reshape,
  select,
  stopGradient,
  sub,
  sum,
} from '../build.ts'
import type { FloatDType } from '../dtype.ts'
import { dual, withTwo } from '../dual.ts'
import { ShapeError, UsageError } from '../errors.ts'
import { type Shape, sameShape, showType } from '../shape.ts'
import { currentScope, scope, type Tensor } from '../tensor.ts'
import { softplus } from './activation.ts'
import { squaredNorm } from './norm.ts'
import { logSoftmax, logSumParts } from './softmax.ts'

/** What becomes of the losses of the positions. */
export type LossReduction = 'mean' | 'sum' | 'none'
/** The shape that is left. */
export type Reduced<S extends Shape, R extends LossReduction> = 'none' extends R
  ? R extends 'none'
    ? S
    : Shape
  : readonly []

const finish = (x: Tensor, how: LossReduction = 'mean'): Tensor =>
  how === 'none' ? x : how === 'sum' ? sum(x) : mean(x)

function sameShapes(op: string, x: Tensor, y: Tensor): void {
  if (!sameShape(x.shape, y.shape))
    throw new ShapeError(
      op,
      'the operands must have one shape (a loss does not broadcast)',
      [`input   ${showType(x)}`, `target  ${showType(y)}`],
      currentScope(),
    )
}

/** A loss of two tensors of one type. */
export interface PairLoss<O extends object> {
  <S extends Shape, D extends FloatDType, R extends LossReduction = 'mean'>(
    x: Tensor<S, D>,
    target: Tensor<S, D>,
    options?: O & { readonly reduction?: R },
  ): Tensor<Reduced<S, R>, D>
  <S extends Shape, D extends FloatDType, R extends LossReduction = 'mean'>(
    target: Tensor<S, D>,
    options?: O & { readonly reduction?: R },
  ): (x: Tensor<S, D>) => Tensor<Reduced<S, R>, D>
}

/** A loss from its value per position; the types are those of `PairLoss`. */
const pairLoss = <O extends object>(
  name: string,
  f: (x: Tensor, target: Tensor, options: O) => Tensor,
): PairLoss<O> =>
  dual<PairLoss<O>>(
    withTwo,
    (x: Tensor, target: Tensor, options?: O & { readonly reduction?: LossReduction }) =>
      scope(name, () => {
        sameShapes(name, x, target)
        return finish(f(x, target, options ?? ({} as O)), options?.reduction)
      }),
  )

/**
 * Squared error: (x - target)^2, averaged.
 * @param x       any shape
 * @param target  the same
 * @throws ShapeError if the shapes differ
 * @example mseLoss(prediction, target)
 */
export const mseLoss: PairLoss<object> = pairLoss('mseLoss', (x, target) => {
  const d = sub(x, target)
  return mul(d, d)
})

/**
 * Huber's loss divided by beta (1): d^2 / (2 beta) where |d| < beta, else |d| - beta / 2, averaged. beta = 0 is |d|.
 * @param x       any shape
 * @param target  the same
 * @throws ShapeError if the shapes differ; UsageError if beta is negative
 * @see Girshick 2015, arXiv:1504.08083
 * @example pipe(student, smoothL1Loss(teacher, { beta: 2 }))
 */
export const smoothL1Loss: PairLoss<{ readonly beta?: number }> = pairLoss(
  'smoothL1Loss',
  (x, target, { beta = 1 }) => {
    if (!(beta >= 0)) throw new UsageError(`smoothL1Loss: beta must be 0 or more, got ${beta}`)
    const d = sub(x, target)
    const size = map('abs', d)
    if (beta === 0) return size
    return select(less(size, beta), mul(mul(d, d), 0.5 / beta), sub(size, beta / 2))
  },
)

/**
 * Binary cross-entropy of logits: -(t log sigmoid(x) + (1 - t) log(1 - sigmoid(x))) = softplus(x) - t x, averaged.
 * @param x       logits of any shape
 * @param target  probabilities of the same shape
 * @throws ShapeError if the shapes differ
 * @example bceWithLogits(logits, isRoad)
 */
export const bceWithLogits: PairLoss<object> = pairLoss('bceWithLogits', (x, target) =>
  // softplus keeps the type: it is float, as the signature of bceWithLogits demands
  sub(softplus(x as Tensor<Shape, FloatDType>), mul(x, target)),
)

/** How `crossEntropy` counts. */
export interface CrossEntropyOptions<D extends FloatDType, R extends LossReduction> {
  /** The label of positions that do not count: 255. */
  readonly ignoreIndex?: number
  /** A weight per class: [classes]. */
  readonly weights?: Tensor<Shape, D>
  /** The part of the target that is spread evenly over the classes: 0. */
  readonly labelSmoothing?: number
  readonly reduction?: R
}

/** `crossEntropy(logits, labels, options)`, or `pipe(logits, crossEntropy(labels, options))`. */
export interface CrossEntropy {
  <L extends Shape, D extends FloatDType, R extends LossReduction = 'mean'>(
    logits: Tensor<Shape, D>,
    labels: Tensor<L, 'i32'>,
    options?: CrossEntropyOptions<D, R>,
  ): Tensor<Reduced<L, R>, D>
  <L extends Shape, R extends LossReduction = 'mean', W extends FloatDType = FloatDType>(
    labels: Tensor<L, 'i32'>,
    options?: CrossEntropyOptions<W, R>,
  ): <D extends W>(logits: Tensor<Shape, D>) => Tensor<Reduced<L, R>, D>
}

/**
 * Cross-entropy of logits with class labels, as in PyTorch. With p = softmax(logits) over axis 1, at a position of label y
 *   loss = -sum over c of q_c w_c log p_c,   q_c = (1 - s) [c = y] + s / classes
 * for label smoothing s and class weights w (1). The mean divides by the sum of w_y over the counted positions.
 * A position labelled `ignoreIndex` has the loss and gradient 0. A label that is no class makes the loss NaN (PyTorch
 * stops there); nothing is read out of bounds. If every position is ignored the mean is NaN (0 / 0), as in PyTorch.
 * @param logits  [batch, classes, ...]
 * @param labels  i32[batch, ...]
 * @returns  a scalar, or [batch, ...] with reduction 'none'
 * @throws ShapeError if the labels do not fit the logits, or the weights the classes; UsageError if s is not in [0, 1]
 * @example pipe(logits, crossEntropy(labels, { ignoreIndex: 255, labelSmoothing: 0.1 }))
 */
export const crossEntropy = dual<CrossEntropy>(
  withTwo,
  (logits: Tensor, labels: Tensor, options: CrossEntropyOptions<FloatDType, LossReduction> = {}) =>
    scope('crossEntropy', () => crossEntropyOf(logits, labels, options)),
)

function crossEntropyOf(
  logits: Tensor,
  labels: Tensor,
  {
    ignoreIndex = 255,
    weights,
    labelSmoothing = 0,
    reduction = 'mean',
  }: CrossEntropyOptions<FloatDType, LossReduction>,
): Tensor {
  const [n, classes, ...rest] = logits.shape
  if (classes === undefined || !sameShape(labels.shape, [n, ...rest]) || labels.dtype !== 'i32')
    throw new ShapeError(
      'crossEntropy',
      `the labels must be i32[${[n, ...rest].join(', ')}], got ${showType(labels)}`,
      [`logits  ${showType(logits)}  [batch, classes, ...]`, `labels  ${showType(labels)}  [batch, ...]`],
      currentScope(),
    )
  if (weights && !sameShape(weights.shape, [classes]))
    throw new ShapeError(
      'crossEntropy',
      `the weights are ${showType(weights)}, the logits have ${classes} classes`,
      [`logits  ${showType(logits)}  [batch, classes, ...]`],
      currentScope(),
    )
  if (!(labelSmoothing >= 0 && labelSmoothing <= 1))
    throw new UsageError(`crossEntropy: labelSmoothing must be in [0, 1], got ${labelSmoothing}`)

  const column = [classes, ...rest.map(() => 1)]
  const target = reshape(labels, [n, 1, ...rest])
  const hot = map('and', eq(iota(column, 0), target), map('ne', target, ignoreIndex)) // [batch, classes, ...]
  const w = weights && reshape(weights, column)
  const { shifted, logSum } = logSumParts(logits, 1)
  const surprise = w ? mul(sub(logSum, shifted), w) : sub(logSum, shifted) // -w log p
  const kept = map('ne', labels, ignoreIndex)
  const isClass = map('and', lessEqual(0, labels), less(labels, classes))
  const valid = cast(map('or', isClass, map('not', kept)), logits.dtype)
  // selected, not multiplied by 0: log p may be -inf; a label that is no class gives 0 / 0
  const own = div(sum(select(hot, surprise, 0), 1), valid)
  const loss =
    labelSmoothing > 0
      ? add(mul(own, 1 - labelSmoothing), select(kept, mul(sum(surprise, 1), labelSmoothing / classes), 0))
      : own
  if (reduction === 'none') return loss
  if (reduction === 'sum') return sum(loss)
  return div(sum(loss), sum(w ? select(hot, w, 0) : cast(kept, logits.dtype)))
}

/** The axis of the distribution (1). */
export interface AxisOptions {
  readonly axis?: number
}

/** A divergence of two tensors of one type: a scalar. */
export interface Divergence<O extends object> {
  <S extends Shape, D extends FloatDType>(
    x: Tensor<S, D>,
    target: Tensor<S, D>,
    options?: O,
  ): Tensor<readonly [], D>
  <S extends Shape, D extends FloatDType>(
    target: Tensor<S, D>,
    options?: O,
  ): (x: Tensor<S, D>) => Tensor<readonly [], D>
}
const divergence = <O extends object>(
  name: string,
  f: (x: Tensor, target: Tensor, options: O) => Tensor,
): Divergence<O> =>
  dual<Divergence<O>>(withTwo, (x: Tensor, target: Tensor, options?: O) =>
    scope(name, () => {
      sameShapes(name, x, target)
      return f(x, target, options ?? ({} as O))
    }),
  )

function klOf(logQ: Tensor, logP: Tensor, axis: number): Tensor {
  const p = map('exp', logP)
  // 0 log 0 = 0, also where log p - log q is inf - inf
  const gap = select(eq(p, 0), 0, sub(logP, logQ))
  return mean(sum(mul(p, gap), axis))
}

/**
 * Kullback-Leibler divergence KL(P || Q) = sum over the axis of p (log p - log q), averaged over the rest.
 * @param logQ  log-probabilities (the student's, the data), any shape
 * @param logP  log-probabilities (the target), the same shape; a p of 0 adds 0
 * @throws ShapeError if the shapes differ or lack the axis (1)
 * @example klDivergence(logSoftmax(x, { axis: 1 }), logSoftmax(y, { axis: 1 }))
 */
export const klDivergence: Divergence<AxisOptions> = divergence('klDivergence', (logQ, logP, { axis = 1 }) =>
  klOf(logQ, logP, axis),
)

/**
 * Distillation of logits: T^2 KL(softmax(teacher / T) || softmax(student / T)), summed over the axis (1), averaged
 * over the rest, T = 1. Nothing flows to the teacher.
 * @param student  logits, [batch, classes, ...]
 * @param teacher  the same
 * @throws ShapeError if the shapes differ or lack the axis
 * @see Hinton, Vinyals, Dean 2015, arXiv:1503.02531
 * @example pipe(student, klDistillation(teacher, { temperature: 4 }))
 */
export const klDistillation: Divergence<AxisOptions & { readonly temperature?: number }> = divergence(
  'klDistillation',
  (student, teacher, { axis = 1, temperature = 1 }) => {
    // float, as the signature demands
    const logP = (x: Tensor) => logSoftmax(x as Tensor<Shape, FloatDType>, { axis, temperature })
    return mul(klOf(logP(student), logP(stopGradient(teacher)), axis), temperature * temperature)
  },
)

/** `cosineSimilarity(x, y, options)`, or `pipe(x, cosineSimilarity(y, options))`. */
export interface CosineSimilarity {
  <S extends Shape, D extends FloatDType>(
    x: Tensor<S, D>,
    y: Tensor<S, D>,
    options?: AxisOptions & { readonly eps?: number },
  ): Tensor<Shape, D>
  <S extends Shape, D extends FloatDType>(
    y: Tensor<S, D>,
    options?: AxisOptions & { readonly eps?: number },
  ): (x: Tensor<S, D>) => Tensor<Shape, D>
}

/**
 * Cosine of the angle between vectors along the axis (1): x . y / (max(|x|, eps) max(|y|, eps)), eps = 1e-8.
 * @param x  any shape
 * @param y  the same
 * @returns  the shape without the axis, in [-1, 1]; 0 for a vector of zeros, with a finite gradient
 * @throws ShapeError if the shapes differ or lack the axis
 * @example cosineSimilarity(student, teacher, { axis: 1 })
 */
export const cosineSimilarity = dual<CosineSimilarity>(
  withTwo,
  (x: Tensor, y: Tensor, { axis = 1, eps = 1e-8 }: AxisOptions & { readonly eps?: number } = {}) =>
    scope('cosineSimilarity', () => {
      sameShapes('cosineSimilarity', x, y)
      const unit = (v: Tensor) => div(v, map('sqrt', squaredNorm(v, axis, eps)))
      return sum(mul(unit(x), unit(y)), axis)
    }),
)
