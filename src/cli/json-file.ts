/** JSON files that a run keeps. In: a path. Out: what is in it, of no type yet. */
import { readFileSync } from 'node:fs'
import { onDisk } from '../data/atomic.ts'
import { DataError } from '../dsl/errors.ts'

/**
 * The value in a JSON file.
 * @throws DataError if it cannot be read or is not JSON
 * @example schema.parse(readJson('runs/a/config.json'))
 */
export function readJson(path: string): unknown {
  const text = onDisk(`cannot read ${path}`, () => readFileSync(path, 'utf8'))
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new DataError(`${path} is not JSON: ${cause instanceof Error ? cause.message : cause}`, { cause })
  }
}
