/** The loader's threads: equal bytes whatever their number, bounded work ahead, errors with paths, a clean end. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { encode } from 'fast-png'
import { listedFolder } from '../../src/data/folder.ts'
import { encodePng } from '../../src/data/image.ts'
import { type Batch, batches, evaluation } from '../../src/data/loader.ts'
import { subset } from '../../src/data/sample.ts'
import { syntheticScenes } from '../../src/data/synthetic.ts'
import { augmentation } from '../../src/data/transforms/augmentation.ts'
import { randomFlip } from '../../src/data/transforms/flip.ts'
import { randomRotation } from '../../src/data/transforms/rotation.ts'
import { pipeline } from '../../src/data/transforms/transform.ts'
import { DataError, UsageError } from '../../src/dsl/errors.ts'
import { key } from '../../src/dsl/threefry.ts'
import { begun, counted, darken } from './loader-parts.ts'

const collect = async (source: AsyncIterable<Batch>): Promise<Batch[]> => {
  const out: Batch[] = []
  for await (const batch of source) out.push(batch)
  return out
}
const counter = () => new SharedArrayBuffer(8)
const folders: string[] = []
after(() => Promise.all(folders.map(f => rm(f, { recursive: true }))))

/** A folder of 5 pictures and labels, listed in `all.txt`. */
async function pictures(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'threads-'))
  folders.push(folder)
  const names = [0, 1, 2, 3, 4]
  for (const n of names) {
    const rgb = Uint8Array.from({ length: 8 * 6 * 3 }, (_, i) => (i * 29 + 31 * n) % 256)
    await writeFile(join(folder, `${n}.png`), encodePng(rgb, 8, 6))
    const data = Uint8Array.from({ length: 48 }, (_, p) => (p + n) % 3)
    await writeFile(join(folder, `${n}_l.png`), encode({ width: 6, height: 8, channels: 1, depth: 8, data }))
  }
  await writeFile(join(folder, 'all.txt'), names.map(n => `${n}.png ${n}_l.png\n`).join(''))
  return folder
}
const files = { name: 'files', list: 'all.txt', classes: ['a', 'b', 'c'], palette: [] }

test('0, 1 and 3 workers give equal bytes, for scenes, files and subsets, in training and evaluation', async () => {
  const scenes = syntheticScenes({ seed: 4, size: [16, 24], count: 9 })
  const augment = pipeline([randomRotation(), darken(0.5), augmentation({ size: [12, 12] })])
  const options = { batch: 4, key: key(3), augment, steps: 4 }
  for (const dataset of [
    subset(scenes, 2, 9),
    await listedFolder({ ...files, folder: await pictures(), size: [8, 8] }),
  ]) {
    const [none, ...others] = await Promise.all(
      [0, 1, 3].map(async workers => ({
        train: await collect(batches(dataset, { ...options, workers })),
        // Rows of equal size: the whole samples.
        val: await collect(evaluation(dataset, { batch: 3, workers, ahead: 1 })),
      })),
    )
    assert.equal(none.train.length, 4)
    for (const other of others) assert.deepEqual(other, none)
  }
})

for (const workers of [0, 2])
  for (const ahead of [1, 3])
    test(`with ${workers} workers and ahead ${ahead}, at most ${ahead} batches are begun besides the one held`, async () => {
      const seen = counter()
      const source = batches(counted(40, { seen }), { batch: 2, key: key(1), steps: 12, workers, ahead })
      for (let held = 1; held <= 3; held++) {
        await source.next()
        const most = 2 * (held + ahead)
        while (begun(seen) < most) await sleep(5)
        // Long enough for a thread to run on, if nothing held it back.
        await sleep(60)
        assert.equal(begun(seen), most)
      }
      await source.return()
      const last = begun(seen)
      await sleep(60)
      assert.equal(begun(seen), last)
    })

test('a failing sample fails its own step with its path, as in this thread; a defect keeps its class', async () => {
  for (const [failure, expected] of [
    ['data', { tag: 'DataError', message: 'folder/2.png: broken' }],
    ['defect', { name: 'TypeError', message: 'folder/2.png: our own mistake' }],
  ] as const)
    for (const workers of [0, 2]) {
      const dataset = counted(6, { seen: counter(), failures: { 2: failure } })
      const got: number[] = []
      await assert.rejects(async () => {
        for await (const b of evaluation(dataset, { batch: 1, workers })) got.push(b.drawn[0].index)
      }, expected)
      assert.deepEqual(got, [0, 1])
    }
})

test('a broken file is named by its path through a thread', async () => {
  const folder = await pictures()
  await writeFile(join(folder, '3.png'), 'no picture')
  const dataset = await listedFolder({ ...files, folder })
  await assert.rejects(collect(evaluation(dataset, { batch: 2, workers: 1 })), (error: unknown) => {
    assert.ok(error instanceof DataError)
    assert.ok(error.message.startsWith(`${join(folder, '3.png')}: neither JPEG nor PNG`), error.message)
    return true
  })
})

test('a thread that ends on its own names the sample that it was at', async () => {
  const dataset = counted(4, { seen: counter(), failures: { 1: 'exit' } })
  await assert.rejects(collect(evaluation(dataset, { batch: 1, workers: 2 })), {
    tag: 'DataError',
    message: 'folder/1.png: the thread that prepared it ended with code 3',
  })
})

test('an abort ends what is awaited with its reason, even if a thread hangs', async () => {
  for (const workers of [0, 1]) {
    const stop = new AbortController()
    const dataset = counted(3, { seen: counter(), failures: { 1: 'hang' } })
    const source = evaluation(dataset, { batch: 1, workers, signal: stop.signal })
    assert.equal((await source.next()).done, false)
    const waiting = source.next()
    setTimeout(() => stop.abort(new Error('enough')), 30)
    await assert.rejects(waiting, { message: 'enough' })
    assert.deepEqual(await source.next(), { done: true, value: undefined })
  }
  const late = batches(counted(3, { seen: counter() }), {
    batch: 1,
    key: key(1),
    steps: 1,
    signal: AbortSignal.abort(new Error('before')),
  })
  await assert.rejects(late.next(), { message: 'before' })
})

test('a process whose loop was left, or abandoned without a word, ends by itself', async () => {
  const script = (leave: string) => `
    import { batches } from ${JSON.stringify(new URL('../../src/data/loader.ts', import.meta.url).href)}
    import { syntheticScenes } from ${JSON.stringify(new URL('../../src/data/synthetic.ts', import.meta.url).href)}
    const source = batches(syntheticScenes({ seed: 1, size: [8, 8], count: 5 }), { batch: 2, key: [0, 1], steps: 9, workers: 2 })
    ${leave}
    console.log('done')`
  for (const leave of ['for await (const _ of source) break', 'await source.next()']) {
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--import', 'tsx', '--input-type=module', '--eval', script(leave)],
      { timeout: 30_000, cwd: join(import.meta.dirname, '../..') },
    )
    assert.equal(stdout, 'done\n')
  }
})

test('what has no recipe cannot go to threads, and says how it could', async () => {
  const dataset = counted(4, { seen: counter() })
  const options = { batch: 1, key: key(1), steps: 1, workers: 1 }
  const plain = { ...dataset, get: (i: number) => dataset.get(i) }
  await assert.rejects(collect(batches(plain, options)), (error: unknown) => {
    assert.ok(error instanceof UsageError)
    assert.match(error.message, /the dataset counted has no recipe.*remade\(.*workers: 0/)
    return true
  })
  const augment = pipeline([randomFlip(), (_key, sample) => sample])
  await assert.rejects(collect(batches(dataset, { ...options, augment })), /the augmentation .*no recipe/)
  assert.equal((await collect(batches(plain, { ...options, augment, workers: 0 }))).length, 1)
})

test('a recipe that cannot be followed is an error of the first sample', async () => {
  const dataset = counted(2, { seen: counter() })
  const lost = Object.assign(darken(1), { recipe: { module: import.meta.url, make: 'nowhere', args: [] } })
  await assert.rejects(
    collect(batches(dataset, { batch: 1, key: key(1), steps: 1, workers: 1, augment: lost })),
    { tag: 'UsageError', message: /exports no function "nowhere"/ },
  )
})

test('a recipe whose arguments are no plain data is refused', async () => {
  const odd = Object.assign(darken(1), { recipe: { module: 'x', make: 'y', args: [() => 1] } })
  const options = { batch: 1, key: key(1), steps: 1, workers: 1, augment: odd }
  await assert.rejects(collect(batches(counted(2, { seen: counter() }), options)), {
    tag: 'UsageError',
    message: /arguments of a recipe must be plain data/,
  })
})

test('bad options are refused', async () => {
  const dataset = counted(2, { seen: counter() })
  for (const bad of [{ workers: -1 }, { workers: 1.5 }, { ahead: 0 }])
    await assert.rejects(collect(batches(dataset, { batch: 1, key: key(1), steps: 1, ...bad })), UsageError)
  const augment = augmentation({ size: [2, 3], normalisation: { mean: [0, 0, 0], std: [1, 1, 1] } })
  await assert.rejects(
    collect(batches(dataset, { batch: 1, key: key(1), steps: 1, augment })),
    /normalises with 0, 0, 0 \/ 1, 1, 1, the loader with 0\.485.*give both the same/,
  )
})
