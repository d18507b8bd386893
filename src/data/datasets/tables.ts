/** Long tables as text. In: names between commas, colours as hexadecimal words. Out: lists. */
import type { Colour } from '../sample.ts'

/** Names between commas, over several lines. `wordsOf('sky, tall tree')` is `['sky', 'tall tree']`. */
export const wordsOf = (text: string): readonly string[] => text.trim().replace(/\s+/g, ' ').split(', ')

/** Colours `rrggbb` between spaces. `coloursOf('ff0000 00ff7f')` is `[[255, 0, 0], [0, 255, 127]]`. */
export const coloursOf = (text: string): readonly Colour[] =>
  text
    .trim()
    .split(/\s+/)
    .map(word => Number.parseInt(word, 16))
    .map(rgb => [rgb >> 16, (rgb >> 8) & 255, rgb & 255])
