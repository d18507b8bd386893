/** Claims on `cotangent train`: the run folder, equal numbers after a kill, what is refused. Settings are tiny. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { encode } from 'fast-png'
import { openRun } from '../../src/cli/run-folder.ts'
import { encodePng } from '../../src/data/image.ts'
import { readSafetensors, writeSafetensors } from '../../src/data/safetensors.ts'
import { array } from '../../src/dsl/array.ts'
import { checkpointOf, cotangent, metricsOf } from './command.ts'
import { shownIn } from './event-reader.ts'
import { here, tinyTrain } from './in-process.ts'

const out = mkdtempSync(join(tmpdir(), 'train-'))
after(() => rmSync(out, { recursive: true }))
const place = (name: string): string[] => ['--out', out, '--name', name]
const set = (...texts: string[]): string[] => texts.flatMap(text => ['--set', text])

/** Everything that carries state from step to step: averages, sums, moments, running statistics, dropout's keys. */
const rich = [
  'train',
  ...tinyTrain,
  ...set(
    'train.ema={"decay":0.5}',
    'train.accumulate=2',
    'network={"name":"pspnet_resnet18","width":0.04,"auxiliary":true}',
    'schedule={"kind":"cosine","warmUp":{"iterations":2}}',
    'augment={"scale":[0.5,2],"photometric":true,"rotate":10}',
    'loss={"classWeights":[1,2,2,2,2,2],"ohem":{"minKept":64}}',
    'optimiser={"kind":"sgd","clip":10}',
  ),
]

test('a killed run goes on and ends with the bits of one that was never disturbed', async t => {
  const whole = await here(t, [...rich, ...place('whole')])
  assert.equal(whole.code, 0, whole.stderr)
  let sent = false
  const killed = await cotangent([...rich, ...place('killed')], (stderr, child) => {
    if (!sent && /^train {2}3\/4/m.test(stderr)) sent = child.kill('SIGKILL')
  })
  assert.equal(killed.code, null, 'killed')
  const [folder, other] = [join(out, 'whole'), join(out, 'killed')]
  assert(existsSync(join(other, 'lock')))
  const resumed = await here(t, ['train', '--resume', ...place('killed')])
  assert.equal(resumed.code, 0, resumed.stderr)
  assert.match(resumed.stdout, /^run .*\(resumed\)$/m)
  assert.deepEqual(metricsOf(other), metricsOf(folder))
  for (const name of ['last', 'best'])
    assert.deepEqual(checkpointOf(other, name), checkpointOf(folder, name), name)
  assert(
    'ema.params.backbone.conv1.weight' in checkpointOf(folder, 'last') ||
      Object.keys(checkpointOf(folder, 'last')).some(k => k.startsWith('ema.params.')),
  )
  assert.equal(
    readdirSync(other).filter(f => f.includes('tfevents')).length,
    2,
    'each session has its event file',
  )
  // What is kept of measurements at the checkpoint is kept in TensorBoard too, and nothing is there twice.
  for (const [tag, name] of [
    ['train/loss', 'loss'],
    ['val/miou', 'miou'],
  ] as const) {
    const logged = metricsOf(other).flatMap(m => {
      const value = m[name]
      return typeof value === 'number' ? [[m.step, Math.fround(value)]] : []
    })
    assert.deepEqual(shownIn(other)[tag], logged, tag)
    assert.deepEqual(shownIn(folder)[tag], logged, tag)
  }
  const table = (text: string) => /^in %[\s\S]*pixel accuracy.*$/m.exec(text)?.[0]
  assert.equal(table(resumed.stdout), table(whole.stdout))
})

test('a run leaves a table, a report, measurements, events, its configuration, and weights under torchvision’s names', async t => {
  const { code, stdout, stderr } = await here(t, [
    'train',
    ...tinyTrain,
    ...set('evaluation.boundary=true'),
    ...place('plain'),
    '--profile',
  ])
  assert.equal(code, 0, stderr)
  assert.match(stdout, /^network +lraspp\(.*: \d+ parameters, 4 iterations of 2$/m)
  assert.match(stdout, /^in % +IoU +accuracy +boundary IoU$/m)
  assert.match(stdout, /^speed +[\d.]+ m?s an iteration, [\d.]+ images\/s$/m)
  assert.match(stderr, /^train +4\/4 \(100 %\) +loss [\d.]+ +[\d.e+]+ images\/s +\d+ MiB +\d+ s left$/m)
  const folder = join(out, 'plain')
  const report = readFileSync(join(folder, 'report.html'), 'utf8')
  for (const text of [
    'Confusion',
    'checked ring',
    'Worst images',
    'optimiser.lr',
    'contract',
    'Learning rate',
  ])
    assert(report.includes(text), text)
  assert.doesNotMatch(report, /(src|href)="(?!data:)/, 'nothing is loaded')
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'))
  assert.deepEqual([config.backend, config.train.iterations, config.loss.auxiliaryWeight], ['cpu', 4, 0.4])
  const metrics = metricsOf(folder)
  assert.deepEqual(
    metrics.filter(m => 'loss' in m).map(m => m.step),
    [1, 2, 3, 4],
  )
  assert.deepEqual(
    metrics.filter(m => 'miou' in m).map(m => [m.step, typeof m.boundaryMiou]),
    [
      [2, 'number'],
      [4, 'number'],
    ],
  )
  const best = readSafetensors(join(folder, 'checkpoints', 'best.safetensors'))
  assert(best.tensors.has('backbone.0.1.running_mean'), [...best.tensors.keys()].slice(0, 5).join())
  assert(!existsSync(join(folder, 'lock')))
  assert(existsSync(join(folder, 'trace.json')))
})

test('the best weights are kept when later ones are worse, and the report is of them', async t => {
  const args = [
    'train',
    ...tinyTrain,
    ...set('train.iterations=6', 'evaluation.every=1', 'optimiser.lr=0.03'),
    ...place('best'),
  ]
  const { code, stderr } = await here(t, args)
  assert.equal(code, 0, stderr)
  const scored = metricsOf(join(out, 'best')).flatMap(m =>
    typeof m.miou === 'number' ? [[m.miou, m.step] as const] : [],
  )
  const [most] = scored.toSorted((a, b) => b[0] - a[0] || a[1] - b[1])
  const { metadata } = readSafetensors(join(out, 'best', 'checkpoints', 'best.safetensors'))
  assert.deepEqual([Number(metadata.get('miou')), Number(metadata.get('step'))], most)
})

// Kills the process inside the write of a checkpoint: at a write, before the sync, before the rename.
const dying = (folder: string, at: 'writeSync' | 'fsyncSync' | 'renameSync', calls: number): string => `
  import fs from 'node:fs'
  import { syncBuiltinESMExports } from 'node:module'
  import { openRun } from '${fileURLToPath(new URL('../../src/cli/run-folder.ts', import.meta.url))}'
  const run = openRun(${JSON.stringify(folder)}, {})
  const state = x => new Map(['a', 'b', 'c'].map(k => [k, { shape: [1000], dtype: 'f32', data: new Float32Array(1000).fill(x) }]))
  run.save('last', state(1), { step: '1' })
  let left = ${calls}
  const real = fs.${at}
  fs.${at} = (...args) => {
    if (left-- > 0) return real(...args)
    if ('${at}' === 'writeSync') real(args[0], args[1], args[2], Math.floor(args[3] / 2), args[4])
    process.kill(process.pid, 'SIGKILL')
  }
  syncBuiltinESMExports()
  run.save('last', state(2), { step: '2' })
`
for (const [at, calls] of [
  ['writeSync', 0],
  ['writeSync', 2],
  ['fsyncSync', 0],
  ['renameSync', 0],
] as const)
  test(`kill -9 in a checkpoint (${at} ${calls + 1}) leaves the one before readable, and the folder usable`, () => {
    const folder = join(out, `dying-${at}-${calls}`)
    const args = ['--import', 'tsx', '--input-type=module', '-e', dying(folder, at, calls)]
    const { signal, stderr } = spawnSync(process.execPath, args)
    assert.equal(signal, 'SIGKILL', String(stderr))
    const torn = readdirSync(join(folder, 'checkpoints')).filter(f => f.endsWith('.tmp'))
    assert.equal(torn.length, 1, 'it was writing')
    const run = openRun(folder, {})
    const file = run.load('last')
    assert.equal(file?.metadata.get('step'), '1')
    assert.deepEqual(Array.from(file?.tensors.get('c')?.data ?? []), Array(1000).fill(1))
    assert.deepEqual(readdirSync(join(folder, 'checkpoints')), ['last.safetensors'])
    run.close()
  })

test('a disk that is full in a checkpoint: a clear error, the one before is intact, and the run goes on when there is room', async t => {
  const args = ['train', ...tinyTrain, ...place('full-disk')]
  // Stands for a full disk, which a test cannot make: no file may grow beyond its size (EFBIG).
  const bin = fileURLToPath(new URL('../../bin/cotangent.js', import.meta.url))
  const size = (text: string) =>
    spawnSync('bash', ['-c', `ulimit -f ${text}; exec "$0" "$@"`, process.execPath, bin, ...args])
  const failed = size('8')
  assert.equal(failed.status, 1, String(failed.stderr))
  assert.match(
    String(failed.stderr),
    /^error: cannot write .*(last|best)\.safetensors: EFBIG.*\nThe disk is full\. What was saved before is intact: make room, then go on with\n +cotangent train --resume --out \S+ --name full-disk$/m,
  )
  const resumed = await here(t, ['train', '--resume', ...place('full-disk')])
  assert.equal(resumed.code, 0, resumed.stderr)
})

test('a run in a folder that is in use, or holds a run, is refused', async t => {
  const folder = join(out, 'taken')
  const run = openRun(folder, {})
  const second = await here(t, ['train', ...tinyTrain, ...place('taken')])
  assert.equal(second.code, 2)
  assert.match(second.stderr, /taken holds a run already; go on with it by --resume/)
  rmSync(join(folder, 'config.json'))
  const locked = await here(t, ['train', ...tinyTrain, ...place('taken')])
  assert.equal(locked.code, 2)
  assert.match(locked.stderr, new RegExp(`taken is in use by process ${process.pid}`))
  run.close()
})

test('a resumed run keeps its configuration: what differs is listed', async t => {
  await here(t, ['train', ...tinyTrain, ...set('train.iterations=1'), ...place('fixed')])
  const { code, stderr } = await here(t, ['train', '--resume', ...place('fixed'), ...set('optimiser.lr=0.5')])
  assert.equal(code, 2)
  assert.match(stderr, /another configuration.*\n +optimiser\.lr: was 0\.01, is 0\.5/)
})

/** A data set of two pairs of 16 x 16 pixels. */
function folderOf(
  name: string,
  { image = encodePng(new Uint8Array(768), 16, 16), label = 1 }: { image?: Uint8Array; label?: number } = {},
): string[] {
  const folder = join(out, name)
  mkdirSync(folder)
  writeFileSync(join(folder, 'list.txt'), 'a.png a_L.png\n')
  writeFileSync(join(folder, 'a.png'), image)
  const data = new Uint8Array(256).fill(label)
  writeFileSync(join(folder, 'a_L.png'), encode({ width: 16, height: 16, data, channels: 1, depth: 8 }))
  const about = {
    kind: 'list',
    folder,
    size: [16, 16],
    train: 'list.txt',
    val: 'list.txt',
    classes: ['a', 'b'],
  }
  return ['train', ...tinyTrain, ...set(`data=${JSON.stringify(about)}`, 'loader.workers=0')]
}

/** The first bytes of a PNG of 20,000 x 20,000 pixels. */
const vast = (() => {
  const png = encodePng(new Uint8Array(3), 1, 1)
  const view = new DataView(png.buffer, png.byteOffset)
  view.setUint32(16, 20_000)
  view.setUint32(20, 20_000)
  return png
})()

writeFileSync(join(out, 'torn.safetensors'), new Uint8Array(20))
writeSafetensors(join(out, 'other.safetensors'), new Map([['fc.weight', array([2], 'f32', [1, 2])]]))
writeFileSync(
  join(out, 'ten.json'),
  JSON.stringify({
    seed: -1,
    backend: 1,
    train: 2,
    loss: 3,
    data: 4,
    network: 5,
    optimiser: 6,
    schedule: 7,
    augment: 8,
    log: 9,
  }),
)
writeFileSync(join(out, 'a-file'), '')
const train = (...texts: string[]): string[] => ['train', ...tinyTrain, ...set(...texts)]

const failures: readonly (readonly [
  claim: string,
  args: readonly string[],
  code: number,
  message: RegExp,
])[] = [
  [
    'a configuration with ten mistakes',
    ['train', join(out, 'ten.json')],
    2,
    /ten\.json has 10 mistakes:(\n {2}[\w.]+: is .*){10}/,
  ],
  ['an unknown option', ['train', '--sett', 'a=b'], 2, /unknown option '--sett'/],
  ['a superfluous argument', ['train', 'a.ts', 'b.ts'], 2, /too many arguments/],
  ['a setting without a value', ['train', '--set', 'seed'], 2, /--set seed: write PATH=VALUE/],
  [
    'a backend without f16',
    train('precision=f16'),
    2,
    /precision: 'f16' needs WebGPU; allowed with backend 'cpu': 'f32'/,
  ],
  [
    'class weights that are too few',
    train('loss.classWeights=[1,2]'),
    2,
    /classWeights: has 2 weights; scenes.* has 6 classes: background/,
  ],
  [
    'a missing data folder',
    train('data={"kind":"camvid","folder":"no/where"}', 'augment.crop=[16,16]'),
    1,
    /camvid train: no folder \S+where/,
  ],
  [
    'images of many sizes without a crop',
    train('data={"kind":"camvid","folder":"x"}'),
    2,
    /augment\.crop: is null, and so is data\.size/,
  ],
  [
    'an unknown split',
    train('data={"kind":"camvid","folder":".","trainSplit":"trian"}', 'augment.crop=[16,16]'),
    2,
    /no split "trian"; there are train, val, test/,
  ],
  [
    'more images than there are',
    folderOf('few').concat(set('data.trainImages=9')),
    2,
    /data\.trainImages: is 9; list\.txt has 1/,
  ],
  ['an empty image file', folderOf('empty', { image: new Uint8Array() }), 1, /a\.png.*empty/],
  ['an image of 20,000 x 20,000', folderOf('vast', { image: vast }), 1, /a\.png: 20000 x 20000 pixels/],
  ['a label out of range', folderOf('label', { label: 7 }), 1, /a_L\.png: label value 7 at row 0, column 0/],
  [
    'weights that are torn',
    train(`pretrained={"file":"${join(out, 'torn.safetensors')}"}`),
    1,
    /torn\.safetensors/,
  ],
  [
    'weights of another network',
    train(`pretrained={"file":"${join(out, 'other.safetensors')}"}`),
    1,
    /other\.safetensors: \d+ entries do not fit[\s\S]*missing +backbone[\s\S]*unexpected +fc\.weight/,
  ],
  ['weights that are not there', train('pretrained={"file":"none.pth"}'), 1, /none\.pth/],
  [
    'a backbone where there is none',
    train(
      `network={"name":"unet","width":0.05}`,
      `pretrained={"file":"${join(out, 'other.safetensors')}","into":"backbone"}`,
    ),
    2,
    /unet.* has no backbone of its own; allowed: 'network'/,
  ],
  [
    'a folder that cannot be made',
    [...train(), '--out', join(out, 'a-file')],
    1,
    /cannot make the run folder/,
  ],
  [
    'a loss that is not finite',
    train('optimiser={"kind":"sgd","lr":1e30}', 'train.checkpointEvery=9'),
    1,
    /train: the loss is (NaN|-?Infinity) at step \d of 4 .*Lower --set optimiser\.lr=/,
  ],
  ['nothing to resume', ['train', '--resume', '--out', join(out, 'none')], 2, /no run of/],
  ['a file to resume with', ['train', 'a.ts', '--resume'], 2, /leave the file out/],
  [
    'an adapter that is not there',
    train('backend=webgpu', 'adapter=no such adapter'),
    1,
    /webgpu: no adapter/,
  ],
]
for (const [i, [claim, args, code, message]] of failures.entries())
  test(`${claim} is told in words, exit code ${code}`, async t => {
    const named = args.includes('--out') || args[0] !== 'train' ? args : [...args, ...place(`failure-${i}`)]
    const finished = await here(t, named)
    assert.match(finished.stderr, message)
    assert.equal(finished.code, code, finished.stderr)
    assert.match(finished.stderr, /^error: /m)
    assert.doesNotMatch(finished.stderr, /^\s+at |defect/m)
  })
