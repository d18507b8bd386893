import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { describeWeights } from '../../src/cli/weights-command.ts'
import { encode, writeSafetensors } from '../../src/data/safetensors.ts'
import { sourceOf } from '../../src/data/source.ts'
import { weightsIn } from '../../src/data/weights-file.ts'
import { array, type NDArray } from '../../src/dsl/array.ts'
import { cotangent } from './command.ts'

const folder = mkdtempSync(join(tmpdir(), 'weights-command-'))
after(() => rmSync(folder, { recursive: true }))
const fixture = (name: string): string => fileURLToPath(new URL(`../data/weights/${name}`, import.meta.url))

const describe = (tensors: Record<string, NDArray>, options = {}): string =>
  describeWeights(weightsIn(sourceOf(encode(new Map(Object.entries(tensors))), 'a.safetensors')), options)

test('the command lists names, types and sizes, and what a checkpoint holds beside them', async () => {
  const { code, stdout, stderr } = await cotangent(['weights', fixture('checkpoint.zip.pth')])
  assert.equal(stderr, '')
  assert.equal(code, 0)
  assert.match(stdout, /PyTorch zip archive, 4\.\d+ kB, names of no known family/)
  assert.match(stdout, /the prefix "module\." of all names was taken off/)
  assert.match(stdout, /\nconv\.weight +F32 +\[3, 2, 2, 2\] +24 +96 B\n/)
  assert.match(stdout, /\n7 arrays, 33 parameters, 7 values of running state, 164 B\n$/)
})

test('a pickle with code is shown, and not run', async () => {
  const { code, stdout } = await cotangent(['weights', fixture('code.zip.pth')])
  assert.equal(code, 0)
  assert.match(
    stdout,
    /not made, objects of other classes: posix\.system\("touch this-file-must-not-exist"\)/,
  )
})

test('the state dict of several is named with --entry', async () => {
  const path = fixture('ambiguous.zip.pth')
  const refused = await cotangent(['weights', path])
  assert.equal(refused.code, 1)
  assert.match(refused.stderr, /^error: .*more than one state dict.*\n {2}"model" {2}1 entries\n/)
  const { code, stdout } = await cotangent(['weights', path, '--entry', 'model_ema', '--stats'])
  assert.equal(code, 0)
  assert.match(stdout, /\nw +F32 +\[2\] +2 +8 B +1\.000 +1\.500 +2\.000\n/)
})

test('a damaged file is one line, and a filter that takes nothing is a wrong call', async () => {
  const cut = join(folder, 'cut.safetensors')
  writeFileSync(cut, encode(new Map([['w', array([2], 'f32', [1, 2])]])).subarray(0, -1))
  const damaged = await cotangent(['weights', cut])
  assert.equal(damaged.code, 1)
  assert.match(damaged.stderr, /^error: .*cut\.safetensors: tensor "w": .*is the file cut short\?\n$/)
  const path = join(folder, 'a.safetensors')
  writeSafetensors(path, new Map([['w', array([1], 'f32', [1])]]))
  const none = await cotangent(['weights', path, '--filter', 'x.*'])
  assert.equal(none.code, 2)
  assert.match(none.stderr, /none of its 1 names is x\.\*/)
})

test('the statistics are those of the values, and a NaN is seen', () => {
  const text = describe(
    { a: array([3], 'f32', [-1, 2, 5]), b: array([2], 'f32', [Number.NaN, 1]), c: array([0], 'f32', []) },
    { stats: true },
  )
  assert.match(text, /\na .* -1\.000 +2\.000 +5\.000\n/)
  assert.match(text, /\nb .* NaN +NaN +NaN\n/)
  assert.match(text, /\nc .* – +– +–\n/)
})

test('a filter leaves out the others and says of how many', () => {
  const one = array([1], 'f32', [1])
  const text = describe(
    { 'head.weight': one, 'head.running_mean': one, 'body.weight': one },
    { filter: ['head.*'] },
  )
  assert.doesNotMatch(text, /body/)
  assert.match(text, /\n2 of 3 arrays, 1 parameters, 1 values of running state, 8 B$/)
})

test('names cannot write to the terminal', () => {
  const text = describe({ 'a\x1b[2Jb\u202ec': array([1], 'f32', [1]) })
  assert.match(text, /a\\u001b\[2Jb\\u202ec/)
  assert(!text.includes('\x1b') && !text.includes('\u202e'))
})
