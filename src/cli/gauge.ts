/**
 * The gauge test. In: steps and a seed. Out: for each method and each scale s of the teacher's tapped feature,
 * undone in the layer that reads it (so that the teacher's outputs are the same to the last bit), the loss of one
 * and the same student, and the student that is trained with it. What changes with s depends on the magnitude of
 * the teacher's features and not on what the teacher knows.
 */
import { valueAuxAndGrad } from '../autodiff/grad.ts'
import type { Backend } from '../backend/backend.ts'
import { type Arrays, compile, unwrap } from '../backend/compile.ts'
import { type Batch, batchAt, evaluation } from '../data/loader.ts'
import { confusionMatrix, scores, update } from '../data/metrics.ts'
import { sceneClasses, syntheticScenes } from '../data/synthetic.ts'
import { array, type NDArray } from '../dsl/array.ts'
import { add, mul } from '../dsl/build.ts'
import { RunError } from '../dsl/errors.ts'
import { crossEntropy } from '../dsl/ops/loss.ts'
import { argmax } from '../dsl/ops/reduce.ts'
import type { Shape } from '../dsl/shape.ts'
import type { Tensor } from '../dsl/tensor.ts'
import { foldIn, key } from '../dsl/threefry.ts'
import { constantTeacher, type Distillation } from '../nfd/distil.ts'
import { at, cwd, fitnet, nfd, pkd } from '../nfd/nfd.ts'
import type { Tensors } from '../nn/module.ts'
import { adamw } from '../nn/optim.ts'
import { type Params, type Running, rescaled, student, type Taps, teacher } from './gauge-network.ts'
import { namedArrays, tensorsLike } from './named.ts'

/** The scales of the teacher's feature: powers of two, exact in f32. */
export const scales = [1 / 128, 1, 128] as const

/** How good a trained network is on held-out scenes. */
export interface Quality {
  /** Mean IoU. */
  readonly miou: number
  readonly crossEntropy: number
}

/** What becomes of a method under one scale. */
export interface GaugeResult extends Quality {
  readonly method: string
  /** s */
  readonly scale: number
  /** The distillation's loss, of one student at its first step, before weights. */
  readonly loss: number
  /**
   * The largest difference of a trained parameter from that at s = 1, relative to the largest parameter; NaN
   * if one is.
   */
  readonly moved: number
}

/** The whole test. */
export interface GaugeReport {
  readonly teacher: Quality
  /** The student that learns from labels alone. */
  readonly alone: Quality
  readonly results: readonly GaugeResult[]
}

type Labels = Tensor<Shape, 'i32'>
type StepBatch = {
  readonly image: Tensor
  readonly label: Labels
  readonly rate: Tensor
  readonly key: Tensor
}
const size = [48, 48] as const
const batch = 4
const optimiser = adamw({ weightDecay: 0 })
const rate = 0.01

/** What all runs share: equal batches, equal held-out scenes, and one teacher under every scale. */
interface Laboratory {
  readonly backend: Backend
  readonly seed: number
  readonly batches: readonly Batch[]
  /** The quality of a network of the teacher's form or the student's. */
  readonly judge: (
    net: Net,
    params: Arrays<Tensors<Params>>,
    state: Arrays<Tensors<Running>>,
  ) => Promise<Quality>
  readonly teachers: readonly { readonly scale: number; readonly params: Params; readonly state: Running }[]
}
/** The inputs of a step. */
const inputsOf = ({ seed }: Pick<Laboratory, 'seed'>, { image, label }: Batch, step: number) => ({
  image,
  label,
  rate: array([], 'f32', [rate]),
  key: array([2], 'u32', [...foldIn(key(seed), step)]),
})

type Net = Pick<typeof teacher, 'init' | 'apply'>

/** Trains a network on labels alone. */
async function trained(lab: Omit<Laboratory, 'teachers'>, net: Net, own: number) {
  const { params, state } = net.init(foldIn(key(lab.seed), own))
  const start = { params, state, optimiser: optimiser.init(params) }
  const step = (s: Tensors<typeof start>, { image, label, rate: lr }: StepBatch) => {
    const [[, next], grads] = valueAuxAndGrad((p: Tensors<typeof params>) => {
      const { out, state: after } = net.apply(p, s.state, image, { training: true })
      return [crossEntropy(out.logits, label), after] as const
    })(s.params)
    const after = optimiser.update(grads, s.optimiser, s.params, lr)
    return { params: after.params, state: next, optimiser: after.state }
  }
  const exe = await unwrap(compile(step, [start, inputsOf(lab, lab.batches[0], 0)], lab.backend))
  let s: Arrays<Tensors<typeof start>> = start
  for (const [i, b] of lab.batches.entries()) s = await exe(s, inputsOf(lab, b, i))
  return { params: s.params, state: s.state }
}

/** The student's trainings with one method under every scale, each from one student on equal batches. */
async function studied<P>(
  lab: Laboratory,
  method: string,
  d: Distillation<Taps, Taps, P>,
): Promise<readonly GaugeResult[]> {
  const net = student.init(foldIn(key(lab.seed), 2))
  const aligners = d.init(foldIn(key(lab.seed), 3)).params
  const params = { net: net.params, aligners: namedArrays(aligners) }
  const start = { params, running: net.state, optimiser: optimiser.init(params) }
  const teach = constantTeacher(teacher)
  type State = Tensors<typeof start>
  type Taught = Tensors<{ readonly params: Params; readonly state: Running }>

  const lossOf = (weight: number, s: State, b: StepBatch, taught: Taught) => (p: State['params']) => {
    const { out, state } = student.apply(p.net, s.running, b.image, { training: true })
    const context = { label: b.label, key: b.key, step: s.optimiser.step }
    const target = teach(taught.params, taught.state, b.image)
    const distilled = d.loss(tensorsLike(aligners, p.aligners), {}, out, target, context)
    const loss = add(crossEntropy(out.logits, b.label), mul(distilled.loss, weight))
    return [loss, { running: state, distilled: distilled.loss, logits: target.logits }] as const
  }
  const firstBatch = inputsOf(lab, lab.batches[0], 0)
  const types = [start, firstBatch, lab.teachers[0]] as const
  const glance = (s: State, b: StepBatch, taught: Taught) => lossOf(0, s, b, taught)(s.params)[1]
  const look = await unwrap(compile(glance, types, lab.backend))
  const first: { readonly loss: number; readonly logits: NDArray }[] = []
  for (const t of lab.teachers) {
    const { distilled, logits } = await look(start, firstBatch, t)
    first.push({ loss: Number(distilled.data[0]), logits })
  }
  const base = scales.indexOf(1)
  if (first.some(({ logits }) => logits.data.some((v, i) => v !== first[base].logits.data[i])))
    throw new RunError('gauge: the rescaled teacher gives other logits; the scales must be powers of two')

  // every method weighs as much as the others where nothing is rescaled
  const weight = 1 / first[base].loss
  const step = (s: State, b: StepBatch, taught: Taught) => {
    const [[, { running }], grads] = valueAuxAndGrad(lossOf(weight, s, b, taught))(s.params)
    const after = optimiser.update(grads, s.optimiser, s.params, b.rate)
    return { params: after.params, running, optimiser: after.state }
  }
  const exe = await unwrap(compile(step, types, lab.backend))
  const ends: { readonly values: readonly number[]; readonly quality: Quality }[] = []
  for (const t of lab.teachers) {
    let s: Arrays<State> = start
    for (const [i, b] of lab.batches.entries()) s = await exe(s, inputsOf(lab, b, i), t)
    const values = Object.values(namedArrays(s.params)).flatMap(a => Array.from(a.data, Number))
    ends.push({ values, quality: await lab.judge(student, s.params.net, s.running) })
  }
  const largest = ends[base].values.reduce((m, v) => Math.max(m, Math.abs(v)), 0)
  return lab.teachers.map(({ scale }, i) => ({
    method,
    scale,
    loss: first[i].loss,
    ...ends[i].quality,
    moved: ends[i].values.reduce((m, v, j) => Math.max(m, Math.abs(v - ends[base].values[j])), 0) / largest,
  }))
}

/** Judges networks on held-out scenes, in evaluation mode. */
function judge(backend: Backend, heldOut: readonly Batch[]): Laboratory['judge'] {
  const classes = sceneClasses.length
  return async (net, params, state) => {
    const predict = (p: Tensors<Params>, s: Tensors<Running>, image: Tensor, label: Labels) => {
      const { logits } = net.apply(p, s, image, { training: false }).out
      return { classes: argmax(logits, { axis: 1 }), ce: crossEntropy(logits, label) }
    }
    const exe = await unwrap(compile(predict, [params, state, heldOut[0].image, heldOut[0].label], backend))
    const matrix = confusionMatrix(classes)
    let total = 0
    for (const { image, label } of heldOut) {
      const out = await exe(params, state, image, label)
      update(matrix, label.data, out.classes.data, classes)
      total += Number(out.ce.data[0])
    }
    return { miou: scores(matrix, classes).miou, crossEntropy: total / heldOut.length }
  }
}

/**
 * The whole gauge test, on synthetic scenes of 48 x 48 pixels.
 * @param options.steps  of each student; the teacher takes twice as many
 * @param options.tell   is told what is done next
 * @throws RunError if a rescaled teacher gave other logits; what compiling throws
 * @example const { results } = await gauge({ backend, steps: 200, seed: 0, tell: console.error })
 */
export async function gauge({
  backend,
  steps,
  seed,
  tell,
}: {
  readonly backend: Backend
  readonly steps: number
  readonly seed: number
  readonly tell: (what: string) => void
}): Promise<GaugeReport> {
  tell('making scenes')
  const scenes = (from: number, count: number) => syntheticScenes({ seed: seed + from, size, count })
  const train = scenes(0, 2 * steps * batch)
  const all: Batch[] = []
  for (let i = 0; i < 2 * steps; i++) all.push(await batchAt(train, { batch, key: key(seed) }, i))
  const heldOut: Batch[] = []
  for await (const b of evaluation(scenes(1_000_003, 128), { batch: 16 })) heldOut.push(b)
  const shared = { backend, seed, judge: judge(backend, heldOut) }

  tell('training the teacher')
  const taught = await trained({ ...shared, batches: all }, teacher, 1)
  const short = { ...shared, batches: all.slice(0, steps) }
  tell('training the student from labels alone')
  const alone = await trained(short, student, 2)
  const teachers = scales.map(scale => ({
    scale,
    params: rescaled(taught.params, scale),
    state: taught.state,
  }))
  const lab = { ...short, teachers }
  const results: GaugeResult[] = []
  const run = async <P>(method: string, d: Distillation<Taps, Taps, P>): Promise<void> => {
    tell(`training students with ${method}`)
    results.push(...(await studied(lab, method, d)))
  }
  const pair = { student, teacher, taps: [['neck', 'neck']] } as const
  await run('NFD, relative eps', nfd({ ...pair, epsMode: 'relative' }))
  await run('NFD, absolute eps', nfd(pair))
  await run('FitNet', fitnet(pair))
  await run('PKD', pkd(pair))
  await run('CWD', cwd(pair))
  await run('AT', at(pair))
  return {
    teacher: await shared.judge(teacher, taught.params, taught.state),
    alone: await shared.judge(student, alone.params, alone.state),
    results,
  }
}
