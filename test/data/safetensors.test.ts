import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { decode, encode, readSafetensors, writeSafetensors } from '../../src/data/safetensors.ts'
import { array, type NDArray } from '../../src/dsl/array.ts'
import { DataError } from '../../src/dsl/errors.ts'

const folder = mkdtempSync(join(tmpdir(), 'safetensors-'))
after(() => rmSync(folder, { recursive: true }))

const shapes = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 3 })
const sized = (shape: number[]) => {
  const n = shape.reduce((a, b) => a * b, 1)
  return { minLength: n, maxLength: n }
}
const arrays: fc.Arbitrary<NDArray> = shapes.chain(shape =>
  fc.oneof<fc.Arbitrary<NDArray>[]>(
    fc.float32Array(sized(shape)).map(data => array(shape, 'f32', data)),
    fc.float64Array(sized(shape)).map(data => array(shape, 'f64', data)),
    fc.int32Array(sized(shape)).map(data => array(shape, 'i32', data)),
    fc.uint32Array(sized(shape)).map(data => array(shape, 'u32', data)),
    fc.uint8Array({ ...sized(shape), max: 1 }).map(data => array(shape, 'bool', data)),
  ),
)
const names = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.constantFrom('7', '__proto__', 'layers.0.weight', 'ö'),
)
const maps = fc
  .uniqueArray(fc.tuple(names, arrays), { selector: ([name]) => name, maxLength: 5 })
  .map(x => new Map(x))
const metadata = fc.dictionary(fc.oneof(fc.string(), fc.constant('__proto__')), fc.string(), {
  noNullPrototype: true,
})

const bits = ({ shape, dtype, data }: NDArray) => ({
  shape: [...shape],
  dtype,
  bytes: Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('hex'),
})
const bitsOf = (tensors: ReadonlyMap<string, NDArray>) =>
  [...tensors].map(([name, x]) => [name, bits(x)] as const).sort(([a], [b]) => (a < b ? -1 : 1))

test('what is encoded is decoded, bit for bit, with its metadata', () => {
  fc.assert(
    fc.property(maps, metadata, (tensors, strings) => {
      const back = decode(encode(tensors, strings))
      assert.deepEqual(bitsOf(back.tensors), bitsOf(tensors))
      assert.deepEqual([...back.metadata], Object.entries(strings))
    }),
    { numRuns: 300 },
  )
})

test('every array begins at a multiple of its element size', () => {
  const sizes: Record<string, number> = { F32: 4, F64: 8, I32: 4, U32: 4, BOOL: 1 }
  fc.assert(
    fc.property(maps, tensors => {
      const bytes = encode(tensors)
      const length = Number(new DataView(bytes.buffer).getBigUint64(0, true))
      const header: Record<string, { dtype: string; data_offsets: [number, number] }> = JSON.parse(
        Buffer.from(bytes.subarray(8, 8 + length)).toString(),
      )
      for (const { dtype, data_offsets } of Object.values(header))
        assert.equal((8 + length + data_offsets[0]) % sizes[dtype], 0)
    }),
  )
})

test('a file reads as its bytes decode, also from memory that is not aligned', () => {
  const tensors = new Map<string, NDArray>([
    ['flags', array([3], 'bool', [1, 0, 1])],
    ['w', array([2, 2], 'f32', [1, -2, 0.5, Number.NaN])],
    ['empty', array([0, 7], 'f64', [])],
  ])
  const path = join(folder, 'deep', 'a.safetensors')
  writeSafetensors(path, tensors, { step: '10' })
  const file = readSafetensors(path)
  assert.deepEqual(bitsOf(file.tensors), bitsOf(tensors))
  assert.equal(file.metadata.get('step'), '10')
  const shifted = new Uint8Array(readFileSync(path).length + 1)
  shifted.set(readFileSync(path), 1)
  assert.deepEqual(bitsOf(decode(shifted.subarray(1)).tensors), bitsOf(tensors))
})

// Written by the safetensors format's own rules, by hand: the oracle that encode and decode do not share.
const file = (header: unknown, data: number[] = []): Uint8Array => {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(json.length))
  return Buffer.concat([length, json, Buffer.from(data)])
}

test('a file written by hand after the specification decodes', () => {
  const bytes = file(
    {
      __metadata__: { format: 'pt' },
      b: { dtype: 'I32', shape: [], data_offsets: [8, 12] },
      a: { dtype: 'F32', shape: [1, 2], data_offsets: [0, 8] },
    },
    [0, 0, 128, 63, 0, 0, 0, 192, 255, 255, 255, 255], // 1, -2, -1
  )
  const { tensors, metadata } = decode(bytes)
  assert.deepEqual([...(tensors.get('a')?.data ?? [])], [1, -2])
  assert.deepEqual([...(tensors.get('b')?.data ?? [])], [-1])
  assert.deepEqual([...metadata], [['format', 'pt']])
})

const f32 = (shape: unknown, data_offsets: unknown) => ({ dtype: 'F32', shape, data_offsets })
const bad: [string, Uint8Array, RegExp][] = [
  ['an empty file', new Uint8Array(0), /0 bytes are too few/],
  ['a header longer than the file', file({}).fill(200, 0, 8), /the header claims/],
  ['a header that is no JSON', file('{"a":'), /not JSON/],
  ['a header that is no UTF-8', file({ a: 1 }).fill(0xff, 10, 11), /not JSON/],
  ['a header that is a list', file([1]), /not a JSON object/],
  ['a deeply nested header', file('['.repeat(100_000)), /not JSON/],
  ['a tensor without a shape', file({ w: { dtype: 'F32', data_offsets: [0, 0] } }), /tensor "w".*shape/s],
  ['a negative dimension', file({ w: f32([-1], [0, 0]) }), /tensor "w"/],
  [
    'an unknown dtype',
    file({ w: { ...f32([1], [0, 1]), dtype: 'F8_E4M3' } }, [0]),
    /"F8_E4M3" is none of F64/,
  ],
  ['offsets that do not fit the shape', file({ w: f32([2], [0, 4]) }, [0, 0, 0, 0]), /takes 8 bytes.*span 4/],
  ['a shape beyond all numbers', file({ w: f32([2 ** 53 - 1, 2 ** 53 - 1], [0, 4]) }), /tensor "w"/],
  ['data that is cut short', file({ w: f32([1], [0, 4]) }, [0, 0]), /tensor "w".*cut short/],
  ['a hole', file({ w: f32([1], [4, 8]) }, [0, 0, 0, 0, 0, 0, 0, 0]), /begins at byte 4.*ends at 0/],
  [
    'an overlap',
    file({ v: f32([1], [0, 4]), w: f32([1], [0, 4]) }, [0, 0, 0, 0]),
    /tensor "w".*begins at byte 0/,
  ],
  ['data behind the last tensor', file({ w: f32([1], [0, 4]) }, [0, 0, 0, 0, 0]), /end at byte 4/],
  ['metadata that is no text', file({ __metadata__: { step: 1 } }), /__metadata__/],
  [
    'a bool of 2',
    file({ m: { dtype: 'BOOL', shape: [1], data_offsets: [0, 1] } }, [2]),
    /tensor "m".*no bool/,
  ],
]
for (const [what, bytes, message] of bad)
  test(`${what} is a DataError that says so`, () => {
    assert.throws(
      () => decode(bytes, 'x.safetensors'),
      (error: unknown) =>
        error instanceof DataError &&
        error.message.startsWith('x.safetensors: ') &&
        message.test(error.message),
    )
  })

test('a mutated file decodes or is a DataError, nothing else', () => {
  const mutations = fc.array(
    fc.oneof(
      fc.record({ at: fc.nat(), byte: fc.integer({ min: 0, max: 255 }) }),
      fc.record({ at: fc.nat(), flip: fc.integer({ min: 0, max: 7 }) }),
      fc.record({ at: fc.nat(), cut: fc.constant(true) }),
      fc.record({ at: fc.nat(), insert: fc.uint8Array({ maxLength: 9 }) }),
    ),
    { minLength: 1, maxLength: 4 },
  )
  let read = 0
  fc.assert(
    fc.property(maps, mutations, (tensors, edits) => {
      let bytes = encode(tensors, { step: '1' })
      for (const edit of edits) {
        const at = edit.at % (bytes.length + 1)
        if ('cut' in edit) bytes = bytes.slice(0, at)
        else if ('insert' in edit) bytes = Buffer.concat([bytes.slice(0, at), edit.insert, bytes.slice(at)])
        else bytes[at] = 'byte' in edit ? edit.byte : bytes[at] ^ (1 << edit.flip)
      }
      try {
        decode(bytes)
        read++
      } catch (error) {
        assert(error instanceof DataError, String(error))
      }
    }),
    { numRuns: 2000 },
  )
  assert(read > 0 && read < 2000, `both outcomes must occur, ${read} of 2000 were read`)
})

test('a file cut at any byte is a DataError naming the path', () => {
  const path = join(folder, 'cut.safetensors')
  writeSafetensors(path, new Map([['w', array([2], 'f32', [1, 2])]]))
  for (let n = readFileSync(path).length - 1; n >= 0; n--) {
    truncateSync(path, n)
    assert.throws(() => readSafetensors(path), { tag: 'DataError', message: /cut\.safetensors/ })
  }
})

test('a missing file is a DataError', () => {
  assert.throws(() => readSafetensors(join(folder, 'none')), { tag: 'DataError', message: /none.*ENOENT/ })
})

test('a write that fails leaves the previous file and no other', () => {
  const place = mkdtempSync(join(folder, 'crash-'))
  const path = join(place, 'a.safetensors')
  writeSafetensors(path, new Map([['w', array([1], 'f32', [1])]]))
  const before = readFileSync(path)
  const broken: NDArray = { shape: [3], dtype: 'f32', data: new Float32Array(1) }
  assert.throws(() => writeSafetensors(path, new Map([['w', broken]])), {
    tag: 'DataError',
    message: /"w": 1 values do not fill the shape \[3\]/,
  })
  assert.deepEqual(readFileSync(path), before)
  assert.deepEqual(readdirSync(place), ['a.safetensors'])
})

test('a path below a file is a DataError', () => {
  const path = join(folder, 'plain')
  writeFileSync(path, '')
  assert.throws(() => writeSafetensors(join(path, 'a'), new Map()), {
    tag: 'DataError',
    message: /cannot write/,
  })
})

test('the reserved name is refused', () => {
  assert.throws(() => encode(new Map([['__metadata__', array([], 'f32', [1])]])), {
    tag: 'DataError',
    message: /reserves/,
  })
})
