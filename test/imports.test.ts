import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { importProblems, importsOf, readSources } from '../scripts/imports.ts'

test('imports point one way, without cycles, and node: modules stay at the edges', () => {
  const sources = readSources(fileURLToPath(new URL('../src', import.meta.url)))
  assert.ok(sources.size > 30)
  assert.deepEqual(importProblems(sources), [])
})

test('an import against the direction, a cycle, a node: module and a missing file are found', () => {
  const files = new Map([
    ['dsl/a.ts', "import { b } from './b.ts'\nimport type { X } from '../backend/c.ts'"],
    ['dsl/b.ts', "export * from './a.ts'\nimport 'node:fs'"],
    ['backend/c.ts', "import {\n  a,\n  b,\n} from '../dsl/gone.ts'"],
  ])
  assert.deepEqual(importProblems(files), [
    'dsl/a.ts imports backend/c.ts: dsl may not import backend',
    'dsl/b.ts imports node:fs, which a browser has not',
    'backend/c.ts imports dsl/gone.ts, which is not there',
    'cycle: dsl/a.ts -> dsl/b.ts -> dsl/a.ts',
  ])
  assert.deepEqual(importsOf("const x = await import('./z.ts')"), ['./z.ts'])
})
