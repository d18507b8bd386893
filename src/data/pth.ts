/**
 * Files of `torch.save`. In: a source. Out: the tensors of its state dict by name, read one at a time. Both formats
 * are read: the zip archive (PyTorch 1.6 and later) and the stream of pickles before it. The pickles go through the
 * restricted reader of pickle.ts; only the calls that torch-values.ts lists have a meaning, and none of them runs code.
 *   zip     NAME/data.pkl: the object; NAME/data/KEY: the bytes of a storage
 *   stream  pickles: magic number, version, machine, object, keys of storages | for each key: count, int64 | its bytes
 * A tensor is a view of a storage: offset, shape and strides, in elements. All are checked before memory is taken.
 * @see https://pytorch.org/docs/stable/notes/serialization.html; torch/serialization.py and torch/_utils.py
 */
import { DataError } from '../dsl/errors.ts'
import { limits } from './pickle.ts'
import { describe } from './pickled.ts'
import { quote, type Source } from './source.ts'
import { findStateDict } from './state-dict.ts'
import { type ArrayFile, stored, storedBytes, widen } from './stored.ts'
import {
  gather,
  isList,
  type Span,
  type StorageRef,
  spanOf,
  type TorchPickle,
  unpickleTorch,
} from './torch-values.ts'
import { readZipEntry, type ZipEntry, zipEntries } from './zip.ts'

/** A file's state dict. */
export interface PthFile extends ArrayFile {
  readonly format: 'PyTorch zip archive' | 'PyTorch stream (before 1.6)'
  /** What a user should know: where the state dict was found, what was left out, which objects were not made. */
  readonly notes: readonly string[]
}

/**
 * The bytes that all tensors together may have, and span in their storages: 64 MiB and 32 times the file. A view with
 * stride 0 repeats elements, and any number of views may span one storage, so that a small file could claim anything.
 */
export const maxClaim = (fileSize: number): number => 64 * 2 ** 20 + 32 * fileSize

/**
 * Opens a file of `torch.save`.
 * @param entry  the path of the state dict inside the file (`model.ema`), where it cannot be told
 * @throws DataError if the file is damaged, or holds no state dict, or more than one
 * @example openPth(source).read('conv1.weight')
 */
export function openPth(source: Source, entry?: string): PthFile {
  const { format, pickle, readStorage } = isZip(source) ? openZip(source) : openStream(source)
  const { tensors, notes } = findStateDict(pickle, source.path, entry)
  let claim = 0
  for (const tensor of tensors.values()) claim += storedBytes(tensor) + spanOf(tensor).size
  if (!(claim <= maxClaim(source.size)))
    throw new DataError(
      `${source.path}: its tensors claim ${claim} bytes, from a file of ${source.size}; at most ${maxClaim(source.size)} are allowed`,
    )
  return {
    format,
    entries: tensors,
    notes,
    read: name => {
      const tensor = tensors.get(name)
      if (tensor === undefined) throw new DataError(`${source.path}: there is no tensor ${quote(name)}`)
      const bytes = readStorage(tensor.storage, spanOf(tensor))
      return widen(tensor, gather(bytes, tensor), `${source.path}: tensor ${quote(name)}`)
    },
  }
}

/** True for a source that begins as a zip archive. */
export const isZip = (source: Source): boolean =>
  source.size >= 4 && new DataView(source.read(0, 4).buffer).getUint32(0, true) === 0x04034b50

/** True for a source that begins as a pickle (the instruction PROTO): PyTorch's stream, or another program's. */
export const isPickle = (source: Source): boolean => source.size >= 2 && source.read(0, 1)[0] === 0x80

/** The first pickle of the stream: torch.serialization.MAGIC_NUMBER. */
const magic = 0x1950a86a20f9469cfc6cn

interface Opened {
  readonly format: PthFile['format']
  readonly pickle: TorchPickle
  /** A part of a storage, as fresh memory. */
  readonly readStorage: (storage: StorageRef, span: Span) => Uint8Array<ArrayBuffer>
}

/** The bytes of a whole storage, and the error where the file has another number of them. */
const bytesOf = ({ dtype, total }: StorageRef): number => total * (dtype ? stored[dtype].bytes : 1)
const wrongSize = (path: string, storage: StorageRef, found: number): DataError =>
  new DataError(
    `${path}: storage ${quote(storage.key)} should have ${bytesOf(storage)} bytes, the file has ${found} of it; is it cut short?`,
  )

function openZip(source: Source): Opened {
  const { path } = source
  const entries = zipEntries(source)
  const roots = [...entries.keys()].filter(name => /^[^/]+\/data\.pkl$/.test(name))
  if (roots.length !== 1)
    throw new DataError(`${path}: a zip archive without NAME/data.pkl: torch.save did not write it`)
  const root = roots[0].slice(0, -'data.pkl'.length)
  if (entries.has(`${root}constants.pkl`))
    throw new DataError(
      `${path}: a TorchScript program, not a state dict; in Python: torch.save(torch.jit.load(FILE).state_dict(), 'weights.pth')`,
    )
  const order = entries.get(`${root}byteorder`)
  if (order && new TextDecoder().decode(readSmall(source, order, 64)).trim() !== 'little')
    throw new DataError(`${path}: saved on a big-endian machine, which is not supported`)
  const object = entries.get(roots[0])
  if (object === undefined) throw new DataError(`${path}: the archive has no ${quote(roots[0])}`)
  const checked = new Set<ZipEntry>()
  return {
    format: 'PyTorch zip archive',
    pickle: unpickleTorch(readSmall(source, object, limits.bytes), path),
    readStorage: (storage, { begin, size }) => {
      const entry = entries.get(`${root}data/${storage.key}`)
      if (entry === undefined)
        throw new DataError(`${path}: the archive has no storage ${quote(storage.key)}`)
      if (entry.refused === undefined && entry.size !== bytesOf(storage))
        throw wrongSize(path, storage, entry.size)
      // The whole is read once, to be checked; of a storage that is shared, further tensors read their part.
      if (checked.has(entry)) return source.read(entry.begin + begin, size)
      const whole = readZipEntry(source, entry)
      checked.add(entry)
      return size === whole.length ? whole : whole.slice(begin, begin + size)
    },
  }
}

function readSmall(source: Source, entry: ZipEntry, limit: number): Uint8Array {
  if (entry.size > limit)
    throw new DataError(
      `${source.path}: entry ${quote(entry.name)} has ${entry.size} bytes; at most ${limit} are read`,
    )
  return readZipEntry(source, entry)
}

function openStream(source: Source): Opened {
  const { path } = source
  // The pickles stand first; storages follow the last of them.
  const head = source.read(0, Math.min(source.size, limits.bytes))
  let at = 0
  const next = (): TorchPickle => {
    const read = unpickleTorch(head, path, at)
    at = read.end
    return read
  }
  if (next().value !== magic)
    throw new DataError(`${path}: a pickle that torch.save did not write; save a state dict with torch.save`)
  const { value: version } = next()
  if (version !== 1001)
    throw new DataError(
      `${path}: version ${describe(version)} of PyTorch's stream; 1001 is the only known one`,
    )
  const { value: machine } = next()
  if (machine instanceof Map && machine.get('little_endian') === false)
    throw new DataError(`${path}: saved on a big-endian machine, which is not supported`)
  const pickle = next()
  const { value: keys } = next()
  if (!isList(keys)) throw new DataError(`${path}: the list of storages is damaged`)
  const places = new Map<string, { readonly begin: number; readonly count: number }>()
  // The stream only counts a storage's elements; what they are, the object's pickle says.
  const widths = new Map(pickle.storages.map(({ key, dtype }) => [key, dtype ? stored[dtype].bytes : 1]))
  for (const key of keys) {
    if (typeof key !== 'string') throw new DataError(`${path}: the list of storages is damaged`)
    const count = Number(new DataView(source.read(at, 8).buffer).getBigInt64(0, true))
    const width = widths.get(key)
    if (width === undefined)
      throw new DataError(
        `${path}: storage ${quote(key)} has a dtype that is not supported (such as a complex one)`,
      )
    places.set(key, { begin: at + 8, count })
    at += 8 + count * width
    if (!(count >= 0 && at <= source.size))
      throw new DataError(
        `${path}: storage ${quote(key)} of ${count} elements ends at byte ${at}, the file has ${source.size}; is it cut short?`,
      )
  }
  if (at !== source.size)
    throw new DataError(`${path}: the storages end at byte ${at}, the file at ${source.size}; it is damaged`)
  return {
    format: 'PyTorch stream (before 1.6)',
    pickle,
    readStorage: (storage, { begin, size }) => {
      const place = places.get(storage.key)
      if (place === undefined) throw new DataError(`${path}: there is no storage ${quote(storage.key)}`)
      if (place.count !== storage.total)
        throw wrongSize(path, storage, place.count * (widths.get(storage.key) ?? 1))
      return source.read(place.begin + begin, size)
    },
  }
}
