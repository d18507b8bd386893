/** The confusion matrix as a picture. In: counts. Out: SVG in the colours of the report, light and dark. */
import type { ConfusionMatrix } from '../../data/metrics.ts'
import { type Html, html } from '../html.ts'

/** Beyond so many classes a cell is too small for a number. */
const maxNumbered = 24
const cell = 40
const perLetter = 7.2

/**
 * Rows are labels, columns predictions; a cell is the part of its row, in per cent. Rows without pixels are empty.
 * @example confusionPicture(matrix, dataset.classes)
 */
export function confusionPicture(matrix: ConfusionMatrix, classes: readonly string[]): Html {
  const n = classes.length
  const side = n > maxNumbered ? Math.max(6, Math.floor(960 / n)) : cell
  const font = Math.min(13, side * 0.9)
  const longest = Math.max(...classes.map(name => [...name].length))
  const margin = 16 + longest * perLetter * (font / 13)
  // Column names are turned by 60 degrees.
  const top = 12 + margin * 0.87
  const [width, height] = [margin + n * side + margin * 0.5, top + n * side + 4]
  const rows = classes.map((_, label) => {
    const row = matrix.subarray(label * n, (label + 1) * n)
    const total = row.reduce((a, b) => a + b, 0)
    return Array.from(row, count => (total === 0 ? 0 : count / total))
  })
  const named = font >= 6
  return html`<svg class="confusion" viewBox="0 0 ${round(width)} ${round(height)}" style="min-width:${Math.round(Math.min(width * 0.75, 900))}px;max-width:${Math.round(width * 1.15)}px" role="img" aria-label="Confusion matrix of ${n} classes" font-size="${font}">
${
  named
    ? classes.map((name, c) => {
        const [x, y] = [margin + (c + 0.5) * side, top - 6]
        return html`<text x="${round(x)}" y="${y}" transform="rotate(-60 ${round(x)} ${y})">${name}</text><text x="${margin - 8}" y="${round(top + (c + 0.5) * side + font * 0.35)}" text-anchor="end">${name}</text>
`
      })
    : ''
}${rows.map((row, label) =>
  row.map((part, predicted) => {
    if (part < 0.0005) return ''
    const [x, y] = [margin + predicted * side, top + label * side]
    const text =
      n <= maxNumbered
        ? html`<text x="${round(x + side / 2)}" y="${round(y + side / 2 + 4)}" text-anchor="middle" class="${part > 0.6 ? 'over' : ''}">${(100 * part).toFixed(part < 0.0995 ? 1 : 0)}</text>`
        : ''
    return html`<g><title>${classes[label]} taken for ${classes[predicted]}: ${(100 * part).toFixed(2)} %</title><rect x="${round(x)}" y="${round(y)}" width="${side}" height="${side}" class="${label === predicted ? 'right' : 'wrong'}" fill-opacity="${round(0.08 + 0.92 * part)}"/>${text}</g>
`
  }),
)}<rect x="${round(margin)}" y="${round(top)}" width="${n * side}" height="${n * side}" class="frame"/>
</svg>`
}

const round = (x: number): number => Math.round(100 * x) / 100
