/** Tables for the terminal. In: a header and rows. Out: aligned text, numbers to the right. */

/** A cell: text, a number (rounded to `digits` unless whole), or null for a value that does not exist. */
export type Cell = string | number | null

/**
 * Lays out rows under a header, two spaces between columns. A column of numbers is aligned to the right
 * and all its numbers get the same number of digits.
 * @param digits  digits behind the point in a column that has a fraction
 * @example table(['model', 'mIoU'], [['teacher', 0.7123], ['student', null]])
 */
export function table(
  header: readonly string[],
  rows: readonly (readonly Cell[])[],
  { digits = 3 }: { readonly digits?: number } = {},
): string {
  const columns = header.map((title, c) => {
    const cells = rows.map(row => row[c] ?? null)
    const numeric = cells.every(cell => typeof cell !== 'string')
    const whole = cells.every(cell => typeof cell !== 'number' || Number.isInteger(cell))
    const texts = cells.map(cell =>
      cell === null ? '–' : typeof cell === 'string' ? cell : cell.toFixed(whole ? 0 : digits),
    )
    const width = Math.max(...[title, ...texts].map(text => [...text].length))
    const align = (text: string): string => {
      const space = ' '.repeat(width - [...text].length)
      return numeric ? space + text : text + space
    }
    return { lines: [align(title), '─'.repeat(width), ...texts.map(align)] }
  })
  return Array.from({ length: rows.length + 2 }, (_, i) =>
    columns
      .map(({ lines }) => lines[i])
      .join('  ')
      .trimEnd(),
  ).join('\n')
}
