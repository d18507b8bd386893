/**
 * Files of weights, whatever their format. In: a path. Out: named arrays, read one at a time, the format, whose names
 * they are, and notes on all that was done or left out on the way: nothing is dropped without a word.
 */
import { DataError } from '../dsl/errors.ts'
import { isPickle, isZip, openPth } from './pth.ts'
import { openSafetensors } from './safetensors.ts'
import { openSource, quote, type Source } from './source.ts'
import type { ArrayFile } from './stored.ts'
import { familyOf, type NameFamily } from './weight-names.ts'

/** An open file of weights. */
export interface WeightsFile extends ArrayFile {
  readonly path: string
  /** In bytes. */
  readonly size: number
  readonly format: 'safetensors' | 'PyTorch zip archive' | 'PyTorch stream (before 1.6)'
  readonly family: NameFamily
  /** Free strings about the weights; safetensors has them. */
  readonly metadata: ReadonlyMap<string, string>
  /** What a user should know: where the state dict was found, which prefix was taken off, what was left out. */
  readonly notes: readonly string[]
}

/** What opening may need to be told. */
export interface OpenOptions {
  /** The keys that lead to the state dict in a PyTorch file, joined by dots, where it cannot be told: `model.ema`. */
  readonly entry?: string
}

/**
 * Opens a file, hands it to `use` and closes it. The format is told by the content, not by the name.
 * @throws DataError if the file is missing, damaged, of another format, or its state dict cannot be told
 * @example withWeights('fcn.pth', {}, file => file.read('classifier.4.weight'))
 */
export function withWeights<T>(path: string, { entry }: OpenOptions, use: (file: WeightsFile) => T): T {
  const source = openSource(path)
  try {
    return use(weightsIn(source, entry))
  } finally {
    source.close()
  }
}

/**
 * The weights in a source.
 * @throws DataError as `withWeights`
 * @example weightsIn(sourceOf(bytes, 'a.safetensors')).entries.size
 */
export function weightsIn(source: Source, entry?: string): WeightsFile {
  const opened = open(source, entry)
  const names = [...opened.entries.keys()]
  const prefix = commonPrefix(names)
  const family = familyOf(names.map(name => name.slice(prefix.length)))
  const file = { ...opened, path: source.path, size: source.size, family }
  if (prefix === '') return file
  return {
    ...file,
    entries: new Map([...opened.entries].map(([name, type]) => [name.slice(prefix.length), type])),
    read: name => opened.read(prefix + name),
    notes: [...opened.notes, `the prefix ${quote(prefix)} of all names was taken off`],
  }
}

/** What DataParallel, DistributedDataParallel and torch.compile put before all names; one may stand in the other. */
function commonPrefix(names: readonly string[]): string {
  let prefix = ''
  for (let depth = 0; depth < 4 && names.length > 0; depth++) {
    const more = ['module.', '_orig_mod.'].find(p => names.every(name => name.startsWith(prefix + p)))
    if (more === undefined) break
    prefix += more
  }
  return prefix
}

function open(
  source: Source,
  entry?: string,
): Pick<WeightsFile, 'format' | 'entries' | 'metadata' | 'notes' | 'read'> {
  // First of all, for a header's length may begin as a pickle does; both others have no `{` there.
  if (source.size >= 9 && source.read(8, 1)[0] === 0x7b) {
    if (entry !== undefined)
      throw new DataError(
        `${source.path}: a safetensors file has no entry ${quote(entry)}; its names are flat`,
      )
    return { ...openSafetensors(source), format: 'safetensors', notes: [] }
  }
  if (isZip(source) || isPickle(source)) return { ...openPth(source, entry), metadata: new Map() }
  throw new DataError(`${source.path}: ${otherwise(source)}`)
}

/** What a file is instead; the first bytes of formats are their specifications'. */
function otherwise(source: Source): string {
  const head = Buffer.from(source.read(0, Math.min(source.size, 512))).toString('latin1')
  if (head === '') return 'the file is empty'
  if (head.startsWith('version https://git-lfs'))
    return 'a pointer of Git LFS, not the file itself; fetch it with: git lfs pull'
  if (/^\s*<(!doctype|html|\?xml)/i.test(head)) return 'a web page, not weights; was the download refused?'
  if (head.startsWith('\x89HDF')) return 'an HDF5 file (Keras), which is not read; convert it to safetensors'
  if (head.slice(257, 262) === 'ustar')
    return 'a tar archive, as PyTorch 0.1 wrote; load it in Python and torch.save its state dict again'
  const bytes = [...head.slice(0, 8)].map(c => c.charCodeAt(0).toString(16).padStart(2, '0')).join(' ')
  return `neither a safetensors nor a PyTorch file; it begins with the bytes ${bytes}`
}
