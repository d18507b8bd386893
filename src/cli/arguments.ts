/**
 * The values of options. In: text as typed. Out: numbers, sizes, names; or commander's error, which names the option and
 * says what is allowed.
 */
import { InvalidArgumentError } from 'commander'

/** A parser of numbers; no text is no number. */
const number =
  (accept: (x: number) => boolean, what: string) =>
  (text: string): number => {
    const x = text.trim() === '' ? Number.NaN : Number(text)
    if (!accept(x)) throw new InvalidArgumentError(`It must be ${what}.`)
    return x
  }

/** 1, 2, 3, ... @example option('--batch <n>', 'images a step', positive) */
export const positive = number(x => Number.isInteger(x) && x > 0, 'a positive integer')
/** 0, 1, 2, ... @example option('--seed <n>', 'of the batches', natural) */
export const natural = number(x => Number.isInteger(x) && x >= 0, 'a whole number, 0 or more')
/** Any finite number above 0. @example option('--lr <x>', 'learning rate', above0) */
export const above0 = number(x => x > 0 && x < Infinity, 'a number above 0')
/** Any finite number from 0 on. @example option('--nfd-weight <x>', 'weight of NFD', from0) */
export const from0 = number(x => x >= 0 && x < Infinity, 'a number, 0 or more')
/** From 0 to 1. @example option('--alpha <x>', 'how much the colours cover', fraction) */
export const fraction = number(x => x >= 0 && x <= 1, 'a number from 0 to 1')

/** Height and width. @example sizeOf('64x96') // [64, 96] */
export function sizeOf(text: string): [height: number, width: number] {
  const [, height, width] = /^([1-9]\d*)x([1-9]\d*)$/i.exec(text) ?? []
  if (height === undefined)
    throw new InvalidArgumentError('It must be HEIGHTxWIDTH in pixels, such as 64x96.')
  return [Number(height), Number(width)]
}

/** The name of a folder in another. @example option('--name <name>', 'of the run folder', fileName) */
export function fileName(text: string): string {
  if (!/^\w[\w.-]*$/.test(text)) throw new InvalidArgumentError('Use letters, digits, ".", "-" and "_".')
  return text
}

/** Collects the values of an option that may be given several times. */
export const several = (value: string, before: readonly string[] = []): readonly string[] => [
  ...before,
  value,
]
