/**
 * `npm test`: runs every test file with Node's own runner, a few at a time, and closes with what ran on which
 * device. Arguments name files or folders under test/ to run instead of all.
 */

import { readdirSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { run } from 'node:test'
import { spec as SpecReporter } from 'node:test/reporters'
import { fileURLToPath } from 'node:url'

const here = fileURLToPath(new URL('.', import.meta.url))
const filesUnder = (path: string): string[] =>
  statSync(path).isDirectory()
    ? readdirSync(path)
        .sort()
        .flatMap(f => filesUnder(join(path, f)))
    : path.endsWith('.test.ts')
      ? [path]
      : []

const asked = process.argv.slice(2)
const files = (asked.length > 0 ? asked.map(a => join(process.cwd(), a)) : [here]).flatMap(filesUnder)

const tally = { passed: 0, failed: 0, skipped: 0 }
const skipped: string[] = []
const byArea = new Map<string, number>()
const notes: string[] = []
const stream = run({ files, concurrency: 2, timeout: 600_000 })
stream.on('test:pass', t => {
  if (t.nesting > 0 || t.file === undefined) return
  if (t.skip !== undefined) {
    tally.skipped++
    skipped.push(`${t.name}: ${t.skip === true ? '' : t.skip}`)
    return
  }
  tally.passed++
  const area = relative(here, t.file).replace(/\.test\.ts$/, '')
  byArea.set(area, (byArea.get(area) ?? 0) + 1)
})
stream.on('test:fail', t => {
  if (t.nesting === 0) {
    tally.failed++
    process.exitCode = 1
  }
})
// A test that used a device says so in a diagnostic: "adapter: NAME".
stream.on('test:diagnostic', d => {
  if (/^adapter: /.test(d.message) && !notes.includes(d.message)) notes.push(d.message)
})
stream.compose(new SpecReporter()).pipe(process.stdout)
stream.on('end', () => {
  const onGPU = [...byArea].filter(([area]) => area.includes('webgpu')).reduce((n, [, k]) => n + k, 0)
  setImmediate(() => {
    console.log(`\n${onGPU} tests ran WGSL through Dawn${notes.length ? ` (${notes.join('; ')})` : ''}`)
    for (const s of skipped) console.log(`skipped: ${s}`)
    console.log(
      `tests: ${tally.passed} passed, ${tally.failed} failed, ${tally.skipped} skipped, in ${files.length} files`,
    )
  })
})
