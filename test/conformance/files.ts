/** Conformance files, and the claim that every case of one holds. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { Backend } from '../../src/backend/backend.ts'
import { readCases, runCases } from '../../src/cli/conformance.ts'
import type { FloatDType } from '../../src/dsl/dtype.ts'
import { unwrap } from '../../src/index.ts'
import { openBackend } from '../../src/node.ts'

const path = (from: string): string => fileURLToPath(new URL(from, import.meta.url))

/** The project's own cases: scripts/make-conformance.ts writes them. */
export const ownFile = path('./cotangent-ops.json')
/** PyTorch's cases, which lie beside the repository where they are at hand. */
export const torchFile = path('../../../shared/conformance/torch-ops.json')
/** Why the tests of PyTorch's cases cannot run; false where they can. */
export const torchMissing = existsSync(torchFile) ? false : `no PyTorch cases at ${torchFile}`

/** Runs every case of a file. @throws AssertionError with the ids that fail and their first wrong elements */
export async function allPass(
  t: TestContext,
  file: string,
  backend: Backend,
  float: FloatDType,
): Promise<void> {
  const outcomes = await runCases(readCases(file), backend, await unwrap(openBackend('reference')), float)
  const failures = [...outcomes].flatMap(([c, o]) => (o.failure === null ? [] : [`${c.id}: ${o.failure}`]))
  const worst = Math.max(...[...outcomes.values()].map(o => o.error))
  t.diagnostic(`${outcomes.size} cases, largest relative error ${worst.toExponential(1)}`)
  assert.deepEqual(failures, [])
}
