/**
 * Values of pickles, and how messages show them. See pickle.ts, which reads them.
 */
import { quote, shown } from './source.ts'

/**
 * A pickled value. Lists and tuples are arrays, dictionaries are maps, integers are numbers where these are exact.
 * Values may be shared and may contain themselves.
 * @typeParam X  what the handlers make
 */
export type Pickled<X> =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | readonly Pickled<X>[]
  | ReadonlyMap<Pickled<X>, Pickled<X>>
  | Inert<X>
  | X

/** A class, function or object that is not made: what the pickle says of it. */
export interface Inert<X> {
  readonly kind: 'inert'
  /** The dotted name of the class or function, such as `argparse.Namespace`. */
  readonly name: string
  /** What it would be called with; undefined for a mere reference. */
  readonly args: readonly Pickled<X>[] | undefined
  /** The object's attributes, items and entries, as far as the pickle sets them. */
  readonly contents: readonly Pickled<X>[]
}

/** True for an inert record. */
export const isInert = <X>(x: Pickled<X>): x is Inert<X> =>
  typeof x === 'object' && x !== null && 'kind' in x && x.kind === 'inert'

/**
 * A value as Python would print it, cut short: for messages, never for a program.
 * @example describe(record) // posix.system("rm -rf /")
 */
export function describe<X>(value: Pickled<X>, depth = 2): string {
  if (typeof value === 'string') return quote(value)
  if (typeof value !== 'object' || value === null) return String(value).slice(0, 40)
  if (value instanceof Uint8Array) return `${value.length} bytes`
  if (value instanceof Map) return `a dict of ${value.size}`
  if (isInert(value)) return describeCall(value, depth)
  if (!Array.isArray(value)) return 'a tensor or storage'
  return depth === 0 || value.length > 8 ? `${value.length} values` : `[${list(value, depth)}]`
}

const describeCall = <X>({ name, args }: Inert<X>, depth: number): string =>
  args === undefined ? shown(name) : `${shown(name)}(${depth === 0 ? '…' : list(args, depth)})`

const list = <X>(values: readonly Pickled<X>[], depth: number): string =>
  [...values.slice(0, 4).map(v => describe(v, depth - 1)), ...(values.length > 4 ? ['…'] : [])].join(', ')
