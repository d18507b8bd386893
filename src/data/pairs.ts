/**
 * Datasets of image and label files. In: pairs of paths, and the rules of their labels. Out: a dataset that decodes
 * a file when it is asked for, and keeps what fits into a stated number of bytes.
 */
import { readFile, stat } from 'node:fs/promises'
import { DataError, UsageError } from '../dsl/errors.ts'
import { decodeImage, decodeLabel } from './image.ts'
import { type LabelPixels, maxFileBytes, planar } from './pixels.ts'
import { type Recipe, remade } from './recipe.ts'
import { resampleLinear, resampleNearest, whole } from './resize.ts'
import { type Colour, type Dataset, getter, ignored, type Sample, type Size } from './sample.ts'

/** An image file and its label file. */
export interface Pair {
  readonly name: string
  /** Paths. */
  readonly image: string
  readonly label: string
}

/** What every dataset of files may be asked for. */
export interface FileOptions {
  /** Resize to [height, width]: antialiased bilinear for images, nearest for labels. As stored by default. */
  readonly size?: Size
  /**
   * Bytes of decoded samples that stay in memory, 4 a pixel: the first that fit, for an epoch asks for every sample
   * once. 256 MiB by default; the threads of a loader share as much again.
   */
  readonly cache?: number
}

export interface PairOptions extends FileOptions {
  readonly name: string
  readonly pairs: readonly Pair[]
  readonly classes: readonly string[]
  readonly palette: readonly Colour[]
  /** The class of each value of a label file, or 255; other values are errors. Value c is class c by default. */
  readonly classOf?: ClassOf
}

/** `classOf[value]` is a class or 255 (ignored); a hole or -1 is a value that must not occur. 255 is always ignored. */
export type ClassOf = readonly number[]

/**
 * A dataset of pairs of files.
 * @throws UsageError  if there is no pair, more than 255 classes, or the size is not two positive integers. DataError from `get`: a missing,
 *   unreadable or damaged file, one beyond the bounds of `pixels.ts`, an image and a label of different sizes, a label
 *   value without a class. The message names the file.
 * @example
 *   pairDataset({ name: 'mine', pairs: [{ name: 'a', image: 'a.jpg', label: 'a.png' }], classes: ['road'], palette: [[128, 64, 128]] })
 */
export function pairDataset(options: PairOptions): Dataset {
  const { name, pairs, classes, palette, size, classOf = [...classes.keys()], cache = 2 ** 28 } = options
  if (pairs.length === 0) throw new UsageError(`${name}: there are no pairs of image and label`)
  if (size && !size.every(n => Number.isInteger(n) && n > 0))
    throw new UsageError(`${name}: the size must be two positive integers, got [${size.join(', ')}]`)
  if (classes.length > ignored)
    throw new UsageError(`${name}: ${classes.length} classes; a label has room for ${ignored}`)
  const about = { name, classes, palette, size: pairs.length }
  const rules: PairRules = { classOf, ...(size ? { size } : {}) }
  const read = pairReader(rules, cache)
  return {
    ...about,
    get: getter(about, index => read(pairs[index]), {
      source: index => pairs[index],
      reader: threads => readerRecipe(rules, Math.floor(cache / threads)),
    }),
  }
}

/** What a reader does with the files of a pair. */
export interface PairRules {
  readonly classOf: ClassOf
  readonly size?: Size
}

const readerRecipe = (...args: Parameters<typeof pairReader>): Recipe => ({
  module: import.meta.url,
  make: 'pairReader',
  args,
})

/**
 * Reads pairs, and keeps the first samples that fit into `cache` bytes. A failure is not kept: the file may be
 * mended while the process lives.
 * @throws DataError  as `pairDataset`
 * @example await pairReader({ classOf: [0, 1] }, 0)({ name: 'a', image: 'a.jpg', label: 'a.png' })
 */
export const pairReader = (rules: PairRules, cache: number) => {
  const kept = new Map<string, Promise<Stored>>()
  let bytes = 0
  const load = (pair: Pair): Promise<Stored> => {
    const loaded = readPair(pair, rules)
    kept.set(pair.image, loaded)
    loaded.then(
      s => {
        const size = s.image.length + s.label.length
        if (bytes + size > cache) kept.delete(pair.image)
        else bytes += size
      },
      () => kept.delete(pair.image),
    )
    return loaded
  }
  return remade(readerRecipe(rules, cache), async (pair: Pair): Promise<Sample> => {
    const stored = await (kept.get(pair.image) ?? load(pair))
    return { ...stored, name: pair.name, image: levels(stored.image), label: stored.label.slice() }
  })
}

/** A sample as it is kept: the image in bytes. */
type Stored = Omit<Sample, 'image' | 'name'> & { readonly image: Uint8Array }

async function readPair(pair: Pair, { size, classOf }: PairRules): Promise<Stored> {
  const image = decodeImage(await fileBytes(pair.image), pair.image)
  const label = decodeLabel(await fileBytes(pair.label), pair.label)
  if (image.height !== label.height || image.width !== label.width)
    throw new DataError(
      `${pair.image} is ${image.height} x ${image.width}, its label ${pair.label} is ${label.height} x ${label.width}; ` +
        'both must have one size (an image is turned as its EXIF orientation says, a label never)',
    )
  const numbers = classNumbers(label, pair.label, classOf)
  const planes = planar(image, 3)
  const from: Size = [image.height, image.width]
  const [height, width] = size ?? from
  if (height === from[0] && width === from[1]) return { height, width, image: planes, label: numbers }
  const view = whole([height, width])
  const resized = new Uint8Array(resampleLinear(planes, 3, from, view).map(Math.round))
  return { height, width, image: resized, label: resampleNearest(numbers, from, view) }
}

/** Bytes as 0..1. A loop: `Float32Array.from` with a function takes 30 ms for a frame, this one 1. */
function levels(bytes: Uint8Array): Float32Array {
  const out = new Float32Array(bytes.length)
  for (let i = 0; i < bytes.length; i++) out[i] = bytes[i] / 255
  return out
}

/** Label values as class numbers. */
function classNumbers({ data, width }: LabelPixels, path: string, classOf: ClassOf): Uint8Array {
  const table = Int16Array.from({ length: 2 ** 16 }, (_, v) => classOf[v] ?? (v === ignored ? ignored : -1))
  const out = new Uint8Array(data.length)
  for (let p = 0; p < data.length; p++) {
    const c = table[data[p]]
    if (c < 0) {
      const of = (keep: (k: number) => boolean): string => ranges(table.map(k => (keep(k) ? 0 : -1)))
      const last = Math.max(...classOf.filter(k => k !== ignored))
      throw new DataError(
        `${path}: label value ${data[p]} at row ${Math.floor(p / width)}, column ${p % width}; the classes are 0 to ${last}, ` +
          `from values ${of(k => k >= 0 && k !== ignored)}; ignored are ${of(k => k === ignored)}`,
      )
    }
    out[p] = c
  }
  return out
}

/** The places of a table that are not negative, as text: `0-10, 12 and 255`. */
function ranges(table: Int16Array): string {
  const parts: string[] = []
  for (let from = 0; from < table.length; from++) {
    if (table[from] < 0) continue
    let to = from
    while (table[to + 1] >= 0) to++
    parts.push(from === to ? `${from}` : `${from}-${to}`)
    from = to
  }
  return parts.join(', ').replace(/, (?=[^,]*$)/, ' and ')
}

/**
 * The bytes of a file.
 * @param hint  what the message says beside the reason, if it cannot be read
 * @throws DataError  if it is missing, no file, unreadable, or larger than `maxFileBytes`; it names the path
 * @example decodeImage(await fileBytes('frame.jpg'), 'frame.jpg')
 */
export async function fileBytes(path: string, hint = 'is the data set complete?'): Promise<Uint8Array> {
  const failed = (error: unknown): never => {
    throw new DataError(`cannot read ${path} (${reasonOf(error)}); ${hint}`, { cause: error })
  }
  // Asked before it is opened: opening a pipe would wait for its writer.
  const there = await stat(path).catch(failed)
  if (!there.isFile()) throw new DataError(`cannot read ${path}: it is no file`)
  if (there.size > maxFileBytes)
    throw new DataError(
      `${path}: ${there.size} bytes, more than ${maxFileBytes / 2 ** 20} MiB; compress or shrink it`,
    )
  return readFile(path).catch(failed)
}

/** Why a file could not be had: the system's code where there is one. */
export const reasonOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : String(error)
