/**
 * What every reader gives and every transform takes: a labelled image, and an indexed set of them.
 * First stage of the data side: readers (`synthetic`, `datasets/`) -> transforms -> loader.
 */
import { DataError, UsageError } from '../dsl/errors.ts'
import type { Recipe } from './recipe.ts'

/** The label of a pixel that takes part in no loss and no score. */
export const ignored = 255

/** Height and width, in pixels. */
export type Size = readonly [height: number, width: number]

/** Red, green, blue in 0..255. */
export type Colour = readonly [red: number, green: number, blue: number]

/** The mean and the standard deviation per channel that are taken out of an image in 0..1. */
export interface Normalisation {
  readonly mean: readonly [number, number, number]
  readonly std: readonly [number, number, number]
}

/**
 * One labelled image. Transforms return new samples and never write into the arrays of the old one.
 *   image  [3, height, width], planar RGB in 0..1, or normalised
 *   label  [height, width], class numbers; 255 is ignored
 */
export interface Sample {
  readonly name: string
  readonly height: number
  readonly width: number
  readonly image: Float32Array
  readonly label: Uint8Array
  /** What was taken out of the image; absent while it is in 0..1. */
  readonly normalisation?: Normalisation
}

/**
 * An indexed set of samples. `get(i)` is deterministic: the same index gives equal numbers at every call.
 * `palette[c]` is the colour in which class c (`classes[c]`) is drawn.
 */
export interface Dataset {
  readonly name: string
  readonly classes: readonly string[]
  readonly palette: readonly Colour[]
  /** The number of samples; `get` takes 0 to size - 1. */
  readonly size: number
  readonly get: Getter
}

/**
 * Sample i, in arrays of the caller's own. Rejects with a DataError if the index is out of range or what lies
 * behind it cannot be read.
 */
export type Getter = ((index: number) => Promise<Sample>) & {
  /** How other threads read the same samples; absent if only this one can. */
  readonly remote?: Remote
}

/** How threads read the samples of a dataset. */
export interface Remote {
  /** What a thread's reader needs to know of sample i: plain data. */
  readonly source: (index: number) => Source
  /** Makes `(source) => Promise<Sample>` in a thread, which is one of so many. */
  readonly reader: (threads: number) => Recipe
}

/** Names a sample, in messages too (a file's path); its reader may ask for more. */
export interface Source {
  readonly name: string
}

/**
 * The getter of a dataset, which checks the index.
 * @example const get = getter(about, i => read(pairs[i]), { source: i => pairs[i], reader })
 */
export function getter(
  about: Pick<Dataset, 'name' | 'size'>,
  read: (index: number) => Promise<Sample>,
  remote?: Remote,
): Getter {
  const get = async (index: number): Promise<Sample> => read(checkIndex(about, index))
  return remote ? Object.assign(get, { remote }) : get
}

/**
 * The samples from..to-1 of a dataset, as a dataset: how one set becomes a train and a validation split.
 * @throws UsageError  unless 0 <= from < to <= size, all integers
 * @example const train = subset(scenes, 0, 900), val = subset(scenes, 900, 1000)
 */
export function subset(dataset: Dataset, from: number, to: number): Dataset {
  if (!Number.isInteger(from) || !Number.isInteger(to) || from < 0 || from >= to || to > dataset.size)
    throw new UsageError(
      `subset: need 0 <= from < to <= ${dataset.size} (${dataset.name}), got ${from}..${to}`,
    )
  const about = { ...dataset, name: `${dataset.name}[${from}..${to})`, size: to - from }
  const { remote } = dataset.get
  return {
    ...about,
    get: getter(
      about,
      i => dataset.get(from + i),
      remote && { ...remote, source: i => remote.source(from + i) },
    ),
  }
}

/**
 * The index itself, if the dataset has it.
 * @throws DataError  otherwise
 */
export function checkIndex(dataset: Pick<Dataset, 'name' | 'size'>, index: number): number {
  if (!Number.isInteger(index) || index < 0 || index >= dataset.size)
    throw new DataError(
      `${dataset.name}: no sample ${index}; there are ${dataset.size} (0 to ${dataset.size - 1})`,
    )
  return index
}
