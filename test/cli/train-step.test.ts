/** Claims on the training step: accumulation, averaged weights, loss scaling, the loss with its options. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Backend } from '../../src/backend/backend.ts'
import { compile, unwrap } from '../../src/backend/compile.ts'
import { referenceBackend } from '../../src/backend/cpu/reference-backend.ts'
import type { Network } from '../../src/cli/models.ts'
import type { Named } from '../../src/cli/named.ts'
import { type LossOptions, segmentationLoss } from '../../src/cli/segment/loss.ts'
import { type StepOptions, trainingStep } from '../../src/cli/segment/step.ts'
import { array, type NDArray } from '../../src/dsl/array.ts'
import { isFloat } from '../../src/dsl/dtype.ts'
import type { Shape } from '../../src/dsl/shape.ts'
import type { Tensor } from '../../src/dsl/tensor.ts'
import { foldIn, key, uniformAt } from '../../src/dsl/threefry.ts'
import { spec } from '../../src/dsl/trace.ts'
import { compose, sequential } from '../../src/nn/compose.ts'
import { featureMap } from '../../src/nn/feature.ts'
import { batchNorm, conv } from '../../src/nn/layers.ts'
import { sgd } from '../../src/nn/optim.ts'
import { openBackend } from '../../src/node.ts'

const reference = referenceBackend()
const [n, classes, side] = [2, 3, 4]

/** A head and an auxiliary head on the image, with or without running statistics. */
function tinyNet(norm: boolean): Network {
  const layers = {
    head: conv(3, classes, { kernel: 3, padding: 1, bias: true }),
    side: conv(3, classes, { kernel: 1 }),
  }
  const module = compose(
    { stem: norm ? sequential(batchNorm(3)) : sequential(), ...layers },
    (call, x: Tensor) => {
      const y = featureMap('tiny', call.stem(x))
      return { logits: call.head(y), auxiliary: call.side(y), taps: {} }
    },
  )
  // A network only ever sees the trees that it made itself.
  return { ...module, name: 'tiny', tapChannels: {}, classes } as unknown as Network
}

const loss: LossOptions = { classWeights: [1, 2, 0.5], labelSmoothing: 0.1, auxiliaryWeight: 0.4, ohem: null }
const options = (more: Partial<StepOptions> = {}): StepOptions => ({
  net: tinyNet(false),
  optimiser: sgd({ momentum: 0.9, weightDecay: 0.01 }),
  loss,
  accumulate: 1,
  ema: null,
  lossScale: null,
  clip: null,
  ...more,
})

const numbers = (seed: number, count: number) =>
  Array.from({ length: count }, (_, i) => uniformAt(key(seed), i))
const imagesOf = (seed: number, count: number): NDArray =>
  array([count, 3, side, side], 'f32', numbers(seed, count * 3 * side * side))
/** Some pixels are void, and the images differ in how many. */
const labelsOf = (seed: number, count: number): NDArray =>
  array(
    [count, side, side],
    'i32',
    numbers(seed, count * side * side).map((u, i) =>
      u < 0.1 + 0.2 * (Math.floor(i / side ** 2) % 4) ? 255 : Math.floor(3 * u),
    ),
  )
const part = ({ shape, dtype, data }: NDArray, from: number, to: number): NDArray => {
  const row = data.length / shape[0]
  return array([to - from, ...shape.slice(1)], dtype, data.slice(from * row, to * row))
}

/** Runs a step on batches, in one update each `accumulate` batches. */
async function run(
  o: StepOptions,
  batches: readonly (readonly [NDArray, NDArray])[],
  rate = 0.1,
  backend: Backend = reference,
) {
  const { initial, step } = trainingStep(o, o.net.init(key(1)))
  const inputOf = ([image, label]: readonly [NDArray, NDArray], i: number) => ({
    image,
    label,
    learningRate: array([], 'f32', [rate]),
    key: array([2], 'u32', foldIn(key(9), i)),
    last: array([], 'f32', [Number((i + 1) % o.accumulate === 0)]),
  })
  const exe = await unwrap(compile(step, [initial, inputOf(batches[0], 0), {}] as never, backend))
  let state: Named<NDArray> = initial
  const logs: Named<NDArray>[] = []
  for (const [i, batch] of batches.entries()) {
    const out = (await exe(state as never, inputOf(batch, i) as never, {} as never)) as {
      state: Named<NDArray>
      logs: Named<NDArray>
    }
    state = out.state
    logs.push(out.logs)
  }
  return { initial, state, logs }
}

function assertClose(
  a: Named<NDArray>,
  b: Named<NDArray>,
  tolerance: number,
  only: (name: string) => boolean,
) {
  const names = Object.keys(a).filter(only)
  assert(names.length > 0)
  for (const name of names)
    a[name].data.forEach((x, i) => {
      const y = b[name].data[i]
      assert(Math.abs(x - y) <= tolerance * Math.max(1, Math.abs(y)), `${name}[${i}]: ${x} and ${y}`)
    })
}

for (const batches of [2, 3])
  test(`${batches} accumulated batches update as the large batch does, with class weights, void pixels and an auxiliary head`, async () => {
    const [image, label] = [imagesOf(2, 2 * batches * n), labelsOf(3, 2 * batches * n)]
    const cut = (size: number) =>
      Array.from(
        { length: image.shape[0] / size },
        (_, i) => [part(image, i * size, (i + 1) * size), part(label, i * size, (i + 1) * size)] as const,
      )
    const large = await run(options(), cut(batches * n))
    const small = await run(options({ accumulate: batches }), cut(n))
    // f32: sums in another order
    assertClose(large.state, small.state, 1e-5, name => /^(params|optimiser)/.test(name))
    const [a, b] = [large.logs.at(-1)?.loss.data[0] ?? 0, small.logs.at(-1)?.loss.data[0] ?? 1]
    assert(Math.abs(a - b) < 1e-5 * a, `loss ${a} and ${b}`)
    assert(Object.entries(small.state).every(([k, v]) => !k.startsWith('sums') || v.data.every(x => x === 0)))
  })

test('between updates accumulation leaves parameters and optimiser alone, and moves running statistics', async () => {
  const o = options({ net: tinyNet(true), accumulate: 3 })
  const { initial, state } = await run(o, [
    [imagesOf(4, n), labelsOf(5, n)],
    [imagesOf(6, n), labelsOf(7, n)],
  ])
  for (const [name, a] of Object.entries(state)) {
    if (/^(params|optimiser)/.test(name)) assert.deepEqual(a, initial[name], name)
    if (/^state\..*mean/.test(name)) assert.notDeepEqual(a.data, initial[name].data)
  }
})

test('averaged weights are the recursion that is documented, of parameters and running statistics', async () => {
  const batches = [10, 12, 14].map(s => [imagesOf(s, n), labelsOf(s + 1, n)] as const)
  const o = options({ net: tinyNet(true), ema: { decay: 0.2 } })
  const runs = await Promise.all([1, 2, 3].map(k => run(o, batches.slice(0, k))))
  const want: Record<string, number[]> = Object.fromEntries(
    Object.entries(runs[0].initial).map(([name, a]) => [name, Array.from(a.data)]),
  )
  runs.forEach(({ state }, i) => {
    const d = Math.min(0.2, (2 + i) / (11 + i))
    for (const name of Object.keys(want).filter(k => /^(params|state)/.test(k)))
      want[name] = want[name].map((x, j) => d * x + (1 - d) * state[name].data[j])
  })
  const last = runs[2].state
  for (const name of Object.keys(want).filter(k => /^(params|state)/.test(k)))
    for (const [j, x] of last[`ema.${name}`].data.entries()) assert(Math.abs(x - want[name][j]) < 1e-6, name)
})

test('loss scaling changes nothing but the scale, where nothing overflows', async () => {
  const batches = [[imagesOf(20, n), labelsOf(21, n)]] as const
  const [plain, scaled] = [
    await run(options(), batches),
    await run(options({ lossScale: 'dynamic' }), batches),
  ]
  // a power of two is exact
  for (const name of Object.keys(plain.state)) assert.deepEqual(scaled.state[name], plain.state[name], name)
  assert.equal(scaled.logs[0].lossScale.data[0], 2 ** 16)
  assert.equal(scaled.logs[0].loss.data[0], plain.logs[0].loss.data[0])
})

for (const accumulate of [1, 2])
  test(`a gradient that overflows is not applied, and the scale is halved (${accumulate} batches an update)`, async () => {
    const image = imagesOf(30, n)
    const huge = array(
      image.shape,
      'f32',
      Array.from(image.data, x => 1e36 * x),
    )
    const batches = [
      [huge, labelsOf(31, n)],
      [image, labelsOf(31, n)],
      [image, labelsOf(32, n)],
      [image, labelsOf(33, n)],
    ] as const
    const o = options({ net: tinyNet(true), lossScale: 'dynamic', accumulate, ema: { decay: 0.9 } })
    const { initial, state } = await run(o, batches.slice(0, accumulate), 1)
    for (const name of Object.keys(initial))
      if (!/^(scaling|state)/.test(name)) assert.deepEqual(state[name], initial[name], name)
    for (const a of Object.values(state)) if (isFloat(a.dtype)) assert(a.data.every(Number.isFinite))
    assert.equal(state['scaling.scale'].data[0], 2 ** 15)
    const later = await run(o, batches.slice(0, 2 * accumulate), 1e-3)
    assert.equal(later.state['scaling.scale'].data[0], 2 ** 15)
    assert.equal(later.state['optimiser.step'].data[0], 1)
    assert.notDeepEqual(later.state['params.head.weight'], initial['params.head.weight'])
  })

test('a batch without a labelled pixel has the loss 0 and no gradient', async () => {
  const label = array([n, side, side], 'i32', new Int32Array(n * side * side).fill(255))
  for (const ohem of [null, { threshold: 0.7, minKept: 4 }]) {
    const o = options({ optimiser: sgd(), loss: { ...loss, ohem } })
    const { initial, state, logs } = await run(o, [[imagesOf(40, n), label]])
    assert.equal(logs[0].loss.data[0], 0)
    assert.deepEqual(state['params.head.weight'], initial['params.head.weight'])
  }
})

test('clipping bounds the step by the norm that it reports', async () => {
  const o = options({ optimiser: sgd(), clip: 1e-3 })
  const { initial, state, logs } = await run(o, [[imagesOf(50, n), labelsOf(51, n)]], 1)
  const moved = Object.keys(initial)
    .filter(k => k.startsWith('params'))
    .flatMap(k => Array.from(state[k].data, (x, i) => (x - initial[k].data[i]) ** 2))
    .reduce((a, b) => a + b, 0)
  assert(logs[0].gradientNorm.data[0] > 1e-3)
  assert(Math.abs(Math.sqrt(moved) - 1e-3) < 1e-5)
})

test('hard example mining keeps the pixels of the lowest probabilities: at most the threshold, at least minKept', async () => {
  const pixels = side * side
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.double({ min: -6, max: 6, noNaN: true }), { minLength: 2 * pixels, maxLength: 2 * pixels }),
      fc.array(fc.constantFrom(0, 1, 255), { minLength: pixels, maxLength: pixels }),
      fc.constantFrom(0, 0.3, 0.7, 1),
      fc.integer({ min: 0, max: pixels + 2 }),
      async (logits, label, threshold, minKept) => {
        const x = array([1, 2, side, side], 'f32', logits)
        const ohem = { threshold, minKept }
        const f = (a: Tensor, b: Tensor) =>
          segmentationLoss(a, undefined, b as Tensor<Shape, 'i32'>, {
            classWeights: null,
            labelSmoothing: 0,
            auxiliaryWeight: 0,
            ohem,
          }).total
        const exe = await unwrap(
          compile(f, [spec([1, 2, side, side]), spec([1, side, side], 'i32')] as never, reference),
        )
        const got = ((await exe(x as never, array([1, side, side], 'i32', label) as never)) as NDArray)
          .data[0]
        // softmax of two classes
        const losses = label
          .flatMap((c, p) => {
            const d = x.data[p + pixels * (1 - c)] - x.data[p + pixels * c]
            return c === 255 ? [] : [{ p: 1 / (1 + Math.exp(d)), loss: Math.log1p(Math.exp(d)) }]
          })
          .sort((a, b) => a.p - b.p)
        const limit = Math.max(threshold, minKept === 0 ? 0 : (losses[minKept - 1]?.p ?? 9))
        const sure = (margin: number) => losses.filter(l => l.p <= limit + margin)
        // a pixel at the limit may fall on either side, by rounding
        fc.pre(sure(-1e-6).length === sure(1e-6).length || sure(1e-6).length <= minKept)
        const kept = sure(1e-6).map(l => l.loss)
        const want = kept.length === 0 ? 0 : kept.reduce((a, b) => a + b, 0) / kept.length
        assert(Math.abs(got - want) < 1e-5 * Math.max(1, want), `${got}, not ${want}`)
      },
    ),
    { numRuns: 25 },
  )
})

test('with intermediates in f16 a scaled step is near that of f32; without the feature the error names it', async t => {
  const adapter = process.env.COTANGENT_TEST_ADAPTER
  const opened = await openBackend('webgpu', { storage: 'f16', ...(adapter ? { adapter } : {}) })()
  if (opened._tag === 'Left') {
    t.diagnostic(`no f16 here: ${opened.left.message}`)
    return assert.match(opened.left.message, /storage f16 needs the feature shader-f16, which .* has not/)
  }
  const half = opened.right
  try {
    const batches = [[imagesOf(60, n), labelsOf(61, n)]] as const
    const o = options({ lossScale: 'dynamic' })
    const [want, got] = [await run(o, batches), await run(o, batches, 0.1, half)]
    // f16 has 11 bits; values and steps are of order 1
    assertClose(got.state, want.state, 5e-3, name => name.startsWith('params'))
    assert.equal(got.logs[0].lossScale.data[0], 2 ** 16)
  } finally {
    half.close()
  }
})
