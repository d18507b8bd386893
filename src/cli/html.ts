/** HTML as a tagged template. In: text. Out: markup in which every inserted text is escaped. */

/** Markup that is safe to insert as it is. */
export interface Html {
  readonly html: string
}

/** What a template takes: markup, text and numbers (both escaped), or lists of them (joined). */
export type Part = Html | string | number | readonly Part[]

/**
 * Markup from a template; whatever is inserted is escaped, except markup.
 * @example html`<p title="${name}">${items.map(x => html`<b>${x}</b>`)}</p>`.html
 */
export const html = (strings: TemplateStringsArray, ...parts: readonly Part[]): Html =>
  raw(strings.reduce((out, text, i) => out + render(parts[i - 1]) + text))

/** Vouches for text that is markup already, such as a style sheet. */
export const raw = (markup: string): Html => ({ html: markup })

/** What stands in the head of a document. */
export interface Head {
  readonly title: string
  readonly style: Html
  /** What the document may load: a Content-Security-Policy, written as it is. Absent: whatever it names. */
  readonly policy?: string
}

/**
 * A whole document as text, for wide screens, narrow ones and both colour schemes.
 * @example documentOf({ title: 'Predictions', style: raw('h1 { margin: 0 }') }, html`<h1>Predictions</h1>`)
 */
export const documentOf = ({ title, style, policy }: Head, body: Html): string =>
  html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
${policy === undefined ? '' : html`<meta http-equiv="Content-Security-Policy" content="${raw(policy)}">`}
<link rel="icon" href="data:,">
<title>${title}</title>
<style>${style}</style>
</head>
<body>
${body}
</body>
</html>
`.html

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

function render(part: Part): string {
  if (typeof part === 'string') return part.replace(/[&<>"']/g, c => entities[c])
  if (typeof part === 'number') return String(part)
  return 'html' in part ? part.html : part.map(render).join('')
}
