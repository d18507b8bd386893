/**
 * `npm run fuzz -- [--seconds N] [--programs N] [--seed S] [--backend B]`: random programs, their values and
 * gradients against the reference in f64. Prints a summary; a failure is shrunk, printed, and can be replayed.
 */
import { Command, Option } from 'commander'
import type { Backend } from '../backend/backend.ts'
import { unwrap } from '../backend/compile.ts'
import { trace } from '../dsl/trace.ts'
import { openBackend } from '../node.ts'
import { type FuzzFailure, type FuzzSummary, fuzz, replay } from '../testing/fuzz.ts'
import { printCheck } from '../testing/print.ts'
import { programArguments, programSteps, runProgram } from '../testing/programs.ts'
import { manyWorkgroups, sizeCases } from '../testing/sizes.ts'
import { cubeRule } from '../testing/steps.ts'
import { above0, natural } from './arguments.ts'
import { describeFailure, exitCodeOf } from './errors.ts'
import { nextTurn, watchSignals } from './interrupt.ts'
import { duration } from './progress.ts'

interface Options {
  readonly seconds?: number
  readonly programs?: number
  readonly seed: number
  readonly backend: 'reference' | 'cpu' | 'webgpu'
  readonly path?: string
  readonly sizes: boolean
}

/** Bytes held on a device beyond which a run counts as leaking: programs are small. */
const memoryLimit = 2 ** 30
const percent = (part: number, whole: number): string => `${((100 * part) / Math.max(whole, 1)).toFixed(1)} %`
const megabytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`

/** The summary as lines. */
export function describeSummary(s: FuzzSummary): string {
  const names = Object.keys(programSteps)
  const ops = names.map(n => [n, s.ops.get(n) ?? 0] as const).sort((a, b) => a[1] - b[1])
  return [
    `${s.programs} programs in ${duration(1000 * s.seconds)} (${(s.programs / s.seconds).toFixed(1)} a second)`,
    `${s.gradients} gradients compared with differences; ${s.kinks} between the modes only: kinks or ties near the arguments`,
    `${percent(s.moving, s.programs)} of the programs have finite gradients other than 0`,
    `${ops.filter(o => o[1] > 0).length} of ${names.length} operations reached, the rarest ${ops[0][1]} times:`,
    ...rows(
      ops.map(([n, k]) => `${n} ${k}`),
      8,
    ),
    `worst error ${s.worst.toExponential(1)} of an array's magnitude; ${s.illConditioned} results agree only within what the program makes of rounding`,
    `memory: ${megabytes(s.bytes)} held, ${megabytes(s.peakBytes)} at most; process ${megabytes(process.memoryUsage().rss)}`,
  ].join('\n')
}
const rows = (cells: readonly string[], n: number): string[] =>
  cells.flatMap((_, i) =>
    i % n === 0
      ? [
          `  ${cells
            .slice(i, i + n)
            .map(c => c.padEnd(15))
            .join('')}`.trimEnd(),
        ]
      : [],
  )

/** A failure with the program to paste and the command that replays it. */
export function describeFuzzFailure(f: FuzzFailure, backend: Options['backend']): string {
  const args = programArguments(f.program, f.float)
  const { graph } = trace(runProgram(f.program) as (...a: never[]) => unknown, [args])
  return [
    `FAILED: ${f.message}`,
    'The smallest program that fails:',
    '',
    printCheck(graph, args, { backend, rules: new Map([[cubeRule, 'cubeRule']]) }),
    `// as choices: ${JSON.stringify(f.program)}`,
    `Replay: npm run fuzz -- --backend ${backend} --seed ${f.seed} --programs 1 --path ${f.path}`,
  ].join('\n')
}

/** The cases that lie around tiles, workgroups and limits; returns how many failed. */
async function runSizes(backend: Backend, stopped: () => boolean): Promise<number> {
  const cases = backend.name === 'webgpu' ? [...sizeCases, manyWorkgroups] : sizeCases
  let [done, failed] = [0, 0]
  for (const c of cases) {
    if (stopped()) break
    try {
      await c.run(backend)
    } catch (e) {
      failed++
      console.log(`FAILED: ${c.name}: ${e instanceof Error ? e.message : e}`)
    }
    done++
    await nextTurn()
  }
  console.log(
    `${done - failed} of ${cases.length} sizes around tiles, workgroups and limits passed, ${failed} failed`,
  )
  return failed
}

async function main(options: Options): Promise<void> {
  const { seed, path } = options
  const backend = await unwrap(openBackend(options.backend, { poison: true }))
  const interrupt = watchSignals(() => process.stderr.write('\nstopping after this program\n'))
  try {
    console.log(`backend ${backend.name}: ${backend.description}; seed ${seed}`)
    if (path !== undefined) {
      const failure = await replay(backend, seed, path)
      console.log(failure ? describeFuzzFailure(failure, options.backend) : 'the program passes')
      if (failure) process.exitCode = 1
      return
    }
    const failedSizes = options.sizes ? await runSizes(backend, () => interrupt.requested) : 0
    let shown = 0
    const { summary, failure } = await fuzz({
      backend,
      seed,
      programs: options.programs ?? Number.POSITIVE_INFINITY,
      seconds: options.seconds ?? (options.programs === undefined ? 60 : Number.POSITIVE_INFINITY),
      onProgram: async s => {
        if (s.seconds >= shown + 10) {
          shown = s.seconds
          process.stderr.write(
            `${s.programs} programs, ${duration(1000 * s.seconds)}, ${megabytes(s.bytes)} held\n`,
          )
        }
        await nextTurn()
        return interrupt.requested || s.bytes > memoryLimit
      },
    })
    console.log(describeSummary(summary))
    if (failure) console.log(`\n${describeFuzzFailure(failure, options.backend)}`)
    if (summary.bytes > memoryLimit)
      console.log(`FAILED: the backend holds ${megabytes(summary.bytes)}: memory grows`)
    if (failure || failedSizes > 0 || summary.bytes > memoryLimit) process.exitCode = 1
  } finally {
    interrupt.stop()
    backend.close()
  }
}

/** The command; `npm run fuzz -- --help` shows it. */
export const fuzzCommand = (): Command =>
  new Command('fuzz')
    .description('runs random programs and compares values and gradients with the reference in f64')
    .option('--seconds <n>', 'ends after so many seconds (60, unless --programs is given)', above0)
    .option('--programs <n>', 'ends after so many programs', natural)
    .option(
      '--seed <s>',
      'of the first program; the next one has the seed after it',
      natural,
      Date.now() % 1_000_000_000,
    )
    .addOption(
      new Option('--backend <name>', 'where to run').choices(['reference', 'cpu', 'webgpu']).default('cpu'),
    )
    .option('--path <p>', 'replays the shrunk program of --seed, as a failure printed it')
    .option('--no-sizes', 'without the cases around tiles, workgroups and limits')
    .action(main)

if (process.argv[1]?.endsWith('fuzz.ts'))
  await fuzzCommand()
    .parseAsync()
    .catch((e: unknown) => {
      process.stderr.write(describeFailure(e, true))
      process.exitCode = exitCodeOf(e)
    })
