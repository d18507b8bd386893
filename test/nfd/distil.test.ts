/** Distillations as values: their parameters, logs, sums, masks and errors. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pipe } from 'fp-ts/lib/function.js'
import { grad } from '../../src/autodiff/grad.ts'
import { evaluate } from '../../src/backend/cpu/reference-backend.ts'
import { sum as total } from '../../src/dsl/build.ts'
import { CompileError, ShapeError, UsageError } from '../../src/dsl/errors.ts'
import type { Tensor } from '../../src/dsl/tensor.ts'
import { key } from '../../src/dsl/threefry.ts'
import type { ShapeMismatch } from '../../src/dsl/types/mismatch.ts'
import { conv1x1, sameChannels } from '../../src/nfd/align.ts'
import { masked } from '../../src/nfd/combine.ts'
import * as distil from '../../src/nfd/distil.ts'
import { kd } from '../../src/nfd/kd.ts'
import { fitnet, nfd } from '../../src/nfd/nfd.ts'
import type { PairsCheck } from '../../src/nfd/taps.ts'
import { featureMap } from '../../src/nn/feature.ts'
import { pspnet } from '../../src/nn/pspnet.ts'
import { unet } from '../../src/nn/unet.ts'
import { arraysOf, normals, wide } from '../support/trees.ts'
import { constants, contextOf, labels, output, tapped, traced } from './taps.ts'

const number = (x: Tensor): number => Number(evaluate(x).data[0])
const close = (x: number, y: number): void =>
  assert.ok(Math.abs(x - y) <= 1e-12 * Math.max(1, Math.abs(y)), `${x} against ${y}`)

type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : { readonly got: A }
type Holds<T extends true> = T
type Pair = readonly [readonly ['f', 'f']]
/** What the compiler prints for channels that differ; what it does not know it lets pass. */
export type Sentences = [
  Holds<
    Equal<
      PairsCheck<Pair, { readonly f: 3 }, { readonly f: 5 }, 'equal'>[0],
      ShapeMismatch<"the student's tap has 3 channels, the teacher's 5: leave out align, or give conv1x1">
    >
  >,
  Holds<Equal<PairsCheck<Pair, { readonly f: 3 }, { readonly f: 3 }, 'equal'>[0], unknown>>,
  Holds<Equal<PairsCheck<Pair, { readonly f: 3 }, { readonly f: number }, 'equal'>[0], unknown>>,
  Holds<Equal<PairsCheck<Pair, { readonly f: 3 }, { readonly f: 5 }, 'any'>, unknown>>,
]

const student = normals(1, [2, 3, 4, 4])
const teacher = normals(2, [2, 5, 8, 8])
const sameSize = normals(3, [2, 3, 4, 4])
const context = contextOf({ label: labels([2, 8, 8], [255, 1, 1]) })
const pair = { student: tapped(3), teacher: tapped(5), taps: [['f', 'f']] } as const

test('init makes one 1 x 1 convolution without bias per pair, sized by the taps', () => {
  const s = pspnet({ classes: 4, width: 4 })
  const t = unet({ classes: 4, width: 6 })
  const { params, state } = nfd({
    student: s,
    teacher: t,
    taps: [
      ['stage2', 'stage1'],
      ['neck', 'neck'],
    ],
  }).init(key(1))
  assert.deepEqual(state, {})
  assert.deepEqual(
    arraysOf(params).map(({ path, leaf }) => [path, leaf.shape]),
    [
      ['stage2-stage1.weight', [12, 8, 1, 1]],
      ['neck-neck.weight', [6, 32, 1, 1]],
    ],
  )
})

test('a tap that a network does not have does not compile, nor do channels that differ where nothing aligns them', () => {
  const [s, t] = [pspnet({ classes: 4, width: 4 }), unet({ classes: 4, width: 6 })]
  // @ts-expect-error stage5 is no tap of the student's
  const unknownTap = () => nfd({ student: s, teacher: t, taps: [['stage5', 'stage1']] })
  // @ts-expect-error stage4 is no tap of the teacher's
  const othersTap = () => nfd({ student: s, teacher: t, taps: [['stage1', 'stage4']] })
  assert.throws(unknownTap, /no tap 'stage5'; it has stage1, stage2, stage3, stage4, neck/)
  assert.throws(othersTap, /no tap 'stage4'; it has stage1, stage2, stage3, neck/)
  const unequal = () =>
    // @ts-expect-error 3 and 5 channels
    fitnet({ student: tapped(3), teacher: tapped(5), taps: [['f', 'f']], align: sameChannels })
  assert.throws(unequal, /equal channels; f-f has 3 and 5/)
  // where the compiler knows no channels they are checked when the method is made
  const width: number = 5
  const dynamic = () =>
    fitnet({ student: tapped(3), teacher: tapped(width), taps: [['f', 'f']], align: sameChannels })
  assert.throws(dynamic, UsageError)
  // and a network that does not keep its promise is found while tracing
  const d = fitnet({ student: tapped(3), teacher: tapped(3), taps: [['f', 'f']], align: sameChannels })
  assert.throws(
    () => d.loss({ 'f-f': {} }, {}, output(traced(student)), output(traced(teacher)), context),
    (e: unknown) =>
      e instanceof ShapeError && /promises 3 channels in its tap 'f', and gives 5/.test(e.message),
  )
})

test('align resizes bilinearly to the size of the teacher, then mixes the channels', () => {
  const weight = normals(5, [5, 3, 1, 1])
  const y = evaluate(
    conv1x1.apply(
      { weight: traced(weight) },
      featureMap('x', traced(student)),
      featureMap('y', traced(teacher)),
      context,
    ),
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
  const params = constants(wide(d.init(key(1)).params))
  const loss = (p: typeof params) =>
    d.loss(p, {}, output(traced(student)), output(traced(teacher)), context).loss
  const g = evaluate(grad(loss)(params))
  assert.ok(arraysOf(g).every(l => Array.from(l.leaf.data, Number).some(x => Math.abs(x) > 1e-6)))
  assert.throws(() => loss({}), CompileError)
})

test('pairs that cannot be compared are errors: none, one twice; so are weights that are none', () => {
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
  assert.throws(() => nfd({ ...pair, weight: Number.NaN }), UsageError)
  assert.throws(() => nfd({ ...pair, eps: -1 }), UsageError)
})

test('fitnet is the mean squared difference', () => {
  const { loss, logs } = fitnet({
    student: tapped(3),
    teacher: tapped(3),
    taps: [['f', 'f']],
    align: sameChannels,
    weight: 3,
  }).loss({ 'f-f': {} }, {}, output(traced(student)), output(traced(sameSize)), context)
  const squares = Array.from(student.data, (v, i) => (Number(v) - Number(sameSize.data[i])) ** 2)
  const mse = squares.reduce((a, b) => a + b, 0) / squares.length
  close(number(loss), 3 * mse)
  assert.deepEqual(Object.keys(logs), ['fitnet', 'fitnet/f-f'])
  close(number(logs.fitnet), mse)
})

test('a mask of which nothing is left gives the loss 0', () => {
  const nothing = contextOf({ label: labels([2, 4, 4], [255]) })
  const both = [output(traced(student)), output(traced(sameSize))] as const
  assert.equal(number(masked()(kd()).loss({}, {}, ...both, nothing).loss), 0)
})

test('a sum adds losses, keeps one set of parameters per term and tells equal names apart; a weight multiplies', () => {
  const hw = nfd(pair)
  const d = distil.sum(
    hw,
    pipe(nfd({ ...pair, axes: 'NHW' }), distil.weighted(2)),
    pipe(fitnet(pair), distil.weighted(0.5)),
  )
  const variables = d.init(key(1))
  const params = constants(wide(variables.params))
  const all = [output(traced(student)), output(traced(teacher)), context] as const
  const { loss, logs, state } = d.loss(params, constants(variables.state), ...all)
  assert.deepEqual(state, [{}, {}, {}])
  assert.deepEqual(Object.keys(logs), ['nfd', 'nfd/f-f', 'nfd#2', 'nfd/f-f#2', 'fitnet', 'fitnet/f-f'])
  close(number(loss), number(logs.nfd) + 2 * number(logs['nfd#2']) + 0.5 * number(logs.fitnet))
  close(number(logs.nfd), number(hw.loss(params[0], {}, ...all).loss))
  assert.throws(() => distil.sum(), UsageError)
  assert.throws(() => distil.weighted(-1), UsageError)
})

test('a loss is the sum over its pairs of taps', () => {
  const s = pspnet({ classes: 2, width: 2, poolScales: [1] })
  const x = traced(normals(8, [2, 3, 16, 16]))
  const variables = constants(wide(s.init(key(2)).params))
  const state = constants(wide(s.init(key(2)).state))
  const out = s.apply(variables, state, x, { training: false }).out
  const other = s.apply(variables, state, traced(normals(9, [2, 3, 16, 16])), { training: false }).out
  const at = (taps: readonly (readonly ['stage1' | 'stage3', 'stage1' | 'stage3'])[]) =>
    number(
      nfd({ student: s, teacher: s, taps, align: sameChannels }).loss(
        { 'stage1-stage1': {}, 'stage3-stage3': {} },
        {},
        out,
        other,
        context,
      ).loss,
    )
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
