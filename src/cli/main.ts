/**
 * The command line. In: arguments. Out: the exit code (0 done, 1 failed, 2 called wrongly, 130 interrupted);
 * results on stdout, progress and errors on stderr.
 */
import { Command, CommanderError } from 'commander'
import { UsageError } from '../dsl/errors.ts'
import { compareCommand } from './compare/command.ts'
import { distillCommand } from './distill-command.ts'
import { version } from './distill-summary.ts'
import { doctorCommand } from './doctor-command.ts'
import { describeFailure, exitCodeOf } from './errors.ts'
import { evalCommand } from './eval-command.ts'
import { gaugeCommand } from './gauge-command.ts'
import { modelsCommand } from './models-command.ts'
import { predictCommand } from './predict-command.ts'
import { trainCommand } from './train-command.ts'
import { weightsCommand } from './weights-command.ts'

/** The commands, each a line. */
const commands = [
  distillCommand,
  compareCommand,
  doctorCommand,
  trainCommand,
  evalCommand,
  predictCommand,
  gaugeCommand,
  modelsCommand,
  weightsCommand,
]

/**
 * Runs a command.
 * @param argv  as process.argv: the first two entries are skipped
 * @returns the exit code; nothing is thrown
 * @example process.exitCode = await main(process.argv)
 */
export async function main(argv: readonly string[]): Promise<number> {
  const quiet = (c: Command) => c.exitOverride().configureOutput({ outputError: () => {} })
  const program = quiet(new Command('cotangent'))
    .description(
      'Feature distillation for semantic segmentation, from a functional tensor language of its own',
    )
    .version(version())
  for (const command of commands) program.addCommand(quiet(command()))
  try {
    await program.parseAsync(argv)
    return 0
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0
    const asked = program.commands.find(c => c.name() === argv[2])?.name()
    const failure = error instanceof CommanderError ? usageErrorOf(error, asked) : error
    process.stderr.write(describeFailure(failure, argv.includes('--stack')))
    return exitCodeOf(failure)
  }
}

/** Commander's own failures (an unknown option, a bad value) as ours. */
const usageErrorOf = ({ message, code }: CommanderError, command = ''): UsageError =>
  new UsageError(
    code === 'commander.help'
      ? 'name a command, such as distill'
      : `${message.replace(/^error: /, '')}\nSee ${['cotangent', command, '--help'].filter(Boolean).join(' ')}`,
  )
