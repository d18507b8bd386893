/**
 * Predictions drawn over images. In: an image, a class map, a palette. Out: pixels, and picture files of them.
 */
import jpeg from 'jpeg-js'
import { encodePng } from '../../data/image.ts'
import { resampleLinear, resampleNearest, whole } from '../../data/resize.ts'
import { type Colour, ignored, type Size } from '../../data/sample.ts'
import { html } from '../html.ts'

/** An image in 0..1 and its size. */
export interface Rgb {
  readonly size: Size
  /** [3, ...size], planar */
  readonly image: ArrayLike<number>
}

/**
 * The classes' colours over an image: (1 - alpha) image + alpha colour; void pixels show the image.
 * @param map     [height, width], class numbers
 * @param shades  a factor of the image's brightness, so that colours stand out: 1
 * @returns [height, width, 3], 8 bits
 * @example overlay({ size, image }, prediction, dataset.palette, 0.5)
 */
export function overlay(
  { size: [h, w], image }: Rgb,
  map: ArrayLike<number>,
  palette: readonly Colour[],
  alpha: number,
): Uint8Array {
  const plane = h * w
  const out = new Uint8Array(3 * plane)
  for (let p = 0; p < plane; p++) {
    const colour = map[p] === ignored ? undefined : palette[map[p]]
    for (let c = 0; c < 3; c++) {
      const shown = 255 * Math.min(1, Math.max(0, image[c * plane + p]))
      out[3 * p + c] = Math.round(colour ? (1 - alpha) * shown + alpha * colour[c] : shown)
    }
  }
  return out
}

/** An image, its label and a prediction, at most so wide: what a report has room for. */
export function shrunk(
  { size, image }: Rgb & { readonly image: Float32Array },
  maps: readonly Uint8Array[],
  maxWidth: number,
): { readonly rgb: Rgb; readonly maps: readonly Uint8Array[] } {
  const factor = maxWidth / size[1]
  if (factor >= 1) return { rgb: { size, image }, maps }
  const smaller: Size = [Math.max(1, Math.round(size[0] * factor)), maxWidth]
  const view = whole(smaller)
  return {
    rgb: { size: smaller, image: resampleLinear(image, 3, size, view) },
    maps: maps.map(map => resampleNearest(map, size, view)),
  }
}

/**
 * A picture file: PNG for small pictures, whose pixels are looked at; JPEG for others, a tenth of the bytes.
 * @param rgb  [height, width, 3]
 * @returns a data URL
 */
export function dataUrl(rgb: Uint8Array, [height, width]: Size): string {
  if (width < 200) return `data:image/png;base64,${base64(encodePng(rgb, height, width))}`
  const rgba = new Uint8Array(4 * height * width).fill(255)
  for (let p = 0; p < height * width; p++) rgba.set(rgb.subarray(3 * p, 3 * p + 3), 4 * p)
  return `data:image/jpeg;base64,${base64(jpeg.encode({ data: rgba, height, width }, 85).data)}`
}

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')

/**
 * The legend: a colour and a name a class, as an SVG file.
 * @example writeFileSync('legend.svg', legendSvg(classes, palette))
 */
export function legendSvg(classes: readonly string[], palette: readonly Colour[]): string {
  const columns = Math.ceil(classes.length / 20)
  const rows = Math.ceil(classes.length / columns)
  const column = 46 + 8 * Math.max(...classes.map(name => [...name].length))
  const [width, height] = [columns * column + 12, rows * 24 + 16]
  return html`<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="14">
<rect width="${width}" height="${height}" fill="#fff"/>
${classes.map((name, c) => {
  const [x, y] = [12 + Math.floor(c / rows) * column, 8 + (c % rows) * 24]
  const fill = `rgb(${palette[c].join(', ')})`
  return html`<rect x="${x}" y="${y + 4}" width="16" height="16" rx="3" fill="${fill}" stroke="#0003"/><text x="${x + 24}" y="${y + 17}" fill="#1a1d21">${name}</text>
`
})}</svg>
`.html
}
