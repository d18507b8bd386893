/** Claims on which run `--resume` takes, where runs of several commands lie side by side. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { parseConfig } from '../../src/cli/config.ts'
import { freeName, latestRun, type Resumable } from '../../src/cli/run-names.ts'
import { settingsOf } from '../../src/cli/settings.ts'
import { here } from './in-process.ts'

const root = mkdtempSync(join(tmpdir(), 'names-'))
after(() => rmSync(root, { recursive: true }))
let made = 0
const fresh = (): string => join(root, String(made++))

const configs: Readonly<Record<Resumable | 'other', unknown>> = {
  train: parseConfig({}),
  distill: settingsOf({}),
  // what `compare` keeps of a run: settings too, of another kind
  other: { dataset: 'synthetic', steps: 100, method: 'ce', seed: 0, hash: '0' },
}
/** A run folder whose checkpoints were changed at a time in seconds. */
function run(out: string, name: string, config: unknown, time: number): void {
  const checkpoints = join(out, name, 'checkpoints')
  mkdirSync(checkpoints, { recursive: true })
  writeFileSync(join(out, name, 'config.json'), typeof config === 'string' ? config : JSON.stringify(config))
  utimesSync(checkpoints, time, time)
}

test('the latest run of a command is the one that was changed last among its own', () => {
  const kind = fc.constantFrom(...(['train', 'distill', 'other'] as const))
  fc.assert(
    fc.property(fc.array(kind, { minLength: 1, maxLength: 6 }), kinds => {
      const out = fresh()
      for (const [i, k] of kinds.entries()) run(out, `run${i}`, configs[k], 1000 + i)
      for (const command of ['train', 'distill'] as const) {
        const last = kinds.lastIndexOf(command)
        if (last >= 0) assert.equal(latestRun(out, command), `run${last}`)
        else
          assert.throws(() => latestRun(out, command), {
            tag: 'UsageError',
            message: new RegExp(`no run of .cotangent ${command}. in .*, only of other commands: run0`),
          })
      }
    }),
    { numRuns: 30 },
  )
})

test('a run whose configuration is damaged is not passed over: opening it tells what is wrong', () => {
  const out = fresh()
  run(out, 'good', configs.train, 1000)
  run(out, 'torn', '{"network":', 1001)
  assert.equal(latestRun(out, 'train'), 'torn')
  assert.equal(latestRun(out, 'distill'), 'torn')
})

test('--resume takes its own command’s last run and says which; a run of the other command is refused by name', async t => {
  const out = fresh()
  run(out, 'mine', configs.train, 1000)
  run(out, 'theirs', configs.distill, 1001)
  // A key that the run was not started with ends the command before it trains.
  const resumed = await here(t, ['train', '--resume', '--out', out, '--set', 'seed=-1'])
  assert.equal(resumed.code, 2)
  assert.match(resumed.stderr, /^--resume takes \S+mine, the run of `train` that was changed last\n/)
  const wrong = await here(t, ['train', '--resume', '--out', out, '--name', 'theirs'])
  assert.equal(wrong.code, 2)
  assert.match(wrong.stderr, /theirs holds a run of `cotangent distill`, not of `cotangent train`/)
  const other = await here(t, ['distill', '--resume', '--out', out, '--name', 'mine'])
  assert.equal(other.code, 2)
  assert.match(other.stderr, /mine holds a run of `cotangent train`, not of `cotangent distill`/)
  const taken = await here(t, ['distill', '--out', out, '--name', 'mine'])
  assert.match(taken.stderr, /mine holds a run already/)
})

test('a free name is new, and the one that was asked for where that is', () => {
  const out = fresh()
  assert.equal(freeName(out, 'a'), 'a')
  run(out, 'a', configs.train, 1)
  run(out, 'a-2', configs.train, 1)
  assert.equal(freeName(out, 'a'), 'a-3')
})
