/** A tenth of the mutants, drawn by a seed, in every run of the tests: `npm run mutate` runs them all. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { mutate, passes, summary } from '../scripts/mutate/score.ts'

test('the properties catch broken derivative rules, partials, shape rules and passes', async t => {
  const seed = Number(process.env.MUTATION_SEED ?? Math.floor(Math.random() * 2 ** 31))
  const result = await mutate({ fraction: 0.1, seed, jobs: 2 })
  t.diagnostic(`${result.fates.length} mutants, seed ${seed} (MUTATION_SEED=${seed} runs them again)`)
  assert.ok(result.fates.length > 300, `only ${result.fates.length} mutants ran`)
  assert.ok(passes(result), `seed ${seed}\n${summary(result)}`)
})
