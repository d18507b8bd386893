/** Codecs: round trips, every PNG layout that is read, and every way in which a file can be bad. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { encode, type PngDataArray } from 'fast-png'
import jpeg from 'jpeg-js'
import { decodeImage, decodeLabel, encodePng } from '../../src/data/image.ts'
import { planar } from '../../src/data/pixels.ts'
import { imageTile, labelTile, sheet } from '../../src/data/sheet.ts'
import { DataError } from '../../src/dsl/errors.ts'

const png = (data: PngDataArray, channels: number, width: number, palette?: number[][]) =>
  encode({
    width,
    height: data.length / channels / width,
    data,
    channels,
    depth: 8,
    ...(palette ? { palette } : {}),
  })

/** A DataError that begins with the file's name and whose text matches. */
const bad = (text: RegExp) => (error: unknown) => {
  assert.ok(error instanceof DataError)
  assert.match(error.message, /^file\.x: /)
  assert.match(error.message, text)
  return true
}

test('PNG of RGB survives a round trip', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 9 }),
      fc.infiniteStream(fc.nat(255)),
      (h, w, bytes) => {
        const rgb = Uint8Array.from({ length: 3 * h * w }, () => bytes.next().value)
        const back = decodeImage(encodePng(rgb, h, w), 'file.x')
        assert.deepEqual([back.height, back.width, [...back.data]], [h, w, [...rgb]])
      },
    ),
    { numRuns: 30 },
  )
})

test('label maps survive a round trip, in grey and as palette indexes', () => {
  const label = Uint8Array.of(0, 1, 255, 11, 2, 0)
  assert.deepEqual([...decodeLabel(png(label, 1, 3), 'file.x').data], [...label])
  const indexes = Uint8Array.of(2, 0, 1, 1)
  const coloured = png(indexes, 1, 2, [
    [9, 8, 7],
    [6, 5, 4],
    [3, 2, 1],
  ])
  assert.deepEqual([...decodeLabel(coloured, 'file.x').data], [...indexes])
  assert.deepEqual([...decodeImage(coloured, 'file.x').data], [3, 2, 1, 9, 8, 7, 6, 5, 4, 6, 5, 4])
})

test('packed samples of 1, 2 and 4 bits are unpacked, row by row', () => {
  // Rows of 3 samples: each row is filled up to a whole byte.
  const packed = {
    1: [0b10100000, 0b01000000],
    2: [0b11_00_01_00, 0b10_01_00_00],
    4: [0xf1, 0x20, 0x03, 0x40],
  }
  const values = { 1: [1, 0, 1, 0, 1, 0], 2: [3, 0, 1, 2, 1, 0], 4: [15, 1, 2, 0, 3, 4] }
  for (const depth of [1, 2, 4] as const) {
    const bytes = encode({ width: 3, height: 2, channels: 1, depth, data: Uint8Array.from(packed[depth]) })
    assert.deepEqual([...decodeLabel(bytes, 'file.x').data], values[depth])
    assert.equal(Math.max(...decodeImage(bytes, 'file.x').data), 255, 'the largest grey is white')
  }
})

test('grey is repeated into three channels and alpha is dropped', () => {
  assert.deepEqual([...decodeImage(png(Uint8Array.of(7, 9), 1, 2), 'file.x').data], [7, 7, 7, 9, 9, 9])
  assert.deepEqual([...decodeImage(png(Uint8Array.of(7, 1, 9, 2), 2, 2), 'file.x').data], [7, 7, 7, 9, 9, 9])
  assert.deepEqual([...decodeImage(png(Uint8Array.of(1, 2, 3, 99), 4, 1), 'file.x').data], [1, 2, 3])
})

test('a JPEG of quality 100 comes back within 3 levels', () => {
  const { bytes, rgb } = photograph()
  const back = decodeImage(bytes, 'file.x')
  assert.deepEqual([back.height, back.width], [16, 24])
  // Quality 100 quantises by 1; what remains is rounding in the transform and in the change of colour space.
  for (const [i, x] of back.data.entries()) assert.ok(Math.abs(x - rgb[i]) <= 3, `${x} for ${rgb[i]}`)
})

test('a truncated JPEG is an error, wherever it ends', () => {
  const { bytes } = photograph()
  for (let n = 3; n < bytes.length; n += 7)
    assert.throws(() => decodeImage(bytes.subarray(0, n), 'file.x'), bad(/truncated JPEG/))
})

test('a truncated or altered PNG is an error', () => {
  const bytes = png(
    new Uint8Array(300).map((_, i) => (i * 31) % 256),
    3,
    10,
  )
  for (let n = 8; n < bytes.length; n += 5)
    assert.throws(() => decodeImage(bytes.subarray(0, n), 'file.x'), bad(/truncated PNG|damaged PNG/))
  const altered = bytes.slice()
  altered[60] ^= 4
  assert.throws(() => decodeImage(altered, 'file.x'), bad(/damaged PNG/))
})

test('what is neither JPEG nor PNG is named by its first bytes', () => {
  assert.throws(
    () => decodeImage(Uint8Array.of(0x47, 0x49, 0x46, 0x38), 'file.x'),
    bad(/begins with 47 49 46 38/),
  )
  assert.throws(() => decodeImage(new Uint8Array(0), 'file.x'), bad(/the file is empty/))
  assert.throws(() => decodeLabel(photograph().bytes, 'file.x'), bad(/a label map must be PNG/))
})

test('16 bits stay exact in labels and are rounded to 8 in images', () => {
  const deep = (data: Uint16Array, channels: 1 | 3) =>
    encode({ width: data.length / channels, height: 1, channels, depth: 16, data })
  const values = Uint16Array.of(0, 7, 255, 256, 65535)
  assert.deepEqual([...decodeLabel(deep(values, 1), 'file.x').data], [...values])
  const colours = Uint16Array.of(0, 257, 65535, 128, 129, 40000)
  assert.deepEqual([...decodeImage(deep(colours, 3), 'file.x').data], [0, 1, 255, 0, 1, 156])
})

test('labels in colours and giant images are refused, with the mend', () => {
  assert.throws(
    () => decodeLabel(png(new Uint8Array(12), 3, 2), 'file.x'),
    bad(/this one has 3.*grey or palette/),
  )
  const giant = png(new Uint8Array(4), 1, 2).slice()
  giant.set([0, 1, 0, 0, 0, 1, 0, 0], 16)
  assert.throws(() => decodeImage(giant, 'file.x'), bad(/65536 x 65536 pixels, more than 64 megapixels/))
  assert.throws(() => decodeImage(png(Uint8Array.of(2), 1, 1, [[0, 0, 0]]), 'file.x'), bad(/palette index 2/))
})

test('encodePng refuses a wrong number of bytes', () => {
  assert.throws(() => encodePng(new Uint8Array(11), 2, 2), DataError)
})

test('planar turns pixels into planes', () => {
  const planes = planar({ height: 1, width: 2, data: Uint8Array.of(1, 2, 3, 4, 5, 6) }, 3)
  assert.deepEqual([...planes], [1, 4, 2, 5, 3, 6])
})

test('a sheet shows each tile at its place, enlarged, and labels in their colours', () => {
  const label = labelTile({ height: 1, width: 2, label: [0, 255] }, [[9, 8, 7]])
  assert.deepEqual([...label.data], [9, 8, 7, 255, 255, 255])
  assert.throws(() => labelTile({ height: 1, width: 1, label: [1] }, [[9, 8, 7]]), /class 1 has no colour/)
  const image = imageTile({ height: 1, width: 2, image: Float32Array.of(0, 1, 0.5, 0, 1, 0) })
  assert.deepEqual([...image.data], [0, 128, 255, 255, 0, 0])
  const all = sheet([[image, label]], 2)
  assert.deepEqual([all.height, all.width], [4, 12])
  const at = (y: number, x: number) => [...all.data.subarray(3 * (12 * y + x), 3 * (12 * y + x) + 3)]
  assert.deepEqual(
    [at(1, 1), at(1, 2), at(0, 6), at(3, 0)],
    [
      [0, 128, 255],
      [255, 0, 0],
      [9, 8, 7],
      [32, 32, 32],
    ],
  )
  assert.throws(() => sheet([[image, { ...label, width: 1 }]]), /tiles of 1 x 2 and of 1 x 1/)
})

/** A smooth picture of 16 x 24 pixels, which JPEG keeps well, and its JPEG. */
function photograph(): { bytes: Uint8Array; rgb: number[] } {
  const rgb = Array.from({ length: 16 * 24 }, (_, p) =>
    [p % 24, p / 24, (p % 24) + p / 24].map(x => Math.floor(4 * x)),
  ).flat()
  const rgba = Uint8Array.from({ length: 16 * 24 * 4 }, (_, i) =>
    i % 4 === 3 ? 255 : rgb[3 * (i >> 2) + (i % 4)],
  )
  return { bytes: new Uint8Array(jpeg.encode({ width: 24, height: 16, data: rgba }, 100).data), rgb }
}
