/**
 * CamVid: driving video, 367 / 101 / 233 frames of 360 x 480, 11 classes. In: its folder. Out: a dataset.
 * @see Brostow, Fauqueur, Cipolla 2009, "Semantic object classes in video"; split, classes and colours of the
 *   SegNet tutorial (Badrinarayanan, Kendall, Cipolla 2017, arXiv:1511.00561)
 */
import { listedFolder } from '../folder.ts'
import type { FileOptions } from '../pairs.ts'
import { type Colour, type Dataset, ignored } from '../sample.ts'

/** The 11 classes by number; value 11 of the label files is void. */
const table = [
  ['sky', [128, 128, 128]],
  ['building', [128, 0, 0]],
  ['pole', [192, 192, 128]],
  ['road', [128, 64, 128]],
  ['pavement', [60, 40, 222]],
  ['tree', [128, 128, 0]],
  ['sign', [192, 128, 128]],
  ['fence', [64, 64, 128]],
  ['car', [64, 0, 128]],
  ['pedestrian', [64, 64, 0]],
  ['cyclist', [0, 128, 192]],
] as const satisfies readonly (readonly [string, Colour])[]

/** The classes' colours. */
export const camvidPalette: readonly Colour[] = table.map(([, colour]) => colour)

/**
 * One split of CamVid in the SegNet tutorial's layout: `train.txt`, `val.txt` and `test.txt` with a line
 * `image label` a frame, JPEG or PNG images, 8-bit PNG labels.
 * @param folder  holds the three lists; paths in them are relative to it
 * @throws as `listedFolder`
 * @example const train = await camvid('data/camvid', 'train', { size: [180, 240] })
 */
export const camvid = (
  folder: string,
  split: 'train' | 'val' | 'test',
  options: FileOptions = {},
): Promise<Dataset> =>
  listedFolder({
    ...options,
    name: `camvid ${split}`,
    folder,
    list: `${split}.txt`,
    classes: table.map(([name]) => name),
    palette: camvidPalette,
    classOf: [...table.keys(), ignored],
  })
