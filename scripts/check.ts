/** `npm run check`: types, lint, format, import direction and cycles. Prints what is wrong; exit status 1. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { importProblems, readSources } from './imports.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const run = (name: string, args: readonly string[]): boolean => {
  const { status } = spawnSync(process.execPath, [...args], { cwd: root, stdio: 'inherit' })
  console.log(`${status === 0 ? 'ok  ' : 'FAIL'} ${name}`)
  return status === 0
}
const imports = (): boolean => {
  const sources = readSources(`${root}src`)
  const problems = importProblems(sources)
  for (const p of problems) console.log(`  ${p}`)
  console.log(
    `${problems.length === 0 ? 'ok  ' : 'FAIL'} imports: direction and cycles of ${sources.size} files`,
  )
  return problems.length === 0
}

const results = [
  run('types', ['node_modules/typescript/bin/tsc']),
  run('lint and format', [
    'node_modules/@biomejs/biome/bin/biome',
    'check',
    '--max-diagnostics=40',
    '--error-on-warnings',
  ]),
  imports(),
]
process.exit(results.every(Boolean) ? 0 : 1)
