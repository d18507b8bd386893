import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { maxClaim, openPth } from '../../src/data/pth.ts'
import { sourceOf } from '../../src/data/source.ts'
import { type StoredDType, stored, storedBytes } from '../../src/data/stored.ts'
import { weightsIn } from '../../src/data/weights-file.ts'
import { DataError } from '../../src/dsl/errors.ts'
import { size } from '../../src/dsl/shape.ts'
import { damage, edits } from './mutation.ts'
import { archive, floats, pickle, storage, stream, tensor, type Value, zip } from './torch-writer.ts'

const folder = fileURLToPath(new URL('./weights/', import.meta.url))
const fixture = (name: string): Uint8Array => readFileSync(`${folder}${name}`)

/** What PyTorch says of its own files: scripts/make-weights-fixtures.py. */
const expected: Record<
  string,
  Record<string, { dtype: string; shape: number[]; values: number[] }>
> = JSON.parse(readFileSync(`${folder}expected.json`, 'utf8'))
const torchNames: Record<string, StoredDType> = {
  ...{ float64: 'F64', float32: 'F32', float16: 'F16', bfloat16: 'BF16', bool: 'BOOL' },
  ...{ int64: 'I64', int32: 'I32', int16: 'I16', int8: 'I8', uint8: 'U8' },
}

for (const [name, tensors] of Object.entries(expected)) {
  if (Object.keys(tensors).length === 0) continue
  test(`${name}: every tensor is what PyTorch says`, () => {
    const file = weightsIn(sourceOf(fixture(name), name))
    assert.deepEqual([...file.entries.keys()], Object.keys(tensors))
    for (const [key, { dtype, shape, values }] of Object.entries(tensors)) {
      assert.equal(file.entries.get(key)?.dtype, torchNames[dtype])
      const read = file.read(key)
      assert.deepEqual(read.shape, shape)
      assert.equal(read.dtype, stored[torchNames[dtype]].dtype)
      assert.deepEqual(Array.from(read.data), values, key)
    }
  })
}

test('the fixtures have both formats, every dtype, and views that are not contiguous', () => {
  const formats = new Set(Object.keys(expected).map(name => name.split('.')[1]))
  assert.deepEqual([...formats].sort(), ['stream', 'zip'])
  assert.equal(new Set(Object.values(expected['dtypes.zip.pth']).map(t => t.dtype)).size, 10)
})

test('code in a file is not run and is shown', () => {
  for (const name of ['code.zip.pth', 'code.stream.pth']) {
    const { notes } = openPth(sourceOf(fixture(name), name))
    assert.deepEqual(notes.slice(1), [
      'left out beside it: "payload"',
      'not made, objects of other classes: posix.system("touch this-file-must-not-exist")',
    ])
    assert(!existsSync('this-file-must-not-exist'))
  }
})

test('what was done on the way is noted', () => {
  const { notes } = weightsIn(sourceOf(fixture('checkpoint.zip.pth'), 'a.pth'))
  assert.deepEqual(notes, [
    'the state dict is under "state_dict"',
    'left out beside it: "epoch", "best_acc1", "args", "optimizer"',
    'not made, objects of other classes: argparse.Namespace()',
    'the prefix "module." of all names was taken off',
  ])
})

test('of two state dicts the one that is named is read', () => {
  const source = sourceOf(fixture('ambiguous.zip.pth'), 'a.pth')
  assert.throws(() => openPth(source), { tag: 'DataError', message: /more than one.*"model".*"model_ema"/s })
  assert.deepEqual([...openPth(source, 'model_ema').read('w').data], [1, 2])
  assert.throws(() => openPth(source, 'other'), {
    tag: 'DataError',
    message: /no tensors under "other".*"model"/s,
  })
})

test('a parameter, an ordered dictionary of pairs and a tensor with attributes are read', () => {
  const w = tensor(storage('0', 2), 0, [2], [1])
  const parameter: Value = { call: 'torch._utils._rebuild_parameter', args: [w, true, null] }
  const subclass: Value = {
    call: 'torch._tensor._rebuild_from_type_v2',
    args: [
      { call: 'torch._utils._rebuild_parameter' },
      { call: 'torch.nn.Parameter' },
      [w, true, null],
      null,
    ],
  }
  const untyped: Value = {
    call: 'torch._utils._rebuild_tensor_v3',
    args: [
      storage('0', 8, 'torch.storage.UntypedStorage'),
      1,
      [2],
      [1],
      false,
      null,
      { call: 'torch.uint16' },
    ],
  }
  const pairs: Value = [
    ['parameter', parameter],
    ['subclass', subclass],
    ['untyped', untyped],
  ]
  const file = openPth(
    sourceOf(archive({ call: 'collections.OrderedDict', args: [pairs] }, { 0: floats(1, 2) })),
  )
  assert.deepEqual([...file.read('parameter').data], [1, 2])
  assert.deepEqual([...file.read('subclass').data], [1, 2])
  assert.deepEqual([...file.read('untyped').data], [0x3f80, 0]) // 1 and 2 are 3f800000 and 40000000
  assert.deepEqual(file.notes, [])
})

test('a part of a storage of the stream is a view of the whole', () => {
  const part = storage('0', 4, 'torch.FloatStorage', ['1', 2, 2])
  const bytes = stream(new Map([['w', tensor(part, 0, [2], [1])]]), [
    { key: '0', count: 4, bytes: floats(1, 2, 3, 4) },
  ])
  assert.deepEqual([...openPth(sourceOf(bytes)).read('w').data], [3, 4])
})

/** A view that lies within `count` elements. */
const views = fc
  .record({
    shape: fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 4 }),
    steps: fc.array(fc.nat(7), { minLength: 4, maxLength: 4 }),
    offset: fc.nat(5),
  })
  .map(({ shape, steps, offset }) => {
    const strides = shape.map((_, i) => steps[i])
    return { shape, strides, offset, count: 1 + shape.reduce((n, d, i) => n + (d - 1) * strides[i], offset) }
  })

test('a view has the elements that its offset and strides name, in both formats', () => {
  fc.assert(
    fc.property(views, fc.boolean(), ({ shape, strides, offset, count }, zipped) => {
      const data = Array.from({ length: count }, (_, i) => i)
      const object: Value = new Map([['w', tensor(storage('0', count), offset, shape, strides)]])
      const bytes = zipped
        ? archive(object, { 0: floats(...data) })
        : stream(object, [{ key: '0', count, bytes: floats(...data) }])
      const wanted = Array.from({ length: size(shape) }, (_, i) => {
        let [left, at] = [i, offset]
        for (let axis = shape.length - 1; axis >= 0; axis--) {
          at += (left % shape[axis]) * strides[axis]
          left = Math.floor(left / shape[axis])
        }
        return at
      })
      assert.deepEqual([...openPth(sourceOf(bytes)).read('w').data], wanted)
    }),
  )
})

test('a storage that tensors share is read whole once, then in parts', () => {
  const count = 1000
  const views = Array.from({ length: 50 }, (_, i) => tensor(storage('0', count), 3 * i, [2], [2]))
  const object: Value = new Map(views.map((v, i) => [`w${i}`, v]))
  const bytes = archive(object, { 0: floats(...Array.from({ length: count }, (_, i) => i)) })
  const source = sourceOf(bytes)
  let read = 0
  const counting = {
    ...source,
    read: (from: number, length: number) => {
      read += length
      return source.read(from, length)
    },
  }
  const file = openPth(counting)
  read = 0
  for (let i = 0; i < 50; i++) assert.deepEqual([...file.read(`w${i}`).data], [3 * i, 3 * i + 2])
  assert.equal(read, 4 * count + 49 * 12)
})

test('views that span a storage again and again are refused', () => {
  const count = 2 ** 20
  const ends = tensor(storage('0', count), 0, [2], [count - 1])
  const object: Value = new Map(Array.from({ length: 60 }, (_, i) => [`w${i}`, ends]))
  const bytes = archive(object, { 0: new Uint8Array(4 * count) })
  assert.throws(() => openPth(sourceOf(bytes)), {
    tag: 'DataError',
    message: /its tensors claim 25165872\d bytes/,
  })
})

test('a compressed storage is called one', () => {
  const data = pickle(new Map([['w', tensor(storage('0', 2), 0, [2], [1])]]))
  const packed = zip([
    { name: 'a/data.pkl', data },
    { name: 'a/data/0', data: floats(1), method: 8 },
  ])
  assert.throws(() => openPth(sourceOf(packed)).read('w'), {
    tag: 'DataError',
    message: /compressed \(method 8\)/,
  })
})

const one = { 0: floats(1, 2) }
const dict = (w: Value): Value => new Map([['w', w]])
const at = (offset: number, shape: number[], strides: number[]): Value =>
  dict(tensor(storage('0', 2), offset, shape, strides))
const bad: readonly (readonly [string, Uint8Array, RegExp])[] = [
  ['a view beyond its storage', archive(at(1, [2], [1]), one), /reaches element 2, the storage has 2/],
  ['a negative offset', archive(at(-1, [1], [1]), one), /offset, shape or strides are damaged/],
  ['a negative stride', archive(at(1, [2], [-1]), one), /offset, shape or strides are damaged/],
  ['an axis without a stride', archive(at(0, [1, 1], [1]), one), /offset, shape or strides are damaged/],
  [
    'a view that repeats one element 2^40 times',
    archive(at(0, [2 ** 20, 2 ** 20], [0, 0]), one),
    /claim 4398046511108 bytes/,
  ],
  ['a shape beyond all numbers', archive(at(0, [2 ** 52, 2 ** 52], [0, 0]), one), /claim/],
  ['a storage that is not there', archive(at(0, [2], [1])), /no storage "0"/],
  [
    'a storage that is too short',
    archive(at(0, [2], [1]), { 0: floats(1) }),
    /should have 8 bytes, the file has 4/,
  ],
  ['a number', archive(7), /no state dict, but 7/],
  ['a single tensor', archive(tensor(storage('0', 2), 0, [2], [1]), one), /but a single tensor/],
  [
    'tensors under a key that is not known',
    archive(new Map([['foo', at(0, [2], [1])]]), one),
    /no state dict.*"foo"/s,
  ],
  [
    'a whole network',
    archive({ call: 'my.Net', args: [] }),
    /my\.Net\(\); in Python: torch\.save\(model\.state_dict/,
  ],
  [
    'a complex tensor',
    archive(dict(tensor(storage('0', 1, 'torch.ComplexFloatStorage'), 0, [1], [1])), one),
    /no state/,
  ],
  [
    'a zip archive of something else',
    zip([{ name: 'a/b', data: floats(1) }]),
    /torch\.save did not write it/,
  ],
  ['a stream of another version', stream(1, [], { version: 1002 }), /version 1002/],
  ['a stream from a big-endian machine', stream(1, [], { littleEndian: false }), /big-endian/],
  ['a pickle of something else', pickle(new Map()), /torch\.save did not write/],
  [
    'a stream that is cut in a storage',
    stream(at(0, [2], [1]), [{ key: '0', count: 2, bytes: floats(1) }]),
    /"0" of 2 elements ends at byte/,
  ],
  [
    'a stream with a storage of 2^62 elements',
    stream(at(0, [2], [1]), [{ key: '0', count: 2 ** 62, bytes: floats(1) }]),
    /of 4611686018427388000 elements ends/,
  ],
  [
    'a stream with a storage of -1 elements',
    stream(at(0, [2], [1]), [{ key: '0', count: -1, bytes: floats(1) }]),
    /of -1 elements/,
  ],
  [
    'a stream with more behind it',
    stream(at(0, [2], [1]), [{ key: '0', count: 2, bytes: floats(1, 2, 3) }]),
    /the storages end at byte/,
  ],
]
for (const [what, bytes, message] of bad)
  test(`${what} is a DataError that says so`, () => {
    const readAll = () => {
      const file = openPth(sourceOf(bytes, 'a.pth'))
      for (const name of file.entries.keys()) file.read(name)
    }
    assert.throws(readAll, (error: unknown) => error instanceof DataError && message.test(error.message))
  })

test('other kinds of files are named', () => {
  const kinds: [string, RegExp][] = [
    ['', /the file is empty/],
    ['version https://git-lfs.github.com/spec/v1\noid', /git lfs pull/],
    ['<!DOCTYPE html>', /a web page/],
    ['\x89HDF\r\n', /HDF5/],
    [`${'x'.repeat(257)}ustar`, /tar archive/],
    ['GIF89a', /begins with the bytes 47 49 46 38/],
  ]
  for (const [text, message] of kinds)
    assert.throws(() => weightsIn(sourceOf(Buffer.from(text, 'latin1'), 'a')), { tag: 'DataError', message })
})

test('a file of PyTorch cut at any byte is a DataError', () => {
  for (const name of ['network.zip.pth', 'network.stream.pth']) {
    const whole = fixture(name)
    for (let n = 0; n < whole.length; n++)
      assert.throws(
        () => weightsIn(sourceOf(whole.subarray(0, n), name)),
        { tag: 'DataError' },
        `${name} at ${n}`,
      )
  }
})

test('a damaged file of PyTorch is read within its bound or is a DataError, nothing else', () => {
  const names = Object.keys(expected).filter(name => /^(network|views|dtypes|checkpoint|code)/.test(name))
  const files = names.map(name => fixture(name))
  let read = 0
  fc.assert(
    fc.property(fc.constantFrom(...files), edits, (bytes, changes) => {
      const source = sourceOf(damage(bytes, changes), 'a.pth')
      try {
        const file = weightsIn(source)
        let claim = 0
        for (const [name, type] of file.entries) {
          claim += storedBytes(type)
          assert.equal(file.read(name).data.length, size(type.shape))
        }
        assert(claim <= maxClaim(source.size))
        read++
      } catch (error) {
        assert(error instanceof DataError, String(error))
      }
    }),
    { numRuns: 3000 },
  )
  assert(read > 0 && read < 3000, `both outcomes must occur, ${read} of 3000 were read`)
})
