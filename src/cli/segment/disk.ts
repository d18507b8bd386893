/** A full disk in words. In: what was thrown. Out: the same, or an error that says what is safe and how to go on. */
import { isSystemError } from '../../data/atomic.ts'
import { DataError } from '../../dsl/errors.ts'

/** No space, over the quota, beyond the largest file that is allowed. */
const full = ['ENOSPC', 'EDQUOT', 'EFBIG']

/**
 * The error, with advice if a disk was full: files are replaced whole, so the previous checkpoint is intact.
 * @example catch (error) { throw diskAdvice(error, 'cotangent train --resume --name a') }
 */
export function diskAdvice(error: unknown, resumeCommand: string): unknown {
  const cause = error instanceof DataError ? error.cause : undefined
  if (!(error instanceof DataError) || !isSystemError(cause) || !full.includes(cause.code ?? '')) return error
  return new DataError(
    `${error.message}\nThe disk is full. What was saved before is intact: make room, then go on with\n  ${resumeCommand}`,
    { cause },
  )
}
