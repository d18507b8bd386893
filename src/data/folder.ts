/**
 * Which files belong together. In: a folder with a list, or a folder of images and a folder of labels. Out: pairs,
 * and datasets of them. A reader of a named set (`datasets/`) is a row of arguments for these.
 */
import { readdir, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { DataError } from '../dsl/errors.ts'
import { fileBytes, type Pair, type PairOptions, pairDataset, reasonOf } from './pairs.ts'
import type { Dataset } from './sample.ts'

/** What a dataset in a folder is given besides its pairs. */
export type FolderOptions = Omit<PairOptions, 'pairs'> & { readonly folder: string }

/**
 * A dataset of image and label files, named by a list file with a line `image label` a sample. The list is read now,
 * the files when they are asked for.
 * @param options.list  relative to the folder, as the paths in it are; empty lines are skipped
 * @throws DataError  now: a missing folder or list, an empty list, a line that is not `image label`; else as `pairDataset`
 * @example
 *   const mine = await listedFolder({
 *     name: 'mine', folder: 'data/mine', list: 'train.txt', classes: ['road', 'other'], palette: [[128, 64, 128], [0, 0, 0]],
 *   })
 */
export const listedFolder = async (options: FolderOptions & { readonly list: string }): Promise<Dataset> => {
  const { name, folder, list } = options
  const lines = await readList(name, folder, list, 2)
  return pairDataset({
    ...options,
    pairs: lines.map(([image, label]) => ({
      name: image,
      image: resolve(folder, image),
      label: resolve(folder, label),
    })),
  })
}

/** Where the files of one kind lie: everything below a folder, at any depth, whose path the suffix ends. */
export interface Branch {
  readonly folder: string
  readonly suffix: RegExp
}

/** How image files end. */
export const imageSuffix = /\.(jpe?g|png)$/i

/**
 * A dataset of a folder of images and a folder of labels: files belong together whose paths are equal but for the
 * suffix. Sorted by path.
 * @param options.images  relative to the folder; suffix `imageSuffix` by default
 * @param options.labels  relative to the folder; suffix .png by default
 * @throws DataError  now: a missing or empty folder, an image without a label or a label without an image, two images
 *   of one name; else as `pairDataset`
 * @example
 *   const mine = await pairedFolders({
 *     name: 'mine', folder: 'data/mine', images: { folder: 'images' }, labels: { folder: 'labels' }, classes, palette,
 *   })
 */
export const pairedFolders = async (
  options: FolderOptions & {
    readonly images: Pick<Branch, 'folder'> & Partial<Branch>
    readonly labels: Pick<Branch, 'folder'> & Partial<Branch>
  },
): Promise<Dataset> => {
  const { name, folder } = options
  await checkFolder(name, folder)
  const images = await filesByStem(name, folder, { suffix: imageSuffix, ...options.images })
  const labels = await filesByStem(name, folder, { suffix: /\.png$/i, ...options.labels })
  const alone = [...images].filter(([stem]) => !labels.has(stem))
  if (alone.length > 0)
    throw new DataError(`${name}: ${some(alone)} no label below ${join(folder, options.labels.folder)}`)
  const orphans = [...labels].filter(([stem]) => !images.has(stem))
  if (orphans.length > 0)
    throw new DataError(`${name}: ${some(orphans)} no image below ${join(folder, options.images.folder)}`)
  const pairs = [...images].map(
    ([stem, image]): Pair => ({ name: stem, image, label: labels.get(stem) ?? '' }),
  )
  return pairDataset({ ...options, pairs: pairs.sort((a, b) => (a.name < b.name ? -1 : 1)) })
}

const some = (files: readonly (readonly [string, string])[]): string => {
  const paths = files.slice(0, 3).map(([, path]) => path)
  const more = files.length > 3 ? ` and ${files.length - 3} more` : ''
  return `${paths.join(', ')}${more} ${files.length === 1 ? 'has' : 'have'}`
}

async function filesByStem(
  name: string,
  root: string,
  { folder, suffix }: Branch,
): Promise<Map<string, string>> {
  const path = resolve(root, folder)
  const entries = await readdir(path, { recursive: true }).catch(error => {
    throw new DataError(`${name}: cannot read the folder ${path} (${reasonOf(error)})`)
  })
  const found = new Map<string, string>()
  for (const file of entries.map(f => f.replaceAll('\\', '/')).filter(f => suffix.test(f))) {
    const stem = file.replace(suffix, '')
    const before = found.get(stem)
    if (before !== undefined) throw new DataError(`${name}: ${before} and ${join(path, file)} have one name`)
    found.set(stem, join(path, file))
  }
  if (found.size === 0) throw new DataError(`${name}: no file that ends in ${suffix} below ${path}`)
  return found
}

/**
 * The lines of a list file, each of so many words.
 * @throws DataError  as `listedFolder`
 * @example await readList('voc', root, 'ImageSets/Segmentation/val.txt', 1)
 */
export async function readList(
  name: string,
  folder: string,
  list: string,
  words: 1 | 2,
): Promise<readonly (readonly string[])[]> {
  await checkFolder(name, folder)
  const form = words === 1 ? '"name"' : '"image label"'
  const path = join(folder, list)
  const text = new TextDecoder().decode(await fileBytes(path, `it has a line ${form} a sample`))
  const lines = text.split(/\r?\n/).flatMap((line, i) => {
    const found = line.trim().split(/\s+/)
    if (line.trim() === '') return []
    if (found.length !== words || found.some(word => word.includes('\0')))
      throw new DataError(`${path}:${i + 1}: expected ${form}, got ${JSON.stringify(line.slice(0, 200))}`)
    return [found]
  })
  if (lines.length === 0) throw new DataError(`${path}: the list is empty; it needs a line ${form} a sample`)
  return lines
}

async function checkFolder(name: string, folder: string): Promise<void> {
  const there = await stat(folder).catch(() => undefined)
  if (!there?.isDirectory())
    throw new DataError(`${name}: no folder ${resolve(folder)}; download the data set and give its folder`)
}
