/**
 * Distillation of logits. In: a temperature. Out: a `Distillation` without parameters and without taps.
 * @see Hinton, Vinyals, Dean 2015, arXiv:1503.02531
 */
import { pipe } from 'fp-ts/lib/function.js'
import { div, map, mul } from '../dsl/build.ts'
import { UsageError } from '../dsl/errors.ts'
import { cast, where } from '../dsl/ops/elementwise.ts'
import { klDistillation } from '../dsl/ops/loss.ts'
import { sum } from '../dsl/ops/reduce.ts'
import { resizeBilinear } from '../dsl/ops/resize.ts'
import { sameShape, size } from '../dsl/shape.ts'
import { scope, type Tensor } from '../dsl/tensor.ts'
import { validPixels } from './algebra.ts'
import { checkWeight, type Distillation, type NoParams } from './distil.ts'

/** How the logits are compared. */
export interface KdOptions {
  /** Divides both networks' logits: 1. */
  readonly temperature?: number
  /** 1 */
  readonly weight?: number
  /** Whether pixels of the label `ignoreIndex` do not count: false. */
  readonly mask?: boolean
  /** 255 */
  readonly ignoreIndex?: number
}

/**
 * Knowledge distillation, averaged over pixels:
 *   L = weight * T^2 KL(softmax(teacher / T) || softmax(student / T)), over the classes
 * The logits are compared as the networks give them, upsampled to the size of the images; the student's are resized
 * bilinearly where the two sizes differ. Log: `kd`, before the weight.
 * @throws UsageError if the temperature is not positive; while tracing ShapeError if the classes differ
 * @example kd({ temperature: 4, weight: 0.5 })
 */
export function kd({
  temperature = 1,
  weight = 1,
  mask = false,
  ignoreIndex = 255,
}: KdOptions = {}): Distillation<unknown, unknown, NoParams> {
  if (!(temperature > 0)) throw new UsageError(`kd: the temperature must be positive, got ${temperature}`)
  checkWeight('kd', weight)
  return {
    init: () => ({}),
    loss: (_, student, teacher, batch) =>
      scope('kd', () => {
        const target = teacher.logits
        const [h, w] = target.shape.slice(2)
        const logits = sameShape(student.logits.shape.slice(2), [h, w])
          ? student.logits
          : pipe(student.logits, resizeBilinear({ size: [h, w] }))
        const valid = mask ? validPixels(batch.label, ignoreIndex, target) : undefined
        // equal logits have the divergence 0: pixels that do not count add nothing, and the mean is scaled back
        const kl = valid
          ? klDistillation(where(valid, logits, 0), where(valid, target, 0), { temperature })
          : klDistillation(logits, target, { temperature })
        const loss: Tensor = valid
          ? mul(kl, div(size(valid.shape), map('max', sum(cast(valid, kl.dtype)), 1)))
          : kl
        return { loss: mul(loss, weight), logs: { kd: loss } }
      }),
  }
}
