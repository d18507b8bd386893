/**
 * COCO-Stuff 164k: 118,287 / 5,000 photographs, 80 classes of things and 91 of stuff. In: its folder. Out: a dataset.
 * @see Caesar, Uijlings, Ferrari 2018, "COCO-Stuff: thing and stuff classes in context", arXiv:1612.03716; names of its
 *   published list
 */
import { pairedFolders } from '../folder.ts'
import type { FileOptions } from '../pairs.ts'
import type { Dataset } from '../sample.ts'
import { wordsOf } from './tables.ts'
import { vocColour } from './voc.ts'

const classes = wordsOf(`
  person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop
  sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack,
  umbrella, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball
  glove, skateboard, surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana,
  apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed,
  dining table, toilet, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink,
  refrigerator, book, clock, vase, scissors, teddy bear, hair drier, toothbrush, banner, blanket, branch,
  bridge, building-other, bush, cabinet, cage, cardboard, carpet, ceiling-other, ceiling-tile, cloth,
  clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt, door-stuff, fence, floor-marble,
  floor-other, floor-stone, floor-tile, floor-wood, flower, fog, food-other, fruit, furniture-other, grass,
  gravel, ground-other, hill, house, leaves, light, mat, metal, mirror-stuff, moss, mountain, mud, napkin,
  net, paper, pavement, pillow, plant-other, plastic, platform, playingfield, railing, railroad, river,
  road, rock, roof, rug, salad, sand, sea, shelf, sky-other, skyscraper, snow, solid-other, stairs, stone,
  straw, structural-other, table, tent, textile-other, towel, tree, vegetable, wall-brick, wall-concrete,
  wall-other, wall-panel, wall-stone, wall-tile, wall-wood, water-other, waterdrops, window-blind,
  window-other, wood
`)

/** Values of the label files that stand for no class: 11 of the 182 names were never drawn (street sign, hat, ...). */
const unused: readonly number[] = [11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90]
const values = classes.length + unused.length

/** Values 0 to 181 without the unused ones, in order, are the classes 0 to 170. */
const classOf = Array.from({ length: values }, (_, value) =>
  unused.includes(value) ? -1 : value - unused.filter(u => u < value).length,
)

/**
 * One split of COCO-Stuff 164k: `images/SPLIT/*.jpg` and, unpacked from `stuffthingmaps_trainval2017.zip`,
 * `annotations/SPLIT/*.png`; 255 is ignored. Its publishers name no colours: those of VOC's formula, from 1 on.
 * @param folder  holds `images` and `annotations`
 * @throws as `pairedFolders`
 * @example const val = await cocoStuff('data/coco-stuff', 'val2017', { size: [480, 640] })
 */
export const cocoStuff = (
  folder: string,
  split: 'train2017' | 'val2017',
  options: FileOptions = {},
): Promise<Dataset> =>
  pairedFolders({
    ...options,
    name: `coco-stuff ${split}`,
    folder,
    images: { folder: `images/${split}` },
    labels: { folder: `annotations/${split}` },
    classes,
    palette: classes.map((_, c) => vocColour(c + 1)),
    classOf,
  })
