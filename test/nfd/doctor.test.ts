import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { pipe } from 'fp-ts/lib/function.js'
import { jit, unwrap } from '../../src/backend/compile.ts'
import { array, type NDArray } from '../../src/dsl/array.ts'
import { add, div, mean, mul, stopGradient } from '../../src/dsl/build.ts'
import { resizeBilinear } from '../../src/dsl/ops/resize.ts'
import type { Tensor } from '../../src/dsl/tensor.ts'
import { type Key, key, uniformAt } from '../../src/dsl/threefry.ts'
import { isTensor, isType } from '../../src/dsl/trace.ts'
import { mapTree } from '../../src/dsl/tree.ts'
import { type Align, conv1x1 } from '../../src/nfd/align.ts'
import { balanced, scheduled } from '../../src/nfd/combine.ts'
import { squaredError, term } from '../../src/nfd/compare.ts'
import { sum, weighted } from '../../src/nfd/distil.ts'
import { type Diagnosis, diagnose } from '../../src/nfd/doctor.ts'
import { leastSquares, probedSteps } from '../../src/nfd/doctor-shares.ts'
import { kd } from '../../src/nfd/kd.ts'
import { nfd } from '../../src/nfd/nfd.ts'
import { asIs } from '../../src/nfd/normalise.ts'
import { startAt, stopAt } from '../../src/nfd/schedule.ts'
import { features } from '../../src/nfd/taps.ts'
import { compose } from '../../src/nn/compose.ts'
import { type FeatureMap, featureMap } from '../../src/nn/feature.ts'
import { conv, convBnRelu } from '../../src/nn/layers.ts'
import { openBackend } from '../../src/node.ts'

const classes = 3
const side = 16
const backend = await unwrap(openBackend('cpu', { threads: 1 }))
after(() => backend.close())

/** Two layers with two taps; `change` bends what they give. */
function tiny(width: number, change: (x: FeatureMap) => Tensor = x => x) {
  const module = compose(
    {
      low: convBnRelu(3, width, { kernel: 3, stride: 2 }),
      high: convBnRelu(width, 2 * width, { kernel: 3 }),
      classifier: conv(2 * width, classes, { kernel: 1 }),
    },
    (call, x: Tensor) => {
      const low = call.low(x)
      const high = featureMap('tiny', change(featureMap('tiny', call.high(low))))
      return {
        logits: pipe(high, call.classifier, resizeBilinear({ size: [side, side] })),
        taps: { low, high },
      }
    },
  )
  return { ...module, name: `tiny(${width})`, tapChannels: { low: width, high: 2 * width } }
}
const [student, teacher] = [tiny(4), tiny(6)]

const isArray = (x: unknown): x is NDArray => isType(x) && 'data' in x
const mapped = <T>(tree: T, f: (value: number, i: number, path: string) => number): T =>
  mapTree(tree, isArray, ({ shape, dtype, data }, path) =>
    array(
      shape,
      dtype,
      Array.from(data, (x, i) => f(Number(x), i, path)),
    ),
  ) as T // each array is replaced by one of its type
/** The net's values as training might leave them: no gain is 1, no offset and no running mean 0. */
const trained = (net: ReturnType<typeof tiny>, k: Key = key(7)) => {
  const { params, state } = net.init(k)
  const bent = <T>(tree: T) =>
    mapped(tree, (x, i) => x * (1 + 0.1 * uniformAt(k, i)) + 0.05 * uniformAt(k, i + 99))
  return { params: bent(params), state: bent(state) }
}
const batch = {
  image: array(
    [3, 3, side, side],
    'f32',
    Array.from({ length: 9 * side * side }, (_, i) => 2 * uniformAt(key(1), i) - 1),
  ),
  label: array(
    [3, side, side],
    'i32',
    Array.from({ length: 3 * side * side }, (_, i) =>
      i % 17 === 0 ? 255 : Math.floor(uniformAt(key(2), i) * classes),
    ),
  ),
}
const pair = {
  student,
  teacher,
  taps: [['high', 'high']],
} as const
const healthy = {
  student,
  teacher,
  distillation: sum(nfd({ ...pair, weight: 2 }), kd({ temperature: 2, weight: 0.5 })),
  taught: trained(teacher),
  batch,
  steps: 100,
  key: key(3),
}
/** Patients of other types than the healthy one pass too: that is how faults are made. */
const examine = (patient: object): Promise<Diagnosis> =>
  diagnose(patient as typeof healthy, f => jit(f, backend))
/** The findings are exactly these, in their order. */
async function finds(changes: object, ...expected: readonly RegExp[]): Promise<Diagnosis> {
  const diagnosis = await examine({ ...healthy, ...changes })
  const said = diagnosis.findings.map(f => `${f.level}: ${f.message}`)
  assert.equal(said.length, expected.length, said.join('\n'))
  expected.forEach((pattern, i) => {
    assert.match(said[i], pattern)
  })
  return diagnosis
}

test('a healthy pipeline has no finding; its terms are told with loss, weight, gradient and cosine', async () => {
  const { terms, task } = await finds({})
  assert.deepEqual(
    terms.map(t => t.name),
    ['nfd', 'kd'],
  )
  const [first, second] = terms
  assert(Math.abs(first.weight - 2) < 1e-3 && Math.abs(second.weight - 0.5) < 1e-3, 'least squares in f32')
  assert(first.loss > 0 && first.loss <= 4 && second.loss > 0 && task.loss > 0)
  for (const t of terms) assert(t.gradientNorm > 0 && Math.abs(t.cosine) <= 1 + 1e-5)
})

test('the gradient norm is that of the weighted term, and the cosine does not depend on the weight', async () => {
  const one = (await finds({ distillation: nfd(pair) })).terms[0]
  const three = (await finds({ distillation: pipe(nfd(pair), weighted(3)) })).terms[0]
  assert(Math.abs(three.gradientNorm / one.gradientNorm - 3) < 1e-3)
  assert.equal(three.cosine, one.cosine)
  const unit = (await finds({ distillation: pipe(nfd(pair), balanced) })).terms[0]
  assert(unit.weight > 0 && Math.abs(unit.weight - 1) > 1e-3)
})

/** A student, or teacher, whose deep layer goes through `change`. */
const bent = (width: number, change: (x: FeatureMap) => Tensor) => tiny(width, change)

test('a teacher tap of zeros, or of a constant, is found where the distillation reads it', async () => {
  const zero = bent(6, x => mul(x, 0))
  await finds(
    { teacher: zero, distillation: nfd(pair) },
    /^error: the teacher's tap 'high' is 0 everywhere: load the teacher's weights, or name another tap/,
  )
  await finds({ teacher: zero, distillation: nfd({ ...pair, taps: [['low', 'low']] }) })
  await finds(
    { teacher: bent(6, x => add(mul(x, 0), 0.7)), distillation: nfd(pair) },
    /^error: the teacher's tap 'high' is the constant 0\.700, whatever the image shows/,
  )
})

test('a teacher that is called in training mode is found', async () => {
  await finds(
    {
      teach: (net: typeof teacher) => (params: never, state: never, image: Tensor, k: Tensor) =>
        net.apply(params, state, image, { training: true, key: k }).out,
    },
    /^error: the teacher is called in training mode: .*use constantTeacher\(net\), or training: false/,
  )
})

test('a teacher that normalises by its batch in evaluation mode too is found by its outputs', async () => {
  await finds(
    {
      teacher: {
        ...teacher,
        apply: (...[params, state, x]: Parameters<typeof teacher.apply>) =>
          teacher.apply(params, state, x, { training: true }),
      },
    },
    /^error: the teacher's output for an image changes with the other images of the batch \(logits, taps\.low, taps\.high\): .*make its apply heed mode\.training/,
  )
})

/** An aligner with a convolution that it does not use. */
const idle: Align<{ readonly weight: NDArray; readonly second: NDArray }> = {
  ...conv1x1,
  init: (k, from, to) => ({ ...conv1x1.init(k, from, to), second: array([2], 'f32', [1, 1]) }),
}
test('an adapter without a gradient is found', async () => {
  await finds(
    { distillation: nfd({ ...pair, align: idle }) },
    /^error: the adapter 'high-high\.second' gets no gradient of any term: its output is not compared/,
  )
  const detached: Align<{ readonly weight: NDArray }> = {
    ...conv1x1,
    apply: ({ weight }, ...rest) => conv1x1.apply({ weight: stopGradient(weight) }, ...rest),
  }
  await finds(
    { distillation: nfd({ ...pair, align: detached }) },
    /^error: the adapter 'high-high\.weight' gets no gradient/,
  )
})

test('a term that never counts is found: weight 0, or a schedule that is 0 in the whole run', async () => {
  const never =
    /^error: the term kd never counts: its weight is 0, or its schedule is 0 in all of the 100 steps/
  await finds({ distillation: sum(nfd(pair), kd({ weight: 0 })) }, never)
  await finds({ distillation: sum(nfd(pair), pipe(kd(), scheduled(startAt(100)))) }, never)
  await finds({ distillation: sum(nfd(pair), pipe(kd(), scheduled(stopAt(0)))) }, never)
  await finds({ distillation: kd({ weight: 0 }) }, never)
  await finds({ distillation: sum(nfd(pair), pipe(kd(), scheduled(startAt(99)))) })
  await finds({ distillation: sum(nfd(pair), pipe(kd(), scheduled(stopAt(1)))) })
})

test('a term without a gradient is found: it compares what does not depend on the student', async () => {
  const blind = features(
    'blind',
    conv1x1,
    () => (_, t, context) => term(asIs, squaredError)(mul2(t), t, context),
  )
  await finds(
    { distillation: sum(nfd(pair), blind(pair)) },
    /^error: the adapter '1\.high-high\.weight' gets no gradient/,
    /^error: the term blind gives the student no gradient/,
  )
})
const mul2 = (x: FeatureMap): FeatureMap => featureMap('test', mul(x, 2))

test('a distillation that reads nothing of the teacher is found', async () => {
  const { findings } = await examine({
    ...healthy,
    distillation: {
      init: () => ({ params: {}, state: {} }),
      loss: (_: unknown, state: unknown, s: { readonly logits: FeatureMap }) => {
        const loss = term(asIs, squaredError)(s.logits, featureMap('test', mul(s.logits, 0)), contextless)
        return { loss, logs: { size: loss }, state }
      },
    },
  })
  assert.deepEqual(
    findings.map(f => f.message),
    ['the distillation reads nothing of the teacher: it trains the student as if there were none'],
  )
})
// what `term` reads of a context is the mask and the weights: there are none
const contextless = {} as Parameters<ReturnType<typeof term>>[2]

test('a student without a gradient is found, whole or by layer', async () => {
  await finds(
    { student: bent(4, x => stopGradient(x)), distillation: nfd(pair) },
    /^error: the student's layers low\.conv, low\.bn, high\.conv and 1 more get no gradient: .*stopGradient/,
    /^error: the term nfd gives the student no gradient \(its loss is [\d.]+\): the features that it compares are equal, constant or under/,
  )
  const whole =
    /^error: the student gets no gradient at all, of the labels or of a term: its outputs are under stopGradient/
  const detached = {
    ...student,
    apply: (...args: Parameters<typeof student.apply>) => {
      const { out, state } = student.apply(...args)
      return { out: mapTree(out, isTensor, stopGradient), state }
    },
  }
  await finds({ student: detached }, whole, /^error: the term nfd gives/, /^error: the term kd gives/)
  await finds(
    {
      task: (logits: FeatureMap) => mean(stopGradient(mul(logits, logits))),
      distillation: nfd({ ...pair, taps: [['low', 'low']] }),
    },
    /^error: the student's layers high\.conv, high\.bn, classifier get no gradient/,
  )
})

test('a gain that starts at 0 hides no layer', async () => {
  const { params, state } = student.init(key(3))
  const weights = {
    params: { ...params, high: { ...params.high, bn: mapped(params.high.bn, () => 0) } },
    state,
  }
  await finds({ weights, distillation: nfd({ ...pair, taps: [['low', 'low']] }) })
})

test('weights that were not loaded are found: fresh, in part, or empty', async () => {
  await finds(
    { taught: teacher.init(key(5)) },
    /^error: every gain, offset and running statistic of the teacher is as new \(.*\): its weights are those of a fresh initialisation; load params and state/,
  )
  const loaded = trained(teacher)
  await finds(
    { taught: { params: { ...loaded.params, low: teacher.init(key(5)).params.low }, state: loaded.state } },
    /^warning: the teacher's params\.low\.bn has values of a fresh initialisation: see that the file's names fit/,
  )
  const empty = mapped(loaded.params, (x, _, path) => (path === 'high.conv.weight' ? 0 : x))
  await finds(
    { taught: { params: empty, state: loaded.state } },
    /^error: the teacher's 'params\.high\.conv\.weight' is 0 everywhere, which no training makes of it/,
    /^error: the teacher's tap 'high' is 0 everywhere/,
  )
  await finds(
    { pretrained: true },
    /^error: every gain, offset and running statistic of the student is as new/,
  )
})

test('a NaN is found where it begins: in values or images, a network, a loss', async () => {
  const loaded = trained(teacher)
  const spoilt = mapped(loaded.params, (x, i, path) =>
    path === 'low.conv.weight' && i === 3 ? Number.NaN : x,
  )
  await finds(
    { taught: { params: spoilt, state: loaded.state } },
    /^error: teacher\.params\.low\.conv\.weight holds a NaN or an infinity before anything is computed/,
  )
  const image = { ...batch.image, data: batch.image.data.map((x, i) => (i === 5 ? Infinity : x)) }
  await finds({ batch: { ...batch, image } }, /^error: images holds a NaN or an infinity before/)
  await finds(
    { teacher: bent(6, x => div(x, mul(x, 0))) },
    /^error: the teacher's logits holds a NaN or an infinity, from finite values and images: debug\.nans/,
  )
  const undefinedTerm = features(
    'odd',
    conv1x1,
    () => (s, t, context) => term(asIs, squaredError)(featureMap('odd', div(s, mul(s, 0))), t, context),
  )
  await finds(
    { distillation: undefinedTerm(pair) },
    /^error: the loss odd is not finite, from finite features: debug\.nans names the operation/,
  )
})

test('a batch without a labelled pixel is found', async () => {
  const label = { ...batch.label, data: batch.label.data.map(() => 255) }
  await finds(
    { batch: { ...batch, label } },
    /^error: the loss of the labels is not finite: is every pixel of the batch ignored \(label 255\)\?/,
  )
})

test('a term that drowns the labels is a warning', async () => {
  await finds(
    { distillation: nfd({ ...pair, weight: 1e5 }) },
    /^warning: the term nfd pulls [\d.e+]+ times as hard as the labels: lower its weight, or put it through balanced/,
  )
})

test('least squares finds the weights of terms, and 0 for one that is not in the sum', () => {
  // gradients a = (1, 0, 2), b = (0, 300, 1), c = (5, 1, 1): total = 2 a + 0 b + 0.01 c
  const gs = [
    [1, 0, 2],
    [0, 300, 1],
    [5, 1, 1],
  ]
  const weights = [2, 0, 0.01]
  const total = [0, 1, 2].map(j => gs.reduce((s, g, i) => s + weights[i] * g[j], 0))
  const product = (a: readonly number[], b: readonly number[]) => a.reduce((s, x, i) => s + x * b[i], 0)
  const gram = array(
    [3, 3],
    'f64',
    gs.flatMap(a => gs.map(b => product(a, b))),
  )
  const found = leastSquares(
    gram,
    array(
      [3],
      'f64',
      gs.map(a => product(a, total)),
    ),
  )
  assert.equal(found[1], 0)
  found.forEach((w, i) => {
    assert(Math.abs(w - weights[i]) < 1e-6)
  })
})

test('the probed steps lie within the run, and hold its ends', () => {
  for (const steps of [1, 2, 7, 40000]) {
    const probed = probedSteps(steps)
    assert(probed.every(s => Number.isInteger(s) && s >= 0 && s < steps))
    assert(probed.includes(0) && probed.includes(steps - 1))
    assert.equal(new Set(probed).size, probed.length)
  }
})

test('one image is too few', () =>
  assert.rejects(
    examine({
      ...healthy,
      batch: { image: array([1, 3, 1, 1], 'f32', [0, 0, 0]), label: array([1, 1, 1], 'i32', [0]) },
    }),
    /diagnose: needs a batch of two images or more/,
  ))
