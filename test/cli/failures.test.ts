import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { encode } from 'fast-png'
import { describeFailure, exitCodeOf, Interrupted } from '../../src/cli/errors.ts'
import { encodePng } from '../../src/data/image.ts'
import { DataError, RunError, UsageError } from '../../src/dsl/errors.ts'
import { cotangent, tiny } from './command.ts'

const root = mkdtempSync(join(tmpdir(), 'failures-'))
after(() => rmSync(root, { recursive: true }))

/** CamVid's layout with one frame of 16 x 16 pixels, for both splits. */
function camvidFolder(name: string, frame: { readonly image?: Uint8Array; readonly label?: number }): string {
  const folder = join(root, name)
  mkdirSync(folder)
  for (const split of ['train', 'val']) writeFileSync(join(folder, `${split}.txt`), 'frame.png label.png\n')
  writeFileSync(join(folder, 'frame.png'), frame.image ?? encodePng(new Uint8Array(3 * 256), 16, 16))
  const data = new Uint8Array(256).fill(frame.label ?? 0)
  writeFileSync(join(folder, 'label.png'), encode({ width: 16, height: 16, data, channels: 1, depth: 8 }))
  return folder
}
const camvid = (folder: string): string[] => [
  ...[
    'distill',
    '--backend',
    'cpu',
    '--dataset',
    'camvid',
    '--data',
    folder,
    '--net',
    'encdec',
    '--size',
    '16x16',
  ],
  ...[
    '--width',
    '2',
    '--teacher-width',
    '2',
    '--steps',
    '2',
    '--teacher-steps',
    '2',
    '--batch',
    '2',
    '--out',
    root,
  ],
]

writeFileSync(join(root, 'a-file'), '')
mkdirSync(join(root, 'taken', 'checkpoints'), { recursive: true })
writeFileSync(join(root, 'taken', 'config.json'), '{"torn')

const failures: readonly (readonly [
  claim: string,
  args: readonly string[],
  code: number,
  message: RegExp,
])[] = [
  ['an unknown option', ['distill', '--stepz', '3'], 2, /unknown option '--stepz'\n.*--steps/],
  ['an unknown command', ['distil'], 2, /unknown command 'distil'/],
  ['a missing command', [], 2, /name a command/],
  ['a superfluous argument', ['distill', 'camvid'], 2, /too many arguments/],
  ['a size without width', ['distill', '--size', '64'], 2, /--size.*'64'.*HEIGHTxWIDTH/],
  ['half a step', ['distill', '--steps', '1.5'], 2, /--steps.*'1.5'.*positive integer/],
  [
    'an unknown backend',
    ['distill', '--backend', 'cuda'],
    2,
    /--backend.*'cuda'.*auto, cpu, webgpu, reference/,
  ],
  ['unknown axes', ['distill', '--axes', 'wh'], 2, /--axes.*'wh'.*HW, NHW, C, CHW, none/],
  ['steps and epochs', ['distill', '--steps', '9', '--epochs', '1'], 2, /--epochs or --steps/],
  ['camvid without a folder', ['distill', '--dataset', 'camvid'], 2, /needs --data FOLDER/],
  ['a missing data folder', camvid(join(root, 'nowhere')), 1, /no folder \S+nowhere/],
  [
    'an image that cannot be read',
    camvid(camvidFolder('noise', { image: new Uint8Array([1, 2, 3, 4]) })),
    1,
    /frame\.png: neither JPEG nor PNG \(it begins with 01 02 03 04\)/,
  ],
  [
    'a label beyond the classes',
    camvid(camvidFolder('label-12', { label: 12 })),
    1,
    /label\.png: label value 12 at row 0, column 0; the classes are 0 to 10/,
  ],
  [
    'an adapter that is not there',
    ['distill', '--backend', 'webgpu', '--adapter', 'no such adapter', '--out', root, '--name', 'gpu'],
    1,
    /webgpu: no adapter/,
  ],
  [
    'a disk that cannot be written',
    [...tiny, '--out', join(root, 'a-file')],
    1,
    /cannot make the run folder/,
  ],
  ['nothing to resume', ['distill', '--resume', '--out', join(root, 'empty')], 2, /no run of/],
  [
    'a damaged configuration',
    ['distill', '--resume', '--out', root, '--name', 'taken'],
    1,
    /taken.config\.json is not JSON/,
  ],
  [
    'images too small for the network',
    [...tiny, '--size', '2x2', '--out', root, '--name', 'small'],
    1,
    /while tracing/,
  ],
]

for (const [claim, args, code, message] of failures)
  test(`${claim} is told without a stack trace, exit code ${code}`, async () => {
    const finished = await cotangent(args)
    assert.match(finished.stderr, message)
    assert.equal(finished.code, code)
    assert.match(finished.stderr, /^error: /m)
    assert.doesNotMatch(finished.stderr, /^\s+at |defect/m)
    assert.equal(finished.stdout.includes('IoU'), false)
  })

test('--stack prints where the error was raised', async () => {
  const { code, stderr } = await cotangent(['distill', '--resume', '--out', join(root, 'empty'), '--stack'])
  assert.equal(code, 2)
  assert.match(stderr, /no run of[\s\S]*^\s+at latestRun .*run-names\.ts/m)
})

test('a run folder that is taken is not trained over', async () => {
  mkdirSync(join(root, 'done'))
  const settings = ['--out', root, '--name', 'done']
  const first = await cotangent([...tiny, ...settings, '--steps', '1', '--teacher-steps', '1'])
  assert.equal(first.code, 0, first.stderr)
  const again = await cotangent([...tiny, ...settings])
  assert.equal(again.code, 2)
  assert.match(again.stderr, /done holds a run already; go on with it by --resume/)
  const other = await cotangent(['distill', '--resume', ...settings, '--lr', '0.5'])
  assert.equal(other.code, 2)
  assert.match(other.stderr, /another configuration.*\n +lr: was 0\.01, is 0\.5/)
})

test('--version and --help go to stdout, with exit code 0', async () => {
  const [version, help] = await Promise.all([cotangent(['--version']), cotangent(['distill', '--help'])])
  assert.deepEqual([version.code, version.stderr, help.code, help.stderr], [0, '', 0, ''])
  assert.match(version.stdout, /^\d+\.\d+\.\d+\n$/)
  for (const text of ['--nfd-weight', '(default: 0.01)', 'Examples:', 'Exit codes:'])
    assert(help.stdout.replace(/\s+/g, ' ').includes(text), text)
})

test('each kind of failure has its exit code; only a defect is called one', () => {
  assert.deepEqual(
    [
      new UsageError('a'),
      new DataError('b'),
      new RunError('c'),
      new Interrupted('d'),
      new TypeError('e'),
      'f',
    ].map(exitCodeOf),
    [2, 1, 1, 130, 1, 1],
  )
  assert.equal(describeFailure(new DataError('no folder x'), false), 'error: no folder x\n')
  assert.equal(describeFailure(new Interrupted('stopped'), false), 'stopped\n')
  assert.match(
    describeFailure(new TypeError('x is undefined'), false),
    /unexpected TypeError: x is undefined\n.*--stack/,
  )
  const cause = new RangeError('inner')
  assert.match(
    describeFailure(new DataError('outer', { cause }), true),
    /outer\n\s+at [\s\S]*caused by RangeError\n\s+at /,
  )
})
