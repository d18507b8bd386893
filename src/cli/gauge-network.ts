/**
 * The networks of the gauge test. In: widths. Out: a student and a teacher with one tap, which one layer reads, and
 * the teacher in another gauge: its tapped feature rescaled, and the scale undone in that layer.
 */
import { pipe } from 'fp-ts/lib/function.js'
import { sceneClasses } from '../data/synthetic.ts'
import { array, type NDArray } from '../dsl/array.ts'
import { resizeBilinear } from '../dsl/ops/resize.ts'
import type { Tensor } from '../dsl/tensor.ts'
import { compose, type ParamsOf, type StateOf } from '../nn/compose.ts'
import { type FeatureMap, featureMap } from '../nn/feature.ts'
import { conv, convBnRelu } from '../nn/layers.ts'

const classes = sceneClasses.length

/** The one tap: the features before the classifier. */
export type Taps = { readonly neck: FeatureMap }

/** A network of four layers: features at a quarter of the size, with one tap that one layer reads. */
function tiny<const N extends number>(width: number, neck: N) {
  const module = compose(
    {
      stem: convBnRelu(3, width, { kernel: 3, stride: 2 }),
      deep: convBnRelu(width, 2 * width, { kernel: 3, stride: 2 }),
      wide: convBnRelu(2 * width, 2 * width, { kernel: 3, dilation: 2 }),
      neck: convBnRelu(2 * width, neck, { kernel: 3, dilation: 2 }),
      classifier: conv(neck, classes, { kernel: 1 }),
    },
    (call, x: Tensor): { readonly logits: FeatureMap; readonly taps: Taps } => {
      const feature = pipe(x, call.stem, call.deep, call.wide, call.neck)
      const logits = pipe(feature, call.classifier, resizeBilinear({ size: [x.shape[2], x.shape[3]] }))
      return { logits, taps: { neck: featureMap('tiny', feature) } }
    },
  )
  return { ...module, name: `tiny(width ${width}, neck ${neck})`, tapChannels: { neck } }
}
/** 8 channels at its tap. */
export const student = tiny(8, 8)
/** 24 channels at its tap. */
export const teacher = tiny(16, 24)
/** A network's parameters and running state; the student's have the teacher's form. */
export type Params = ParamsOf<typeof teacher>
export type Running = StateOf<typeof teacher>

const times = (a: NDArray, factor: number): NDArray =>
  array(
    a.shape,
    'f32',
    Array.from(a.data, v => Number(v) * factor),
  )
/**
 * The teacher whose tapped feature is s times as large, and whose outputs are the same: the norm before the rectifier
 * makes s times its values, the classifier, which alone reads the feature, takes 1 / s of them.
 * @param s  a power of two, so that nothing is rounded
 */
export const rescaled = (params: Params, s: number): Params => ({
  ...params,
  neck: {
    ...params.neck,
    bn: { weight: times(params.neck.bn.weight, s), bias: times(params.neck.bn.bias, s) },
  },
  classifier: { ...params.classifier, weight: times(params.classifier.weight, 1 / s) },
})
