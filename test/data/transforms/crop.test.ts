/** Scale and crop: sizes and ranges, alignment, windows everywhere, the share of one class. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { randomCrop, randomScale, randomScaleCrop } from '../../../src/data/transforms/crop.ts'
import { key } from '../../../src/dsl/threefry.ts'
import { readable } from './readable.ts'

const seeds = fc.integer({ min: 0, max: 2 ** 31 })
const extent = fc.integer({ min: 1, max: 20 })

test('randomScale keeps the aspect ratio within its range, randomCrop gives the window or what there is', () => {
  fc.assert(
    fc.property(seeds, extent, extent, extent, extent, (seed, h, w, ch, cw) => {
      const s = readable(h, w, () => 1)
      const scaled = randomScale()(key(seed), s)
      const crop = randomCrop({ size: [ch, cw] })(key(seed), s)
      const both = randomScaleCrop({ size: [ch, cw] })(key(seed), s)
      const range = (n: number, m: number) => m >= Math.max(1, Math.round(n / 2)) && m <= 2 * n
      assert.ok(range(h, scaled.height) && range(w, scaled.width))
      // One factor for both: each extent is rounded by half a pixel at most.
      const [low, high] = [scaled.height - 0.5, scaled.height + 0.5].map(x => (x / h) * w)
      if (scaled.height > 1 && scaled.width > 1)
        assert.ok(scaled.width >= low - 0.5 - 1e-9 && scaled.width <= high + 0.5 + 1e-9)
      assert.deepEqual([crop.height, crop.width], [Math.min(h, ch), Math.min(w, cw)])
      assert.deepEqual([both.height, both.width], [Math.min(scaled.height, ch), Math.min(scaled.width, cw)])
    }),
  )
})

test('randomScaleCrop is a window of what randomScale gives', () => {
  fc.assert(
    fc.property(seeds, extent, extent, (seed, h, w) => {
      const s = readable(h, w, (y, x) => 1 + ((5 * y + 3 * x) % 7))
      const scaled = randomScale()(key(seed), s)
      const cut = randomScaleCrop({ size: [6, 7] })(key(seed), s)
      const found = Array.from(
        { length: (scaled.height - cut.height + 1) * (scaled.width - cut.width + 1) },
        (_, i) => {
          const across = scaled.width - cut.width + 1
          const [top, left] = [Math.floor(i / across), i % across]
          return cut.image.every((v, k) => {
            const [c, p] = [Math.floor(k / cut.label.length), k % cut.label.length]
            const from = (top + Math.floor(p / cut.width)) * scaled.width + left + (p % cut.width)
            return v === scaled.image[c * scaled.label.length + from] && cut.label[p] === scaled.label[from]
          })
        },
      )
      assert.ok(found.includes(true))
    }),
    { numRuns: 60 },
  )
})

test('scale and crop keep image and label aligned', () => {
  // Halves of two classes: wherever the image is not between them (a blended edge), it tells the label.
  fc.assert(
    fc.property(seeds, fc.boolean(), (seed, vertical) => {
      const s = readable(30, 30, (y, x) => ((vertical ? x : y) < 15 ? 2 : 6))
      const out = randomScaleCrop({ size: [26, 22] })(key(seed), s)
      let edge = 0
      for (const [p, c] of out.label.entries()) {
        const x = out.image[p]
        if (Math.abs(x - 0.25) > 1e-6 && Math.abs(x - 0.75) > 1e-6) edge++
        else assert.ok(Math.abs(x - c / 8) < 1e-6, `class ${c} at value ${x}`)
      }
      // An enlargement by 2 blends 2 lines of pixels, a reduction by 2 at most 4.
      assert.ok(edge <= 4 * 26, `${edge} blended pixels`)
    }),
  )
})

test('windows reach every border', () => {
  const s = readable(8, 8, (y, x) => (y === 0 ? 1 : y === 7 ? 2 : x === 0 ? 3 : x === 7 ? 4 : 0))
  const crop = randomCrop({ size: [4, 4] })
  const seen = new Set(Array.from({ length: 200 }, (_, i) => [...crop(key(i), s).label]).flat())
  assert.deepEqual([...seen].sort(), [0, 1, 2, 3, 4])
})

test('maxShare avoids windows of nearly one class where others exist, and gives up where none does', () => {
  const s = readable(40, 40, (y, x) => (y < 20 && x < 20 ? 1 : 0))
  const crowded = (maxShare: number) =>
    Array.from({ length: 100 }, (_, i) => randomCrop({ size: [12, 12], maxShare })(key(i), s))
      .map(({ label }) => label.filter(c => c === 1).length / 144)
      .filter(share => share > 0.75 || share < 0.25).length
  // About 80 % of free windows are nearly of one class; eleven draws leave 0.8^11 = 9 % of them.
  assert.ok(crowded(1) > 60 && crowded(0.75) < 25, `${crowded(1)} and ${crowded(0.75)} of 100`)
  assert.equal(
    randomCrop({ size: [4, 4], maxShare: 0.1 })(
      key(1),
      readable(9, 9, () => 3),
    ).height,
    4,
  )
})
