/** The options of `cotangent train`. In: arguments. Out: a configuration and a run folder, and the job run on them. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Command } from 'commander'
import { DataError, UsageError } from '../dsl/errors.ts'
import { backendNames } from '../node.ts'
import { fileName, several } from './arguments.ts'
import { type Config, configSchema } from './config.ts'
import { describeOptions } from './config-errors.ts'
import { readConfig, readRunConfig } from './config-file.ts'
import { freeName, latestRun, tellTaken, timestamp } from './run-names.ts'
import { trainJob } from './segment/job.ts'

interface Typed {
  readonly set?: readonly string[]
  readonly backend?: string
  readonly adapter?: string
  readonly out: string
  readonly name?: string
  readonly resume?: true
  readonly profile?: string | true
  readonly print?: true
}

const examples = `
Examples:
  $ cotangent train                                     synthetic scenes, minutes on a CPU
  $ cotangent train camvid.config.ts --set optimiser.lr=0.02 --set train.batch=16
  $ cotangent train --set data.kind=camvid --set data.folder=data/camvid --set network.name=pspnet_resnet18
  $ cotangent train --resume                            goes on with the last run

A configuration file exports its keys:
  export default { data: { kind: 'camvid', folder: 'data/camvid' }, train: { iterations: 4000 } }

The run folder holds report.html, metrics.jsonl, config.json, TensorBoard's events.out.tfevents.* and
checkpoints/best.safetensors (torchvision's names) and last.safetensors (all that --resume needs).
Ctrl-C saves a checkpoint; the second one stops at once.
Exit codes: 0 done, 1 failed, 2 called wrongly, 130 interrupted.

Keys of the configuration, their defaults and what is allowed:
`

/** The command `train`, with its options. */
export const trainCommand = (): Command =>
  new Command('train')
    .description('Train a segmentation network from a configuration, and write a report.')
    .argument('[config]', 'a .ts, .js or .json file; without one, defaults')
    .option('--set <path=value>', 'changes the configuration; may be given several times', several)
    .option('--backend <name>', `instead of the configuration's: ${backendNames.join(', ')}`)
    .option('--adapter <name>', "a part of the GPU adapter's name")
    .option('--out <folder>', 'where run folders lie', 'runs')
    .option(
      '--name <name>',
      'the name of the run folder (default: the network, the data and the time)',
      fileName,
    )
    .option(
      '--resume',
      'go on with the run --name, or with the last one of this command, under its own configuration',
    )
    .option(
      '--profile [file]',
      'time each kernel: a table in the report, and a trace for chrome://tracing in the run folder, or in the file',
    )
    .option('--print', 'print the complete configuration as JSON, and train nothing')
    .option('--stack', 'print stack traces of errors')
    .addHelpText('after', () => `${examples}${describeOptions(configSchema)}`)
    .allowExcessArguments(false)
    .action(async (file: string | undefined, typed: Typed) => {
      const { out, resume = false, profile, print = false } = typed
      const overrides = [...(typed.set ?? []), ...backendOverrides(typed)]
      if (print) {
        const config = await readConfig(file, overrides)
        process.stdout.write(`${JSON.stringify(config, undefined, 2)}\n`)
        return
      }
      const started = resume ? resumed(file, typed, overrides) : await begun(file, typed, overrides)
      const folder = join(out, started.name)
      await trainJob(started.config, {
        folder,
        resumeCommand: `cotangent train --resume --out ${out} --name ${started.name}`,
        ...(profile === undefined ? {} : { trace: profile === true ? join(folder, 'trace.json') : profile }),
        print: text => void process.stdout.write(`${text}\n`),
      })
    })

/** Options that are keys of the configuration, as texts of JSON: a name is not a number. */
export const backendOverrides = ({ backend, adapter }: Pick<Typed, 'backend' | 'adapter'>): string[] => [
  ...(backend === undefined ? [] : [`backend=${JSON.stringify(backend)}`]),
  ...(adapter === undefined ? [] : [`adapter=${JSON.stringify(adapter)}`]),
]

interface Started {
  readonly name: string
  readonly config: Config
}

async function begun(
  file: string | undefined,
  { out, name }: Typed,
  overrides: readonly string[],
): Promise<Started> {
  const config = await readConfig(file, overrides)
  const chosen = name ?? freeName(out, defaultName(config))
  const folder = join(out, chosen)
  if (existsSync(join(folder, 'config.json')))
    throw new UsageError(`${folder} holds a run already; go on with it by --resume, or give another --name`)
  return { name: chosen, config }
}

function resumed(file: string | undefined, { out, name }: Typed, overrides: readonly string[]): Started {
  if (file !== undefined)
    throw new UsageError('--resume goes on under the configuration of the run; leave the file out')
  const chosen = name ?? latestRun(out, 'train')
  if (name === undefined) tellTaken(out, chosen, 'train')
  const folder = join(out, chosen)
  if (!existsSync(join(folder, 'config.json')))
    throw new DataError(`--resume: ${folder} holds no run; list ${out} for those there are`)
  // What differs from the run's own is refused when its folder is opened, with a list.
  return { name: chosen, config: readRunConfig(folder, overrides) }
}

/** Such as `unet-synthetic-20250131-120500`. */
const defaultName = ({ network, data }: Config): string => `${network.name}-${data.kind}-${timestamp()}`
