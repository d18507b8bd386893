/**
 * Mutants of a file. In: its TypeScript. Out: the mutants, and one program that holds them all: at each place
 * `active` decides between the code as it is and its mutants (mutant schemata: Untch, Offutt, Harrold 1993), so
 * that a suite is built once and mutants run in one process.
 */
import { type AnyNode, parse } from 'acorn'
import { transformSync } from 'esbuild'
import { operators } from './operators.ts'
import { linesOf } from './source-map.ts'
import type { Group, Target } from './targets.ts'

/** A broken program. */
export interface Mutant {
  readonly id: number
  readonly file: string
  readonly line: number
  readonly group: Group
  readonly operator: string
  /** The definition that it is in: `rules.pad.tangent`. */
  readonly path: string
  /** The code around it, with the change as `{before => after}`: names the mutant, whatever line it is on. */
  readonly code: string
}

/** A file with every mutant in it. */
export interface Schema {
  readonly file: string
  readonly mutants: readonly Mutant[]
  /** Per place the first and the last of its mutants. */
  readonly places: ReadonlyMap<number, number>
  /** JavaScript over the global `__mutation` ({ active, hit, tick }). */
  readonly program: string
}

/** A place with its replacements, in the order of the text. */
interface Site {
  readonly start: number
  readonly end: number
  readonly variants: { readonly id: number; readonly text: string }[]
}

const children = (n: AnyNode): [string, AnyNode][] =>
  Object.entries(n).flatMap(([key, value]) =>
    (Array.isArray(value) ? value : [value]).flatMap((x): [string, AnyNode][] =>
      x !== null && typeof x === 'object' && typeof x.type === 'string' ? [[key, x as AnyNode]] : [],
    ),
  )

/** Whether a node makes nothing but the text of an error, or names of imports. */
const isOutside = (n: AnyNode): boolean =>
  n.type === 'ThrowStatement' ||
  n.type === 'ImportDeclaration' ||
  (n.type === 'ExportNamedDeclaration' && n.declaration === null)

/** The name that a node gives to what is below it. */
function nameOf(n: AnyNode): string | null {
  if (n.type === 'VariableDeclarator') return n.id.type === 'Identifier' ? n.id.name : null
  if (n.type === 'FunctionDeclaration') return n.id?.name ?? null
  return n.type === 'Property' && n.key.type === 'Identifier' && !n.shorthand && n.value.type !== 'Identifier'
    ? n.key.name
    : null
}

/** Whether an expression may stand in parentheses at this place: it is read, and no part of a name or a chain. */
function isReplaceable(key: string, above: readonly AnyNode[], inChain: boolean): boolean {
  const parent = above[above.length - 1]
  switch (parent.type) {
    case 'Property':
      return key === 'value' && !parent.shorthand && above[above.length - 2].type !== 'ObjectPattern'
    case 'MemberExpression':
      return key === 'property' ? parent.computed : !inChain
    case 'CallExpression':
      return key === 'arguments' || (!inChain && parent.callee.type !== 'MemberExpression')
    case 'AssignmentExpression':
    case 'AssignmentPattern':
      return key === 'right'
    case 'VariableDeclarator':
      return key === 'init'
    case 'ArrowFunctionExpression':
      return key === 'body'
    case 'UpdateExpression':
    case 'ForOfStatement':
      return key === 'right'
    case 'ArrayPattern':
    case 'ObjectPattern':
    case 'RestElement':
    case 'FunctionDeclaration':
    case 'ExportNamedDeclaration':
    case 'Program':
    case 'LabeledStatement':
    case 'TaggedTemplateExpression':
      return false
    default:
      return true
  }
}
const isExpression = (n: AnyNode): boolean =>
  (n.type.endsWith('Expression') || n.type === 'Literal' || n.type === 'Identifier') &&
  n.type !== 'FunctionExpression'

const oneLine = (s: string): string => s.replace(/\s+/g, ' ').trim()
/** How much of the code around a mutant names it. */
const enough = 12

/**
 * The mutants of a target's definitions.
 * @param source  TypeScript
 * @param first   the id of the first mutant
 */
export function mutantsOf(targets: readonly Target[], source: string, first: number): Schema {
  const [{ file }] = targets
  const { code, map } = transformSync(source, {
    loader: 'ts',
    sourcemap: true,
    sourcefile: file,
    target: 'node20',
  })
  const program = parse(code, { ecmaVersion: 'latest', sourceType: 'module' })
  const lineAt = linesOf(code, map)
  const text = (n: AnyNode): string => code.slice(n.start, n.end)
  const sites: Site[] = []
  const found: (Omit<Mutant, 'code'> & { readonly codes: readonly string[] })[] = []
  const seen = new Map<string, number>()
  const loops: [number, number][] = []

  /** What names a change, from the least code around it to the most. */
  const descriptions = (n: AnyNode, to: string, ancestors: readonly AnyNode[]): string[] => {
    const around = ancestors.filter(a => a.type !== 'Program' && a.end - a.start >= n.end - n.start + enough)
    return [...around.reverse(), n].map(a =>
      oneLine(`${code.slice(a.start, n.start)}{${text(n)} => ${to}}${code.slice(n.end, a.end)}`),
    )
  }
  const add = (n: AnyNode, ancestors: readonly AnyNode[], path: string): void => {
    const target = targets.find(t => t.within === undefined || t.within.test(path))
    if (target === undefined) return
    const variants: Site['variants'] = []
    const texts = new Set([oneLine(text(n))])
    for (const op of operators)
      for (const to of op.mutate(n, text, ancestors)) {
        if (texts.has(oneLine(to))) continue
        texts.add(oneLine(to))
        const id = first + found.length
        const codes = descriptions(n, to, ancestors)
        for (const c of new Set(codes)) seen.set(`${path} ${c}`, (seen.get(`${path} ${c}`) ?? 0) + 1)
        found.push({ id, file, line: lineAt(n.start), group: target.group, operator: op.name, path, codes })
        variants.push({ id, text: to })
      }
    if (variants.length > 0) sites.push({ start: n.start, end: n.end, variants })
  }
  const visit = (
    n: AnyNode,
    key: string,
    ancestors: readonly AnyNode[],
    path: string,
    inChain: boolean,
  ): void => {
    if (isOutside(n)) return
    const name = nameOf(n)
    const here = name === null ? path : path === '' ? name : `${path}.${name}`
    if (isExpression(n) && isReplaceable(key, ancestors, inChain)) add(n, ancestors, here)
    if (n.type === 'WhileStatement' || n.type === 'ForStatement') loops.push([n.body.start, n.body.end])
    const below = [...ancestors, n]
    for (const [k, child] of children(n)) {
      if (n.type === 'CallExpression' && k === 'arguments' && text(n.callee) === 'fail') continue
      const chained = n.type === 'ChainExpression' || (inChain && (k === 'object' || k === 'callee'))
      visit(child, k, below, here, chained)
    }
  }
  for (const n of program.body) visit(n, 'body', [], '', false)
  const mutants = found.map(({ codes, ...m }) => ({
    ...m,
    code: codes.find(c => seen.get(`${m.path} ${c}`) === 1) ?? codes[codes.length - 1],
  }))
  const places = new Map(sites.map(({ variants }) => [variants[0].id, variants[variants.length - 1].id]))
  return { file, mutants, places, program: schemaOf(code, sites, loops) }
}

/** The text with every site as a choice. */
function schemaOf(
  code: string,
  sites: readonly Site[],
  loops: readonly (readonly [number, number])[],
): string {
  const inserted = new Map<number, string>()
  const insert = (at: number, what: string) => inserted.set(at, (inserted.get(at) ?? '') + what)
  for (const [start, end] of loops) {
    insert(start, '{ __mutation.tick(); ')
    insert(end, ' }')
  }
  const sorted = [...sites].sort((a, b) => a.start - b.start || b.end - a.end)
  let next = 0
  const emit = (from: number, to: number): string => {
    let out = ''
    let at = from
    const insertHere = () => {
      out += inserted.get(at) ?? ''
      inserted.delete(at)
    }
    const copy = (until: number) => {
      for (; at < until; at++) {
        insertHere()
        out += code[at]
      }
    }
    while (next < sorted.length && sorted[next].end <= to && sorted[next].start >= from) {
      const site = sorted[next++]
      copy(site.start)
      insertHere()
      const inner = emit(site.start, site.end)
      const ids = site.variants.map(v => v.id)
      const choice = site.variants.map(v => `__mutation.active === ${v.id} ? (${v.text}) : `).join('')
      out += `(__mutation.hit(${ids[0]}, ${ids[ids.length - 1]}) ? (${choice}void 0) : (${inner}))`
      at = site.end
    }
    copy(to)
    return out
  }
  return emit(0, code.length)
}
