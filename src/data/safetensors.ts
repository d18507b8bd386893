/**
 * The safetensors format: named arrays in one file, without code in it. In: a map of arrays and string
 * metadata. Out: bytes or a file, and back.
 *   8 bytes, little-endian: the header's length | header, JSON | data, row-major, little-endian
 * The header is padded so that the data begins at a multiple of 8, and wider elements come first, so that
 * every array is aligned. Everything that is read is validated: a damaged file is a DataError.
 * @see https://github.com/huggingface/safetensors#format
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { z } from 'zod'
import type { NDArray } from '../dsl/array.ts'
import { type DType, makeData } from '../dsl/dtype.ts'
import { DataError } from '../dsl/errors.ts'
import { onDisk, writeAtomic } from './atomic.ts'

/** What a file holds: the arrays by name, and free strings about them. */
export interface SafeTensors {
  readonly tensors: ReadonlyMap<string, NDArray>
  readonly metadata: ReadonlyMap<string, string>
}

/** The format's own limit, 100 MB: a longer header is a damaged length. */
const maxHeader = 100_000_000
const metadataKey = '__metadata__'

/** Our dtypes in the format's names, with the bytes of an element in a file. */
const formats = {
  f32: { name: 'F32', bytes: 4 },
  f64: { name: 'F64', bytes: 8 },
  i32: { name: 'I32', bytes: 4 },
  u32: { name: 'U32', bytes: 4 },
  bool: { name: 'BOOL', bytes: 1 },
} as const satisfies Record<DType, { name: string; bytes: number }>
const dtypeOf = new Map<string, DType>(
  (Object.keys(formats) as DType[]).map(dtype => [formats[dtype].name, dtype]),
)

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
  return onDisk(`cannot read ${path}`, () => {
    const file = openSync(path, 'r')
    try {
      const read = (bytes: Uint8Array, from: number): void => {
        for (let at = 0; at < bytes.length; ) {
          // One read call takes at most 2 GiB.
          const got = readSync(file, bytes, at, Math.min(bytes.length - at, 1 << 30), from + at)
          if (got === 0) throw new DataError(`${path}: the file became shorter while it was read`)
          at += got
        }
      }
      return parse(fstatSync(file).size, read, path)
    } finally {
      closeSync(file)
    }
  })
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
  const all = parts(tensors, metadata, 'safetensors')
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
export function decode(bytes: Uint8Array, path = 'safetensors'): SafeTensors {
  return parse(bytes.length, (into, from) => into.set(bytes.subarray(from, from + into.length)), path)
}

/** An array's place in a file; `begin` and `end` count from the first byte of the data. */
interface Entry {
  readonly name: string
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly begin: number
  readonly end: number
}

const count = z.number().int().nonnegative()
const entrySchema = z.strictObject({
  dtype: z.string(),
  shape: z.array(count),
  data_offsets: z.tuple([count, count]),
})
// Pairs, for a zod record loses the key __proto__.
const metadataSchema = z.array(z.tuple([z.string(), z.string()]))

function parts(
  tensors: ReadonlyMap<string, NDArray>,
  metadata: Readonly<Record<string, string>>,
  path: string,
): Uint8Array[] {
  const placed = [...tensors].sort(([, a], [, b]) => formats[b.dtype].bytes - formats[a.dtype].bytes)
  const offsets = new Map<string, readonly [number, number]>()
  let end = 0
  for (const [name, { dtype, shape, data }] of placed) {
    const at = `${path}: tensor ${quote(name)}`
    if (name === metadataKey) throw new DataError(`${at}: the format reserves this name; choose another`)
    const n = shape.reduce((a, b) => a * b, 1)
    if (data.length !== n)
      throw new DataError(`${at}: ${data.length} values do not fill the shape [${shape.join(', ')}] of ${n}`)
    const begin = end
    end += n * formats[dtype].bytes
    offsets.set(name, [begin, end])
  }
  const entries = [...tensors].map(([name, { dtype, shape }]): [string, unknown] => [
    name,
    { dtype: formats[dtype].name, shape, data_offsets: offsets.get(name) },
  ])
  if (Object.keys(metadata).length > 0) entries.unshift([metadataKey, metadata])
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)))
  const header = new Uint8Array(Math.ceil(json.length / 8) * 8).fill(0x20)
  header.set(json)
  const length = new Uint8Array(8)
  new DataView(length.buffer).setBigUint64(0, BigInt(header.length), true)
  return [length, header, ...placed.map(([, tensor]) => toBytes(tensor))]
}

function toBytes({ dtype, data }: NDArray): Uint8Array {
  if (dtype === 'bool') return Uint8Array.from(data, x => (x ? 1 : 0))
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
}

function parse(fileSize: number, read: (into: Uint8Array, from: number) => void, path: string): SafeTensors {
  if (fileSize < 8)
    throw new DataError(`${path}: ${fileSize} bytes are too few for a safetensors file; is it cut short?`)
  const length = new Uint8Array(8)
  read(length, 0)
  const size = new DataView(length.buffer).getBigUint64(0, true)
  if (size > BigInt(Math.min(fileSize - 8, maxHeader)))
    throw new DataError(
      `${path}: the header claims ${size} bytes, the file has ${fileSize} (and the format allows ${maxHeader}); it is cut short or no safetensors file`,
    )
  const header = new Uint8Array(Number(size))
  read(header, 8)
  const start = 8 + header.length
  const { entries, metadata } = parseHeader(header, path)
  checkCover(entries, fileSize - start, path)
  const tensors = new Map<string, NDArray>()
  for (const { name, dtype, shape, begin, end } of entries) {
    const data = makeData(dtype, (end - begin) / formats[dtype].bytes)
    read(new Uint8Array(data.buffer), start + begin)
    const bad = dtype === 'bool' ? data.findIndex((x: number) => x > 1) : -1
    if (bad >= 0)
      throw new DataError(
        `${path}: tensor ${quote(name)}: the value ${data[bad]} at ${bad} is no bool (0 or 1)`,
      )
    tensors.set(name, { shape, dtype, data })
  }
  return { tensors, metadata }
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
      const parsed = metadataSchema.safeParse(isObject(value) ? Object.entries(value) : value)
      if (!parsed.success)
        throw new DataError(`${path}: ${metadataKey} must hold text only: ${z.prettifyError(parsed.error)}`)
      metadata = new Map(parsed.data)
    } else entries.push(parseEntry(name, value, path))
  }
  return { entries, metadata }
}

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
  const parsed = entrySchema.safeParse(value)
  if (!parsed.success) throw new DataError(`${at}: ${z.prettifyError(parsed.error)}`)
  const { shape, data_offsets } = parsed.data
  const [begin, end] = data_offsets
  const dtype = dtypeOf.get(parsed.data.dtype)
  if (dtype === undefined)
    throw new DataError(
      `${at}: the dtype ${quote(parsed.data.dtype)} is none of ${[...dtypeOf.keys()].join(', ')}; convert the file`,
    )
  const bytes = shape.reduce((a, b) => a * b, formats[dtype].bytes)
  if (end - begin !== bytes)
    throw new DataError(
      `${at}: ${parsed.data.dtype}[${shape.join(', ')}] takes ${bytes} bytes, its offsets [${begin}, ${end}] span ${end - begin}`,
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

// Names come from files: at most one short line of them goes into a message.
const quote = (name: string): string => JSON.stringify(name.length > 120 ? `${name.slice(0, 119)}…` : name)
