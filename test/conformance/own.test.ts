/** Cotangent's own conformance cases, computed by plain loops, on the backends that need no GPU. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { readCases } from '../../src/cli/conformance.ts'
import { caseOps } from '../../src/cli/conformance-ops.ts'
import { unwrap } from '../../src/index.ts'
import { openBackend } from '../../src/node.ts'
import { closeAll, cpu } from '../support/backends.ts'
import { allPass, ownFile } from './files.ts'

after(closeAll)

test('every operation of the format has an own case', () => {
  const ops = new Set(readCases(ownFile).map(c => c.op))
  assert.deepEqual(
    Object.keys(caseOps).filter(op => !ops.has(op)),
    [],
  )
})

test('the reference agrees with plain loops in f64', async t => {
  await allPass(t, ownFile, await unwrap(openBackend('reference')), 'f64')
})

test('the CPU agrees with plain loops in f64', async t => allPass(t, ownFile, await cpu(), 'f64'))

test('the CPU in f32 agrees with the reference in f64 on the own cases', async t =>
  allPass(t, ownFile, await cpu(), 'f32'))
