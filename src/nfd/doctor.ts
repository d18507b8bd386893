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
import { isType } from '../dsl/trace.ts'
import { fillTree, leaves } from '../dsl/tree.ts'
import type { FeatureMap } from '../nn/feature.ts'
import type { Module, Variables } from '../nn/module.ts'
import type { SegmentationOutput } from '../nn/pspnet.ts'
import { constantTeacher, type Distillation } from './distil.ts'
import {
  type Arrays,
  error,
  type Finding,
  notFinite,
  notLoaded,
  silentTaps,
  teacherMode,
  under,
  warning,
  withoutGradient,
} from './doctor-findings.ts'
import {
  type Batch,
  look,
  type Measured,
  noticing,
  type Pipeline,
  probe,
  type Values,
} from './doctor-look.ts'
import { leastSquares, probedSteps } from './doctor-shares.ts'

export type { Finding } from './doctor-findings.ts'

/** Runs a function of tensors on arrays: `f => jit(f, backend)`. */
export type Run = (
  f: (...xs: readonly Tensor[]) => readonly Tensor[],
) => (...xs: readonly NDArray[]) => Promise<readonly NDArray[]>

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

const isArray = (x: unknown): x is NDArray => isType(x) && 'data' in x
const arraysOf = (tree: unknown): Arrays =>
  Object.fromEntries(leaves(tree, isArray).map(({ path, leaf }) => [path, leaf]))

/** A function of a tree, run on trees of arrays; what it makes comes back by name. */
function onTrees<T>(run: Run, f: (tree: T) => Measured, template: unknown) {
  let names: readonly string[] = []
  const call = run((...xs) => {
    // the form of the template, whose arrays are traced
    const out = f(fillTree(template, isArray, xs) as T)
    names = Object.keys(out)
    return Object.values(out)
  })
  return async (tree: unknown): Promise<Arrays> => {
    const out = await call(...leaves(tree, isArray).map(l => l.leaf))
    return Object.fromEntries(names.map((name, i) => [name, out[i]]))
  }
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
  const values = { net: own.params, aligners: made.params, running: own.state, memory: made.state, taught }
  const context = { label: batch.label, key: array([2], 'u32', [...key]), step: stepArray(0) }
  const inputs = { ...arraysOf({ student: own, teacher: taught }), images: batch.image }

  const noticed = noticing()
  const seen = { v: values, b: { ...context, image: batch.image }, other: otherRows(batch.image) }
  const looking = onTrees(
    run,
    (t: { readonly v: Values; readonly b: Batch; readonly other: Tensor }) =>
      look(pipeline, noticed)(t.v, t.b, t.other),
    seen,
  )
  const first = await looking(seen)
  const broken = notFinite(inputs, first)
  const terms = noticed.terms
  const task = { loss: numberAt(first, 'loss.task'), gradientNorm: numberAt(first, 'norm.task') }
  if (broken.length > 0) return { task, terms: [], findings: [...broken, ...weights] }

  const net = Object.keys(arraysOf(values.net))
  const aligners = Object.keys(arraysOf(values.aligners))
  const zero = (looked: Arrays) => ({
    net: zeroAt(net, looked['leaf.net']),
    aligners: zeroAt(aligners, looked['leaf.aligners']),
  })
  let dead = zero(first)
  if (dead.net.size + dead.aligners.size > 0) {
    // Special initial values (a gain of 0) hide what is behind them: once more, a little away from them.
    const again = zero(
      await looking({
        ...seen,
        v: { ...values, ...shifted({ net: values.net, aligners: values.aligners }) },
      }),
    )
    dead = { net: both(dead.net, again.net), aligners: both(dead.aligners, again.aligners) }
  }
  const shares = await sharesOf(pipeline, run, first, noticed.read, { values, context, steps })
  const reports = terms.map((name, i): TermReport => {
    const norm = numberAt(first, `norm.term.${name}`)
    const product = numberAt(first, `dot.term.${name}`)
    return {
      name,
      loss: numberAt(first, `loss.term.${name}`),
      weight: shares[i],
      gradientNorm: norm * Math.abs(shares[i]),
      cosine: norm * task.gradientNorm === 0 ? 0 : product / (norm * task.gradientNorm),
    }
  })
  const found = [
    ...weights,
    ...teacherMode(first, noticed.teacherTraining),
    ...silentTaps(first, noticed.read),
    ...(noticed.read.size === 0
      ? [error('the distillation reads nothing of the teacher: it trains the student as if there were none')]
      : []),
    ...withoutGradient({ net, aligners }, dead),
    ...reports.flatMap(r => idle(r, numberAt(first, `norm.term.${r.name}`), steps)),
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

/** How much each term counts: least squares of the total's gradient over the terms', at the step where that is most. */
async function sharesOf(
  pipeline: Pipeline,
  run: Run,
  looked: Arrays,
  read: ReadonlySet<string>,
  at: {
    readonly values: Pick<Values, 'aligners' | 'memory'>
    readonly context: { readonly label: NDArray; readonly key: NDArray; readonly step: NDArray }
    readonly steps: number
  },
): Promise<readonly number[]> {
  const { aligners, memory } = at.values
  const seen = {
    outputs: {
      student: outputOf(under('student.', looked)),
      teacher: outputOf(under('teacher.', looked).filter(([name]) => read.has(name))),
    },
    v: { aligners, memory },
    b: at.context,
  }
  type Seen = {
    readonly outputs: Parameters<ReturnType<typeof probe>>[0]
    readonly v: typeof seen.v
    readonly b: Omit<Batch, 'image'>
  }
  const probing = onTrees(run, (t: Seen) => probe(pipeline)(t.outputs, t.v, t.b), seen)
  let most: readonly number[] = []
  for (const step of probedSteps(at.steps)) {
    const { gram, product } = await probing({ ...seen, b: { ...at.context, step: stepArray(step) } })
    const shares = leastSquares(gram, product)
    most = shares.map((w, i) => (Math.abs(w) > Math.abs(most[i] ?? 0) ? w : (most[i] ?? 0)))
    if (most.every(w => w !== 0)) break
  }
  return most
}

/** An output from its leaves by name. */
function outputOf(entries: readonly (readonly [string, NDArray])[]): unknown {
  const plain = entries.filter(([name]) => !name.startsWith('taps.'))
  const taps = entries.filter(([name]) => name.startsWith('taps.'))
  return {
    ...Object.fromEntries(plain),
    taps: Object.fromEntries(taps.map(([name, a]) => [name.slice(5), a])),
  }
}

const stepArray = (step: number): NDArray => array([], 'i32', [step])
const numberAt = (all: Arrays, name: string): number => Number(all[name]?.data[0] ?? Number.NaN)
const zeroAt = (names: readonly string[], most: NDArray | undefined): ReadonlySet<string> =>
  new Set(names.filter((_, i) => most !== undefined && Number(most.data[i]) === 0))
const both = (a: ReadonlySet<string>, b: ReadonlySet<string>): ReadonlySet<string> =>
  new Set([...a].filter(x => b.has(x)))

/** The images with every one but the first replaced by its negative. */
function otherRows(image: NDArray): NDArray {
  const n = image.data.length / image.shape[0]
  return array(
    image.shape,
    image.dtype,
    Array.from(image.data, (x, i) => (i < n ? Number(x) : -Number(x))),
  )
}

/** Every parameter a hundredth higher. */
const shifted = <T>(tree: T): T =>
  fillTree(
    tree,
    isArray,
    leaves(tree, isArray).map(({ leaf }) =>
      array(
        leaf.shape,
        leaf.dtype,
        Array.from(leaf.data, x => Number(x) + 0.01),
      ),
    ),
  ) as T // each array is replaced by one of its type
