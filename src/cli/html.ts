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
