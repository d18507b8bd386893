/** Claims on `cotangent eval` and on how images are looked at. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { referenceBackend } from '../../src/backend/cpu/reference-backend.ts'
import { type ConfigInput, parseConfig } from '../../src/cli/config.ts'
import { uninterrupted } from '../../src/cli/interrupt.ts'
import type { Network } from '../../src/cli/models.ts'
import { namedArrays } from '../../src/cli/named.ts'
import { evaluateOn } from '../../src/cli/segment/evaluate.ts'
import { predictor } from '../../src/cli/segment/infer.ts'
import type { Dataset, Sample } from '../../src/data/sample.ts'
import { normalised } from '../../src/data/transforms/normalise.ts'
import type { Tensor } from '../../src/dsl/tensor.ts'
import { key, uniformAt } from '../../src/dsl/threefry.ts'
import { compose } from '../../src/nn/compose.ts'
import { featureMap } from '../../src/nn/feature.ts'
import { conv } from '../../src/nn/layers.ts'
import { metricsOf } from './command.ts'
import { here, tinyTrain } from './in-process.ts'

const out = mkdtempSync(join(tmpdir(), 'eval-'))
after(() => rmSync(out, { recursive: true }))
const run = join(out, 'run')
const set = (...texts: string[]): string[] => texts.flatMap(text => ['--set', text])
const classes = 3

/** A network of one convolution, so that what it gives can be computed by hand. */
const net: Network = (() => {
  const module = compose({ head: conv(3, classes, { kernel: 1, bias: true }) }, (call, x: Tensor) => ({
    logits: call.head(featureMap('one', x)),
    taps: {},
  }))
  // A network only ever sees the trees that it made itself.
  return { ...module, name: 'one', tapChannels: {}, classes } as unknown as Network
})()
const variables = net.init(key(3))
const weights = namedArrays({ params: variables.params, state: variables.state })

/** A sample of noise, which `classOf` labels. */
function sampleOf(i: number, [height, width]: readonly [number, number]): Sample {
  const n = height * width
  const image = Float32Array.from({ length: 3 * n }, (_, p) => uniformAt(key(i), p))
  const label = Uint8Array.from({ length: n }, (_, p) => {
    const u = uniformAt(key(100 + i), p)
    return u < 0.1 ? 255 : Math.floor(classes * u)
  })
  return { name: `sample ${i}`, height, width, image, label }
}
const datasetOf = (samples: readonly Sample[]): Dataset => ({
  name: 'noise',
  classes: ['a', 'b', 'c'],
  palette: [
    [255, 0, 0],
    [0, 255, 0],
    [0, 0, 255],
  ],
  size: samples.length,
  get: async i => samples[i],
})
const lookOf = (evaluation: ConfigInput['evaluation']) =>
  predictor(net, variables, parseConfig({ evaluation }).evaluation, referenceBackend())

/** The class of each pixel, by hand. */
function byHand({ image, height, width }: Sample): number[] {
  const x = normalised(image)
  const [w, b] = [weights['params.head.weight'].data, weights['params.head.bias'].data]
  const n = height * width
  return Array.from({ length: n }, (_, p) => {
    const logits = Array.from(
      { length: classes },
      (_, c) => b[c] + [0, 1, 2].reduce((a, k) => a + w[3 * c + k] * x[k * n + p], 0),
    )
    return logits.indexOf(Math.max(...logits))
  })
}
const sizes = [
  [4, 5],
  [4, 5],
  [4, 5],
  [6, 3],
  [4, 5],
] as const
const samples = sizes.map((size, i) => sampleOf(i, size))
const options = {
  batch: 2,
  workers: 0,
  boundary: true,
  meanOver: 'labelled',
  keep: 2,
  interrupt: uninterrupted,
} as const

for (const [name, evaluation] of Object.entries({
  'whole images in batches': { batch: 2 },
  'sliding windows': { slide: { window: [3, 2], stride: [2, 1] } },
  'the mirror image too': { flip: true },
  'windows, mirrored': { batch: 3, flip: true, slide: { window: [4, 4], stride: [3, 3] } },
} satisfies Record<string, ConfigInput['evaluation']>))
  test(`a 1 x 1 network sees the same by ${name}, and every pixel is counted once`, async () => {
    const result = await evaluateOn(lookOf(evaluation), weights, datasetOf(samples), options)
    const want = new Float64Array(classes * classes)
    for (const s of samples)
      for (const [p, c] of byHand(s).entries()) if (s.label[p] !== 255) want[s.label[p] * classes + c]++
    assert.deepEqual(result?.matrix, want)
    assert.deepEqual(
      result?.predictions.map(p => [...p]),
      samples.slice(0, 2).map(byHand),
    )
    const total = want.reduce((a, b) => a + b, 0)
    const right = [0, 1, 2].reduce((a, c) => a + want[c * classes + c], 0)
    assert.equal(result?.scores.pixelAccuracy, right / total)
  })

test('the best and the worst images are those by their own mIoU, and no image is both', async () => {
  const result = await evaluateOn(lookOf({}), weights, datasetOf(samples), options)
  const own = samples.map(s => {
    const map = byHand(s)
    const ious = [0, 1, 2].flatMap(c => {
      const at = (label: boolean, got: boolean) =>
        map.filter((m, p) => s.label[p] !== 255 && (s.label[p] === c) === label && (m === c) === got).length
      const labelled = at(true, true) + at(true, false)
      return labelled === 0 ? [] : [at(true, true) / (labelled + at(false, true))]
    })
    return ious.reduce((a, b) => a + b, 0) / ious.length
  })
  const order = own
    .map((miou, index) => ({ miou, index }))
    .toSorted((a, b) => b.miou - a.miou || a.index - b.index)
  assert.deepEqual(
    result?.best.map(b => b.index),
    order.slice(0, 2).map(o => o.index),
  )
  for (const { index, miou } of [...(result?.best ?? []), ...(result?.worst ?? [])])
    assert(Math.abs(miou - own[index]) < 1e-12)
  assert.equal(result?.worst[0].miou, Math.min(...own))
  assert.equal(new Set([...(result?.best ?? []), ...(result?.worst ?? [])].map(x => x.index)).size, 4)
})

test('probabilities of several scales are averaged: doubling a constant image changes nothing', async () => {
  const flat = { ...samples[0], image: new Float32Array(60).fill(0.4) }
  const [one, three] = await Promise.all(
    [[1], [0.5, 1, 2]].map(scales =>
      lookOf({ scales }).maps(weights, [{ size: [4, 5], image: normalised(flat.image) }]),
    ),
  )
  assert.deepEqual(three, one)
})

test('an image that the network sees smaller has a map of its own size', async () => {
  const image = { size: [6, 8] as const, image: normalised(sampleOf(9, [6, 8]).image) }
  assert.equal((await lookOf({}).mapAt(weights, image, [3, 4])).length, 48)
})

test('an evaluation that is interrupted gives nothing', async () => {
  assert.equal(
    await evaluateOn(lookOf({}), weights, datasetOf(samples), { ...options, interrupt: { requested: true } }),
    undefined,
  )
})

test('eval of a run gives the scores that training logged, as a table and as JSON', async t => {
  const args = [
    'train',
    ...tinyTrain,
    ...set('train.ema={"decay":0.5}', 'evaluation.boundary=true'),
    '--out',
    out,
    '--name',
    'run',
  ]
  const trained = await here(t, args)
  assert.equal(trained.code, 0, trained.stderr)
  const logged = metricsOf(run).filter(m => 'miou' in m)
  for (const checkpoint of ['best', 'last']) {
    const json = join(out, `${checkpoint}.json`)
    const { code, stdout, stderr } = await here(t, ['eval', run, '--checkpoint', checkpoint, '--json', json])
    assert.equal(code, 0, stderr)
    assert.match(stdout, /^in % +IoU +accuracy +boundary IoU$/m)
    const read = JSON.parse(readFileSync(json, 'utf8'))
    const step = Number(/iteration (\d+)/.exec(read.weights)?.[1])
    const want = logged.find(m => m.step === step)
    assert.deepEqual(
      [read.miou, read.pixelAccuracy, read.boundaryMiou],
      [want?.miou, want?.pixelAccuracy, want?.boundaryMiou],
    )
    assert.equal(read.classes.length, 6)
    assert.equal(read.confusion.flat().length, 36)
  }
  const piped = await here(t, [
    'eval',
    join(run, 'checkpoints', 'best.safetensors'),
    '--json',
    '-',
    '--part',
    'train',
    ...set('evaluation.flip=true', 'evaluation.scales=[1,1.5]'),
  ])
  assert.equal(piped.code, 0, piped.stderr)
  assert.equal(JSON.parse(piped.stdout).images, 8)
})

test('what eval cannot do is told in words', async t => {
  mkdirSync(join(out, 'begun'))
  writeFileSync(join(out, 'begun', 'config.json'), JSON.stringify(parseConfig({ backend: 'cpu' })))
  const torn = join(out, 'torn.safetensors')
  writeFileSync(torn, readFileSync(join(run, 'checkpoints', 'best.safetensors')).subarray(0, -100))
  writeFileSync(join(out, 'c.json'), '{"backend":"cpu"}')
  const cases: readonly (readonly [readonly string[], number, RegExp])[] = [
    [['eval'], 2, /missing required argument 'run'/],
    [['eval', join(out, 'none')], 1, /there is no run folder and no file .*none/],
    [['eval', out], 1, /holds no run: there is no config\.json/],
    [['eval', join(out, 'begun')], 1, /begun has no checkpoint best yet/],
    [['eval', torn], 1, /torn\.safetensors/],
    [['eval', join(run, 'checkpoints', 'last.safetensors')], 1, /says nothing of its config/],
    [['eval', join(out, 'c.json')], 2, /name the weights too, with --weights FILE/],
    [
      ['eval', join(out, 'c.json'), '--weights', join(run, 'checkpoints', 'best.safetensors')],
      1,
      /\d+ entries do not fit the network/,
    ],
    [['eval', run, '--set', 'evaluation.scales=[]'], 2, /evaluation\.scales: is \[\]/],
    [['eval', run, '--set', 'network.width=1'], 1, /do not fit|expected/],
    [['eval', run, '--json', join(out, 'c.json', 'x')], 1, /cannot write/],
    [['eval', run, '--part', 'test'], 2, /--part.*'test'.*val, train/],
  ]
  for (const [args, code, message] of cases) {
    const finished = await here(t, args)
    assert.match(finished.stderr, message, args.join(' '))
    assert.equal(finished.code, code, finished.stderr)
    assert.doesNotMatch(finished.stderr, /^\s+at |defect/m)
  }
})
