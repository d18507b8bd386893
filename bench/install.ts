/**
 * The rivals' packages and the built start-up program, in a folder of their own (.cache is not committed). In: the
 * rivals wanted. Out: the folder, or why it cannot be had. They are never dependencies of Cotangent.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const folder = join(root, '.cache', 'bench-peers')
const scripts = join(root, 'bench', 'peers')

/** Pinned: a ratio means nothing without the rival's version. */
const packages = {
  '@jax-js/jax': '0.1.25',
  '@tensorflow/tfjs': '4.22.0',
  '@tensorflow/tfjs-backend-wasm': '4.22.0',
  '@tensorflow/tfjs-backend-webgpu': '4.22.0',
  'onnxruntime-web': '1.30.0',
}

/** The folder with the rivals' packages and scripts, installed if need be. */
export function installRivals(): { readonly folder: string } | string {
  mkdirSync(folder, { recursive: true })
  for (const file of readdirSync(scripts).filter(f => f.endsWith('.mjs')))
    cpSync(join(scripts, file), join(folder, file))
  const manifest = JSON.stringify({ private: true, dependencies: packages }, null, 2)
  const done = join(folder, 'installed.json')
  if (existsSync(done) && readFileSync(done, 'utf8') === manifest) return { folder }
  console.error(`Installing the rivals into ${folder} (once) ...`)
  writeFileSync(join(folder, 'package.json'), manifest)
  const args = [
    'install',
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
    '--no-package-lock',
    '--loglevel=error',
  ]
  const windows = process.platform === 'win32'
  const { status, stderr, error } = spawnSync('npm', args, { cwd: folder, encoding: 'utf8', shell: windows })
  if (error) return `npm cannot be run: ${error.message}`
  if (status !== 0) return `npm install failed: ${stderr.split('\n').slice(0, 3).join(' ')}`
  writeFileSync(done, manifest)
  return { folder }
}

/**
 * The command of bench/start.ts in one plain JavaScript file, as a built package would be; in TypeScript through the
 * loader where esbuild is not there.
 */
export async function startProgram(): Promise<readonly string[]> {
  const source = join(root, 'bench', 'start.ts')
  try {
    const { build } = await import('esbuild')
    const out = join(root, '.cache', 'bench')
    const outfile = join(out, 'start.mjs')
    await build({
      entryPoints: [source],
      outfile,
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node20',
      external: ['webgpu', '@sparticuz/chromium'],
      logLevel: 'silent',
      minify: true,
      // packages in CommonJS ask for it
      banner: {
        js: "import{createRequire as benchRequire}from'node:module';const require=benchRequire(import.meta.url);",
      },
    })
    // a thread's program is loaded by its place beside the module
    cpSync(join(root, 'src', 'backend', 'cpu', 'worker.js'), join(out, 'worker.js'))
    return [process.execPath, outfile]
  } catch {
    return [process.execPath, ...process.execArgv, source]
  }
}
