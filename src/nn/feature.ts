/**
 * What flows between layers: float tensors, and feature maps among them. In: any traced tensor. Out: the same
 * tensor with the type that a layer needs, after a check while tracing. Networks are generic in f32 and f64.
 */
import { type FloatDType, isFloat } from '../dsl/dtype.ts'
import { ShapeError } from '../dsl/errors.ts'
import { type Shape, showType } from '../dsl/shape.ts'
import { currentScope, type Tensor } from '../dsl/tensor.ts'

/** A float tensor of any shape. */
export type Floats = Tensor<Shape, FloatDType>
/** Images or features: [batch, channels, height, width], of floats. */
export type FeatureMap = Tensor<readonly [number, number, number, number], FloatDType>

const isFloats = (x: Tensor): x is Floats => isFloat(x.dtype)
const isFeatureMap = (x: Tensor): x is FeatureMap => isFloats(x) && x.shape.length === 4

/**
 * The tensor as floats.
 * @throws ShapeError if its dtype is no float
 * @example floats('dropout', x)
 */
export function floats(op: string, x: Tensor): Floats {
  if (isFloats(x)) return x
  throw new ShapeError(
    op,
    `takes floats, got ${showType(x)}`,
    ["convert: pipe(image, cast('f32'), mul(1 / 255))"],
    currentScope(),
  )
}

/**
 * The tensor as a feature map, [batch, channels, height, width].
 * @throws ShapeError if its dtype is no float or its rank is not 4
 * @example featureMap('conv', x)
 */
export function featureMap(op: string, x: Tensor): FeatureMap {
  if (isFeatureMap(x)) return x
  throw new ShapeError(
    op,
    `takes float images, got ${showType(x)}`,
    ['an image batch is [batch, channels, height, width] of f32 or f64'],
    currentScope(),
  )
}
