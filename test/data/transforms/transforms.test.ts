/** Laws of every transform: pure in the key, labels never mixed, image and label moved together, recipes that work. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { follow } from '../../../src/data/recipe.ts'
import { ignored, type Sample } from '../../../src/data/sample.ts'
import { sceneAt } from '../../../src/data/synthetic.ts'
import { augmentation } from '../../../src/data/transforms/augmentation.ts'
import { randomCrop, randomScale, randomScaleCrop } from '../../../src/data/transforms/crop.ts'
import { flip, randomFlip } from '../../../src/data/transforms/flip.ts'
import { imagenet, normalise, normalised, pad } from '../../../src/data/transforms/normalise.ts'
import { photometric } from '../../../src/data/transforms/photometric.ts'
import { randomRotation } from '../../../src/data/transforms/rotation.ts'
import { pipeline, type Transform } from '../../../src/data/transforms/transform.ts'
import { UsageError } from '../../../src/dsl/errors.ts'
import { foldIn, key } from '../../../src/dsl/threefry.ts'
import { readable } from './readable.ts'

const seeds = fc.integer({ min: 0, max: 2 ** 31 })
const extent = fc.integer({ min: 1, max: 24 })
const sample: fc.Arbitrary<Sample> = fc
  .tuple(extent, extent, fc.infiniteStream(fc.integer({ min: 0, max: 8 })))
  .map(([h, w, classes]) =>
    readable(h, w, () => {
      const c = classes.next().value
      return c === 8 ? ignored : c
    }),
  )

const all: Readonly<Record<string, Transform>> = {
  randomScale: randomScale(),
  randomCrop: randomCrop({ size: [10, 13], maxShare: 0.75 }),
  randomScaleCrop: randomScaleCrop({ size: [10, 13], maxShare: 0.75 }),
  randomFlip: randomFlip(),
  photometric: photometric(),
  randomRotation: randomRotation({ degrees: 90, probability: 0.9 }),
  normalise: normalise(),
  pad: pad({ size: [11, 15] }),
  padMultiple: pad({ multiple: 8 }),
  augmentation: augmentation({ size: [12, 10] }),
  pipeline: pipeline([randomScale(), randomCrop({ size: [9, 9] }), randomRotation(), pad({ size: [9, 9] })]),
}

for (const [name, transform] of Object.entries(all))
  test(`${name}: same key same result, input untouched, label values from the input and 255, and its recipe is it`, async () => {
    const { recipe } = transform
    assert.ok(recipe)
    const again = await follow(structuredClone(recipe))
    assert.ok(typeof again === 'function')
    fc.assert(
      fc.property(seeds, sample, (seed, s) => {
        const before = structuredClone(s)
        const out = transform(key(seed), s)
        assert.deepEqual(s, before)
        assert.deepEqual(transform(key(seed), s), out)
        assert.deepEqual(again(key(seed), s), out)
        assert.deepEqual(
          [out.image.length, out.label.length],
          [3 * out.height * out.width, out.height * out.width],
        )
        const allowed = new Set([...s.label, ignored])
        assert.ok(out.label.every(c => allowed.has(c)))
        assert.ok(out.image.every(Number.isFinite))
      }),
      { numRuns: 40 },
    )
  })

test('geometry without resampling keeps image and label together, pixel by pixel', () => {
  const moved = pipeline([randomCrop({ size: [8, 9] }), randomFlip(), pad({ size: [10, 12] })])
  fc.assert(
    fc.property(seeds, extent, extent, (seed, h, w) => {
      const s = readable(h, w, (y, x) => 1 + ((seed + 3 * y + 5 * x) % 7))
      const { image, label } = moved(key(seed), s)
      for (const [i, x] of image.entries()) {
        const c = label[i % label.length]
        assert.equal(x, c === ignored ? 0 : c / 8)
      }
    }),
  )
})

test('flip reverses rows, and flipping twice changes nothing', () => {
  fc.assert(
    fc.property(sample, s => {
      const { width: w } = s
      flip(s).label.forEach((c, p) => void assert.equal(c, s.label[p - (p % w) + (w - 1 - (p % w))]))
      assert.deepEqual(flip(flip(s)), s)
    }),
  )
})

test('randomFlip flips as often as it says', () => {
  const scene = sceneAt(7, [8, 8], 0)
  for (const [probability, expected] of [
    [0.5, 200],
    [0, 0],
    [1, 400],
  ] as const) {
    const flips = Array.from(
      { length: 400 },
      (_, i) => randomFlip(probability)(foldIn(key(5), i), scene) !== scene,
    )
    const count = flips.filter(Boolean).length
    // 4 standard deviations of a binomial of 400 at 1/2.
    assert.ok(Math.abs(count - expected) <= (expected === 200 ? 40 : 0), `${count} of 400`)
  }
})

test('pipeline gives every transform a key of its own, and has a recipe only if all have', () => {
  const keys: string[] = []
  const note: Transform = (k, s) => {
    keys.push(String(k))
    return s
  }
  const noted = pipeline([note, note])
  noted(key(3), sceneAt(1, [8, 8], 0))
  assert.deepEqual(keys, [String(foldIn(key(3), 0)), String(foldIn(key(3), 1))])
  assert.equal(noted.recipe, undefined)
  assert.equal(pipeline([randomFlip(), note]).recipe, undefined)
})

test('normalised takes out mean and standard deviation channel by channel', () => {
  const out = normalised(Float32Array.from([0.485, 1, 0.456, 0, 0.406, 0.406 + 0.225]))
  const { mean, std } = imagenet
  const expected = [0, (1 - mean[0]) / std[0], 0, -mean[1] / std[1], 0, 1]
  // f32 rounding of numbers below 4.
  out.forEach((x, i) => void assert.ok(Math.abs(x - expected[i]) < 1e-6))
})

test('padding after normalising is the mean, 0; it lies right and below, and enough stays as it is', () => {
  const s = readable(3, 4, () => 5)
  const out = pipeline([normalise(), pad({ size: [5, 4] })])(key(1), s)
  assert.deepEqual([out.height, out.width], [5, 4])
  assert.ok(out.label.every((c, p) => c === (p < 12 ? 5 : ignored)))
  assert.ok(
    out.image.every((x, i) => (i % 20 < 12 ? x === normalised(s.image)[Math.floor(i / 20) * 12] : x === 0)),
  )
  const rounded = pad({ multiple: 4 })(key(1), s)
  assert.deepEqual([rounded.height, rounded.width], [4, 4])
  assert.equal(pad({ size: [2, 2] })(key(1), s), s)
})

test('augmentation gives its size, normalised once, and 0 where nothing was', () => {
  fc.assert(
    fc.property(seeds, extent, extent, (seed, h, w) => {
      const out = augmentation({ size: [16, 12] })(
        key(seed),
        readable(h, w, (y, x) => 1 + ((y + x) % 7)),
      )
      assert.deepEqual([out.height, out.width, out.normalisation], [16, 12, imagenet])
      assert.ok(out.label.every((c, p) => c !== ignored || out.image[p] === 0))
    }),
  )
  const once = normalise()(key(1), sceneAt(1, [8, 8], 0))
  assert.throws(() => normalise()(key(1), once), UsageError)
  assert.throws(() => photometric()(key(1), once), /put photometric before normalise/)
})

test('bad options are refused with their values', () => {
  assert.throws(() => randomCrop({ size: [0, 4] }), /randomCrop: .*\[0, 4\]/)
  assert.throws(() => randomScaleCrop({ size: [4.5, 4] }), /randomScaleCrop: .*\[4\.5, 4\]/)
  assert.throws(() => randomScale({ scale: [2, 1] }), /randomScale: .*\[2, 1\]/)
  assert.throws(() => randomScale({ scale: [1, Infinity] }), UsageError)
  assert.throws(() => randomCrop({ size: [4, 4], maxShare: 0 }), /maxShare must be in \(0, 1\], got 0/)
  assert.throws(() => photometric({ contrast: [1, 0.5] }), /contrast \[1, 0\.5\]/)
  assert.throws(() => photometric({ saturation: [-1, 1] }), UsageError)
  assert.throws(() => photometric({ hue: 181 }), /hue 181/)
  assert.throws(() => photometric({ brightness: -1 }), UsageError)
  assert.throws(() => randomRotation({ degrees: 181 }), /got 181/)
  assert.throws(() => randomRotation({ probability: 2 }), UsageError)
  assert.throws(() => randomFlip(-0.1), /got -0\.1/)
  assert.throws(() => pad({ multiple: 0 }), /got 0/)
})
