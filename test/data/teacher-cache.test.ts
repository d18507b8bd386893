import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { cachedTeacher, contentHash, type NamedArrays, teacherCache } from '../../src/data/teacher-cache.ts'
import { array, type NDArray } from '../../src/dsl/array.ts'

const root = mkdtempSync(join(tmpdir(), 'teacher-cache-'))
after(() => rmSync(root, { recursive: true }))
let made = 0
const fresh = (): string => join(root, `cache-${made++}`)
const quiet = (text: string): void => assert.fail(`no warning was expected: ${text}`)
const of = (values: readonly number[]): NDArray => array([values.length], 'f32', values)
const bits = (a: NDArray): string =>
  Buffer.from(a.data.buffer, a.data.byteOffset, a.data.byteLength).toString('hex')
const entries = (folder: string): string[] => readdirSync(folder).filter(name => name.endsWith('.taps'))

test('what is put is got with equal bits, shapes and dtypes, by this process and by the next', () => {
  const folder = fresh()
  fc.assert(
    fc.property(
      fc.dictionary(
        fc.stringMatching(/^[a-z.]{1,8}$/),
        fc.array(fc.float(), { minLength: 1, maxLength: 20 }),
        { minKeys: 1 },
      ),
      fc.stringMatching(/^[0-9a-f]{8}$/),
      (values, key) => {
        const arrays = Object.fromEntries(Object.entries(values).map(([name, v]) => [name, of(v)]))
        teacherCache({ folder, maxBytes: 1e9, warn: quiet }).put(key, arrays)
        const got = teacherCache({ folder, maxBytes: 1e9, warn: quiet }).get(key) ?? {}
        assert.deepEqual(Object.keys(got).sort(), Object.keys(arrays).sort())
        for (const [name, a] of Object.entries(arrays)) {
          assert.equal(bits(got[name]), bits(a))
          assert.deepEqual([got[name].shape, got[name].dtype], [a.shape, a.dtype])
        }
      },
    ),
    { numRuns: 30 },
  )
  assert.deepEqual(
    readdirSync(folder).filter(name => name.endsWith('.tmp')),
    [],
  )
  assert.equal(teacherCache({ folder, maxBytes: 1e9, warn: quiet }).get('unknown'), undefined)
})

test('beyond the bound the entries that were used longest ago go; one that is larger than it is not kept', () => {
  const folder = fresh()
  const one = { a: of(Array.from({ length: 1000 }, (_, i) => i)) }
  const probe = teacherCache({ folder, maxBytes: 1e9, warn: quiet })
  probe.put('k0', one)
  const size = probe.stats().bytes
  const cache = teacherCache({ folder, maxBytes: 4 * size, warn: quiet })
  for (const k of ['k1', 'k2', 'k3']) cache.put(k, one)
  // times of use in order, then k0 is used again
  for (const [i, k] of ['k0', 'k1', 'k2', 'k3'].entries())
    utimesSync(join(folder, `${k}.taps`), 1000 + i, 1000 + i)
  assert(cache.get('k0'))
  assert.equal(cache.stats().bytes, 4 * size)
  cache.put('k4', one)
  assert(cache.stats().bytes <= 4 * size)
  assert.deepEqual(entries(folder).sort(), ['k0.taps', 'k3.taps', 'k4.taps'])
  cache.put('large', { a: of(Array.from({ length: 9000 }, () => 1)) })
  assert.equal(cache.get('large'), undefined)
})

test('a damaged entry is dropped with a warning: cut short, changed, or empty', () => {
  const folder = fresh()
  const warnings: string[] = []
  const cache = teacherCache({ folder, maxBytes: 1e9, warn: text => warnings.push(text) })
  const path = join(folder, 'k.taps')
  const damage: readonly ((file: Buffer) => Uint8Array)[] = [
    file => file.subarray(0, file.length - 3),
    file => Buffer.from(file.map((x, i) => (i === file.length - 2 ? x ^ 1 : x))),
    () => Buffer.alloc(0),
  ]
  for (const change of damage) {
    cache.put('k', { a: of([1, 2, 3]) })
    writeFileSync(path, change(readFileSync(path)))
    assert.equal(cache.get('k'), undefined)
    assert.match(
      warnings.pop() ?? '',
      /k\.taps is damaged \(its hash is another\): it is deleted, and computed again/,
    )
    assert.deepEqual(entries(folder), [])
  }
})

/** A teacher of two outputs, each row of its own image: what it was asked is counted. */
function teacher() {
  const asked: number[] = []
  const teach = async (images: NDArray): Promise<NamedArrays> => {
    asked.push(images.shape[0])
    const n = images.data.length / images.shape[0]
    return {
      logits: array(
        [images.shape[0], n],
        'f32',
        Array.from(images.data, x => Math.sin(Number(x))),
      ),
      'taps.neck': array(
        [images.shape[0], 1],
        'f32',
        Array.from({ length: images.shape[0] }, (_, i) => Number(images.data[i * n]) * 3),
      ),
    }
  }
  return { asked, teach }
}
const images = (...rows: readonly (readonly number[])[]): NDArray =>
  array([rows.length, 2], 'f32', rows.flat())

test('a batch of known images asks nobody, in any order and company, with equal bits', async () => {
  const { asked, teach } = teacher()
  const ask = cachedTeacher(teacherCache({ folder: fresh(), maxBytes: 1e9, warn: quiet }), 'teacher', teach)
  const [a, b, c] = [
    [0.1, 0.2],
    [0.3, 0.4],
    [0.5, 0.6],
  ]
  await ask(images(a, b))
  await ask(images(b, c))
  assert.deepEqual(asked, [2, 2])
  const again = await ask(images(c, a))
  assert.deepEqual(asked, [2, 2])
  const direct = await teach(images(c, a))
  for (const name of ['logits', 'taps.neck']) {
    assert.equal(bits(again[name]), bits(direct[name]))
    assert.deepEqual(again[name].shape, direct[name].shape)
  }
})

test('another image, by the last bit, another teacher and other outputs are not met', async () => {
  const { asked, teach } = teacher()
  const cache = teacherCache({ folder: fresh(), maxBytes: 1e9, warn: quiet })
  await cachedTeacher(cache, 'teacher', teach)(images([1, 2]))
  await cachedTeacher(cache, 'teacher', teach)(images([1, 2 + 2 ** -22]))
  await cachedTeacher(cache, 'another teacher', teach)(images([1, 2]))
  await cachedTeacher(cache, 'teacher', teach)(array([1, 2, 1], 'f32', [1, 2]))
  assert.equal(asked.length, 4)
  await cachedTeacher(cache, 'teacher', teach)(images([1, 2]))
  assert.equal(asked.length, 4)
  assert.deepEqual(cache.stats().hits, 1)
})

test('the hash of arrays sees names, shapes, dtypes and every bit, and not their order', () => {
  const [x, y] = [of([1, 2]), of([3])]
  const hash = contentHash({ x, y })
  assert.equal(contentHash({ y, x }), hash)
  const others: readonly NamedArrays[] = [
    { x },
    { x, z: y },
    { x: of([1, 3]), y },
    { x: array([2, 1], 'f32', [1, 2]), y },
    { x: array([2], 'i32', [1, 2]), y },
  ]
  for (const other of others) assert.notEqual(contentHash(other), hash)
  assert.notEqual(contentHash({ x: of([0]) }), contentHash({ x: of([-0]) }))
})

test('a bound must be positive', () =>
  assert.throws(
    () => teacherCache({ folder: fresh(), maxBytes: 0 }),
    /the bound must be positive, got 0 bytes/,
  ))
