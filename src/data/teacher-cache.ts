/**
 * A teacher's outputs on disk. In: a folder, a bound in bytes. Out: a store of named arrays by content, and a function that
 * looks up each image of a batch and computes only what is missing.
 *
 * Note [Keys]. What a teacher says of an image depends on its values, on which outputs are asked for, and on the bytes of the
 * image that it sees. The key is the hash of these three. Sample and augmentation key decide the bytes through dataset,
 * transforms and normalisation; hashing the result covers all of them: a changed file, transform or teacher has other keys and
 * never meets an old entry, and two augmentation keys that give one image (both leave it as it is) share one.
 *
 * Note [Entries]. A file is 32 bytes of SHA-256 and the safetensors that they are of. It is written beside its place and
 * renamed. Nothing is forced to the disk: what a crash tears fails its hash, is dropped with a warning and computed again.
 */
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { NDArray } from '../dsl/array.ts'
import { makeData } from '../dsl/dtype.ts'
import { DataError, UsageError } from '../dsl/errors.ts'
import { showType, size as sizeOf } from '../dsl/shape.ts'
import { isSystemError, onDisk, temporarySuffix } from './atomic.ts'
import { decode, encode } from './safetensors.ts'

/** Arrays by name. */
export type NamedArrays = { readonly [name: string]: NDArray }

/** A store of arrays by key. */
export interface TeacherCache {
  /** The arrays of a key, and a mark that they were used; undefined if they are not there, or damaged. */
  readonly get: (key: string) => NamedArrays | undefined
  /** Adds an entry, and deletes those that were used longest ago while all are larger than the bound. */
  readonly put: (key: string, arrays: NamedArrays) => void
  readonly stats: () => { readonly hits: number; readonly misses: number; readonly bytes: number }
}

const suffix = '.taps'
/** Deleting goes on to this part of the bound, so that it is not done at every entry. */
const afterDeleting = 0.9

/**
 * Opens a cache. Several processes may use one folder.
 * @param options.maxBytes  the bound on all entries together; an entry larger than it is not kept
 * @param options.warn      told of each damaged entry
 * @throws UsageError if the bound is not positive; DataError if the folder cannot be used
 * @example const cache = teacherCache({ folder: 'studies/a/cache', maxBytes: 2 ** 31 })
 */
export function teacherCache({
  folder,
  maxBytes,
  warn = text => void process.emitWarning(text),
}: {
  readonly folder: string
  readonly maxBytes: number
  readonly warn?: (text: string) => void
}): TeacherCache {
  if (!(maxBytes > 0)) throw new UsageError(`teacherCache: the bound must be positive, got ${maxBytes} bytes`)
  onDisk(`cannot make ${folder}`, () => mkdirSync(folder, { recursive: true }))
  const pathOf = (key: string): string => join(folder, `${key}${suffix}`)
  let bytes = filesIn(folder).reduce((n, f) => n + f.size, 0)
  let [hits, misses, written] = [0, 0, 0]
  const get = (key: string): NamedArrays | undefined => {
    const found = readEntry(pathOf(key), warn)
    if (found) hits++
    else misses++
    return found
  }
  const put = (key: string, arrays: NamedArrays): void => {
    const path = pathOf(key)
    const data = encode(new Map(Object.entries(arrays)))
    if (data.length + 32 > maxBytes) return
    const draft = `${path}.${process.pid}-${written++}${temporarySuffix}`
    onDisk(`cannot write ${path}; name another folder, or --teacher-cache off`, () => {
      writeFileSync(draft, Buffer.concat([digest(data), data]))
      renameSync(draft, path)
    })
    bytes += data.length + 32
    if (bytes > maxBytes) bytes = deleteOldest(folder, maxBytes)
  }
  return { get, put, stats: () => ({ hits, misses, bytes }) }
}

const digest = (data: Uint8Array): Buffer => createHash('sha256').update(data).digest()

function readEntry(path: string, warn: (text: string) => void): NamedArrays | undefined {
  if (!existsSync(path)) return undefined
  try {
    const file = readFileSync(path)
    const data = file.subarray(32)
    if (!digest(data).equals(file.subarray(0, 32))) throw new DataError('its hash is another')
    const now = new Date()
    utimesSync(path, now, now)
    return Object.fromEntries(decode(data, path).tensors)
  } catch (error) {
    // another process deleted it meanwhile
    if (isSystemError(error) && error.code === 'ENOENT') return undefined
    if (!(error instanceof DataError)) throw error
    warn(`${path} is damaged (${error.message}): it is deleted, and computed again`)
    rmSync(path, { force: true })
    return undefined
  }
}

interface CacheFile {
  readonly path: string
  readonly size: number
  readonly used: number
}
const filesIn = (folder: string): CacheFile[] =>
  readdirSync(folder)
    .filter(name => name.endsWith(suffix))
    .flatMap(name => {
      const path = join(folder, name)
      const stat = statSync(path, { throwIfNoEntry: false })
      return stat ? [{ path, size: stat.size, used: stat.mtimeMs }] : []
    })

/** Deletes the entries that were used longest ago. @returns the bytes that are left */
function deleteOldest(folder: string, maxBytes: number): number {
  const files = filesIn(folder).sort((a, b) => a.used - b.used)
  let left = files.reduce((n, f) => n + f.size, 0)
  if (left <= maxBytes) return left
  for (const { path, size } of files) {
    if (left <= afterDeleting * maxBytes) break
    rmSync(path, { force: true })
    left -= size
  }
  return left
}

/**
 * The hash of named arrays: of names, types and every value.
 * @example contentHash(namedArrays(teacher))
 */
export function contentHash(arrays: NamedArrays): string {
  const hash = createHash('sha256')
  for (const name of Object.keys(arrays).sort()) {
    const { data } = arrays[name]
    hash.update(`${name} ${showType(arrays[name])}\n`)
    hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
  }
  return hash.digest('hex')
}

/**
 * A teacher through a cache: each image's outputs are looked up; if one is missing, all of the batch are computed (one
 * compiled function serves every batch) and the missing ones are kept. It gives the numbers that `teach` gives, bit for bit, as
 * long as an image's outputs do not depend on the others of its batch: a teacher in evaluation mode.
 * @param teacher  the hash of its values and of the names of its outputs
 * @param teach    images [n, 3, h, w] => arrays of n rows, by name
 * @example const taught = await cachedTeacher(cache, hash, teach)(batch.image)
 */
export const cachedTeacher =
  (cache: TeacherCache, teacher: string, teach: (images: NDArray) => Promise<NamedArrays>) =>
  async (images: NDArray): Promise<NamedArrays> => {
    const n = images.shape[0]
    const keys = Array.from({ length: n }, (_, i) => contentHash({ [teacher]: row(images, i) }))
    const found = keys.map(cache.get)
    const known = found.filter(entry => entry !== undefined)
    if (known.length === n) return stacked(known)
    const all = await teach(images)
    keys.forEach((key, i) => {
      if (found[i] === undefined)
        cache.put(key, Object.fromEntries(Object.entries(all).map(([name, a]) => [name, row(a, i)])))
    })
    return all
  }

/** Row i of an array, without its first axis; it shares the array's memory. */
function row(a: NDArray, i: number): NDArray {
  const shape = a.shape.slice(1)
  const n = sizeOf(shape)
  return { shape, dtype: a.dtype, data: a.data.subarray(i * n, (i + 1) * n) }
}

/** Rows as one array, for each name. */
function stacked(rows: readonly NamedArrays[]): NamedArrays {
  return Object.fromEntries(
    Object.keys(rows[0]).map(name => {
      const { shape, dtype } = rows[0][name]
      const n = sizeOf(shape)
      const all = makeData(dtype, n * rows.length)
      rows.forEach((r, i) => {
        all.set(r[name].data, i * n)
      })
      return [name, { shape: [rows.length, ...shape], dtype, data: all }]
    }),
  )
}
