import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { table } from '../../src/cli/table.ts'

test('numbers are aligned to the right, text to the left, what is unknown is a dash', () => {
  assert.equal(
    table(
      ['model', 'mIoU', 'steps'],
      [
        ['teacher', 0.71239, 1000],
        ['étudiant', null, 50],
      ],
    ),
    [
      'model      mIoU  steps',
      '────────  ─────  ─────',
      'teacher   0.712   1000',
      'étudiant      –     50',
    ].join('\n'),
  )
})

test('no line is longer than the rule, whatever the cells', () => {
  const cell = fc.oneof(fc.string({ unit: 'grapheme-ascii' }), fc.double(), fc.constant(null))
  fc.assert(
    fc.property(fc.array(fc.tuple(cell, cell)), rows => {
      const lines = table(['a', 'b'], rows).split('\n')
      assert.equal(lines.length, rows.length + 2)
      for (const line of lines) assert(line.length <= lines[1].length)
    }),
  )
})
