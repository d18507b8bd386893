/**
 * The built package (scripts/package.ts), as npm would install it: beside the packages that its manifest names and no
 * others, under plain Node.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { encode } from 'fast-png'
import { writePackage } from '../scripts/package.ts'

const modules = fileURLToPath(new URL('../node_modules', import.meta.url))
const skip = existsSync(join(modules, 'fp-ts/es6'))
  ? false
  : 'fp-ts/es6 is not here (the offline bundle has not what it takes to build the package)'

const app = mkdtempSync(join(tmpdir(), 'package-'))
const installed = join(app, 'node_modules', 'cotangent')
const manifest = () => JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'))
after(() => rmSync(app, { recursive: true }))
before(async () => {
  if (skip) return
  await writePackage(installed)
  const { dependencies, peerDependencies } = manifest()
  for (const name of Object.keys({ ...dependencies, ...peerDependencies })) {
    const place = join(app, 'node_modules', name)
    mkdirSync(dirname(place), { recursive: true })
    symlinkSync(join(modules, name), place, 'junction')
  }
})

/** Runs Node in the application's folder; gives what it printed. */
function node(...args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: app, encoding: 'utf8' })
  assert.equal(status, 0, stderr)
  return stdout.trim()
}
const program = (name: string, text: string, ...args: readonly string[]): string => {
  writeFileSync(join(app, name), text)
  return node(name, ...args)
}

/** What a way in reads before its first statement runs: files of lib/, and the names of modules elsewhere. */
function reads(way: string): { readonly files: readonly string[]; readonly others: readonly string[] } {
  const [files, others] = [new Set<string>(), new Set<string>()]
  const visit = (file: string): void => {
    if (files.has(file)) return
    files.add(file)
    const text = readFileSync(join(installed, 'lib', file), 'utf8')
    for (const [, from, alone] of text.matchAll(/\bfrom "([^"]+)";$|^import "([^"]+)";$/gm)) {
      const name = from ?? alone
      if (name.startsWith('./')) visit(name.slice(2))
      else others.add(name)
    }
  }
  visit(way)
  return { files: [...files], others: [...others].sort() }
}

test('the main way in is for browsers too: it reads few files and nothing outside the package', {
  skip,
}, () => {
  const { files, others } = reads('index.js')
  assert.deepEqual(others, [])
  assert.ok(files.length <= 4, files.join(', '))
})

test('a first result on the CPU reads few files and no package, and none of what opens a GPU', {
  skip,
}, () => {
  const { files, others } = reads('node.js')
  assert.deepEqual(others, ['node:module', 'node:os', 'node:worker_threads'])
  assert.ok(files.length <= 8, files.join(', '))
})

test('every way in is imported, and its names are those of the source', { skip }, async () => {
  const ways = Object.keys(manifest().exports).flatMap(way =>
    way === './package.json' ? [] : [`cotangent${way.slice(1)}`],
  )
  const printed = program(
    'names.mjs',
    `
    const names = {}
    for (const way of process.argv[2].split(',')) names[way] = Object.keys(await import(way))
    console.log(JSON.stringify(names))
  `,
    ways.join(','),
  )
  const expected = await Promise.all(ways.map(async way => [way, Object.keys(await import(way))] as const))
  assert.deepEqual(JSON.parse(printed), Object.fromEntries(expected))
})

test('the CPU backend computes, and its threads find their program', { skip }, () => {
  const printed = program(
    'cpu.mjs',
    `
    import * as ct from 'cotangent'
    import { openBackend } from 'cotangent/node'
    const backend = await ct.unwrap(openBackend('cpu', { threads: 2 }))
    const ones = ct.array([512, 512], 'f32', new Float32Array(512 * 512).fill(1))
    const exe = await ct.unwrap(ct.compile((a, b) => ct.matmul(a, b), [ones, ones], backend))
    const until = performance.now() + 300
    let sum = 0
    // a thread that cannot start fails in a later turn
    while (performance.now() < until) {
      sum = (await exe(ones, ones)).data.reduce((a, x) => a + x, 0)
      await new Promise(setImmediate)
    }
    console.log(sum)
    process.exit(0)
  `,
  )
  assert.equal(Number(printed), 512 ** 3)
})

test('WebGPU is read when it is asked for: it opens, or says what is missing', { skip }, () => {
  const printed = program(
    'webgpu.mjs',
    `
    import { openBackend } from 'cotangent/node'
    const opened = await openBackend('webgpu')()
    console.log(opened._tag === 'Right' ? 'opened' : opened.left.tag)
    process.exit(0)
  `,
  )
  assert.match(printed, /^(opened|DeviceError)$/)
})

test("the loader's threads find every recipe of ours, and one of the application", { skip }, () => {
  writeFileSync(
    join(app, 'darken.mjs'),
    `
    import { remade } from 'cotangent/data'
    export const darken = factor =>
      remade({ module: import.meta.url, make: 'darken', args: [factor] }, (_key, s) => ({ ...s, image: s.image.map(x => factor * x) }))
  `,
  )
  const data = new Uint8Array(16 * 16)
  writeFileSync(join(app, 'label.png'), encode({ width: 16, height: 16, channels: 1, depth: 8, data }))
  const printed = program(
    'loader.mjs',
    `
    import * as data from 'cotangent/data'
    import { keys } from 'cotangent'
    import { writeFileSync } from 'node:fs'
    import { darken } from './darken.mjs'
    const size = [16, 16]
    const steps = [data.randomRotation(), data.randomScale(), data.randomCrop({ size }), darken(0.5), data.augmentation({ size })]
    const options = { batch: 3, key: keys.key(1), augment: data.pipeline(steps), steps: 2 }
    writeFileSync('image.png', data.encodePng(Uint8Array.from({ length: 16 * 16 * 3 }, (_, i) => i % 251), 16, 16))
    const pairs = [{ name: 'a', image: 'image.png', label: 'label.png' }]
    for (const set of [
      data.syntheticScenes({ seed: 1, size: [24, 24], count: 4 }),
      data.pairDataset({ name: 'mine', pairs, classes: ['road'], palette: [[0, 0, 0]] }),
    ]) {
      const all = { 0: [], 2: [] }
      for (const workers of [0, 2])
        for await (const { image, label } of data.batches(set, { ...options, workers })) all[workers].push([...image.data, ...label.data])
      console.log(all[0].length, JSON.stringify(all[0]) === JSON.stringify(all[2]))
    }
  `,
  )
  assert.equal(printed, '2 true\n2 true')
})

test('the command knows its version, and reads a configuration in TypeScript', { skip }, () => {
  const bin = join(installed, 'bin', 'cotangent.js')
  assert.equal(node(bin, '--version'), manifest().version)
  writeFileSync(
    join(app, 'mine.config.ts'),
    `
    import { defineConfig } from 'cotangent/config'
    const iterations: number = 7
    export default defineConfig({ data: { kind: 'synthetic' }, train: { iterations } })
  `,
  )
  const printed = JSON.parse(node(bin, 'train', 'mine.config.ts', '--print'))
  assert.equal(printed.train.iterations, 7)
})
