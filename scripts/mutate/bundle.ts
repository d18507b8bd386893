/** The property suite with every mutant in it, as one script. In: targets and the suite's entry. Out: text. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { type Mutant, mutantsOf, type Schema } from './mutants.ts'
import type { Target } from './targets.ts'

/** The repository's root. */
export const root = fileURLToPath(new URL('../..', import.meta.url))

/** The mutants of the targets, with ids that count through all files. */
export function schemas(targets: readonly Target[]): Schema[] {
  const out: Schema[] = []
  let first = 0
  for (const file of new Set(targets.map(t => t.file))) {
    const own = targets.filter(t => t.file === file)
    const made = mutantsOf(own, readFileSync(join(root, file), 'utf8'), first)
    first += made.mutants.length
    out.push(made)
  }
  return out
}

/**
 * A script in CommonJS form (a body over `require`, `module`, `exports`) that exports what the entry does.
 * @param entry  a path in the repository
 */
export async function bundleSuite(entry: string, programs: readonly Schema[]): Promise<string> {
  const byPath = new Map(programs.map(s => [join(root, s.file), s.program]))
  const { outputFiles } = await build({
    entryPoints: [join(root, entry)],
    absWorkingDir: root,
    bundle: true,
    write: false,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    packages: 'external',
    logLevel: 'error',
    plugins: [
      {
        name: 'mutants',
        setup: b => {
          b.onLoad({ filter: /\.ts$/ }, ({ path }) => {
            const contents = byPath.get(path)
            return contents === undefined ? null : { contents, loader: 'js' }
          })
        },
      },
    ],
  })
  return outputFiles[0].text
}

/** The mutants of all programs. */
export const allMutants = (programs: readonly Schema[]): Mutant[] => programs.flatMap(s => s.mutants)
