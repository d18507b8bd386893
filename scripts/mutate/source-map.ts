/** Reads line numbers from a source map (version 3), as esbuild makes it. */

const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'

/** The numbers of a segment: base 64, five bits a digit, the sign in the lowest bit. */
function decode(segment: string): number[] {
  const out: number[] = []
  let [value, shift] = [0, 0]
  for (const c of segment) {
    const d = digits.indexOf(c)
    value |= (d & 31) << shift
    shift += 5
    if (d & 32) continue
    out.push(value & 1 ? -(value >> 1) : value >> 1)
    ;[value, shift] = [0, 0]
  }
  return out
}

/**
 * From a place in the generated text to the line (from 1) of the source.
 * @param map  the source map as JSON
 * @example linesOf(code, map)(120) // 14
 */
export function linesOf(code: string, map: string): (offset: number) => number {
  const { mappings } = JSON.parse(map) as { readonly mappings: string }
  const marks: { readonly offset: number; readonly line: number }[] = []
  const lengths = code.split('\n').map(l => l.length + 1)
  let [start, source] = [0, 0]
  mappings.split(';').forEach((line, i) => {
    let column = 0
    for (const segment of line === '' ? [] : line.split(',')) {
      const [dc, , dl] = decode(segment)
      column += dc
      source += dl ?? 0
      marks.push({ offset: start + column, line: source + 1 })
    }
    start += lengths[i] ?? 0
  })
  return offset => marks.findLast(m => m.offset <= offset)?.line ?? 1
}
