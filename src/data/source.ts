/**
 * Bytes with random access, so that one tensor of a large file can be read without the rest. In: a path or bytes.
 * Out: a `Source`, whose reads are checked against its size before memory is taken.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { DataError } from '../dsl/errors.ts'
import { onDisk } from './atomic.ts'

/** Bytes that are read in pieces; `path` names them in errors. */
export interface Source {
  readonly path: string
  /** In bytes. */
  readonly size: number
  /**
   * The bytes [from, from + length), as fresh memory that begins at byte 0 of its buffer.
   * @throws DataError if they are not all there
   */
  readonly read: (from: number, length: number) => Uint8Array<ArrayBuffer>
}

/** A source that holds a file open until it is closed. */
export interface FileSource extends Source {
  readonly close: () => void
}

/**
 * Opens a file.
 * @throws DataError if it cannot be opened or is a folder
 * @example const file = openSource('a.pth'); try { file.read(0, 8) } finally { file.close() }
 */
export function openSource(path: string): FileSource {
  const what = `cannot read ${path}`
  const file = onDisk(what, () => openSync(path, 'r'))
  const { size, isFile } = onDisk(what, () => {
    const stat = fstatSync(file)
    return { size: stat.size, isFile: stat.isFile() }
  })
  if (!isFile) {
    closeSync(file)
    throw new DataError(`${what}: it is no file`)
  }
  return {
    path,
    size,
    read: (from, length) => {
      checkRange(path, size, from, length)
      const bytes = new Uint8Array(length)
      for (let at = 0; at < length; ) {
        // One read call takes at most 2 GiB.
        const got = onDisk(what, () => readSync(file, bytes, at, Math.min(length - at, 1 << 30), from + at))
        if (got === 0) throw new DataError(`${path}: the file became shorter while it was read`)
        at += got
      }
      return bytes
    },
    close: () => closeSync(file),
  }
}

/**
 * Bytes in memory as a source.
 * @example sourceOf(new Uint8Array([1, 2, 3])).read(1, 2) // 2, 3
 */
export const sourceOf = (bytes: Uint8Array, path = 'bytes'): Source => ({
  path,
  size: bytes.length,
  read: (from, length) => {
    checkRange(path, bytes.length, from, length)
    return new Uint8Array(bytes.subarray(from, from + length))
  },
})

function checkRange(path: string, size: number, from: number, length: number): void {
  if (!(from >= 0 && length >= 0 && from + length <= size))
    throw new DataError(
      `${path}: bytes ${from} to ${from + length} are asked for, the file has ${size}; is it cut short?`,
    )
}

/**
 * A name from a file in quotes, as `shown`.
 * @example quote('conv1.weight') // "conv1.weight"
 */
export const quote = (name: string): string => `"${shown(name)}"`

/**
 * A name from a file, as a message or a terminal may show it: one line of at most 120 characters, without control
 * characters and those that reorder a line, which become \uXXXX.
 * @example shown('a\x1b[2J') // a\u001b[2J
 */
export const shown = (name: string): string =>
  (name.length > 120 ? `${name.slice(0, 119)}…` : name).replace(
    /["\\]|[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu,
    c => (c === '"' || c === '\\' ? `\\${c}` : `\\u${(c.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`),
  )
