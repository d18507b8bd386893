/**
 * Resampling of planar images and of label maps. In: planes and a view (a window of the image scaled to some
 * size). Out: the pixels of the view. Pixel centres lie at half-integers for both, so images and labels stay
 * aligned. Pure; runs in a browser.
 */
import { ignored, type Size } from './sample.ts'

/**
 * A window of a scaled image: scale to `scaled`, then cut `size` pixels from (`top`, `left`). The window may
 * reach over the edge on any side; what lies outside is filled.
 */
export interface View {
  readonly scaled: Size
  readonly top: number
  readonly left: number
  readonly size: Size
}

/** The view that is the whole image, scaled to a size. */
export const whole = (size: Size): View => ({ scaled: size, top: 0, left: 0, size })

/** For each output position the first source position and the weights from there on; no weights outside. */
interface Taps {
  readonly first: Int32Array
  readonly weights: readonly Float32Array[]
}

/**
 * Bilinear resampling, antialiased: the triangle filter is widened by the factor of shrinking, as in Pillow
 * and in PyTorch's `interpolate(antialias=True)`. An equal size gives the pixels unchanged.
 *   y[c,i,j] = sum over k,l of wy[i,k] * wx[j,l] * x[c,k,l],   the weights of a pixel sum to 1
 * @param planes  [channels, h, w]
 * @returns [channels, ...view.size]; 0 outside the image
 * @example resampleLinear(image, 3, [360, 480], whole([180, 240]))
 */
export function resampleLinear(
  planes: Float32Array | Uint8Array,
  channels: number,
  [h, w]: Size,
  view: View,
): Float32Array {
  const [outH, outW] = view.size
  const rows = taps(h, view.scaled[0], view.top, outH)
  const columns = taps(w, view.scaled[1], view.left, outW)
  const used = rowsUsed(rows, h)
  const narrow = new Float32Array(h * outW)
  const out = new Float32Array(channels * outH * outW)
  for (let c = 0; c < channels; c++) {
    for (let y = used.from; y < used.to; y++) {
      const line = (c * h + y) * w
      for (let j = 0; j < outW; j++) {
        const weights = columns.weights[j]
        const start = line + columns.first[j]
        let sum = 0
        for (let k = 0; k < weights.length; k++) sum += weights[k] * planes[start + k]
        narrow[y * outW + j] = sum
      }
    }
    for (let i = 0; i < outH; i++) {
      const weights = rows.weights[i]
      const target = (c * outH + i) * outW
      for (let k = 0; k < weights.length; k++) {
        const weight = weights[k]
        const start = (rows.first[i] + k) * outW
        for (let j = 0; j < outW; j++) out[target + j] += weight * narrow[start + j]
      }
    }
  }
  return out
}

/**
 * Nearest-neighbour resampling of a label map: never mixes class numbers.
 * @param label  [h, w]
 * @returns view.size; 255 (ignored) outside the image
 * @example resampleNearest(label, [360, 480], whole([180, 240]))
 */
export function resampleNearest(label: Uint8Array, [h, w]: Size, view: View): Uint8Array {
  const [outH, outW] = view.size
  const columns = Int32Array.from({ length: outW }, (_, j) => nearest(j + view.left, w, view.scaled[1]))
  const out = new Uint8Array(outH * outW).fill(ignored)
  for (let i = 0; i < outH; i++) {
    const y = nearest(i + view.top, h, view.scaled[0])
    if (y < 0) continue
    for (let j = 0; j < outW; j++) if (columns[j] >= 0) out[i * outW + j] = label[y * w + columns[j]]
  }
  return out
}

/** The source position nearest to position i of n scaled to m; -1 outside. */
const nearest = (i: number, n: number, m: number): number =>
  i < 0 || i >= m ? -1 : Math.min(n - 1, Math.floor(((i + 0.5) * n) / m))

function taps(n: number, m: number, offset: number, count: number): Taps {
  const support = Math.max(1, n / m)
  const first = new Int32Array(count)
  const weights: Float32Array[] = []
  for (let i = 0; i < count; i++) {
    const position = i + offset
    if (position < 0 || position >= m) {
      weights.push(new Float32Array(0))
      continue
    }
    const centre = ((position + 0.5) * n) / m
    const from = Math.max(0, Math.floor(centre - support))
    const to = Math.min(n, Math.ceil(centre + support))
    const raw: number[] = []
    for (let k = from; k < to; k++) raw.push(Math.max(0, 1 - Math.abs(k + 0.5 - centre) / support))
    const total = raw.reduce((a, b) => a + b, 0)
    first[i] = from
    weights.push(Float32Array.from(raw, x => x / total))
  }
  return { first, weights }
}

function rowsUsed(rows: Taps, h: number): { from: number; to: number } {
  let from = h
  let to = 0
  rows.weights.forEach((weights, i) => {
    if (weights.length === 0) return
    from = Math.min(from, rows.first[i])
    to = Math.max(to, rows.first[i] + weights.length)
  })
  return { from, to }
}
