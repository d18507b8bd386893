/**
 * Zip archives whose entries are stored as they are: what `torch.save` writes. In: a source. Out: the entries by
 * name, and their bytes, checked against their CRC-32. Nothing is inflated, so that no archive is larger in memory
 * than on disk: reading a compressed or encrypted entry is an error, and so are entries that overlap.
 * @see https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT (sections 4.3 and 4.5.3, zip64)
 */
import crc32 from 'crc-32'
import { DataError } from '../dsl/errors.ts'
import { quote, type Source } from './source.ts'

/** A stored entry: its bytes are [begin, begin + size) of the archive. */
export interface ZipEntry {
  readonly name: string
  readonly begin: number
  readonly size: number
  /** CRC-32 of the bytes; 0 where the writer recorded none. */
  readonly crc: number
  /** Why it cannot be read, if it cannot. */
  readonly refused: string | undefined
}

const signatures = {
  local: 0x04034b50,
  central: 0x02014b50,
  end: 0x06054b50,
  end64: 0x06064b50,
  locator64: 0x07064b50,
}
/** A central directory beyond this is refused: 100,000 entries take about 7 MB. */
const maxDirectory = 8 * 2 ** 20

/**
 * The entries of an archive.
 * @throws DataError if it is cut short or inconsistent
 * @example zipEntries(source).get('archive/data.pkl')
 */
export function zipEntries(source: Source): ReadonlyMap<string, ZipEntry> {
  const { path } = source
  const directory = findDirectory(source)
  const view = viewOf(source.read(directory.begin, directory.size))
  const entries = new Map<string, ZipEntry>()
  const spans: { readonly name: string; readonly from: number; readonly to: number }[] = []
  let at = 0
  for (let i = 0; i < directory.count; i++) {
    const header = centralHeader(view, at, path)
    at = header.next
    const { name, size, crc, refused } = header
    if (entries.has(name)) throw new DataError(`${path}: the archive has two entries ${quote(name)}`)
    const begin = dataBegin(source, header)
    spans.push({ name, from: header.offset, to: begin + size })
    entries.set(name, { name, begin, size, crc, refused })
  }
  if (at !== view.byteLength)
    throw new DataError(
      `${path}: the archive's directory has ${view.byteLength} bytes, its entries take ${at}`,
    )
  let end = 0
  for (const { name, from, to } of spans.sort((a, b) => a.from - b.from)) {
    if (from < end) throw new DataError(`${path}: entry ${quote(name)} overlaps the one before it`)
    end = to
  }
  if (end > directory.begin) throw new DataError(`${path}: the entries run into the archive's directory`)
  return entries
}

/**
 * The bytes of an entry.
 * @throws DataError if the entry is compressed or encrypted, or its bytes have another CRC-32 than the archive's
 */
export function readZipEntry(
  source: Source,
  { name, begin, size, crc, refused }: ZipEntry,
): Uint8Array<ArrayBuffer> {
  if (refused !== undefined) throw new DataError(`${source.path}: entry ${quote(name)} is ${refused}`)
  const bytes = source.read(begin, size)
  // torch.utils.serialization.config.save.compute_crc32 = False leaves 0.
  if (crc !== 0 && crc32.buf(bytes) >>> 0 !== crc)
    throw new DataError(
      `${source.path}: entry ${quote(name)} is damaged: its CRC-32 is not the one that was written; copy or download the file again`,
    )
  return bytes
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** A 64-bit size or offset; those beyond 2^53 cannot be in a file. */
const uint64 = (view: DataView, at: number): number => Number(view.getBigUint64(at, true))

interface Directory {
  readonly begin: number
  readonly size: number
  readonly count: number
}

/** The directory's place, from the records at the end of the archive. */
function findDirectory(source: Source): Directory {
  const { path, size } = source
  // The last record is 22 bytes and a comment of at most 65,535; a zip64 locator of 20 bytes may stand before it.
  const tail = viewOf(source.read(Math.max(0, size - 65_577), Math.min(size, 65_577)))
  const base = size - tail.byteLength
  let at = tail.byteLength - 22
  while (
    at >= 0 &&
    !(
      tail.getUint32(at, true) === signatures.end &&
      at + 22 + tail.getUint16(at + 20, true) === tail.byteLength
    )
  )
    at--
  if (at < 0) throw new DataError(`${path}: the zip archive has no end record; is the file cut short?`)
  const found =
    at >= 20 && tail.getUint32(at - 20, true) === signatures.locator64
      ? directory64(source, uint64(tail, at - 12))
      : {
          begin: tail.getUint32(at + 16, true),
          size: tail.getUint32(at + 12, true),
          count: tail.getUint16(at + 10, true),
        }
  if (!(found.begin + found.size <= base + at))
    throw new DataError(
      `${path}: the archive's directory lies at byte ${found.begin} with ${found.size} bytes, the file has ${size}; is it cut short?`,
    )
  if (found.size > maxDirectory)
    throw new DataError(
      `${path}: the archive's directory has ${found.size} bytes; at most ${maxDirectory} are read`,
    )
  return found
}

function directory64(source: Source, at: number): Directory {
  const view = viewOf(source.read(at, 56))
  if (view.getUint32(0, true) !== signatures.end64)
    throw new DataError(
      `${source.path}: the archive's zip64 record is not where it should be; the file is damaged`,
    )
  return { count: uint64(view, 32), size: uint64(view, 40), begin: uint64(view, 48) }
}

interface CentralHeader {
  readonly name: string
  readonly size: number
  readonly crc: number
  readonly refused: string | undefined
  /** Of the local header. */
  readonly offset: number
  /** Where the next central header begins. */
  readonly next: number
}

function centralHeader(view: DataView, at: number, path: string): CentralHeader {
  const damaged = () => new DataError(`${path}: the archive's directory is damaged at its byte ${at}`)
  if (at + 46 > view.byteLength || view.getUint32(at, true) !== signatures.central) throw damaged()
  const [nameLength, extraLength, commentLength] = [28, 30, 32].map(o => view.getUint16(at + o, true))
  const extraBegin = at + 46 + nameLength
  const next = extraBegin + extraLength + commentLength
  if (next > view.byteLength) throw damaged()
  const name = textOf(new Uint8Array(view.buffer, view.byteOffset + at + 46, nameLength), path)
  const method = view.getUint16(at + 10, true)
  const refused =
    view.getUint16(at + 8, true) & 1
      ? 'encrypted'
      : method !== 0
        ? `compressed (method ${method}), which torch.save does not do; load the file in Python and save it again`
        : undefined
  const wide = wideFields(view, extraBegin, extraLength)
  const field = (offset: number): number => {
    const value = view.getUint32(at + offset, true)
    if (value !== 0xffffffff) return value
    const real = wide.shift()
    if (real === undefined) throw damaged()
    return real
  }
  // The order of the extra field: size, compressed size, offset.
  const full = field(24)
  const size = field(20)
  if (refused === undefined && size !== full)
    throw new DataError(
      `${path}: entry ${quote(name)} is stored, but its two sizes differ; the file is damaged`,
    )
  return { name, size, crc: view.getUint32(at + 16, true), refused, offset: field(42), next }
}

/** The 64-bit values of the zip64 extra field (id 1), in order. */
function wideFields(view: DataView, begin: number, length: number): number[] {
  for (let at = begin; at + 4 <= begin + length; ) {
    const [id, size] = [view.getUint16(at, true), view.getUint16(at + 2, true)]
    const end = Math.min(at + 4 + size, begin + length)
    if (id === 1) {
      const out: number[] = []
      for (let i = at + 4; i + 8 <= end; i += 8) out.push(uint64(view, i))
      return out
    }
    at += 4 + size
  }
  return []
}

/** Where an entry's bytes begin: behind its local header, whose name must be the directory's. */
function dataBegin(source: Source, { name, offset }: CentralHeader): number {
  const fixed = viewOf(source.read(offset, 30))
  const nameLength = fixed.getUint16(26, true)
  if (
    fixed.getUint32(0, true) !== signatures.local ||
    textOf(source.read(offset + 30, nameLength), source.path) !== name
  )
    throw new DataError(
      `${source.path}: entry ${quote(name)} is not at byte ${offset}, where the directory has it; the file is damaged`,
    )
  return offset + 30 + nameLength + fixed.getUint16(28, true)
}

function textOf(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new DataError(`${path}: the archive has an entry whose name is not UTF-8`)
  }
}
