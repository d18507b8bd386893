/**
 * The command line. In: arguments. Out: the exit code (0 done, 1 failed, 2 called wrongly, 130 interrupted);
 * results on stdout, progress and errors on stderr.
 */
import { Command, CommanderError } from 'commander'
import { UsageError } from '../dsl/errors.ts'
import { distillCommand } from './distill-command.ts'
import { version } from './distill-summary.ts'
import { describeFailure, exitCodeOf } from './errors.ts'

/**
 * Runs a command.
 * @param argv  as process.argv: the first two entries are skipped
 * @returns the exit code; nothing is thrown
 * @example process.exitCode = await main(process.argv)
 */
export async function main(argv: readonly string[]): Promise<number> {
  const program = new Command('cotangent')
    .description(
      'Feature distillation for semantic segmentation, from a functional tensor language of its own',
    )
    .version(version())
    .exitOverride()
    .configureOutput({ outputError: () => {} })
    .addCommand(
      distillCommand()
        .exitOverride()
        .configureOutput({ outputError: () => {} }),
    )
  try {
    await program.parseAsync(argv)
    return 0
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0
    const failure = error instanceof CommanderError ? usageErrorOf(error) : error
    process.stderr.write(describeFailure(failure, argv.includes('--stack')))
    return exitCodeOf(failure)
  }
}

/** Commander's own failures (an unknown option, a bad value) as ours. */
const usageErrorOf = ({ message, code }: CommanderError): UsageError =>
  new UsageError(
    code === 'commander.help'
      ? 'name a command, such as distill'
      : `${message.replace(/^error: /, '')}\nSee cotangent distill --help`,
  )
