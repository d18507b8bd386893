/** Boundary IoU against the definition: distances measured pixel by pixel. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  boundaryCounts,
  boundaryRegion,
  boundaryScores,
  boundaryWidth,
  updateBoundary,
} from '../../src/data/boundary.ts'
import { ignored, type Size } from '../../src/data/sample.ts'

const classes = 3
const extent = fc.integer({ min: 1, max: 14 })
/** Two class maps of one size, in patches, so that there are insides too. */
const maps = fc.tuple(extent, extent, fc.integer({ min: 1, max: 3 })).chain(([h, w, d]) => {
  const patches = fc.array(fc.constantFrom(0, 1, 2, ignored), { minLength: 9, maxLength: 9 })
  const map = patches.map(cells =>
    Uint8Array.from(
      { length: h * w },
      (_, p) => cells[3 * Math.floor((3 * Math.floor(p / w)) / h) + Math.floor((3 * (p % w)) / w)],
    ),
  )
  return fc.record({
    size: fc.constant<Size>([h, w]),
    d: fc.constant(d),
    label: map,
    prediction: map.map(m => m.map(c => c % classes)),
  })
})

/** Erosion by definition: a pixel stays if its whole square is there and of its class. */
const naiveRegion = (map: ArrayLike<number>, [h, w]: Size, d: number): number[] =>
  Array.from({ length: h * w }, (_, p) => {
    const [y, x] = [Math.floor(p / w), p % w]
    for (let i = y - d; i <= y + d; i++)
      for (let j = x - d; j <= x + d; j++)
        if (i < 0 || i >= h || j < 0 || j >= w || map[i * w + j] !== map[p]) return 1
    return 0
  })

test('the region is what erosion by a square takes away', () => {
  fc.assert(
    fc.property(maps, ({ size, d, label }) => {
      assert.deepEqual([...boundaryRegion(label, size, d)], naiveRegion(label, size, d))
    }),
    { numRuns: 200 },
  )
})

test('scores agree with sets of pixels, over several images', () => {
  fc.assert(
    fc.property(fc.array(maps, { minLength: 1, maxLength: 3 }), images => {
      const counts = boundaryCounts(classes)
      for (const { size, d, label, prediction } of images) updateBoundary(counts, label, prediction, size, d)
      const tally = (c: number) =>
        images.reduce(
          ([both, either], { size, d, label, prediction }) => {
            const seen = prediction.map((q, p) => (label[p] === ignored ? ignored : q))
            const [g, q] = [naiveRegion(label, size, d), naiveRegion(seen, size, d)]
            const inG = g.map((r, p) => r === 1 && label[p] === c)
            const inP = q.map((r, p) => r === 1 && seen[p] === c)
            return [
              both + inG.filter((x, p) => x && inP[p]).length,
              either + inG.filter((x, p) => x || inP[p]).length,
            ]
          },
          [0, 0],
        )
      const expected = Array.from({ length: classes }, (_, c) => tally(c)).map(([both, either]) =>
        either === 0 ? null : both / either,
      )
      const labelled = expected.filter(
        (x, c): x is number => x !== null && images.some(i => i.label.includes(c)),
      )
      if (labelled.length === 0) return assert.throws(() => boundaryScores(counts), { tag: 'DataError' })
      const { iou, miou } = boundaryScores(counts)
      assert.deepEqual(iou, expected)
      assert.ok(Math.abs(miou - labelled.reduce((a, b) => a + b, 0) / labelled.length) < 1e-12)
    }),
    { numRuns: 150 },
  )
})

test('a perfect prediction scores 1, and a shift hurts a thin thing more than a thick one', () => {
  const size: Size = [40, 40]
  const stripe = (from: number, to: number) =>
    Uint8Array.from({ length: 1600 }, (_, p) => (p % 40 >= from && p % 40 < to ? 1 : 0))
  const score = (a: Uint8Array, b: Uint8Array) => {
    const counts = boundaryCounts(2)
    updateBoundary(counts, a, b, size)
    return boundaryScores(counts).iou[1] ?? Number.NaN
  }
  assert.equal(score(stripe(5, 25), stripe(5, 25)), 1)
  assert.ok(score(stripe(5, 25), stripe(6, 26)) < 20 / 22, 'stricter than IoU')
})

test('the width is 2 % of the diagonal, at least one pixel', () => {
  assert.deepEqual(
    [boundaryWidth([1024, 2048]), boundaryWidth([3, 4]), boundaryWidth([30, 40], 0.1)],
    [46, 1, 5],
  )
})

test('lengths and ids that do not fit are DataErrors', () => {
  const counts = boundaryCounts(2)
  assert.throws(() => updateBoundary(counts, [0, 1], [0], [1, 2]), {
    tag: 'DataError',
    message: /1 x 2 pixels/,
  })
  assert.throws(() => updateBoundary(counts, [0, 2], [0, 0], [1, 2]), {
    tag: 'DataError',
    message: /pixel 1 has label 2/,
  })
  assert.throws(() => updateBoundary(counts, [0, 1], [0, 255], [1, 2]), {
    tag: 'DataError',
    message: /prediction 255/,
  })
  assert.throws(() => boundaryScores(counts), { tag: 'DataError', message: /void/ })
})
