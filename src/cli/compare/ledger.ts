/**
 * The ledger of a study: `ledger.jsonl`, a line a finished run. In: a path. Out: the entries, and appending to them. Lines of
 * two machines may be joined in one file: an entry is found by its hash, and of equal hashes the first counts.
 */
import { appendFileSync, existsSync, mkdirSync, readFileSync, truncateSync } from 'node:fs'
import { dirname } from 'node:path'
import { z } from 'zod'
import type { Backend } from '../../backend/backend.ts'
import { onDisk } from '../../data/atomic.ts'
import { DataError } from '../../dsl/errors.ts'
import { version } from '../distill-summary.ts'
import type { Evaluation } from '../evaluate-model.ts'

const part = z.number().min(0).max(1)
const entrySchema = z.object({
  /** The method's full name, or `teacher`. */
  method: z.string(),
  seed: z.number().int().nonnegative(),
  /** Of all that the numbers depend on. */
  hash: z.string(),
  miou: part,
  pixelAccuracy: part,
  classAccuracy: part,
  /** By class; null where it does not occur. */
  iou: z.array(part.nullable()),
  steps: z.number().int().positive(),
  msPerStep: z.number().nonnegative(),
  /** Of the whole process, at the highest, in bytes. */
  peakBytes: z.number().nonnegative(),
  /** The backend and its device. */
  device: z.string(),
  /** Of Cotangent. */
  version: z.string(),
  /** When it was finished. */
  date: z.string(),
})

/** One finished run. */
export type Entry = Readonly<z.infer<typeof entrySchema>>

/**
 * The entries of a ledger, oldest first; none if there is no file. A last line without its end (a crash while it was
 * written) is cut off.
 * @throws DataError that names the line that is no entry
 * @example readLedger('studies/synthetic/ledger.jsonl')
 */
export function readLedger(path: string): readonly Entry[] {
  if (!existsSync(path)) return []
  const bytes = onDisk(`cannot read ${path}`, () => readFileSync(path))
  const whole = bytes.lastIndexOf(0x0a) + 1
  if (whole < bytes.length) onDisk(`cannot write ${path}`, () => truncateSync(path, whole))
  const lines = bytes.subarray(0, whole).toString('utf8').split('\n').slice(0, -1)
  return lines.map((line, i) => parseEntry(line, `${path}, line ${i + 1}`))
}

/**
 * An entry from its JSON.
 * @throws DataError that begins with `where`
 */
export function parseEntry(text: string, where: string): Entry {
  try {
    return entrySchema.parse(JSON.parse(text))
  } catch (error) {
    const why = error instanceof z.ZodError ? z.prettifyError(error) : 'no JSON'
    throw new DataError(`${where} is no entry of a ledger (${why}); delete it, and its run is done again`)
  }
}

/** Appends an entry. @throws DataError if the file cannot be written */
export function appendEntry(path: string, entry: Entry): void {
  onDisk(`cannot write ${path}`, () => {
    mkdirSync(dirname(path), { recursive: true })
    appendFileSync(path, `${JSON.stringify(entry)}\n`)
  })
}

/** The first entry of each hash. */
export const byHash = (entries: readonly Entry[]): ReadonlyMap<string, Entry> =>
  new Map([...entries].reverse().map(e => [e.hash, e]))

/** The entry of a run that this process has just finished. */
export const entryOf = (
  which: Pick<Entry, 'method' | 'seed' | 'hash'>,
  { scores }: Pick<Evaluation, 'scores'>,
  about: { readonly steps: number; readonly msPerStep: number; readonly backend: Backend },
): Entry => ({
  ...which,
  miou: scores.miou,
  pixelAccuracy: scores.pixelAccuracy,
  classAccuracy: scores.classAccuracy,
  iou: [...scores.iou],
  steps: about.steps,
  msPerStep: Math.round(100 * about.msPerStep) / 100,
  peakBytes: process.resourceUsage().maxRSS * 1024,
  device: `${about.backend.name}: ${about.backend.description}`,
  version: version(),
  date: new Date().toISOString(),
})
