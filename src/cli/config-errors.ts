/**
 * What a schema allows, in words. In: a zod schema, and the issues of an input. Out: one line an issue, with its path,
 * what stands there and what is allowed; and the list of all keys for `--help`.
 */
import { z } from 'zod'

/** The part of JSON Schema that zod gives for plain data. */
interface Node {
  readonly type?: string | readonly string[]
  readonly description?: string
  readonly default?: unknown
  readonly const?: unknown
  readonly enum?: readonly unknown[]
  readonly properties?: Readonly<Record<string, Node>>
  readonly anyOf?: readonly Node[]
  readonly oneOf?: readonly Node[]
  readonly prefixItems?: readonly Node[]
  readonly items?: Node | boolean
  readonly minimum?: number
  readonly maximum?: number
  readonly exclusiveMinimum?: number
  readonly exclusiveMaximum?: number
  readonly minItems?: number
  readonly minLength?: number
}

// Plain data in, plain data out: zod's own type of JSON Schema has every keyword of the standard.
const nodeOf = (schema: z.ZodType): Node => z.toJSONSchema(schema, { io: 'input' }) as Node

/** The variants of a node: itself, or the alternatives of a union. */
const variants = (node: Node): readonly Node[] => node.oneOf ?? node.anyOf ?? [node]
/** The fixed value of `kind`, by which the variants of a union are told apart. */
const kindOf = (node: Node): unknown => node.properties?.kind?.const

/**
 * One line an issue: `optimiser.lr: is -1; allowed: number > 0`.
 * @param input  what was parsed
 * @example describeIssues(schema.safeParse(x, { reportInput: true }).error.issues, schema, x)
 */
export function describeIssues(
  issues: readonly z.core.$ZodIssue[],
  schema: z.ZodType,
  input: unknown,
): string[] {
  const root = nodeOf(schema)
  return issues.flatMap(issue => {
    const keys = issue.path.map(String)
    const { node, value } = walk(root, input, keys)
    const where = keys.join('.') || 'the whole'
    if (issue.code === 'unrecognized_keys')
      return issue.keys.map(key => {
        const known = variantsFor(node, value).flatMap(v => Object.keys(v.properties ?? {}))
        const meant = nearest(key, known)
        return `${[...keys, key].join('.')}: unknown${meant ? `, did you mean ${meant}?` : ''}; allowed: ${known.join(', ')}`
      })
    if (value === undefined) return [`${where}: is missing; allowed: ${allowed(node)}`]
    if (issue.code === 'custom') return [`${where}: ${issue.message}`]
    return [`${where}: is ${shown(value)}; allowed: ${allowed(node)}`]
  })
}

/** The node and the value at a path. */
function walk(
  root: Node,
  input: unknown,
  keys: readonly string[],
): { readonly node: Node; readonly value: unknown } {
  let [node, value] = [root, input]
  for (const key of keys) {
    const options = variantsFor(node, value)
    const next = options.flatMap(v => {
      const child = v.properties?.[key] ?? v.prefixItems?.[Number(key)]
      if (child) return [child]
      return typeof v.items === 'object' ? [v.items] : []
    })
    // Where no `kind` tells the variants apart, the child may be any of theirs.
    node = next.length === 1 ? next[0] : { anyOf: next }
    value = typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined
  }
  return { node, value }
}

/** The variants that a value can be: those of its `kind`, if that is one of them. */
function variantsFor(node: Node, value: unknown): readonly Node[] {
  const all = variants(node)
  const kind = typeof value === 'object' && value !== null ? Reflect.get(value, 'kind') : undefined
  const same = all.filter(v => kind !== undefined && kindOf(v) === kind)
  return same.length > 0 ? same : all
}

/** What a node allows, such as `integer ≥ 1`, `'sgd' or 'adamw'`. */
function allowed(node: Node): string {
  const options = node.oneOf ?? node.anyOf
  if (options) return [...new Set(options.map(allowed))].join(' or ')
  if ('const' in node) return shown(node.const)
  if (node.enum) return node.enum.map(shown).join(', ')
  // zod's way to write a text or null
  if (Array.isArray(node.type)) return node.type.map(type => allowed({ ...node, type })).join(' or ')
  switch (node.type) {
    case 'number':
      return `number${range(node)}`
    case 'integer':
      return `integer${range(node)}`
    case 'boolean':
      return 'true or false'
    case 'string':
      return node.minLength ? 'a text that is not empty' : 'a text'
    case 'null':
      return 'null'
    case 'array':
      if (node.prefixItems) return `[${node.prefixItems.map(allowed).join(', ')}]`
      return `a list${node.minItems ? ` of ${node.minItems} or more` : ''}, each ${typeof node.items === 'object' ? allowed(node.items) : 'anything'}`
    case 'object':
      return `an object of ${Object.keys(node.properties ?? {}).join(', ')}`
    default:
      return 'anything'
  }
}

function range({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }: Node): string {
  const parts = [
    ...(exclusiveMinimum === undefined ? [] : [`> ${exclusiveMinimum}`]),
    ...(minimum === undefined || minimum === Number.MIN_SAFE_INTEGER ? [] : [`≥ ${minimum}`]),
    ...(exclusiveMaximum === undefined ? [] : [`< ${exclusiveMaximum}`]),
    // zod adds this bound to every whole number
    ...(maximum === undefined || maximum === Number.MAX_SAFE_INTEGER ? [] : [`≤ ${maximum}`]),
  ]
  return parts.length > 0 ? ` ${parts.join(', ')}` : ''
}

function shown(value: unknown): string {
  if (typeof value === 'number' || typeof value === 'function')
    return typeof value === 'number' ? `${value}` : 'a function'
  const text = JSON.stringify(value) ?? String(value)
  const quoted = typeof value === 'string' ? `'${text.slice(1, -1)}'` : text
  return quoted.length > 60 ? `${quoted.slice(0, 57)}...` : quoted
}

/** The candidate that differs least, if it differs in a third of its letters or less. */
function nearest(key: string, candidates: readonly string[]): string | undefined {
  const scored = candidates.map(c => ({ c, distance: edits(key.toLowerCase(), c.toLowerCase()) }))
  const best = scored.toSorted((a, b) => a.distance - b.distance)[0]
  return best && best.distance <= Math.ceil(best.c.length / 3) ? best.c : undefined
}

/** Levenshtein's distance. */
function edits(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++)
      next.push(Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + Number(a[i - 1] !== b[j - 1])))
    row = next
  }
  return row[b.length]
}

/**
 * Every key of a schema, a line each: `train.batch  8; integer ≥ 1: images a forward pass`.
 * @example describeOptions(configSchema)
 */
export function describeOptions(schema: z.ZodType): string {
  const rows = rowsOf(nodeOf(schema), '')
  const width = Math.max(...rows.map(([name]) => name.length))
  return rows.map(([name, text]) => `  ${name.padEnd(width)}  ${text}`.trimEnd()).join('\n')
}

function rowsOf(node: Node, path: string): (readonly [string, string])[] {
  const inside = (key: string): string => (path === '' ? key : `${path}.${key}`)
  const options = variants(node).filter(v => v.type !== 'null')
  const objects = options.filter(v => v.properties)
  if (objects.length === 0) {
    const standard = 'default' in node ? `${shown(node.default)}; ` : ''
    return [[path, `${standard}${allowed(node)}${node.description ? `: ${node.description}` : ''}`]]
  }
  const kinds = objects.map(kindOf).filter(kind => kind !== undefined)
  const own: (readonly [string, string])[] =
    path === ''
      ? []
      : kinds.length > 0
        ? [[inside('kind'), kinds.map(shown).join(', ')]]
        : objects.length < variants(node).length
          ? [[path, `${shown(node.default)}; null, or${node.description ? ` ${node.description}` : ''}:`]]
          : []
  const keys = [...new Set(objects.flatMap(o => Object.keys(o.properties ?? {})))].filter(
    key => kinds.length === 0 || key !== 'kind',
  )
  return [
    ...own,
    ...keys.flatMap(key => {
      const having = objects.filter(o => o.properties?.[key])
      const child = having[0].properties?.[key]
      const rows = child ? rowsOf(child, inside(key)) : []
      const everywhere = having.length === objects.length
      const defaults = having.map(o => shown(o.properties?.[key]?.default))
      if (rows.length === 0 || (everywhere && new Set(defaults).size === 1)) return rows
      const [[name, text], ...rest] = rows
      const notes = having.map((o, i) => (everywhere ? `${kindOf(o)}: ${defaults[i]}` : `${kindOf(o)}`))
      return [[name, `${text} (${notes.join(', ')})`] as const, ...rest]
    }),
  ]
}
