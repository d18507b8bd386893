/** Sliding windows and views: every pixel covered, means of what is known, mirrored back to where it was. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Size } from '../../src/data/sample.ts'
import { sceneAt } from '../../src/data/synthetic.ts'
import { imageViews, lookAt, mergeViews } from '../../src/data/views.ts'
import { averageWindows, cutWindow, slidingWindows } from '../../src/data/windows.ts'

const extent = fc.integer({ min: 1, max: 20 })
const sliding = fc
  .tuple(extent, extent, extent, extent, fc.double({ min: 0, max: 1, noNaN: true }))
  .map(([h, w, ch, cw, f]) => ({
    size: [h, w] as const,
    crop: [ch, cw] as const,
    stride: [Math.max(1, Math.round(f * ch)), Math.max(1, Math.round(f * cw))] as const,
  }))

test('windows cover every pixel, lie inside, have one size, and none is there twice', () => {
  fc.assert(
    fc.property(sliding, ({ size, crop, stride }) => {
      const windows = slidingWindows(size, crop, stride)
      const covered = new Uint8Array(size[0] * size[1])
      for (const { top, left, size: s } of windows) {
        assert.deepEqual(s, [Math.min(crop[0], size[0]), Math.min(crop[1], size[1])])
        assert.ok(top >= 0 && left >= 0 && top + s[0] <= size[0] && left + s[1] <= size[1])
        for (let y = top; y < top + s[0]; y++) covered.fill(1, y * size[1] + left, y * size[1] + left + s[1])
      }
      assert.ok(covered.every(x => x === 1))
      assert.equal(new Set(windows.map(w => `${w.top} ${w.left}`)).size, windows.length)
      // MMSegmentation's count of steps along an axis.
      const steps = (n: number, c: number, s: number) => Math.floor(Math.max(n - c + s - 1, 0) / s) + 1
      assert.equal(windows.length, steps(size[0], crop[0], stride[0]) * steps(size[1], crop[1], stride[1]))
    }),
    { numRuns: 200 },
  )
})

test('only the last window is shifted inwards', () => {
  const lefts = slidingWindows([10, 21], [10, 8], [10, 6]).map(w => w.left)
  assert.deepEqual(lefts, [0, 6, 12, 13])
  for (const bad of [
    [0, 4],
    [5, 4],
    [1.5, 4],
  ] as const)
    assert.throws(() => slidingWindows([9, 9], [4, 4], bad), { tag: 'UsageError', message: /stride <= crop/ })
})

test('the average of the windows of one map is that map, and of two values their mean', () => {
  fc.assert(
    fc.property(sliding, ({ size, crop, stride }) => {
      const map = Float32Array.from({ length: 2 * size[0] * size[1] }, (_, i) => ((i * 37) % 101) / 8)
      const windows = slidingWindows(size, crop, stride)
      const parts = windows.map(window => ({ window, logits: cutWindow(map, 2, size, window) }))
      assert.deepEqual(averageWindows(size, 2, parts), map)
    }),
  )
  const window = (left: number) => ({ top: 0, left, size: [1, 2] as const })
  const parts = [
    { window: window(0), logits: [1, 2] },
    { window: window(1), logits: [6, 5] },
  ]
  assert.deepEqual([...averageWindows([1, 3], 1, parts)], [1, 4, 5])
  assert.throws(() => averageWindows([1, 4], 1, parts), /row 0, column 3 lies in no window/)
  assert.throws(() => averageWindows([1, 3], 2, parts), /2 logits are not \[2, 1, 2\]/)
})

test('views are every ratio, mirrored or not, rounded to the multiple', () => {
  assert.deepEqual(imageViews([30, 40]), [{ size: [30, 40], flipped: false }])
  assert.deepEqual(imageViews([30, 40], { ratios: [0.5, 2], flip: true, multiple: 16 }), [
    { size: [16, 16], flipped: false },
    { size: [16, 16], flipped: true },
    { size: [64, 80], flipped: false },
    { size: [64, 80], flipped: true },
  ])
  assert.throws(() => imageViews([3, 3], { ratios: [0] }), { tag: 'UsageError' })
  assert.throws(() => imageViews([3, 3], { multiple: 0.5 }), { tag: 'UsageError' })
})

test('a network that copies its input is mirrored back: all views of one scale agree', () => {
  const size: Size = [6, 8]
  const { image } = sceneAt(3, size, 0)
  const views = imageViews(size, { flip: true })
  const merged = (which: readonly number[]) =>
    mergeViews(
      size,
      3,
      which.map(i => ({ view: views[i], logits: lookAt(image, size, views[i]) })),
    )
  assert.deepEqual(merged([0, 1]), merged([0]))
  assert.deepEqual(merged([1]), merged([0]))
  // One view: the softmax of the logits themselves.
  const [p, plane] = [17, 48]
  const exps = [0, 1, 2].map(c => Math.exp(image[c * plane + p]))
  const total = exps.reduce((a, b) => a + b)
  exps.forEach((e, c) => void assert.ok(Math.abs(merged([0])[c * plane + p] - e / total) < 1e-6))
})

test('probabilities sum to 1 over classes, at any scales and for logits of any size', () => {
  fc.assert(
    fc.property(extent, extent, fc.double({ min: 0.3, max: 2, noNaN: true }), (h, w, ratio) => {
      const views = imageViews([h, w], { ratios: [1, ratio], flip: true })
      const outputs = views.map(view => ({
        view,
        logits: Float32Array.from(
          { length: 3 * view.size[0] * view.size[1] },
          (_, i) => ((i * 71) % 2001) - 1000,
        ),
      }))
      const merged = mergeViews([h, w], 3, outputs)
      for (let p = 0; p < h * w; p++) {
        const sum = merged[p] + merged[h * w + p] + merged[2 * h * w + p]
        assert.ok(Math.abs(sum - 1) < 1e-6)
      }
    }),
    { numRuns: 50 },
  )
  assert.throws(() => mergeViews([2, 2], 3, []), /no output/)
  const view = { size: [2, 2], flipped: false } as const
  assert.throws(() => mergeViews([2, 2], 3, [{ view, logits: new Float32Array(3) }]), /not \[3, 2, 2\]/)
})
