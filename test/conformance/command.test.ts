/** The conformance command fails where it must, says why, and says it with its exit status. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'cotangent-conformance-'))
after(() => rmSync(folder, { recursive: true }))

const command = (text: string, ...options: readonly string[]) => {
  const file = join(folder, 'cases.json')
  writeFileSync(file, text)
  const args = ['--import', 'tsx', 'src/cli/conformance.ts', file, ...options]
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8' })
  return { status, text: stdout + stderr }
}
const vector = (...data: readonly (number | string)[]) => ({ dtype: 'float64', shape: [data.length], data })
const good = {
  id: 'good',
  op: 'square',
  attrs: {},
  inputs: [vector(1, -3)],
  outputs: [vector(1, 9)],
  cotangents: [vector(1, 0.5)],
  grads: [vector(2, -3)],
}
const file = (...cases: readonly object[]) => JSON.stringify({ source: 'by hand', cases })

test('right cases pass with the exit status 0', () => {
  const { status, text } = command(file(good))
  assert.equal(status, 0, text)
  assert.match(text, /1 passed, 0 failed, of 1 cases/)
})

test('unknown operations and attributes, wrong values, gradients and shapes fail, each by name', () => {
  const { status, text } = command(
    file(
      good,
      { ...good, id: 'operation', op: 'frobnicate' },
      { ...good, id: 'attribute', attrs: { colour: 3 } },
      { ...good, id: 'attribute type', op: 'softmax', attrs: { axis: 'last' } },
      { ...good, id: 'value', outputs: [vector(1, 9.0001)] },
      { ...good, id: 'gradient', grads: [vector(2, 3)] },
      { ...good, id: 'NaN', outputs: [vector(1, 'nan')] },
      { ...good, id: 'shape', outputs: [vector(1, 9, 0)] },
      { ...good, id: 'number of outputs', outputs: [vector(1, 9), vector(1, 9)] },
    ),
  )
  assert.equal(status, 1, text)
  assert.match(text, /FAIL operation: unknown operation frobnicate/)
  assert.match(text, /FAIL attribute: square: unknown attribute colour/)
  assert.match(text, /FAIL attribute type: attribute axis must be a number, got "last"/)
  assert.match(text, /FAIL value: output 0\[1\] is 9, expected 9.0001/)
  assert.match(text, /FAIL gradient: gradient of input 0\[1\] is -3, expected 3/)
  assert.match(text, /FAIL NaN: output 0\[1\] is 9, expected NaN/)
  assert.match(text, /FAIL shape: output 0 has the shape \[2\], expected \[3\]/)
  assert.match(text, /FAIL number of outputs: /)
  assert.match(text, /1 passed, 8 failed, of 9 cases/)
})

test('a file of another form is refused with its path and what is wrong first', () => {
  const broken = command('{ "cases": [')
  assert.equal(broken.status, 1, broken.text)
  assert.match(broken.text, /cases\.json: .*JSON/)
  const other = command(JSON.stringify({ cases: [{ ...good, inputs: 3 }] }))
  assert.equal(other.status, 1, other.text)
  assert.match(other.text, /no conformance file: .*inputs/s)
  const ragged = command(file({ ...good, inputs: [{ dtype: 'float64', shape: [3], data: [1, 2] }] }))
  assert.equal(ragged.status, 1, ragged.text)
  assert.match(ragged.text, /FAIL good: array: 2 values do not fill the shape \[3\]/)
})

test('an operation without cases is a usage error', () => {
  const { status, text } = command(file(good), '--only', 'tanh')
  assert.equal(status, 2, text)
  assert.match(text, /no case of the operation tanh/)
})

test('a case that f32 cannot compute fails with its condition number', () => {
  // 1e8 + 1 is no f32: the sum loses its only digit. A relative change of 2^-24 in the inputs moves it by 2e8 2^-24.
  const cancelling = {
    ...good,
    id: 'cancelling',
    op: 'sum',
    attrs: { axes: [0], keepdims: false },
    inputs: [vector(1e8, 1, 1, -1e8)],
    outputs: [{ dtype: 'float64', shape: [], data: [2] }],
    cotangents: [null],
    grads: [null],
  }
  assert.equal(command(file(cancelling)).status, 0)
  const { status, text } = command(file(cancelling), '--backend', 'cpu', '--precision', 'f32')
  assert.equal(status, 1, text)
  assert.match(text, /FAIL cancelling: .*condition number about 1e\+8/)
})
