import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { grad } from '../../src/autodiff/grad.ts'
import { interpret } from '../../src/backend/cpu/reference.ts'
import { placeInArena } from '../../src/backend/memory.ts'
import { optimise } from '../../src/backend/pipeline.ts'
import type { NDArray } from '../../src/dsl/array.ts'
import type { Graph } from '../../src/dsl/graph.ts'
import type { Tensor } from '../../src/dsl/tensor.ts'
import { trace } from '../../src/dsl/trace.ts'
import { verify } from '../../src/dsl/verify.ts'
import { runPlan } from '../support/plan-runner.ts'
import { arbitraryProgram, programArguments, programLoss, runProgram } from '../support/programs.ts'

/** The largest difference, relative to the largest magnitude; NaN where only one is NaN. */
export function difference(a: NDArray, b: NDArray): number {
  assert.deepEqual([a.shape, a.dtype], [b.shape, b.dtype])
  let [worst, scale] = [0, 1e-30]
  a.data.forEach((x, i) => {
    const y = b.data[i]
    if (Object.is(x, y)) return
    scale = Math.max(scale, Math.abs(x))
    worst = Math.max(worst, Math.abs(x - y))
  })
  return worst / Math.max(scale, 1e-3)
}
const close = (got: readonly NDArray[], want: readonly NDArray[], tolerance: number): void => {
  got.forEach((g, i) => {
    const d = difference(want[i], g)
    assert.ok(d <= tolerance, `result ${i} differs by ${d}`)
  })
}
const graphOf = (f: (args: readonly Tensor[]) => unknown, args: readonly NDArray[]): Graph =>
  trace(f as (...a: never[]) => unknown, [args]).graph

test('every pass gives a valid graph with the same values, and the plan computes them', () => {
  fc.assert(
    fc.property(arbitraryProgram(), program => {
      const args = programArguments(program, 'f64')
      const g = graphOf(runProgram(program), args)
      verify(g)
      const want = interpret(g, args)
      optimise(g, (_, h) => {
        verify(h)
        // Sums in another order: rounding of f64, grown by the program's few operations.
        close(interpret(h, args), want, 1e-10)
      })
      close(runPlan(g, args), want, 1e-10)
    }),
    { numRuns: 300 },
  )
})

test('the plan of a gradient computes what the reference computes', () => {
  fc.assert(
    fc.property(arbitraryProgram(6), program => {
      const args = programArguments(program, 'f64')
      const g = graphOf(grad(programLoss(program)), args)
      close(runPlan(g, args), interpret(g, args), 1e-9)
    }),
    { numRuns: 200 },
  )
})

test('values that live at the same time never overlap in the arena', () => {
  const value = fc.record({ bytes: fc.integer({ min: 1, max: 5000 }), first: fc.nat(20), length: fc.nat(10) })
  fc.assert(
    fc.property(fc.array(value, { maxLength: 40 }), list => {
      const lives = list.map(v => ({ bytes: v.bytes, first: v.first, last: v.first + v.length }))
      const { offsets, bytes } = placeInArena(lives)
      lives.forEach((a, i) => {
        assert.equal(offsets[i] % 256, 0)
        assert.ok(offsets[i] + a.bytes <= bytes)
        lives.slice(0, i).forEach((b, j) => {
          const apart = a.last < b.first || b.last < a.first
          assert.ok(apart || offsets[i] + a.bytes <= offsets[j] || offsets[j] + b.bytes <= offsets[i])
        })
      })
    }),
  )
})
