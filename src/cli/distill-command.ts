/**
 * The options of `cotangent distill`. In: arguments. Out: settings and a run folder, and the job run on them.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Command, InvalidArgumentError, Option } from 'commander'
import { DataError, UsageError } from '../dsl/errors.ts'
import { backendNames } from '../node.ts'
import { above0, fileName, from0, natural, positive, sizeOf } from './arguments.ts'
import { distill } from './distill.ts'
import { freeName, latestRun, tellTaken, timestamp } from './run-names.ts'
import {
  axesChoices,
  datasetChoices,
  defaults,
  type Given,
  netChoices,
  readSettings,
  settingsOf,
  storageChoices,
} from './settings.ts'

/** What commander gives: the settings that were typed, and where the run lies. */
type Typed = Given & {
  readonly out: string
  readonly name?: string
  readonly resume?: true
  readonly doctor: boolean
  readonly workers?: number
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
      new Option(
        '--storage <dtype>',
        'of large intermediates; f16 halves them and scales the loss, on WebGPU with shader-f16 (default: f32)',
      ).choices(storageChoices),
    )
    .option(
      '--subgroup-matrices',
      'multiply matrices on tensor cores, in f16 with f32 sums, and scale the loss; on WebGPU adapters that have them (experimental)',
    )
    .option(
      '--tune',
      "measure schedules on WebGPU when programs are compiled, and keep them in the user's cache; schedules.txt lists them",
    )
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
    .option('--epochs <x>', 'passes over the training images, instead of steps', above0)
    .option('--lr <x>', `learning rate of the first step; falls to 0 ${perDataset('lr')}`, above0)
    .option('--nfd-weight <x>', `weight of NFD beside cross-entropy (default: ${synthetic.nfdWeight})`, from0)
    .addOption(
      new Option(
        '--axes <axes>',
        `axes that NFD standardises over: ${axesChoices.join(', ')} (default: ${synthetic.axes})`,
      ).argParser(axesOf),
    )
    .option('--seed <n>', `of scenes, initial values and batches (default: ${synthetic.seed})`, natural)
    .option('--out <folder>', 'where run folders lie', 'runs')
    .option('--name <name>', 'the name of the run folder (default: the dataset and the time)', fileName)
    .option(
      '--resume',
      'go on with the run --name, or with the last one of this command, under its own settings',
    )
    .option('--checkpoint-every <n>', `steps between checkpoints ${perDataset('checkpointEvery')}`, positive)
    .option('--eval-every <n>', `steps between evaluations ${perDataset('evalEvery')}`, positive)
    .option(
      '--workers <n>',
      'threads that decode and augment; they change no number (default: 0; camvid 2)',
      natural,
    )
    .option(
      '--profile [file]',
      'time each kernel: prints a table at the end, and writes a trace for chrome://tracing into the run folder, or into the file',
    )
    .option('--no-doctor', 'do not examine the distilled student before it is trained')
    .option('--stack', 'print stack traces of errors')
    .addHelpText('after', examples)
    .allowExcessArguments(false)
  return command.action(async (typed: Typed) => {
    const { out, name, resume = false, doctor, workers, profile, stack: _, ...given } = typed
    const folderName = name ?? (resume ? latestRun(out, 'distill') : freeName(out, defaultName(given)))
    if (resume && name === undefined) tellTaken(out, folderName, 'distill')
    const folder = join(out, folderName)
    if (!resume && existsSync(join(folder, 'config.json')))
      throw new UsageError(`${folder} holds a run already; go on with it by --resume, or give another --name`)
    const stored = resume ? readSettings(folder) : undefined
    if (resume && stored === undefined)
      throw new DataError(`--resume: ${folder} holds no run; list ${out} for those there are`)
    await distill(settingsOf(given, stored), {
      folder,
      resumeCommand: `cotangent distill --resume --out ${out} --name ${folderName}`,
      ...(profile === undefined ? {} : { trace: profile === true ? join(folder, 'trace.json') : profile }),
      doctor,
      ...(workers === undefined ? {} : { workers }),
      print: text => void process.stdout.write(`${text}\n`),
    })
  })
}

/** Such as `synthetic-20250131-120500`. */
const defaultName = ({ dataset = 'synthetic' }: Given): string => `${dataset}-${timestamp()}`

function axesOf(text: string): (typeof axesChoices)[number] {
  const found = axesChoices.find(axes => axes.toLowerCase() === text.toLowerCase())
  if (found === undefined) throw new InvalidArgumentError(`Allowed choices are ${axesChoices.join(', ')}.`)
  return found
}
