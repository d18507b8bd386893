import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { decode } from 'fast-png'
import { html } from '../../src/cli/html.ts'
import { type ModelReport, type ReportData, renderReport } from '../../src/cli/report.ts'
import { confusionMatrix, majorityMatrix, scores, update } from '../../src/data/metrics.ts'

const label = Uint8Array.from([0, 1, 1, 255])
const predictions = [
  [0, 1, 1, 0],
  [0, 0, 0, 0],
  [0, 1, 0, 0],
]
const matrixOf = (prediction: number[]) => {
  const matrix = confusionMatrix(2)
  update(matrix, label, prediction, 2)
  return matrix
}
const model = (name: string, role: ModelReport['role'], i: number): ModelReport => ({
  name,
  role,
  scores: scores(matrixOf(predictions[i]), 2),
  loss: Array.from({ length: 100 }, (_, step) => [step, step === 50 ? null : 1 / (step + 1)]),
  miou: [
    [50, 0.2],
    [99, 0.4],
  ],
  parameters: 12_345_678,
  msPerStep: 41.27,
})
const data: ReportData = {
  title: 'A run',
  date: new Date('2025-05-17T14:32:00Z'),
  dataset: {
    name: 'tiny',
    classes: ['ground', 'tree'],
    palette: [
      [10, 20, 30],
      [40, 50, 60],
    ],
  },
  models: [
    model('Teacher', 'teacher', 0),
    model('Student alone', 'plain', 1),
    model('Student + NFD', 'distilled', 2),
  ],
  baseline: scores(majorityMatrix(matrixOf(predictions[0]), 2), 2),
  gallery: [
    {
      sample: { name: 'first', height: 2, width: 2, image: new Float32Array(12).fill(0.5), label },
      predictions,
    },
  ],
  config: { optimizer: { lr: 0.01 }, size: [96, 128] },
  device: 'A device',
  versions: { node: '20' },
  peakMemory: 3 * 2 ** 20,
}

/** Checks that tags nest and quotes close, and gives the document's text outside scripts and styles. */
function parse(document: string): string {
  const open: string[] = []
  let text = ''
  const token =
    /<!doctype html>|<(script|style)\b[^>]*>([\s\S]*?)<\/\1>|<(\/?)([a-z][a-z0-9]*)((?:\s+[a-z-]+(?:="[^"<>]*")?)*)\s*>|[^<>]+|[\s\S]/gi
  for (const [whole, raw, , slash, tag] of document.matchAll(token)) {
    if (raw !== undefined || whole.startsWith('<!')) continue
    if (tag === undefined) {
      assert(!/[<>]/.test(whole), `a stray ${whole} near ${JSON.stringify(text.slice(-60))}`)
      text += whole
    } else if (slash === '/') assert.equal(open.pop(), tag)
    else if (!['meta', 'link', 'img'].includes(tag)) open.push(tag)
  }
  assert.deepEqual(open, [])
  return text.replace(/\s+/g, ' ')
}

test('the document nests and shows verdict, scores, classes, examples and setup', () => {
  const document = renderReport(data)
  const text = parse(document)
  for (const part of [
    '17 May 2025, 14:32 UTC',
    // By hand: IoU (1/1, 2/2), (1/3, 0), (1/2, 1/2) of the two classes.
    'from 16.7 to 50.0 (+33.3 points) and closes 40 % of the gap to its teacher',
    'most frequent class would score 33.3',
    'Teacher100.0100.0100.012.3 M41.3',
    'Most frequent class33.366.750.0',
    'tree100.00.050.0+50.0',
    'Student + NFD 66.7',
    'void',
    'peak device memory3 MiB',
    'optimizer.lr0.01',
    'size96, 128',
  ])
    assert(text.includes(part), `${JSON.stringify(part)} is missing in ${text}`)
  assert.equal(document.match(/<table/g)?.length, 2)
  assert.match(document, /<td class="best">100\.0/)
})

test('times have three digits and no exponent; of values that are all the same none is the best', () => {
  const models = data.models.map(m => ({ ...m, scores: data.models[0].scores, msPerStep: 1043.7 }))
  const document = renderReport({ ...data, models })
  assert(parse(document).includes('12.3 M1040'))
  assert(!document.includes('class="best"'))
})

test('nothing is loaded from anywhere', () => {
  const document = renderReport(data)
  assert.doesNotMatch(document, /https?:|\/\/[a-z0-9-]+\.[a-z]|@import|url\(/i)
  assert.match(document, /Content-Security-Policy" content="default-src 'none'/)
  for (const [, source] of document.matchAll(/\b(?:src|href)="([^"]*)"/g)) assert.match(source, /^data:/)
})

test('names that look like markup stay text, also in the data of the charts', () => {
  const evil = '</script><script>alert("1")</script>\'&'
  const document = renderReport({
    ...data,
    title: evil,
    device: evil,
    dataset: { ...data.dataset, name: evil, classes: [evil, evil] },
    models: data.models.map(m => ({ ...m, name: evil })),
    gallery: data.gallery.map(e => ({ ...e, sample: { ...e.sample, name: evil } })),
    config: { [evil]: evil },
    versions: { [evil]: evil },
  })
  assert(!document.includes('<script>alert'))
  assert(parse(document).includes('&lt;/script&gt;&lt;script&gt;alert'))
  const [, curves] = document.match(/<script type="application\/json" id="curves">(.*?)<\/script>/) ?? []
  assert.equal(JSON.parse(curves)[1].series[0].name, evil)
})

test('whatever is inserted into a template comes back as its text', () => {
  const textOf = (s: string) =>
    s
      .replaceAll('&lt;', '<')
      .replaceAll('&gt;', '>')
      .replaceAll('&quot;', '"')
      .replaceAll('&#39;', "'")
      .replaceAll('&amp;', '&')
  fc.assert(
    fc.property(fc.string(), text => {
      const { html: markup } = html`${text}`
      assert.doesNotMatch(markup, /[<>"']/)
      assert.equal(textOf(markup), text)
    }),
  )
})

test('pictures have alt texts and sizes; void and classes have their colours', () => {
  const document = renderReport(data)
  const images = [
    ...document.matchAll(/<img src="data:image\/png;base64,([^"]*)" width="2" height="2" alt="([^"]+)"/g),
  ]
  assert.deepEqual(
    images.map(([, , alt]) => alt),
    [
      'Input image first',
      'Labelled classes of first',
      ...['Teacher', 'Student alone', 'Student + NFD'].map(
        name => `Classes of first as predicted by ${name}`,
      ),
    ],
  )
  const [image, labels] = images.map(([, png]) => decode(Buffer.from(png, 'base64')))
  assert.deepEqual([...image.data], Array(12).fill(128))
  const colours = [...labels.data].map(index => labels.palette?.[index].slice(0, 3))
  assert.deepEqual(colours, [
    [10, 20, 30],
    [40, 50, 60],
    [40, 50, 60],
    [0, 0, 0],
  ])
})

test('the sentence tells a loss and a missing comparison as they are', () => {
  const [teacher, plain, distilled] = data.models
  const worse = { ...distilled, scores: { ...distilled.scores, miou: 0.1 } }
  const text = parse(renderReport({ ...data, models: [teacher, plain, worse] }))
  assert(text.includes('lowers the student’s mIoU from 16.7 to 10.0 (−6.7 points).'), text)
  assert(!text.includes('gap'))
  const alone = parse(renderReport({ ...data, models: [teacher], gallery: [], peakMemory: null }))
  assert(!alone.includes('Distillation') && !alone.includes('Examples'))
})

test('the curves carry all steps of all models, thinned where there are too many', () => {
  const many = data.models.map((m, i) => ({
    ...m,
    loss: Array.from({ length: 5000 }, (_, step): [number, number] => [step * (i + 1), 1]),
  }))
  const [, text] = renderReport({ ...data, models: many }).match(/id="curves">(.*?)<\/script>/) ?? []
  const [loss, miou] = JSON.parse(text)
  assert.deepEqual(miou.data, [[50, 99], ...data.models.map(() => [20, 40])])
  for (const row of loss.data) assert.equal(row.length, loss.data[0].length)
  assert(loss.data[0].length <= 1800)
  assert.equal(loss.data[0].at(-1), 4999 * 3)
  for (const row of loss.data.slice(1)) assert(row.every((y: number | null) => y === null || y === 1))
})
