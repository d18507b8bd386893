/**
 * Evaluation at several scales and mirrored. In: the size of an image and ratios; the logits of each view. Out: the
 * views, and class probabilities of the image. Pure.
 * @see MMSegmentation's SegTTAModel: logits are brought to the image's size, and their softmax is averaged
 */
import { ShapeError, UsageError } from '../dsl/errors.ts'
import { resampleLinear, whole } from './resize.ts'
import type { Size } from './sample.ts'

/** How an image is looked at. */
export interface ImageView {
  readonly size: Size
  readonly flipped: boolean
}

/**
 * Every scale, and its mirror image if asked for.
 * @param options.multiple  extents are rounded to the nearest multiple of it, at least one; 1 by default
 * @throws UsageError  on a ratio that is not positive, or a multiple that is no positive integer
 * @example imageViews([360, 480], { ratios: [0.5, 1, 1.5], flip: true, multiple: 32 }) // 6 views
 */
export function imageViews(
  size: Size,
  options: { readonly ratios?: readonly number[]; readonly flip?: boolean; readonly multiple?: number } = {},
): readonly ImageView[] {
  const { ratios = [1], flip: mirrored = false, multiple = 1 } = options
  if (!(Number.isInteger(multiple) && multiple > 0) || !ratios.every(r => r > 0 && r < Infinity))
    throw new UsageError(
      `imageViews: need positive ratios and a positive integer as multiple, got [${ratios.join(', ')}] and ${multiple}`,
    )
  const scaled = (ratio: number, extent: number): number =>
    multiple * Math.max(1, Math.round((ratio * extent) / multiple))
  return ratios.flatMap(ratio =>
    (mirrored ? [false, true] : [false]).map(flipped => ({
      size: [scaled(ratio, size[0]), scaled(ratio, size[1])] as const,
      flipped,
    })),
  )
}

/**
 * The image as a view shows it: scaled (antialiased bilinear), then mirrored.
 * @param image  [3, ...size]
 * @returns [3, ...view.size]
 * @example lookAt(sample.image, [360, 480], view)
 */
export const lookAt = (image: Float32Array, size: Size, view: ImageView): Float32Array =>
  mirroredIf(view.flipped, resampleLinear(image, 3, size, whole(view.size)), view.size)

/**
 * Class probabilities of an image from the logits of its views: each is mirrored back, brought to the image's size
 * (bilinear), and the softmax over classes is averaged. The class of a pixel is the argmax.
 * @param outputs  logits [classes, ...view.size] of each view
 * @returns [classes, ...size], each pixel sums to 1
 * @throws ShapeError  if there is no output, or one has another length
 * @example mergeViews([360, 480], 11, views.map((view, i) => ({ view, logits: outputs[i] })))
 */
export function mergeViews(
  size: Size,
  classes: number,
  outputs: readonly { readonly view: ImageView; readonly logits: Float32Array }[],
): Float32Array {
  if (outputs.length === 0) throw new ShapeError('mergeViews', 'there is no output to merge')
  const plane = size[0] * size[1]
  const sum = new Float64Array(classes * plane)
  const exps = new Float64Array(classes)
  for (const { view, logits } of outputs) {
    if (logits.length !== classes * view.size[0] * view.size[1])
      throw new ShapeError(
        'mergeViews',
        `${logits.length} logits are not [${[classes, ...view.size].join(', ')}]`,
      )
    const upright = resampleLinear(
      mirroredIf(view.flipped, logits, view.size),
      classes,
      view.size,
      whole(size),
    )
    for (let p = 0; p < plane; p++) {
      let top = -Infinity
      for (let c = 0; c < classes; c++) top = Math.max(top, upright[c * plane + p])
      let total = 0
      for (let c = 0; c < classes; c++) {
        exps[c] = Math.exp(upright[c * plane + p] - top)
        total += exps[c]
      }
      for (let c = 0; c < classes; c++) sum[c * plane + p] += exps[c] / total
    }
  }
  return Float32Array.from(sum, x => x / outputs.length)
}

/** Planes with left and right exchanged. */
function mirroredIf(flipped: boolean, planes: Float32Array, [, width]: Size): Float32Array {
  if (!flipped) return planes
  const out = new Float32Array(planes.length)
  for (let i = 0; i < planes.length; i++) {
    const x = i % width
    out[i] = planes[i - x + (width - 1 - x)]
  }
  return out
}
