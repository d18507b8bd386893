import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { flattenTree, unflattenTree } from '../../src/data/tree-io.ts'
import { array, type NDArray } from '../../src/dsl/array.ts'
import { makeData } from '../../src/dsl/dtype.ts'

const w = array([2], 'f32', [1, 2])
const b = array([], 'i32', [3])

type Tree = NDArray | readonly Tree[] | { readonly [key: string]: Tree }
const { tree: trees } = fc.letrec<{ tree: Tree }>(tie => ({
  tree: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    fc.constantFrom<Tree>(w, b),
    fc.array(tie('tree'), { maxLength: 3 }),
    fc.dictionary(fc.stringMatching(/^[a-z_]{1,9}$/), tie('tree'), { maxKeys: 3, noNullPrototype: true }),
  ),
}))

test('names are paths joined by dots, in the order of the tree', () => {
  assert.deepEqual(
    [...flattenTree({ stem: b, layers: [{ weight: w }, { weight: b }] })],
    [
      ['stem', b],
      ['layers.0.weight', w],
      ['layers.1.weight', b],
    ],
  )
})

test('unflatten after flatten gives the tree back, from a template of zeros', () => {
  fc.assert(
    fc.property(trees, tree => {
      const zeros = new Map(
        [...flattenTree(tree)].map(([k, x]) => [k, { ...x, data: makeData(x.dtype, x.data.length) }]),
      )
      const template = unflattenTree(tree, zeros)
      assert.deepEqual(unflattenTree(template, flattenTree(tree)), tree)
    }),
  )
})

test('one error lists missing, unexpected and mis-shaped entries', () => {
  const entries = new Map<string, NDArray>([
    ['a', array([3], 'f32', [1, 2, 3])],
    ['c', b],
  ])
  assert.throws(() => unflattenTree({ a: w, b }, entries, 'x.safetensors'), {
    tag: 'DataError',
    message: [
      'x.safetensors: these parameters do not fit the model; was it built with another configuration?',
      '  mis-shaped  a  expected f32[2], got f32[3]',
      '  missing     b  i32[]',
      '  unexpected  c  i32[]',
    ].join('\n'),
  })
})

test('a dtype that differs is mis-shaped', () => {
  assert.throws(
    () => unflattenTree({ b }, new Map([['b', array([], 'u32', [3])]])),
    /expected i32\[\], got u32\[\]/,
  )
})

test('leaves that are no arrays and names that collide are DataErrors', () => {
  assert.throws(() => flattenTree({ a: { b: 3 } }), { tag: 'DataError', message: /"a\.b" is a number/ })
  assert.throws(() => flattenTree({ a: null }), { tag: 'DataError', message: /"a" is null/ })
  assert.throws(() => flattenTree({ a: { b: w }, 'a.b': b }), { tag: 'DataError', message: /"a\.b"/ })
})
