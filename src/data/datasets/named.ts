/**
 * The named datasets of files, for configurations and command lines. In: a name, a folder, a split. Out: a dataset.
 */
import { UsageError } from '../../dsl/errors.ts'
import type { FileOptions } from '../pairs.ts'
import type { Dataset } from '../sample.ts'
import { ade20k } from './ade20k.ts'
import { camvid } from './camvid.ts'
import { cityscapes } from './cityscapes.ts'
import { cocoStuff } from './coco-stuff.ts'
import { voc2012 } from './voc.ts'

type Opener = (folder: string, split: string, options: FileOptions) => Promise<Dataset>

/** Splits, and an opener that checks them. */
const named = <const Split extends string>(
  name: string,
  splits: readonly Split[],
  open: (folder: string, split: Split, options: FileOptions) => Promise<Dataset>,
): { readonly splits: readonly string[]; readonly open: Opener } => ({
  splits,
  open: (folder, split, options) => {
    const found = splits.find(s => s === split)
    if (found === undefined)
      throw new UsageError(`${name}: no split ${JSON.stringify(split)}; there are ${splits.join(', ')}`)
    return open(folder, found, options)
  },
})

/** The datasets, and the splits of each: the first is for training, the second for validation. */
const datasets = {
  cityscapes: named('cityscapes', ['train', 'val', 'test'], cityscapes),
  voc2012: named('voc2012', ['train', 'val', 'trainval', 'trainaug'], voc2012),
  ade20k: named('ade20k', ['training', 'validation'], ade20k),
  'coco-stuff': named('coco-stuff', ['train2017', 'val2017'], cocoStuff),
  camvid: named('camvid', ['train', 'val', 'test'], camvid),
}

/** The name of a dataset that is read from a folder. */
export type DatasetName = keyof typeof datasets
/** All of them. */
export const datasetNames: readonly DatasetName[] = [
  'cityscapes',
  'voc2012',
  'ade20k',
  'coco-stuff',
  'camvid',
]

/**
 * The splits of a dataset: the first is for training, the second for validation.
 * @example const [train, val] = splitsOf('ade20k') // 'training', 'validation'
 */
export const splitsOf = (name: DatasetName): readonly string[] => datasets[name].splits

/**
 * Opens one split of a named dataset.
 * @throws UsageError  if it has no such split; DataError as its reader
 * @example await openDataset('voc2012', 'data/VOCdevkit/VOC2012', 'trainaug', { size: [256, 256] })
 */
export const openDataset = async (
  name: DatasetName,
  folder: string,
  split: string,
  options: FileOptions = {},
): Promise<Dataset> => datasets[name].open(folder, split, options)
