/**
 * Files that are whole or absent. In: a path and the parts of its content. Out: the file, replaced in one
 * step (write a neighbour, fsync, rename), so that a crash at any moment leaves the previous file intact.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { DataError } from '../dsl/errors.ts'

let written = 0

/** How the temporary neighbours of atomic writes end; a crash may leave some behind, which are safe to delete. */
export const temporarySuffix = '.tmp'

/**
 * Replaces the file at `path` by the concatenation of `parts`, creating its folder where it is missing.
 * @throws DataError if the file cannot be written; the previous file is then untouched
 * @example writeAtomic('runs/a/config.json', ['{}\n'])
 */
export function writeAtomic(path: string, parts: Iterable<string | Uint8Array>): void {
  const temporary = `${path}.${process.pid}-${written++}${temporarySuffix}`
  onDisk(`cannot write ${path}`, () => {
    mkdirSync(dirname(path), { recursive: true })
    try {
      const file = openSync(temporary, 'wx')
      try {
        for (const part of parts) writeFully(file, typeof part === 'string' ? Buffer.from(part) : part)
        fsyncSync(file)
      } finally {
        closeSync(file)
      }
      renameSync(temporary, path)
    } catch (error) {
      rmSync(temporary, { force: true })
      throw error
    }
    syncFolder(dirname(path))
  })
}

/**
 * Runs `action` and turns a system error into a DataError that begins with `failure`.
 * @example onDisk('cannot read a.json', () => readFileSync('a.json', 'utf8'))
 */
export function onDisk<T>(failure: string, action: () => T): T {
  try {
    return action()
  } catch (error) {
    if (isSystemError(error)) throw new DataError(`${failure}: ${error.message}`, { cause: error })
    throw error
  }
}

/** True for the errors of the operating system, such as ENOENT and ENOSPC. */
export const isSystemError = (error: unknown): error is NodeJS.ErrnoException =>
  error instanceof Error && 'syscall' in error && 'code' in error

// One write call takes at most 2 GiB and may write less than it was given.
function writeFully(file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; )
    at += writeSync(file, bytes, at, Math.min(bytes.length - at, 1 << 30), null)
}

// The rename itself reaches the disk with the folder. Windows and some network systems cannot sync a folder.
function syncFolder(folder: string): void {
  try {
    const handle = openSync(folder, 'r')
    try {
      fsyncSync(handle)
    } finally {
      closeSync(handle)
    }
  } catch (error) {
    if (!isSystemError(error)) throw error
  }
}
