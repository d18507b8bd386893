/**
 * Our networks beside torchvision's, where Python has it: makes the reference outputs anew, compares them with those
 * that the tests use, and runs the tests on the new ones.
 *
 *     node --import tsx bench/torchvision/main.ts            PYTHON=python3 by default; Debian: python3-torchvision
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))
const python = process.env.PYTHON ?? 'python3'

/** The largest relative difference of the numbers of two trees of one form. */
function difference(x: unknown, y: unknown): number {
  if (typeof x === 'number' && typeof y === 'number')
    return x === y ? 0 : Math.abs(x - y) / Math.max(Math.abs(x), Math.abs(y))
  if (typeof x !== 'object' || typeof y !== 'object' || x === null || y === null) return 0
  const [a, b] = [Object.entries(x), new Map(Object.entries(y))]
  if (a.length !== b.size || a.some(([k]) => !b.has(k))) return Number.POSITIVE_INFINITY
  return Math.max(0, ...a.map(([k, v]) => difference(v, b.get(k))))
}

function main(): number {
  const made = spawnSync(python, [join(root, 'bench/torchvision/reference.py')], {
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  })
  process.stderr.write(made.stderr ?? '')
  if (made.status !== 0) {
    process.stderr.write(
      `${python} could not make the reference; it needs torch and torchvision (Debian: apt-get install python3-torchvision)\n`,
    )
    return 1
  }
  const kept = readFileSync(join(root, 'test/nn/torchvision.json'), 'utf8')
  const apart = difference(JSON.parse(kept), JSON.parse(made.stdout))
  console.log(`the outputs that the tests use are ${apart.toExponential(1)} away from these`)
  const folder = mkdtempSync(join(tmpdir(), 'cotangent-'))
  const file = join(folder, 'torchvision.json')
  writeFileSync(file, made.stdout)
  const tests = spawnSync(
    process.execPath,
    ['--import', 'tsx', '--test', '--test-reporter', 'spec', join(root, 'test/nn/torchvision.test.ts')],
    { cwd: root, stdio: 'inherit', env: { ...process.env, COTANGENT_TORCHVISION: file } },
  )
  rmSync(folder, { recursive: true })
  return tests.status ?? 1
}
process.exitCode = main()
