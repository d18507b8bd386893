/** The table in src/nfd/README.md stands beside the code of each row: the code is that of the folder. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import * as align from '../../src/nfd/align.ts'
import * as combine from '../../src/nfd/combine.ts'
import * as compare from '../../src/nfd/compare.ts'
import * as distil from '../../src/nfd/distil.ts'
import * as normalise from '../../src/nfd/normalise.ts'
import * as schedule from '../../src/nfd/schedule.ts'
import * as view from '../../src/nfd/view.ts'

const folder = new URL('../../src/nfd/', import.meta.url)
const readme = readFileSync(new URL('README.md', folder), 'utf8')
/** Without what a formatter may change. */
const bare = (code: string): string => code.replace(/\s+/g, '').replace(/,\)/g, ')')
const source = readdirSync(folder)
  .filter(f => f.endsWith('.ts'))
  .map(f => bare(readFileSync(new URL(f, folder), 'utf8')))

test('the code of every row of the table is in the folder', () => {
  const rows = readme
    .slice(readme.indexOf('## The table'), readme.indexOf('Where they are'))
    .split('\n')
    .flatMap(line => /\| `(.*)` \|$/.exec(line)?.[1] ?? [])
  assert.equal(rows.length, 16)
  for (const code of rows) {
    // `...` leaves out the rest of a call
    const part = bare(code).replace(/\.\.\.\)$/, '')
    assert.ok(
      source.some(text => text.includes(part)),
      `no file has ${code}`,
    )
  }
})

test('every name that the README gives exists', () => {
  const known = { ...combine, ...distil, ...align, ...compare, ...normalise, ...schedule, ...view }
  const named =
    readme.slice(readme.indexOf('| primitive'), readme.indexOf('## The table')) +
    readme.slice(readme.indexOf('## What changes'), readme.indexOf('## A pipeline'))
  const names = [...named.matchAll(/`([a-zA-Z0-9]+)(?:\(.*?\))?`/g)].map(m => m[1])
  assert.ok(names.length > 25)
  for (const name of names) assert.ok(name in known || ['perTeacherNorm', 'pipe'].includes(name), name)
})
