/**
 * The one teacher of a study. In: a file, or settings to train it by. Out: its values, which all runs share.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Backend } from '../../backend/backend.ts'
import { read } from '../../backend/compile.ts'
import { batches } from '../../data/loader.ts'
import { readSafetensors, writeSafetensors } from '../../data/safetensors.ts'
import type { NDArray } from '../../dsl/array.ts'
import { DataError, UsageError } from '../../dsl/errors.ts'
import { showType } from '../../dsl/shape.ts'
import { foldIn, key } from '../../dsl/threefry.ts'
import { isType } from '../../dsl/trace.ts'
import { mapTree } from '../../dsl/tree.ts'
import type { Variables } from '../../nn/module.ts'
import { poly } from '../../nn/schedule.ts'
import type { Data } from '../dataset.ts'
import { Interrupted } from '../errors.ts'
import { compilePredict, type Evaluation, evaluateModel } from '../evaluate-model.ts'
import type { Interrupt } from '../interrupt.ts'
import { type Network, optimiserOf } from '../models.ts'
import { type Named, namedArrays } from '../named.ts'
import { progress } from '../progress.ts'
import { openRun } from '../run-folder.ts'
import { train } from '../train-loop.ts'
import { inferenceOf, lessonOf } from '../train-step.ts'
import { pictured } from './pictures.ts'
import { type Study, teacherHash } from './study.ts'

/** As in `distill`: the streams of random numbers. */
const streams = { teacher: 1, data: 3 } as const

/**
 * A teacher's values by name, `params.net.*` and `state.*`: of a study, or of a checkpoint of a run folder.
 * @throws DataError if the file is damaged or holds none
 * @example readTeacher('studies/synthetic/teacher.safetensors')
 */
export function readTeacher(file: string): Named<NDArray> {
  const values = inferenceOf(Object.fromEntries(readSafetensors(file).tensors))
  if (Object.keys(values).length === 0)
    throw new DataError(
      `${file} holds no teacher: its names begin with params.net. and state., as in checkpoints of cotangent distill`,
    )
  return values
}

const isArray = (x: unknown): x is NDArray => isType(x) && 'data' in x

/**
 * Values by name in the form of a network's own.
 * @throws DataError that lists what is missing or of another shape
 */
export function valuesOf(net: Network, values: Named<NDArray>): Variables<unknown, unknown> {
  const { params, state } = net.init(key(0))
  const template = { params: { net: params }, state }
  const wanted = namedArrays(template)
  const wrong = [...new Set([...Object.keys(wanted), ...Object.keys(values)])].flatMap(name => {
    const [want, got] = [wanted[name], values[name]].map(a => (a ? showType(a) : 'absent'))
    return want === got ? [] : [`  ${name}: is ${got}, should be ${want}`]
  })
  if (wrong.length > 0)
    throw new DataError(
      [`the teacher does not fit ${net.name}; see --teacher-net and --teacher-width:`, ...wrong].join('\n'),
    )
  // each array is replaced by one of its type
  const filled = mapTree(template, isArray, (_, path) => values[path]) as typeof template
  return { params: filled.params.net, state: filled.state }
}

/** A teacher, ready to teach. */
export interface Teacher {
  readonly file: string
  readonly values: Named<NDArray>
  readonly evaluation: Evaluation
  /** 0 where it was not trained here and now. */
  readonly msPerStep: number
}

/** What a teacher is made or looked at with. */
export interface Workshop {
  readonly study: Study
  readonly data: Data
  readonly net: Network
  readonly backend: Backend
  readonly interrupt: Interrupt
  readonly checkpointEvery: number
}

/** The teacher's file in a study's folder. */
export const teacherFile = (folder: string): string => join(folder, 'teacher.safetensors')

/**
 * The study's teacher: the file that is given, or that of the study's folder, or trained now.
 * @throws UsageError if the folder's teacher was trained under other settings; DataError; Interrupted; RunError
 * @example const teacher = await teacherOf(workshop, 'studies/synthetic', null)
 */
export async function teacherOf(w: Workshop, folder: string, given: string | null): Promise<Teacher> {
  const file = given ?? teacherFile(folder)
  const settings = teacherHash(w.study)
  if (given === null && existsSync(file)) {
    if (readSafetensors(file).metadata.get('settings') !== settings)
      throw new UsageError(
        `${file} was trained under other settings; give this study another --name, or the teacher by --teacher ${file}`,
      )
  }
  const msPerStep = existsSync(file) || given !== null ? 0 : await trainTeacher(w, folder, settings)
  const values = readTeacher(file)
  valuesOf(w.net, values)
  return { file, values, msPerStep, evaluation: await score(w, values) }
}

/** Scores the teacher's values. */
async function score(
  { study, data, net, backend, interrupt }: Workshop,
  values: Named<NDArray>,
): Promise<Evaluation> {
  const { predict } = lessonOf({ net, optimiser: optimiserOf() }, key(0))
  const image = { shape: [study.batch, 3, ...study.size], dtype: 'f32' } as const
  const run = await compilePredict(predict, values, image, backend)
  const found = await evaluateModel(run, values, data.val, { batch: study.batch, keep: pictured, interrupt })
  if (found) return found
  throw new Interrupted('stopped while the teacher was scored; go on with the same command')
}

async function trainTeacher(w: Workshop, folder: string, settings: string): Promise<number> {
  const { study, data, net, backend, interrupt, checkpointEvery } = w
  const { batch, size, teacherSteps: steps } = study
  const root = key(study.teacherSeed)
  const dataKey = foldIn(root, streams.data)
  const { initial, step, predict } = lessonOf(
    { net, optimiser: optimiserOf() },
    foldIn(root, streams.teacher),
  )
  const image = { shape: [batch, 3, ...size], dtype: 'f32' } as const
  const compiled = await compilePredict(predict, inferenceOf(initial), image, backend)
  const run = openRun(join(folder, 'runs', 'teacher'), { settings })
  try {
    const { state, msPerStep } = await train(
      {
        ...{
          name: 'teacher',
          steps,
          step,
          initial,
          fixed: {},
          key: dataKey,
          learningRate: poly(study.lr, steps),
        },
        batches: start => batches(data.train, { batch, key: dataKey, augment: data.augment, steps, start }),
        evaluate: s => evaluateModel(compiled, inferenceOf(s), data.val, { batch, keep: 0, interrupt }),
      },
      {
        ...{ backend, run, interrupt, checkpointEvery, evalEvery: steps, show: progress },
        resumeCommand: 'the same command',
      },
    )
    const values: Named<NDArray> = await read(inferenceOf(state))
    writeSafetensors(teacherFile(folder), new Map(Object.entries(values)), { settings })
    return msPerStep
  } finally {
    run.close()
  }
}
