import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  baseline,
  distillationOf,
  methodNames,
  parseMethods,
  readsOf,
} from '../../../src/cli/compare/methods.ts'
import { networksOf, runHash, studyOf, teacherHash } from '../../../src/cli/compare/study.ts'
import { namedArrays } from '../../../src/cli/named.ts'
import { key } from '../../../src/dsl/threefry.ts'

const study = studyOf({ net: 'encdec', width: 2, teacherWidth: 3 })
const networks = networksOf(study, 6)
const fullNames = (text: string): readonly string[] => parseMethods(text).map(m => m.full)

test('the baseline comes first, whether it is named or not, and once', () => {
  assert.deepEqual(fullNames('kd'), ['ce', 'kd:1@1'])
  assert.deepEqual(fullNames('nfd, ce,kd:4'), ['ce', 'nfd:HW@1', 'kd:4@1'])
})

test('options and weights are part of a method; what is left out is its default', () => {
  assert.deepEqual(fullNames('nfd:nhw@5,nfd+kd@0.5,cwd,mgd,dist:2'), [
    'ce',
    'nfd:NHW@5',
    'nfd:HW@1+kd:1@0.5',
    'cwd:4@50',
    'mgd@0.00002',
    'dist:2@1',
  ])
  assert.equal(parseMethods('nfd:NHW')[1].label, 'nfd:NHW')
})

test('every method makes a distillation of two networks, with parameters that can be initialised', () => {
  for (const name of methodNames) {
    const [method] = parseMethods(name).filter(m => name === 'ce' || m !== baseline)
    const d = distillationOf(method, networks, 6)
    if (name === 'ce') assert.equal(d, undefined)
    else assert(Object.values(namedArrays(d?.init(key(0)).params)).every(a => a.data.length > 0))
  }
  const sum = distillationOf(parseMethods('nfd+kd')[1], networks, 6)
  assert.equal(Object.keys(namedArrays(sum?.init(key(0)).params)).length, 2)
})

test('what no method is, is a sentence', () => {
  const wrong: readonly (readonly [string, RegExp])[] = [
    ['nfx', /there is no method 'nfx'; there are ce, at, .*skd/],
    ['nfd:XY', /nfd takes the axes HW, NHW, C, CHW, none, got 'XY'/],
    ['kd:hot', /a temperature is a number above 0, got 'hot'/],
    ['kd:0', /a temperature is a number above 0/],
    ['fitnet:HW', /fitnet takes no option/],
    ['kd@-1', /a weight is a number, 0 or more/],
    ['kd,kd:1', /kd:1 occurs twice \(kd:1@1\)/],
    ['ce+kd', /there is no method 'ce'/],
    ['', /there is no method ''/],
  ]
  for (const [text, message] of wrong) assert.throws(() => parseMethods(text), message, text)
})

test('what is asked of the teacher is what some method reads', () => {
  const { taps } = networks
  assert.deepEqual(readsOf(parseMethods('ce'), taps), { logits: false, taps: [] })
  assert.deepEqual(readsOf(parseMethods('kd'), taps), { logits: true, taps: [] })
  assert.deepEqual(readsOf(parseMethods('nfd+kd'), taps), { logits: true, taps: ['stage3', 'neck'] })
})

test('a run is known by all that its numbers depend on, and by nothing else', () => {
  const hash = runHash(study, 'nfd:HW@1', 0, 'teacher')
  const same = studyOf({ width: 2, net: 'encdec', teacherWidth: 3 })
  assert.equal(runHash(same, 'nfd:HW@1', 0, 'teacher'), hash)
  const others = [
    runHash(study, 'nfd:C@1', 0, 'teacher'),
    runHash(study, 'nfd:HW@1', 1, 'teacher'),
    runHash(study, 'nfd:HW@1', 0, 'another'),
    runHash({ ...study, steps: 7 }, 'nfd:HW@1', 0, 'teacher'),
    runHash({ ...study, taps: [['neck', 'neck']] }, 'nfd:HW@1', 0, 'teacher'),
  ]
  assert.equal(new Set([hash, ...others]).size, 6)
  // cross-entropy alone does not depend on the teacher, nor does anything on where the data lie
  const alone = runHash(study, 'ce', 0, null)
  assert.equal(runHash({ ...study, teacherWidth: 5, teacherSteps: 9 }, 'ce', 0, null), alone)
  assert.equal(runHash({ ...study, data: '/elsewhere' }, 'ce', 0, null), alone)
  assert.notEqual(runHash({ ...study, lr: 0.5 }, 'ce', 0, null), alone)
  assert.equal(teacherHash({ ...study, steps: 9, width: 9 }), teacherHash(study))
  assert.notEqual(teacherHash({ ...study, teacherSteps: 9 }), teacherHash(study))
})

test('networks of the zoo and taps by name fit; settings that make no sense are sentences', () => {
  const mixed = networksOf(
    studyOf({ net: 'unet', width: 0.1, teacherNet: 'pspnet', teacherWidth: 4, taps: [['stage4', 'stage3']] }),
    6,
  )
  assert.deepEqual(mixed.taps, [['stage4', 'stage3']])
  assert.deepEqual(networksOf(studyOf({ net: 'encdec', teacherNet: 'pspnet' }), 6).taps, [
    ['stage3', 'stage4'],
    ['neck', 'neck'],
  ])
  assert.throws(() => studyOf({ dataset: 'camvid' }), /--dataset camvid needs --data FOLDER/)
  assert.throws(() => studyOf({ data: 'x' }), /--data is for --dataset camvid/)
  assert.throws(() => studyOf({ split: 'test' }), /--split test is for --dataset camvid/)
  const camvid = studyOf({ dataset: 'camvid', data: 'd' })
  assert.deepEqual([camvid.split, camvid.size], ['test', [120, 160]])
})
