/** Random programs on a backend against the reference in f64. */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import fc from 'fast-check'
import { grad } from '../../src/autodiff/grad.ts'
import type { Backend } from '../../src/backend/backend.ts'
import { compile, unwrap } from '../../src/backend/compile.ts'
import { interpret } from '../../src/backend/cpu/reference.ts'
import { array, type NDArray } from '../../src/dsl/array.ts'
import type { FloatDType } from '../../src/dsl/dtype.ts'
import type { Tensor } from '../../src/dsl/tensor.ts'
import { trace } from '../../src/dsl/trace.ts'
import {
  arbitraryProgram,
  programArguments,
  programLoss,
  programSteps,
  type RandomProgram,
  runProgram,
} from './programs.ts'

type F = (args: readonly Tensor[]) => readonly Tensor[]

/**
 * How far rounding of the arguments to f32 moves the results: where a discrete choice (argmax, select, max) flips
 * between neighbouring arguments, no backend can be held to a value.
 */
function sensitivity(f: F, args: readonly NDArray[], want: readonly NDArray[]): number {
  let moved = 0
  for (const sign of [1, -1]) {
    const near = args.map(a =>
      array(
        a.shape,
        'f64',
        Array.from(a.data, v => v * (1 + sign * 2 ** -22)),
      ),
    )
    const got = interpret(trace(f as (...a: never[]) => unknown, [near]).graph, near)
    got.forEach((g, i) => {
      g.data.forEach((v, j) => {
        moved = Math.max(moved, Math.abs(v - want[i].data[j]))
      })
    })
  }
  return moved
}

/** Compares values and gradients; the tolerance follows from how the program amplifies a relative error of 2^-22. */
export async function agreesOnPrograms(
  t: TestContext,
  backend: Backend,
  float: FloatDType,
  runs: number,
): Promise<void> {
  const reached = new Set<number>()
  let [compared, worst] = [0, 0]
  const check = async (program: RandomProgram, f: F): Promise<void> => {
    const args = programArguments(program, float)
    const wide = args.map(a => array(a.shape, 'f64', Array.from(a.data)))
    const want = interpret(trace(f as (...a: never[]) => unknown, [wide]).graph, wide)
    const amplified = sensitivity(f, wide, want)
    const exe = await unwrap(compile(f, [args], backend))
    const got = await exe(args)
    // f32: rounding of each of tens of operations (1e-5 of the scale), and what the program amplifies. f64: 1e-9.
    want.forEach((w, i) => {
      const scale = Math.max(1e-3, ...Array.from(w.data, Math.abs))
      const tolerance = float === 'f64' ? 1e-9 * scale + amplified * 2 ** -20 : 2e-5 * scale + 50 * amplified
      w.data.forEach((v, j) => {
        const error = Math.abs(v - got[i].data[j])
        assert.ok(
          error <= tolerance,
          `result ${i}[${j}] is ${got[i].data[j]}, the reference gives ${v} (tolerance ${tolerance})`,
        )
        worst = Math.max(worst, error / scale)
      })
    })
    compared++
    for (const s of program.steps) reached.add(s.op)
  }
  await fc.assert(
    fc.asyncProperty(arbitraryProgram(7), async program => {
      await check(program, runProgram(program))
      await check(program, grad(programLoss(program)))
    }),
    { numRuns: runs },
  )
  t.diagnostic(
    `${compared} programs and gradients, ${reached.size} of ${Object.keys(programSteps).length} operations, worst relative error ${worst.toExponential(1)}`,
  )
  assert.ok(reached.size >= 20, `only ${reached.size} operations were reached`)
}
