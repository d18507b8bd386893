/**
 * Trees of arrays as flat names, for checkpoints. In: nested objects and lists with NDArray leaves.
 * Out: a map from dotted names (`layers.0.weight`) to arrays, and back onto a template.
 */
import type { NDArray } from '../dsl/array.ts'
import { dtypes } from '../dsl/dtype.ts'
import { DataError } from '../dsl/errors.ts'

/**
 * The leaves by dotted name, in the order of the tree.
 * @throws DataError if a leaf is no array or two leaves get the same name
 * @example flattenTree({ layers: [{ weight: w }] }) // Map { 'layers.0.weight' => w }
 */
export function flattenTree(tree: unknown): Map<string, NDArray> {
  const out = new Map<string, NDArray>()
  rebuild(tree, '', (name, leaf) => {
    if (out.has(name))
      throw new DataError(`flattenTree: two leaves are named "${name}"; rename a key with a dot`)
    out.set(name, leaf)
    return leaf
  })
  return out
}

/**
 * Puts arrays back into the form of `template`, whose own values are only looked at for shape and dtype.
 * @returns a new tree of the template's form
 * @throws DataError that lists every missing, unexpected and mis-shaped entry; `source` names their origin
 * @example unflattenTree(init(key), readSafetensors('teacher.safetensors').tensors, 'teacher.safetensors')
 */
export function unflattenTree<T>(template: T, entries: ReadonlyMap<string, NDArray>, source = 'entries'): T {
  const expected = flattenTree(template)
  const problems = [...expected].flatMap(([name, want]) => {
    const got = entries.get(name)
    if (got === undefined) return [`missing     ${name}  ${form(want)}`]
    return form(got) === form(want) ? [] : [`mis-shaped  ${name}  expected ${form(want)}, got ${form(got)}`]
  })
  for (const [name, got] of entries)
    if (!expected.has(name)) problems.push(`unexpected  ${name}  ${form(got)}`)
  if (problems.length > 0)
    throw new DataError(
      `${source}: these parameters do not fit the model; was it built with another configuration?\n${problems
        .map(line => `  ${line}`)
        .join('\n')}`,
    )
  // The result has the template's form, for `rebuild` keeps every container and each leaf was checked.
  return rebuild(template, '', (name, leaf) => entries.get(name) ?? leaf) as T
}

function rebuild(tree: unknown, name: string, leaf: (name: string, array: NDArray) => NDArray): unknown {
  const inside = (key: string | number): string => (name === '' ? String(key) : `${name}.${key}`)
  if (isArray(tree)) return leaf(name, tree)
  if (Array.isArray(tree)) return tree.map((child, i) => rebuild(child, inside(i), leaf))
  if (typeof tree === 'object' && tree !== null && !ArrayBuffer.isView(tree))
    return Object.fromEntries(Object.entries(tree).map(([k, child]) => [k, rebuild(child, inside(k), leaf)]))
  throw new DataError(`flattenTree: "${name}" is ${tree === null ? 'null' : `a ${typeof tree}`}, no array`)
}

const isArray = (x: unknown): x is NDArray =>
  typeof x === 'object' &&
  x !== null &&
  'shape' in x &&
  Array.isArray(x.shape) &&
  'dtype' in x &&
  typeof x.dtype === 'string' &&
  x.dtype in dtypes &&
  // not read: lazily drawn initial values would be drawn
  'data' in x

const form = ({ dtype, shape }: NDArray): string => `${dtype}[${shape.join(', ')}]`
