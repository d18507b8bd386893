/** The options of `cotangent compare`. In: arguments. Out: a study, and what is missing of it done. */
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { Command, InvalidArgumentError, Option } from 'commander'
import { z } from 'zod'
import { onDisk } from '../../data/atomic.ts'
import { DataError } from '../../dsl/errors.ts'
import { type BackendName, backendNames } from '../../node.ts'
import { above0, natural, positive, sizeOf } from '../arguments.ts'
import { watchSignals } from '../interrupt.ts'
import { datasetChoices, defaults } from '../settings.ts'
import { compareMethods } from './compare.ts'
import { jobSchema, performJob } from './job.ts'
import { methodNames } from './methods.ts'
import { netNames, type Study, studyOf } from './study.ts'

const { synthetic, camvid } = defaults
const per = (name: 'batch' | 'steps' | 'teacherSteps' | 'width' | 'teacherWidth' | 'lr'): string =>
  (synthetic[name] as number) === camvid[name]
    ? `(default: ${synthetic[name]})`
    : `(default: ${synthetic[name]}; camvid ${camvid[name]})`

const examples = `
A method is ce (labels alone, always there), or a sum of terms: NAME[:OPTION][@WEIGHT] + ...
  ${methodNames.slice(1).join(', ')}
The option of nfd is its axes (HW, NHW, C, CHW, none), of methods with probabilities their temperature. Weights are added to
cross-entropy; without one, the usual weight of the table in src/nfd/README.md.

Examples:
  $ cotangent compare --methods ce,kd,fitnet,cwd,pkd,nfd,nfd:NHW,nfd+kd --seeds 5
  $ cotangent compare --dataset camvid --data data/camvid --methods kd,nfd --seeds 5 --jobs 4 --name camvid

The folder holds ledger.jsonl (a line a finished run), teacher.safetensors, table.md, plot.svg and report.html. The same
command again does what is missing, on another machine too, if it has the ledger and the teacher.
Exit codes: 0 done, 1 failed, 2 called wrongly, 130 interrupted.`

/** What commander gives. */
interface Typed {
  readonly methods: string
  readonly seeds: number
  readonly dataset: Study['dataset']
  readonly data?: string
  readonly dataSeed?: number
  readonly size?: Study['size']
  readonly trainImages?: number
  readonly valImages?: number
  readonly split?: Study['split']
  readonly net?: Study['net']
  readonly width?: number
  readonly teacherNet?: Study['teacherNet']
  readonly teacherWidth?: number
  readonly teacher?: string
  readonly teacherSeed?: number
  readonly taps?: Study['taps']
  readonly batch?: number
  readonly steps?: number
  readonly teacherSteps?: number
  readonly lr?: number
  readonly backend: BackendName
  readonly adapter?: string
  readonly jobs: number
  readonly threads?: number
  readonly checkpointEvery: number
  readonly doctor: boolean
  readonly teacherCache: string
  readonly teacherCacheSize: number
  readonly out: string
  readonly name?: string
  readonly job?: string
}

/** The command `compare`, with its options. */
export function compareCommand(): Command {
  const command = new Command('compare')
    .description('Train students with several methods from paired seeds, and test the differences.')
    .option('--methods <list>', 'methods, with commas between', 'ce,kd,fitnet,cwd,pkd,nfd')
    .option('--seeds <n>', 'runs of each method: seeds 0 to n - 1', positive, 5)
    .addOption(new Option('--dataset <name>').choices(datasetChoices).default('synthetic'))
    .option('--data <folder>', 'the folder of CamVid: train.txt, val.txt and test.txt')
    .option('--data-seed <n>', 'of the synthetic scenes (default: 0)', natural)
    .option('--size <HxW>', 'height and width (default: 64x64; camvid 120x160)', sizeOf)
    .option('--train-images <n>', 'the first n images', positive)
    .option('--val-images <n>', 'score on the first n images', positive)
    .addOption(
      new Option('--split <name>', 'what is scored (default: val; camvid test)').choices(['val', 'test']),
    )
    .addOption(new Option('--net <name>', "the student's network (default: pspnet)").choices(netNames))
    .option('--width <x>', `channels of its first stage; of the zoo's, a multiplier ${per('width')}`, above0)
    .addOption(new Option('--teacher-net <name>', "(default: the student's)").choices(netNames))
    .option('--teacher-width <x>', per('teacherWidth'), above0)
    .option('--teacher <file>', 'take the teacher from a checkpoint, instead of training one')
    .option('--teacher-seed <n>', '(default: 0)', natural)
    .option(
      '--taps <pairs>',
      'student:teacher, with commas between (default: the deepest stages, and neck:neck)',
      tapsOf,
    )
    .option('--batch <n>', `images a step ${per('batch')}`, positive)
    .option('--steps <n>', `steps of each student ${per('steps')}`, positive)
    .option('--teacher-steps <n>', per('teacherSteps'), positive)
    .option('--lr <x>', `learning rate of the first step; falls to 0 ${per('lr')}`, above0)
    .addOption(new Option('--backend <name>').choices(backendNames).default('auto'))
    .option('--adapter <name>', "a part of the GPU adapter's name")
    .option(
      '--jobs <n>',
      'runs at once, each in a process; fewer where the memory does not hold so many',
      positive,
      1,
    )
    .option('--threads <n>', 'of the CPU backend in each process (default: its share of the cores)', positive)
    .option('--checkpoint-every <n>', 'steps between checkpoints', positive, 200)
    .option('--no-doctor', 'do not examine each run before it')
    .option(
      '--teacher-cache <folder>',
      "keep the teacher's outputs here, for all methods of a seed; `off`: each step asks the teacher",
      'off',
    )
    .option('--teacher-cache-size <GiB>', 'at most so much', above0, 4)
    .option('--out <folder>', 'where studies lie', 'studies')
    .option('--name <name>', 'the folder of this study (default: the dataset)')
    .addOption(new Option('--job <file>', 'do one run').hideHelp())
    .option('--stack', 'print stack traces of errors')
    .addHelpText('after', examples)
    .allowExcessArguments(false)
  return command.action(async (typed: Typed) => (typed.job ? oneJob(typed.job) : whole(typed)))
}

const print = (text: string): void => void process.stdout.write(`${text}\n`)
const warn = (text: string): void => void process.stderr.write(`warning: ${text}\n`)

async function whole(typed: Typed): Promise<void> {
  const { methods, seeds, jobs, out, name = typed.dataset, teacher = null, teacherCache } = typed
  const threads =
    typed.threads ?? (jobs === 1 ? null : Math.max(1, Math.floor(availableParallelism() / jobs)))
  await compareMethods({
    ...{ methods, seeds, jobs, teacher, print, warn },
    study: studyOf(givenOf(typed)),
    folder: join(out, name),
    place: {
      ...{ backend: typed.backend, adapter: typed.adapter ?? null, threads },
      ...{ checkpointEvery: typed.checkpointEvery, doctor: typed.doctor },
    },
    cache:
      teacherCache === 'off' ? null : { folder: teacherCache, maxBytes: typed.teacherCacheSize * 2 ** 30 },
    command: `cotangent ${process.argv.slice(2).join(' ')}`,
  })
}

/** The settings of the study among what was typed. */
function givenOf(t: Typed): Partial<Study> {
  const { dataset, data, dataSeed, size, trainImages, valImages, split, net, width } = t
  const { teacherNet, teacherWidth, teacherSeed, taps, batch, steps, teacherSteps, lr } = t
  const all = {
    ...{ dataset, data, dataSeed, size, trainImages, valImages, split, net, width },
    ...{ teacherNet, teacherWidth, teacherSeed, taps, batch, steps, teacherSteps, lr },
  }
  // what was not typed takes its default
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
}

async function oneJob(file: string): Promise<void> {
  const parsed = jobSchema.safeParse(
    JSON.parse(onDisk(`cannot read ${file}`, () => readFileSync(file, 'utf8'))),
  )
  if (!parsed.success) throw new DataError(`${file} is no job: ${z.prettifyError(parsed.error)}`)
  const interrupt = watchSignals()
  try {
    await performJob(parsed.data, { interrupt, warn })
  } finally {
    interrupt.stop()
  }
}

const tapsOf = (text: string): [string, string][] =>
  text.split(',').map(pair => {
    const [student, teacher, ...more] = pair.split(':')
    if (!student || !teacher || more.length > 0)
      throw new InvalidArgumentError('It must be pairs of taps, such as stage4:stage4,neck:neck.')
    return [student, teacher]
  })
