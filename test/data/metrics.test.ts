import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { confusionMatrix, majorityMatrix, majorityMiou, scores, update } from '../../src/data/metrics.ts'
import { ignored } from '../../src/data/sample.ts'

const classes = 4
const pixels = fc.array(
  fc.record({
    label: fc.oneof(fc.integer({ min: 0, max: classes - 1 }), fc.constant(ignored)),
    prediction: fc.integer({ min: 0, max: classes - 1 }),
  }),
  { minLength: 1, maxLength: 60 },
)
const labelled = pixels.filter(ps => ps.some(p => p.label !== ignored))
type Pixel = { label: number; prediction: number }
const matrixOf = (ps: readonly Pixel[]) => {
  const matrix = confusionMatrix(classes)
  update(
    matrix,
    ps.map(p => p.label),
    ps.map(p => p.prediction),
    classes,
  )
  return matrix
}

/** The definitions, as sets of pixels. */
function naive(ps: readonly Pixel[]) {
  const counted = ps.filter(p => p.label !== ignored)
  const ids = Array.from({ length: classes }, (_, c) => c)
  const n = (test: (p: Pixel) => boolean) => counted.filter(test).length
  const iou = ids.map(c => {
    const union = n(p => p.label === c || p.prediction === c)
    return union === 0 ? null : n(p => p.label === c && p.prediction === c) / union
  })
  const accuracy = ids.map(c => {
    const all = n(p => p.label === c)
    return all === 0 ? null : n(p => p.label === c && p.prediction === c) / all
  })
  const average = (xs: (number | null)[]) => {
    const known = xs.filter(x => x !== null)
    return known.reduce((a, b) => a + b, 0) / known.length
  }
  return {
    miou: average(iou.filter((_, c) => counted.some(p => p.label === c))),
    present: average(iou),
    pixelAccuracy: n(p => p.label === p.prediction) / counted.length,
    classAccuracy: average(accuracy),
    iou,
    accuracy,
  }
}

test('scores agree with the definitions counted pixel by pixel', () => {
  fc.assert(
    fc.property(labelled, ps => {
      const { present, ...expected } = naive(ps)
      assert.deepEqual(scores(matrixOf(ps), classes), expected)
      assert.equal(scores(matrixOf(ps), classes, 'present').miou, present)
    }),
    { numRuns: 300 },
  )
})

test('counting image after image equals counting all at once', () => {
  fc.assert(
    fc.property(pixels, pixels, (a, b) => {
      const matrix = matrixOf(a)
      update(
        matrix,
        Uint8Array.from(b, p => p.label),
        Int32Array.from(b, p => p.prediction),
        classes,
      )
      assert.deepEqual(matrix, matrixOf([...a, ...b]))
    }),
  )
})

test('the majority baseline is the score of predicting the most frequent label everywhere', () => {
  fc.assert(
    fc.property(labelled, ps => {
      const count = (c: number) => ps.filter(p => p.label === c).length
      const answer = [0, 1, 2, 3].reduce((best, c) => (count(c) > count(best) ? c : best), 0)
      const constant = ps.map(p => ({ label: p.label, prediction: answer }))
      assert.deepEqual(majorityMatrix(matrixOf(ps), classes), matrixOf(constant))
      assert.equal(majorityMiou(matrixOf(ps), classes), naive(constant).miou)
    }),
  )
})

test('a perfect prediction scores 1 everywhere', () => {
  fc.assert(
    fc.property(labelled, ps => {
      const perfect = ps.filter(p => p.label !== ignored).map(p => ({ ...p, prediction: p.label }))
      const { miou, pixelAccuracy, classAccuracy } = scores(matrixOf(perfect), classes)
      assert.deepEqual([miou, pixelAccuracy, classAccuracy], [1, 1, 1])
    }),
  )
})

test('lengths and ids that do not fit are DataErrors', () => {
  const matrix = confusionMatrix(classes)
  assert.throws(() => update(matrix, [1, 2], [1], classes), { tag: 'DataError', message: /2 labels.*1 pred/ })
  assert.throws(() => update(matrix, [0, 4], [0, 0], classes), {
    tag: 'DataError',
    message: /pixel 1 has label 4/,
  })
  assert.throws(() => update(matrix, [0], [255], classes), { tag: 'DataError', message: /prediction 255/ })
  assert.throws(() => update(matrix, [0], [0.5], classes), { tag: 'DataError' })
  assert.throws(() => update(matrix, [0], [0], 3), { tag: 'DataError', message: /matrix of 16/ })
  assert.throws(() => scores(confusionMatrix(classes), classes), { tag: 'DataError', message: /void/ })
})
