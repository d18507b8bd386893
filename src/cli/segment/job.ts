/**
 * The job `cotangent train`. In: a configuration and a run folder. Out: trained weights (the best and the last), the
 * measurements as metrics.jsonl and event files, and report.html.
 */
import type { Backend } from '../../backend/backend.ts'
import { dispose, read, unwrap } from '../../backend/compile.ts'
import { batches } from '../../data/loader.ts'
import type { Dataset } from '../../data/sample.ts'
import { UsageError } from '../../dsl/errors.ts'
import { foldIn, key } from '../../dsl/threefry.ts'
import { openBackend } from '../../node.ts'
import type { Config } from '../config.ts'
import { Interrupted } from '../errors.ts'
import { type Interrupt, watchSignals } from '../interrupt.ts'
import { countElements, upload } from '../named.ts'
import { makeProfiler, type Profiler, writeTrace } from '../profile.ts'
import { openRun, type Run } from '../run-folder.ts'
import { type Phase, train } from '../train-loop.ts'
import { augmentationOf, openPart } from './data.ts'
import { diskAdvice } from './disk.ts'
import { evaluateOn, type SegmentEvaluation } from './evaluate.ts'
import { predictor, weightsOf } from './infer.ts'
import { describeLoad, initialValues, networkOf, optimiserOf, scheduleOf } from './network.ts'
import { recorder } from './record.ts'
import { renderSegmentReport } from './report.ts'
import { trainingStep } from './step.ts'
import { reportOf, scoreTable } from './summary.ts'
import { checkpoints, keepBest, openTrained } from './trained.ts'

/** Where a job writes, and how it goes on. */
export interface Place {
  /** If it holds a run, that run goes on from its last checkpoint. */
  readonly folder: string
  /** What the user types to go on. */
  readonly resumeCommand: string
  /** Kernels are timed; their trace is written to this file. */
  readonly trace?: string
  readonly print: (text: string) => void
}

/** The streams of random numbers of a run. */
const streams = { initial: 1, data: 2 } as const
/** The name of the phase in metrics.jsonl. */
const phaseName = 'train'
/** Best, and worst, images in the report. */
const shownImages = 3

/**
 * Runs the job to its end.
 * @returns the path of the report
 * @throws UsageError, DataError, DeviceError, RunError; Interrupted after the first Ctrl-C, with all saved
 * @example await trainJob(parseConfig({}), { folder: 'runs/a', resumeCommand, print: console.log })
 */
export async function trainJob(config: Config, place: Place): Promise<string> {
  // First what fails fast.
  const augmentation = augmentationOf(config)
  const data = { train: await openPart(config, 'train'), val: await openPart(config, 'val') }
  checkWeights(config, data.train)
  const profiler = place.trace === undefined ? undefined : makeProfiler()
  const backend = await unwrap(openBackend(config.backend, backendOptions(config, profiler)))
  const interrupt = watchSignals()
  try {
    // The backend that `auto` found is a part of the configuration: another one rounds otherwise.
    const settled = { ...config, backend: backend.name }
    const run = openRun(place.folder, settled)
    try {
      return await trainIn({ run, config: settled, data, augmentation, backend, interrupt, profiler, place })
    } catch (error) {
      throw diskAdvice(error, place.resumeCommand)
    } finally {
      run.close()
      if (profiler && place.trace !== undefined) writeTrace(profiler, place.trace)
    }
  } finally {
    interrupt.stop()
    backend.close()
  }
}

/** What `openBackend` takes, of a configuration. */
export const backendOptions = ({ adapter, precision, subgroupMatrices }: Config, profiler?: Profiler) => ({
  storage: precision,
  ...(subgroupMatrices ? { subgroupMatrices } : {}),
  ...(adapter === null ? {} : { adapter }),
  ...(profiler ? { profile: profiler.record } : {}),
})

function checkWeights({ loss: { classWeights } }: Config, { classes, name }: Dataset): void {
  if (classWeights && classWeights.length !== classes.length)
    throw new UsageError(
      `loss.classWeights: has ${classWeights.length} weights; ${name} has ${classes.length} classes: ${classes.join(', ')}`,
    )
}

interface Job {
  readonly run: Run
  readonly config: Config
  readonly data: { readonly train: Dataset; readonly val: Dataset }
  readonly augmentation: ReturnType<typeof augmentationOf>
  readonly backend: Backend
  readonly interrupt: Interrupt
  readonly profiler: Profiler | undefined
  readonly place: Place
}

async function trainIn(job: Job): Promise<string> {
  const { run, config, data, augmentation, backend, interrupt, profiler, place } = job
  const { train: training, evaluation, loader } = config
  // gradients that are rounded to f16 must not vanish
  const scaled = config.precision === 'f16' || config.subgroupMatrices
  const root = key(config.seed)
  const net = networkOf(config.network, data.train.classes.length)
  const { variables, report: loaded } = initialValues(net, foldIn(root, streams.initial), config.pretrained)
  const { initial, step } = trainingStep(
    {
      net,
      optimiser: optimiserOf(config.optimiser),
      loss: config.loss,
      accumulate: training.accumulate,
      ema: training.ema,
      lossScale: scaled ? config.lossScale : null,
      clip: config.optimiser.clip,
    },
    variables,
  )
  const parameters = countElements(variables.params)
  place.print(
    [
      `backend   ${backend.name}: ${backend.description}`,
      `data      ${data.train.name}: ${data.train.size} images to train on, ${data.val.size} held out, ${augmentation.size?.join(' x ') ?? 'each of its own size'}, ${data.train.classes.length} classes`,
      `network   ${net.name}: ${parameters} parameters, ${training.iterations} iterations of ${training.batch}${training.accumulate > 1 ? ` x ${training.accumulate}` : ''}`,
      ...(loaded ? [describeLoad(loaded)] : []),
      `run       ${run.folder}${run.resumed ? ' (resumed)' : ''}`,
    ].join('\n'),
  )

  const workers = loader.workers ?? (config.data.kind === 'synthetic' ? 0 : 2)
  const averaged = training.ema !== null
  const look = predictor(net, variables, evaluation, backend)
  const peak = { bytes: 0 }
  const record = recorder(run, config, data.val, phaseName)
  let latest: SegmentEvaluation | undefined
  let best: { readonly step: number; readonly evaluation: SegmentEvaluation } | undefined
  const evaluate = (weights: Parameters<typeof look.maps>[0]) =>
    evaluateOn(look, weights, data.val, {
      batch: evaluation.batch,
      workers,
      boundary: evaluation.boundary,
      meanOver: evaluation.meanOver,
      keep: Math.max(shownImages, config.log.images),
      interrupt,
    })
  const dataKey = foldIn(root, streams.data)
  const phase: Phase = {
    name: phaseName,
    checkpoint: checkpoints.last,
    steps: training.iterations,
    step,
    initial,
    fixed: {},
    learningRate: scheduleOf(config),
    key: dataKey,
    accumulate: training.accumulate,
    batches: start =>
      batches(data.train, {
        batch: training.batch,
        key: dataKey,
        augment: augmentation.transform,
        steps: training.iterations * training.accumulate,
        start: start * training.accumulate,
        workers,
        ahead: loader.ahead,
      }),
    evaluate: async state => {
      peak.bytes = Math.max(peak.bytes, backend.memory().bytes)
      latest = await evaluate(weightsOf(state, averaged))
      return latest
    },
    scored: async (at, { scores: { miou } }, state) => {
      if (latest) await record.pictures(at, latest)
      if (miou <= bestMiou(run, at)) return
      keepBest(run, variables, await read(weightsOf(state, averaged)), {
        config,
        dataset: data.val,
        step: at,
        miou,
      })
      if (latest) best = { step: at, evaluation: latest }
    },
  }
  const done = await train(phase, {
    backend,
    run: record.run,
    interrupt,
    checkpointEvery: training.checkpointEvery,
    evalEvery: evaluation.every,
    resumeCommand: place.resumeCommand,
    rateOption: '--set optimiser.lr=...',
    show: record.show,
  })
  dispose(done.state)
  best ??= await scoreKept(run, backend, evaluate, place.resumeCommand)
  const report = await reportOf({
    ...best,
    run,
    config,
    val: data.val,
    network: { name: net.name, parameters },
    msPerStep: done.msPerStep,
    waiting: done.waiting,
    device: backend.description,
    peakMemory: peak.bytes,
    kernels: profiler?.table() ?? '',
    date: new Date(),
  })
  const path = run.write('report.html', renderSegmentReport(report))
  place.print(
    [
      `\n${scoreTable(best.evaluation, data.val.classes)}\n`,
      ...Object.entries(report.machine).map(([name, value]) => `${name.padEnd(20)}${value}`),
      `best                ${run.folder}/checkpoints/best.safetensors, iteration ${best.step}`,
      `report              ${path}`,
      ...(report.kernels === '' ? [] : [`\n${report.kernels}`]),
    ].join('\n'),
  )
  return path
}

/** The best score before an iteration; below every score if there is none. */
const bestMiou = (run: Run, before: number): number =>
  run
    .metrics()
    .flatMap(m => (m.step < before && typeof m.miou === 'number' ? [m.miou] : []))
    .reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)

/** Scores the weights that an earlier process kept as the best. */
async function scoreKept(
  run: Run,
  backend: Backend,
  evaluate: (weights: Awaited<ReturnType<typeof upload>>) => Promise<SegmentEvaluation | undefined>,
  resumeCommand: string,
) {
  const { weights } = await openTrained(run.folder)
  const resident = await upload(weights, backend)
  const evaluation = await evaluate(resident)
  dispose(resident)
  const step = Number(run.load(checkpoints.best)?.metadata.get('step'))
  if (!evaluation) throw new Interrupted(`stopped in the last evaluation; go on with\n  ${resumeCommand}`)
  return { step, evaluation }
}
