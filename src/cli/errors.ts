/**
 * The edge of the program: what a failure looks like on a terminal. In: anything that was thrown. Out: the
 * text for stderr and the exit code.
 *   0 done | 1 failed (data, device, run, disk) | 2 called wrongly | 130 interrupted
 */
import { isSystemError } from '../data/atomic.ts'
import { CotangentError, UsageError } from '../dsl/errors.ts'

/** The run was stopped by a signal; the message says what was saved and how to go on. */
export class Interrupted extends CotangentError {
  readonly tag = 'Interrupted'
}

/**
 * The exit code of a failure: 2 for a UsageError, 130 for Interrupted, else 1.
 * @example process.exitCode = exitCodeOf(error)
 */
export function exitCodeOf(error: unknown): 1 | 2 | 130 {
  if (error instanceof UsageError) return 2
  return error instanceof Interrupted ? 130 : 1
}

/**
 * The text of a failure. An error that Cotangent raises on purpose explains itself; what else is thrown is a
 * defect, and is called one.
 * @param stack  whether the stack traces are printed, causes included
 * @example process.stderr.write(describeFailure(error, false))
 */
export function describeFailure(error: unknown, stack: boolean): string {
  const message = error instanceof Error ? error.message : String(error)
  const expected = error instanceof CotangentError || isSystemError(error)
  const text = expected ? message : `unexpected ${nameOf(error)}: ${message}`
  const label = error instanceof Interrupted ? '' : 'error: '
  const advice =
    expected || stack
      ? ''
      : '\nThis is a defect of Cotangent: run it again with --stack and report what it prints.'
  return `${label}${text}${stack ? traces(error) : ''}${advice}\n`
}

const nameOf = (error: unknown): string => (error instanceof Error ? error.name : 'value thrown')

function traces(error: unknown): string {
  if (!(error instanceof Error)) return ''
  const frames = (error.stack ?? '').split('\n').filter(line => /^\s+at /.test(line))
  const cause = error.cause === undefined ? '' : `\ncaused by ${nameOf(error.cause)}${traces(error.cause)}`
  return `\n${frames.join('\n')}${cause}`
}
