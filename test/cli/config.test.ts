/** Claims on configurations: defaults, every mistake at once, overrides, files. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { configSchema, defineConfig, parseConfig } from '../../src/cli/config.ts'
import { describeOptions } from '../../src/cli/config-errors.ts'
import { readConfig, readRunConfig } from '../../src/cli/config-file.ts'
import { cotangent } from './command.ts'
import { here } from './in-process.ts'

const root = mkdtempSync(join(tmpdir(), 'config-'))
after(() => rmSync(root, { recursive: true }))
const fileOf = (name: string, text: string): string => {
  const path = join(root, name)
  writeFileSync(path, text)
  return path
}
const messageOf = (run: () => unknown): string => {
  try {
    run()
  } catch (error) {
    if (error instanceof Error) return error.message
  }
  return assert.fail('nothing was thrown')
}

test('the empty configuration is complete: synthetic scenes, a small network, equal to itself when read again', () => {
  const config = parseConfig({})
  assert.equal(config.data.kind, 'synthetic')
  assert.equal(config.loss.auxiliaryWeight, 0.4)
  assert.equal(config.train.batch, 8)
  assert.deepEqual(parseConfig(JSON.parse(JSON.stringify(config))), config)
})

test('ten mistakes are told at once, each with its path, what stands there and what is allowed', () => {
  const message = messageOf(() =>
    parseConfig(
      {
        sede: 1,
        backend: 'cuda',
        data: { kind: 'camvid', sise: [1, 2], trainImages: 0 },
        network: { name: 'unett', width: -1 },
        optimiser: { kind: 'sgdd' },
        train: { iterations: 1.5 },
        loss: { ohem: { threshold: 7 }, classWeights: [1, 'a'] },
        augment: { scale: [2, 1], crop: [3] },
        schedule: { kind: 'poly', warmUp: { iterations: 1000 } },
        evaluation: { slide: { window: [8, 8], stride: [9, 8] }, scales: [] },
      },
      'a.config.ts',
    ),
  )
  const lines = message.split('\n')
  assert.equal(lines[0], `a.config.ts has ${lines.length - 1} mistakes:`)
  for (const line of [
    /^ {2}sede: unknown, did you mean seed\?; allowed: seed, backend, /,
    /^ {2}backend: is 'cuda'; allowed: 'auto', 'cpu', 'webgpu', 'reference'$/,
    /^ {2}data\.folder: is missing; allowed: a text that is not empty$/,
    /^ {2}data\.sise: unknown, did you mean size\?; allowed: kind, folder, size, /,
    /^ {2}data\.trainImages: is 0; allowed: integer ≥ 1 or null$/,
    /^ {2}network\.name: is 'unett'; allowed: .*'unet'/,
    /^ {2}network\.width: is -1; allowed: number > 0$/,
    /^ {2}optimiser\.kind: is 'sgdd'; allowed: 'sgd' or 'adamw'$/,
    /^ {2}train\.iterations: is 1\.5; allowed: integer ≥ 1$/,
    /^ {2}loss\.ohem\.threshold: is 7; allowed: number ≥ 0, ≤ 1$/,
    /^ {2}loss\.classWeights\.1: is 'a'; allowed: number ≥ 0$/,
    /^ {2}augment\.crop: is \[3\]; allowed: \[integer ≥ 1, integer ≥ 1\] or null$/,
    /^ {2}augment\.scale: is \[2, 1\]; allowed: \[low, high\] with low <= high$/,
    /^ {2}evaluation\.scales: is \[\]; allowed: a list of 1 or more, each number > 0$/,
    /^ {2}evaluation\.slide\.stride\.0: is 9; allowed: at most the window, 8$/,
  ])
    assert(
      lines.some(text => line.test(text)),
      `${line} in\n${message}`,
    )
})

test('what contradicts another key is told with its path', () => {
  const cases: readonly (readonly [unknown, RegExp])[] = [
    [
      { precision: 'f16', backend: 'cpu' },
      /precision: 'f16' needs WebGPU; allowed with backend 'cpu': 'f32'/,
    ],
    [
      { subgroupMatrices: true, backend: 'cpu' },
      /subgroupMatrices: needs WebGPU; leave it out with backend 'cpu'/,
    ],
    [
      { schedule: { warmUp: { iterations: 9 } }, train: { iterations: 8 } },
      /warmUp\.iterations: is 9; allowed: at most train\.iterations, 8/,
    ],
    [{ optimiser: { kind: 'sgd', nesterov: true, momentum: 0 } }, /optimiser\.nesterov/],
    [
      { data: { kind: 'list', folder: 'x', classes: ['a', 'b'], palette: [[0, 0, 0]] } },
      /data\.palette: has 1 colours; allowed: one for each of 2 classes/,
    ],
  ]
  for (const [input, message] of cases)
    assert.match(
      messageOf(() => parseConfig(input)),
      message,
    )
})

test('whatever the input is, it is a configuration or a UsageError', () => {
  const keys = fc.constantFrom(
    'data',
    'network',
    'optimiser',
    'train',
    'loss',
    'augment',
    'schedule',
    'evaluation',
    'seed',
  )
  fc.assert(
    fc.property(fc.oneof(fc.anything(), fc.dictionary(keys, fc.anything())), input => {
      try {
        parseConfig(input)
      } catch (error) {
        assert(error instanceof Error && error.name === 'UsageError', String(error))
      }
    }),
    { numRuns: 300 },
  )
})

test('a section that names no kind is of the standard kind, and keeps what it says', () => {
  const config = parseConfig({ optimiser: { lr: 0.5 }, network: { auxiliary: true } })
  assert.deepEqual([config.optimiser.kind, config.optimiser.lr], ['adamw', 0.5])
  assert.deepEqual([config.network.name, config.network.auxiliary], ['pspnet_resnet18', true])
})

test('overrides are JSON or else text, at any depth, and win over the file', async () => {
  const file = fileOf('a.json', JSON.stringify({ train: { batch: 2 }, optimiser: { kind: 'sgd', lr: 1 } }))
  const config = await readConfig(file, [
    'optimiser.lr=0.01',
    'train.ema={"decay":0.9}',
    'augment.scale=[0.5,2]',
    'augment.scale.0=0.75',
    'network.name=pspnet_resnet18',
  ])
  assert.equal(config.optimiser.lr, 0.01)
  assert.equal(config.train.batch, 2)
  assert.deepEqual(config.train.ema, { decay: 0.9 })
  assert.deepEqual(config.augment.scale, [0.75, 2])
  assert.equal(config.network.name, 'pspnet_resnet18')
  for (const text of ['lr', '=3', 'a..b=1', 'a b=1'])
    await assert.rejects(readConfig(undefined, [text]), { tag: 'UsageError', message: /write PATH=VALUE/ })
})

test('TypeScript files are read, with their types checked by defineConfig', async () => {
  const source = fileURLToPath(new URL('../../src/cli/config.ts', import.meta.url))
  const file = fileOf(
    'b.config.ts',
    `import { defineConfig } from '${source}'\nconst lr: number = 0.25\nexport default defineConfig({ optimiser: { kind: 'sgd', lr } })\n`,
  )
  assert.equal((await readConfig(file)).optimiser.lr, 0.25)
  assert.deepEqual(defineConfig({ seed: 3 }), { seed: 3 })
})

test('a file is read the same as the command finds it, whatever its package says of modules', async () => {
  for (const type of ['module', 'commonjs']) {
    const folder = join(root, type)
    mkdirSync(folder)
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ type }))
    writeFileSync(join(folder, 'c.ts'), 'const seed: number = 4\nexport default { seed }\n')
    const { code, stdout, stderr } = await cotangent(['train', join(folder, 'c.ts'), '--print'])
    assert.equal(code, 0, stderr)
    assert.equal(JSON.parse(stdout).seed, 4)
  }
})

test('a file that is missing, broken or exports nothing is named', async () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    [join(root, 'none.json'), /there is no configuration file .*none\.json/],
    [fileOf('broken.json', '{"seed": '), /broken\.json is not JSON/],
    [fileOf('broken.ts', 'export default {'), /broken\.ts cannot be loaded/],
    [fileOf('throws.ts', 'throw new Error("no data here")'), /throws\.ts cannot be loaded: no data here/],
    [fileOf('empty.ts', 'export const a = 1'), /empty\.ts has no default export/],
    [fileOf('a.yaml', 'seed: 1'), /a\.yaml: a configuration is a \.ts, \.js, \.mjs or \.json file/],
    [
      fileOf('wrong.json', '[1]'),
      /wrong\.json has a mistake:\n {2}the whole: is \[1\]; allowed: an object of seed/,
    ],
  ]
  for (const [file, message] of cases) await assert.rejects(readConfig(file), message)
})

test('a damaged config.json of a run is an error of data, not of the call', () => {
  writeFileSync(join(root, 'config.json'), '{"seed": -1}')
  assert.throws(() => readRunConfig(root), { tag: 'DataError', message: /seed: is -1/ })
  assert.throws(() => readRunConfig(join(root, 'nowhere')), { tag: 'DataError', message: /holds no run/ })
})

test('--help names every key with its default; --print gives the complete configuration', async t => {
  const help = await here(t, ['train', '--help'])
  assert.equal(help.code, 0)
  const text = describeOptions(configSchema)
  assert(help.stdout.includes(text))
  const paths = (value: unknown, path: string): string[] =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.entries(value).flatMap(([k, v]) => paths(v, path === '' ? k : `${path}.${k}`))
      : [path]
  for (const path of paths(parseConfig({}), '')) assert(text.includes(`  ${path} `), path)
  const printed = await here(t, ['train', '--print', '--set', 'seed=7'])
  assert.deepEqual(JSON.parse(printed.stdout), parseConfig({ seed: 7 }))
})
