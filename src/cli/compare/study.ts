/**
 * What a study is set to. In: options as typed. Out: complete settings, and for each run the hash of all that its numbers
 * depend on, by which a ledger's line is known as that run's, on any machine.
 */
import { createHash } from 'node:crypto'
import { z } from 'zod'
import { UsageError } from '../../dsl/errors.ts'
import { type ZooName, zoo, zooNames } from '../../nn/zoo.ts'
import { type Network, networkOf } from '../models.ts'
import { datasetChoices, defaults, netChoices } from '../settings.ts'

const positive = z.number().int().positive()
const natural = z.number().int().nonnegative()

/** Networks by name: the two small ones, whose width is the channels of their first stage, and the zoo's, a multiplier. */
export const netNames = [...netChoices, ...zooNames]
type NetName = (typeof netChoices)[number] | ZooName
const netName = z.custom<NetName>(x => netNames.some(name => name === x))

/** Settings of a study, as a job file holds them. */
export const studySchema = z.object({
  dataset: z.enum(datasetChoices),
  /** The folder of CamVid; it does not influence the numbers. */
  data: z.string().nullable(),
  /** Of the synthetic scenes: equal in all runs, whatever their seed. */
  dataSeed: natural,
  size: z.tuple([positive, positive]),
  /** The first so many samples; null for all. */
  trainImages: positive.nullable(),
  valImages: positive.nullable(),
  /** What the trained networks are scored on. */
  split: z.enum(['val', 'test']),
  net: netName,
  width: z.number().positive(),
  teacherNet: netName,
  teacherWidth: z.number().positive(),
  /** Pairs [student's, teacher's]; null: the deepest stages, and the necks. */
  taps: z.array(z.tuple([z.string(), z.string()])).nullable(),
  batch: positive,
  steps: positive,
  teacherSteps: positive,
  teacherSeed: natural,
  lr: z.number().positive(),
})

/** Complete settings of a study. */
export type Study = Readonly<z.infer<typeof studySchema>>

/**
 * Complete settings from those that were given.
 * @throws UsageError if the combination makes no sense
 * @example studyOf({ dataset: 'synthetic', steps: 100 })
 */
export function studyOf(given: Partial<Study>): Study {
  const { dataset = 'synthetic' } = given
  const { data, size, trainImages, valImages, net, width, teacherWidth, batch, steps, teacherSteps, lr } =
    defaults[dataset]
  const study: Study = {
    ...{ dataset, data, size: [size[0], size[1]], trainImages, valImages },
    ...{ net, width, teacherWidth, batch, steps, teacherSteps, lr },
    teacherNet: given.net ?? net,
    ...{ dataSeed: 0, teacherSeed: 0, taps: null, split: dataset === 'camvid' ? 'test' : 'val' },
    ...given,
  }
  if (dataset === 'camvid' && study.data === null)
    throw new UsageError('--dataset camvid needs --data FOLDER: the folder of train.txt and test.txt')
  if (dataset === 'synthetic' && study.data !== null)
    throw new UsageError('--data is for --dataset camvid; synthetic scenes are made, not read')
  if (dataset === 'synthetic' && study.split === 'test')
    throw new UsageError('--split test is for --dataset camvid; synthetic scenes have train and val')
  return study
}

/** Student and teacher of a study. */
export interface Networks {
  readonly student: Network
  readonly teacher: Network
  /** The pairs of taps that features are compared at. */
  readonly taps: readonly (readonly [student: string, teacher: string])[]
}

/**
 * The networks of a study.
 * @throws UsageError if a width or a tap is not one that the network has
 * @example const { student, teacher, taps } = networksOf(study, 6)
 */
export function networksOf(study: Study, classes: number): Networks {
  const student = made(study.net, study.width, classes)
  const teacher = made(study.teacherNet, study.teacherWidth, classes)
  return { student, teacher, taps: study.taps ?? [deepest(student, teacher), ['neck', 'neck']] }
}

function made(net: NetName, width: number, classes: number): Network {
  if (net === 'pspnet' || net === 'encdec') return networkOf({ net }, width, classes)
  // as in models.ts: a network only ever sees the trees that it made itself
  return zoo[net]({ classes, width }) as unknown as Network
}

const deepest = (student: Network, teacher: Network): readonly [string, string] => {
  const [s, t] = [student, teacher].map(
    n =>
      Object.keys(n.tapChannels)
        .filter(tap => tap.startsWith('stage'))
        .sort()
        .at(-1) ?? 'neck',
  )
  return [s, t]
}

/**
 * The hash of all that a run's numbers depend on, but for the rounding of the machine that does it.
 * @param method   its full name
 * @param teacher  the hash of the teacher's values; null for a method without one
 */
export function runHash(study: Study, method: string, seed: number, teacher: string | null): string {
  const { data: _, teacherNet, teacherWidth, teacherSteps: __, teacherSeed: ___, taps, ...own } = study
  const taught = teacher === null ? {} : { teacherNet, teacherWidth, taps, teacher }
  return hashOf({ ...own, ...taught, method, seed })
}

/** The hash of what the teacher's training depends on. */
export function teacherHash(study: Study): string {
  const {
    dataset,
    dataSeed,
    size,
    trainImages,
    teacherNet,
    teacherWidth,
    batch,
    teacherSteps,
    teacherSeed,
    lr,
  } = study
  return hashOf({
    ...{ dataset, dataSeed, size, trainImages, batch, lr },
    ...{ teacherNet, teacherWidth, teacherSteps, teacherSeed },
  })
}

/** 16 hexadecimal digits of plain data; the order of its keys does not matter. */
const hashOf = (value: Readonly<Record<string, unknown>>): string => {
  const sorted = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return createHash('sha256').update(JSON.stringify(sorted)).digest('hex').slice(0, 16)
}
