/**
 * The options of `cotangent distill`. In: arguments. Out: settings and a run folder, and the job run on them.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Command, InvalidArgumentError, Option } from 'commander'
import type { Size } from '../data/sample.ts'
import { DataError, UsageError } from '../dsl/errors.ts'
import { backendNames } from '../node.ts'
import { distill } from './distill.ts'
import {
  axesChoices,
  datasetChoices,
  defaults,
  type Given,
  latestRun,
  netChoices,
  readSettings,
  settingsOf,
} from './settings.ts'

/** What commander gives: the settings that were typed, and where the run lies. */
type Typed = Given & {
  readonly out: string
  readonly name?: string
  readonly resume?: true
  readonly doctor: boolean
  readonly profile?: string | true
  readonly stack?: true
}

const { synthetic, camvid } = defaults
const perDataset = (
  name:
    | 'width'
    | 'teacherWidth'
    | 'batch'
    | 'steps'
    | 'teacherSteps'
    | 'lr'
    | 'checkpointEvery'
    | 'evalEvery',
) =>
  (synthetic[name] as number) === camvid[name]
    ? `(default: ${synthetic[name]})`
    : `(default: ${synthetic[name]}; camvid ${camvid[name]})`

const examples = `
Examples:
  $ cotangent distill                                   synthetic scenes, minutes on a CPU
  $ cotangent distill --steps 2000 --teacher-steps 4000 --seed 1
  $ cotangent distill --dataset camvid --data data/camvid --backend webgpu
  $ cotangent distill --resume                          goes on with the last run

The run folder holds report.html, metrics.jsonl, config.json and checkpoints/*.safetensors.
Ctrl-C saves a checkpoint; the second one stops at once.
Exit codes: 0 done, 1 failed, 2 called wrongly, 130 interrupted.`

/** The command `distill`, with its options. */
export function distillCommand(): Command {
  const command = new Command('distill')
    .description(
      'Train a teacher, a student from labels alone and a student with NFD, and compare the three.',
    )
    .addOption(
      new Option('--backend <name>', 'auto: a GPU where there is one, else the CPU (default: auto)').choices(
        backendNames,
      ),
    )
    .option('--adapter <name>', "a part of the GPU adapter's name")
    .addOption(
      new Option('--dataset <name>', 'what to train on (default: synthetic)').choices(datasetChoices),
    )
    .option('--data <folder>', 'the folder of CamVid: train.txt and val.txt with lines "image label"')
    .option(
      '--size <HxW>',
      `height and width (default: ${synthetic.size.join('x')}; camvid ${camvid.size.join('x')})`,
      sizeOf,
    )
    .option(
      '--train-images <n>',
      `the first n images (default: ${synthetic.trainImages}; camvid all)`,
      positive,
    )
    .option(
      '--val-images <n>',
      `the first n held-out images (default: ${synthetic.valImages}; camvid all)`,
      positive,
    )
    .addOption(
      new Option('--net <name>', `kind of both networks (default: ${synthetic.net})`).choices(netChoices),
    )
    .option('--width <n>', `channels of the student's first stage ${perDataset('width')}`, positive)
    .option('--teacher-width <n>', `the same of the teacher ${perDataset('teacherWidth')}`, positive)
    .option('--batch <n>', `images a step ${perDataset('batch')}`, positive)
    .option('--steps <n>', `steps of each student ${perDataset('steps')}`, positive)
    .option('--teacher-steps <n>', `steps of the teacher ${perDataset('teacherSteps')}`, positive)
    .option('--epochs <x>', 'passes over the training images, instead of steps', positiveNumber)
    .option('--lr <x>', `learning rate of the first step; falls to 0 ${perDataset('lr')}`, positiveNumber)
    .option(
      '--nfd-weight <x>',
      `weight of NFD beside cross-entropy (default: ${synthetic.nfdWeight})`,
      weight,
    )
    .addOption(
      new Option(
        '--axes <axes>',
        `axes that NFD standardises over: ${axesChoices.join(', ')} (default: ${synthetic.axes})`,
      ).argParser(axesOf),
    )
    .option('--seed <n>', `of scenes, initial values and batches (default: ${synthetic.seed})`, natural)
    .option('--out <folder>', 'where run folders lie', 'runs')
    .option('--name <name>', 'the name of the run folder (default: the dataset and the time)', fileName)
    .option('--resume', 'go on with the run --name, or with the last one, under its own settings')
    .option('--checkpoint-every <n>', `steps between checkpoints ${perDataset('checkpointEvery')}`, positive)
    .option('--eval-every <n>', `steps between evaluations ${perDataset('evalEvery')}`, positive)
    .option(
      '--profile [file]',
      'time each kernel: prints a table at the end, and writes a trace for chrome://tracing into the run folder, or into the file',
    )
    .option('--no-doctor', 'do not examine the distilled student before it is trained')
    .option('--stack', 'print stack traces of errors')
    .addHelpText('after', examples)
    .allowExcessArguments(false)
  return command.action(async (typed: Typed) => {
    const { out, name, resume = false, doctor, profile, stack: _, ...given } = typed
    const folderName = name ?? (resume ? latestRun(out) : freeName(out, defaultName(given)))
    const folder = join(out, folderName)
    const stored = readSettings(folder)
    if (!resume && stored)
      throw new UsageError(`${folder} holds a run already; go on with it by --resume, or give another --name`)
    if (resume && stored === undefined)
      throw new DataError(`--resume: ${folder} holds no run; list ${out} for those there are`)
    await distill(settingsOf(given, stored), {
      folder,
      resumeCommand: `cotangent distill --resume --out ${out} --name ${folderName}`,
      ...(profile === undefined ? {} : { trace: profile === true ? join(folder, 'trace.json') : profile }),
      doctor,
      print: text => void process.stdout.write(`${text}\n`),
    })
  })
}

/** Such as `synthetic-20250131-120500`. */
const defaultName = ({ dataset = 'synthetic' }: Given): string =>
  `${dataset}-${new Date().toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '-')}`

const number =
  (accept: (x: number) => boolean, what: string) =>
  (text: string): number => {
    const x = text.trim() === '' ? Number.NaN : Number(text)
    if (!accept(x)) throw new InvalidArgumentError(`It must be ${what}.`)
    return x
  }
const positive = number(x => Number.isInteger(x) && x > 0, 'a positive integer')
const natural = number(x => Number.isInteger(x) && x >= 0, 'a whole number, 0 or more')
const positiveNumber = number(x => x > 0 && x < Infinity, 'a number above 0')
const weight = number(x => x >= 0 && x < Infinity, 'a number, 0 or more')

function fileName(text: string): string {
  if (!/^\w[\w.-]*$/.test(text)) throw new InvalidArgumentError('Use letters, digits, ".", "-" and "_".')
  return text
}

function sizeOf(text: string): Size {
  const [, height, width] = /^([1-9]\d*)x([1-9]\d*)$/i.exec(text) ?? []
  if (height === undefined)
    throw new InvalidArgumentError('It must be height x width in pixels, such as 64x96.')
  return [Number(height), Number(width)]
}

function axesOf(text: string): (typeof axesChoices)[number] {
  const found = axesChoices.find(axes => axes.toLowerCase() === text.toLowerCase())
  if (found === undefined) throw new InvalidArgumentError(`Allowed choices are ${axesChoices.join(', ')}.`)
  return found
}

/** The name, or with a number behind it where a run has it already: two runs may start in one second. */
const freeName = (out: string, name: string): string => {
  for (let n = 1; ; n++) {
    const candidate = n === 1 ? name : `${name}-${n}`
    if (!existsSync(join(out, candidate))) return candidate
  }
}
