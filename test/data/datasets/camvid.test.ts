/** Folders on disk: a made-up CamVid in a temporary folder, every way it can be bad, and the real one if there. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { encode } from 'fast-png'
import { camvid } from '../../../src/data/datasets/camvid.ts'
import { listedFolder } from '../../../src/data/folder.ts'
import { encodePng } from '../../../src/data/image.ts'
import { ignored } from '../../../src/data/sample.ts'
import { DataError, UsageError } from '../../../src/dsl/errors.ts'

const folders: string[] = []
after(() => Promise.all(folders.map(f => rm(f, { recursive: true }))))

/** A folder with the given files. */
async function made(files: Readonly<Record<string, string | Uint8Array>>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'camvid-'))
  folders.push(folder)
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content)
  return folder
}

const rgb = Uint8Array.from({ length: 4 * 6 * 3 }, (_, i) => (i * 29) % 256)
const image = encodePng(rgb, 4, 6)
const values = Uint8Array.from({ length: 24 }, (_, p) => p % 12)
const labels = (data: Uint8Array, width = 6) =>
  encode({ width, height: data.length / width, channels: 1, depth: 8, data })
const good = { 'train.txt': 'a.png a_l.png\n', 'a.png': image, 'a_l.png': labels(values) }

/** Rejects with a DataError whose message matches every pattern. */
const bad =
  (...patterns: RegExp[]) =>
  (error: unknown) => {
    assert.ok(error instanceof DataError, String(error))
    for (const p of patterns) assert.match(error.message, p)
    return true
  }

test('images come as planes in 0..1, labels as class numbers, void as 255', async () => {
  const set = await camvid(await made(good), 'train')
  assert.deepEqual([set.size, set.classes.length, set.palette.length], [1, 11, 11])
  const s = await set.get(0)
  assert.deepEqual([s.name, s.height, s.width], ['a.png', 4, 6])
  for (let p = 0; p < 24; p++) {
    assert.equal(s.label[p], values[p] === 11 ? ignored : values[p])
    for (let c = 0; c < 3; c++) assert.equal(s.image[24 * c + p], Math.fround(rgb[3 * p + c] / 255))
  }
})

test('a file is decoded once: a second get needs no file, and what a caller writes stays his own', async () => {
  const folder = await made(good)
  const set = await camvid(folder, 'train')
  const first = await set.get(0)
  await rm(join(folder, 'a.png'))
  const kept = structuredClone(first)
  first.image.fill(0)
  first.label.fill(0)
  assert.deepEqual(await set.get(0), kept)
})

test('size resizes images linearly and labels by the nearest pixel', async () => {
  const flat = { ...good, 'a.png': encodePng(rgb.slice().fill(102), 4, 6) }
  const s = await (await camvid(await made(flat), 'train', { size: [2, 3] })).get(0)
  assert.deepEqual([s.height, s.width, s.image.length, s.label.length], [2, 3, 18, 6])
  assert.ok(s.image.every(x => x === Math.fround(0.4)))
  // Pixel (i, j) of 2 x 3 has its centre in pixel (2i + 1, 2j + 1) of 4 x 6; 7 + 4 is void.
  assert.deepEqual([...s.label], [7, 9, ignored, 7, 9, ignored])
  await assert.rejects(camvid(await made(good), 'train', { size: [0, 3] }), UsageError)
})

test('Windows line ends, tabs and empty lines are accepted in lists', async () => {
  const set = await camvid(
    await made({ ...good, 'val.txt': '\r\na.png\ta_l.png\r\n\r\na.png  a_l.png' }),
    'val',
  )
  assert.equal(set.size, 2)
})

test('a missing folder, a missing list, an empty list and a malformed line are named', async () => {
  await assert.rejects(
    camvid(join(tmpdir(), 'no-such-camvid'), 'train'),
    bad(/no folder .*no-such-camvid/, /download/),
  )
  const folder = await made({ ...good, 'test.txt': '\n \n', 'val.txt': 'a.png a_l.png\na.png\n' })
  await rm(join(folder, 'train.txt'))
  await assert.rejects(camvid(folder, 'train'), bad(/cannot read .*train\.txt \(ENOENT\)/, /"image label"/))
  await assert.rejects(camvid(folder, 'test'), bad(/test\.txt: the list is empty/))
  await assert.rejects(camvid(folder, 'val'), bad(/val\.txt:2: expected "image label", got "a\.png"/))
  const three = await made({ 'val.txt': 'a b c' })
  await assert.rejects(camvid(three, 'val'), bad(/val\.txt:1: .*"a b c"/))
})

test('a missing or damaged file is named by its path, and may be mended', async () => {
  const folder = await made({ 'train.txt': 'a.png a_l.png', 'a_l.png': labels(values) })
  const set = await camvid(folder, 'train')
  await assert.rejects(set.get(0), bad(/cannot read .*a\.png \(ENOENT\)/))
  await writeFile(join(folder, 'a.png'), image.subarray(0, 60))
  await assert.rejects(set.get(0), bad(/a\.png: truncated PNG/))
  await writeFile(join(folder, 'a.png'), 'not an image')
  await assert.rejects(set.get(0), bad(/a\.png: neither JPEG nor PNG/))
  await writeFile(join(folder, 'a.png'), image)
  assert.equal((await set.get(0)).width, 6)
})

test('an image and a label of different sizes are named with both sizes', async () => {
  const set = await camvid(await made({ ...good, 'a_l.png': labels(values, 8) }), 'train')
  await assert.rejects(set.get(0), bad(/a\.png is 4 x 6, its label .*a_l\.png is 3 x 8/))
})

test('a label value beyond the classes is named with its first place', async () => {
  const wrong = values.slice()
  wrong.set([12, 200], 13)
  const set = await camvid(await made({ ...good, 'a_l.png': labels(wrong) }), 'train')
  await assert.rejects(
    set.get(0),
    bad(/a_l\.png: label value 12 at row 2, column 1; the classes are 0 to 10/, /ignored are 11 and 255/),
  )
})

test('an index that the set does not have is refused', async () => {
  const set = await camvid(await made(good), 'train')
  await assert.rejects(set.get(1), bad(/camvid train: no sample 1; there are 1/))
})

test("listedFolder reads a user's own classes", async () => {
  const folder = await made({
    ...good,
    'mine.txt': 'a.png b_l.png',
    'b_l.png': labels(values.map(v => v % 2)),
  })
  const mine = { name: 'mine', folder, list: 'mine.txt', palette: [], classes: ['even', 'odd'] }
  const s = await (await listedFolder(mine)).get(0)
  assert.deepEqual(new Set(s.label), new Set([0, 1]))
  const one = await listedFolder({ ...mine, classes: ['even'] })
  await assert.rejects(one.get(0), bad(/label value 1 at row 0, column 1; the classes are 0 to 0/))
})

const real = join(import.meta.dirname, '../../../../shared/data/camvid')

test('the real CamVid has 367, 101 and 233 frames, and its roads lie below its skies', async t => {
  if (!existsSync(real)) return t.skip('CamVid is not beside this checkout (shared/data/camvid)')
  const sets = await Promise.all(
    (['train', 'val', 'test'] as const).map(s => camvid(real, s, { size: [90, 120] })),
  )
  // The SegNet tutorial's split.
  assert.deepEqual(
    sets.map(s => s.size),
    [367, 101, 233],
  )
  for (const index of [0, 100]) {
    const s = await sets[1].get(index)
    const rows = (name: string) => {
      const c = sets[1].classes.indexOf(name)
      const found = [...s.label.keys()].filter(p => s.label[p] === c)
      return found.reduce((sum, p) => sum + Math.floor(p / 120), 0) / found.length
    }
    assert.ok(rows('sky') + 20 < rows('road'), `sky in row ${rows('sky')}, road in row ${rows('road')}`)
    const mean = s.image.reduce((a, b) => a + b, 0) / s.image.length
    assert.ok(mean > 0.1 && mean < 0.9, `mean level ${mean}`)
  }
})
