/**
 * `cotangent weights FILE`: what is in a file of weights. In: a path. Out: a table of names, types and sizes on
 * stdout, and with --stats the least, mean and greatest value of each array, which is read one at a time.
 */
import { Command } from 'commander'
import { shown } from '../data/source.ts'
import { type StoredArray, storedBytes } from '../data/stored.ts'
import { globs } from '../data/weight-names.ts'
import { type WeightsFile, withWeights } from '../data/weights-file.ts'
import type { NDArray } from '../dsl/array.ts'
import { UsageError } from '../dsl/errors.ts'
import { size } from '../dsl/shape.ts'
import { type Cell, table } from './table.ts'

interface Typed {
  readonly filter?: readonly string[]
  readonly stats?: true
  readonly entry?: string
}

const examples = `
Examples:
  $ cotangent weights fcn_resnet50.pth
  $ cotangent weights student.safetensors --filter 'classifier.*' --stats
  $ cotangent weights checkpoint.pth --entry model_ema

safetensors and PyTorch files (zip, and the stream before 1.6) are read. Nothing in them is executed.`

/** The command `weights`, with its options. */
export const weightsCommand = (): Command =>
  new Command('weights')
    .description('List the arrays in a file of weights: names, dtypes, shapes, sizes.')
    .argument('<file>', 'a .safetensors, .pth or .pt file')
    .option('--filter <glob...>', "only these names: 'classifier.*'")
    .option('--stats', 'the least, mean and greatest value of each array')
    .option('--entry <keys>', 'the state dict in a file that has several: model.ema')
    .option('--stack', 'print the stack trace of an error')
    .addHelpText('after', examples)
    .action((path: string, typed: Typed) => {
      const text = withWeights(path, { entry: typed.entry }, file => describeWeights(file, typed))
      process.stdout.write(`${text}\n`)
    })

/**
 * What is in a file, as text.
 * @throws UsageError if the filter takes no name
 * @example withWeights('a.pth', {}, file => describeWeights(file, { filter: ['*.bias'] }))
 */
export function describeWeights(
  file: WeightsFile,
  { filter, stats = false }: { readonly filter?: readonly string[]; readonly stats?: boolean } = {},
): string {
  const taken = filter ? globs(filter) : () => true
  const entries = [...file.entries].filter(([name]) => taken(name))
  if (entries.length === 0 && filter)
    throw new UsageError(`${file.path}: none of its ${file.entries.size} names is ${filter.join(' or ')}`)
  const rows = entries.map(([name, type]): Cell[] => [
    shown(name),
    type.dtype,
    `[${type.shape.join(', ')}]`,
    grouped(size(type.shape)),
    bytes(storedBytes(type)),
    ...(stats ? rangeOf(file.read(name)) : []),
  ])
  const header = ['name', 'dtype', 'shape', 'values', 'size', ...(stats ? ['min', 'mean', 'max'] : [])]
  return [
    `${file.path}: ${file.format}, ${bytes(file.size)}, ${families[file.family]}`,
    ...file.notes.map(note => `  ${note}`),
    ...[...file.metadata].map(([key, value]) => `  metadata ${shown(key)}: ${shown(value)}`),
    '',
    table(header, rows),
    '',
    totals(entries, filter ? file.entries.size : undefined),
  ].join('\n')
}

const families = {
  torchvision: "torchvision's names",
  mmsegmentation: "mmsegmentation's names",
  timm: "timm's names",
  other: 'names of no known family',
} as const satisfies Record<WeightsFile['family'], string>

/** Running statistics and counters of norms are state, not parameters, and published counts leave them out. */
const isState = (name: string): boolean => /(^|\.)(running_mean|running_var|num_batches_tracked)$/.test(name)

function totals(entries: readonly (readonly [string, StoredArray])[], of: number | undefined): string {
  const sum = (pick: (entry: readonly [string, StoredArray]) => number): number =>
    entries.reduce((n, entry) => n + pick(entry), 0)
  const parameters = sum(([name, type]) => (isState(name) ? 0 : size(type.shape)))
  const state = sum(([, type]) => size(type.shape)) - parameters
  const count = of === undefined ? `${entries.length}` : `${entries.length} of ${of}`
  return `${count} arrays, ${grouped(parameters)} parameters, ${grouped(state)} values of running state, ${bytes(sum(([, type]) => storedBytes(type)))}`
}

function rangeOf({ data }: NDArray): Cell[] {
  let [min, max, sum] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0]
  for (const x of data) {
    // both give NaN where there is one
    min = Math.min(min, x)
    max = Math.max(max, x)
    sum += x
  }
  return data.length === 0 ? ['–', '–', '–'] : [min, sum / data.length, max].map(x => x.toPrecision(4))
}

const grouped = (n: number): string => n.toLocaleString('en-US')

/** A size as files are listed, in powers of 1000. */
function bytes(n: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  const power = Math.min(Math.floor(Math.log10(Math.max(n, 1)) / 3), units.length - 1)
  return power === 0 ? `${n} B` : `${(n / 1000 ** power).toPrecision(3)} ${units[power]}`
}
