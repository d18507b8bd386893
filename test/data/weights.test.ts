import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { encode, writeSafetensors } from '../../src/data/safetensors.ts'
import { sourceOf } from '../../src/data/source.ts'
import { familyOf, globs, type NameFamily, nameMap } from '../../src/data/weight-names.ts'
import { fitWeights, fromStateDict, loadWeights, saveWeights, stateDict } from '../../src/data/weights.ts'
import { weightsIn } from '../../src/data/weights-file.ts'
import { array, type NDArray } from '../../src/dsl/array.ts'
import { DataError } from '../../src/dsl/errors.ts'
import { key } from '../../src/dsl/threefry.ts'
import { compose, sequential } from '../../src/nn/compose.ts'
import { batchNorm, conv } from '../../src/nn/layers.ts'

const folder = mkdtempSync(join(tmpdir(), 'weights-'))
after(() => rmSync(folder, { recursive: true }))
const fixture = (name: string): string => fileURLToPath(new URL(`./weights/${name}`, import.meta.url))

/** As the network of scripts/make-weights-fixtures.py. */
const network = compose({ conv: conv(2, 3, { kernel: 2 }), bn: batchNorm(3) }, (_, x: unknown) => x)
const variables = network.init(key(0))
const names = ['conv.weight', 'conv.bias', 'bn.weight', 'bn.bias', 'bn.running_mean', 'bn.running_var']

/** The file of these arrays, in memory. */
const fileOf = (tensors: Iterable<readonly [string, NDArray]>) =>
  weightsIn(sourceOf(encode(new Map(tensors)), 'a.safetensors'))
const f32 = (...values: number[]): NDArray => array([values.length], 'f32', values)

test("a network's names are torchvision's", () => {
  assert.deepEqual([...stateDict(variables).keys()], names)
})

test('a file of torch.save loads, and its counter is ignored by name', () => {
  const { variables: loaded, report } = loadWeights(variables, fixture('network.zip.pth'))
  // The fixture's values are a ramp over 4, less the entry's position.
  assert.deepEqual(
    [...loaded.params.conv.weight.data],
    Array.from({ length: 24 }, (_, i) => i / 4),
  )
  assert.deepEqual([...loaded.params.bn.bias.data], [-3, -2.75, -2.5])
  assert.deepEqual([...loaded.state.bn.variance.data], [-5, -4.75, -4.5])
  assert.deepEqual(report.loaded, names)
  assert.deepEqual(report.ignored, ['bn.num_batches_tracked'])
  assert.equal(report.values, 24 + 5 * 3)
  assert.deepEqual([...report.missing, ...report.unexpected, ...report.misshaped, ...report.notes], [])
})

test('what is saved is loaded, bit for bit, and loading leaves its argument as it was', () => {
  const path = join(folder, 'own.safetensors')
  const other = network.init(key(1))
  saveWeights(path, other, { step: '10' })
  const before = structuredClone(variables)
  const { variables: loaded, report } = loadWeights(variables, path)
  assert.deepEqual(loaded, other)
  assert.deepEqual(variables, before)
  assert.equal(report.format, 'safetensors')
  assert.deepEqual(readdirSync(folder), ['own.safetensors'])
})

test('loading looks at no initial value that the file replaces', () => {
  const lazy = (a: NDArray): NDArray => ({
    shape: a.shape,
    dtype: a.dtype,
    get data(): never {
      throw new Error('the initial value was read')
    },
  })
  const target = fromStateDict(
    variables,
    new Map([...stateDict(variables)].map(([name, a]) => [name, lazy(a)])),
  )
  assert.deepEqual(fitWeights(target, fileOf(stateDict(variables))).variables, variables)
})

test('lists in a tree are positions, as in a Sequential', () => {
  const chain = sequential(conv(1, 1, { kernel: 1 }), batchNorm(1)).init(key(0))
  assert.deepEqual([...stateDict(chain).keys()].slice(0, 3), ['0.weight', '0.bias', '1.weight'])
  const arrays = stateDict(chain)
  assert.deepEqual(fromStateDict(chain, arrays), chain)
  arrays.delete('1.running_mean')
  assert.throws(() => fromStateDict(chain, arrays), {
    tag: 'DataError',
    message: /1\.running_mean: expected f32\[1\], got nothing/,
  })
})

test('a safetensors header whose length begins as a pickle is no pickle', () => {
  // Found by the property below: a header of 128 bytes has the first byte of a pickle.
  const bytes = encode(new Map([['w', f32(1)]]), { x: 'x'.repeat(43) })
  assert.equal(bytes[0], 128)
  assert.equal(weightsIn(sourceOf(bytes)).format, 'safetensors')
})

test('missing, unexpected and mis-shaped entries are listed together', () => {
  const arrays = stateDict(variables)
  arrays.delete('bn.bias')
  arrays.set('conv.bias', f32(1, 2))
  arrays.set('bn.weight', array([3], 'i32', [1, 2, 3]))
  arrays.set('head.weight', f32(1))
  assert.throws(() => fitWeights(variables, fileOf(arrays)), {
    tag: 'DataError',
    message: [
      "a.safetensors: 4 entries do not fit the network (the names are of no known family; allow: ['GLOB'] makes exceptions)",
      '  missing     bn.bias  f32[3]',
      '  unexpected  head.weight  F32[1]',
      '  mis-shaped  conv.bias  expected f32[3], the file has F32[2]',
      '  mis-shaped  bn.weight  expected f32[3], the file has I32[3]',
    ].join('\n'),
  })
})

test('what allow names is left as it was and reported, and nothing else is', () => {
  const arrays = stateDict(network.init(key(1)))
  arrays.delete('bn.bias')
  arrays.set('conv.bias', f32(1, 2))
  arrays.set('head.weight', f32(1))
  const file = fileOf(arrays)
  const allow = ['bn.b*', 'conv.bias', 'head.*', 'nothing.*']
  const { variables: loaded, report } = fitWeights(variables, file, { allow })
  assert.equal(loaded.params.bn.bias, variables.params.bn.bias)
  assert.equal(loaded.params.conv.bias, variables.params.conv.bias)
  assert.deepEqual(loaded.params.conv.weight, arrays.get('conv.weight'))
  assert.deepEqual(
    [report.missing, report.unexpected, report.misshaped],
    [['bn.bias'], ['head.weight'], ['conv.bias']],
  )
  assert.deepEqual(report.notes, ['allow "nothing.*" met nothing'])
  for (const dropped of allow.slice(0, 3))
    assert.throws(
      () => fitWeights(variables, file, { allow: allow.filter(glob => glob !== dropped) }),
      { tag: 'DataError', message: /: 1 entries do not fit/ },
      dropped,
    )
})

test('each name of a file is loaded, reported or an error', () => {
  const shapes = fc.constantFrom([3], [2], [3, 2, 2, 2])
  const kinds = fc.constantFrom(...names, 'x.weight', 'bn.num_batches_tracked', 'x.num_batches_tracked')
  const some = fc.uniqueArray(fc.tuple(kinds, shapes), { selector: ([name]) => name })
  const allowed = fc.subarray(['conv.*', '*.bias', 'x.*', 'bn.running_*', 'bn.weight'])
  let loads = 0
  fc.assert(
    fc.property(some, allowed, (entries, allow) => {
      const arrays = new Map(
        entries.map(([name, shape]) => [
          name,
          array(shape, 'f32', new Float32Array(shape.reduce((a, b) => a * b, 1))),
        ]),
      )
      const file = fileOf(arrays)
      try {
        const { report: r } = fitWeights(variables, file, { allow })
        loads++
        const exceptions = [...r.missing, ...r.unexpected, ...r.misshaped]
        assert.deepEqual(
          exceptions.filter(name => !globs(allow)(name)),
          [],
        )
        assert.deepEqual(
          [...r.loaded, ...r.ignored, ...exceptions].sort(),
          [...new Set([...names, ...arrays.keys()])].sort(),
        )
      } catch (error) {
        if (!(error instanceof DataError)) throw error
        const count = Number(/(\d+) entries do not fit/.exec(error.message)?.[1])
        assert(count > 0)
        assert.equal(error.message.split('\n').length, 1 + count)
      }
    }),
    { numRuns: 500 },
  )
  assert(loads > 0, 'some must load')
})

test('f64 is rounded to f32 with a note, f32 becomes f64 exactly, and what is not finite is noted', () => {
  const wide = (a: NDArray): NDArray => ({
    ...a,
    dtype: 'f64',
    data: Float64Array.from(a.data, x => x + 0.1),
  })
  const doubles = new Map([...stateDict(variables)].map(([name, a]) => [name, wide(a)]))
  const { variables: single, report } = fitWeights(variables, fileOf(doubles))
  assert.equal(single.params.conv.weight.dtype, 'f32')
  assert.deepEqual(single.params.bn.weight.data, new Float32Array([1.1, 1.1, 1.1]))
  assert.equal(report.notes.filter(note => /was rounded from f64 to f32/.test(note)).length, names.length)
  const target = fromStateDict({ params: { w: wide(f32(0)) }, state: {} }, new Map([['w', wide(f32(0))]]))
  const loaded = fitWeights(target, fileOf([['w', f32(Number.NaN)]]))
  assert.equal(loaded.variables.params.w.dtype, 'f64')
  assert.deepEqual(loaded.report.notes, ['w has a value that is not finite, NaN at 0'])
})

test('a part of a file is loaded into a part of a network, and the rest is noted', () => {
  const arrays = [...stateDict(variables)].map(([name, a]) => [`features.${name}`, a] as const)
  const file = fileOf([...arrays, ['classifier.1.weight', f32(1)]])
  const { variables: loaded, report } = fitWeights(network.init(key(2)), file, { from: 'features' })
  assert.deepEqual(loaded, variables)
  assert.deepEqual(report.notes, ['outside of "features.", left out: "classifier.1.weight"'])
  assert.throws(() => fitWeights(variables, file, { from: 'backbone' }), {
    tag: 'UsageError',
    message: /no name begins with "backbone\."; there are "features/,
  })
})

test('two entries that become one name are an error', () => {
  const file = fileOf([
    ['a', f32(1)],
    ['b', f32(1)],
  ])
  assert.throws(() => fitWeights(variables, file, { names: () => 'w' }), {
    tag: 'DataError',
    message: /"a" and "b" both are "w"/,
  })
})

test('two leaves of one name cannot be saved', () => {
  const twins = { params: { running_mean: f32(1) }, state: { mean: f32(2) } }
  assert.throws(() => saveWeights(join(folder, 'twins'), twins), {
    tag: 'DataError',
    message: /"running_mean"/,
  })
})

test('a damaged file does not become weights', () => {
  const path = join(folder, 'cut.safetensors')
  saveWeights(path, variables)
  writeSafetensors(path, new Map([['w', f32(1)]]))
  assert.throws(() => loadWeights(variables, path), { tag: 'DataError', message: /7 entries do not fit/ })
})

// The modules of torchvision's networks, from itself: scripts/make-weights-fixtures.py. True is a norm.
const { modules }: { modules: Record<string, Record<string, 0 | 1>> } = JSON.parse(
  readFileSync(fixture('python.json'), 'utf8'),
)
const torchvision = (network: string): string[] => Object.keys(modules[network]).sort()
const renamed = (family: NameFamily, from: readonly string[]): string[] => {
  const inFile = from.map(name => `${name}.weight`)
  assert.equal(familyOf(inFile), family)
  return inFile
    .map(nameMap(family, inFile))
    .map(name => name.replace(/\.weight$/, ''))
    .sort()
}
/** The blocks of MobileNetV2's seven groups: table 2 of arXiv:1801.04381. */
const blocks = [1, 2, 3, 4, 3, 3, 1]
const each = (f: (group: number, block: number) => readonly string[]): string[] =>
  blocks.flatMap((n, group) => Array.from({ length: n }, (_, block) => f(group, block)).flat())

test("timm's MobileNetV2 becomes torchvision's, module by module", () => {
  const parts = (group: number) =>
    group === 0
      ? ['conv_dw', 'bn1', 'conv_pw', 'bn2']
      : ['conv_pw', 'bn1', 'conv_dw', 'bn2', 'conv_pwl', 'bn3']
  const timm = [
    ...['conv_stem', 'bn1', 'conv_head', 'bn2', 'classifier'],
    ...each((group, block) => parts(group).map(part => `blocks.${group}.${block}.${part}`)),
  ]
  assert.deepEqual(renamed('timm', timm), torchvision('mobilenet_v2'))
})

test("mmsegmentation's MobileNetV2 becomes torchvision's, as a backbone", () => {
  const mmseg = [
    ...['backbone.conv1.conv', 'backbone.conv1.bn'],
    ...each((group, block) =>
      (group === 0 ? [0, 1] : [0, 1, 2]).flatMap(step =>
        ['conv', 'bn'].map(part => `backbone.layer${group + 1}.${block}.conv.${step}.${part}`),
      ),
    ),
  ]
  const wanted = torchvision('mobilenet_v2')
    .filter(name => /^features\.(\d|1[0-7])\./.test(name))
    .map(name => name.replace('features', 'backbone'))
  assert.deepEqual(renamed('mmsegmentation', mmseg), wanted.sort())
})

test("mmsegmentation's residual backbone and heads of one convolution are torchvision's FCN", () => {
  const head = (name: string) => ['convs.0.conv', 'convs.0.bn', 'conv_seg'].map(part => `${name}.${part}`)
  const backbone = torchvision('fcn_resnet50').filter(name => name.startsWith('backbone.'))
  assert(backbone.length > 10)
  assert.deepEqual(
    renamed('mmsegmentation', [...backbone, ...head('decode_head'), ...head('auxiliary_head')]),
    torchvision('fcn_resnet50'),
  )
})

test('the names of a head that torchvision has not stay as they are', () => {
  const head = ['convs.0.conv', 'convs.1.conv', 'conv_seg', 'linear_fuse.conv'].map(
    part => `decode_head.${part}`,
  )
  assert.deepEqual(renamed('mmsegmentation', head), [...head].sort())
})

test("mmsegmentation's pyramid becomes our PSPNet's", () => {
  const mmseg = [0, 1, 2, 3].flatMap(i => [`psp_modules.${i}.1.conv`, `psp_modules.${i}.1.bn`])
  const from = [...mmseg, 'bottleneck.conv', 'bottleneck.bn', 'conv_seg'].map(name => `decode_head.${name}`)
  const to = [1, 2, 3, 6].flatMap(s => [`pyramid.pool${s}.conv`, `pyramid.pool${s}.bn`])
  assert.deepEqual(renamed('mmsegmentation', from), [...to, 'neck.conv', 'neck.bn', 'classifier.1'].sort())
})

test('three convolutions in front of a residual network are the stem', () => {
  const stem = ['conv1.0', 'conv1.1', 'conv1.3', 'conv1.4', 'conv1.6', 'bn1', 'layer1.0.conv1']
  assert.deepEqual(
    renamed('timm', stem),
    ['stem.0', 'stem.1', 'stem.3', 'stem.4', 'stem.6', 'stem.7', 'layer1.0.conv1'].sort(),
  )
})

test('names with squeeze and excitation are not taken for MobileNetV2', () => {
  const v3 = ['conv_stem', 'blocks.0.0.conv_dw', 'blocks.2.0.se.conv_reduce']
  assert.deepEqual(renamed('timm', v3), [...v3].sort())
})

test('a glob takes what it says and nothing else', () => {
  assert(globs(['classifier.*'])('classifier.4.bias'))
  assert(!globs(['classifier.*'])('aux_classifier.4.bias'))
  assert(!globs(['a.b'])('axb'))
  assert(globs(['a?c', 'x'])('abc'))
  assert(!globs([])('a'))
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'ab.[]()+^$|\\{}') }), name => globs([name])(name)),
  )
})
