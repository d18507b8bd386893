/**
 * What a distillation run is set to. In: options as typed by the user, and on a resume the run's own
 * configuration. Out: complete settings, which config.json holds: everything that influences the numbers.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { DataError, UsageError } from '../dsl/errors.ts'
import type { NormAxes } from '../nfd/normalise.ts'
import { backendNames } from '../node.ts'
import { readJson } from './json-file.ts'
import { checkCommand } from './run-names.ts'

/** The axes over which NFD takes mean and deviation, as typed. */
export const axesChoices = ['HW', 'NHW', 'C', 'CHW', 'none'] as const satisfies readonly NormAxes[]
export const datasetChoices = ['synthetic', 'camvid'] as const
export const netChoices = ['pspnet', 'encdec'] as const
export const storageChoices = ['f32', 'f16'] as const

const positive = z.number().int().positive()
const settingsSchema = z.object({
  backend: z.enum(backendNames),
  adapter: z.string().nullable(),
  /** f16: large intermediates take half the memory, and the loss is scaled. */
  storage: z.enum(storageChoices),
  /** Products by subgroup matrices, whose operands are f16, and the loss is scaled. Absent where it was not asked for. */
  subgroupMatrices: z.literal(true).optional(),
  /** Whether schedules are measured: they change the order of sums. */
  tune: z.boolean(),
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
  storage: 'f32',
  tune: false,
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
  checkGpuOptions(settings)
  return settings
}

/**
 * The configuration of the run in a folder; undefined if there is none.
 * @throws DataError if it is damaged; UsageError if it is another command's
 */
export function readSettings(folder: string): Settings | undefined {
  const path = join(folder, 'config.json')
  if (!existsSync(path)) return undefined
  const config = readJson(path)
  checkCommand(config, folder, 'distill')
  const parsed = settingsSchema.safeParse(config)
  if (!parsed.success)
    throw new DataError(`${path} is not the configuration of a run: ${z.prettifyError(parsed.error)}`)
  return parsed.data
}

/**
 * Refuses what only WebGPU has on a backend that is another; `auto` is known when it is opened.
 * @throws UsageError that names the options and the backend
 * @example checkGpuOptions({ ...settings, backend: backend.name })
 */
export function checkGpuOptions({
  backend,
  tune,
  storage,
  subgroupMatrices,
}: Pick<Settings, 'backend' | 'tune' | 'storage' | 'subgroupMatrices'>): void {
  const asked = [
    ...(tune ? ['--tune'] : []),
    ...(storage === 'f16' ? ['--storage f16'] : []),
    ...(subgroupMatrices ? ['--subgroup-matrices'] : []),
  ]
  if (asked.length > 0 && backend !== 'webgpu' && backend !== 'auto')
    throw new UsageError(
      `${asked.join(' and ')}: the backend is ${backend}, and only webgpu has ${asked.length > 1 ? 'them' : 'it'}; leave ${asked.length > 1 ? 'them' : 'it'} out, or choose --backend webgpu`,
    )
}
