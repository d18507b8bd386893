/** Augmentation: pure in the key, image and label aligned, padding as promised. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ignored, type Sample } from '../../src/data/sample.ts'
import { sceneAt } from '../../src/data/synthetic.ts'
import {
  augmentation,
  compose,
  flip,
  imagenet,
  jitter,
  mirror,
  normalised,
  randomScaleCrop,
  type Transform,
} from '../../src/data/transforms.ts'
import { UsageError } from '../../src/dsl/errors.ts'
import { foldIn, key } from '../../src/dsl/threefry.ts'

const scene = sceneAt(7, [24, 40], 0)
const seeds = fc.integer({ min: 0, max: 2 ** 31 })

/** A sample whose label can be read off its image: every channel is label / 8 (so 0 to 7 are classes). */
const readable = (height: number, width: number, classAt: (y: number, x: number) => number): Sample => {
  const label = Uint8Array.from({ length: height * width }, (_, p) =>
    classAt(Math.floor(p / width), p % width),
  )
  const image = Float32Array.from({ length: 3 * label.length }, (_, i) => label[i % label.length] / 8)
  return { name: 'readable', height, width, image, label }
}

test('the same key gives the same sample, another key another, and the input is left alone', () => {
  const augment = augmentation({ size: [20, 20] })
  const before = structuredClone(scene)
  fc.assert(
    fc.property(seeds, seed => {
      assert.deepEqual(augment(key(seed), scene), augment(key(seed), scene))
    }),
    { numRuns: 20 },
  )
  assert.notDeepEqual(augment(key(1), scene).image, augment(key(2), scene).image)
  assert.deepEqual(scene, before)
})

test('a flip keeps image and label aligned, and flipping twice changes nothing', () => {
  const extent = fc.integer({ min: 1, max: 9 })
  fc.assert(
    fc.property(extent, extent, seeds, (h, w, seed) => {
      const s = readable(h, w, (y, x) => (seed + 3 * y + 5 * x) % 8)
      const flipped = flip(s)
      for (let i = 0; i < s.image.length; i++) assert.equal(flipped.image[i], flipped.label[i % (h * w)] / 8)
      for (let p = 0; p < h * w; p++) assert.equal(flipped.label[p], s.label[p - (p % w) + (w - 1 - (p % w))])
      assert.deepEqual(flip(flipped), s)
    }),
  )
})

test('mirror flips half of the time', () => {
  const flips = Array.from({ length: 400 }, (_, i) => mirror(foldIn(key(5), i), scene) !== scene)
  const count = flips.filter(Boolean).length
  // 4 standard deviations of a binomial of 400 at 1/2.
  assert.ok(Math.abs(count - 200) < 40, `${count} of 400`)
})

test('scale and crop keep image and label aligned', () => {
  // Halves of two classes: wherever the image is not between them (a blended edge), it tells the label.
  fc.assert(
    fc.property(seeds, fc.boolean(), (seed, vertical) => {
      const s = readable(30, 30, (y, x) => ((vertical ? x : y) < 15 ? 2 : 6))
      const out = randomScaleCrop({ size: [26, 22] })(key(seed), s)
      assert.deepEqual([out.height, out.width, out.image.length, out.label.length], [26, 22, 3 * 572, 572])
      let edge = 0
      for (const [p, c] of out.label.entries()) {
        const x = out.image[p]
        if (c === ignored) assert.equal(x, 0)
        else if (Math.abs(x - 0.25) > 1e-6 && Math.abs(x - 0.75) > 1e-6) edge++
        else assert.ok(Math.abs(x - c / 8) < 1e-6, `class ${c} at value ${x}`)
      }
      // An enlargement by 2 blends 2 lines of pixels, a reduction by 2 at most 4.
      assert.ok(edge <= 4 * 26, `${edge} blended pixels`)
    }),
  )
})

test('a small image is padded with 0 and 255, and stays whole', () => {
  fc.assert(
    fc.property(seeds, seed => {
      const s = readable(5, 6, () => 4)
      const out = randomScaleCrop({ size: [9, 11], scale: [1, 1] })(key(seed), s)
      assert.equal(out.label.filter(c => c === 4).length, 30)
      assert.equal(out.label.filter(c => c === ignored).length, 69)
      assert.ok(out.label.every((c, p) => out.image[p] === (c === ignored ? 0 : 0.5)))
    }),
    { numRuns: 30 },
  )
})

test('windows reach every border', () => {
  const s = readable(8, 8, (y, x) => (y === 0 ? 1 : y === 7 ? 2 : x === 0 ? 3 : x === 7 ? 4 : 0))
  const crop = randomScaleCrop({ size: [4, 4], scale: [1, 1] })
  const seen = new Set(Array.from({ length: 200 }, (_, i) => [...crop(key(i), s).label]).flat())
  assert.deepEqual([...seen].sort(), [0, 1, 2, 3, 4])
})

test('maxShare avoids windows of a single class where others exist', () => {
  const s = readable(40, 40, (y, x) => (y < 20 && x < 20 ? 1 : 0))
  const crowded = (maxShare: number) =>
    Array.from({ length: 100 }, (_, i) =>
      randomScaleCrop({ size: [12, 12], scale: [1, 1], maxShare })(key(i), s),
    )
      .map(({ label }) => label.filter(c => c === 1).length / 144)
      .filter(share => share > 0.75 || share < 0.25).length
  // About 80 % of free windows are nearly of one class; ten attempts leave 0.8^10 = 11 % of them.
  assert.ok(crowded(1) > 60 && crowded(0.75) < 30, `${crowded(1)} and ${crowded(0.75)} of 100`)
})

test('jitter keeps the label and the range, and is the identity at strength 0', () => {
  fc.assert(
    fc.property(seeds, seed => {
      const out = jitter()(key(seed), scene)
      assert.equal(out.label, scene.label)
      assert.ok(out.image.every(x => x >= 0 && x <= 1))
      const same = jitter({ brightness: 0, contrast: 0 })(key(seed), scene)
      // (x - mean) * 1 + mean in f64, stored as f32: equal up to one rounding.
      assert.ok(same.image.every((x, i) => Math.abs(x - scene.image[i]) < 1e-7))
    }),
    { numRuns: 30 },
  )
})

test('compose gives every transform a key of its own', () => {
  const keys: string[] = []
  const note: Transform = (k, s) => {
    keys.push(String(k))
    return s
  }
  compose(note, note)(key(3), scene)
  assert.deepEqual(keys, [String(foldIn(key(3), 0)), String(foldIn(key(3), 1))])
})

test('normalised takes out mean and standard deviation channel by channel', () => {
  const out = normalised(Float32Array.from([0.485, 1, 0.456, 0, 0.406, 0.406 + 0.225]))
  const { mean, std } = imagenet
  const expected = [0, (1 - mean[0]) / std[0], 0, -mean[1] / std[1], 0, 1]
  // f32 rounding of numbers below 4.
  out.forEach((x, i) => void assert.ok(Math.abs(x - expected[i]) < 1e-6))
})

test('bad options are refused with their values', () => {
  assert.throws(() => randomScaleCrop({ size: [0, 4] }), /size \[0, 4\]/)
  assert.throws(() => randomScaleCrop({ size: [4, 4], scale: [2, 1] }), /scale \[2, 1\]/)
  assert.throws(() => randomScaleCrop({ size: [4, 4], maxShare: 0 }), /maxShare must be in \(0, 1\], got 0/)
  assert.throws(() => jitter({ contrast: 2 }), UsageError)
})
