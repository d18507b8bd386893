/**
 * Makes the offline bundle: one archive that runs Cotangent on a Linux x64 server that has no Node, no network and
 * no root (only glibc 2.34 or later, /bin/sh, tar and xz; for speed a GPU with its Vulkan driver).
 *
 *     npm run bundle [-- --out FILE]         default cotangent-linux-x64.tar.xz, at most 45 MB
 *
 * On the server:
 *
 *     tar -xJf cotangent-linux-x64.tar.xz && cd cotangent
 *     ./cotangent --selftest                 opens the device, runs and checks a kernel
 *     ./cotangent test [ARGUMENTS]           the test suite
 *     ./cotangent distill [ARGUMENTS]        the command line, bin/cotangent.js
 *     ./cotangent run FILE [ARGUMENTS]       any script, a benchmark say
 *
 * Inside: `runtime/` has Node's binary (the one that runs this script), libstdc++ for servers without it, and in
 * `runtime/dawn` Dawn, the Vulkan loader and SwiftShader (the launcher points COTANGENT_DAWN_DIR there); beside it
 * our folders as they are on disk, and the packages they need at run time, without types, maps and documents.
 *
 * Needs Linux x64, tar and xz (apt-get install xz-utils), `npm ci` with development packages; uses `strip` if there.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { packagedDawn, unpackVulkan } from '../src/backend/webgpu/vulkan.ts'
import { DataError, UsageError } from '../src/dsl/errors.ts'

/** Bytes of the finished archive, at most. */
const MAX_BYTES = 45e6
const OURS = [
  'src',
  'test',
  'bench',
  'examples',
  'bin',
  'scripts',
  'package.json',
  'tsconfig.json',
  'LICENSE',
  'README.md',
]
/** Run-time packages that `dependencies` in package.json does not name: the tests' and esbuild's binary. */
const EXTRA_PACKAGES = ['fast-check', '@esbuild/linux-x64']
/** A dependency whose files come another way: Dawn, into runtime/dawn. */
const NOT_PACKED = ['webgpu']

/** What a run of a package does not read: types, maps, documents, sources and builds for other module systems. */
const PRUNED = [
  /\.(map|flow|d\.[cm]?ts)$/,
  /\/(?!licen[cs]e)[^/]*\.(md|markdown)$/i,
  /^fp-ts\/([A-Za-z]+\/package\.json|docs)/,
  /^zod\/src\//,
  // A second copy of `@esbuild/linux-x64`.
  /^esbuild\/bin\//,
]

const LAUNCHER = `#!/bin/sh
# Starts Cotangent with the Node and the Dawn beside this file; needs nothing else. See scripts/bundle.ts.
case "$0" in */*) here=\${0%/*} ;; *) here=. ;; esac
here=$(CDPATH= cd "$here" && pwd) || exit 1
node="$here/runtime/node"
# The server's own C++ library goes first: its GPU driver was built for it.
"$node" --version >/dev/null 2>&1 || export LD_LIBRARY_PATH="\${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$here/runtime/lib"
export COTANGENT_DAWN_DIR="\${COTANGENT_DAWN_DIR:-$here/runtime/dawn}"
export PATH="$here/runtime\${PATH:+:$PATH}"
tsx="file://$here/node_modules/tsx/dist/loader.mjs"
case "$1" in
  --selftest) cd "$here" && exec "$node" --import "$tsx" --test test/backend/device.test.ts ;;
  test) shift && cd "$here" && exec "$node" --import "$tsx" test/run.ts "$@" ;;
  run) shift && exec "$node" --import "$tsx" "$@" ;;
  *) exec "$node" "$here/bin/cotangent.js" "$@" ;;
esac
`

const main = (): void => {
  const { values } = parseArgs({
    options: { out: { type: 'string', default: 'cotangent-linux-x64.tar.xz' } },
  })
  const out = resolve(values.out)
  requireTools()
  const stage = mkdtempSync(join(tmpdir(), 'cotangent-bundle-'))
  try {
    const root = join(stage, 'cotangent')
    mkdirSync(root)
    const parts = [packRuntime(root), packOurs(root), packPackages(root)]
    writeFileSync(join(root, 'cotangent'), LAUNCHER, { mode: 0o755 })
    compress(stage, out)
    const { size } = statSync(out)
    for (const [name, bytes] of parts.flat()) console.log(`${megabytes(bytes).padStart(8)}  ${name}`)
    console.log(`${megabytes(size).padStart(8)}  ${basename(out)} (compressed)`)
    if (size > MAX_BYTES) throw new DataError(`bundle: ${out} has ${size} bytes, the limit is ${MAX_BYTES}`)
  } finally {
    rmSync(stage, { recursive: true, force: true })
  }
}

/** A name and its bytes before compression. */
type Part = readonly [name: string, bytes: number]

const requireTools = (): void => {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new UsageError(`bundle: is made on Linux x64, this is ${process.platform} ${process.arch}`)
  for (const tool of ['tar', 'xz'])
    if (!hasTool(tool)) throw new UsageError(`bundle: ${tool} is not installed: apt-get install tar xz-utils`)
}

const hasTool = (tool: string): boolean => spawnSync(tool, ['--version']).status === 0

/** Node, the C++ library, Dawn, the Vulkan loader and SwiftShader. */
const packRuntime = (root: string): Part[] => {
  const runtime = join(root, 'runtime')
  const dawn = packagedDawn()
  const vulkan = unpackVulkan()
  if (!dawn || !vulkan)
    throw new DataError('bundle: needs the npm packages webgpu and @sparticuz/chromium: npm ci --include=dev')
  for (const folder of ['', 'lib', 'dawn']) mkdirSync(join(runtime, folder), { recursive: true })
  cpSync(process.execPath, join(runtime, 'node'))
  cpSync(dawn, join(runtime, 'dawn', 'dawn.node'))
  cpSync(join(dawn, '../../../LICENSE.md'), join(runtime, 'dawn', 'LICENSE.md'))
  for (const [name, bytes] of vulkan()) writeFileSync(join(runtime, 'dawn', name), bytes)
  const linked = execFileSync('ldd', [process.execPath], { encoding: 'utf8' })
  for (const [, name, path] of linked.matchAll(/(libstdc\+\+\.so\.6|libgcc_s\.so\.1) => (\S+)/g))
    cpSync(path, join(runtime, 'lib', name), { dereference: true })
  const binaries = filesIn(runtime).filter(path => /(node|\.so(\.\d+)?)$/.test(path))
  if (hasTool('strip')) for (const path of binaries) execFileSync('strip', ['--strip-unneeded', path])
  return binaries.map(path => [path.slice(root.length + 1), statSync(path).size])
}

const packOurs = (root: string): Part[] =>
  OURS.flatMap(name => {
    if (!existsSync(name)) throw new DataError(`bundle: there is no ${name} here; run it from the repository`)
    cpSync(name, join(root, name), { recursive: true })
    return [[name, sizeOf(join(root, name))]]
  })

const packPackages = (root: string): Part[] => {
  const { dependencies } = manifestOf('.')
  return closure([...Object.keys(dependencies ?? {}), ...EXTRA_PACKAGES]).map(name => {
    const target = join(root, 'node_modules', name)
    const source = join('node_modules', name)
    cpSync(source, target, {
      recursive: true,
      filter: path => !PRUNED.some(rule => rule.test(path.slice('node_modules/'.length))),
    })
    return [`node_modules/${name}`, sizeOf(target)]
  })
}

/** The packages and all that they depend on, each once. */
const closure = (names: readonly string[]): readonly string[] => {
  const found = new Set<string>()
  const visit = (name: string): void => {
    if (found.has(name) || NOT_PACKED.includes(name)) return
    found.add(name)
    Object.keys(manifestOf(join('node_modules', name)).dependencies ?? {}).forEach(visit)
  }
  names.forEach(visit)
  return [...found].sort()
}

const manifestOf = (folder: string): { readonly dependencies?: Readonly<Record<string, string>> } => {
  const path = join(folder, 'package.json')
  if (!existsSync(path)) throw new DataError(`bundle: there is no ${path}: npm ci --include=dev`)
  return JSON.parse(readFileSync(path, 'utf8'))
}

/** Owners and order do not depend on the machine. */
const compress = (stage: string, out: string): void => {
  const tar = ['--sort=name', '--owner=0', '--group=0', '--numeric-owner', '-C', stage, '-I', 'xz -9 -T0']
  execFileSync('tar', [...tar, '-cf', out, 'cotangent'], { stdio: 'inherit' })
}

const filesIn = (folder: string): string[] =>
  readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath ?? entry.path, entry.name))

const sizeOf = (path: string): number =>
  (statSync(path).isFile() ? [path] : filesIn(path)).reduce((sum, file) => sum + statSync(file).size, 0)

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(2)} MB`

main()
