/** The published layouts, made up in temporary folders: which files belong together, which value is which class. */
import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { encode } from 'fast-png'
import jpeg from 'jpeg-js'
import { ade20k } from '../../../src/data/datasets/ade20k.ts'
import { cityscapes } from '../../../src/data/datasets/cityscapes.ts'
import { cocoStuff } from '../../../src/data/datasets/coco-stuff.ts'
import { datasetNames, openDataset, splitsOf } from '../../../src/data/datasets/named.ts'
import { voc2012, vocColour } from '../../../src/data/datasets/voc.ts'
import { pairedFolders } from '../../../src/data/folder.ts'
import { encodePng } from '../../../src/data/image.ts'
import { pairDataset } from '../../../src/data/pairs.ts'
import { type Dataset, ignored } from '../../../src/data/sample.ts'
import { DataError, UsageError } from '../../../src/dsl/errors.ts'

const folders: string[] = []
after(() => Promise.all(folders.map(f => rm(f, { recursive: true }))))

/** A folder with the given files, at any depth. */
async function made(files: Readonly<Record<string, string | Uint8Array>>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'layouts-'))
  folders.push(folder)
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true })
    await writeFile(join(folder, name), content)
  }
  return folder
}

/** A label map of one row, and images as wide. */
const label = (...values: number[]) =>
  encode({ width: values.length, height: 1, channels: 1, depth: 8, data: Uint8Array.from(values) })
const png = (width: number) => encodePng(new Uint8Array(3 * width), 1, width)
const jpg = (width: number) =>
  new Uint8Array(jpeg.encode({ width, height: 1, data: new Uint8Array(4 * width) }, 90).data)

const names = async (set: Dataset): Promise<string[]> =>
  Promise.all(Array.from({ length: set.size }, async (_, i) => (await set.get(i)).name))
const wholeTables = (set: Dataset, classes: number): void => {
  assert.deepEqual([set.classes.length, set.palette.length], [classes, classes])
  assert.equal(new Set(set.classes).size, classes, 'no name twice')
  assert.ok(set.classes.every(name => /^[a-z]+([ -][a-z]+)*$/.test(name)))
  assert.ok(set.palette.flat().every(x => Number.isInteger(x) && x >= 0 && x <= 255))
}

test('Cityscapes: cities in order, labelIds become the 19 train ids, void ids are ignored', async () => {
  const ids = Array.from({ length: 34 }, (_, id) => id)
  const folder = await made({
    'leftImg8bit/val/ulm/ulm_000001_000019_leftImg8bit.png': png(34),
    'leftImg8bit/val/aachen/aachen_000000_000019_leftImg8bit.png': png(34),
    'gtFine/val/ulm/ulm_000001_000019_gtFine_labelIds.png': label(...ids),
    'gtFine/val/ulm/ulm_000001_000019_gtFine_color.png': png(34),
    'gtFine/val/aachen/aachen_000000_000019_gtFine_labelIds.png': label(...ids.reverse()),
  })
  const set = await cityscapes(folder, 'val')
  wholeTables(set, 19)
  assert.deepEqual(await names(set), ['aachen/aachen_000000_000019', 'ulm/ulm_000001_000019'])
  const { label: classes } = await set.get(0)
  const idOf = (name: string) => 33 - classes.indexOf(set.classes.indexOf(name))
  // Ids of the benchmark's label table.
  assert.deepEqual(
    ['road', 'building', 'pole', 'sky', 'car', 'train', 'bicycle'].map(idOf),
    [7, 11, 17, 23, 26, 31, 33],
  )
  assert.equal(classes.filter(c => c === ignored).length, 34 - 19)
  assert.equal(new Set(classes).size, 20)
})

test('VOC 2012: lists of names, palette labels, 255 ignored; the augmented list in both forms', async () => {
  const lists = 'ImageSets/Segmentation'
  const files = {
    [`${lists}/train.txt`]: '2007_01\n',
    [`${lists}/val.txt`]: '2007_02\n',
    'JPEGImages/2007_01.jpg': jpg(3),
    'JPEGImages/2007_02.jpg': jpg(3),
    'JPEGImages/2008_03.jpg': jpg(3),
    'SegmentationClass/2007_01.png': label(0, 20, 255),
    'SegmentationClass/2007_02.png': label(1, 2, 3),
    'SegmentationClassAug/2007_01.png': label(9, 9, 9),
    'SegmentationClassAug/2008_03.png': label(4, 5, 6),
  }
  const folder = await made({ ...files, [`${lists}/aug.txt`]: '2008_03\n' })
  const train = await voc2012(folder, 'train')
  wholeTables(train, 21)
  assert.deepEqual([...(await train.get(0)).label], [0, 20, ignored])
  assert.deepEqual(await names(await voc2012(folder, 'val')), ['2007_02'])
  const both = await voc2012(folder, 'trainaug')
  assert.deepEqual(await names(both), ['2007_01', '2008_03'])
  assert.deepEqual([...(await both.get(0)).label, ...(await both.get(1)).label], [0, 20, ignored, 4, 5, 6])
  const listed = await made({ ...files, [`${lists}/trainaug.txt`]: '2008_03\n2007_01\n' })
  const aug = await voc2012(listed, 'trainaug')
  assert.deepEqual([...(await aug.get(0)).label, ...(await aug.get(1)).label], [4, 5, 6, 9, 9, 9])
  await assert.rejects(voc2012(listed, 'trainval'), /cannot read .*trainval\.txt \(ENOENT\).*"name"/)
  // The development kit's colours of aeroplane, person and tv monitor.
  assert.deepEqual([1, 15, 20].map(vocColour), [
    [128, 0, 0],
    [192, 128, 128],
    [0, 64, 128],
  ])
})

test('ADE20K: value 0 is ignored, value c is class c - 1, 151 is out of range', async () => {
  const folder = await made({
    'images/training/ADE_train_00000001.jpg': jpg(4),
    'images/training/ADE_train_00000002.jpg': jpg(1),
    'annotations/training/ADE_train_00000001.png': label(0, 1, 150, 2),
    'annotations/training/ADE_train_00000002.png': label(151),
  })
  const set = await ade20k(folder, 'training')
  wholeTables(set, 150)
  assert.deepEqual([...(await set.get(0)).label], [ignored, 0, 149, 1])
  assert.deepEqual([set.classes[0], set.classes[149]], ['wall', 'flag'])
  await assert.rejects(set.get(1), (error: unknown) => {
    assert.ok(error instanceof DataError)
    assert.match(
      error.message,
      /00000002\.png: label value 151 at row 0, column 0; the classes are 0 to 149, from values 1-150; ignored are 0 and 255/,
    )
    return true
  })
})

test('COCO-Stuff: 171 classes of 182 values, in order; values that stand for nothing are errors', async () => {
  const folder = await made({
    'images/val2017/000000000139.jpg': jpg(6),
    'images/val2017/000000000285.jpg': jpg(1),
    'annotations/val2017/000000000139.png': label(0, 10, 12, 91, 181, 255),
    'annotations/val2017/000000000285.png': label(11),
  })
  const set = await cocoStuff(folder, 'val2017')
  wholeTables(set, 171)
  const found = [...(await set.get(0)).label].map(c => set.classes[c] ?? 'ignored')
  // Names of ids 1, 11, 13, 92 and 182 of the published list: the file's value is the id less one.
  assert.deepEqual(found, ['person', 'fire hydrant', 'stop sign', 'banner', 'wood', 'ignored'])
  await assert.rejects(
    set.get(1),
    /label value 11 .*the classes are 0 to 170, from values 0-10, 12-24, 26-27, 30-43/,
  )
})

test('pairedFolders matches by path whatever the suffix, and names what is alone', async () => {
  const options = {
    name: 'mine',
    images: { folder: 'x' },
    labels: { folder: 'y' },
    classes: ['a'],
    palette: [],
  }
  const good = {
    'x/b/1.JPG': jpg(1),
    'x/a.png': png(1),
    'x/notes.txt': '',
    'y/b/1.png': label(0),
    'y/a.png': label(0),
  }
  const mine = await pairedFolders({ ...options, folder: await made(good) })
  assert.deepEqual(await names(mine), ['a', 'b/1'])
  const rejects = async (files: Readonly<Record<string, string | Uint8Array>>, message: RegExp) =>
    assert.rejects(pairedFolders({ ...options, folder: await made(files) }), (error: unknown) => {
      assert.ok(error instanceof DataError)
      assert.match(error.message, message)
      return true
    })
  await rejects({ ...good, 'x/c.png': png(1) }, /x[/\\]c\.png has no label below .*y/)
  await rejects(
    { ...good, 'y/c.png': label(0), 'y/d.png': label(0) },
    /c\.png.*d\.png have no image below .*x/,
  )
  await rejects({ ...good, 'x/a.jpg': jpg(1) }, /a\.jpg.* have one name/)
  await rejects({ 'x/a.png': png(1) }, /cannot read the folder .*y \(ENOENT\)/)
  await rejects({ 'x/a.gif': '', 'y/a.png': label(0) }, /no file that ends in/)
  await assert.rejects(pairedFolders({ ...options, folder: join(tmpdir(), 'no-such-set') }), /no folder/)
})

test('the cache keeps the first samples that fit, and no more', async () => {
  const folder = await made({ 'a.png': png(10), 'a_l.png': label(...Array(10).fill(0)) })
  const pair = (name: string) => ({ name, image: join(folder, 'a.png'), label: join(folder, 'a_l.png') })
  for (const [cache, kept] of [
    [40, true],
    [39, false],
  ] as const) {
    await writeFile(join(folder, 'a.png'), png(10))
    const set = pairDataset({ name: 'one', pairs: [pair('a')], classes: ['a'], palette: [], cache })
    await set.get(0)
    await rm(join(folder, 'a.png'))
    if (kept) assert.equal((await set.get(0)).width, 10)
    else await assert.rejects(set.get(0), /ENOENT/)
  }
  assert.throws(() => pairDataset({ name: 'none', pairs: [], classes: ['a'], palette: [] }), UsageError)
})

test('16-bit labels beyond 255 take their class from the rule, or are errors', async () => {
  const data = Uint16Array.of(300, 0)
  const folder = await made({
    'a.png': png(2),
    'a_l.png': encode({ width: 2, height: 1, channels: 1, depth: 16, data }),
  })
  const pairs = [{ name: 'a', image: join(folder, 'a.png'), label: join(folder, 'a_l.png') }]
  const classOf = Object.assign([1], { 300: 0 })
  const set = pairDataset({ name: 'deep', pairs, classes: ['x', 'y'], palette: [], classOf })
  assert.deepEqual([...(await set.get(0)).label], [0, 1])
  const plain = pairDataset({ name: 'deep', pairs, classes: ['x', 'y'], palette: [] })
  await assert.rejects(
    plain.get(0),
    /a_l\.png: label value 300 at row 0, column 0; the classes are 0 to 1, from values 0-1; ignored are 255/,
  )
})

test('every named dataset opens by its name, and refuses a split that it has not', async () => {
  for (const name of datasetNames) {
    const [train, val] = splitsOf(name)
    assert.ok(train.startsWith('train') && val.startsWith('val'))
    await assert.rejects(openDataset(name, join(tmpdir(), 'no-such-set'), val), /no folder .*no-such-set/)
    await assert.rejects(
      openDataset(name, '.', 'nothing'),
      (e: unknown) => e instanceof UsageError && e.message.includes(train),
    )
  }
})
