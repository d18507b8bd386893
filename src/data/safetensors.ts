/**
 * The safetensors format: named arrays in one file, without code in it. In: a map of arrays and string
 * metadata. Out: bytes or a file, and back, whole or one array at a time.
 *   8 bytes, little-endian: the header's length | header, JSON | data, row-major, little-endian
 * The header is padded so that the data begins at a multiple of 8, and wider elements come first, so that
 * every array is aligned. Everything that is read is validated: a damaged file is a DataError. Opening takes the
 * header's memory (its text, and up to 50 times that as values); reading an array takes that array's.
 * @see https://github.com/huggingface/safetensors#format
 */
import type { NDArray } from '../dsl/array.ts'
import { DataError } from '../dsl/errors.ts'
import { size as sizeOf } from '../dsl/shape.ts'
import { writeAtomic } from './atomic.ts'
import { openSource, quote, type Source, sourceOf } from './source.ts'
import {
  type ArrayFile,
  type StoredArray,
  stored,
  storedAs,
  storedBytes,
  storedDType,
  widen,
} from './stored.ts'

/** What a file holds: the arrays by name, and free strings about them. */
export interface SafeTensors {
  readonly tensors: ReadonlyMap<string, NDArray>
  readonly metadata: ReadonlyMap<string, string>
}

/** An open file: its arrays' types at hand, their values on demand. */
export interface SafeTensorsFile extends ArrayFile {
  readonly metadata: ReadonlyMap<string, string>
}

/** A header beyond 16 MiB (150,000 tensors) is refused; the format itself allows 100 MB. */
export const maxHeader = 16 * 2 ** 20
const metadataKey = '__metadata__'
/** As in PyTorch, whose tensors have at most 64 axes. */
const maxAxes = 64

/**
 * Writes arrays to `path`; a crash leaves the previous file intact.
 * @throws DataError if an array does not fill its shape, a name is reserved, or the file cannot be written
 * @example writeSafetensors('a.safetensors', new Map([['w', array([2], 'f32', [1, 2])]]), { step: '10' })
 */
export function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, NDArray>,
  metadata: Readonly<Record<string, string>> = {},
): void {
  writeAtomic(path, parts(tensors, metadata, path))
}

/**
 * Reads a file. Arrays are fresh memory, in the order of their names in the header.
 * @throws DataError naming the path and the tensor if the file is missing, cut short or not in the format
 * @example readSafetensors('a.safetensors').tensors.get('w')
 */
export function readSafetensors(path: string): SafeTensors {
  const file = openSource(path)
  try {
    return readAll(openSafetensors(file))
  } finally {
    file.close()
  }
}

/**
 * The bytes of a file.
 * @throws DataError if an array does not fill its shape or a name is reserved
 * @example decode(encode(new Map([['w', array([2], 'f32', [1, 2])]])))
 */
export function encode(
  tensors: ReadonlyMap<string, NDArray>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const all = [...parts(tensors, metadata, 'safetensors')]
  const out = new Uint8Array(all.reduce((n, part) => n + part.length, 0))
  let at = 0
  for (const part of all) {
    out.set(part, at)
    at += part.length
  }
  return out
}

/**
 * Reads the bytes of a file; `path` only names them in errors.
 * @throws DataError naming `path` and the tensor if the bytes are cut short or not in the format
 * @example decode(readFileSync('a.safetensors'), 'a.safetensors').metadata.get('step')
 */
export const decode = (bytes: Uint8Array, path = 'safetensors'): SafeTensors =>
  readAll(openSafetensors(sourceOf(bytes, path)))

/**
 * Opens a file to read its arrays one at a time. Only its header is read.
 * @throws DataError naming the path and the tensor if the file is cut short or not in the format
 * @example openSafetensors(source).read('conv1.weight')
 */
export function openSafetensors(source: Source): SafeTensorsFile {
  const { path } = source
  if (source.size < 8)
    throw new DataError(`${path}: ${source.size} bytes are too few for a safetensors file; is it cut short?`)
  const size = new DataView(source.read(0, 8).buffer).getBigUint64(0, true)
  if (size > BigInt(Math.min(source.size - 8, maxHeader)))
    throw new DataError(
      `${path}: the header claims ${size} bytes, the file has ${source.size} (and ${maxHeader} are allowed); it is cut short or no safetensors file`,
    )
  const start = 8 + Number(size)
  const { entries, metadata } = parseHeader(source.read(8, Number(size)), path)
  checkCover(entries, source.size - start, path)
  const byName = new Map(entries.map(entry => [entry.name, entry]))
  return {
    entries: byName,
    metadata,
    read: name => {
      const entry = byName.get(name)
      if (entry === undefined) throw new DataError(`${path}: there is no tensor ${quote(name)}`)
      const { buffer } = source.read(start + entry.begin, entry.end - entry.begin)
      return widen(entry, buffer, `${path}: tensor ${quote(name)}`)
    },
  }
}

const readAll = ({ entries, metadata, read }: SafeTensorsFile): SafeTensors => ({
  tensors: new Map([...entries.keys()].map(name => [name, read(name)])),
  metadata,
})

/** An array's place in a file; `begin` and `end` count from the first byte of the data. */
interface Entry extends StoredArray {
  readonly name: string
  readonly begin: number
  readonly end: number
}

/** The parts of a file, the arrays as they are in memory: nothing of them is copied but bools, one at a time. */
function* parts(
  tensors: ReadonlyMap<string, NDArray>,
  metadata: Readonly<Record<string, string>>,
  path: string,
): Generator<Uint8Array> {
  const widthOf = ({ dtype }: NDArray): number => stored[storedAs[dtype]].bytes
  const placed = [...tensors].sort(([, a], [, b]) => widthOf(b) - widthOf(a))
  const offsets = new Map<string, readonly [number, number]>()
  let end = 0
  for (const [name, tensor] of placed) {
    const at = `${path}: tensor ${quote(name)}`
    if (name === metadataKey) throw new DataError(`${at}: the format reserves this name; choose another`)
    const n = sizeOf(tensor.shape)
    if (tensor.data.length !== n)
      throw new DataError(
        `${at}: ${tensor.data.length} values do not fill the shape [${tensor.shape.join(', ')}] of ${n}`,
      )
    const begin = end
    end += n * widthOf(tensor)
    offsets.set(name, [begin, end])
  }
  const entries = [...tensors].map(([name, { dtype, shape }]): [string, unknown] => [
    name,
    { dtype: storedAs[dtype], shape, data_offsets: offsets.get(name) },
  ])
  if (Object.keys(metadata).length > 0) entries.unshift([metadataKey, metadata])
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)))
  const header = new Uint8Array(Math.ceil(json.length / 8) * 8).fill(0x20)
  header.set(json)
  if (header.length > maxHeader)
    throw new DataError(
      `${path}: the header takes ${header.length} bytes; at most ${maxHeader} are read back`,
    )
  const length = new Uint8Array(8)
  new DataView(length.buffer).setBigUint64(0, BigInt(header.length), true)
  yield length
  yield header
  for (const [, tensor] of placed) yield toBytes(tensor)
}

function toBytes({ dtype, data }: NDArray): Uint8Array {
  if (dtype === 'bool') return Uint8Array.from(data, x => (x ? 1 : 0))
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
}

function parseHeader(
  bytes: Uint8Array,
  path: string,
): { entries: readonly Entry[]; metadata: ReadonlyMap<string, string> } {
  const header = parseJson(bytes, path)
  if (!isObject(header))
    throw new DataError(`${path}: the header is not a JSON object; is this a safetensors file?`)
  const entries: Entry[] = []
  let metadata: ReadonlyMap<string, string> = new Map()
  for (const [name, value] of Object.entries(header)) {
    if (name === metadataKey) {
      const pairs = Object.entries(isObject(value) ? value : { [metadataKey]: value })
      const texts = pairs.filter((pair): pair is [string, string] => typeof pair[1] === 'string')
      if (texts.length < pairs.length)
        throw new DataError(`${path}: ${metadataKey} must hold text only, by name`)
      metadata = new Map(texts)
    } else entries.push(parseEntry(name, value, path))
  }
  return { entries, metadata }
}

const isCounts = (x: unknown): x is readonly number[] =>
  Array.isArray(x) && x.every(n => Number.isSafeInteger(n) && n >= 0)
const isObject = (x: unknown): x is Readonly<Record<string, unknown>> =>
  typeof x === 'object' && x !== null && !Array.isArray(x)

function parseJson(bytes: Uint8Array, path: string): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (error) {
    throw new DataError(`${path}: the header is not JSON: ${error instanceof Error ? error.message : error}`)
  }
}

function parseEntry(name: string, value: unknown, path: string): Entry {
  const at = `${path}: tensor ${quote(name)}`
  const { dtype: typeName, shape, data_offsets, ...rest } = isObject(value) ? value : {}
  if (typeof typeName !== 'string') throw new DataError(`${at}: it has no dtype`)
  if (!isCounts(shape) || shape.length > maxAxes)
    throw new DataError(`${at}: the shape must be a list of at most ${maxAxes} natural numbers`)
  if (!isCounts(data_offsets) || data_offsets.length !== 2)
    throw new DataError(`${at}: data_offsets must be two natural numbers`)
  if (Object.keys(rest).length > 0)
    throw new DataError(`${at}: there is no field ${quote(Object.keys(rest)[0])} in this format`)
  const [begin, end] = data_offsets
  const dtype = storedDType(typeName)
  if (dtype === undefined)
    throw new DataError(
      `${at}: the dtype ${quote(typeName)} is none of ${Object.keys(stored).join(', ')}; convert the file`,
    )
  const bytes = storedBytes({ dtype, shape })
  if (end - begin !== bytes)
    throw new DataError(
      `${at}: ${dtype}[${shape.join(', ')}] takes ${bytes} bytes, its offsets [${begin}, ${end}] span ${end - begin}`,
    )
  return { name, dtype, shape, begin, end }
}

/** The arrays must cover the data exactly: no hole, no overlap, nothing behind the end. */
function checkCover(entries: readonly Entry[], size: number, path: string): void {
  let end = 0
  for (const entry of [...entries].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    const at = `${path}: tensor ${quote(entry.name)}`
    if (entry.end > size)
      throw new DataError(
        `${at}: it ends at byte ${entry.end} of ${size} bytes of data; is the file cut short?`,
      )
    if (entry.begin !== end)
      throw new DataError(
        `${at}: it begins at byte ${entry.begin}, the data before it ends at ${end}; offsets must neither overlap nor leave holes`,
      )
    end = entry.end
  }
  if (end !== size)
    throw new DataError(`${path}: the tensors end at byte ${end}, the data at ${size}; the file is damaged`)
}
