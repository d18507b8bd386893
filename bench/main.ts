/**
 * The benchmark: Cotangent's backends and, with --peers, its rivals on the same workloads, in turn, in one run. In:
 * options. Out: tables on stdout; JSON, Markdown and plots in bench/results/. See docs/benchmarks.md.
 *
 *     npm run bench -- --peers
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command, InvalidArgumentError, Option } from 'commander'
import { openAdapter } from '../src/backend/webgpu/dawn.ts'
import { describeFailure, exitCodeOf } from '../src/cli/errors.ts'
import { lockFolder } from '../src/cli/lock.ts'
import { UsageError } from '../src/dsl/errors.ts'
import { childOf } from './child.ts'
import {
  backends,
  type Contender,
  type OwnBackend,
  ownContenders,
  type Rival,
  rivals,
  scriptRivals,
  torchContenders,
} from './contenders.ts'
import { type CoreSpeed, startProbe, waitForCores } from './cores.ts'
import { dawnEnvironment } from './dawn-environment.ts'
import { installRivals, startProgram } from './install.ts'
import { describeMachine } from './machine.ts'
import { type Entrant, measure } from './measure.ts'
import { barPlot, compilePlot } from './plot.ts'
import { type Run, toMarkdown, toText } from './results.ts'
import type { Result, Workload } from './types.ts'
import { workloads } from './workloads.ts'

interface Options {
  readonly only?: readonly string[]
  readonly all?: boolean
  readonly backend?: readonly OwnBackend[]
  readonly peers?: true | readonly Rival[]
  readonly reps: number
  readonly seconds: number
  readonly adapter?: string
  readonly tune?: boolean
  readonly f16?: boolean
  readonly subgroupMatrices?: boolean
  readonly wait: number
  readonly json?: string
}

const positive = (text: string): number => {
  const n = Number(text)
  if (!(n > 0)) throw new InvalidArgumentError('It must be a positive number.')
  return n
}
const minutes = (text: string): number => (text === '0' ? 0 : positive(text))
const command = new Command('bench')
  .description('Times Cotangent, and its rivals beside it.')
  .option('--only <names...>', 'these workloads alone; --only list prints all')
  .option('--all', 'the long workloads too, and those for a GPU where there is one')
  .addOption(
    new Option(
      '--backend <names...>',
      "Cotangent's backends (cpu, and webgpu where there is an adapter)",
    ).choices(backends),
  )
  .addOption(new Option('--peers [names...]', 'the rivals, all or these').choices(rivals))
  .option('--reps <n>', 'repetitions of each contender on each workload, at most', positive, 100)
  .option('--seconds <n>', 'seconds for each contender on each workload, about', positive, 3)
  .option('--adapter <name>', "part of the GPU adapter's name: nvidia, llvmpipe, swiftshader")
  .option('--tune', 'WebGPU measures schedules when it compiles, and keeps them on disk')
  .option('--f16', 'one more contender: WebGPU with large intermediates in f16')
  .option('--subgroup-matrices', 'one more contender: WebGPU with products on tensor cores, operands in f16')
  .option(
    '--wait <minutes>',
    'until every thread has a core of its own, before a turn; in all at most',
    minutes,
    1,
  )
  .option('--json <file>', 'where the JSON goes (bench/results/<date>.json)')

const results = fileURLToPath(new URL('results/', import.meta.url))

async function main(options: Options): Promise<void> {
  if (options.only?.includes('list')) {
    for (const w of workloads) console.log(`${w.name.padEnd(20)} ${w.group.padEnd(5)} ${w.title}`)
    return
  }
  checkNames(options)
  const wanted = options.backend === undefined || options.backend.includes('webgpu')
  const found = wanted
    ? await openAdapter(options.adapter === undefined ? {} : { adapter: options.adapter })()
    : undefined
  const adapter = found?._tag === 'Right' ? found.right : undefined
  // named, it must be there; else its absence is noted
  if (found?._tag === 'Left' && (options.adapter !== undefined || options.backend !== undefined))
    throw found.left
  const chosen = choose(options, adapter !== undefined && !adapter.info.software)
  mkdirSync(results, { recursive: true })
  const unlock = lockFolder(results)
  const absent: Record<string, string> = {}
  const own = options.backend ?? (adapter ? (['cpu', 'webgpu'] as const) : (['cpu'] as const))
  if (found?._tag === 'Left') absent.webgpu = found.left.message.split('\n')[0]
  const dawn = own.includes('webgpu') && adapter ? dawnEnvironment(adapter) : undefined
  const contenders = [
    ...ownContenders(own, options.adapter, await startProgram(), options),
    ...rivalsFor(options.peers, dawn, absent),
  ]
  const entrants = contenders.map((contender): Entrant => ({ contender, child: childOf(contender) }))
  const machine = describeMachine()
  const json = options.json ?? join(results, `${machine.date.replace(/[ :]/g, '-')}.json`)
  const stop = () => {
    for (const { child } of entrants) child.stop()
  }
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)
    process.once(signal, () => {
      stop()
      process.stderr.write(`\nstopped by ${signal}; the workloads that were done are in ${json}\n`)
      process.exit(code)
    })
  const done: Result[] = []
  const probe = startProbe()
  const seen: CoreSpeed[] = []
  const waiting = { ms: options.wait * 60_000 }
  const runOf = (): Run => ({
    machine,
    contenders: Object.fromEntries(
      entrants.flatMap(({ contender, child }) =>
        child.description() ? [[contender.name, child.description()]] : [],
      ),
    ),
    absent,
    results: done,
  })
  try {
    for (const workload of chosen) {
      const { name, title, group, flop, bytes } = workload
      const tell = (who: string) => process.stderr.write(`\r\x1b[2K${title}: ${who} `)
      const cores: CoreSpeed[] = []
      const look = async () => {
        // what a GPU does depends little on the cores
        if (group !== 'gpu') cores.push(await waitForCores(probe, seen, waiting, machine.wholeCores))
      }
      const outcomes = await measure(workload, entrants, options, tell, look)
      const size = { ...(flop ? { flop } : {}), ...(bytes ? { bytes } : {}) }
      done.push({ workload: name, title, ...size, outcomes, cores })
      save(json, runOf())
    }
  } finally {
    process.stderr.write('\r\x1b[2K')
    stop()
    probe.stop()
    unlock()
  }
  console.log(toText(runOf()))
  console.log(`\nWritten to ${json}, and beside it as .md and .svg`)
}

const matches = (w: Workload, name: string): boolean => w.name === name || w.group === name

function checkNames({ only }: Options): void {
  const unknown = only?.find(n => !workloads.some(w => matches(w, n)))
  if (unknown !== undefined) throw new UsageError(`there is no workload ${unknown}; --only list prints all`)
}

/** The workloads that the options name. */
const choose = ({ only, all }: Options, gpu: boolean): readonly Workload[] =>
  workloads.filter(w =>
    only ? only.some(n => matches(w, n)) : w.group === 'core' || (all && (w.group === 'long' || gpu)),
  )

/** The rivals that can take part; why the others cannot is noted. */
function rivalsFor(
  peers: Options['peers'],
  dawn: ReturnType<typeof dawnEnvironment> | undefined,
  absent: Record<string, string>,
): readonly Contender[] {
  if (peers === undefined) return []
  const names = peers === true ? rivals : peers
  const scripts = names.filter(n => n !== 'torch')
  const all: Contender[] = []
  if (scripts.length > 0) {
    const installed = installRivals()
    if (typeof installed === 'string') for (const n of scripts) absent[n] = installed
    else all.push(...scriptRivals(scripts, installed.folder, dawn))
  }
  if (names.includes('torch')) {
    const torch = torchContenders()
    if (typeof torch === 'string') absent.torch = torch
    else all.push(...torch)
  }
  return all
}

function save(json: string, run: Run): void {
  const base = json.replace(/\.json$/, '')
  mkdirSync(dirname(json), { recursive: true })
  writeFileSync(json, `${JSON.stringify(run, null, 1)}\n`)
  writeFileSync(`${base}.md`, toMarkdown(run))
  writeFileSync(`${base}.svg`, barPlot(run.results))
  const compile = compilePlot(run.results)
  if (compile) writeFileSync(`${base}-compile.svg`, compile)
}

try {
  await main(command.parse().opts<Options>())
  process.exit(0)
} catch (error) {
  process.stderr.write(describeFailure(error, false))
  process.exit(exitCodeOf(error))
}
