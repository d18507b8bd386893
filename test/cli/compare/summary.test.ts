import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { parseMethods } from '../../../src/cli/compare/methods.ts'
import { picture } from '../../../src/cli/compare/pictures.ts'
import { panels, plot, scaleOf } from '../../../src/cli/compare/plot.ts'
import { affordable } from '../../../src/cli/compare/processes.ts'
import { markdown, renderStudy, type StudyReport } from '../../../src/cli/compare/report.ts'
import { studyOf } from '../../../src/cli/compare/study.ts'
import { notesOf, type Summary, summarise, textTable } from '../../../src/cli/compare/summary.ts'
import { sceneClasses, scenePalette } from '../../../src/data/synthetic.ts'
import { entry } from './entries.ts'

const methods = parseMethods('ce,kd,nfd')
const scores: Readonly<Record<string, readonly number[]>> = {
  ce: [0.5, 0.52, 0.48, 0.51, 0.49],
  // above by 3 points, give or take 0.1: far from chance
  'nfd:HW@1': [0.531, 0.549, 0.51, 0.541, 0.519],
  // differences of +1, -1, +2, -2, 0: nothing
  'kd:1@1': [0.51, 0.51, 0.5, 0.49, 0.49],
}
const study = (keep: (method: string, seed: number) => boolean = () => true): Summary =>
  summarise(methods, 5, (m, seed) =>
    keep(m.full, seed) ? entry(m.full, seed, scores[m.full][seed]) : undefined,
  )
const method = (s: Summary, label: string) => {
  const found = s.methods.find(m => m.label === label)
  assert(found)
  return found
}

test('differences are paired by seed and in points; significance is said plainly', () => {
  const s = study()
  const [ce, kd, nfd] = ['ce', 'kd', 'nfd'].map(label => method(s, label))
  assert.equal(ce.difference, null)
  assert.equal(ce.verdict, 'the baseline')
  assert(Math.abs((ce.mean ?? 0) - 50) < 1e-9)
  assert.deepEqual(
    nfd.difference?.points.map(x => Number(x.toFixed(6))),
    [3.1, 2.9, 3, 3.1, 2.9],
  )
  assert.equal(nfd.verdict, 'better than labels alone by 3.00 points')
  assert.equal(kd.verdict, 'no evidence of a difference')
  assert.equal(kd.difference?.p, 1)
  // Holm: the smaller of two p-values is doubled
  assert(Math.abs((nfd.difference?.adjusted ?? 0) - 2 * (nfd.difference?.p ?? 0)) < 1e-12)
  assert.equal(nfd.difference?.signFlip, 0.0625)
})

test('a pair needs both runs of its seed; one pair says nothing', () => {
  const s = study((m, seed) => (m === 'ce' ? seed < 3 : m === 'kd:1@1' ? seed > 1 : seed === 4))
  assert.equal(method(s, 'kd').difference?.n, 1)
  assert.equal(method(s, 'kd').verdict, 'one pair says nothing about another seed')
  assert.equal(method(s, 'nfd').verdict, 'no pair is finished yet')
  assert.equal(s.missing, 15 - 3 - 3 - 1)
  assert(notesOf(s).some(n => /8 of 15 runs are not finished: run the same command again/.test(n)))
})

test('a method that is worse is called worse', () => {
  const s = summarise(methods, 5, (m, seed) =>
    entry(m.full, seed, m.full === 'ce' ? scores['nfd:HW@1'][seed] : scores.ce[seed]),
  )
  assert.equal(method(s, 'nfd').verdict, 'worse than labels alone by 3.00 points')
})

test('the table and its notes name n, the tests, the correction, and what five pairs can show', () => {
  const text = textTable(study())
  assert.match(
    text,
    /^method +n +mIoU in % +difference in points +95% interval +p \(t\) +p \(Holm\) +p \(signs\)/m,
  )
  assert.match(
    text,
    /^nfd +5 +53\.00 ± \d\.\d\d +\+3\.00 +\[\+2\.88, \+3\.12\] +< 0\.001 +< 0\.001 +0\.063 +better/m,
  )
  assert.match(
    text,
    /^kd +5 .* \+0\.00 +\[−1\.96, \+1\.96\] +1\.000 +1\.000 +1\.000 +no evidence of a difference/m,
  )
  const notes = notesOf(study()).join('\n')
  assert.match(notes, /equal initial weights, data order and augmentation/)
  assert.match(notes, /corrects for testing 2 methods/)
  assert.match(notes, /with 5 pairs it cannot be below 0\.0625/)
})

test('the plot has every run as a point, twice beside the baseline, and needs nothing from elsewhere', () => {
  const svg = plot(study())
  // 15 runs, and 10 differences
  assert.equal(svg.match(/<circle class="run"/g)?.length, 25)
  assert.equal(svg.match(/<line class="interval"/g)?.length, 2)
  assert(!/https?:(?!\/\/www\.w3\.org\/2000\/svg")|<script|href=/.test(svg))
  assert(!/NaN|undefined|Infinity/.test(svg))
  assert(!/NaN|undefined|Infinity/.test(plot(study(() => false))))
})

test('the panels of a page hold together what the plot holds, one the scores, one the differences', () => {
  const points = panels(study()).map(svg => svg.match(/<circle class="run"/g)?.length)
  assert.deepEqual(points, [15, 10])
})

test('a scale holds its values and round ticks inside its panel', () => {
  const { at, ticks } = scaleOf([-1.3, 2.7], 100, 300, 0)
  for (const x of [-1.3, 0, 2.7, ...ticks]) assert(at(x) >= 100 && at(x) <= 300, String(x))
  assert(ticks.includes(0) && ticks.length >= 3 && ticks.length <= 8)
  const alone = scaleOf([50], 0, 100)
  assert(alone.at(50) > 0 && alone.at(50) < 100)
})

const report: StudyReport = {
  study: studyOf({}),
  summary: study(),
  teacher: { ...entry('teacher', 0, 0.7) },
  classes: ['a', '<b>'],
  majority: 0.1,
  folder: '/nowhere',
  command: 'cotangent compare --methods ce,kd,nfd',
}

test('the report stands alone, says the verdicts, and escapes names', () => {
  const page = renderStudy(report)
  assert.match(page, /Better than labels alone: nfd\./)
  assert.match(page, /No evidence of a difference: kd\./)
  assert.match(page, /The teacher scores 70\.00; always answering the most frequent class, 10\.00\./)
  assert(page.includes('&lt;b&gt;') && !page.includes('<b>'))
  assert(!/src="(?!data:)|<script/.test(page))
  const text = markdown(report)
  assert.match(text, /^\| nfd \| 5 \| 53\.00 ± /m)
  assert.match(text, /^\| a \| 70\.0 \| 50\.0 \| 50\.0 \| 53\.0 \|$/m)
  assert.match(text, /^\| <b> \| – \| – \| – \| – \|$/m)
})

test('pictures stand in columns with their names, under a legend of the classes', t => {
  const folder = mkdtempSync(join(tmpdir(), 'study-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const size = [2, 2] as const
  for (const label of ['images', 'teacher', 'nfd', 'kd:8'])
    picture(folder, label, [Uint8Array.of(0, 1, 1, 255)], { size, palette: scenePalette })
  const page = renderStudy({ ...report, folder, classes: sceneClasses })
  const columns = [
    ...page.matchAll(/<figcaption>([^<]*)<\/figcaption><img alt="([^"]*)" src="data:image\/png/g),
  ]
  assert.deepEqual(
    columns.map(([, caption]) => caption),
    ['image and label', 'teacher', 'nfd'],
  )
  const legend = page.match(/<ul class="classes".*?<\/ul>/)?.[0] ?? ''
  for (const name of [...sceneClasses, 'void']) assert(legend.includes(name), name)
  assert(legend.includes(`rgb(${scenePalette[1].join(',')})`))
  assert(!renderStudy(report).includes('class="classes"'))
})

test('as many runs at once as were asked for and memory holds; one while nothing is known', () => {
  assert.equal(affordable(4, 16e9, 5e9), 2)
  assert.equal(affordable(4, 16e9, 1e9), 4)
  assert.equal(affordable(4, 16e9, 0), 1)
  assert.equal(affordable(4, 1e9, 5e9), 1)
})
