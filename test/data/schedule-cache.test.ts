/** Claims on tuned schedules on disk. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { scheduleCache } from '../../src/data/schedule-cache.ts'

const folder = mkdtempSync(join(tmpdir(), 'cotangent-schedules-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const on = { adapter: 'nvidia-h200', driver: '570.86', version: '0.1.0' }
const silent = () => assert.fail('a warning')

test('what is put is there for the next process, and for nobody with another driver or version', () => {
  scheduleCache(on, folder, silent).put(new Map([['a', { team: 32 }]]))
  assert.deepEqual(scheduleCache(on, folder, silent).get('a'), { team: 32 })
  for (const other of [{ driver: '571' }, { version: '0.2.0' }, { adapter: 'amd' }])
    assert.equal(scheduleCache({ ...on, ...other }, folder, silent).get('a'), undefined)
  assert.ok(
    readdirSync(folder).every(f => f.endsWith('.json')),
    'no temporary file is left',
  )
})

test('two processes that tune at the same time keep what both measured', () => {
  const [one, two] = [scheduleCache(on, folder, silent), scheduleCache(on, folder, silent)]
  one.put(new Map([['b', 1]]))
  two.put(new Map([['c', 2]]))
  const now = scheduleCache(on, folder, silent)
  assert.deepEqual(
    ['a', 'b', 'c'].map(key => now.get(key)),
    [{ team: 32 }, 1, 2],
  )
})

test('a damaged file, or that of another adapter, is a warning and as good as none', () => {
  const { path } = scheduleCache(on, folder, silent)
  const whole = readFileSync(path, 'utf8')
  const damaged = [
    whole.slice(0, whole.length / 2),
    '',
    'null',
    '[]',
    whole.replace('570.86', '1'),
    JSON.stringify({ ...on, kernels: 3 }),
  ]
  for (const text of damaged) {
    writeFileSync(path, text)
    const warnings: string[] = []
    const cache = scheduleCache(on, folder, w => void warnings.push(w))
    assert.equal(cache.get('a'), undefined)
    assert.equal(warnings.length, 1)
    assert.match(warnings[0], /is ignored, for it cannot be read/)
    cache.put(new Map([['d', 4]]))
    assert.equal(scheduleCache(on, folder, silent).get('d'), 4)
  }
})

test('a folder that cannot be written is a warning; the run goes on with what it has', () => {
  const file = join(folder, 'file')
  writeFileSync(file, '')
  const warnings: string[] = []
  const cache = scheduleCache(on, join(file, 'below'), w => void warnings.push(w))
  cache.put(new Map([['a', 1]]))
  assert.equal(cache.get('a'), 1)
  assert.match(warnings.join('\n'), /not kept/)
})
