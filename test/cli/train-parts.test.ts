/** Claims on what a configuration makes: data, augmentation, initial values from files, schedules, the report. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { encode } from 'fast-png'
import { parseConfig } from '../../src/cli/config.ts'
import { namedArrays } from '../../src/cli/named.ts'
import { confusionPicture } from '../../src/cli/segment/confusion.ts'
import { augmentationOf, openPart } from '../../src/cli/segment/data.ts'
import { describeLoad, initialValues, networkOf, scheduleOf } from '../../src/cli/segment/network.ts'
import { renderSegmentReport, type SegmentReport } from '../../src/cli/segment/report.ts'
import { encodePng } from '../../src/data/image.ts'
import { confusionMatrix, scores } from '../../src/data/metrics.ts'
import { saveWeights } from '../../src/data/weights.ts'
import { key } from '../../src/dsl/threefry.ts'
import { resnetClassifier } from '../../src/nn/resnet.ts'

const root = mkdtempSync(join(tmpdir(), 'train-parts-'))
after(() => rmSync(root, { recursive: true }))

test('a backbone’s file as torchvision saves it fills the backbone, and what was left out is told', () => {
  const file = join(root, 'resnet18.safetensors')
  const saved = resnetClassifier({ depth: 18, classes: 5, width: 4 }).init(key(7))
  saveWeights(file, saved)
  const { network } = parseConfig({ network: { name: 'fcn_resnet18', width: 1 / 16 } })
  const net = networkOf(network, 3)
  const pretrained = { file, into: 'backbone', from: null, entry: null, allow: ['fc.*'] } as const
  const { variables, report } = initialValues(net, key(1), { ...pretrained, allow: ['fc.*'] })
  const [got, drawn, want] = [variables, net.init(key(1)), saved].map(namedArrays)
  for (const [name, { data }] of Object.entries(got)) {
    const part = /^(params|state)\.backbone\.(.*)$/.exec(name)
    assert.deepEqual(data, part ? want[`${part[1]}.${part[2]}`].data : drawn[name].data, name)
  }
  assert(report)
  assert.match(
    describeLoad(report),
    /^weights {3}.*resnet18\.safetensors \(safetensors\): \d+ arrays, \d+ values\n +unexpected: fc\.weight, fc\.bias/,
  )
  assert.throws(() => initialValues(net, key(1), { ...pretrained, allow: [] }), /unexpected +fc\.weight/)
})

test('schedules count updates: the warm-up is a line, poly and cosine end at their end', () => {
  const of = (schedule: unknown) =>
    scheduleOf(parseConfig({ schedule, optimiser: { kind: 'sgd', lr: 2 }, train: { iterations: 10 } }))
  const warm = of({ kind: 'constant', warmUp: { iterations: 4, from: 0.5 } })
  assert.deepEqual([0, 2, 4, 9].map(warm), [1, 1.5, 2, 2])
  for (const kind of ['poly', 'cosine']) {
    const rate = of({ kind, end: 0.125 })
    assert.deepEqual([rate(0), rate(10)], [2, 0.125])
  }
})

/** A folder of train/ and val/ with images/ and labels/; pixel p of a label is p mod 4. */
function folders(): string {
  const folder = join(root, 'mine')
  for (const part of ['train', 'val'])
    for (const [kind, bytes] of [
      ['images', encodePng(new Uint8Array(3 * 12 * 8).fill(100), 12, 8)],
      [
        'labels',
        encode({
          height: 12,
          width: 8,
          channels: 1,
          depth: 8,
          data: Uint8Array.from({ length: 96 }, (_, p) => p % 4),
        }),
      ],
    ] as const) {
      mkdirSync(join(folder, part, kind), { recursive: true })
      writeFileSync(join(folder, part, kind, 'a.png'), bytes)
    }
  return folder
}

test('a generic folder has its classes, colours that differ, and ignored values', async () => {
  const data = { kind: 'folder', folder: folders(), classes: ['a', 'b', 'c'], ignore: [3] }
  const val = await openPart(parseConfig({ data }), 'val')
  assert.deepEqual([val.size, val.classes], [1, ['a', 'b', 'c']])
  assert.equal(new Set(val.palette.map(String)).size, 3)
  const { label } = await val.get(0)
  assert.deepEqual([...label.subarray(0, 5)], [0, 1, 2, 255, 0])
})

test('augmented samples have the crop’s size, are normalised, and depend on nothing but the key', async () => {
  const augment = { crop: [6, 10], scale: [0.5, 2], photometric: true, rotate: 20 }
  const config = parseConfig({
    augment,
    data: { kind: 'synthetic', size: [16, 16], trainImages: 2, valImages: 1 },
  })
  const { transform, size } = augmentationOf(config)
  assert.deepEqual(size, [6, 10])
  const sample = await (await openPart(config, 'train')).get(0)
  for (let i = 0; i < 8; i++) {
    const [a, b] = [transform(key(i), sample), transform(key(i), sample)]
    assert.deepEqual(a, b)
    assert.deepEqual([a.height, a.width, a.image.length, a.label.length], [6, 10, 180, 60])
    assert(a.normalisation)
  }
  assert(transform.recipe, 'threads can make it')
})

const matrixOf = (n: number) => confusionMatrix(n).map((_, i) => (i % (n + 1) === 0 ? 90 : i % 7))
const report = (n: number): SegmentReport => ({
  title: 'A <run>',
  date: new Date('2025-05-17T14:32:00Z'),
  dataset: {
    name: 'tiny',
    size: 2,
    classes: Array.from({ length: n }, (_, c) => `class & ${c}`),
    palette: Array.from({ length: n }, (_, c) => [c, 2 * c, 255 - c] as const),
  },
  network: { name: 'net', parameters: 12_345 },
  scores: scores(matrixOf(n), n),
  boundary: { iou: Array.from({ length: n }, () => 0.25), miou: 0.25 },
  matrix: matrixOf(n),
  iteration: 5,
  iterations: 10,
  curves: {
    loss: [
      [1, 2],
      [2, null],
    ],
    miou: [[5, 0.5]],
    learningRate: [[1, 0.1]],
  },
  best: [
    {
      name: 'a"b',
      rgb: { size: [2, 2], image: new Float32Array(12) },
      label: new Uint8Array(4),
      prediction: new Uint8Array(4),
      miou: 1,
    },
  ],
  worst: [],
  config: { train: { batch: 3 } },
  machine: { device: 'A device' },
  kernels: 'conv < 3 ms',
})

for (const n of [2, 30, 171])
  test(`the report of ${n} classes nests, escapes what it shows, and loads nothing`, () => {
    const document = renderSegmentReport(report(n))
    const open: string[] = []
    const body = document.replace(/<(script|style)\b[^>]*>[\s\S]*?<\/\1>/g, '')
    for (const [, slash, tag, , self] of body.matchAll(
      /<(\/?)([a-z][a-z0-9]*)((?:\s+[a-z-]+(?:="[^"<>]*")?)*)\s*(\/?)>/gi,
    )) {
      if (slash === '/') assert.equal(open.pop(), tag)
      else if (self === '' && !['meta', 'link', 'img'].includes(tag)) open.push(tag)
    }
    assert.deepEqual(open, [])
    for (const text of [
      'A &lt;run&gt;',
      'class &amp; 1',
      'a&quot;b',
      'conv &lt; 3 ms',
      'iteration 5 of 10',
      'Boundary IoU',
      'train.batch',
    ])
      assert(body.includes(text), text)
    assert.doesNotMatch(body, /(src|href)="(?!data:)|NaN|undefined/)
    assert(document.length < 4e6)
  })

test('a cell of the confusion matrix is the part of its row', () => {
  const { html } = confusionPicture(Float64Array.of(3, 1, 0, 0), ['a', 'b'])
  assert.match(html, /a taken for a: 75\.00 %/)
  assert.match(html, /a taken for b: 25\.00 %/)
  assert.doesNotMatch(html, /b taken for/)
})
