/** The direction of imports and the absence of cycles, read off the sources. Used by `npm run check` and a test. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'

/** What each layer may import, besides itself. `.` stands for the files of src/ itself, which join all. */
export const layers: { readonly [layer: string]: readonly string[] } = {
  dsl: [],
  autodiff: ['dsl'],
  backend: ['dsl'],
  nn: ['dsl', 'autodiff'],
  nfd: ['dsl', 'autodiff', 'nn'],
  data: ['dsl'],
  testing: ['dsl', 'autodiff', 'backend'],
  cli: ['dsl', 'autodiff', 'backend', 'nn', 'nfd', 'data', 'testing', '.'],
  '.': ['dsl', 'autodiff', 'backend', 'nn', 'nfd', 'data', 'testing'],
}
/** Files that may use `node:` modules; the rest runs in a browser. */
const usesNode = [
  /^data\//,
  /^cli\//,
  /^node\.ts$/,
  /^backend\/webgpu\/(dawn|vulkan|device|wait)\.ts$/,
  /^backend\/cpu\/threads\.ts$/,
]

/** Source files by path relative to the root, with their texts. */
export type Sources = ReadonlyMap<string, string>

export function readSources(root: string): Sources {
  const files = new Map<string, string>()
  const walk = (dir: string): void => {
    for (const f of readdirSync(dir, { withFileTypes: true })) {
      const path = join(dir, f.name)
      if (f.isDirectory()) walk(path)
      else if (f.name.endsWith('.ts')) files.set(relative(root, path), readFileSync(path, 'utf8'))
    }
  }
  walk(root)
  return files
}

const importPattern =
  /(?:^|\n)\s*(?:import|export)\b[^'"\n;]*?(?:\{[^}]*\})?[^'"\n;]*?from\s*'([^']+)'|(?:^|\n)\s*import\s*'([^']+)'|\bimport\('([^']+)'\)/g

/** The specifiers that a text imports. */
export const importsOf = (text: string): string[] =>
  [...text.matchAll(importPattern)].map(m => m[1] ?? m[2] ?? m[3])

const layerOf = (path: string): string => (path.includes('/') ? path.slice(0, path.indexOf('/')) : '.')

/** One line per import against the direction, `node:` module in the wrong place, or cycle. */
export function importProblems(files: Sources): string[] {
  const problems: string[] = []
  const edges = new Map<string, string[]>()
  for (const [path, text] of files) {
    const targets: string[] = []
    const typeOnly = new Set(
      [...text.matchAll(/import type\b[^'"\n;]*?(?:\{[^}]*\})?[^'"\n;]*?from\s*'([^']+)'/g)].map(m => m[1]),
    )
    for (const spec of importsOf(text)) {
      if (spec.startsWith('node:') && !usesNode.some(p => p.test(path)))
        problems.push(`${path} imports ${spec}, which a browser has not`)
      if (!spec.startsWith('.')) continue
      const target = join(dirname(path), spec)
      // An `import type` is gone at run time: types may refer to each other.
      if (!typeOnly.has(spec)) targets.push(target)
      const [from, to] = [layerOf(path), layerOf(target)]
      if (from !== to && !(layers[from] ?? []).includes(to))
        problems.push(`${path} imports ${target}: ${from} may not import ${to}`)
      if (!files.has(target)) problems.push(`${path} imports ${target}, which is not there`)
    }
    edges.set(path, targets)
  }
  return [...problems, ...cycles(edges)]
}

function cycles(edges: ReadonlyMap<string, readonly string[]>): string[] {
  const state = new Map<string, 'open' | 'done'>()
  const found: string[] = []
  const visit = (node: string, path: readonly string[]): void => {
    if (state.get(node) === 'done') return
    if (state.get(node) === 'open') {
      found.push(`cycle: ${[...path.slice(path.indexOf(node)), node].join(' -> ')}`)
      return
    }
    state.set(node, 'open')
    for (const next of edges.get(node) ?? []) visit(next, [...path, node])
    state.set(node, 'done')
  }
  for (const node of edges.keys()) visit(node, [])
  return found
}
