/**
 * `npm run build`: the package as it is published, in dist/: JavaScript and declarations, for plain Node and browsers,
 * with a package.json of its own. The repository itself runs from source and needs no build.
 *
 *     npm run build && npm publish ./dist
 */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const out = 'dist'
rmSync(out, { recursive: true, force: true })
const compiled = spawnSync('node_modules/.bin/tsc', ['-p', 'tsconfig.build.json'], { stdio: 'inherit' })
if (compiled.status !== 0) process.exit(compiled.status ?? 1)

// what is JavaScript already: the threads' code
for (const path of readdirSync('src', { recursive: true, encoding: 'utf8' }))
  if (path.endsWith('.js')) cpSync(join('src', path), join(out, 'src', path))
for (const name of ['README.md', 'LICENSE']) cpSync(name, join(out, name))

const {
  scripts: _,
  devDependencies: __,
  private: ___,
  ...manifest
} = JSON.parse(readFileSync('package.json', 'utf8'))
const { tsx: ____, ...dependencies } = manifest.dependencies
/** A source file's place in the package. */
const built = (path: string) => ({
  types: path.replace(/\.ts$/, '.d.ts'),
  default: path.replace(/\.ts$/, '.js'),
})
const exports = Object.fromEntries(
  Object.entries<string>(manifest.exports).map(([name, path]) => [
    name,
    path.endsWith('.ts') ? built(path) : path,
  ]),
)
mkdirSync(join(out, 'bin'))
writeFileSync(
  join(out, 'bin', 'cotangent.js'),
  `#!/usr/bin/env node\nimport { main } from '../src/cli/main.js'\n\nprocess.stdout.on('error', e => {\n  if (e.code === 'EPIPE') process.exit()\n  throw e\n})\nprocess.exitCode = await main(process.argv)\n`,
  { mode: 0o755 },
)
writeFileSync(
  join(out, 'package.json'),
  `${JSON.stringify({ ...manifest, dependencies, exports }, null, 2)}\n`,
)
