/** Resampling: constants, identities, linear ramps, views over the edge. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { resampleLinear, resampleNearest, type View, whole } from '../../src/data/resize.ts'
import { ignored, type Size } from '../../src/data/sample.ts'

const extent = fc.integer({ min: 1, max: 12 })
const size = fc.tuple(extent, extent)
const view: fc.Arbitrary<View> = fc.record({
  scaled: size,
  size,
  top: fc.integer({ min: -5, max: 12 }),
  left: fc.integer({ min: -5, max: 12 }),
})
const ramp = (n: number) => Float32Array.from({ length: n }, (_, i) => ((i * 37) % 101) / 101)

test('an equal size gives the pixels unchanged', () => {
  fc.assert(
    fc.property(size, ([h, w]: Size) => {
      const x = ramp(2 * h * w)
      assert.deepEqual(resampleLinear(x, 2, [h, w], whole([h, w])), x)
      const label = Uint8Array.from(x.subarray(0, h * w), v => v * 101)
      assert.deepEqual(resampleNearest(label, [h, w], whole([h, w])), label)
    }),
  )
})

test('a constant stays constant inside the image and is 0 outside; labels are ignored there', () => {
  fc.assert(
    fc.property(size, view, (from: Size, v: View) => {
      const n = from[0] * from[1]
      const image = resampleLinear(new Float32Array(n).fill(0.75), 1, from, v)
      const label = resampleNearest(new Uint8Array(n).fill(3), from, v)
      for (let i = 0; i < v.size[0]; i++)
        for (let j = 0; j < v.size[1]; j++) {
          const [y, x] = [i + v.top, j + v.left]
          const inside = y >= 0 && y < v.scaled[0] && x >= 0 && x < v.scaled[1]
          const p = i * v.size[1] + j
          // Weights sum to 1 within the rounding of f32.
          assert.ok(Math.abs(image[p] - (inside ? 0.75 : 0)) < 1e-6)
          assert.equal(label[p], inside ? 3 : ignored)
        }
    }),
  )
})

test('a view is a window of the whole scaled image', () => {
  fc.assert(
    fc.property(size, view, (from: Size, v: View) => {
      const x = ramp(from[0] * from[1])
      const all = resampleLinear(x, 1, from, whole(v.scaled))
      const cut = resampleLinear(x, 1, from, v)
      for (let i = Math.max(0, -v.top); i < v.size[0] && i + v.top < v.scaled[0]; i++)
        for (let j = Math.max(0, -v.left); j < v.size[1] && j + v.left < v.scaled[1]; j++)
          assert.equal(cut[i * v.size[1] + j], all[(i + v.top) * v.scaled[1] + j + v.left])
    }),
  )
})

test('enlarging by two interpolates a quarter of a pixel from the centres', () => {
  // Centres of the large pixels lie at 0.25, 0.75, 1.25, 1.75 of the small ones, whose centres are 0.5 and 1.5.
  assert.deepEqual([...resampleLinear(Float32Array.of(0, 4), 1, [1, 2], whole([1, 4]))], [0, 1, 3, 4])
  assert.deepEqual([...resampleNearest(Uint8Array.of(1, 2), [1, 2], whole([1, 4]))], [1, 1, 2, 2])
})

test('shrinking averages instead of skipping: a pattern finer than the pixels becomes flat', () => {
  const checks = Float32Array.from({ length: 256 }, (_, i) => (i + (i >> 4)) % 2)
  const small = resampleLinear(checks, 1, [16, 16], whole([4, 4]))
  // At the border the triangle is cut, so one sample a side too many or too few: a deviation under 1/16 an axis.
  assert.ok(small.every(x => Math.abs(x - 0.5) < 1 / 16))
})
