/** Claims on the values of options: what is taken, and what is refused with what is allowed. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { above0, fileName, fraction, from0, natural, positive, sizeOf } from '../../src/cli/arguments.ts'

const edges = ['', ' ', 'x', 'NaN', 'Infinity', '-1', '-0.5', '0', '0.5', '1', '1.5', '7', '1e3', '2e-9']
const taken = {
  positive: [positive, ['1', '7', '1e3']],
  natural: [natural, ['0', '1', '7', '1e3']],
  above0: [above0, ['0.5', '1', '1.5', '7', '1e3', '2e-9']],
  from0: [from0, ['0', '0.5', '1', '1.5', '7', '1e3', '2e-9']],
  fraction: [fraction, ['0', '0.5', '1', '2e-9']],
} as const

for (const [name, [parse, good]] of Object.entries(taken))
  test(`${name} takes ${good.join(', ')} and refuses ${edges.length - good.length} others`, () => {
    for (const text of edges)
      if (good.some(g => g === text)) assert.equal(parse(text), Number(text), text)
      else
        assert.throws(
          () => parse(text),
          { code: 'commander.invalidArgument', message: /^It must be a/ },
          text,
        )
  })

test('a size is read back as it is written, and nothing else is one', () => {
  const side = fc.integer({ min: 1, max: 1e6 })
  fc.assert(fc.property(side, side, (h, w) => assert.deepEqual(sizeOf(`${h}x${w}`), [h, w])))
  for (const text of ['', '5', '5x', 'x5', '0x5', '5x05', '5x5x5', '5.5x5', '-5x5'])
    assert.throws(() => sizeOf(text), /HEIGHTxWIDTH in pixels, such as 64x96/, text)
})

test('a folder’s name cannot lead out of the folder', () => {
  assert.equal(fileName('a-1.b_c'), 'a-1.b_c')
  for (const text of ['', '.', '..', '../a', 'a/b', 'a b', '-a'])
    assert.throws(() => fileName(text), /letters/)
})
