/**
 * Cityscapes: street scenes, 2,975 / 500 / 1,525 finely labelled images of 1024 x 2048, 19 classes of 34 labels.
 * In: its folder. Out: a dataset.
 * @see Cordts et al. 2016, "The Cityscapes dataset for semantic urban scene understanding", arXiv:1604.01685;
 *   ids, train ids and colours as the benchmark publishes them
 */
import { pairedFolders } from '../folder.ts'
import type { FileOptions } from '../pairs.ts'
import { type Colour, type Dataset, ignored } from '../sample.ts'

/** The 19 classes by train id, and the id of each in `labelIds` files. */
const table = [
  [7, 'road', [128, 64, 128]],
  [8, 'sidewalk', [244, 35, 232]],
  [11, 'building', [70, 70, 70]],
  [12, 'wall', [102, 102, 156]],
  [13, 'fence', [190, 153, 153]],
  [17, 'pole', [153, 153, 153]],
  [19, 'traffic light', [250, 170, 30]],
  [20, 'traffic sign', [220, 220, 0]],
  [21, 'vegetation', [107, 142, 35]],
  [22, 'terrain', [152, 251, 152]],
  [23, 'sky', [70, 130, 180]],
  [24, 'person', [220, 20, 60]],
  [25, 'rider', [255, 0, 0]],
  [26, 'car', [0, 0, 142]],
  [27, 'truck', [0, 0, 70]],
  [28, 'bus', [0, 60, 100]],
  [31, 'train', [0, 80, 100]],
  [32, 'motorcycle', [0, 0, 230]],
  [33, 'bicycle', [119, 11, 32]],
] as const satisfies readonly (readonly [number, string, Colour])[]

/** Ids are 0 to 33; those that are no train id are void, or too rare to score. */
const ids = 34

/**
 * One split of Cityscapes as it is unpacked: `leftImg8bit/SPLIT/CITY/*_leftImg8bit.png` and
 * `gtFine/SPLIT/CITY/*_gtFine_labelIds.png`. Ids become train ids. The labels of `test` are published without content:
 * all of it is ignored.
 * @param folder  holds `leftImg8bit` and `gtFine`
 * @throws as `pairedFolders`
 * @example const val = await cityscapes('data/cityscapes', 'val', { size: [512, 1024] })
 */
export const cityscapes = (
  folder: string,
  split: 'train' | 'val' | 'test',
  options: FileOptions = {},
): Promise<Dataset> =>
  pairedFolders({
    ...options,
    name: `cityscapes ${split}`,
    folder,
    images: { folder: `leftImg8bit/${split}`, suffix: /_leftImg8bit\.png$/ },
    labels: { folder: `gtFine/${split}`, suffix: /_gtFine_labelIds\.png$/ },
    classes: table.map(([, name]) => name),
    palette: table.map(([, , colour]) => colour),
    classOf: Array.from({ length: ids }, (_, id) => {
      const trainId = table.findIndex(row => row[0] === id)
      return trainId < 0 ? ignored : trainId
    }),
  })
