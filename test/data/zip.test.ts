import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { sourceOf } from '../../src/data/source.ts'
import { readZipEntry, zipEntries } from '../../src/data/zip.ts'
import { DataError } from '../../src/dsl/errors.ts'
import { damage, edits } from './mutation.ts'
import { crc32 } from './png-writer.ts'
import { type Entry, zip } from './torch-writer.ts'

const text = (s: string): Uint8Array => new TextEncoder().encode(s)
const contents = (bytes: Uint8Array): [string, string][] => {
  const source = sourceOf(bytes, 'a.zip')
  return [...zipEntries(source).values()].map(e => [
    e.name,
    new TextDecoder().decode(readZipEntry(source, e)),
  ])
}

test('the CRC-32 that entries are written with in these tests has its published check value', () => {
  assert.equal(crc32(text('123456789')), 0xcbf43926) // the check value of CRC-32/ISO-HDLC
})

const entries = fc.uniqueArray(
  fc.record({
    name: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 9 }),
    data: fc.uint8Array({ maxLength: 50 }),
  }),
  { selector: e => e.name, maxLength: 4 },
)

test('entries are read back byte for byte, with 32-bit and with 64-bit records', () => {
  fc.assert(
    fc.property(entries, fc.boolean(), (list, wide) => {
      const source = sourceOf(zip(list, { wide }))
      const back = [...zipEntries(source).values()]
      assert.deepEqual(
        back.map(e => e.name),
        list.map(e => e.name),
      )
      for (const [i, e] of back.entries()) assert.deepEqual([...readZipEntry(source, e)], [...list[i].data])
    }),
  )
})

const a: Entry = { name: 'a', data: text('hello') }
const b: Entry = { name: 'b', data: text('world') }
const bad: readonly (readonly [string, Uint8Array, RegExp])[] = [
  ['an archive without its end', zip([a, b]).subarray(0, 40), /no end record.*cut short/],
  ['a compressed entry', zip([{ ...a, method: 8 }]), /"a" is compressed \(method 8\).*save it again/],
  ['an encrypted entry', zip([{ ...a, flags: 1 }]), /"a" is encrypted/],
  ['an entry with other bytes than were written', zip([{ ...a, crc: 1 }]), /"a" is damaged.*CRC-32/],
  ['two entries of one name', zip([a, { ...b, name: 'a' }]), /two entries "a"/],
  [
    'entries that overlap, as in a zip bomb',
    zip([a, { ...a, name: 'b', offset: 0, localName: 'a' }]),
    /not at byte 0/,
  ],
  ['an entry that reaches into the next', zip([{ ...a, size: 20 }, b]), /"b" overlaps/],
  ['an entry that reaches into the directory', zip([{ ...a, size: 20 }]), /run into the archive's directory/],
  ['an entry beyond the file', zip([{ ...a, offset: 1e6 }]), /bytes 1000000 to 1000030 are asked for/],
  ['a local header of another name', zip([{ ...a, localName: 'x' }]), /"a" is not at byte 0/],
]
for (const [what, bytes, message] of bad)
  test(`${what} is a DataError that says so`, () => {
    assert.throws(
      () => contents(bytes),
      (error: unknown) => error instanceof DataError && message.test(error.message),
    )
  })

test('an entry without a recorded CRC-32 is read', () => {
  assert.deepEqual(contents(zip([{ ...a, crc: 0 }])), [['a', 'hello']])
})

test('an archive cut at any byte is a DataError', () => {
  const whole = zip([a, b])
  assert.equal(contents(whole).length, 2)
  for (let n = 0; n < whole.length; n++)
    assert.throws(() => contents(whole.subarray(0, n)), { tag: 'DataError' }, `cut at ${n}`)
})

test('a damaged archive is read or is a DataError, and never gives more bytes than it has', () => {
  let read = 0
  fc.assert(
    fc.property(entries, fc.boolean(), edits, (list, wide, changes) => {
      const bytes = damage(zip(list, { wide }), changes)
      try {
        const total = contents(bytes).reduce((n, [, data]) => n + Buffer.byteLength(data), 0)
        // text() of bytes that are no UTF-8 takes three bytes for one
        assert(total <= 3 * bytes.length)
        read++
      } catch (error) {
        assert(error instanceof DataError, String(error))
      }
    }),
    { numRuns: 2000 },
  )
  assert(read > 0 && read < 2000, `both outcomes must occur, ${read} of 2000 were read`)
})
