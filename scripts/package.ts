/**
 * The package as plain Node and browsers run it. In: the sources and package.json. Out: a folder with
 *
 *     bin/cotangent.js   the command
 *     lib/*.js           a file for each way in (the names of `exports`), and the chunks that these share
 *     package.json       whose `exports` point there
 *
 * Few files, because a process reads all that it imports before its first result: one by one, the sources and fp-ts's
 * modules took twice as long to start. `scripts/build.ts` adds the declarations.
 */
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, type Plugin } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))
const src = join(root, 'src')
const sources = readdirSync(src, { recursive: true, encoding: 'utf8' }).map(path => path.split(sep).join('/'))
const read = (path: string): string => readFileSync(join(root, path), 'utf8')

const { scripts: _, devDependencies: __, private: ___, ...manifest } = JSON.parse(read('package.json'))
/** The ways in that are sources: `['./node', './src/node.ts']`. */
const exported = Object.entries<string>(manifest.exports).filter(([, path]) => path.endsWith('.ts'))
const nameOf = (way: string): string => (way === '.' ? 'index' : way.slice(2))

/**
 * Modules that threads import by a URL: the one that serves, and those of recipes (see src/data/recipe.ts).
 * Comments show recipes too, hence the look at how the line begins.
 */
const addressed = [
  'data/decode-thread.ts',
  ...sources.filter(
    path => path.endsWith('.ts') && /^(?! *\*).*\bmodule: import\.meta\.url/m.test(read(`src/${path}`)),
  ),
]

/**
 * The text of each way in. All but the threads' import the core first: what is reached from everywhere is one chunk.
 * (A chunk is the modules that the same ways reach; without this there were twice as many.)
 */
const ways: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    [...exported, ['./main', './src/cli/main.ts'] as const].map(([way, path]) => [
      nameOf(way),
      `import './src/index.ts'\nexport * from '${path}'`,
    ]),
  ),
  thread: addressed.map(path => `export * from './src/${path}'`).join('\n'),
}
const waysIn: Plugin = {
  name: 'ways in',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^way:/ }, ({ path }) => ({ namespace: 'way', path: path.slice('way:'.length) }))
    onLoad({ filter: /./, namespace: 'way' }, ({ path }) => ({ contents: ways[path], resolveDir: root }))
  },
}

/** A source's place in lib/, had it a file of its own. */
const placeOf = (path: string): string => path.replace(/\.ts$/, '.js')

/** `import.meta.url` is that of a source's own place, so that it finds what lies beside it: threads, package.json. */
const ownPlaces: Plugin = {
  name: 'own places',
  setup({ onLoad }) {
    onLoad({ filter: /\.ts$/ }, ({ path }) => {
      const place = placeOf(relative(src, path).split(sep).join('/'))
      const own = `new URL('./${place}', import.meta.url).href`
      return { loader: 'ts', contents: readFileSync(path, 'utf8').replaceAll('import.meta.url', own) }
    })
  },
}

/**
 * Writes the package.
 * @param out  a folder; files of an earlier build are to be gone
 * @throws what esbuild or the disk says
 * @example await writePackage('dist')
 */
export async function writePackage(out: string): Promise<void> {
  const lib = join(out, 'lib')
  await build({
    absWorkingDir: root,
    entryPoints: Object.keys(ways).map(name => ({ in: `way:${name}`, out: name })),
    outdir: lib,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    sourcemap: true,
    packages: 'external',
    // fp-ts is taken in: its modules are read at every start, and as ES modules only what is used of them
    alias: { 'fp-ts/lib': './node_modules/fp-ts/es6' },
    plugins: [waysIn, ownPlaces],
    logLevel: 'warning',
  })
  // what is JavaScript already: the threads' code
  for (const path of sources.filter(path => path.endsWith('.js'))) cpSync(join(src, path), join(lib, path))
  for (const place of addressed.map(placeOf)) {
    mkdirSync(dirname(join(lib, place)), { recursive: true })
    writeFileSync(join(lib, place), `export * from '${relative(dirname(place), 'thread.js')}'\n`)
  }
  cpSync(join(root, 'node_modules/fp-ts/LICENSE'), join(lib, 'LICENSE.fp-ts'))
  for (const name of ['README.md', 'LICENSE']) cpSync(join(root, name), join(out, name))
  mkdirSync(join(out, 'bin'), { recursive: true })
  writeFileSync(join(out, 'bin', 'cotangent.js'), command, { mode: 0o755 })
  const entries = Object.fromEntries(
    exported.map(([way, path]) => [
      way,
      { types: path.replace(/^\.\/src\/(.*)\.ts$/, './types/$1.d.ts'), default: `./lib/${nameOf(way)}.js` },
    ]),
  )
  const published = { ...manifest, exports: { ...manifest.exports, ...entries } }
  writeFileSync(join(out, 'package.json'), `${JSON.stringify(published, null, 2)}\n`)
}

const command = `#!/usr/bin/env node
import { main } from '../lib/main.js'

process.stdout.on('error', e => {
  if (e.code === 'EPIPE') process.exit()
  throw e
})
process.exitCode = await main(process.argv)
`
