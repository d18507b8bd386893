/**
 * Pascal VOC 2012: photographs, 1,464 / 1,449 labelled images, 20 classes of objects and background; 10,582 for
 * training with the labels of SBD. In: its folder. Out: a dataset.
 * @see Everingham et al. 2010, "The Pascal visual object classes challenge"; Hariharan et al. 2011, "Semantic contours
 *   from inverse detectors" (SBD, the augmented list)
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { readList } from '../folder.ts'
import { type FileOptions, type Pair, pairDataset } from '../pairs.ts'
import type { Colour, Dataset } from '../sample.ts'
import { wordsOf } from './tables.ts'

const classes = wordsOf(`
  background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, dining table, dog, horse,
  motorbike, person, potted plant, sheep, sofa, train, tv monitor
`)

/**
 * The colour of label i in VOC's development kit: its bits, three at a time from the lowest, become the bits of red,
 * green and blue, from the highest.
 * @param i  0 to 255
 * @example vocColour(15) // [192, 128, 128], person
 */
export function vocColour(i: number): Colour {
  const channel = (c: number): number =>
    [0, 1, 2, 3, 4, 5, 6, 7].reduce((bits, k) => bits | (((i >> (3 * k + c)) & 1) << (7 - k)), 0)
  return [channel(0), channel(1), channel(2)]
}

/**
 * One split of VOC 2012 as it is unpacked: a name a line in `ImageSets/Segmentation/SPLIT.txt`, `JPEGImages/*.jpg`,
 * and palette PNG in `SegmentationClass`; 255 (the rim of objects) is ignored. `trainaug` is the augmented list, with
 * grey PNG in `SegmentationClassAug`: all of `trainaug.txt` if it is there; else the names of `train.txt` from
 * `SegmentationClass`, and those of `aug.txt` from `SegmentationClassAug`.
 * @param folder  VOCdevkit/VOC2012: holds `ImageSets`, `JPEGImages` and `SegmentationClass`
 * @throws as `listedFolder`
 * @example const train = await voc2012('data/VOCdevkit/VOC2012', 'trainaug')
 */
export async function voc2012(
  folder: string,
  split: 'train' | 'val' | 'trainval' | 'trainaug',
  options: FileOptions = {},
): Promise<Dataset> {
  const name = `voc2012 ${split}`
  const named = async (list: string, labels: string): Promise<readonly Pair[]> =>
    (await readList(name, folder, join('ImageSets', 'Segmentation', `${list}.txt`), 1)).map(([stem]) => ({
      name: stem,
      image: join(folder, 'JPEGImages', `${stem}.jpg`),
      label: join(folder, labels, `${stem}.png`),
    }))
  const aug = 'SegmentationClassAug'
  const whole = existsSync(join(folder, 'ImageSets', 'Segmentation', 'trainaug.txt'))
  const pairs =
    split !== 'trainaug'
      ? await named(split, 'SegmentationClass')
      : whole
        ? await named('trainaug', aug)
        : [...(await named('train', 'SegmentationClass')), ...(await named('aug', aug))]
  return pairDataset({ ...options, name, pairs, classes, palette: classes.map((_, i) => vocColour(i)) })
}
