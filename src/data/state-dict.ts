/**
 * The state dict in what was saved. In: the value of a `torch.save` file. Out: its tensors by name, and notes on what
 * was left out. The rule, in this order:
 *   1. the dictionary that the caller names (`entry`);
 *   2. the one dictionary with tensors under the keys in `wrappers`, at any depth of them; two are an error;
 *   3. the value itself, if it is a dictionary with tensors.
 */
import { DataError } from '../dsl/errors.ts'
import { describe, isInert } from './pickled.ts'
import { quote } from './source.ts'
import { isTensor, type TensorRef, type TorchPickle, type TorchValue } from './torch-values.ts'

/** The keys under which training programs keep a state dict. */
export const wrappers = [
  'state_dict',
  'model',
  'model_state',
  'model_state_dict',
  'module',
  'net',
  'network',
  'weights',
  'params',
  'student',
  'teacher',
  'ema',
  'model_ema',
  'state_dict_ema',
] as const

/** A state dict. */
export interface StateDict {
  readonly tensors: ReadonlyMap<string, TensorRef>
  readonly notes: readonly string[]
}

type Dict = ReadonlyMap<TorchValue, TorchValue>
interface Candidate {
  readonly at: string
  readonly dict: Dict
}

/** Dictionaries within dictionaries are looked at to this depth. */
const depth = 5

/**
 * Finds the state dict.
 * @param entry  the keys that lead to it, joined by dots
 * @throws DataError if there is none, or the rule finds more than one; the message lists what there is
 * @example findStateDict(pickle, 'a.pth', 'student').tensors
 */
export function findStateDict({ value, inert }: TorchPickle, path: string, entry?: string): StateDict {
  const { at, dict } = choose(value, path, entry)
  const tensors = new Map<string, TensorRef>()
  const leftOut: string[] = []
  for (const [key, x] of dict) {
    if (typeof key === 'string' && isTensor(x)) tensors.set(key, x)
    else leftOut.push(`${describe(key)}: ${describe(x)}`)
  }
  const beside = at === '' || !isDict(value) ? [] : [...value.keys()].filter(key => key !== at.split('.')[0])
  return {
    tensors,
    notes: [
      ...(at === '' ? [] : [`the state dict is under ${quote(at)}`]),
      ...(beside.length > 0 ? [`left out beside it: ${short(beside.map(key => describe(key)))}`] : []),
      ...(leftOut.length > 0 ? [`left out, not tensors: ${short(leftOut)}`] : []),
      ...(inert.length > 0
        ? [`not made, objects of other classes: ${short(inert.map(record => describe(record)))}`]
        : []),
    ],
  }
}

function choose(value: TorchValue, path: string, entry: string | undefined): Candidate {
  if (entry !== undefined) {
    const found = entry
      .split('.')
      .reduce<TorchValue | undefined>((x, key) => (isDict(x) ? x.get(key) : undefined), value)
    if (isDict(found) && hasTensors(found)) return { at: entry, dict: found }
    throw new DataError(`${path}: there are no tensors under ${quote(entry)}${listed(tables(value))}`)
  }
  const wrapped = tables(value, new Set<unknown>(wrappers)).filter(({ at }) => at !== '')
  if (wrapped.length > 1)
    throw new DataError(`${path}: more than one state dict; name the one to read (entry)${listed(wrapped)}`)
  if (wrapped.length === 1) return wrapped[0]
  if (isDict(value) && hasTensors(value)) return { at: '', dict: value }
  const advice = isInert(value)
    ? "; in Python: torch.save(model.state_dict(), 'weights.pth')"
    : listed(tables(value))
  throw new DataError(
    `${path}: no state dict, but ${isTensor(value) ? 'a single tensor' : describe(value)}${advice}`,
  )
}

const isDict = (x: TorchValue | undefined): x is Dict => x instanceof Map
const hasTensors = (dict: Dict): boolean =>
  [...dict].some(([key, x]) => typeof key === 'string' && isTensor(x))

/** The dictionaries with tensors, each once, through the keys that `keys` has (all, if it is not given). */
function tables(value: TorchValue, keys?: ReadonlySet<unknown>): Candidate[] {
  const seen = new Set<Dict>()
  const found: Candidate[] = []
  const visit = (x: TorchValue, at: string, left: number): void => {
    if (!isDict(x) || seen.has(x)) return
    seen.add(x)
    if (hasTensors(x)) found.push({ at, dict: x })
    if (left === 0) return
    for (const [key, child] of x)
      if (typeof key === 'string' && (keys === undefined || keys.has(key)))
        visit(child, at === '' ? key : `${at}.${key}`, left - 1)
  }
  visit(value, '', depth)
  return found
}

const listed = (candidates: readonly Candidate[]): string =>
  candidates.length === 0
    ? ''
    : `; it has\n${candidates
        .slice(0, 20)
        .map(({ at, dict }) => `  ${at === '' ? '(the whole)' : quote(at)}  ${dict.size} entries`)
        .join('\n')}${candidates.length > 20 ? `\n  and ${candidates.length - 20} more` : ''}`

const short = (items: readonly string[]): string =>
  items.slice(0, 5).join(', ') + (items.length > 5 ? ` and ${items.length - 5} more` : '')
