import assert from 'node:assert/strict'
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { appendEntry, byHash, readLedger } from '../../../src/cli/compare/ledger.ts'
import { entry } from './entries.ts'

const root = mkdtempSync(join(tmpdir(), 'ledger-'))
after(() => rmSync(root, { recursive: true }))

test('entries come back as they were appended, in order; no file is no entry', () => {
  const path = join(root, 'a', 'ledger.jsonl')
  assert.deepEqual(readLedger(path), [])
  const written = [entry('ce', 0, 0.5), entry('nfd:HW@1', 0, 0.6)]
  for (const e of written) appendEntry(path, e)
  assert.deepEqual(readLedger(path), written)
})

test('a line without its end is cut off, and the next one is whole', () => {
  const path = join(root, 'torn.jsonl')
  appendEntry(path, entry('ce', 0, 0.5))
  appendFileSync(path, '{"method":"nfd","se')
  assert.equal(readLedger(path).length, 1)
  appendEntry(path, entry('ce', 1, 0.4))
  assert.deepEqual(
    readLedger(path).map(e => e.seed),
    [0, 1],
  )
})

test('a line that is no entry is named, with what to do', () => {
  const path = join(root, 'bad.jsonl')
  appendEntry(path, entry('ce', 0, 0.5))
  for (const line of ['no json', '{"method":"ce"}', JSON.stringify({ ...entry('ce', 1, 0.5), miou: 2 })]) {
    const before = readFileSync(path)
    appendFileSync(path, `${line}\n`)
    assert.throws(
      () => readLedger(path),
      /bad\.jsonl, line 2 is no entry of a ledger .*; delete it, and its run is done again/s,
    )
    writeFileSync(path, before)
  }
})

test('of lines with one hash, such as those of two machines, the first counts', () => {
  const [a, b] = [entry('ce', 0, 0.5), { ...entry('ce', 0, 0.6) }]
  assert.equal(byHash([a, b, entry('ce', 1, 0.1)]).get(a.hash)?.miou, 0.5)
})
