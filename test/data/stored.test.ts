import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type StoredDType, widen } from '../../src/data/stored.ts'
import { DataError } from '../../src/dsl/errors.ts'

const read = (dtype: StoredDType, data: ArrayBuffer, n: number) => widen({ dtype, shape: [n] }, data, 'x')

test('each of the 65,536 halves is the number that IEEE 754 says', () => {
  const all = Uint16Array.from({ length: 65536 }, (_, i) => i)
  const { data } = read('F16', all.buffer, all.length)
  for (const h of all) {
    const [sign, exponent, fraction] = [h & 0x8000 ? -1 : 1, (h >> 10) & 31, h & 1023]
    const value =
      exponent === 31
        ? fraction === 0
          ? sign * Number.POSITIVE_INFINITY
          : Number.NaN
        : exponent === 0
          ? sign * (fraction * 2 ** -24)
          : sign * ((1 + fraction / 1024) * 2 ** (exponent - 15))
    assert(Object.is(data[h], value), `${h.toString(16)} is ${data[h]}, should be ${value}`)
  }
})

test('a bfloat16 is the float32 whose lower half is zero', () => {
  fc.assert(
    fc.property(fc.float({ noNaN: true }), x => {
      const bits = new Uint32Array(new Float32Array([x]).buffer)[0]
      const upper = new Float32Array(new Uint32Array([bits & 0xffff0000]).buffer)[0]
      const { data } = read('BF16', new Uint16Array([bits >>> 16]).buffer, 1)
      assert(Object.is(data[0], upper))
    }),
  )
})

test('64-bit integers are exact or an error that names the value', () => {
  const i64 = fc.oneof(
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    fc.bigInt({ min: -(2n ** 33n), max: 2n ** 33n }),
  )
  fc.assert(
    fc.property(i64, x => {
      const bytes = new BigInt64Array([x]).buffer
      if (x >= -(2n ** 31n) && x < 2n ** 31n) assert.equal(BigInt(read('I64', bytes, 1).data[0]), x)
      else
        assert.throws(() => read('I64', bytes, 1), {
          tag: 'DataError',
          message: new RegExp(`x: the value ${x} at 0`),
        })
    }),
  )
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), x => {
      const bytes = new BigUint64Array([x]).buffer
      if (x < 2n ** 32n) assert.equal(BigInt(read('U64', bytes, 1).data[0]), x)
      else assert.throws(() => read('U64', bytes, 1), DataError)
    }),
  )
})

test('small integers keep their values and their sign', () => {
  assert.deepEqual(read('I8', new Int8Array([-128, 127]).buffer, 2).data, new Int32Array([-128, 127]))
  assert.deepEqual(read('U8', new Uint8Array([0, 255]).buffer, 2).data, new Uint32Array([0, 255]))
  assert.deepEqual(read('I16', new Int16Array([-32768]).buffer, 1).data, new Int32Array([-32768]))
  assert.deepEqual(read('U16', new Uint16Array([65535]).buffer, 1).data, new Uint32Array([65535]))
})
