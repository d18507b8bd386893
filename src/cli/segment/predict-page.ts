/**
 * The page of predictions. In: the images that were predicted, and where the results lie. Out: index.html of that folder:
 * originals beside their classes, each with a legend of the classes that occur. Originals are links to where they are.
 */
import { isAbsolute, relative, sep } from 'node:path'
import { pathToFileURL } from 'node:url'
import { documentOf, type Html, html, raw } from '../html.ts'
import { percent, swatch } from '../report-parts.ts'
import type { Classes } from './trained.ts'

/** An image that was predicted. */
export interface Predicted {
  /** The image's file. */
  readonly original: string
  /** The result's, below the folder. */
  readonly name: string
  /** Pixels of each class. */
  readonly counts: ArrayLike<number>
}

/**
 * Pixels of each class in a class map.
 * @example countsOf(Uint8Array.of(0, 2, 2), 3) // [1, 0, 2]
 */
export function countsOf(map: Uint8Array, classes: number): readonly number[] {
  const counts = Array<number>(classes).fill(0)
  for (const c of map) counts[c]++
  return counts
}

/**
 * The classes that occur in any of the images, in order.
 * @example occurring([{ original, name, counts: [1, 0, 2] }]) // [0, 2]
 */
export const occurring = (images: readonly Predicted[]): readonly number[] =>
  [...new Set(images.flatMap(({ counts }) => Array.from(counts, (n, c) => (n > 0 ? c : -1))))]
    .filter(c => c >= 0)
    .sort((a, b) => a - b)

/** A path in a folder as a URL, or that of a file on another drive. */
function urlOf(path: string): string {
  if (isAbsolute(path)) return pathToFileURL(path).href
  return path.split(sep).map(encodeURIComponent).join('/')
}

/**
 * The page.
 * @param out    the folder in which it will lie
 * @param about  where the weights come from
 * @example writeAtomic(join(out, 'index.html'), [predictPage(images, out, trained)])
 */
export function predictPage(
  images: readonly Predicted[],
  out: string,
  { classes, palette, about }: Classes & { readonly about: string },
): string {
  const entry = (c: number, share?: number): Html =>
    html`<li>${swatch(palette[c])}${classes[c]}${share === undefined ? '' : html` <b>${percent(share)} %</b>`}</li>`
  const figure = ({ original, name, counts }: Predicted): Html => {
    const all = Array.from(counts).reduce((a, b) => a + b, 0)
    const shares = Array.from(counts, (n, c) => ({ c, share: n / all }))
      .filter(({ share }) => share > 0)
      .sort((a, b) => b.share - a.share)
    const sides = [
      { url: urlOf(relative(out, original)), alt: `Original of ${name}` },
      { url: urlOf(name), alt: `Classes of ${name}` },
    ]
    return html`
<li><figure><div>${sides.map(({ url, alt }) => html`<a href="${url}"><img loading="lazy" src="${url}" alt="${alt}"></a>`)}</div>
<figcaption>${name}<ul>${shares.map(({ c, share }) => entry(c, share))}</ul></figcaption></figure></li>`
  }
  return documentOf(
    { title: 'Predictions', style },
    html`<h1>Predictions</h1>
<p>${about}</p>
<ul aria-label="Colours of the classes">${occurring(images).map(c => entry(c))}</ul>
<ol>${images.map(figure)}
</ol>`,
  )
}

const style = raw(`
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 90rem; font: 1rem/1.5 system-ui, sans-serif; color: CanvasText; background: Canvas; }
h1, p, ul, ol, figure { margin: 0; padding: 0; }
h1 { font-size: 1.6rem; line-height: 1.25; }
ul, ol { list-style: none; }
ul { display: flex; flex-wrap: wrap; gap: .1rem 1.2rem; }
body > ul { position: sticky; top: 0; padding: .6rem 0; background: Canvas; font-size: .9rem; }
.swatch { display: inline-block; width: .95em; height: .95em; margin-right: .45em; vertical-align: -.1em; border-radius: 3px; box-shadow: inset 0 0 0 1px rgb(128 128 128 / .45); print-color-adjust: exact; -webkit-print-color-adjust: exact; }
ol { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 32rem), 1fr)); gap: 1.5rem; }
figure { break-inside: avoid; }
figure > div { display: grid; grid-template-columns: 1fr 1fr; gap: .4rem; }
img { display: block; width: 100%; height: auto; border-radius: 4px; }
figcaption, p { font-size: .85rem; overflow-wrap: anywhere; }
figcaption { margin-top: .35rem; } b { font-weight: 600; font-variant-numeric: tabular-nums; }
`)
