/** The user's guide is executed: what its example prints is what the guide says it prints. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))
const guide = readFileSync(join(root, 'docs/fuzzing.md'), 'utf8')
const block = (language: string): string => {
  const found = new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``).exec(guide)
  assert.ok(found, `the guide has a block of ${language}`)
  return found[1]
}

test('the wrong rule of the guide is caught, with the counterexample that the guide shows', () => {
  // Beside the tests, so that the example finds the packages; the public modules by their files.
  const folder = mkdtempSync(join(root, 'test/testing/guide-'))
  try {
    const source = block('ts')
      .replace("'cotangent'", `'${join(root, 'src/index.ts')}'`)
      .replace("'cotangent/testing'", `'${join(root, 'src/testing/index.ts')}'`)
    writeFileSync(join(folder, 'example.ts'), source)
    const printed = execFileSync(process.execPath, ['--import', 'tsx', join(folder, 'example.ts')], {
      encoding: 'utf8',
      cwd: root,
    })
    assert.equal(printed.trimEnd(), block('text').trimEnd())
    assert.ok(source.trim().split('\n').length <= 12, 'ten lines and their imports')
  } finally {
    rmSync(folder, { recursive: true })
  }
})
