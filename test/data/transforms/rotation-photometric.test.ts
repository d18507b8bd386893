/** Rotation and photometric distortion against plain references. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ignored, type Sample } from '../../../src/data/sample.ts'
import { sceneAt } from '../../../src/data/synthetic.ts'
import { type Photometric, photometric } from '../../../src/data/transforms/photometric.ts'
import { randomRotation, rotate } from '../../../src/data/transforms/rotation.ts'
import { key, uniformAt } from '../../../src/dsl/threefry.ts'
import { readable } from './readable.ts'

const seeds = fc.integer({ min: 0, max: 2 ** 31 })
const scene = sceneAt(7, [9, 12], 0)

test('no angle changes nothing, a quarter turns clockwise, four quarters come back', () => {
  const s = readable(7, 7, (y, x) => 1 + ((3 * y + 5 * x) % 7))
  // f32 rounding of interpolation weights that should be 0 or 1.
  const equal = (a: Sample, b: Sample) => {
    assert.deepEqual(a.label, b.label)
    a.image.forEach((x, i) => void assert.ok(Math.abs(x - b.image[i]) < 1e-6))
  }
  equal(rotate(s, 0), s)
  equal(
    rotate(s, 90),
    readable(7, 7, (y, x) => s.label[(6 - x) * 7 + y]),
  )
  equal(rotate(rotate(rotate(rotate(s, 90), 90), 90), 90), s)
})

test('a rotated plateau keeps its values with its labels; outside is 0 and 255', () => {
  fc.assert(
    fc.property(fc.double({ min: -180, max: 180, noNaN: true }), fc.boolean(), (degrees, tall) => {
      const s = readable(tall ? 21 : 15, tall ? 15 : 21, () => 4)
      const out = rotate(s, degrees)
      let rim = 0
      out.label.forEach((c, p) => {
        const x = out.image[p]
        if (x > 0.5 - 1e-6) assert.equal(c, 4)
        else if (x === 0) assert.equal(c, ignored)
        else rim++
      })
      // The frame's rim is a line of at most 2 (h + w) pixels, blended over one pixel either side.
      assert.ok(rim <= 4 * (15 + 21))
      // The centre is never lost.
      assert.equal(out.label[Math.floor(out.label.length / 2)], 4)
    }),
  )
})

test('randomRotation turns by what it says, as often as it says', () => {
  for (let i = 0; i < 50; i++) {
    const k = key(i)
    const out = randomRotation({ degrees: 30, probability: 0.4 })(k, scene)
    assert.deepEqual(out, uniformAt(k, 0) < 0.4 ? rotate(scene, 30 * (2 * uniformAt(k, 1) - 1)) : scene)
  }
})

/** MMSegmentation's order, one pixel and one step at a time, with the textbook's conversions between RGB and HSV. */
function reference(seed: number, [r, g, b]: readonly number[]): number[] {
  const u = (i: number) => uniformAt(key(seed), i)
  const clip = (x: number) => Math.min(1, Math.max(0, x))
  let rgb = [r, g, b]
  if (u(0) < 0.5) rgb = rgb.map(x => clip(x + (64 * u(1) - 32) / 255))
  const contrast = () => {
    if (u(2) < 0.5) rgb = rgb.map(x => clip(x * (0.5 + u(3))))
  }
  const last = u(4) < 0.5
  if (!last) contrast()
  let [h, s, v] = toHSV(rgb)
  if (u(5) < 0.5) s = clip(s * (0.5 + u(6)))
  if (u(7) < 0.5) h = (h + (72 * u(8) - 36) + 360) % 360
  rgb = toRGB([h, s, v])
  if (last) contrast()
  return rgb
}
function toHSV([r, g, b]: readonly number[]): [number, number, number] {
  const v = Math.max(r, g, b)
  const d = v - Math.min(r, g, b)
  if (d === 0) return [0, 0, v]
  const h = v === r ? 60 * ((g - b) / d) : v === g ? 120 + 60 * ((b - r) / d) : 240 + 60 * ((r - g) / d)
  return [(h + 360) % 360, d / v, v]
}
function toRGB([h, s, v]: readonly [number, number, number]): number[] {
  const c = v * s
  const x = c * (1 - Math.abs(((h / 60) % 2) - 1))
  const m = v - c
  const sector = [
    [c, x, 0],
    [x, c, 0],
    [0, c, x],
    [0, x, c],
    [x, 0, c],
    [c, 0, x],
  ][Math.floor(h / 60) % 6]
  return sector.map(y => y + m)
}

test('photometric agrees with the steps taken one by one, pixel by pixel', () => {
  fc.assert(
    fc.property(seeds, seed => {
      const { image, label } = photometric()(key(seed), scene)
      assert.equal(label, scene.label)
      const plane = scene.label.length
      for (let p = 0; p < plane; p += 5) {
        const pixel = [0, 1, 2].map(c => scene.image[c * plane + p])
        // f32 between steps here, f64 there; a product of two factors up to 1.5.
        reference(seed, pixel).forEach((x, c) => {
          assert.ok(Math.abs(image[c * plane + p] - x) < 1e-5, `${image[c * plane + p]} for ${x}`)
        })
      }
    }),
    { numRuns: 60 },
  )
})

test('without strength nothing changes, and every part moves the image on its own', () => {
  const none: Photometric = { brightness: 0, contrast: [1, 1], saturation: [1, 1], hue: 0 }
  for (let i = 0; i < 20; i++) assert.deepEqual(photometric(none)(key(i), scene).image, scene.image)
  for (const part of [
    { brightness: 0.2 },
    { contrast: [2, 2] },
    { saturation: [0, 0] },
    { hue: 90 },
  ] as const) {
    const changed = Array.from({ length: 40 }, (_, i) =>
      photometric({ ...none, ...part })(key(i), scene),
    ).filter(s => s.image.some((x, p) => Math.abs(x - scene.image[p]) > 0.01)).length
    // Half of the time: 4 standard deviations of a binomial of 40 are 13.
    assert.ok(Math.abs(changed - 20) <= 13, `${changed} of 40 for ${JSON.stringify(part)}`)
  }
})
