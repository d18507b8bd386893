/** Synthetic scenes: pure functions of seed and index, in which colour tells nothing and every class occurs. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ignored, type Sample, subset } from '../../src/data/sample.ts'
import { sceneAt, sceneClasses, scenePalette, syntheticScenes } from '../../src/data/synthetic.ts'
import { DataError, UsageError } from '../../src/dsl/errors.ts'

const seed = 20240501
const plane = 64 * 64
const many: readonly Sample[] = Array.from({ length: 600 }, (_, i) => sceneAt(seed, [64, 64], i))

test('a scene is a pure function of seed, size and index', async () => {
  const scenes = syntheticScenes({ seed, size: [64, 64], count: 600 })
  for (const i of [3, 0, 599, 3]) assert.deepEqual(await scenes.get(i), many[i])
  assert.notDeepEqual(sceneAt(seed + 1, [64, 64], 0).image, many[0].image)
  assert.notDeepEqual(many[1].image, many[0].image)
})

test('images lie in 0..1, labels are classes or ignored, at sizes that are not square too', () => {
  for (const s of [...many.slice(0, 20), sceneAt(seed, [40, 96], 0), sceneAt(seed, [1, 1], 0)]) {
    assert.equal(s.image.length, 3 * s.height * s.width)
    assert.equal(s.label.length, s.height * s.width)
    assert.ok(s.image.every(x => x >= 0 && x <= 1))
    assert.ok(s.label.every(c => c < sceneClasses.length || c === ignored))
  }
  assert.equal(scenePalette.length, sceneClasses.length)
})

test('two classes never touch: between them lies a band of ignored pixels, one pixel wide', () => {
  for (const { label } of many.slice(0, 100))
    for (let p = 0; p < plane - 64; p++)
      for (const q of p % 64 === 63 ? [p + 64] : [p + 1, p + 64])
        if (label[p] !== label[q]) assert.ok(label[p] === ignored || label[q] === ignored)
  const share = shareOf(ignored)
  assert.ok(share > 0.02 && share < 0.15, `the band covers ${share} of the pixels`)
})

test('every class occurs, and the last one is rare', () => {
  const shares = sceneClasses.map((_, c) => shareOf(c))
  const [rare, ...common] = shares.slice(1).reverse()
  assert.ok(rare > 0.003 && rare < 0.02, `rare class: ${rare} of the pixels`)
  for (const share of common) assert.ok(share > 0.03 && share > 3 * rare, `shares ${shares}`)
})

test('the mean colour of a class does not depend on the class', () => {
  // A surface's colours are drawn for a scene, so scenes are the independent units: the means of the classes'
  // pixels over scenes must agree within 4 standard errors (18 comparisons: 1 in 900 by chance).
  const means = sceneClasses.map((_, c) => many.flatMap(s => meanColour(s, c)))
  const all = column(means.flat())
  means.forEach((rows, c) => {
    column(rows).forEach(({ mean, error }, channel) => {
      const z = Math.abs(mean - all[channel].mean) / error
      assert.ok(z < 4, `class ${sceneClasses[c]}, channel ${channel}: ${mean}, ${z} standard errors away`)
      assert.ok(error < 0.03, 'enough scenes to see a difference of 0.12')
    })
  })
})

test('a classifier by colour alone is hardly better than chance', () => {
  // A histogram of 6^3 colours, learnt on half of the scenes and balanced between classes; chance is 1/6.
  const counts = sceneClasses.map(() => new Float64Array(216).fill(1))
  const half = many.length / 2
  each(many.slice(0, half), (bin, c) => counts[c][bin]++)
  const totals = counts.map(h => h.reduce((a, b) => a + b, 0))
  const guess = Array.from({ length: 216 }, (_, bin) => {
    const likelihood = counts.map((h, c) => h[bin] / totals[c])
    return likelihood.indexOf(Math.max(...likelihood))
  })
  const right = sceneClasses.map(() => 0)
  const seen = sceneClasses.map(() => 0)
  each(many.slice(half), (bin, c) => {
    seen[c]++
    if (guess[bin] === c) right[c]++
  })
  const accuracy = right.reduce((sum, n, c) => sum + n / seen[c], 0) / sceneClasses.length
  assert.ok(accuracy < 0.23, `balanced accuracy ${accuracy}`)
})

test('subset shifts indexes and keeps its borders', async () => {
  const scenes = syntheticScenes({ seed, size: [64, 64], count: 600 })
  const val = subset(scenes, 500, 600)
  assert.equal(val.size, 100)
  assert.deepEqual(await val.get(7), many[507])
  await assert.rejects(val.get(100), DataError)
  await assert.rejects(scenes.get(-1), /no sample -1; there are 600/)
  assert.throws(() => subset(scenes, 5, 601), UsageError)
  assert.throws(() => subset(scenes, 5, 5), UsageError)
})

test('sizes and counts that are no positive integers are refused', () => {
  assert.throws(() => syntheticScenes({ seed, size: [64, 0], count: 1 }), /got \[64, 0\] and 1/)
  assert.throws(() => syntheticScenes({ seed, size: [64, 64], count: 1.5 }), UsageError)
})

function shareOf(cls: number): number {
  return many.reduce((n, s) => n + s.label.filter(c => c === cls).length, 0) / (many.length * plane)
}

/** One row [r, g, b] if the class has at least 30 pixels in the scene, else none. */
function meanColour(s: Sample, cls: number): number[][] {
  const pixels = [...s.label.keys()].filter(p => s.label[p] === cls)
  if (pixels.length < 30) return []
  return [[0, 1, 2].map(c => pixels.reduce((sum, p) => sum + s.image[c * plane + p], 0) / pixels.length)]
}

function column(rows: readonly number[][]): { mean: number; error: number }[] {
  return [0, 1, 2].map(c => {
    const mean = rows.reduce((sum, r) => sum + r[c], 0) / rows.length
    const variance = rows.reduce((sum, r) => sum + (r[c] - mean) ** 2, 0) / (rows.length - 1)
    return { mean, error: Math.sqrt(variance / rows.length) }
  })
}

function each(samples: readonly Sample[], f: (bin: number, cls: number) => void): void {
  const level = (x: number) => Math.min(5, Math.floor(6 * x))
  for (const { image, label } of samples)
    for (let p = 0; p < plane; p++)
      if (label[p] !== ignored)
        f(36 * level(image[p]) + 6 * level(image[plane + p]) + level(image[2 * plane + p]), label[p])
}
