import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { main } from '../examples/nfd.ts'

const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8')

test("the README's example trains", async () => {
  const losses = await main(10)
  losses.forEach((l, i) => {
    assert.ok(i === 0 || l < losses[i - 1], `step ${i}: ${l} after ${losses[i - 1]}`)
  })
})

test('the README shows the example as it runs', () => {
  const shown = read('../examples/nfd.ts').split(/\/\/ --8<--.*\n/)[1]
  assert.ok(shown.length > 500)
  assert.ok(read('../README.md').includes(shown), 'README.md and examples/nfd.ts differ')
})
