/** A user's whole pipeline: that it runs and learns, and how little it takes to write. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { teacher, train } from '../../examples/own-pipeline.ts'
import { writeSafetensors } from '../../src/data/safetensors.ts'
import { flattenTree } from '../../src/data/tree-io.ts'
import { key } from '../../src/dsl/threefry.ts'

test('a pipeline of own networks, a teacher from a file, two taps, NFD and KD learns', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'cotangent-pipeline-'))
  try {
    const file = join(folder, 'teacher.safetensors')
    writeSafetensors(file, flattenTree(teacher.init(key(9))))
    const losses = await train(file, 24)
    const mean = (xs: readonly number[]) => xs.reduce((a, x) => a + x, 0) / xs.length
    assert.ok(losses.every(Number.isFinite))
    // the schedule of NFD is at its end after five steps
    assert.ok(mean(losses.slice(-6)) < 0.9 * mean(losses.slice(5, 11)), losses.join(' '))
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('it is written in 60 lines beside its imports, with no class, no cast and no path in a string', () => {
  const text = readFileSync(new URL('../../examples/own-pipeline.ts', import.meta.url), 'utf8')
  const lines = text.split('\n').filter(line => line.trim() !== '' && !line.startsWith('import '))
  assert.ok(lines.length <= 60, String(lines.length))
  const code = lines.slice(1).join('\n')
  assert.doesNotMatch(code, /\bclass\b|\bas\b|\bany\b|'\w+\.\w+/)
})
