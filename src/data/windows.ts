/**
 * Evaluation by sliding windows. In: sizes, and the logits of each window. Out: where the windows lie, and the mean of
 * the logits over them. Pure.
 * @see MMSegmentation's `slide_inference`: the last window of a row or column is shifted inwards; logits are averaged
 */
import { ShapeError, UsageError } from '../dsl/errors.ts'
import type { Size } from './sample.ts'

/** A part of an image, in pixels. */
export interface Window {
  readonly top: number
  readonly left: number
  readonly size: Size
}

/**
 * Windows of one size that cover an image, row by row. Where a window would reach over the edge it is shifted inwards;
 * an extent that is smaller than the window is covered by a window as small.
 * @throws UsageError  unless 0 < stride <= crop in both directions, all integers
 * @example slidingWindows([10, 20], [10, 8], [10, 6]) // left 0, 6, 12
 */
export function slidingWindows(size: Size, crop: Size, stride: Size): readonly Window[] {
  const numbers = [...size, ...crop, ...stride]
  if (!numbers.every(n => Number.isInteger(n) && n > 0) || stride.some((s, i) => s > crop[i]))
    throw new UsageError(
      `slidingWindows: need positive integers and stride <= crop, got size [${size.join(', ')}], crop [${crop.join(', ')}], stride [${stride.join(', ')}]`,
    )
  const [tops, lefts] = [0, 1].map(axis => {
    const reach = Math.max(0, size[axis] - crop[axis])
    return Array.from({ length: 1 + Math.ceil(reach / stride[axis]) }, (_, i) =>
      Math.min(i * stride[axis], reach),
    )
  })
  const window: Size = [Math.min(crop[0], size[0]), Math.min(crop[1], size[1])]
  return tops.flatMap(top => lefts.map(left => ({ top, left, size: window })))
}

/**
 * Planes of a window of an image.
 * @param planes  [channels, ...size]
 * @returns [channels, ...window.size]
 * @example cutWindow(image, 3, [360, 480], { top: 0, left: 80, size: [256, 256] })
 */
export function cutWindow(
  planes: Float32Array,
  channels: number,
  [h, w]: Size,
  window: Window,
): Float32Array {
  const [height, width] = window.size
  const out = new Float32Array(channels * height * width)
  for (let c = 0; c < channels; c++)
    for (let y = 0; y < height; y++) {
      const start = (c * h + window.top + y) * w + window.left
      out.set(planes.subarray(start, start + width), (c * height + y) * width)
    }
  return out
}

/**
 * The mean of the windows' logits at each pixel.
 * @param parts  logits [classes, ...window.size] of each window
 * @returns [classes, ...size]
 * @throws ShapeError  if a part has another length, or a pixel lies in no window
 * @example averageWindows([360, 480], 11, windows.map((window, i) => ({ window, logits: outputs[i] })))
 */
export function averageWindows(
  size: Size,
  classes: number,
  parts: readonly { readonly window: Window; readonly logits: ArrayLike<number> }[],
): Float32Array {
  const plane = size[0] * size[1]
  const sum = new Float64Array(classes * plane)
  const count = new Uint32Array(plane)
  for (const { window, logits } of parts) {
    const [height, width] = window.size
    if (logits.length !== classes * height * width)
      throw new ShapeError(
        'averageWindows',
        `${logits.length} logits are not [${classes}, ${height}, ${width}]`,
      )
    for (let c = 0, i = 0; c < classes; c++)
      for (let y = 0; y < height; y++)
        for (let x = 0; x < width; x++, i++) {
          const p = (window.top + y) * size[1] + window.left + x
          sum[c * plane + p] += logits[i]
          if (c === 0) count[p]++
        }
  }
  const bare = count.indexOf(0)
  if (bare >= 0)
    throw new ShapeError(
      'averageWindows',
      `row ${Math.floor(bare / size[1])}, column ${bare % size[1]} lies in no window`,
    )
  return Float32Array.from(sum, (x, i) => x / count[i % plane])
}
