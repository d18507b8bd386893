/**
 * Weights of networks. In: a module's variables (trees of parameters and of running state) and a file. Out: new
 * variables, or an error that lists all that does not fit; and files that PyTorch loads. Names are torchvision's: see
 * weight-names.ts and docs/weights.md.
 */
import type { NDArray } from '../dsl/array.ts'
import { isFloat, makeData } from '../dsl/dtype.ts'
import { DataError, UsageError } from '../dsl/errors.ts'
import { type Shape, sameShape, showType, size } from '../dsl/shape.ts'
import { mapTree } from '../dsl/tree.ts'
import { writeSafetensors } from './safetensors.ts'
import { quote, shown } from './source.ts'
import { type StoredArray, stored } from './stored.ts'
import { globs, type NameFamily, type NameMap, nameMap } from './weight-names.ts'
import { type OpenOptions, type WeightsFile, withWeights } from './weights-file.ts'

/** Trees of host arrays, as a module's `init` gives them. */
export interface WeightTrees<P, S> {
  readonly params: P
  readonly state: S
}

/** How a file is fitted to a network. */
export interface LoadOptions extends OpenOptions {
  /**
   * Globs of names (ours) that may be missing, unexpected or of another shape: `['classifier.*']`. `*` is any text,
   * `?` one character. What is missing or of another shape keeps the values of the variables that were given.
   */
  readonly allow?: readonly string[]
  /** Take only the names below this path of the file, without it: `features` for a MobileNet's backbone. */
  readonly from?: string
  /** Whose names the file has, or a map to ours: told from the names. */
  readonly names?: NameFamily | NameMap
}

/** What was done. */
export interface LoadReport {
  readonly path: string
  readonly format: WeightsFile['format']
  readonly family: NameFamily | 'custom'
  /** The names that were loaded, ours. */
  readonly loaded: readonly string[]
  /** The values that were loaded. */
  readonly values: number
  /** Exceptions that `allow` names. */
  readonly missing: readonly string[]
  readonly unexpected: readonly string[]
  readonly misshaped: readonly string[]
  /** Counters of batch normalisation (`num_batches_tracked`), which running averages do not need. */
  readonly ignored: readonly string[]
  /** What else a user should know. */
  readonly notes: readonly string[]
}

/**
 * Loads a file into the form of a network's variables. Floats become the network's float dtype; a 16-bit one is
 * exact in f32.
 * @param variables  give the names, shapes and dtypes, and the values of what `allow` lets be missing
 * @returns new variables and a report; nothing of the file is left without being in the report
 * @throws DataError that lists every missing, unexpected and mis-shaped entry, or names the damage of the file
 * @example
 * const { variables, report } = loadWeights(net.init(key(0)), 'fcn_resnet50.pth', { allow: ['classifier.4.*'] })
 */
export function loadWeights<P, S>(
  variables: WeightTrees<P, S>,
  path: string,
  options: LoadOptions = {},
): { readonly variables: WeightTrees<P, S>; readonly report: LoadReport } {
  return withWeights(path, options, file => fitWeights(variables, file, options))
}

/**
 * As `loadWeights`, from a file that is open.
 * @example withWeights('a.pth', {}, file => fitWeights(variables, file))
 */
export function fitWeights<P, S>(
  variables: WeightTrees<P, S>,
  file: WeightsFile,
  { allow = [], from, names = file.family }: LoadOptions = {},
): { readonly variables: WeightTrees<P, S>; readonly report: LoadReport } {
  const wanted = stateDict(variables)
  const map = typeof names === 'function' ? names : nameMap(names, [...file.entries.keys()])
  const { found, notes } = rename(file, map, from)
  const match = compare(wanted, found)
  const problems = problemsOf(match, wanted, found, globs(allow))
  if (problems.length > 0)
    throw new DataError(
      [
        `${file.path}: ${problems.length} entries do not fit the network (the names are ${describeNames(names)}; allow: ['GLOB'] makes exceptions)`,
        ...problems.slice(0, maxLines).map(line => `  ${line}`),
        ...(problems.length > maxLines ? [`  and ${problems.length - maxLines} more`] : []),
        ...[...file.notes, ...notes].map(note => `  note: ${note}`),
      ].join('\n'),
    )
  const arrays = new Map<string, NDArray>()
  const remarks: string[] = []
  for (const name of match.loaded) {
    const [want, entry] = [wanted.get(name), found.get(name)]
    if (want === undefined || entry === undefined) continue
    const read = file.read(entry.original)
    remarks.push(...remarksOn(name, read, want))
    arrays.set(name, asFloat(read, want))
  }
  const exceptions = [...match.missing, ...match.unexpected, ...match.misshaped]
  const idle = allow.filter(glob => !exceptions.some(globs([glob])))
  return {
    variables: mapNamed(variables, (name, leaf) => arrays.get(name) ?? leaf),
    report: {
      path: file.path,
      format: file.format,
      family: typeof names === 'function' ? 'custom' : names,
      ...match,
      values: match.loaded.reduce((n, name) => n + size(wanted.get(name)?.shape ?? []), 0),
      notes: [...file.notes, ...notes, ...remarks, ...idle.map(glob => `allow ${quote(glob)} met nothing`)],
    },
  }
}

/**
 * Writes a network's variables as safetensors, under torchvision's names; a crash leaves the previous file intact.
 * @throws DataError if two leaves get the same name or the file cannot be written
 * @example saveWeights('student.safetensors', { params, state }, { step: '40000' })
 */
export const saveWeights = (
  path: string,
  variables: WeightTrees<unknown, unknown>,
  metadata: Readonly<Record<string, string>> = {},
): void =>
  // `format: pt` is how the format's Python library marks names and layouts that are PyTorch's.
  writeSafetensors(path, stateDict(variables), { format: 'pt', ...metadata })

/**
 * A network's arrays by torchvision's names: parameters, then the running state.
 * @throws DataError if two leaves get the same name
 * @example [...stateDict(batchNorm(3).init(key(0))).keys()] // weight, bias, running_mean, running_var
 */
export function stateDict(variables: WeightTrees<unknown, unknown>): Map<string, NDArray> {
  const out = new Map<string, NDArray>()
  mapNamed(variables, (name, leaf) => {
    if (out.has(name)) throw new DataError(`two leaves are named ${quote(name)}; rename a key`)
    out.set(name, leaf)
    return leaf
  })
  return out
}

/**
 * The inverse of `stateDict`: arrays by name in the form of a network's variables.
 * @throws DataError that lists every missing, unexpected and mis-shaped entry
 * @example fromStateDict(variables, new Map([...stateDict(variables)].map(([name, a]) => [name, made(name, a)])))
 */
export function fromStateDict<P, S>(
  variables: WeightTrees<P, S>,
  arrays: ReadonlyMap<string, NDArray>,
): WeightTrees<P, S> {
  const wanted = stateDict(variables)
  const problems = [...new Set([...wanted.keys(), ...arrays.keys()])].flatMap(name => {
    const [want, got] = [wanted.get(name), arrays.get(name)].map(a => (a ? showType(a) : 'nothing'))
    return want === got ? [] : [`  ${shown(name)}: expected ${want}, got ${got}`]
  })
  if (problems.length > 0)
    throw new DataError(['these arrays do not fit the network', ...problems.slice(0, maxLines)].join('\n'))
  return mapNamed(variables, (name, leaf) => arrays.get(name) ?? leaf)
}

/** Replaces each leaf by what `f` makes of it and of its name. Initial values are not looked at: they may be lazy. */
function mapNamed<P, S>(
  { params, state }: WeightTrees<P, S>,
  f: (name: string, leaf: NDArray) => NDArray,
): WeightTrees<P, S> {
  return {
    // mapTree keeps the form, and puts arrays in the place of arrays
    params: mapTree(params, isArray, (leaf, path) => f(path, leaf)) as P,
    state: mapTree(state, isArray, (leaf, path) => f(torchName(path), leaf)) as S,
  }
}

const isArray = (x: unknown): x is NDArray =>
  typeof x === 'object' && x !== null && 'shape' in x && 'dtype' in x && 'data' in x

/** Names in the tree of running state, as torchvision has them. */
const torchName = (name: string): string =>
  name.replace(/(^|\.)mean$/, '$1running_mean').replace(/(^|\.)variance$/, '$1running_var')

/** How many batches a norm has seen: PyTorch uses it only for averages without a momentum. */
const isCounter = (name: string): boolean => /(^|\.)num_batches_tracked$/.test(name)

/** The entries of a file under our names. */
interface Found {
  readonly original: string
  readonly type: StoredArray
}

function rename(
  file: WeightsFile,
  map: NameMap,
  from: string | undefined,
): { readonly found: ReadonlyMap<string, Found>; readonly notes: readonly string[] } {
  const found = new Map<string, Found>()
  const outside: string[] = []
  for (const [original, type] of file.entries) {
    const mapped = map(original)
    const name =
      from === undefined ? mapped : mapped.startsWith(`${from}.`) ? mapped.slice(from.length + 1) : undefined
    if (name === undefined) {
      outside.push(original)
      continue
    }
    const twin = found.get(name)
    if (twin)
      throw new DataError(
        `${file.path}: ${quote(twin.original)} and ${quote(original)} both are ${quote(name)} in our names`,
      )
    found.set(name, { original, type })
  }
  if (from !== undefined && found.size === 0)
    throw new UsageError(`${file.path}: no name begins with ${quote(`${from}.`)}; there are ${list(outside)}`)
  return {
    found,
    notes: outside.length > 0 ? [`outside of ${quote(`${from}.`)}, left out: ${list(outside)}`] : [],
  }
}

const list = (names: readonly string[]): string =>
  names.slice(0, 5).map(quote).join(', ') + (names.length > 5 ? ` and ${names.length - 5} more` : '')

type Match = Pick<LoadReport, 'loaded' | 'missing' | 'unexpected' | 'misshaped' | 'ignored'>

/** Which names are in both, which in one, and which have another shape. */
function compare(wanted: ReadonlyMap<string, NDArray>, found: ReadonlyMap<string, Found>): Match {
  const both = [...wanted].flatMap(([name, want]) => {
    const entry = found.get(name)
    return entry ? [{ name, fits: fits(want, entry.type) }] : []
  })
  const others = [...found.keys()].filter(name => !wanted.has(name))
  return {
    loaded: both.filter(b => b.fits).map(b => b.name),
    misshaped: both.filter(b => !b.fits).map(b => b.name),
    missing: [...wanted.keys()].filter(name => !found.has(name)),
    unexpected: others.filter(name => !isCounter(name)),
    ignored: others.filter(isCounter),
  }
}

/** The same shape, and floats for floats, or the very dtype. */
function fits({ shape, dtype }: NDArray, type: StoredArray): boolean {
  const read = stored[type.dtype].dtype
  return sameShape(shape, type.shape) && (read === dtype || (isFloat(read) && isFloat(dtype)))
}

/** Lines of an error: ResNet-50 has 267 entries, and all of them may be wrong. */
const maxLines = 500

/** One line for each name that neither fits nor is allowed not to. */
function problemsOf(
  { missing, unexpected, misshaped }: Match,
  wanted: ReadonlyMap<string, NDArray>,
  found: ReadonlyMap<string, Found>,
  allowed: (name: string) => boolean,
): string[] {
  const show = (type: { readonly dtype: string; readonly shape: Shape } | undefined): string =>
    type ? showType(type) : ''
  const lines = (names: readonly string[], what: string, rest: (name: string) => string): string[] =>
    names.filter(name => !allowed(name)).map(name => `${what}  ${shown(name)}  ${rest(name)}`)
  return [
    ...lines(missing, 'missing   ', name => show(wanted.get(name))),
    ...lines(unexpected, 'unexpected', name => show(found.get(name)?.type)),
    ...lines(
      misshaped,
      'mis-shaped',
      name => `expected ${show(wanted.get(name))}, the file has ${show(found.get(name)?.type)}`,
    ),
  ]
}

const describeNames = (names: NameFamily | NameMap): string =>
  typeof names === 'function'
    ? "mapped by the caller's function"
    : names === 'other'
      ? 'of no known family'
      : `${names}'s`

/** What loading changes, or cannot be meant. */
function remarksOn(name: string, read: NDArray, want: NDArray): string[] {
  const bad = isFloat(read.dtype) ? firstNotFinite(read.data) : -1
  return [
    ...(read.dtype === 'f64' && want.dtype === 'f32' ? [`${shown(name)} was rounded from f64 to f32`] : []),
    ...(bad >= 0 ? [`${shown(name)} has a value that is not finite, ${read.data[bad]} at ${bad}`] : []),
  ]
}

// A loop: findIndex calls a function for each of some ten million values.
function firstNotFinite(data: NDArray['data']): number {
  for (let i = 0; i < data.length; i++) if (!Number.isFinite(data[i])) return i
  return -1
}

/** The array in the network's float dtype. */
function asFloat(read: NDArray, { dtype }: NDArray): NDArray {
  if (read.dtype === dtype) return read
  const data = makeData(dtype, read.data.length)
  data.set(read.data)
  return { shape: read.shape, dtype, data }
}
