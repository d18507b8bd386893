import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type Job, performJob } from '../../../src/cli/compare/job.ts'
import { readLedger } from '../../../src/cli/compare/ledger.ts'
import { studyOf } from '../../../src/cli/compare/study.ts'
import { teacherFile } from '../../../src/cli/compare/teacher.ts'
import { uninterrupted } from '../../../src/cli/interrupt.ts'
import { namedArrays } from '../../../src/cli/named.ts'
import { writeSafetensors } from '../../../src/data/safetensors.ts'
import { array } from '../../../src/dsl/array.ts'
import { key, uniformAt } from '../../../src/dsl/threefry.ts'
import { unet } from '../../../src/nn/unet.ts'
import { checkpointOf, cotangent, type Finished, metricsOf } from '../command.ts'

const root = mkdtempSync(join(tmpdir(), 'compare-'))
after(() => rmSync(root, { recursive: true }))

const study = studyOf({
  ...{ net: 'encdec', width: 2, teacherNet: 'encdec', teacherWidth: 3, size: [16, 16] },
  ...{ trainImages: 5, valImages: 3, batch: 2, steps: 4, teacherSteps: 4 },
})
const tiny = [
  ...['--backend', 'cpu', '--net', 'encdec', '--width', '2', '--teacher-width', '3', '--size', '16x16'],
  ...['--train-images', '5', '--val-images', '3', '--batch', '2', '--teacher-steps', '4'],
]
const compare = (name: string, ...more: readonly string[]): Promise<Finished> =>
  cotangent(['compare', ...tiny, '--out', root, '--name', name, ...more])

/** A teacher that was never trained, and looks as if it had been. */
const teacher = join(root, 'teacher-of-a-test.safetensors')
{
  const { params, state } = unet({ classes: 6, width: 3 }).init(key(1))
  const values = Object.entries(namedArrays({ params: { net: params }, state })).map(
    ([name, { shape, data }]) =>
      [
        name,
        array(
          shape,
          'f32',
          Array.from(data, (x, i) => Number(x) + 0.1 * uniformAt(key(2), i)),
        ),
      ] as const,
  )
  writeSafetensors(teacher, new Map(values))
}
let made = 0
const jobOf = (method: string, cache: string | null, doctor = false): Job => ({
  study,
  methods: 'ce,kd,nfd,nfd+kd',
  method,
  seed: 0,
  folder: join(root, `job-${made++}`),
  studyFolder: root,
  teacher,
  ...{ backend: 'cpu', adapter: null, threads: 1, checkpointEvery: 2, doctor },
  cache: cache === null ? null : { folder: join(root, cache), maxBytes: 1e8 },
})
const perform = async (job: Job) => ({
  entry: await performJob(job, { interrupt: uninterrupted, warn: assert.fail }),
  checkpoint: checkpointOf(job.folder, 'student'),
  metrics: metricsOf(job.folder),
})

test('runs have equal bits without a cache, with a cold one, and with one that another method filled', async () => {
  for (const method of ['nfd+kd', 'kd']) {
    const plain = await perform(jobOf(method, null))
    const cold = await perform(jobOf(method, `cold-${method}`))
    const warm = await perform(jobOf(method, `cold-${method}`))
    const shared = await perform(jobOf(method, 'cold-nfd+kd'))
    for (const other of [cold, warm, shared]) {
      assert.deepEqual(other.checkpoint, plain.checkpoint)
      assert.deepEqual(other.metrics, plain.metrics)
      assert.equal(other.entry.miou, plain.entry.miou)
    }
  }
})

test('methods of one seed begin with equal weights on equal batches: their first cross-entropies have equal bits', async () => {
  const first = async (method: string) => (await perform(jobOf(method, null))).metrics.find(m => m.step === 1)
  const [ce, kd, nfd] = [await first('ce'), await first('kd'), await first('nfd')]
  assert.equal(typeof ce?.loss, 'number')
  assert.equal(kd?.ce, ce?.loss)
  assert.equal(nfd?.ce, ce?.loss)
  assert.notEqual(kd?.loss, ce?.loss)
})

test('a finished job gives its entry again without training', async () => {
  const job = jobOf('ce', null)
  const { entry } = await perform(job)
  rmSync(join(job.folder, 'checkpoints'), { recursive: true })
  assert.deepEqual(await performJob(job, { interrupt: uninterrupted, warn: assert.fail }), entry)
})

test('a term that never counts stops the job with the doctor’s sentence', async () => {
  const job = { ...jobOf('kd@0', null, true), methods: 'kd@0' }
  await assert.rejects(
    performJob(job, { interrupt: uninterrupted, warn: assert.fail }),
    /kd@0: the doctor found what makes this run worthless\n {2}the term kd never counts: its weight is 0/,
  )
})

test('the command does what the ledger lacks, in several processes, and writes table, plot and report', async () => {
  const folder = join(root, 'study')
  const first = await compare('study', '--steps', '4', '--methods', 'nfd', '--seeds', '1')
  assert.equal(first.code, 0, first.stderr)
  assert.match(first.stdout, /^runs +0 of 2 are in .*ledger\.jsonl, 2 to do$/m)
  const before = readFileSync(join(folder, 'ledger.jsonl'), 'utf8')
  const cache = ['--teacher-cache', join(root, 'shared-cache')]
  const more = await compare(
    'study',
    '--steps',
    '4',
    '--methods',
    'nfd,kd',
    '--seeds',
    '2',
    '--jobs',
    '2',
    ...cache,
  )
  assert.equal(more.code, 0, more.stderr)
  assert.match(more.stdout, /^runs +2 of 6 are in .*, 4 to do$/m)
  assert.match(more.stdout, /^ce +2 .*the baseline$/m)
  assert.match(more.stdout, /^(nfd|kd) +2 .*no evidence of a difference$/m)
  assert(readFileSync(join(folder, 'ledger.jsonl'), 'utf8').startsWith(before))
  const entries = readLedger(join(folder, 'ledger.jsonl'))
  assert.deepEqual(entries.map(e => `${e.method} ${e.seed}`).sort(), [
    ...['ce 0', 'ce 1', 'kd:1@1 0', 'kd:1@1 1', 'nfd:HW@1 0', 'nfd:HW@1 1', 'teacher 0'],
  ])
  for (const file of ['table.md', 'plot.svg', 'report.html', 'teacher.safetensors', 'pictures/nfd.png'])
    assert(existsSync(join(folder, file)), file)
  const again = await compare('study', '--steps', '4', '--methods', 'nfd,kd', '--seeds', '2')
  assert.match(again.stdout, /^runs +6 of 6 are in .*, 0 to do$/m)
  assert.equal(readLedger(join(folder, 'ledger.jsonl')).length, 7)
  const other = await compare('study', '--methods', 'nfd', '--seeds', '1', '--teacher-steps', '5')
  assert.equal(other.code, 2)
  assert.match(
    other.stderr,
    /teacher\.safetensors was trained under other settings; give this study another --name/,
  )
})

test('Ctrl-C stops the processes with their checkpoints, and the same command goes on from them', async () => {
  const long = [
    '--steps',
    '300',
    '--checkpoint-every',
    '20',
    '--methods',
    'ce',
    '--seeds',
    '1',
    '--jobs',
    '2',
  ]
  const given = ['--teacher', teacherFile(join(root, 'study'))]
  const folder = join(root, 'stopped')
  const command = ['compare', ...tiny, '--out', root, '--name', 'stopped', ...given, ...long]
  const child = spawn(process.execPath, [bin, ...command])
  let stderr = ''
  child.stderr.on('data', text => {
    stderr += text
  })
  const checkpointed = () =>
    runsIn(folder).some(run => existsSync(join(run, 'checkpoints', 'student.safetensors')))
  const timer = setInterval(() => {
    if (checkpointed() && child.kill('SIGINT')) clearInterval(timer)
  }, 20)
  const [code] = await once(child, 'close')
  clearInterval(timer)
  assert.equal(code, 130, stderr)
  assert.match(stderr, /stopped; go on with the same command/)
  const [run] = runsIn(folder)
  assert(existsSync(join(run, 'checkpoints', 'student.safetensors')))
  const steps = metricsOf(run).length
  const resumed = await compare('stopped', ...given, ...long)
  assert.equal(resumed.code, 0, resumed.stderr)
  assert(metricsOf(run).length > steps)
  assert.match(resumed.stdout, /^ce +1 /m)
})

const bin = fileURLToPath(new URL('../../../bin/cotangent.js', import.meta.url))
const runsIn = (folder: string): readonly string[] =>
  existsSync(join(folder, 'runs'))
    ? readdirSync(join(folder, 'runs')).map(name => join(folder, 'runs', name))
    : []
