/**
 * Datasets on disk. In: a folder, and a list file with a line `image label` for each sample. Out: a dataset
 * that decodes each file once and keeps it, resized, as bytes. A reader of a named set (`camvid`) is a row
 * of arguments for `listedFolder`. One of the few files that use `node:` modules.
 */
import { readFile, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { DataError, UsageError } from '../dsl/errors.ts'
import { decodeImage, decodeLabel, type Pixels, planar } from './image.ts'
import { resampleLinear, resampleNearest, whole } from './resize.ts'
import { type Colour, checkIndex, type Dataset, ignored, type Sample, type Size } from './sample.ts'

export interface ListedFolder {
  readonly name: string
  readonly folder: string
  /** The list file, relative to the folder; so are the paths in it. Empty lines are skipped. */
  readonly list: string
  readonly classes: readonly string[]
  readonly palette: readonly Colour[]
  /** Values of label files that mean "ignored", beside 255. */
  readonly voids?: readonly number[]
  /** Resize to [height, width]: antialiased bilinear for images, nearest for labels. As stored by default. */
  readonly size?: Size
}

/**
 * A dataset of image and label files, named by a list. The list is read now, the files when they are asked
 * for; a decoded sample stays in memory, 4 bytes a pixel.
 * @throws DataError   now: a missing folder or list, an empty list, a line that is not `image label`.
 *   From `get`: a missing, unreadable or damaged file, an image and a label of different sizes, a label value
 *   beyond the classes. The message names the file.
 * @throws UsageError  if the size is not two positive integers
 * @example
 *   const mine = await listedFolder({
 *     name: 'mine', folder: 'data/mine', list: 'train.txt', classes: ['road', 'other'], palette: [[128, 64, 128], [0, 0, 0]],
 *   })
 */
export async function listedFolder(options: ListedFolder): Promise<Dataset> {
  const { name, folder, list, classes, palette, size } = options
  if (size && !size.every(n => Number.isInteger(n) && n > 0))
    throw new UsageError(`${name}: the size must be two positive integers, got [${size.join(', ')}]`)
  const pairs = await readList(name, folder, list)
  const cache = new Map<number, Promise<Stored>>()
  const about = { name, classes, palette, size: pairs.length }
  const load = (index: number): Promise<Stored> => {
    const stored = loadPair(pairs[index], options)
    cache.set(index, stored)
    // A failure is not kept: the file may be mended while the process lives.
    stored.catch(() => cache.delete(index))
    return stored
  }
  return {
    ...about,
    get: async index => {
      checkIndex(about, index)
      const stored = await (cache.get(index) ?? load(index))
      return { ...stored, image: levels(stored.image), label: stored.label.slice() }
    },
  }
}

/** A sample as it is kept: the image in bytes. */
type Stored = Omit<Sample, 'image'> & { readonly image: Uint8Array }

interface Pair {
  readonly name: string
  readonly image: string
  readonly label: string
}

async function readList(name: string, folder: string, list: string): Promise<readonly Pair[]> {
  const there = await stat(folder).catch(() => undefined)
  if (!there?.isDirectory())
    throw new DataError(`${name}: no folder ${resolve(folder)}; download the data set and give its folder`)
  const path = join(folder, list)
  const text = await readFile(path, 'utf8').catch(error => {
    throw new DataError(
      `${name}: cannot read the list ${path} (${reasonOf(error)}); it has a line "image label" a sample`,
    )
  })
  const pairs = text.split(/\r?\n/).flatMap((line, i): Pair[] => {
    if (line.trim() === '') return []
    const [image, label, ...rest] = line.trim().split(/\s+/)
    if (label === undefined || rest.length > 0)
      throw new DataError(`${path}:${i + 1}: expected "image label", got ${JSON.stringify(line)}`)
    return [{ name: image, image: resolve(folder, image), label: resolve(folder, label) }]
  })
  if (pairs.length === 0)
    throw new DataError(`${path}: the list is empty; it needs a line "image label" a sample`)
  return pairs
}

async function loadPair(pair: Pair, { size, classes, voids = [] }: ListedFolder): Promise<Stored> {
  const image = decodeImage(await bytesOf(pair.image), pair.image)
  const label = decodeLabel(await bytesOf(pair.label), pair.label)
  if (image.height !== label.height || image.width !== label.width)
    throw new DataError(
      `${pair.image} is ${image.height} x ${image.width}, its label ${pair.label} is ${label.height} x ${label.width}; ` +
        'both must have one size',
    )
  const numbers = classNumbers(label, pair.label, classes, voids)
  const planes = planar(image, 3)
  const from: Size = [image.height, image.width]
  const [height, width] = size ?? from
  if (height === from[0] && width === from[1])
    return { name: pair.name, height, width, image: planes, label: numbers }
  const view = whole([height, width])
  const resized = new Uint8Array(resampleLinear(planes, 3, from, view).map(Math.round))
  return { name: pair.name, height, width, image: resized, label: resampleNearest(numbers, from, view) }
}

/** Bytes as 0..1. A loop: `Float32Array.from` with a function takes 30 ms for a frame, this one 1. */
function levels(bytes: Uint8Array): Float32Array {
  const out = new Float32Array(bytes.length)
  for (let i = 0; i < bytes.length; i++) out[i] = bytes[i] / 255
  return out
}

/** Label values as class numbers, voids as 255. */
function classNumbers(
  { data, width }: Pixels,
  path: string,
  classes: readonly string[],
  voids: readonly number[],
): Uint8Array {
  const table = Int16Array.from({ length: 256 }, (_, v) =>
    v === ignored || voids.includes(v) ? ignored : v < classes.length ? v : -1,
  )
  return data.map((value, p) => {
    if (table[value] < 0)
      throw new DataError(
        `${path}: label value ${value} at row ${Math.floor(p / width)}, column ${p % width}; ` +
          `the classes are 0 to ${classes.length - 1}, ignored are ${[...voids, ignored].join(' and ')}`,
      )
    return table[value]
  })
}

const bytesOf = (path: string): Promise<Uint8Array> =>
  readFile(path).catch(error => {
    throw new DataError(`cannot read ${path} (${reasonOf(error)}); the list names it`)
  })

const reasonOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : String(error)
