/**
 * The loop that trains one network. In: a phase (a pure step, batches, a schedule) and an open run folder. Out:
 * the trained state on the device, with measurements and checkpoints in the folder. A loop that goes on from a
 * checkpoint gives the same numbers as one that was never stopped: batches, keys and rates are functions of
 * the step.
 */
import { type Argument, type Backend, isResident, type Resident } from '../backend/backend.ts'
import { type Arguments, compile, unwrap } from '../backend/compile.ts'
import type { Batch } from '../data/loader.ts'
import { array, type NDArray } from '../dsl/array.ts'
import { concat, reshape } from '../dsl/build.ts'
import { RunError } from '../dsl/errors.ts'
import type { Shape } from '../dsl/shape.ts'
import type { Tensor, TensorType } from '../dsl/tensor.ts'
import { foldIn, type Key } from '../dsl/threefry.ts'
import { loadCheckpoint, saveCheckpoint } from './checkpoint.ts'
import { Interrupted } from './errors.ts'
import type { Evaluation } from './evaluate-model.ts'
import { type Interrupt, nextTurn } from './interrupt.ts'
import { type Named, upload } from './named.ts'
import { type Progress, progress } from './progress.ts'
import type { Run } from './run-folder.ts'

/** What changes from step to step besides the state. A type, for `compile` maps over it as over a tree. */
export type StepInput = {
  /** [n, 3, h, w] */
  readonly image: Tensor
  /** [n, h, w]; 255 is ignored */
  readonly label: Tensor<Shape, 'i32'>
  /** f32[] */
  readonly learningRate: Tensor
  /** u32[2], the randomness of this step (dropout) */
  readonly key: Tensor
  /** f32[], 1 in the last batch of a step, else 0: only with `Phase.accumulate` */
  readonly last: Tensor
  /** What a teacher says of the images, by name: only where the batches have it. */
  readonly taught?: Named<Tensor>
}

/** A batch, and what a teacher that was asked beforehand (or a cache of one) says of its images. */
export interface TaughtBatch extends Batch {
  readonly taught?: Named<Argument>
}

/** One training step, a pure function that is traced once. `logs.loss` is required; all logs are f32 scalars. */
export type Step = (
  state: Named<Tensor>,
  input: StepInput,
  fixed: Named<Tensor>,
) => { readonly state: Named<Tensor>; readonly logs: Named<Tensor> }

/** The training of one network. */
export interface Phase {
  /** Names the measurements, the progress bar and, unless told otherwise, the checkpoint. */
  readonly name: string
  readonly checkpoint?: string
  readonly steps: number
  readonly step: Step
  /** The state at step 0. */
  readonly initial: Named<NDArray>
  /** What the step reads and never changes: a teacher's parameters. */
  readonly fixed: Named<Argument>
  /** The learning rate of step i = 0 .. steps - 1. */
  readonly learningRate: (step: number) => number
  /** Batches a step, for each of which `step` is called: 1. */
  readonly accumulate?: number
  /** The batches of steps `start` .. steps - 1. */
  readonly batches: (start: number) => AsyncIterable<TaughtBatch>
  /** The key of batch i is foldIn(key, i). */
  readonly key: Key
  /** Scores the state on the validation set; undefined if it was interrupted. */
  readonly evaluate: (state: Named<Argument>) => Promise<Evaluation | undefined>
  /** Told of each score before it is written down: where the best state is kept. */
  readonly scored?: (step: number, evaluation: Evaluation, state: Named<Resident>) => Promise<void>
}

/** Where a phase runs. */
export interface Context {
  readonly backend: Backend
  readonly run: Run
  readonly interrupt: Interrupt
  /** Steps between checkpoints, and between evaluations; both also happen at the end. */
  readonly checkpointEvery: number
  readonly evalEvery: number
  /** What the user types to go on after an interrupt. */
  readonly resumeCommand: string
  /** What the user types to lower the learning rate: --lr. */
  readonly rateOption?: string
  readonly show?: (total: number, label: string) => Progress
}

/** A trained network. */
export interface Trained {
  readonly state: Named<Resident>
  readonly evaluation: Evaluation
  readonly msPerStep: number
  /** The part of this process's training time in which the step waited for its batch, its first batch left out. */
  readonly waiting: number
}

/**
 * Trains a phase to its end, going on from its checkpoint if the run folder has one.
 * @throws RunError if the loss is not finite; Interrupted; what the backend, the data and the disk throw
 * @example const { state, evaluation } = await train(teacher, { backend, run, interrupt, ...every })
 */
export async function train(phase: Phase, context: Context): Promise<Trained> {
  const { run, backend, interrupt } = context
  const { checkpoint = phase.name, accumulate = 1 } = phase
  const restored = loadCheckpoint(run, checkpoint, phase.initial)
  const { step: start, milliseconds } = restored ?? { step: 0, milliseconds: 0 }
  // What was measured behind the checkpoint will be measured again.
  run.rewind(phase.name, start + 1)
  const scored = new Set(run.metrics().flatMap(m => (m.phase === phase.name && 'miou' in m ? [m.step] : [])))
  const losses = lossReader(phase, context)
  let state = await upload(restored?.state ?? phase.initial, backend)
  let spent = milliseconds
  let seen = 0
  let waited = 0
  const save = async (step: number): Promise<void> => {
    await losses.flush()
    await saveCheckpoint(run, checkpoint, state, { step, milliseconds: spent })
  }
  let stepper: Stepper | undefined
  const bar = (context.show ?? progress)(phase.steps, phase.name)
  const batches = phase.batches(start)[Symbol.asyncIterator]()
  try {
    bar.update(start)
    for (let step = start; ; ) {
      const last = step === phase.steps
      const due = last || (step > 0 && step % context.evalEvery === 0 && !scored.has(step))
      if (due) await losses.flush()
      const evaluation = due ? await phase.evaluate(state) : undefined
      if (evaluation && !scored.has(step)) {
        await phase.scored?.(step, evaluation, state)
        const { miou, pixelAccuracy, classAccuracy } = evaluation.scores
        run.log({ phase: phase.name, step, miou, pixelAccuracy, classAccuracy, ...evaluation.extra })
      }
      await nextTurn()
      if (interrupt.requested) {
        if (step > start) await save(step)
        throw new Interrupted(interruptedAt(phase, step, context.resumeCommand))
      }
      if (last && evaluation) {
        const waiting = waited / Math.max(waited + spent - milliseconds, 1)
        return { state, evaluation, msPerStep: spent / phase.steps, waiting }
      }
      for (let i = 0; i < accumulate; i++) {
        const asked = performance.now()
        const batch = await batches.next()
        if (seen > 0) waited += performance.now() - asked
        if (batch.done)
          throw new RunError(`${phase.name}: the batches ended at step ${step} of ${phase.steps}`)
        const input = inputOf(phase, batch.value, step, i)
        stepper ??= await compileStep(phase, input, backend)
        const before = performance.now()
        const out = await stepper.run(state, input)
        state = out.state
        seen += batch.value.drawn.length
        if (i === accumulate - 1) await losses.add(step + 1, out.logs, stepper.names())
        else out.logs.dispose()
        spent += performance.now() - before
      }
      step++
      const imagesPerSecond = (1000 * seen) / (spent - milliseconds)
      bar.update(step, { loss: losses.latest(), imagesPerSecond, bytes: backend.memory().bytes })
      if (step === phase.steps || step % context.checkpointEvery === 0) await save(step)
    }
  } finally {
    bar.stop()
    await batches.return?.()
  }
}

type StepArrays = Arguments<StepInput>

function inputOf(phase: Phase, { image, label, taught }: TaughtBatch, step: number, i: number): StepArrays {
  const { accumulate = 1 } = phase
  return {
    image,
    label,
    learningRate: array([], 'f32', [phase.learningRate(step)]),
    key: array([2], 'u32', foldIn(phase.key, step * accumulate + i)),
    last: array([], 'f32', [Number(i === accumulate - 1)]),
    ...(taught ? { taught } : {}),
  }
}

/** A compiled step, with the phase's unchanging arrays bound. */
interface Stepper {
  /** Runs one step; the old state's memory is used for the new one. */
  run(
    state: Named<Resident>,
    input: StepArrays,
  ): Promise<{ readonly state: Named<Resident>; readonly logs: Resident }>
  /** What the entries of `logs` are. */
  names(): readonly string[]
}

async function compileStep(phase: Phase, input: StepArrays, backend: Backend): Promise<Stepper> {
  let names: readonly string[] = []
  const traced = (state: Named<Tensor>, given: StepInput, fixed: Named<Tensor>) => {
    const out = phase.step(state, given, fixed)
    names = Object.keys(out.logs)
    // One array, so that one copy from the device brings all of them.
    return {
      state: out.state,
      logs: concat(
        Object.values(out.logs).map(x => reshape(x, [1])),
        0,
      ),
    }
  }
  const { taught, ...given } = input
  const inputTypes = { ...typesOf(given), ...(taught ? { taught: typesOf(taught) } : {}) }
  const types = [phase.initial, inputTypes, typesOf(phase.fixed)] as const
  const exe = await unwrap(compile(traced, types, backend, { donate: [0] }))
  return {
    run: (state, given) => exe.resident([state, given, phase.fixed]),
    names: () => names,
  }
}

const typesOf = <T extends Readonly<Record<string, Argument>>>(
  args: T,
): { readonly [K in keyof T]: TensorType } =>
  // the same keys, each with its type
  Object.fromEntries(Object.entries(args).map(([name, a]) => [name, isResident(a) ? a.type : a])) as {
    readonly [K in keyof T]: TensorType
  }

/** Reads losses one step late, so that the device is never idle, and stops at the first that is not finite. */
function lossReader(phase: Phase, { run, rateOption = '--lr' }: Context) {
  const pending: { step: number; names: readonly string[]; values: Promise<NDArray> }[] = []
  // At most 2000 lines a phase: what a chart can show.
  const every = Math.ceil(phase.steps / 2000)
  let latest: number | undefined
  const settle = async (left: number): Promise<void> => {
    while (pending.length > left) {
      const { step, names, values } = pending[0]
      pending.shift()
      const { data } = await values
      const logs: Record<string, number> = Object.fromEntries(names.map((name, i) => [name, data[i]]))
      latest = logs.loss
      if (!Number.isFinite(latest)) throw new RunError(diverged(phase, run, step, latest, rateOption))
      if (step % every === 0 || step === phase.steps) run.log({ phase: phase.name, step, ...logs })
    }
  }
  return {
    latest: () => latest,
    flush: () => settle(0),
    async add(step: number, logs: Resident, names: readonly string[]): Promise<void> {
      const values = logs.read()
      // If the loop stops before it looks here, this failure must not end the process.
      values.catch(() => {})
      pending.push({ step, names, values: values.finally(() => logs.dispose()) })
      await settle(1)
    },
  }
}

function diverged(phase: Phase, run: Run, step: number, loss: number, rateOption: string): string {
  const saved = run.load(phase.checkpoint ?? phase.name)?.metadata.get('step')
  const kept =
    saved === undefined
      ? 'no checkpoint of this phase was written yet'
      : `the checkpoint of step ${saved} is kept`
  return (
    `${phase.name}: the loss is ${loss} at step ${step} of ${phase.steps} (learning rate ${phase.learningRate(step - 1)}); ` +
    `${kept}. Lower ${rateOption}, and give the new run another --name`
  )
}

const interruptedAt = (phase: Phase, step: number, resume: string): string =>
  `stopped in the phase ${phase.name} after step ${step} of ${phase.steps}; go on with\n  ${resume}`
