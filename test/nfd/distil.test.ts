/** Distillations as values: their parameters, logs, sums, masks and errors. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { grad } from '../../src/autodiff/grad.ts'
import { evaluate } from '../../src/backend/cpu/reference-backend.ts'
import type { NDArray } from '../../src/dsl/array.ts'
import { sum as total } from '../../src/dsl/build.ts'
import { CompileError, UsageError } from '../../src/dsl/errors.ts'
import { constant, type Tensor } from '../../src/dsl/tensor.ts'
import { key } from '../../src/dsl/threefry.ts'
import { isType } from '../../src/dsl/trace.ts'
import { mapTree } from '../../src/dsl/tree.ts'
import { align } from '../../src/nfd/algebra.ts'
import * as distil from '../../src/nfd/distil.ts'
import { kd } from '../../src/nfd/kd.ts'
import { fitnet, nfd } from '../../src/nfd/nfd.ts'
import { featureMap } from '../../src/nn/feature.ts'
import type { Tensors } from '../../src/nn/module.ts'
import { encoderDecoder, pspnet } from '../../src/nn/pspnet.ts'
import { arraysOf, normals, wide } from '../support/trees.ts'
import { output, tapped } from './taps.ts'

const traced = (a: NDArray): Tensor => constant(a.shape, a.dtype, a.data)
/** A tree of arrays as constants. */
const constants = <T>(tree: T): Tensors<T> =>
  mapTree(tree, (x): x is NDArray => isType(x) && 'data' in x, traced) as Tensors<T>
const number = (x: Tensor): number => Number(evaluate(x).data[0])
const close = (x: number, y: number): void =>
  assert.ok(Math.abs(x - y) <= 1e-12 * Math.max(1, Math.abs(y)), `${x} against ${y}`)

const student = normals(1, [2, 3, 4, 4])
const teacher = normals(2, [2, 5, 8, 8])
const sameSize = normals(3, [2, 3, 4, 4])
const label = constant(
  [2, 8, 8],
  'i32',
  Int32Array.from({ length: 128 }, (_, i) => (i % 3 === 0 ? 255 : 1)),
)
const pair = { student: tapped(3), teacher: tapped(5), taps: [['f', 'f']] } as const

test('init makes one 1 x 1 convolution without bias per pair, sized by the taps', () => {
  const s = pspnet({ classes: 4, width: 4 })
  const t = encoderDecoder({ classes: 4, width: 6 })
  const params = nfd({
    student: s,
    teacher: t,
    taps: [
      ['stage2', 'stage1'],
      ['neck', 'neck'],
    ],
  }).init(key(1))
  assert.deepEqual(
    arraysOf(params).map(({ path, leaf }) => [path, leaf.shape]),
    [
      ['stage2-stage1.weight', [12, 8, 1, 1]],
      ['neck-neck.weight', [6, 32, 1, 1]],
    ],
  )
  // a tap that a network does not have does not compile, nor does one of the other network
  // @ts-expect-error
  const unknownTap = () => nfd({ student: s, teacher: t, taps: [['stage5', 'stage1']] })
  // @ts-expect-error
  const othersTap = () => nfd({ student: s, teacher: t, taps: [['stage1', 'stage4']] })
  assert.throws(unknownTap, /no tap 'stage5'; it has stage1, stage2, stage3, stage4, neck/)
  assert.throws(othersTap, /no tap 'stage4'; it has stage1, stage2, stage3, neck/)
})

test('align resizes bilinearly to the size of the teacher, then mixes the channels', () => {
  const weight = normals(5, [5, 3, 1, 1])
  const y = evaluate(
    align(featureMap('x', traced(student)), traced(weight), featureMap('y', traced(teacher))),
  )
  assert.deepEqual(y.shape, [2, 5, 8, 8])
  // the corner of a resized image is the corner's own value: output (0, 0) reads at max(-0.25, 0)
  const corner = (n: number, o: number) =>
    [0, 1, 2].reduce(
      (sum, c) => sum + Number(weight.data[o * 3 + c]) * Number(student.data[(n * 3 + c) * 16]),
      0,
    )
  for (const n of [0, 1])
    for (const o of [0, 1, 2, 3, 4]) close(Number(y.data[(n * 5 + o) * 64]), corner(n, o))
})

test('the aligners get a gradient, and one that is missing is an error', () => {
  const d = nfd(pair)
  const params = constants(wide(d.init(key(1))))
  const loss = (p: typeof params) =>
    d.loss(p, output(traced(student)), output(traced(teacher)), { label }).loss
  const g = evaluate(grad(loss)(params))
  assert.ok(arraysOf(g).every(l => Array.from(l.leaf.data, Number).some(x => Math.abs(x) > 1e-6)))
  assert.throws(() => loss({}), CompileError)
})

test('pairs that cannot be compared are errors: none, one twice, unequal channels without aligner', () => {
  assert.throws(() => nfd({ ...pair, taps: [] }), /at least one pair/)
  assert.throws(
    () =>
      nfd({
        ...pair,
        taps: [
          ['f', 'f'],
          ['f', 'f'],
        ],
      }),
    /f-f occurs twice/,
  )
  assert.throws(() => fitnet({ ...pair, align: 'none' }), /equal channels; f-f has 3 and 5/)
  assert.throws(() => nfd({ ...pair, weight: Number.NaN }), UsageError)
  assert.throws(() => nfd({ ...pair, eps: -1 }), UsageError)
})

test('fitnet is the mean squared difference', () => {
  const { loss, logs } = fitnet({
    student: tapped(3),
    teacher: tapped(3),
    taps: [['f', 'f']],
    align: 'none',
    weight: 3,
  }).loss({}, output(traced(student)), output(traced(sameSize)), { label })
  const squares = Array.from(student.data, (v, i) => (Number(v) - Number(sameSize.data[i])) ** 2)
  const mse = squares.reduce((a, b) => a + b, 0) / squares.length
  close(number(loss), 3 * mse)
  assert.deepEqual(Object.keys(logs), ['fitnet', 'fitnet/f-f'])
  close(number(logs.fitnet), mse)
})

/** T^2 KL(softmax(t / T) || softmax(s / T)) of the pixels for which `counts` holds, averaged: plain loops. */
function divergence(s: NDArray, t: NDArray, temperature: number, counts: (pixel: number) => boolean): number {
  const [n, c, h, w] = s.shape
  const softmaxAt = (x: NDArray, b: number, p: number) => {
    const e = Array.from({ length: c }, (_, k) =>
      Math.exp(Number(x.data[(b * c + k) * h * w + p]) / temperature),
    )
    const z = e.reduce((a, v) => a + v, 0)
    return e.map(v => v / z)
  }
  let [sum, counted] = [0, 0]
  for (let b = 0; b < n; b++)
    for (let p = 0; p < h * w; p++) {
      if (!counts(b * h * w + p)) continue
      const [q, r] = [softmaxAt(s, b, p), softmaxAt(t, b, p)]
      sum += r.reduce((a, v, k) => a + v * Math.log(v / q[k]), 0)
      counted++
    }
  return (temperature ** 2 * sum) / counted
}

test('kd is T^2 KL averaged over the pixels, or over those whose label counts', () => {
  const small = constant(
    [2, 4, 4],
    'i32',
    Int32Array.from({ length: 32 }, (_, i) => (i % 3 === 0 ? 255 : 1)),
  )
  const at = (mask: boolean) =>
    number(
      kd({ temperature: 3, weight: 0.5, mask }).loss({}, output(traced(student)), output(traced(sameSize)), {
        label: small,
      }).loss,
    )
  close(at(false), 0.5 * divergence(student, sameSize, 3, () => true))
  close(at(true), 0.5 * divergence(student, sameSize, 3, p => p % 3 !== 0))
  const everything = constant([2, 4, 4], 'i32', new Int32Array(32).fill(255))
  const none = kd({ mask: true }).loss({}, output(traced(student)), output(traced(sameSize)), {
    label: everything,
  })
  assert.equal(number(none.loss), 0)
})

test('a sum adds losses, keeps one set of parameters per term and tells equal names apart; a weight multiplies', () => {
  const hw = nfd(pair)
  const d = distil.sum(
    hw,
    distil.weighted(2, nfd({ ...pair, axes: 'NHW' })),
    distil.weighted(0.5, fitnet(pair)),
  )
  const params = constants(wide(d.init(key(1))))
  const all = [output(traced(student)), output(traced(teacher)), { label }] as const
  const { loss, logs } = d.loss(params, ...all)
  assert.deepEqual(Object.keys(logs), ['nfd', 'nfd/f-f', 'nfd#2', 'nfd/f-f#2', 'fitnet', 'fitnet/f-f'])
  close(number(loss), number(logs.nfd) + 2 * number(logs['nfd#2']) + 0.5 * number(logs.fitnet))
  close(number(logs.nfd), number(hw.loss(params[0], ...all).loss))
  assert.throws(() => distil.sum(), UsageError)
  assert.throws(() => distil.weighted(-1, hw), UsageError)
})

test('a loss is the sum over its pairs of taps', () => {
  const s = pspnet({ classes: 2, width: 2, poolScales: [1] })
  const x = traced(normals(8, [2, 3, 16, 16]))
  const variables = constants(wide(s.init(key(2)).params))
  const state = constants(wide(s.init(key(2)).state))
  const out = s.apply(variables, state, x, { training: false }).out
  const other = s.apply(variables, state, traced(normals(9, [2, 3, 16, 16])), { training: false }).out
  const at = (taps: readonly (readonly ['stage1' | 'stage3', 'stage1' | 'stage3'])[]) =>
    number(nfd({ student: s, teacher: s, taps, align: 'none' }).loss({}, out, other, { label }).loss)
  close(
    at([
      ['stage1', 'stage1'],
      ['stage3', 'stage3'],
    ]),
    at([['stage1', 'stage1']]) + at([['stage3', 'stage3']]),
  )
})

test('a constant teacher runs in evaluation mode, and no gradient reaches its parameters', () => {
  const net = pspnet({ classes: 2, width: 2, poolScales: [1], dropoutRate: 0.9 })
  const params = constants(wide(net.init(key(2)).params))
  const state = constants(wide(net.init(key(2)).state))
  const x = traced(normals(8, [1, 3, 8, 8])) // one image: in training mode the pyramid's norm would refuse it
  const out = distil.constantTeacher(net)(params, state, x)
  const plain = net.apply(params, state, x, { training: false })
  assert.deepEqual(evaluate(out.logits).data, evaluate(plain.out.logits).data)
  const g = grad((p: typeof params) => total(distil.constantTeacher(net)(p, state, x).logits))(params)
  assert.ok(arraysOf(evaluate(g)).every(l => Array.from(l.leaf.data, Number).every(v => v === 0)))
})
