/** Batches: pure in (dataset, key, step), epochs are permutations, evaluation sees everything once. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type Batch, batchAt, batches, drawsAt, evaluation, stepsOf } from '../../src/data/loader.ts'
import type { Dataset } from '../../src/data/sample.ts'
import { syntheticScenes } from '../../src/data/synthetic.ts'
import { randomFlip } from '../../src/data/transforms/flip.ts'
import { normalised, pad } from '../../src/data/transforms/normalise.ts'
import { photometric } from '../../src/data/transforms/photometric.ts'
import { pipeline } from '../../src/data/transforms/transform.ts'
import { DataError, UsageError } from '../../src/dsl/errors.ts'
import { key } from '../../src/dsl/threefry.ts'

const scenes = syntheticScenes({ seed: 1, size: [12, 16], count: 7 })
const options = { batch: 3, key: key(11), augment: pipeline([photometric(), randomFlip()]) }

const collect = async (source: AsyncIterable<Batch>): Promise<Batch[]> => {
  const out: Batch[] = []
  for await (const batch of source) out.push(batch)
  return out
}

test('every epoch is a permutation, and no two in a row are the same', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 20 }),
      fc.integer({ min: 1, max: 9 }),
      fc.nat(),
      (size, batch, seed) => {
        const steps = Math.ceil((3 * size) / batch)
        const stream = Array.from({ length: steps }, (_, i) =>
          drawsAt(size, { batch, key: key(seed) }, i),
        ).flat()
        for (let epoch = 0; epoch < 3; epoch++) {
          const seen = stream.slice(epoch * size, (epoch + 1) * size).map(d => d.index)
          assert.deepEqual(
            seen.sort((a, b) => a - b),
            Array.from({ length: size }, (_, i) => i),
          )
        }
        assert.equal(new Set(stream.map(d => String(d.key))).size, stream.length, 'each draw has its own key')
      },
    ),
  )
  const order = (epoch: number) => drawsAt(30, { batch: 30, key: key(1) }, epoch).map(d => d.index)
  assert.notDeepEqual(order(0), order(1))
})

test('the batch of a step is a pure function: a run resumed at step k sees the same numbers', async () => {
  const all = await collect(batches(scenes, { ...options, steps: 6 }))
  assert.equal(all.length, 6)
  assert.deepEqual(await collect(batches(scenes, { ...options, steps: 6, start: 4 })), all.slice(4))
  assert.deepEqual(await batchAt(scenes, options, 5), all[5])
  assert.notDeepEqual(await batchAt(scenes, { ...options, key: key(12) }, 5), all[5])
  assert.deepEqual(await collect(batches(scenes, { ...options, steps: 6, start: 6 })), [])
})

test('rows are the drawn samples, normalised, with the dtypes and shapes of the network', async () => {
  const { image, label, drawn } = await batchAt(scenes, { batch: 9, key: key(2) }, 1)
  assert.deepEqual([image.shape, image.dtype], [[9, 3, 12, 16], 'f32'])
  assert.deepEqual([label.shape, label.dtype], [[9, 12, 16], 'i32'])
  for (const [row, { index }] of drawn.entries()) {
    const s = await scenes.get(index)
    assert.deepEqual(image.data.slice(row * 576, (row + 1) * 576), normalised(s.image))
    assert.deepEqual([...label.data.slice(row * 192, (row + 1) * 192)], [...s.label])
  }
})

test('evaluation sees every sample once, in order; the last batch is filled with ignored pixels', async () => {
  const all = await collect(evaluation(scenes, { batch: 3 }))
  assert.deepEqual(
    all.flatMap(b => b.drawn.map(d => d.index)),
    [0, 1, 2, 3, 4, 5, 6],
  )
  for (const b of all) assert.deepEqual(b.label.shape, [3, 12, 16])
  const last = all[2]
  assert.deepEqual([...last.label.data.slice(0, 192)], [...(await scenes.get(6)).label])
  assert.ok(last.label.data.slice(192).every(c => c === 255))
  assert.ok(last.image.data.slice(576).every(x => x === 0))
})

test('evaluation may pad to what a network needs', async () => {
  const [{ image, label }] = await collect(evaluation(scenes, { batch: 7, augment: pad({ multiple: 20 }) }))
  assert.deepEqual(
    [image.shape, label.shape],
    [
      [7, 3, 20, 20],
      [7, 20, 20],
    ],
  )
  assert.equal(label.data[12 * 20], 255)
})

test('stepsOf covers the epochs', () => {
  assert.equal(stepsOf(scenes, 3, 1), 3)
  assert.equal(stepsOf(scenes, 7, 4), 4)
})

test('samples that differ in size are an error that names both and the mend', async () => {
  const small = syntheticScenes({ seed: 1, size: [8, 8], count: 7 })
  const mixed: Dataset = { ...scenes, get: (i: number) => (i % 2 ? small : scenes).get(i) }
  await assert.rejects(batchAt(mixed, { batch: 7, key: key(1) }, 0), (error: unknown) => {
    assert.ok(error instanceof DataError)
    assert.match(error.message, /scene-1-\d is 12 x 16|scene-1-\d is 8 x 8/)
    assert.match(error.message, /randomScaleCrop/)
    return true
  })
})

test('a failing sample fails its own step, not the one before, and not a loop that was left', async () => {
  const failing: Dataset = {
    ...scenes,
    get: (i: number) => (i === 6 ? Promise.reject(new DataError('gone')) : scenes.get(i)),
  }
  const at = Array.from({ length: 7 }, (_, i) => drawsAt(7, { batch: 1, key: key(8) }, i)[0].index).indexOf(6)
  const run = { batch: 1, key: key(8), steps: 7 }
  assert.ok(at > 0, 'this key draws sample 6 later than first')
  let seen = 0
  await assert.rejects(async () => {
    for await (const _ of batches(failing, run)) seen++
  }, /gone/)
  assert.equal(seen, at)
  // An unhandled rejection would fail this test.
  for await (const _ of batches(failing, { ...run, start: at - 1 })) break
})

test('bad options are refused', async () => {
  assert.throws(() => drawsAt(7, { batch: 0, key: key(1) }, 0), UsageError)
  await assert.rejects(batchAt(scenes, options, -1), /the step must be 0, 1, 2, ..., got -1/)
  await assert.rejects(collect(batches(scenes, { ...options, steps: 1.5 })), UsageError)
  await assert.rejects(collect(evaluation(scenes, { batch: 0 })), UsageError)
})
