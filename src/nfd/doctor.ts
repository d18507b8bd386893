/**
 * A check of a pipeline before a long run. In: student, teacher and distillation, their values, a batch or two, and a way
 * to run functions. Out: what each term does to the student, and findings with what to mend. It knows no backend: `run` is an argument.
 */
import { array, type NDArray } from '../dsl/array.ts'
import { UsageError } from '../dsl/errors.ts'
import { crossEntropy } from '../dsl/ops/loss.ts'
import type { Shape } from '../dsl/shape.ts'
import type { Tensor } from '../dsl/tensor.ts'
import type { Key } from '../dsl/threefry.ts'
import type { FeatureMap } from '../nn/feature.ts'
import type { Module, Variables } from '../nn/module.ts'
import type { SegmentationOutput } from '../nn/segmentation.ts'
import { constantTeacher, type Distillation } from './distil.ts'
import {
  type Arrays,
  error,
  type Finding,
  notFinite,
  notLoaded,
  silentTaps,
  teacherMode,
  warning,
  withoutGradient,
} from './doctor-findings.ts'
import { ask, noticing, type Pipeline, type Values } from './doctor-look.ts'
import {
  arraysOf,
  looks,
  numberAt,
  onTrees,
  otherRows,
  outputOf,
  type Run,
  sharesOf,
  shifted,
  stepArray,
} from './doctor-measure.ts'

export type { Finding } from './doctor-findings.ts'
export type { Run } from './doctor-measure.ts'

/** A pipeline, with its values. */
export interface Patient<STaps, TTaps, N, S, TN, TS, P, M> {
  readonly student: Module<Tensor, SegmentationOutput<STaps>, N, S>
  readonly teacher: Module<Tensor, SegmentationOutput<TTaps>, TN, TS>
  readonly distillation: Distillation<STaps, TTaps, P, M>
  /** The teacher's values, as they were loaded. */
  readonly taught: Variables<TN, TS>
  /** The student's values; drawn from the key unless given. */
  readonly weights?: Variables<N, S>
  /** Whether the student's values come from a file: then they are looked at too. false */
  readonly pretrained?: boolean
  /** Images [n, 3, h, w] and labels i32[n, h, w], n at least 2. */
  readonly batch: { readonly image: NDArray; readonly label: NDArray }
  /** The length of the run that is planned, for schedules. */
  readonly steps: number
  /** How the teacher is asked: constantTeacher. @example net => seenThrough(mirrored, constantTeacher(net)) */
  readonly teach?: (
    net: Module<Tensor, SegmentationOutput<TTaps>, TN, TS>,
  ) => (params: never, state: never, image: Tensor, key: Tensor) => SegmentationOutput<TTaps>
  /** The loss of the labels: cross-entropy without the pixels of label 255. */
  readonly task?: (logits: FeatureMap, label: Tensor<Shape, 'i32'>) => Tensor
  readonly key?: Key
}

/** What a term does in the first step. */
export interface TermReport {
  readonly name: string
  /** Before its weight. */
  readonly loss: number
  /** Weight times schedule, where in the run it was found to be largest. */
  readonly weight: number
  /** The norm of its gradient over the student's parameters, with that weight. */
  readonly gradientNorm: number
  /** Of its gradient and the task's: 1 where they agree, -1 where they fight. */
  readonly cosine: number
}

/** What the doctor says. */
export interface Diagnosis {
  /** The loss of the labels and the norm of its gradient. */
  readonly task: { readonly loss: number; readonly gradientNorm: number }
  readonly terms: readonly TermReport[]
  /** Errors first; empty for a healthy pipeline. */
  readonly findings: readonly Finding[]
}

/**
 * Examines a pipeline in a few steps.
 * @param run  f => jit(f, backend)
 * @throws UsageError if there are fewer than two images; what tracing and running throw
 * @example
 *   const { findings } = await diagnose({ student, teacher, distillation, taught, batch, steps: 40000 }, f => jit(f, backend))
 *   for (const { level, message } of findings) console.error(`${level}: ${message}`)
 */
export async function diagnose<STaps, TTaps, N, S, TN, TS, P, M>(
  given: Patient<STaps, TTaps, N, S, TN, TS, P, M>,
  run: Run,
): Promise<Diagnosis> {
  // From here on each part gets only the trees that it made itself; their types are not needed.
  const patient = given as unknown as Patient<
    unknown,
    unknown,
    unknown,
    unknown,
    unknown,
    unknown,
    unknown,
    unknown
  >
  const { batch, steps, taught, key = [0, 0], teach = constantTeacher } = patient
  if ((batch.image.shape[0] ?? 0) < 2)
    throw new UsageError(
      'diagnose: needs a batch of two images or more, to see whether they touch each other',
    )
  const pipeline: Pipeline = {
    ...patient,
    teach: teach as Pipeline['teach'],
    task: patient.task ?? ((logits, label) => crossEntropy(logits, label)),
  }
  const own = patient.weights ?? patient.student.init(key)
  const made = patient.distillation.init(key)
  const weights = notLoadedIn(patient, own)
  const context = { label: batch.label, key: array([2], 'u32', [...key]), step: stepArray(0) }
  const inputs = { ...arraysOf({ student: own, teacher: taught }), images: batch.image }

  const noticed = noticing()
  const asking = onTrees(
    run,
    (t: { readonly taught: Values['taught']; readonly image: Tensor; readonly key: Tensor }) =>
      ask(pipeline, noticed)(t.taught, t.image, t.key),
    { taught, image: batch.image, key: context.key },
  )
  const answer = await asking({ taught, image: batch.image, key: context.key })
  const other = await asking({ taught, image: otherRows(batch.image), key: context.key })
  const values = { net: own.params, aligners: made.params, running: own.state, memory: made.state }
  const seen = { teacher: outputOf(Object.entries(answer)), b: { ...context, image: batch.image } }
  const looking = looks(pipeline, noticed, run, values, seen)
  const first = await looking(values)
  const said = { ...first.outputs, ...renamed('teacher.', answer), ...renamed('other.', other) }
  const broken = notFinite(inputs, said)
  const { terms } = noticed
  const task = { loss: numberAt(said, 'loss.task'), gradientNorm: first.norms[0] }
  if (broken.length > 0) return { task, terms: [], findings: [...broken, ...weights] }

  const names = Object.keys(arraysOf({ net: values.net, aligners: values.aligners }))
  let dead = first.dead
  if (dead.size > 0) {
    // Special initial values (a gain of 0) hide what is behind them: once more, a little away from them.
    const again = await looking({ ...values, ...shifted({ net: values.net, aligners: values.aligners }) })
    dead = new Set([...dead].filter(name => again.dead.has(name)))
  }
  const shares = await sharesOf(pipeline, run, said, noticed.read, { values, context, steps })
  const reports = terms.map((name, i): TermReport => {
    const [norm, product] = [first.norms[i + 1], first.products[i + 1]]
    return {
      name,
      loss: numberAt(said, `loss.term.${name}`),
      weight: shares[i],
      gradientNorm: norm * Math.abs(shares[i]),
      cosine: norm * task.gradientNorm === 0 ? 0 : product / (norm * task.gradientNorm),
    }
  })
  const found = [
    ...weights,
    ...teacherMode(said, noticed.teacherTraining),
    ...silentTaps(said, noticed.read),
    ...(noticed.read.size === 0
      ? [error('the distillation reads nothing of the teacher: it trains the student as if there were none')]
      : []),
    ...withoutGradient(names, dead),
    ...reports.flatMap((r, i) => idle(r, first.norms[i + 1], steps)),
  ]
  // Where something is broken, how hard it pulls says nothing.
  const errors = found.filter(f => f.level === 'error')
  const pulls = errors.length > 0 ? [] : reports.flatMap(r => strength(r, task.gradientNorm))
  return {
    task,
    terms: reports,
    findings: [...errors, ...found.filter(f => f.level === 'warning'), ...pulls],
  }
}

const renamed = (prefix: string, all: Arrays): Arrays =>
  Object.fromEntries(Object.entries(all).map(([name, a]) => [`${prefix}${name}`, a]))

/** A term that does nothing. */
function idle(r: TermReport, norm: number, steps: number): readonly Finding[] {
  if (norm === 0)
    return [
      error(
        `the term ${r.name} gives the student no gradient (its loss is ${r.loss.toPrecision(3)}): the features that it compares are equal, constant or under stopGradient`,
      ),
    ]
  return r.weight === 0
    ? [
        error(
          `the term ${r.name} never counts: its weight is 0, or its schedule is 0 in all of the ${steps} steps; give it a weight, or a schedule within the run`,
        ),
      ]
    : []
}

/** A gradient so many times the task's, or so small a part of it, is rarely meant. */
const loud = 100
const quiet = 1e-4

function strength({ name, gradientNorm }: TermReport, task: number): readonly Finding[] {
  const ratio = gradientNorm / task
  return task > 0 && (ratio > loud || ratio < quiet)
    ? [
        warning(
          `the term ${name} pulls ${ratio.toPrecision(2)} times as hard as the labels: ${ratio > 1 ? 'lower' : 'raise'} its weight, or put it through balanced`,
        ),
      ]
    : []
}

function notLoadedIn(
  {
    student,
    teacher,
    taught,
    pretrained = false,
  }: Patient<unknown, unknown, unknown, unknown, unknown, unknown, unknown, unknown>,
  own: Variables<unknown, unknown>,
): readonly Finding[] {
  const seen = (who: string, net: typeof student, values: Variables<unknown, unknown>) =>
    notLoaded({
      who,
      values: arraysOf(values),
      fresh: [arraysOf(net.init([0, 0])), arraysOf(net.init([0, 1]))],
    })
  return [...seen('teacher', teacher, taught), ...(pretrained ? seen('student', student, own) : [])]
}
