import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { type Json, type Metric, openRun } from '../../src/cli/run-folder.ts'
import { array } from '../../src/dsl/array.ts'

const root = mkdtempSync(join(tmpdir(), 'runs-'))
after(() => rmSync(root, { recursive: true }))
let made = 0
const fresh = (): string => join(root, `run-${made++}`)
const config: Json = { seed: 1, model: { name: 'resnet', widths: [8, 16] } }
const source = new URL('../../src/cli/run-folder.ts', import.meta.url).href

test('a new run has its configuration and a lock, and close takes the lock away', () => {
  const folder = fresh()
  const run = openRun(folder, config)
  assert.equal(run.resumed, false)
  assert.deepEqual(JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')), config)
  assert.deepEqual(readdirSync(folder).sort(), ['checkpoints', 'config.json', 'lock'])
  run.close()
  assert.deepEqual(readdirSync(folder).sort(), ['checkpoints', 'config.json'])
})

test('a folder that is open is refused, in this process too', () => {
  const folder = fresh()
  const run = openRun(folder, config)
  assert.throws(() => openRun(folder, config), {
    tag: 'UsageError',
    message: new RegExp(`in use by process ${process.pid}`),
  })
  run.close()
  const next = openRun(folder, config)
  run.close()
  assert(existsSync(join(folder, 'lock')), 'closing twice must not unlock the next run')
  next.close()
})

test('a process holds the folder while it lives; killed, its lock is taken over', async () => {
  const folder = fresh()
  const child = spawn(
    process.execPath,
    [
      '--import',
      'tsx',
      '--input-type=module',
      '-e',
      `import { openRun } from '${source}'; openRun(${JSON.stringify(folder)}, ${JSON.stringify(config)}); console.log('open'); setInterval(() => {}, 1000)`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  await once(child.stdout, 'data')
  assert.throws(() => openRun(folder, config), {
    tag: 'UsageError',
    message: new RegExp(`in use by process ${child.pid}`),
  })
  child.kill('SIGKILL')
  await once(child, 'exit')
  assert(existsSync(join(folder, 'lock')), 'a killed process cannot unlock')
  const run = openRun(folder, config)
  assert.equal(run.resumed, true)
  run.close()
})

test('a process that exits without close unlocks', () => {
  const folder = fresh()
  const { status, stderr } = spawnSync(process.execPath, [
    '--import',
    'tsx',
    '--input-type=module',
    '-e',
    `import { openRun } from '${source}'; openRun(${JSON.stringify(folder)}, 1); process.exit(0)`,
  ])
  assert.equal(status, 0, String(stderr))
  assert(existsSync(join(folder, 'config.json')))
  assert(!existsSync(join(folder, 'lock')))
})

const lockOf = (folder: string, owner: unknown) =>
  writeFileSync(join(folder, 'lock'), typeof owner === 'string' ? owner : JSON.stringify(owner))

test('a living pid that began at another time is another process: its lock is stale', t => {
  if (!existsSync('/proc/self/stat')) return t.skip('this system does not tell when a process began')
  const folder = fresh()
  openRun(folder, config).close()
  lockOf(folder, { pid: process.pid, host: hostname(), began: 'before' })
  openRun(folder, config).close()
})

test('the locks of another machine and unreadable ones are left alone', () => {
  const folder = fresh()
  openRun(folder, config).close()
  lockOf(folder, { pid: 1, host: `not-${hostname()}`, began: '' })
  assert.throws(() => openRun(folder, config), { tag: 'UsageError', message: /on not-.*delete .*lock/ })
  lockOf(folder, '{')
  assert.throws(() => openRun(folder, config), { tag: 'UsageError', message: /unreadable lock/ })
  assert.equal(readFileSync(join(folder, 'lock'), 'utf8'), '{')
})

test('a resume with another configuration is refused, names the keys and unlocks', () => {
  const folder = fresh()
  openRun(folder, config).close()
  assert.throws(() => openRun(folder, { model: { name: 'unet', widths: [8, 16] }, seed: 1, lr: 0.1 }), {
    tag: 'UsageError',
    message: /other folder.*\n {2}model\.name: was "resnet", is "unet"\n {2}lr: was absent, is 0\.1$/,
  })
  const run = openRun(folder, { model: { widths: [8, 16], name: 'resnet' }, seed: 1 })
  assert.equal(run.resumed, true)
  run.close()
})

test('rewind drops what the phase will measure again, and nothing else', () => {
  const run = openRun(fresh(), config)
  assert.deepEqual(run.metrics(), [])
  const lines: Metric[] = [
    { phase: 'teacher', step: 30, loss: 0.5 },
    { phase: 'student', step: 10, loss: 2 },
    { phase: 'student', step: 20, miou: 0.3 },
    { phase: 'student', step: 30, loss: 1 },
  ]
  lines.forEach(run.log)
  assert.deepEqual(run.metrics(), lines)
  run.rewind('student', 20)
  assert.deepEqual(run.metrics(), lines.slice(0, 2))
  run.close()
})

test('a line cut by a crash is dropped on opening; a damaged one before it is a DataError', () => {
  const folder = fresh()
  const path = join(folder, 'metrics.jsonl')
  const run = openRun(folder, config)
  run.log({ phase: 'teacher', step: 1, loss: Number.NaN })
  run.close()
  appendFileSync(path, '{"phase":"teach')
  const again = openRun(folder, config)
  again.log({ phase: 'teacher', step: 2, loss: 1 })
  assert.deepEqual(again.metrics(), [
    { phase: 'teacher', step: 1, loss: null },
    { phase: 'teacher', step: 2, loss: 1 },
  ])
  appendFileSync(path, '{"phase":3}\n')
  assert.throws(() => again.metrics(), { tag: 'DataError', message: /line 3.*phase/s })
  again.close()
})

test('checkpoints come back, are absent before, and their leftovers of a crash are cleared', () => {
  const folder = fresh()
  const run = openRun(folder, config)
  assert.equal(run.load('teacher'), undefined)
  const path = run.save('teacher', new Map([['w', array([2], 'f32', [1, 2])]]), { step: '3' })
  assert.equal(path, join(folder, 'checkpoints', 'teacher.safetensors'))
  assert.deepEqual([...(run.load('teacher')?.tensors.get('w')?.data ?? [])], [1, 2])
  assert.equal(run.load('teacher')?.metadata.get('step'), '3')
  run.close()
  writeFileSync(`${path}.9-0.tmp`, 'half')
  openRun(folder, config).close()
  assert.deepEqual(readdirSync(join(folder, 'checkpoints')), ['teacher.safetensors'])
})

test('names that leave the folder are refused', () => {
  const run = openRun(fresh(), config)
  assert.throws(() => run.write('../x', ''), { tag: 'UsageError' })
  assert.throws(() => run.save('a/b', new Map()), { tag: 'UsageError' })
  assert.equal(readFileSync(run.write('report.html', 'hi'), 'utf8'), 'hi')
  run.close()
})

test('a folder that cannot be made is a DataError', () => {
  const path = join(root, 'plain')
  writeFileSync(path, '')
  assert.throws(() => openRun(join(path, 'run'), config), { tag: 'DataError', message: /cannot make/ })
})
