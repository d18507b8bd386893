/** Every method against its formula in plain loops, its gradient against differences, and the laws that all share. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { grad } from '../../src/autodiff/grad.ts'
import { evaluate } from '../../src/backend/cpu/reference-backend.ts'
import { array, type NDArray } from '../../src/dsl/array.ts'
import { bernoulli, uniform } from '../../src/dsl/ops/random.ts'
import { constant, type Tensor } from '../../src/dsl/tensor.ts'
import { key } from '../../src/dsl/threefry.ts'
import { attentive, sameChannels } from '../../src/nfd/align.ts'
import { masked, maskedBy } from '../../src/nfd/combine.ts'
import { dist } from '../../src/nfd/kd.ts'
import { cirkdMemory } from '../../src/nfd/memory.ts'
import { mgd } from '../../src/nfd/nfd.ts'
import { featureMap } from '../../src/nn/feature.ts'
import { keyOf } from '../../src/nn/mode.ts'
import { checkGrads } from '../../src/testing/index.ts'
import { normals, wide } from '../support/trees.ts'
import { type Loss, methods } from './methods.ts'
import * as reference from './reference.ts'
import { constants, contextOf, labels, output, tapped, traced } from './taps.ts'

const number = (x: Tensor): number => Number(evaluate(x).data[0])
const numbers = (x: Tensor): number[] => Array.from(evaluate(x).data, Number)
const listOf = (a: NDArray): number[] => Array.from(a.data, Number)
// sums of at most a thousand f64 terms of order 1, and quotients by deviations of 0.1 and more
const tolerance = 1e-9
const close = (x: number, y: number, what = ''): void =>
  assert.ok(Math.abs(x - y) <= tolerance * Math.max(1, Math.abs(y)), `${what}: ${x} against ${y}`)

const classes = 3
/** Two features, and labels of their size of which some are 255. */
const cases = fc
  .record({
    n: fc.integer({ min: 2, max: 3 }),
    c: fc.integer({ min: 3, max: 4 }),
    h: fc.constantFrom(2, 4),
    w: fc.constantFrom(2, 4),
    seed: fc.integer({ min: 0, max: 2 ** 30 }),
  })
  .map(({ n, c, h, w, seed }) => ({
    s: normals(seed, [n, c, h, w]),
    t: normals(seed + 1, [n, c, h, w]),
    label: labels([n, h, w], [0, 1, 255, 1, 2, 0, 255]),
    seed,
  }))
type Case = typeof cases extends fc.Arbitrary<infer T> ? T : never
const holds = (check: (f: Case) => void, numRuns = 15): void =>
  fc.assert(fc.property(cases, check), { numRuns })
const lossAt = (loss: Loss, { s, t, label, seed }: Case): number =>
  number(loss(traced(s), traced(t), contextOf({ label, seed })))

/** The formula of each method that has no random part and no aligner of its own. */
const formulas: { readonly [name: string]: (s: reference.Grid, t: reference.Grid, f: Case) => number } = {
  fitnet: reference.fitnet,
  'nfd HW': (s, t) => reference.nfd(s, t, 'HW', 1e-5),
  'nfd NHW': (s, t) => reference.nfd(s, t, 'NHW', 1e-5),
  'nfd C': (s, t) => reference.nfd(s, t, 'C', 1e-5),
  'nfd CHW': (s, t) => reference.nfd(s, t, 'CHW', 1e-5),
  'nfd none': (s, t) => reference.nfd(s, t, 'none', 1e-5),
  'nfd relative': (s, t) => reference.nfdRelative(s, t, 'HW', 0.1),
  pkd: reference.pkd,
  cwd: (s, t) => reference.cwd(s, t, 4),
  at: reference.at,
  attnfd: reference.attnfd,
  layerNormFd: reference.layerNormFd,
  simpleRecipe: reference.simpleRecipe,
  skd: (s, t) => reference.skd(s, t, 2),
  ifvd: (s, t, { label }) => reference.ifvd(s, t, (b, p) => Number(label.data[b * s.h * s.w + p]), classes),
  cirkd: (s, t) => reference.cirkd(s, t, 0.1),
  kd: (s, t) => reference.kd(s, t, 3),
  standardisedKd: (s, t) => reference.standardisedKd(s, t, 2),
  cwdLogits: (s, t) => reference.cwd(s, t, 4),
  dist: (s, t) => reference.dist(s, t, 1, 1, 1),
}
for (const [name, formula] of Object.entries(formulas))
  test(`${name} is its formula`, () =>
    holds(f =>
      close(lossAt(methods(f.s.shape[1])[name], f), formula(reference.grid(f.s), reference.grid(f.t), f)),
    ))

test('dist weighs its two correlations, and has a temperature', () =>
  holds(f => {
    const { loss } = dist({ temperature: 2, beta: 0.5, gamma: 3 }).loss(
      {},
      {},
      output(traced(f.s)),
      output(traced(f.t)),
      contextOf(),
    )
    close(number(loss), reference.dist(reference.grid(f.s), reference.grid(f.t), 2, 0.5, 3))
  }))

test("attnfd's aligner is channel attention, spatial attention, a 1 x 1 convolution and batch norm", () =>
  holds(f => {
    const params = wide(attentive.init(key(f.seed), f.s.shape[1], 5))
    const like = traced(normals(1, [f.s.shape[0], 5, f.s.shape[2], f.s.shape[3]]))
    const y = attentive.apply(
      constants(params),
      featureMap('test', traced(f.s)),
      featureMap('test', like),
      contextOf(),
    )
    const want = reference.attentive(reference.grid(f.s), 5, {
      hidden: listOf(params.hidden),
      channels: listOf(params.channels),
      pixels: listOf(params.pixels),
      weight: listOf(params.weight),
    })
    const [h, w] = [f.s.shape[2], f.s.shape[3]]
    numbers(y).forEach((v, i) => {
      close(v, want.x(Math.floor(i / (5 * h * w)), Math.floor(i / (h * w)) % 5, i % (h * w)))
    })
  }, 5))

test('mgd drops pixels at random and generates the teacher from the rest', () =>
  holds(f => {
    const [n, c, h, w] = f.s.shape
    const d = mgd({ student: tapped(c), teacher: tapped(c), taps: [['f', 'f']] })
    const params = wide(d.init(key(f.seed)).params)
    const context = contextOf({ seed: f.seed })
    const { loss } = d.loss(constants(params), {}, output(traced(f.s)), output(traced(f.t)), context)
    const shown = evaluate(bernoulli(keyOf(context.key), [n, 1, h, w], 0.25)).data
    const { first, firstBias, second, secondBias } = params['f-f']
    close(
      number(loss),
      reference.mgd(reference.grid(f.s), reference.grid(f.t), (b, p) => Boolean(shown[b * h * w + p]), [
        [listOf(first), listOf(firstBias)],
        [listOf(second), listOf(secondBias)],
      ]),
    )
  }, 5))

test("cirkd's memory: queues take a random pixel and the mean of each class and image, and are compared with", () =>
  holds(f => {
    const [n, c, h, w] = f.s.shape
    const size = 2
    const d = methodsOfMemory(c, size)
    const { state } = wide(d.init(key(f.seed)))
    const context = contextOf({ label: f.label, seed: f.seed })
    const after = d.loss({ 'f-f': {} }, constants(state), output(traced(f.s)), output(traced(f.t)), context)
    const t = reference.grid(f.t)
    const random = evaluate(uniform(keyOf(context.key), [n, 1, h * w])).data
    const queue = (a: NDArray) =>
      Array.from({ length: classes }, (_, k) =>
        Array.from({ length: size }, (_, i) => listOf(a).slice((k * size + i) * c, (k * size + i + 1) * c)),
      )
    const want = { pixels: queue(state['f-f'].pixels), regions: queue(state['f-f'].regions) }
    for (let b = 0; b < n; b++)
      for (let k = 0; k < classes; k++) {
        const members = Array.from({ length: h * w }, (_, p) => p).filter(
          p => Number(f.label.data[b * h * w + p]) === k,
        )
        if (members.length === 0) continue
        const drawn = members.reduce((a, p) => (random[b * h * w + p] > random[b * h * w + a] ? p : a))
        want.pixels[k] = [...want.pixels[k].slice(1), reference.direction(t, b, drawn)]
        want.regions[k] = [...want.regions[k].slice(1), reference.region(t, b, members)]
      }
    for (const which of ['pixels', 'regions'] as const)
      numbers(after.state['f-f'][which]).forEach((v, i) => {
        close(v, want[which].flat(2)[i], which)
      })
    const s = reference.grid(f.s)
    const both = [want.pixels.flat(), want.regions.flat()].map(q => reference.cirkdQueue(s, t, q, 0.1))
    close(number(after.loss), both[0] + both[1])
  }))

const small = {
  s: normals(11, [2, 4, 4, 4]),
  t: normals(12, [2, 4, 4, 4]),
  label: labels([2, 4, 4], [0, 1, 255, 2, 1]),
}
for (const [name, loss] of Object.entries(methods(4))) {
  test(`${name}: the gradient is that of the differences, and nothing flows to the teacher`, () => {
    const context = contextOf({ label: small.label })
    const all = { s: traced(small.s), t: traced(small.t) }
    // twice differentiable nearly everywhere; a first derivative is what training takes
    checkGrads((x: Tensor) => loss(x, traced(small.t), context), [small.s], { order: 1 })
    const g = grad((v: typeof all) => loss(v.s, v.t, context))(all)
    assert.ok(
      numbers(g.t).every(v => v === 0),
      'a gradient reaches the teacher',
    )
    assert.ok(
      numbers(g.s).some(v => Math.abs(v) > 1e-9),
      'the student gets none',
    )
  })

  test(`${name}: constant and equal features give a finite loss and gradient`, () => {
    const context = contextOf({ label: small.label })
    const { shape, data } = small.s
    const flat = array(
      shape,
      'f64',
      Array.from(data, (v, i) => (Math.floor(i / 16) % 2 === 0 ? 0.1 : Number(v))),
    )
    const zero = array(shape, 'f64', new Float64Array(data.length))
    for (const [x, y] of [
      [flat, small.t],
      [small.s, flat],
      [zero, small.t],
      [small.s, zero],
      [zero, zero],
      [small.s, small.s],
    ] as const) {
      const value = (v: Tensor) => loss(v, traced(y), context)
      assert.ok(Number.isFinite(number(value(traced(x)))), 'the loss')
      assert.ok(numbers(grad(value)(traced(x))).every(Number.isFinite), 'the gradient')
    }
  })
}

for (const name of Object.keys(methods(4)))
  test(`${name}: what masked pixels hold changes neither the loss nor the gradient`, () =>
    holds(f => {
      const [n, c, h, w] = f.s.shape
      // a mask that has nothing to do with the labels
      const out = (b: number, p: number): boolean => (b + 2 * p + f.seed) % 5 === 0
      const shown = Uint8Array.from({ length: n * h * w }, (_, i) =>
        out(Math.floor(i / (h * w)), i % (h * w)) ? 0 : 1,
      )
      const loss = methods(
        c,
        maskedBy(() => constant([n, 1, h, w], 'bool', shown)),
      )[name]
      const spoilt = (x: NDArray, by: number): NDArray =>
        array(
          x.shape,
          'f64',
          Array.from(x.data, (v, i) => (out(Math.floor(i / (c * h * w)), i % (h * w)) ? by : Number(v))),
        )
      const at = (by: number): readonly [number, number[]] => {
        const value = (x: Tensor) =>
          loss(x, traced(spoilt(f.t, -by)), contextOf({ label: f.label, seed: f.seed }))
        const x = traced(spoilt(f.s, by))
        return [number(value(x)), numbers(grad(value)(x))]
      }
      assert.deepEqual(at(1e3), at(0))
      assert.ok(Number.isFinite(at(0)[0]))
    }, 4))

for (const name of Object.keys(formulas))
  test(`${name}: an image that is masked as a whole might as well not be in the batch`, () =>
    holds(f => {
      const [n, c, h, w] = f.s.shape
      const left = (x: NDArray): NDArray =>
        array([n - 1, c, h, w], 'f64', Array.from(x.data, Number).slice(0, (n - 1) * c * h * w))
      const label = labels(
        [n, h, w],
        Array.from({ length: n * h * w }, (_, i) => (i < (n - 1) * h * w ? i % classes : 255)),
      )
      const all = methods(c)[name]
      close(
        lossAt(methods(c, masked())[name], { ...f, label }),
        lossAt(all, {
          s: left(f.s),
          t: left(f.t),
          label: labels([n - 1, h, w], Array.from(label.data, Number)),
          seed: f.seed,
        }),
      )
    }, 4))

test('skd: a masked pixel is never the largest of its cell', () => {
  // all features are negative, so that a 0 would be
  const negative = (seed: number): NDArray =>
    array(
      [1, 3, 4, 4],
      'f64',
      Array.from(normals(seed, [1, 3, 4, 4]).data, v => -1 - Math.abs(Number(v))),
    )
  const label = labels([1, 4, 4], [255, 0, 255, 0, 0, 0, 0, 0])
  // the same with each masked pixel as its neighbour to the right, which is in its cell
  const copied = (x: NDArray): NDArray =>
    array(
      x.shape,
      'f64',
      Array.from(x.data, (v, i) => Number(label.data[i % 16] === 255 ? x.data[i + 1] : v)),
    )
  const [s, t] = [negative(1), negative(2)]
  close(
    lossAt(methods(3, masked()).skd, { s, t, label, seed: 1 }),
    lossAt(methods(3).skd, { s: copied(s), t: copied(t), label, seed: 1 }),
  )
})

test('a class that both networks exclude, with a logit of -infinity, leaves KD finite', () => {
  const excluded = (x: NDArray): Tensor =>
    traced(
      array(
        x.shape,
        'f64',
        Array.from(x.data, (v, i) => (Math.floor(i / 16) % 4 === 2 ? Number.NEGATIVE_INFINITY : Number(v))),
      ),
    )
  const loss = methods(4).kd(excluded(small.s), excluded(small.t), contextOf())
  assert.ok(Number.isFinite(number(loss)))
})

/** Methods whose pixels have no neighbours: without the masked ones they are what they are with the mask. */
const pointwise = Object.keys(formulas).filter(name => !['skd', 'attnfd'].includes(name))
for (const name of pointwise)
  test(`${name}: with a mask it is the loss of the pixels that are left`, () =>
    holds(f => {
      const [n, c, h, w] = f.s.shape
      const kept = h * w - 1
      const label = labels(
        [n, h, w],
        Array.from({ length: h * w }, (_, p) => (p < kept ? p % classes : 255)),
      )
      const cut = (x: NDArray): NDArray =>
        array(
          [n, c, 1, kept],
          'f64',
          Array.from(x.data, Number).filter((_, i) => i % (h * w) < kept),
        )
      const cutLabel = labels(
        [n, 1, kept],
        Array.from({ length: kept }, (_, p) => p % classes),
      )
      const all = methods(c)[name]
      close(
        lossAt(methods(c, masked())[name], { ...f, label }),
        lossAt(all, { s: cut(f.s), t: cut(f.t), label: cutLabel, seed: f.seed }),
      )
    }, 5))

/** CIRKD's memory without its adapter, so that the formula needs none. */
function methodsOfMemory(channels: number, size: number) {
  return cirkdMemory({
    student: tapped(channels),
    teacher: tapped(channels),
    taps: [['f', 'f']],
    align: sameChannels,
    classes,
    size,
  })
}
