import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { onDisk, writeAtomic } from '../../src/data/atomic.ts'

const folder = mkdtempSync(join(tmpdir(), 'atomic-'))
after(() => rmSync(folder, { recursive: true }))

test('the parts are written one behind another', () => {
  writeAtomic(join(folder, 'a'), ['x', new Uint8Array([0x79]), 'ü'])
  assert.equal(readFileSync(join(folder, 'a'), 'utf8'), 'xyü')
})

test('content that fails half-way leaves the previous file and nothing beside it', () => {
  const parts = function* () {
    yield 'new'
    throw new Error('half-way')
  }
  assert.throws(() => writeAtomic(join(folder, 'a'), parts()), /half-way/)
  assert.equal(readFileSync(join(folder, 'a'), 'utf8'), 'xyü')
  assert.deepEqual(readdirSync(folder), ['a'])
})

test('system errors become DataErrors, defects stay what they are', () => {
  assert.throws(() => onDisk('cannot read it', () => readFileSync(join(folder, 'none'))), {
    tag: 'DataError',
    message: /^cannot read it: ENOENT/,
  })
  assert.throws(
    () =>
      onDisk('x', () => {
        throw new TypeError('a defect')
      }),
    TypeError,
  )
})
