/**
 * The job `cotangent distill`. In: settings and a run folder. Out: a trained teacher; a student trained from the
 * labels alone and one trained with NFD beside them, from equal initial values on equal batches; their scores
 * on held-out images, as a table and a report.
 */
import type { Backend, Resident } from '../backend/backend.ts'
import { dispose, read, unwrap } from '../backend/compile.ts'
import { batches, stepsOf } from '../data/loader.ts'
import { foldIn, type Key, key } from '../dsl/threefry.ts'
import { poly } from '../nn/schedule.ts'
import { type Choice, describeChoice, openBackend } from '../node.ts'
import { type Data, openData } from './dataset.ts'
import { galleryImages, type Result, reportOf, scoreTable, usage } from './distill-summary.ts'
import { examine } from './doctor-pipeline.ts'
import { compilePredict, evaluateModel } from './evaluate-model.ts'
import { type Interrupt, watchSignals } from './interrupt.ts'
import { methodOf, type Network, networkOf, optimiserOf } from './models.ts'
import { countElements, type Named } from './named.ts'
import { makeProfiler, type Profiler, writeTrace } from './profile.ts'
import { renderReport } from './report.ts'
import { openRun, type Run } from './run-folder.ts'
import { checkGpuOptions, type Settings } from './settings.ts'
import { type Context, type Phase, train } from './train-loop.ts'
import { inferenceOf, type Lesson, lessonOf } from './train-step.ts'

/** Where a job writes, and how it goes on. */
export interface Place {
  /** If it holds a run, that run goes on from its checkpoints. */
  readonly folder: string
  /** What the user types to go on. */
  readonly resumeCommand: string
  /** Kernels are timed; their table is printed and their trace written to this file. */
  readonly trace?: string
  /** Whether the distilled student is examined before it is trained: true. */
  readonly doctor?: boolean
  /** Threads that decode and augment: none for synthetic scenes, which are made faster than sent, else 2. */
  readonly workers?: number
  readonly print: (text: string) => void
}

/** What all three trainings share. */
interface Job {
  readonly settings: Settings
  readonly data: Data
  readonly workers: number
  readonly context: Context
  /** Counts the bytes on the device at the highest. */
  readonly peak: { bytes: number }
}

/** The streams of random numbers of a run: initial values, and the order and changes of samples. */
const streams = { teacher: 1, student: 2, teacherData: 3, studentData: 4 } as const

/**
 * Runs the job to its end.
 * @returns the path of the report
 * @throws UsageError, DataError, DeviceError, RunError; Interrupted after the first Ctrl-C, with all saved
 * @example await distill(settingsOf({ dataset: 'synthetic' }), { folder: 'runs/a', resumeCommand, print: console.log })
 */
export async function distill(settings: Settings, place: Place): Promise<string> {
  // First what fails fast.
  const data = await openData(settings)
  const profiler = place.trace === undefined ? null : makeProfiler()
  const schedules = new Set<string>()
  const backend = await unwrap(openBackend(settings.backend, backendOptions(settings, profiler, schedules)))
  const interrupt = watchSignals()
  try {
    // The backend that `auto` found is a part of the configuration: another one rounds otherwise.
    const settled = { ...settings, backend: backend.name }
    checkGpuOptions(settled)
    const run = openRun(place.folder, settled)
    try {
      return await distillIn(run, { settings: settled, data, backend, interrupt, place })
    } finally {
      if (settings.tune) run.write('schedules.txt', [...schedules].map(line => `${line}\n`).join(''))
      run.close()
      if (profiler && place.trace !== undefined) {
        writeTrace(profiler, place.trace)
        place.print(`\n${profiler.table()}\ntrace     ${place.trace}`)
      }
    }
  } finally {
    interrupt.stop()
    backend.close()
  }
}

/**
 * What `openBackend` takes, of settings.
 * @param schedules  gets a line for each kernel whose schedule was measured, now or before
 */
export const backendOptions = (
  { adapter, storage, subgroupMatrices, tune }: Settings,
  profiler: Profiler | null,
  schedules: Set<string>,
) => ({
  storage,
  tune,
  onChoice: (choice: Choice) => void schedules.add(describeChoice(choice)),
  ...(adapter === null ? {} : { adapter }),
  ...(subgroupMatrices ? { subgroupMatrices } : {}),
  ...(profiler === null ? {} : { profile: profiler.record }),
})

async function distillIn(
  run: Run,
  given: {
    readonly settings: Settings
    readonly data: Data
    readonly backend: Backend
    readonly interrupt: Interrupt
    readonly place: Place
  },
): Promise<string> {
  const { settings, data, backend, interrupt, place } = given
  const { checkpointEvery, evalEvery, seed } = settings
  const { resumeCommand, print } = place
  const { classes } = data.train
  const context: Context = { backend, run, interrupt, checkpointEvery, evalEvery, resumeCommand }
  const workers = place.workers ?? (settings.dataset === 'synthetic' ? 0 : 2)
  const job: Job = { settings, data, workers, context, peak: { bytes: 0 } }

  const teacher = networkOf(settings, settings.teacherWidth, classes.length)
  const student = networkOf(settings, settings.width, classes.length)
  const method = methodOf(settings, student, teacher)
  const stepsFor = (steps: number): number =>
    settings.epochs === null ? steps : stepsOf(data.train, settings.batch, settings.epochs)
  const [teacherSteps, studentSteps] = [stepsFor(settings.teacherSteps), stepsFor(settings.steps)]
  const parameters = (net: Network): number => countElements(net.init(key(0)).params)
  print(
    [
      `backend   ${backend.name}: ${backend.description}`,
      `data      ${data.train.name}: ${data.train.size} images to train on, ${data.val.size} held out, ${settings.size.join(' x ')}, ${classes.length} classes`,
      `teacher   ${teacher.name}: ${parameters(teacher)} parameters, ${teacherSteps} steps of ${settings.batch}`,
      `student   ${student.name}: ${parameters(student)} parameters, ${studentSteps} steps of ${settings.batch}`,
      `run       ${run.folder}${run.resumed ? ' (resumed)' : ''}`,
    ].join('\n'),
  )

  const root = key(seed)
  const optimiser = optimiserOf()
  const [first, taught] = await trainOne(job, {
    phase: 'teacher',
    name: 'Teacher',
    role: 'teacher',
    steps: teacherSteps,
    lesson: { net: teacher, optimiser },
    initKey: foldIn(root, streams.teacher),
    dataKey: foldIn(root, streams.teacherData),
  })
  const alike = {
    steps: studentSteps,
    initKey: foldIn(root, streams.student),
    dataKey: foldIn(root, streams.studentData),
  }
  const [second] = await trainOne(job, {
    ...alike,
    phase: 'student',
    name: 'Student alone',
    role: 'plain',
    lesson: { net: student, optimiser },
  })
  if (place.doctor !== false && !run.load('student-nfd')) {
    const { initKey, dataKey } = alike
    const pipeline = { name: 'student-nfd', student, teacher, distillation: method, data, initKey, dataKey }
    const about = { ...pipeline, taught: await read(taught), batch: settings.batch, steps: studentSteps }
    await examine(about, backend, text => void process.stderr.write(`warning: ${text}\n`))
  }
  const [third] = await trainOne(job, {
    ...alike,
    phase: 'student-nfd',
    name: 'Student + NFD',
    role: 'distilled',
    lesson: { net: student, optimiser, distillation: { teacher, method } },
    fixed: taught,
  })

  const results = [first, second, third]
  const report = await reportOf(results, {
    settings,
    val: data.val,
    metrics: run.metrics(),
    device: backend.description,
    peakMemory: job.peak.bytes,
    date: new Date(),
  })
  const path = run.write('report.html', renderReport(report))
  print(
    `\n${scoreTable(results, classes)}\n\n${usage(results, settings.batch, job.peak.bytes)}\nreport    ${path}`,
  )
  return path
}

/** One of the three trainings. */
interface Training {
  readonly phase: string
  readonly name: string
  readonly role: Result['role']
  readonly steps: number
  readonly lesson: Lesson
  /** Of the network's initial values. */
  readonly initKey: Key
  /** Of the order and the changes of samples, and of dropout. */
  readonly dataKey: Key
  /** The teacher, where there is one. */
  readonly fixed?: Named<Resident>
}

/** Trains and scores one network. Gives its result, and what it needs to run, on the device. */
async function trainOne(job: Job, training: Training): Promise<readonly [Result, Named<Resident>]> {
  const { settings, data, workers, context, peak } = job
  const { batch, size, storage, subgroupMatrices } = settings
  // gradients that are rounded to f16 must not vanish
  const scaled = storage === 'f16' || subgroupMatrices
  const { steps, dataKey, lesson } = training
  const { initial, step, predict } = lessonOf(
    { ...lesson, ...(scaled ? { lossScale: 'dynamic' } : {}) },
    training.initKey,
  )
  const image = { shape: [batch, 3, ...size], dtype: 'f32' } as const
  const run = await compilePredict(predict, inferenceOf(initial), image, context.backend)
  const phase: Phase = {
    name: training.phase,
    steps,
    step,
    initial,
    fixed: training.fixed ?? {},
    learningRate: poly(settings.lr, steps),
    key: dataKey,
    batches: start =>
      batches(data.train, { batch, key: dataKey, augment: data.augment, steps, start, workers }),
    evaluate: state => {
      peak.bytes = Math.max(peak.bytes, context.backend.memory().bytes)
      const options = { batch, workers, keep: galleryImages, interrupt: context.interrupt }
      return evaluateModel(run, inferenceOf(state), data.val, options)
    },
  }
  const { state, evaluation, msPerStep } = await train(phase, context)
  const kept = inferenceOf(state)
  dispose(Object.fromEntries(Object.entries(state).filter(([name]) => !(name in kept))))
  const { name, role } = training
  const parameters = countElements(lesson.net.init(key(0)).params)
  return [{ name, role, phase: training.phase, parameters, msPerStep, evaluation }, kept]
}
