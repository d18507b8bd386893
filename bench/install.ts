/**
 * The rivals' packages and the built start-up program, in a folder of their own (.cache is not committed). In: the
 * rivals wanted. Out: the folder, or why it cannot be had. They are never dependencies of Cotangent.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { transform } from 'esbuild'
import { writePackage } from '../scripts/package.ts'

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
 * The command of bench/start.ts in plain JavaScript, in an application's folder where the package is installed as it
 * is published.
 * @throws what esbuild or the disk says
 */
export async function startProgram(): Promise<readonly string[]> {
  const app = join(root, '.cache', 'bench')
  rmSync(app, { recursive: true, force: true })
  await writePackage(join(app, 'node_modules', 'cotangent'))
  // without a manifest of its own it would be a part of this repository, whose `cotangent` is the sources
  writeFileSync(join(app, 'package.json'), JSON.stringify({ private: true, type: 'module' }))
  const { code } = await transform(readFileSync(join(root, 'bench', 'start.ts'), 'utf8'), { loader: 'ts' })
  const program = join(app, 'start.js')
  writeFileSync(program, code)
  return [process.execPath, program]
}
