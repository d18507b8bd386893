/** Image files that mean harm: bombs, giants, tricks with headers; EXIF's eight orientations; and a fuzz of all parsers. */
import assert from 'node:assert/strict'
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { encode } from 'fast-png'
import jpeg from 'jpeg-js'
import { exifOrientation, type Orientation, upright } from '../../src/data/exif.ts'
import { listedFolder } from '../../src/data/folder.ts'
import { decodeImage, decodeLabel, encodePng } from '../../src/data/image.ts'
import { fileBytes } from '../../src/data/pairs.ts'
import { maxFileBytes } from '../../src/data/pixels.ts'
import { DataError } from '../../src/dsl/errors.ts'
import { damage, edits } from './mutation.ts'
import { chunk, pngOf } from './png-writer.ts'

const folders: string[] = []
after(() => Promise.all(folders.map(f => rm(f, { recursive: true }))))
const folderOf = async (files: Readonly<Record<string, string | Uint8Array>>): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), 'images-'))
  folders.push(folder)
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content)
  return folder
}

/** A DataError that begins with the file's name and whose text matches. */
const bad = (text: RegExp) => (error: unknown) => {
  assert.ok(error instanceof DataError, String(error))
  assert.match(error.message, /^file\.x: /)
  assert.match(error.message, text)
  return true
}

const photograph = (height: number, width: number): Uint8Array => {
  const data = Uint8Array.from({ length: height * width * 4 }, (_, i) => (i % 4 === 3 ? 255 : (i * 7) % 256))
  return new Uint8Array(jpeg.encode({ width, height, data }, 90).data)
}
/** The JPEG with a segment after its start. */
const withSegment = (bytes: Uint8Array, marker: number, payload: readonly number[]): Uint8Array => {
  const length = payload.length + 2
  return Uint8Array.of(0xff, 0xd8, 0xff, marker, length >> 8, length & 255, ...payload, ...bytes.subarray(2))
}
/** An EXIF segment with the orientation as its second entry. */
const exif = (value: number, little: boolean): number[] => {
  const u16 = (x: number) => (little ? [x & 255, x >> 8] : [x >> 8, x & 255])
  const u32 = (x: number) => (little ? [...u16(x), 0, 0] : [0, 0, ...u16(x)])
  const entry = (tag: number, x: number) => [...u16(tag), ...u16(3), ...u32(1), ...u16(x), 0, 0]
  const head = [...(little ? [0x49, 0x49] : [0x4d, 0x4d]), ...u16(42), ...u32(8)]
  return [
    ...Buffer.from('Exif\0\0'),
    ...head,
    ...u16(2),
    ...entry(0x0100, 9),
    ...entry(0x0112, value),
    ...u32(0),
  ]
}
/** Where a picture's first row and first column are to be seen (EXIF 2.32, tag 0x0112). */
const seenAt: Readonly<Record<Orientation, readonly [row: string, column: string]>> = {
  1: ['top', 'left'],
  2: ['top', 'right'],
  3: ['bottom', 'right'],
  4: ['bottom', 'left'],
  5: ['left', 'top'],
  6: ['right', 'top'],
  7: ['right', 'bottom'],
  8: ['left', 'bottom'],
}
const orientations: readonly Orientation[] = [1, 2, 3, 4, 5, 6, 7, 8]

test('all eight orientations show the first row and the first column where EXIF says', () => {
  const [h, w] = [3, 4]
  // Red tells the row, green the column.
  const data = Uint8Array.from({ length: h * w * 3 }, (_, i) =>
    i % 3 === 0 ? Math.floor(i / 3 / w) : i % 3 === 1 ? Math.floor(i / 3) % w : 9,
  )
  for (const o of orientations) {
    const out = upright({ height: h, width: w, data }, 3, o)
    assert.deepEqual([out.height, out.width], o > 4 ? [w, h] : [h, w])
    const side = (name: string): number[] =>
      Array.from({ length: out.height * out.width }, (_, p) => p).filter(p => {
        const [y, x] = [Math.floor(p / out.width), p % out.width]
        return { top: y === 0, bottom: y === out.height - 1, left: x === 0, right: x === out.width - 1 }[name]
      })
    const [row, column] = seenAt[o]
    assert.ok(
      side(row).every(p => out.data[3 * p] === 0),
      `${o}: first row`,
    )
    assert.ok(
      side(column).every(p => out.data[3 * p + 1] === 0),
      `${o}: first column`,
    )
    assert.equal(
      new Set(Array.from({ length: h * w }, (_, p) => out.data.slice(3 * p, 3 * p + 3).join())).size,
      h * w,
    )
  }
})

test('the orientation is read in both byte orders, and only where it is valid', () => {
  for (const little of [true, false])
    for (const o of [...orientations, 0, 9])
      assert.equal(exifOrientation(Uint8Array.from(exif(o, little))), o === 0 || o === 9 ? 1 : o)
  fc.assert(
    fc.property(edits, changes => {
      const read = exifOrientation(damage(Uint8Array.from(exif(6, true)), changes))
      assert.ok(orientations.includes(read))
    }),
  )
})

test('a PNG is turned as its eXIf chunk says, images and labels alike, wherever the chunk stands', () => {
  const kinds = [
    { channels: 3, depth: 8 },
    { channels: 1, depth: 8 },
    { channels: 1, depth: 16 },
  ] as const
  for (const { channels, depth } of kinds) {
    const values = Array.from({ length: 3 * 4 * channels }, (_, i) => 5 * i + 1)
    const data = depth === 16 ? Uint16Array.from(values) : Uint8Array.from(values)
    const stored = encode({ height: 3, width: 4, channels, depth, data })
    const decode = channels === 3 ? decodeImage : decodeLabel
    for (const o of orientations) {
      const turned = upright({ height: 3, width: 4, data }, channels, o)
      // The payload begins where a JPEG's segment has its mark behind it.
      const added = chunk('eXIf', Uint8Array.from(exif(o, o % 2 === 0).slice(6)))
      // behind the header of 33 bytes, and before the end of 12
      for (const at of [33, stored.length - 12]) {
        const file = Buffer.concat([stored.subarray(0, at), added, stored.subarray(at)])
        assert.deepEqual(decode(file, 'file.x'), turned, `orientation ${o}`)
      }
    }
  }
})

test('an eXIf chunk whose checksum is wrong is damage; one that says nothing turns nothing', () => {
  const stored = encodePng(
    Uint8Array.from({ length: 18 }, (_, i) => i),
    2,
    3,
  )
  const withChunk = (added: Uint8Array) =>
    decodeImage(Buffer.concat([stored.subarray(0, 33), added, stored.subarray(33)]), 'file.x')
  const torn = chunk('eXIf', Uint8Array.from(exif(6, true).slice(6)))
  torn[20] ^= 1
  assert.throws(() => withChunk(torn), bad(/damaged PNG: the checksum of its chunk eXIf/))
  for (const payload of [[], [0x49], exif(9, true).slice(6), exif(6, true)])
    assert.deepEqual(withChunk(chunk('eXIf', Uint8Array.from(payload))), decodeImage(stored, 'file.x'))
})

test('a JPEG is turned as its EXIF says, its label is not; their sizes are compared afterwards', async () => {
  const stored = photograph(16, 8)
  const plain = decodeImage(stored, 'file.x')
  for (const o of orientations)
    assert.deepEqual(decodeImage(withSegment(stored, 0xe1, exif(o, false)), 'file.x'), upright(plain, 3, o))
  const label = (height: number, width: number) =>
    encode({ width, height, channels: 1, depth: 8, data: new Uint8Array(128) })
  const folder = await folderOf({
    'list.txt': 'a.jpg turned.png\na.jpg stored.png',
    'a.jpg': withSegment(stored, 0xe1, exif(6, true)),
    'turned.png': label(8, 16),
    'stored.png': label(16, 8),
  })
  const set = await listedFolder({
    name: 'turned',
    folder,
    list: 'list.txt',
    classes: ['a'],
    palette: [],
    cache: 0,
  })
  assert.deepEqual([(await set.get(0)).height, (await set.get(0)).width], [8, 16])
  await assert.rejects(set.get(1), /a\.jpg is 8 x 16, its label .*stored\.png is 16 x 8.*EXIF/)
})

test('images of 20,000 x 20,000 and without pixels are refused by their header, before decoding', () => {
  const wide = pngOf({ height: 20_000, width: 20_000, depth: 8, colour: 0 }, new Uint8Array(9))
  assert.throws(() => decodeImage(wide, 'file.x'), bad(/20000 x 20000 pixels, more than 64 megapixels/))
  const deep = pngOf({ height: 7_000, width: 9_000, depth: 16, colour: 6 }, new Uint8Array(9))
  assert.throws(() => decodeImage(deep, 'file.x'), bad(/unpack to more than 256 MiB/))
  assert.throws(
    () => decodeImage(pngOf({ height: 0, width: 5, depth: 8, colour: 0 }, new Uint8Array(0)), 'file.x'),
    bad(/0 x 5 pixels, an empty image/),
  )
  const picture = photograph(8, 8)
  const frame = picture.findIndex((b, i) => b === 0xff && picture[i + 1] === 0xc0)
  const sized = (height: number, width: number, precision = 8): Uint8Array => {
    const out = picture.slice()
    out.set([precision, height >> 8, height & 255, width >> 8, width & 255], frame + 4)
    return out
  }
  assert.throws(() => decodeImage(sized(20_000, 20_000), 'file.x'), bad(/more than 64 megapixels/))
  assert.throws(() => decodeImage(sized(7_000, 9_000), 'file.x'), bad(/bytes cannot hold 7000 x 9000 pixels/))
  assert.throws(() => decodeImage(sized(0, 8), 'file.x'), bad(/0 x 8 pixels, an empty image/))
  assert.throws(() => decodeImage(sized(8, 8, 12), 'file.x'), bad(/12 bits a sample/))
})

test('a small PNG that inflates without end is stopped at what its header needs', () => {
  // 64 MiB of zeros in 64 KiB, where 8 x 8 grey pixels need 72 bytes.
  const bomb = pngOf({ height: 8, width: 8, depth: 8, colour: 0 }, new Uint8Array(2 ** 26))
  assert.ok(bomb.length < 2 ** 17)
  const before = process.memoryUsage().arrayBuffers
  assert.throws(() => decodeLabel(bomb, 'file.x'), bad(/inflate to more than 72 bytes/))
  assert.ok(process.memoryUsage().arrayBuffers - before < 2 ** 23)
  const short = pngOf({ height: 8, width: 8, depth: 8, colour: 0 }, new Uint8Array(71))
  assert.throws(() => decodeLabel(short, 'file.x'), bad(/inflate to 71 bytes, the header needs 72/))
})

test('text, profiles and second headers of a PNG are never decoded', () => {
  const head = { height: 1, width: 2, depth: 8, colour: 0 }
  const data = Uint8Array.of(0, 3, 4)
  const broken = chunk('iCCP', Uint8Array.of(65, 0, 9))
  assert.deepEqual(
    [...decodeLabel(pngOf(head, data, [broken, chunk('tRNS', new Uint8Array(9))]), 'file.x').data],
    [3, 4],
  )
  const second = chunk('IHDR', Uint8Array.of(0, 0, 78, 32, 0, 0, 78, 32, 8, 0, 0, 0, 0))
  assert.throws(
    () => decodeLabel(pngOf(head, data, [second]), 'file.x'),
    bad(/header IHDR must be there once/),
  )
  assert.throws(
    () => decodeLabel(pngOf(head, data, [chunk('ABCD', data)]), 'file.x'),
    bad(/critical chunk "ABCD"/),
  )
  for (const [colour, depth] of [
    [1, 8],
    [2, 4],
    [0, 3],
  ] as const)
    assert.throws(() => decodeLabel(pngOf({ ...head, colour, depth }, data), 'file.x'), DataError)
})

test('interlaced PNG is read from 8 bits on', () => {
  // Adam7 of 2 x 2: pass 1 has (0, 0), pass 6 (1, 0), pass 7 the second row.
  const data = Uint8Array.of(0, 5, 0, 6, 0, 7, 8)
  const head = { height: 2, width: 2, depth: 8, colour: 0, interlace: 1 }
  assert.deepEqual([...decodeLabel(pngOf(head, data), 'file.x').data], [5, 6, 7, 8])
  assert.throws(
    () => decodeLabel(pngOf({ ...head, depth: 4 }, data), 'file.x'),
    bad(/interlaced PNG of 4 bits/),
  )
})

test('a JPEG of nothing but scans is refused before it is decoded', () => {
  const picture = photograph(8, 8)
  const frame = picture.findIndex((b, i) => b === 0xff && picture[i + 1] === 0xc0)
  const large = picture.slice()
  large.set([8, 7000 >> 8, 7000 & 255, 9000 >> 8, 9000 & 255], frame + 4)
  const scans = Array.from({ length: 40 }, () => [0xff, 0xda, 0, 2]).flat()
  const many = Uint8Array.of(...large.subarray(0, -2), ...scans, 0xff, 0xd9)
  assert.throws(() => decodeImage(many, 'file.x'), bad(/41 scans of 7000 x 9000 pixels/))
})

test('folders, empty and giant files are refused with their path', async () => {
  const folder = await folderOf({ 'empty.png': '', 'giant.png': '', 'list.txt': 'empty.png empty.png' })
  await truncate(join(folder, 'giant.png'), maxFileBytes + 1)
  await assert.rejects(fileBytes(join(folder, 'giant.png')), /giant\.png: 268435457 bytes, more than 256 MiB/)
  await assert.rejects(
    fileBytes(folder),
    (e: unknown) => e instanceof DataError && /it is no file/.test(e.message),
  )
  const set = await listedFolder({ name: 'empty', folder, list: 'list.txt', classes: ['a'], palette: [] })
  await assert.rejects(set.get(0), /empty\.png: neither JPEG nor PNG \(the file is empty\)/)
})

/** What may come of damaged bytes: pixels of a stated size, or a DataError; nothing else, and soon. */
function survives(bytes: Uint8Array): void {
  const start = performance.now()
  for (const decode of [decodeImage, decodeLabel])
    try {
      const { height, width, data } = decode(bytes, 'file.x')
      assert.ok(data.length === height * width * (decode === decodeImage ? 3 : 1))
    } catch (error) {
      if (!(error instanceof DataError)) throw error
      assert.match(error.message, /^file\.x: /)
    }
  // A few thousand bytes hold less than a megapixel, which takes under a second on a busy machine.
  assert.ok(performance.now() - start < 10_000)
}

test('damaged PNG and JPEG give pixels or a DataError, whatever the damage', () => {
  const seeds = [
    encodePng(
      Uint8Array.from({ length: 12 * 9 * 3 }, (_, i) => (i * 31) % 256),
      12,
      9,
    ),
    encode({ width: 7, height: 5, channels: 1, depth: 8, data: new Uint8Array(35), palette: [[1, 2, 3]] }),
    encode({ width: 7, height: 5, channels: 1, depth: 16, data: new Uint16Array(35) }),
    pngOf({ height: 9, width: 9, depth: 8, colour: 2, interlace: 1 }, new Uint8Array(9 * 9 * 3 + 17)),
    photograph(16, 24),
    withSegment(photograph(9, 7), 0xe1, exif(6, true)),
  ]
  for (const seed of seeds.slice(0, 3)) decodeImage(seed, 'file.x')
  fc.assert(
    fc.property(fc.constantFrom(...seeds), edits, (seed, changes) => survives(damage(seed, changes))),
    { numRuns: 400 },
  )
})

test('damage with right checksums gives pixels or a DataError too', () => {
  const header = fc.record({
    height: fc.oneof(fc.integer({ min: 0, max: 40 }), fc.constantFrom(2 ** 31, 2 ** 32 - 1)),
    width: fc.oneof(fc.integer({ min: 0, max: 40 }), fc.constantFrom(2 ** 31, 2 ** 32 - 1)),
    depth: fc.constantFrom(0, 1, 2, 4, 8, 16, 32),
    colour: fc.constantFrom(0, 1, 2, 3, 4, 5, 6, 7),
    interlace: fc.constantFrom(0, 1, 2),
  })
  const extra = fc.array(
    fc.tuple(
      fc.constantFrom('PLTE', 'tRNS', 'iCCP', 'tEXt', 'IDAT', 'acTL'),
      fc.uint8Array({ maxLength: 30 }),
    ),
    { maxLength: 3 },
  )
  fc.assert(
    fc.property(header, fc.uint8Array({ maxLength: 400 }), extra, (head, data, chunks) =>
      survives(
        pngOf(
          head,
          data,
          chunks.map(([type, payload]) => chunk(type, payload)),
        ),
      ),
    ),
    { numRuns: 300 },
  )
})

test('damaged list files give pairs or a DataError', async () => {
  const folder = await folderOf({})
  const list = new TextEncoder().encode('a.png a_l.png\nb.jpg b_l.png\n')
  await fc.assert(
    fc.asyncProperty(edits, async changes => {
      await writeFile(join(folder, 'list.txt'), damage(list, changes))
      try {
        const set = await listedFolder({
          name: 'fuzz',
          folder,
          list: 'list.txt',
          classes: ['a'],
          palette: [],
        })
        assert.ok(set.size <= 30)
        await assert.rejects(set.get(0), DataError)
      } catch (error) {
        if (!(error instanceof DataError)) throw error
      }
    }),
    { numRuns: 150 },
  )
})
