/** What simplification drops and folds, and what it must leave: a table of functions and of what is left of them. */
import assert from 'node:assert/strict'
import { simplify } from '../../src/backend/passes/simplify.ts'
import * as b from '../../src/dsl/build.ts'
import type { Shape } from '../../src/dsl/shape.ts'
import { bind1, tensor } from '../../src/dsl/tensor.ts'
import { type F, graphOf, ops, passed, single } from './passed.ts'
import { fact, type Property } from './property.ts'

const nothing = { extents: [2, 0, 2], lhs: [0, 1], rhs: [2, 1], out: [0, 2], windows: [] }
const pairs = { axes: [0], size: [2], stride: [1], dilation: [1] }
const rows = () => tensor([[1, 2, 3]], 'f64')
/** Functions, their argument's shape, and the operations that simplification leaves. */
const simplified: readonly (readonly [string, F, Shape, readonly string[]])[] = [
  ['stopGradient', x => b.neg(b.stopGradient(x)), [2], ['neg']],
  ['a reshape to its own shape', x => b.neg(b.identity(x)), [2, 3], ['neg']],
  ['a reshape of a reshape', x => b.neg(b.reshape(b.reshape(x, [6]), [3, 2])), [2, 3], ['reshape', 'neg']],
  ['a permutation that moves nothing', x => b.neg(bind1('permute', { order: [0, 1] }, [x])), [2, 3], ['neg']],
  [
    'a permutation of a permutation',
    x => b.neg(b.permute(b.permute(x, [1, 2, 0]), [0, 2, 1])),
    [2, 3, 4],
    ['permute', 'neg'],
  ],
  [
    'two permutations that undo each other',
    x => b.neg(b.permute(b.permute(x, [1, 2, 0]), [2, 0, 1])),
    [2, 3, 4],
    ['neg'],
  ],
  [
    'a broadcast to its own shape',
    x => b.neg(bind1('broadcast', { shape: [2], dims: [0] }, [x])),
    [2],
    ['neg'],
  ],
  [
    'a broadcast of a broadcast',
    x =>
      b.neg(
        bind1('broadcast', { shape: [4, 3, 5, 2], dims: [1, 3] }, [
          bind1('broadcast', { shape: [3, 2], dims: [1] }, [x]),
        ]),
      ),
    [2],
    ['broadcast', 'neg'],
  ],
  [
    'pads of unlike axes',
    x => b.pad(b.pad(x, [1, 0], [2, 0], 3, [1, 0]), [0, 2], [0, -1], 3, [0, 2]),
    [2, 3],
    ['pad'],
  ],
  [
    'pads of one axis at its ends',
    x => b.pad(b.pad(x, [1, 0], [0, 0], 3), [0, 0], [2, 0], 3),
    [2, 3],
    ['pad', 'pad'],
  ],
  [
    'a spread of an axis that is padded',
    x => b.pad(b.pad(x, [1, 0], [0, 0], 3), [0, 0], [0, 0], 3, [1, 0]),
    [2, 3],
    ['pad', 'pad'],
  ],
  [
    'a pad of an axis that is spread',
    x => b.pad(b.pad(x, [0, 0], [0, 0], 3, [1, 0]), [1, 0], [0, 0], 3),
    [2, 3],
    ['pad', 'pad'],
  ],
  [
    'a pad above, of an axis that is padded above',
    x => b.pad(b.pad(x, [0, 0], [1, 0], 3), [0, 0], [1, 0], 3, [0, 1]),
    [2, 3],
    ['pad', 'pad'],
  ],
  [
    'pads with unlike values',
    x => b.pad(b.pad(x, [1, 0], [2, 0], 3), [0, 2], [0, 1], 4),
    [2, 3],
    ['pad', 'pad'],
  ],
  [
    'pads with zeros of unlike signs',
    x => b.pad(b.pad(x, [1, 0], [2, 0], 0), [0, 2], [0, 1], -0),
    [2, 3],
    ['pad', 'pad'],
  ],
  ['a pad of something else', x => b.pad(b.neg(x), [1], [1], 3), [2], ['neg', 'pad']],
  ['a sum over axes of extent 1', x => b.neg(b.sum(x, [0, 2])), [1, 3, 1], ['reshape', 'neg']],
  ['a sum over an axis of extent 1 and another', x => b.sum(x, [0, 1]), [1, 3], ['reduce']],
  ['an argmax over an axis of extent 1', x => b.reduce('argmax', x, 0), [1, 3], ['reduce']],
  ['an argmin over an axis of extent 1', x => b.reduce('argmin', x, 0), [1, 3], ['reduce']],
  ['x * 1', x => b.neg(b.mul(x, 1)), [2], ['neg']],
  ['1 * x', x => b.neg(b.mul(1, x)), [2], ['neg']],
  ['x / 1', x => b.neg(b.div(x, 1)), [2], ['neg']],
  ['x - 0', x => b.neg(b.sub(x, 0)), [2], ['neg']],
  ['1 / x', x => b.div(1, x), [2], ['broadcast', 'div']],
  ['x + 1', x => b.add(x, 1), [2], ['broadcast', 'add']],
  ['x - 1', x => b.sub(x, 1), [2], ['broadcast', 'sub']],
  ['0 - x', x => b.sub(0, x), [2], ['broadcast', 'sub']],
  ['x + 0, which is not x at -0', x => b.add(x, 0), [2], ['broadcast', 'add']],
  ['x - -0, which is not x at -0', x => b.sub(x, -0), [2], ['broadcast', 'sub']],
  ['x * 0, which is not 0 at NaN', x => b.mul(x, 0), [2], ['broadcast', 'mul']],
  ['x * 2', x => b.mul(x, 2), [2], ['broadcast', 'mul']],
  ['x / 2', x => b.div(x, 2), [2], ['broadcast', 'div']],
  ['2 * x', x => b.mul(2, x), [2], ['broadcast', 'mul']],
  ['x / 0', x => b.div(x, 0), [2], ['broadcast', 'div']],
  ['max(x, 1)', x => b.map('max', x, 1), [2], ['broadcast', 'max']],
  ['constants', x => b.mul(x, b.map('exp', b.add(b.full([2], 3, 'f64'), 4))), [2], ['broadcast', 'mul']],
  [
    'constants behind a reshape',
    x => b.mul(x, b.neg(b.reshape(b.full([2, 1], 3, 'f64'), [2]))),
    [2],
    ['broadcast', 'mul'],
  ],
  ['constants of many values', x => b.mul(x, b.neg(tensor([3, 4], 'f64'))), [2], ['neg', 'mul']],
  [
    'a comparison of constants',
    x => b.select(b.less(b.full([2], 1, 'i32'), 2), x, b.neg(x)),
    [2],
    ['neg', 'broadcast', 'select'],
  ],
  ['a sum of nothing', x => b.sum(x, 0), [0, 3], ['broadcast']],
  ['a sum of nothing to one number', x => b.sum(x), [0, 3], []],
  ['a product of nothing', x => b.reduce('prod', x, 0), [0, 3], ['broadcast']],
  ['a sum of nothing to nothing', x => b.sum(x, 1), [0, 3], ['reduce']],
  ['a pad of nothing', x => b.pad(x, [1, 0], [1, 0], 7), [0, 3], ['broadcast']],
  ['a concatenation of nothing and something', x => b.concat([x, rows(), x], 0), [0, 3], []],
  [
    'a concatenation of something, twice, and nothing',
    x => b.concat([rows(), x, rows()], 0),
    [0, 3],
    ['concat'],
  ],
  ['a concatenation of nothing and nothing', x => b.concat([x, b.neg(x)], 0), [0, 3], ['neg', 'concat']],
  ['a product of matrices without elements', x => b.contract(nothing, x, x), [2, 0], ['broadcast']],
  ['windows that hold nothing', x => b.fold(x, pairs, [1]), [0, 2], ['broadcast']],
  ['updates of nothing', x => b.scatterAdd(b.iota([0, 3], 0), x, 0, 2), [0, 3], ['broadcast']],
  ['a map of nothing', x => b.neg(x), [0, 3], ['neg']],
  ['a cast of a constant', x => b.mul(b.cast(b.full([2], 3, 'i32'), 'f64'), x), [2], ['broadcast', 'mul']],
]

export const simplifyProperties: readonly Property[] = [
  fact('simplify drops what changes nothing, and that alone', () => {
    for (const [name, f, shape, want] of simplified)
      assert.deepEqual(ops(passed(simplify, f, shape, 1e-15)), want, name)
    const composed = single(
      simplify(graphOf(x => b.permute(b.permute(x, [1, 2, 0]), [0, 2, 1]), [2, 3, 4])),
      'permute',
    )
    assert.deepEqual(composed.params.order, [1, 0, 2])
  }),
]
