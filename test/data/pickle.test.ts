import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import fc from 'fast-check'
import { limits, unpickle } from '../../src/data/pickle.ts'
import { describe, isInert, type Pickled } from '../../src/data/pickled.ts'
import { unpickleTorch } from '../../src/data/torch-values.ts'
import { DataError } from '../../src/dsl/errors.ts'
import { damage, edits } from './mutation.ts'
import { pickle, storage, tensor, type Value } from './torch-writer.ts'

/** A pickle without any name that has a meaning. */
const plain = (bytes: Uint8Array, from = 0) =>
  unpickle<never>(bytes, { reduce: () => undefined, persistent: id => id }, 'a.pkl', from)
const bytesOf = (...parts: (number | string)[]): Buffer =>
  Buffer.concat(parts.map(p => (typeof p === 'number' ? Buffer.from([p]) : Buffer.from(p, 'latin1'))))
const isDataError = (message: RegExp) => (error: unknown) =>
  error instanceof DataError && error.message.startsWith('a.pkl: ') && message.test(error.message)

/** A pickled value as JSON has it. */
function json(value: Pickled<never>): unknown {
  if (value instanceof Map) return Object.fromEntries([...value].map(([k, v]) => [String(k), json(v)]))
  return Array.isArray(value) ? value.map(json) : value
}

// Made by Python: scripts/make-weights-fixtures.py.
const python: {
  readonly values: unknown
  readonly pickles: readonly { readonly protocol: number; readonly base64: string }[]
} = JSON.parse(readFileSync(new URL('./weights/python.json', import.meta.url), 'utf8'))

for (const { protocol, base64 } of python.pickles)
  test(`what Python pickles with protocol ${protocol} is read as Python's own json has it`, () => {
    const bytes = Buffer.from(base64, 'base64')
    const { value, end } = plain(bytes)
    assert.deepEqual(json(value), python.values)
    assert.equal(end, bytes.length)
  })

test('a value that is pickled twice is one value', () => {
  const { value } = plain(Buffer.from(python.pickles[0].base64, 'base64'))
  assert(Array.isArray(value))
  const last = value.at(-1)
  assert(last instanceof Map)
  assert.equal(last.get('one'), last.get('two'))
})

test('integers of 2^53 and more are exact, and those below are numbers', () => {
  const long = (...bytes: number[]) => plain(bytesOf(0x80, 2, 0x8a, bytes.length, ...bytes, '.')).value
  assert.equal(long(), 0)
  assert.equal(long(0xff), -1)
  assert.equal(long(0, 0x80), -32768)
  assert.equal(long(255, 255, 255, 255, 255, 255, 0x1f), 2 ** 53 - 1)
  assert.equal(long(0, 0, 0, 0, 0, 0, 0x20), 2n ** 53n)
  assert.equal(long(1, 0, 0, 0, 0, 0, 0x20), 2n ** 53n + 1n)
  assert.equal(long(0, 0, 0, 0, 0, 0, 0, 0x80), -(2n ** 63n))
})

test('a pickle that would run a command makes a record of it', () => {
  // What `os.system` is pickled as, by name and by stack, with REDUCE, NEWOBJ and BUILD.
  for (const bytes of [
    bytesOf(0x80, 2, 'cposix\nsystem\n', 'X', 4, 0, 0, 0, 'true', 0x85, 'R.'),
    bytesOf(0x80, 2, 'cposix\nsystem\n', 'X', 4, 0, 0, 0, 'true', 0x85, 0x81, '}b.'),
    bytesOf(0x80, 4, 0x8c, 5, 'posix', 0x8c, 6, 'system', 0x93, 0x8c, 4, 'true', 0x85, 'R.'),
  ]) {
    const { value, inert } = plain(bytes)
    assert(isInert(value))
    assert.equal(value.name, 'posix.system')
    assert.deepEqual(value.args, ['true'])
    assert.deepEqual(inert, [value])
    assert.equal(describe(value), 'posix.system("true")')
  }
})

test('names of JavaScript have no meaning in a pickle', () => {
  for (const name of ['constructor', '__proto__', 'toString', 'process.exit', 'globalThis.eval']) {
    const { value } = unpickleTorch(pickle({ call: `x.${name}`, args: ['1'] }), 'a.pkl')
    assert(isInert(value))
    assert.equal(value.name, `x.${name}`)
  }
  const { value } = plain(pickle(new Map([['__proto__', 'x']])))
  assert(value instanceof Map)
  assert.equal(value.get('__proto__'), 'x')
})

test('a list and a dictionary that contain themselves are read', () => {
  const { value } = plain(bytesOf(0x80, 2, ']q', 0, 'h', 0, 'a.'))
  assert(Array.isArray(value))
  assert.equal(value[0], value)
})

const bad: readonly (readonly [string, Uint8Array, RegExp])[] = [
  ['no byte', bytesOf(), /goes on beyond byte 0/],
  ['protocol 1', bytesOf(0x80, 1, 'N.'), /protocol 1 is not one of 2 to 5/],
  ['an instruction of protocol 0', bytesOf('I1\n.'), /instruction 0x49/],
  ['an extension code', bytesOf(0x80, 2, 0x82, 1, '.'), /instruction 0x82/],
  ['no STOP', bytesOf(0x80, 2, 'N'), /cut short/],
  ['an empty stack', bytesOf(0x80, 2, '.'), /a value that is not there/],
  ['two values', bytesOf(0x80, 2, 'NN.'), /1 values too many/],
  ['a tuple without its mark', bytesOf(0x80, 2, 'Nt.'), /a mark that is not there/],
  ['a value below the mark', bytesOf(0x80, 2, 'N(', 0x85, '.'), /a value that is not there/],
  ['a key without a value', bytesOf(0x80, 2, '}(Nu.'), /a key without a value/],
  ['an entry of a number', bytesOf(0x80, 2, 'K', 1, 'NNs.'), /no dictionary/],
  ['an item of a dictionary', bytesOf(0x80, 2, '}Na.'), /no list/],
  ['a memory that was not kept', bytesOf(0x80, 2, 'h', 7, '.'), /recalls value 7/],
  ['a call of a text', bytesOf(0x80, 2, 'X', 1, 0, 0, 0, 'a', ')R.'), /calls what is no class/],
  ['a class without an end', bytesOf(0x80, 2, 'cos'), /no end/],
  ['a text that is no UTF-8', bytesOf(0x80, 2, 'X', 1, 0, 0, 0, 0xff, '.'), /not UTF-8/],
  ['a text longer than the file', bytesOf(0x80, 2, 'X', 255, 255, 255, 255, 'a.'), /goes on beyond/],
  ['a text of 2^64 bytes', bytesOf(0x80, 4, 0x8d, ...new Array<number>(8).fill(255), 'a.'), /goes on beyond/],
  ['an integer of 2 GB', bytesOf(0x80, 2, 0x8b, 255, 255, 255, 127, '.'), /an integer of 2147483647 bytes/],
  ['too many instructions', bytesOf(0x80, 2, 'N0'.repeat(limits.steps / 2), 'N.'), /more than 2000000 instr/],
]
for (const [what, bytes, message] of bad)
  test(`${what} is a DataError that says so`, () => {
    assert.throws(() => plain(bytes), isDataError(message))
  })

test('work on a list that is named again and again does not multiply', () => {
  // 1000 pairs, made once and remembered, then asked for 200,000 times as a dictionary: 2 * 10^8 entries.
  const pairs = bytesOf(']', 'q', 0, '(', ...new Array<string>(1000).fill('NN\x86'), 'e')
  const od = bytesOf('ccollections\nOrderedDict\n', 'q', 1)
  const again = bytesOf('h', 1, 'h', 0, 0x85, 'R', '0')
  const bytes = Buffer.concat([
    bytesOf(0x80, 2),
    pairs,
    od,
    ...new Array<Buffer>(200_000).fill(again),
    bytesOf('.'),
  ])
  const start = performance.now()
  assert.throws(
    () => unpickleTorch(bytes, 'a.pkl'),
    isDataError(/dictionaries have more than 2000000 entries/),
  )
  assert(performance.now() - start < 20_000, 'it took more than 20 s')
  const axes = { call: 'torch.Size', args: [new Array<number>(65).fill(1)] }
  assert(isInert(unpickleTorch(pickle(axes), 'a.pkl').value))
})

test('a damaged pickle is a value or a DataError, nothing else', () => {
  const w = tensor(storage('0', 6), 0, [2, 3], [3, 1])
  const values: Value[] = [
    new Map<string, Value>([
      ['w', w],
      ['b', tensor(storage('1', 4, 'torch.HalfStorage'), 1, [3], [1])],
    ]),
    [1, -1.5, 'text', null, true, { call: 'a.b', args: [1, ['x']] }],
  ]
  const sources = [...values.map(pickle), ...python.pickles.map(p => Buffer.from(p.base64, 'base64'))]
  let read = 0
  fc.assert(
    fc.property(fc.constantFrom(...sources), edits, (bytes, changes) => {
      try {
        describe(unpickleTorch(damage(bytes, changes), 'a.pkl').value)
        read++
      } catch (error) {
        assert(error instanceof DataError, String(error))
      }
    }),
    { numRuns: 3000 },
  )
  assert(read > 0 && read < 3000, `both outcomes must occur, ${read} of 3000 were read`)
})

test('random instructions are a value or a DataError, nothing else', () => {
  // Bytes that are instructions, so that runs get further than the first of them.
  const codes = fc.constantFrom(
    ...Buffer.from('(.0NRXa}])tuesbcqhQKJ12\x80\x81\x85\x86\x87\x88\x8a\x8c\x93\x94', 'latin1'),
  )
  fc.assert(
    fc.property(fc.array(fc.oneof(codes, fc.nat(255)), { maxLength: 60 }), bytes => {
      try {
        describe(unpickleTorch(Uint8Array.from(bytes), 'a.pkl').value)
      } catch (error) {
        assert(error instanceof DataError, String(error))
      }
    }),
    { numRuns: 3000 },
  )
})
