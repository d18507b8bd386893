/** Random programs on a backend against the reference in f64. */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import fc from 'fast-check'
import type { Backend } from '../../src/backend/backend.ts'
import type { FloatDType } from '../../src/dsl/dtype.ts'
import { checkProgram } from '../../src/testing/fuzz.ts'
import { countOps, programSteps, programs } from '../../src/testing/programs.ts'

/** Compares values and gradients of random programs; says how much of the registry they reached. */
export async function agreesOnPrograms(
  t: TestContext,
  backend: Backend,
  float: FloatDType,
  runs: number,
): Promise<void> {
  const reached = new Map<string, number>()
  let [compared, moving, worst] = [0, 0, 0]
  await fc.assert(
    fc.asyncProperty(programs(), async program => {
      const outcome = await checkProgram(program, backend, float)
      compared++
      if (outcome.moving) moving++
      worst = Math.max(worst, outcome.worst)
      countOps(outcome.values, reached)
    }),
    { numRuns: runs, unbiased: true },
  )
  const all = Object.keys(programSteps).length
  t.diagnostic(
    `${compared} programs and gradients, ${moving} of them not 0; ${reached.size} of ${all} operations, worst relative error ${worst.toExponential(1)}`,
  )
  assert.ok(reached.size >= 0.8 * all, `only ${reached.size} of ${all} operations were reached`)
  assert.ok(moving >= 0.8 * compared, `only ${moving} of ${compared} gradients are not 0`)
}
