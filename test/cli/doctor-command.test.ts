import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { pipe } from 'fp-ts/lib/function.js'
import * as TE from 'fp-ts/lib/TaskEither.js'
import type { Backend } from '../../src/backend/backend.ts'
import { referenceBackend } from '../../src/backend/cpu/reference-backend.ts'
import { describeChecks } from '../../src/cli/doctor-command.ts'
import { backendCheck, diskChecks, hostChecks } from '../../src/cli/doctor-machine.ts'
import { knownMatmul, productOf } from '../../src/cli/doctor-matmul.ts'
import { heed } from '../../src/cli/doctor-pipeline.ts'
import { array } from '../../src/dsl/array.ts'
import { cotangent } from './command.ts'

const root = mkdtempSync(join(tmpdir(), 'doctor-'))
after(() => rmSync(root, { recursive: true }))

test('the command prints a line a check, and as JSON the same checks; the CPU backend is right and timed', async () => {
  const { code, stdout, stderr } = await cotangent(['doctor'])
  assert.equal(code, 0, stderr)
  assert.match(stdout, /^ok +Node\.js +\d+\.\d+\.\d+ \(V8 /m)
  assert.match(stdout, /^ok +cpu +256 x 256 in [\d.]+ ms, [\d.]+ GFLOP\/s; WebAssembly SIMD/m)
  assert.match(stdout, /^ok +reference +32 x 32 in /m)
  assert.match(stdout, /^(ok|warning) +webgpu +/m)
  const checks: { name: string; status: string; value: string }[] = JSON.parse(
    (await cotangent(['doctor', '--json'])).stdout,
  )
  for (const name of ['Node.js', 'cores', 'memory', 'disk', 'Dawn', 'adapter', 'cpu', 'webgpu', 'reference'])
    assert(
      checks.some(c => c.name === name),
      name,
    )
})

test('what to do stands below what it is about', () => {
  const text = describeChecks([
    { name: 'a', status: 'ok', value: 'fine' },
    { name: 'long', status: 'error', value: 'broken', mend: 'mend it' },
  ])
  assert.equal(text, ['ok       a     fine', 'ERROR    long  broken', '               -> mend it'].join('\n'))
})

test('an old Node.js is an error that names the oldest that will do', () => {
  assert.equal(hostChecks('20.11.0')[0].status, 'ok')
  assert.equal(hostChecks('22.0.0')[0].status, 'ok')
  for (const old of ['18.19.1', '20.10.0'])
    assert.deepEqual(
      [hostChecks(old)[0].status, hostChecks(old)[0].mend],
      ['error', 'install Node.js 20.11 or later'],
    )
})

test('a folder that is not there is a warning with what to do', () => {
  const [there] = diskChecks([root])
  assert.match(there.value, /(GiB|MiB) free at /)
  const [gone] = diskChecks([join(root, 'gone')])
  assert.equal(gone.status, 'warning')
  assert.match(gone.mend ?? '', /choose a folder that can be written to/)
})

/** A backend that is wrong by one in one element. */
const liar: Backend = {
  ...referenceBackend(),
  compile: (graph, donated) =>
    pipe(
      referenceBackend().compile(graph, donated),
      TE.map(program => ({
        ...program,
        run: async (...args: Parameters<typeof program.run>) => {
          const results = await program.run(...args)
          const [first] = results
          const honest = first.read.bind(first)
          const read = async () => {
            const { shape, dtype, data } = await honest()
            return array(
              shape,
              dtype,
              Array.from(data, (x, i) => Number(x) + (i === 10 ? 1 : 0)),
            )
          }
          Object.assign(first, { read })
          return results
        },
      })),
    ),
}
test('a product that is wrong in one element is found and named', async () => {
  const honest = await knownMatmul(referenceBackend(), 8, 1)
  assert.equal(honest.wrong, null)
  assert(honest.gflops > 0 && honest.milliseconds > 0)
  const { wrong } = await knownMatmul(liar, 8, 1)
  assert.match(wrong ?? '', /^element \[1, 2\] is -?\d+, and should be -?\d+$/)
})

test('the right product is the textbook one', () => {
  const [a, b] = [array([2, 2], 'f32', [1, 2, 3, 4]), array([2, 2], 'f32', [5, 6, 7, 8])]
  assert.deepEqual([...productOf(a, b, 2)], [19, 22, 43, 50])
})

test('the reference backend is checked as the others are', async () =>
  assert.equal((await backendCheck('reference')).status, 'ok'))

test('warnings are told, errors stop with every sentence', () => {
  const told: string[] = []
  heed('nfd', [{ level: 'warning', message: 'hm' }], text => told.push(text))
  assert.deepEqual(told, ['nfd: hm'])
  const errors = ['one', 'two'].map(message => ({ level: 'error' as const, message }))
  assert.throws(
    () => heed('nfd', errors, assert.fail),
    /^RunError: nfd: the doctor found what makes this run worthless\n {2}one\n {2}two\n {2}mend it, or go on .* --no-doctor$/,
  )
})
