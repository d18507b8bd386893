/**
 * One run of a study: one method, one seed. In: a job, plain data that a process is given as a file. Out: its entry in the
 * ledger. A job that was interrupted goes on from its checkpoint; one that was finished gives its entry at once.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import type { Backend } from '../../backend/backend.ts'
import { unwrap } from '../../backend/compile.ts'
import { onDisk } from '../../data/atomic.ts'
import { batches } from '../../data/loader.ts'
import { contentHash } from '../../data/teacher-cache.ts'
import type { NDArray } from '../../dsl/array.ts'
import { DataError } from '../../dsl/errors.ts'
import { foldIn, type Key, key } from '../../dsl/threefry.ts'
import { poly } from '../../nn/schedule.ts'
import { backendNames, openBackend } from '../../node.ts'
import type { Data } from '../dataset.ts'
import { examine } from '../doctor-pipeline.ts'
import { compilePredict, evaluateModel } from '../evaluate-model.ts'
import type { Interrupt } from '../interrupt.ts'
import { type Method as LessonMethod, optimiserOf } from '../models.ts'
import type { Named } from '../named.ts'
import { progress } from '../progress.ts'
import { openRun, type Run } from '../run-folder.ts'
import { train } from '../train-loop.ts'
import { inferenceOf, type Lesson, lessonOf } from '../train-step.ts'
import { dataOf } from './data.ts'
import { type Entry, entryOf, parseEntry } from './ledger.ts'
import { type AnyMethod, distillationOf, type Method, parseMethods, readsOf } from './methods.ts'
import { picture, pictured } from './pictures.ts'
import { type Networks, networksOf, runHash, studySchema } from './study.ts'
import { readTeacher } from './teacher.ts'
import { asking, outputsOf, withTeacher } from './teacher-outputs.ts'

/** Where runs compute. */
export const placeSchema = z.object({
  backend: z.enum(backendNames),
  adapter: z.string().nullable(),
  /** Of the CPU backend; null: all cores. */
  threads: z.number().int().positive().nullable(),
  checkpointEvery: z.number().int().positive(),
  /** Whether the doctor looks at each run first. */
  doctor: z.boolean(),
})
export type Place = Readonly<z.infer<typeof placeSchema>>

export const jobSchema = placeSchema.extend({
  study: studySchema,
  /** All methods of the study, as typed: they share what is cached of the teacher. */
  methods: z.string(),
  /** The label of this run's method. */
  method: z.string(),
  seed: z.number().int().nonnegative(),
  /** The run's own folder, and the study's. */
  folder: z.string(),
  studyFolder: z.string(),
  /** The teacher's values. */
  teacher: z.string(),
  cache: z.object({ folder: z.string(), maxBytes: z.number().positive() }).nullable(),
})
/** A run, as a file can hold it. */
export type Job = Readonly<z.infer<typeof jobSchema>>

/** What a run needs of the process that it is in. */
export interface Surroundings {
  readonly interrupt: Interrupt
  /** Told of warnings. */
  readonly warn: (text: string) => void
}

/** As in `distill`: the streams of random numbers of a run, so that a seed means the same in both. */
const streams = { student: 2, data: 4 } as const
/** The name of the finished run's entry in its folder. */
export const resultFile = 'result.json'

/**
 * Does a run, or what is left of it.
 * @throws RunError if the doctor finds an error or the loss is not finite; Interrupted; what data, disk and device throw
 * @example const entry = await performJob(job, { interrupt: uninterrupted, warn: console.error })
 */
export async function performJob(job: Job, around: Surroundings): Promise<Entry> {
  const { study, seed } = job
  const methods = parseMethods(job.methods)
  const method = methods.find(m => m.label === job.method)
  if (!method) throw new DataError(`the job's method ${job.method} is none of its study's: ${job.methods}`)
  const teacher = method.parts.length > 0 ? readTeacher(job.teacher) : null
  const hash = runHash(study, method.full, seed, teacher && contentHash(teacher))
  const { data: _, ...settings } = study
  const run = openRun(job.folder, {
    ...settings,
    taps: study.taps ?? 'default',
    method: method.full,
    seed,
    hash,
  })
  try {
    const done = join(job.folder, resultFile)
    if (existsSync(done))
      return parseEntry(
        onDisk(`cannot read ${done}`, () => readFileSync(done, 'utf8')),
        done,
      )
    const backend = await unwrap(openBackend(job.backend, optionsOf(job)))
    try {
      const data = await dataOf(study)
      const networks = networksOf(study, data.train.classes.length)
      const distillation = distillationOf(method, networks, data.train.classes.length)
      const lab = { job, method, data, networks, backend, run, around }
      const taught = teacher && distillation ? { teacher, distillation } : undefined
      if (taught && job.doctor && !run.resumed) {
        const { batch, steps } = study
        const keys = { initKey: foldIn(key(seed), streams.student), dataKey: dataKey(job) }
        const { teacher: values } = taught
        await examine(
          {
            name: method.label,
            ...networks,
            distillation: taught.distillation,
            taught: values,
            data,
            batch,
            steps,
            ...keys,
          },
          backend,
          around.warn,
        )
      }
      const entry = await trained(lab, taught, hash)
      run.write(resultFile, `${JSON.stringify(entry)}\n`)
      return entry
    } finally {
      backend.close()
    }
  } finally {
    run.close()
  }
}

/** The options of a backend. */
export const optionsOf = ({ adapter, threads }: Pick<Place, 'adapter' | 'threads'>) => ({
  ...(adapter === null ? {} : { adapter }),
  ...(threads === null ? {} : { threads }),
})

interface Laboratory {
  readonly job: Job
  readonly method: Method
  readonly data: Data
  readonly networks: Networks
  readonly backend: Backend
  readonly run: Run
  readonly around: Surroundings
}
interface Taught {
  readonly teacher: Named<NDArray>
  readonly distillation: AnyMethod
}

const dataKey = ({ seed }: Job): Key => foldIn(key(seed), streams.data)

async function trained(lab: Laboratory, given: Taught | undefined, hash: string): Promise<Entry> {
  const { job, method, data, networks, backend, run, around } = lab
  const { study, seed } = job
  const { batch, size, steps } = study
  const lesson: Lesson = {
    net: networks.student,
    optimiser: optimiserOf(),
    // the parameters that it makes come back to it alone
    ...(given
      ? { distillation: { teacher: networks.teacher, method: given.distillation as unknown as LessonMethod } }
      : {}),
  }
  const { initial, step, predict } = lessonOf(lesson, foldIn(key(seed), streams.student))
  const image = { shape: [batch, 3, ...size], dtype: 'f32' } as const
  const compiled = await compilePredict(predict, inferenceOf(initial), image, backend)
  const outputs = outputsOf(readsOf(parseMethods(job.methods), networks.taps))
  const asked = { image, backend, cache: job.cache, warn: around.warn }
  const ask = given && (await asking(networks.teacher, given.teacher, outputs, asked))
  const { evaluation, msPerStep } = await train(
    {
      ...{ name: 'student', steps, step, initial, key: dataKey(job) },
      fixed: {},
      learningRate: poly(study.lr, steps),
      batches: start => {
        const drawn = batches(data.train, { batch, key: dataKey(job), augment: data.augment, steps, start })
        return ask ? withTeacher(drawn, ask) : drawn
      },
      evaluate: state =>
        evaluateModel(compiled, inferenceOf(state), data.val, {
          batch,
          keep: pictured,
          interrupt: around.interrupt,
        }),
    },
    {
      ...{
        backend,
        run,
        interrupt: around.interrupt,
        checkpointEvery: job.checkpointEvery,
        evalEvery: steps,
      },
      resumeCommand: 'the same command',
      show: total => progress(total, `${method.label} seed ${seed}`),
    },
  )
  if (seed === 0)
    picture(job.studyFolder, method.label, evaluation.predictions, { size, palette: data.val.palette })
  return entryOf({ method: method.full, seed, hash }, evaluation, { steps, msPerStep, backend })
}
