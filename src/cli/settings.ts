/**
 * What a distillation run is set to. In: options as typed by the user, and on a resume the run's own
 * configuration. Out: complete settings, which config.json holds: everything that influences the numbers.
 */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { onDisk } from '../data/atomic.ts'
import { DataError, UsageError } from '../dsl/errors.ts'
import type { NormAxes } from '../nfd/normalise.ts'
import { backendNames } from '../node.ts'

/** The axes over which NFD takes mean and deviation, as typed. */
export const axesChoices = ['HW', 'NHW', 'C', 'CHW', 'none'] as const satisfies readonly NormAxes[]
export const datasetChoices = ['synthetic', 'camvid'] as const
export const netChoices = ['pspnet', 'encdec'] as const

const positive = z.number().int().positive()
const settingsSchema = z.object({
  backend: z.enum(backendNames),
  adapter: z.string().nullable(),
  dataset: z.enum(datasetChoices),
  data: z.string().nullable(),
  /** Height and width, of training crops and of evaluation. */
  size: z.tuple([positive, positive]),
  /** The first so many samples; null for all. */
  trainImages: positive.nullable(),
  valImages: positive.nullable(),
  net: z.enum(netChoices),
  width: positive,
  teacherWidth: positive,
  batch: positive,
  /** Of each student. */
  steps: positive,
  teacherSteps: positive,
  /** Instead of steps; null where steps count. */
  epochs: z.number().positive().nullable(),
  lr: z.number().positive(),
  nfdWeight: z.number().nonnegative(),
  axes: z.enum(axesChoices),
  seed: z.number().int().nonnegative(),
  checkpointEvery: positive,
  evalEvery: positive,
})

/** Complete settings of a run. */
export type Settings = Readonly<z.infer<typeof settingsSchema>>

/** Settings that were given by name, and no others. */
export type Given = Partial<Settings>

const common = {
  backend: 'auto',
  adapter: null,
  data: null,
  net: 'pspnet',
  epochs: null,
  nfdWeight: 1,
  axes: 'HW',
  seed: 0,
} as const satisfies Given

/** The defaults of each dataset: synthetic scenes are sized for minutes on a CPU, CamVid for a GPU. */
export const defaults = {
  synthetic: {
    ...common,
    dataset: 'synthetic',
    size: [64, 64],
    trainImages: 1000,
    valImages: 100,
    width: 8,
    teacherWidth: 16,
    batch: 8,
    steps: 600,
    teacherSteps: 800,
    lr: 0.01,
    checkpointEvery: 200,
    evalEvery: 200,
  },
  camvid: {
    ...common,
    dataset: 'camvid',
    // ten passes over the 367 images, minutes on two cores; a GPU takes --size 360x480 and larger widths
    size: [120, 160],
    trainImages: null,
    valImages: null,
    width: 8,
    teacherWidth: 16,
    batch: 8,
    steps: 460,
    teacherSteps: 460,
    lr: 0.01,
    checkpointEvery: 92,
    evalEvery: 230,
  },
} as const satisfies Record<(typeof datasetChoices)[number], Settings>

/**
 * Settings from what was given; on a resume, from the run's configuration, and what was given over it.
 * @throws UsageError if the combination makes no sense
 * @example settingsOf({ dataset: 'synthetic', steps: 100 })
 */
export function settingsOf(given: Given, resumed?: Settings): Settings {
  const settings = { ...(resumed ?? defaults[given.dataset ?? 'synthetic']), ...given }
  if (settings.dataset === 'camvid' && settings.data === null)
    throw new UsageError(
      '--dataset camvid needs --data FOLDER: the folder that holds train.txt and val.txt of the SegNet tutorial',
    )
  if (settings.dataset === 'synthetic' && settings.data !== null)
    throw new UsageError('--data is for --dataset camvid; synthetic scenes are made, not read')
  if (given.epochs && (given.steps || given.teacherSteps))
    throw new UsageError('give --epochs or --steps and --teacher-steps, not both')
  return settings
}

/**
 * The configuration of the run in a folder; undefined if there is none.
 * @throws DataError if it is damaged
 */
export function readSettings(folder: string): Settings | undefined {
  const path = join(folder, 'config.json')
  if (!existsSync(path)) return undefined
  const text = onDisk(`cannot read ${path}`, () => readFileSync(path, 'utf8'))
  const parsed = settingsSchema.safeParse(parseJson(path, text))
  if (!parsed.success)
    throw new DataError(`${path} is not the configuration of a run: ${z.prettifyError(parsed.error)}`)
  return parsed.data
}

function parseJson(path: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new DataError(`${path} is not JSON`, { cause })
  }
}

/**
 * The name of the run in `out` that was changed last.
 * @throws UsageError if there is none
 */
export function latestRun(out: string): string {
  const runs = (existsSync(out) ? onDisk(`cannot read ${out}`, () => readdirSync(out)) : [])
    .filter(name => existsSync(join(out, name, 'config.json')))
    .map(name => ({
      name,
      time: statSync(join(out, name, 'checkpoints'), { throwIfNoEntry: false })?.mtimeMs ?? 0,
    }))
  const latest = runs.reduce<(typeof runs)[number] | undefined>(
    (a, b) => (a === undefined || b.time > a.time ? b : a),
    undefined,
  )
  if (!latest)
    throw new UsageError(`--resume: there is no run in ${out}; name its folder with --out and --name`)
  return latest.name
}
