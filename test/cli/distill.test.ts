import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { checkpointOf, cotangent, type Finished, metricsOf, tiny } from './command.ts'

const out = mkdtempSync(join(tmpdir(), 'distill-'))
after(() => rmSync(out, { recursive: true }))
const phases = ['teacher', 'student', 'student-nfd']

/** A tiny run that nothing disturbs: what the others are compared with. */
const whole: Promise<Finished> = cotangent([...tiny, '--out', out, '--name', 'whole'])

test('a run gives a table of three networks beside the baseline, and a run folder', async () => {
  const { code, stdout, stderr } = await whole
  assert.equal(code, 0, stderr)
  assert.match(stdout, /^backend +cpu: /m)
  assert.match(stdout, /^data +scenes.*: 8 images to train on, 3 held out, 16 x 16, 6 classes$/m)
  assert.match(stdout, /^teacher +unet\(width 3.*: \d+ parameters, 4 steps of 2$/m)
  assert.match(stdout, /^IoU in % +most frequent class +Teacher +Student alone +Student \+ NFD$/m)
  assert.match(stdout, /^mean \(mIoU\)( +\d+(\.\d)?){4}$/m)
  assert.match(stdout, /^Student \+ NFD +[\d.]+ ms a step, \d+ images\/s$/m)
  assert.match(stdout, /^memory +at most \d+ MiB on the device, \d+ MiB in the process$/m)
  for (const phase of phases)
    assert.match(stderr, new RegExp(`^${phase} +4/4 \\(100 %\\) +loss [\\d.]+`, 'm'))
  const folder = join(out, 'whole')
  const report = readFileSync(join(folder, 'report.html'), 'utf8')
  for (const name of ['Teacher', 'Student alone', 'Student + NFD', 'checked ring'])
    assert(report.includes(name))
  assert.equal(JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')).teacherSteps, 4)
  for (const phase of phases) assert('params.net.classifier.weight' in checkpointOf(folder, phase))
  assert(!existsSync(join(folder, 'lock')))
})

test('both students begin with equal weights on equal batches: their first cross-entropies have equal bits', async () => {
  await whole
  const first = (phase: string, name: string) =>
    metricsOf(join(out, 'whole')).find(m => m.phase === phase && m.step === 1)?.[name]
  assert.equal(typeof first('student', 'loss'), 'number')
  assert.equal(first('student-nfd', 'ce'), first('student', 'loss'))
  assert.notEqual(first('student-nfd', 'loss'), first('student', 'loss'))
})

test('the distilled student trains its aligners, and the loss is cross-entropy and weighted NFD', async () => {
  await whole
  const metrics = metricsOf(join(out, 'whole')).filter(m => m.phase === 'student-nfd' && 'nfd' in m)
  assert.equal(metrics.length, 4)
  for (const { loss, ce, nfd } of metrics)
    assert(Math.abs(Number(loss) - Number(ce) - Number(nfd)) < 1e-5 * Number(loss), 'f32 rounding')
  const moments = checkpointOf(join(out, 'whole'), 'student-nfd')
  const aligner = Object.keys(moments).filter(
    name => name.startsWith('optimiser.') && name.includes('.aligners.'),
  )
  assert(aligner.length > 0)
  for (const name of aligner)
    assert(
      moments[name].some(x => x !== 0),
      name,
    )
})

test('Ctrl-C saves a checkpoint and exits with 130; --resume then ends with the bits of an undisturbed run', async () => {
  await whole
  const place = ['--out', out, '--name', 'stopped']
  let sent = false
  const stopped = await cotangent([...tiny, ...place], (stderr, child) => {
    if (!sent && /^student {2}2\/4/m.test(stderr)) sent = child.kill('SIGINT')
  })
  assert.equal(stopped.code, 130, stopped.stderr)
  assert.match(stopped.stderr, /press Ctrl-C again to stop at once/)
  assert.match(
    stopped.stderr,
    /stopped in the phase student(-nfd)? after step \d of 4; go on with\n +cotangent distill --resume --out \S+ --name stopped\n$/,
  )
  const folder = join(out, 'stopped')
  assert(existsSync(join(folder, 'checkpoints', 'student.safetensors')))
  assert(!existsSync(join(folder, 'report.html')))
  // The settings come from the run folder: none is typed again.
  const resumed = await cotangent(['distill', '--resume', ...place])
  assert.equal(resumed.code, 0, resumed.stderr)
  assert.match(resumed.stdout, /^run .*\(resumed\)$/m)
  assert.deepEqual(metricsOf(folder), metricsOf(join(out, 'whole')))
  for (const phase of phases)
    assert.deepEqual(checkpointOf(folder, phase), checkpointOf(join(out, 'whole'), phase))
  const table = (text: string) =>
    text.split('\n').filter(line => /^(mean|background|checked|striped)/.test(line))
  assert.deepEqual(table(resumed.stdout), table((await whole).stdout))
})

test('a loss that is not finite stops the run with the phase and the step', async () => {
  const { code, stderr } = await cotangent([
    ...tiny,
    '--lr',
    '1e9',
    '--steps',
    '9',
    '--teacher-steps',
    '9',
    '--out',
    out,
    '--name',
    'nan',
  ])
  assert.equal(code, 1)
  assert.match(stderr, /error: teacher: the loss is (NaN|-?Infinity) at step \d of 9 .*Lower --lr/)
  assert.doesNotMatch(stderr, /^\s+at /m)
})
