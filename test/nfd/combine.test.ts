/** What combinators do to a distillation: schedules, masks, weights, balance, stages, views. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { pipe } from 'fp-ts/lib/function.js'
import { grad } from '../../src/autodiff/grad.ts'
import { evaluate } from '../../src/backend/cpu/reference-backend.ts'
import { array, type NDArray } from '../../src/dsl/array.ts'
import { mul, slice } from '../../src/dsl/build.ts'
import { ShapeError, UsageError } from '../../src/dsl/errors.ts'
import { keyTensor } from '../../src/dsl/ops/random.ts'
import { constant, type Tensor } from '../../src/dsl/tensor.ts'
import { key } from '../../src/dsl/threefry.ts'
import { sameChannels } from '../../src/nfd/align.ts'
import { balanced, masked, maskedBy, scheduled, staged, weightedBy } from '../../src/nfd/combine.ts'
import { type Change, constantTeacher, sum, weighted } from '../../src/nfd/distil.ts'
import { dist, kd } from '../../src/nfd/kd.ts'
import { cirkdMemory } from '../../src/nfd/memory.ts'
import { cwd, fitnet, nfd } from '../../src/nfd/nfd.ts'
import { cosineDecay, startAt, stopAt, warmUp } from '../../src/nfd/schedule.ts'
import { mirrored, noisy, seenThrough } from '../../src/nfd/view.ts'
import { unet } from '../../src/nn/unet.ts'
import { normals, wide } from '../support/trees.ts'
import { constants, contextOf, labels, output, tapped, traced } from './taps.ts'

const number = (x: Tensor): number => Number(evaluate(x).data[0])
const numbers = (x: Tensor): number[] => Array.from(evaluate(x).data, Number)
const close = (x: number, y: number): void =>
  assert.ok(Math.abs(x - y) <= 1e-12 * Math.max(1, Math.abs(y)), `${x} against ${y}`)
const [s, t] = [normals(1, [2, 3, 4, 4]), normals(2, [2, 3, 4, 4])]
const pair = { student: tapped(3), teacher: tapped(3), taps: [['f', 'f']], align: sameChannels } as const
const none = { 'f-f': {} }
const label = labels([2, 4, 4], [0, 255, 1])
const fitnetAt = (change: Change, step = 0, student: Tensor = traced(s)) =>
  change(fitnet(pair)).loss(none, {}, output(student), output(traced(t)), contextOf({ label, step }))

test('a schedule multiplies the loss by its factors at the traced step; logs stay', () =>
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 300 }), step => {
      const plain = number(fitnetAt(d => d).loss)
      const line = Math.min(step / 100, 1)
      const cosine = (1 + Math.cos(Math.PI * Math.min(step / 200, 1))) / 2
      const out = fitnetAt(scheduled(warmUp(100), cosineDecay(200), stopAt(250)), step)
      close(number(out.loss), step < 250 ? plain * line * cosine : 0)
      close(number(out.logs.fitnet), plain)
      close(number(fitnetAt(scheduled(startAt(70)), step).loss), step < 70 ? 0 : plain)
      close(
        number(fitnetAt(scheduled(warmUp(100, { from: 0.5 }), cosineDecay(200, { end: 0.1 })), step).loss),
        plain * (0.5 + line / 2) * (0.1 + 0.9 * cosine),
      )
    }),
    { numRuns: 20 },
  ))

test('a schedule without steps, or stages that do not ascend, are errors', () => {
  assert.throws(() => warmUp(0), UsageError)
  assert.throws(() => cosineDecay(-1), UsageError)
  assert.throws(() => staged([10, kd()], [10, dist()]), UsageError)
})

test('stages follow one another, each with its own parameters, state and taps', () => {
  const memory = cirkdMemory({ ...pair, classes: 2, size: 3 })
  const d = staged([0, fitnet(pair)], [5, memory], [9, kd()])
  const { params, state } = wide(d.init(key(3)))
  const at = (step: number) =>
    d.loss(
      constants(params),
      constants(state),
      output(traced(s)),
      output(traced(t)),
      contextOf({ label, step }),
    )
  const alone = (i: number) => number(Object.values(at(0).logs)[i])
  close(number(at(0).loss), alone(0))
  assert.deepEqual(Object.keys(at(0).logs), ['fitnet', 'fitnet/f-f', 'cirkdMemory', 'cirkdMemory/f-f', 'kd'])
  close(number(at(5).loss), alone(2))
  close(number(at(8).loss), alone(2))
  close(number(at(9).loss), alone(4))
  // a memory that is not in its stage stays as it is
  const pixels = (step: number) => numbers(at(step).state[1]['f-f'].pixels)
  const before = Array.from(state[1]['f-f'].pixels.data, Number)
  assert.deepEqual(pixels(0), before)
  assert.deepEqual(pixels(9), before)
  assert.notDeepEqual(pixels(5), before)
})

test('masks add up: a pixel counts where all say so', () => {
  const left = maskedBy(() =>
    constant(
      [1, 1, 4, 4],
      'bool',
      Uint8Array.from({ length: 16 }, (_, i) => (i < 9 ? 1 : 0)),
    ),
  )
  const counts = (b: number, p: number): boolean => p < 9 && label.data[b * 16 + p] !== 255
  const errors = [0, 1].flatMap(b =>
    [0, 1, 2].flatMap(c =>
      Array.from({ length: 16 }, (_, p) => p)
        .filter(p => counts(b, p))
        .map(p => (Number(s.data[(b * 3 + c) * 16 + p]) - Number(t.data[(b * 3 + c) * 16 + p])) ** 2),
    ),
  )
  const want = errors.reduce((a, e) => a + e, 0) / errors.length
  close(number(fitnetAt(d => pipe(d, masked(), left)).loss), want)
  close(number(fitnetAt(d => pipe(d, left, masked())).loss), want)
  assert.throws(() => fitnetAt(maskedBy(({ step }) => step)), UsageError)
})

test('weights multiply the errors of samples and of pixels; equal ones are a factor', () => {
  const samples = array([2, 1, 1, 1], 'f64', [3, 0.5])
  const pixels = normals(9, [2, 1, 4, 4])
  const by = (w: NDArray) => weightedBy(() => traced(w))
  const at = (b: number, p: number) => Number(samples.data[b]) * Number(pixels.data[b * 16 + p])
  const total = Array.from(s.data, (v, i) => {
    const [b, p] = [Math.floor(i / 48), i % 16]
    return at(b, p) * (Number(v) - Number(t.data[i])) ** 2
  }).reduce((a, e) => a + e, 0)
  close(number(fitnetAt(d => pipe(d, by(samples), by(pixels))).loss), total / s.data.length)
  close(number(fitnetAt(by(array([1, 1, 1, 1], 'f64', [2]))).loss), 2 * number(fitnetAt(d => d).loss))
  // every method weighs samples that it compares one by one
  const cwdAt = (change: Change) =>
    number(change(cwd(pair)).loss(none, {}, output(traced(s)), output(traced(t)), contextOf()).loss)
  const first = cwdAt(by(array([2, 1, 1, 1], 'f64', [1, 0])))
  const second = cwdAt(by(array([2, 1, 1, 1], 'f64', [0, 1])))
  close(
    first + second,
    cwdAt(d => d),
  )
  assert.throws(() => cwdAt(by(pixels)), ShapeError)
  const distAt = () =>
    pipe(dist(), by(samples)).loss({}, {}, output(traced(s)), output(traced(t)), contextOf())
  assert.throws(distAt, /whole batch/)
})

test('no gradient flows through weights', () => {
  const weigh = weightedBy((_, student) => slice(student.logits, [0, 0, 0, 0], [2, 1, 4, 4]))
  const fixed = weightedBy(() => slice(traced(s), [0, 0, 0, 0], [2, 1, 4, 4]))
  const g = (change: Change) => numbers(grad((x: Tensor) => fitnetAt(change, 0, x).loss)(traced(s)))
  assert.deepEqual(g(weigh), g(fixed))
})

test('balanced by its gradient, a loss pulls with the norm 1, whatever its scale', () =>
  fc.assert(
    fc.property(fc.integer({ min: -20, max: 20 }), power => {
      const change: Change = d => pipe(d, weighted(2 ** power), balanced)
      const g = numbers(grad((x: Tensor) => fitnetAt(change, 0, x).loss)(traced(s)))
      // the feature stands for the logits too, which FitNet does not read: the norm is that of the tap alone
      close(Math.hypot(...g), 1)
    }),
    { numRuns: 10 },
  ))

test('a loss without gradient stays when it is balanced', () => {
  const d = balanced(fitnet(pair))
  assert.equal(number(d.loss(none, {}, output(traced(t)), output(traced(t)), contextOf()).loss), 0)
})

test("divided by the teacher's norm, a term of squares does not see a common scale", () => {
  const at = (power: 1 | 2, scale: number) => {
    const d = fitnet({ ...pair, perTeacherNorm: power })
    return number(
      d.loss(none, {}, output(mul(traced(s), scale)), output(mul(traced(t), scale)), contextOf()).loss,
    )
  }
  for (const scale of [1 / 128, 128]) {
    close(at(2, scale), at(2, 1))
    close(at(1, scale), scale * at(1, 1))
  }
  const square = Array.from(t.data, Number).reduce((a, v) => a + v * v, 0) / t.data.length
  close(at(2, 1), number(fitnetAt(d => d).loss) / square)
  const zero = fitnet({ ...pair, perTeacherNorm: 2 })
  const zeros = traced(array([2, 3, 4, 4], 'f64', new Float64Array(96)))
  assert.ok(Number.isFinite(number(zero.loss(none, {}, output(traced(s)), output(zeros), contextOf()).loss)))
})

test('a sum of changed terms is the sum of what they are', () => {
  const d = sum(pipe(nfd(pair), masked(), weighted(2)), pipe(kd(), scheduled(stopAt(1))))
  const at = (step: number) =>
    number(
      d.loss([none, {}], [{}, {}], output(traced(s)), output(traced(t)), contextOf({ label, step })).loss,
    )
  const parts = [
    pipe(nfd(pair), masked()).loss(none, {}, output(traced(s)), output(traced(t)), contextOf({ label })),
    kd().loss({}, {}, output(traced(s)), output(traced(t)), contextOf({ label })),
  ].map(p => number(p.loss))
  close(at(0), 2 * parts[0] + parts[1])
  close(at(1), 2 * parts[0])
})

test('a teacher that sees the mirror image gives outputs that lie on the pixels of the image', () => {
  const net = unet({ classes: 2, width: 2, depth: 2 })
  const variables = wide(net.init(key(1)))
  const [params, state] = [constants(variables.params), constants(variables.state)]
  const image = traced(normals(4, [1, 3, 8, 8]))
  const teach = constantTeacher(net)
  const seen = seenThrough(mirrored, teach)(params, state, image, keyTensor(1))
  const direct = teach(params, state, mirrored.input(image, keyTensor(1)))
  assert.deepEqual(numbers(mirrored.output(seen.taps.neck, keyTensor(1))), numbers(direct.taps.neck))
  // and one that sees noise sees another image, on the same pixels
  const plain = numbers(teach(params, state, image).logits)
  const noised = numbers(seenThrough(noisy(0.1), teach)(params, state, image, contextOf().key).logits)
  assert.notDeepEqual(noised, plain)
  assert.deepEqual(numbers(seenThrough(noisy(0), teach)(params, state, image, contextOf().key).logits), plain)
})
