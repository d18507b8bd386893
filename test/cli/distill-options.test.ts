/** Claims on `distill`'s options for the GPU and for threads, and on the scaled loss behind `--storage f16`. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { encode } from 'fast-png'
import { compile, unwrap } from '../../src/backend/compile.ts'
import { referenceBackend } from '../../src/backend/cpu/reference-backend.ts'
import type { Schedule } from '../../src/backend/kernel.ts'
import { backendOptions } from '../../src/cli/distill.ts'
import { methodOf, networkOf, optimiserOf } from '../../src/cli/models.ts'
import { below, type Named, namedArrays } from '../../src/cli/named.ts'
import { checkGpuOptions, settingsOf } from '../../src/cli/settings.ts'
import { type Lesson, lessonOf } from '../../src/cli/train-step.ts'
import { encodePng } from '../../src/data/image.ts'
import { array, type NDArray } from '../../src/dsl/array.ts'
import { foldIn, key, uniformAt } from '../../src/dsl/threefry.ts'
import { checkpointOf, cotangent, metricsOf, tiny } from './command.ts'
import { here } from './in-process.ts'

const root = mkdtempSync(join(tmpdir(), 'distill-options-'))
after(() => rmSync(root, { recursive: true }))

/** CamVid's layout with frames of noise. */
const camvid = (() => {
  const folder = join(root, 'camvid')
  mkdirSync(folder)
  const frames = Array.from({ length: 6 }, (_, i) => i)
  const noise = (n: number, seed: number, top: number): Uint8Array =>
    Uint8Array.from({ length: n }, (_, i) => Math.floor(top * uniformAt(key(seed), i)))
  for (const i of frames) {
    writeFileSync(join(folder, `${i}.png`), encodePng(noise(3 * 20 * 24, i, 256), 20, 24))
    const data = noise(20 * 24, i + 100, 12)
    writeFileSync(join(folder, `${i}_L.png`), encode({ width: 24, height: 20, data, channels: 1, depth: 8 }))
  }
  for (const split of ['train', 'val'])
    writeFileSync(join(folder, `${split}.txt`), frames.map(i => `${i}.png ${i}_L.png\n`).join(''))
  return folder
})()
const onFrames = (steps: number): readonly string[] => [
  ...[
    'distill',
    '--backend',
    'cpu',
    '--dataset',
    'camvid',
    '--data',
    camvid,
    '--size',
    '16x16',
    '--net',
    'encdec',
  ],
  ...['--width', '2', '--teacher-width', '2', '--batch', '2', '--no-doctor', '--out', root],
  ...['--steps', String(steps), '--teacher-steps', String(steps)],
]

test('frames decoded in threads give the same numbers, and Ctrl-C ends the threads too, with a checkpoint', async () => {
  const stopped = async (workers: string) => {
    let sent = false
    const name = `w${workers}`
    const { code, stderr } = await cotangent(
      [...onFrames(20), '--workers', workers, '--name', name],
      (text, child) => {
        if (!sent && /^teacher +2\/20 /m.test(text)) sent = child.kill('SIGINT')
      },
    )
    assert.equal(code, 130, stderr)
    assert.match(stderr, /stopped in the phase [\w-]+ after step \d+ of 20; go on with/)
    return metricsOf(join(root, name)).slice(0, 2)
  }
  assert.deepEqual(await stopped('2'), await stopped('0'))
})

test('what only WebGPU has is refused on the other backends, each option by its name', async t => {
  const asked = { tune: true, storage: 'f16' } as const
  assert.throws(() => checkGpuOptions({ ...asked, backend: 'cpu' }), {
    tag: 'UsageError',
    message: /^--tune and --storage f16: the backend is cpu, and only webgpu has them/,
  })
  for (const backend of ['webgpu', 'auto'] as const) checkGpuOptions({ ...asked, backend })
  checkGpuOptions({ tune: false, storage: 'f32', backend: 'cpu' })
  const { code, stderr } = await here(t, [...tiny, '--tune', '--out', root, '--name', 'cpu'])
  assert.equal(code, 2)
  assert.match(stderr, /^error: --tune: the backend is cpu, and only webgpu has it; leave it out/)
})

test('on WebGPU, f16 trains with a scaled loss', async t => {
  const adapter = process.env.COTANGENT_TEST_ADAPTER
  const on = ['--backend', 'webgpu', ...(adapter ? ['--adapter', adapter] : [])]
  const place = ['--storage', 'f16', '--out', root, '--name', 'half']
  // The teacher's first step is enough: programs take long to compile on a software adapter.
  let sent = false
  const { code, stderr } = await cotangent([...tiny, ...on, ...place], (text, child) => {
    if (!sent && /^teacher +1\/4/m.test(text)) sent = child.kill('SIGINT')
  })
  if (/storage f16 needs the feature shader-f16/.test(stderr)) {
    t.diagnostic(`no f16 here: ${stderr}`)
    return assert.equal(code, 1)
  }
  assert.equal(code, 130, stderr)
  const [first] = metricsOf(join(root, 'half'))
  assert.deepEqual([first.phase, first.lossScale], ['teacher', 2 ** 16])
  assert.equal(checkpointOf(join(root, 'half'), 'teacher')['scaling.scale'][0], 2 ** 16)
})

test('--tune reaches the backend, and what it chose is a line each', () => {
  const schedules = new Set<string>()
  const { tune, onChoice } = backendOptions(settingsOf({ tune: true, backend: 'webgpu' }), null, schedules)
  assert.equal(tune, true)
  const schedule: Schedule = { vector: 4, tiles: [] }
  for (const kernel of ['a', 'a', 'b']) onChoice({ kernel, schedule, time: 1, untuned: 2 })
  assert.deepEqual(
    [...schedules],
    ['a', 'b'].map(k => `${k}: vector 4; 1.0 us, 2.0 us untuned`),
  )
})

const reference = referenceBackend()
const settings = settingsOf({ net: 'encdec' })
const method = (nfdWeight: number) => methodOf({ ...settings, nfdWeight }, student, teacher)
const [teacher, student] = [networkOf(settings, 3, 3), networkOf(settings, 2, 3)]
const taught = namedArrays({
  params: { net: teacher.init(key(1)).params },
  state: teacher.init(key(1)).state,
})
const numbers = (n: number): number[] => Array.from({ length: n }, (_, i) => uniformAt(key(5), i))

/** The state before and after one step of a distilled student. */
async function stepOf(lossScale?: Lesson['lossScale'], nfdWeight = 1) {
  const distillation = { teacher, method: method(nfdWeight) }
  const lesson = { net: student, optimiser: optimiserOf(), distillation }
  const { initial, step } = lessonOf({ ...lesson, ...(lossScale ? { lossScale } : {}) }, key(2))
  const before: Named<NDArray> = initial
  const input = {
    image: array([1, 3, 16, 16], 'f32', numbers(3 * 256)),
    label: array(
      [1, 16, 16],
      'i32',
      numbers(256).map(x => Math.floor(3 * x)),
    ),
    learningRate: array([], 'f32', [0.01]),
    key: array([2], 'u32', foldIn(key(3), 0)),
    last: array([], 'f32', [1]),
  }
  const run = await unwrap(compile(step, [before, input, taught], reference))
  return { before, ...(await run(before, input, taught)) }
}
const distance = (a: NDArray, b: NDArray): number =>
  Math.max(...Array.from(a.data, (x, i) => Math.abs(Number(x) - Number(b.data[i]))))

test('a step with a scaled loss is that without, and its log is of the loss itself', async () => {
  const [plain, scaled] = [await stepOf(), await stepOf('dynamic')]
  // the scale is a power of two, so only denormal gradients could differ
  for (const [name, want] of Object.entries(plain.state))
    assert.equal(distance(scaled.state[name], want), 0, name)
  assert.deepEqual(scaled.logs.loss.data, plain.logs.loss.data)
  assert.equal(scaled.state['scaling.scale'].data[0], 2 ** 16)
  assert.equal(scaled.state['scaling.finite'].data[0], 1)
})

test('a step whose gradients overflow changes nothing but the scale, which is halved', async () => {
  const { before, state } = await stepOf('dynamic', 1e36)
  const same = ([name, a]: readonly [string, NDArray]): boolean => distance(a, before[name]) === 0
  const changed = Object.entries(state).filter(entry => !same(entry))
  assert.deepEqual(
    changed.map(([name]) => name),
    ['scaling.scale'],
  )
  assert.equal(state['scaling.scale'].data[0], 2 ** 15)
  assert.ok(Object.keys(below('params.aligners', state)).length > 0)
})
