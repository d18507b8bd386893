/** Properties of derivatives, of batching and of the passes: on each primitive alone, and on programs of all. */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { grad } from '../../src/autodiff/grad.ts'
import { interpret } from '../../src/backend/cpu/reference.ts'
import { optimise } from '../../src/backend/pipeline.ts'
import type { NDArray } from '../../src/dsl/array.ts'
import { showType } from '../../src/dsl/shape.ts'
import type { Tensor } from '../../src/dsl/tensor.ts'
import { trace } from '../../src/dsl/trace.ts'
import { verify } from '../../src/dsl/verify.ts'
import { distance } from '../../src/testing/agreement.ts'
import { checkGrads } from '../../src/testing/check-grads.ts'
import { checkVmap } from '../../src/testing/check-transforms.ts'
import { CheckError } from '../../src/testing/numbers.ts'
import {
  type Program,
  type ProgramOptions,
  programArguments,
  programLoss,
  programSteps,
  programs,
  runProgram,
  type StepName,
} from '../../src/testing/programs.ts'
import { primSteps } from '../../src/testing/steps.ts'
import { runPlan } from './plan-runner.ts'
import { type Property, property } from './property.ts'

const names = Object.keys(programSteps) as StepName[]
/** Programs of one step, used twice at most. */
const only = (op: StepName): ProgramOptions => ({ length: 2, without: names.filter(n => n !== op) })

const onPrograms = (options: ProgramOptions, numRuns: number, check: (p: Program) => void): void => {
  fc.assert(
    fc.property(programs(options), p => check(p)),
    { numRuns },
  )
}
/** A program of which differences say nothing, for a kink is near in every direction, is none to compare. */
const gradients = (p: Program): void => {
  const args = programArguments(p, 'f64')
  const { graph } = trace(
    ((xs: readonly Tensor[]) => grad(programLoss(p))(xs)) as (...a: never[]) => unknown,
    [args],
  )
  assert.deepEqual(graph.outputs.map(showType), args.map(showType), 'a gradient has the type of its argument')
  try {
    checkGrads(programLoss(p), [args], { directions: 1 })
  } catch (e) {
    if (!(e instanceof CheckError && /kink or a jump lies/.test(e.message))) throw e
  }
}
const batches = (p: Program): void => {
  const batch = { ...p, shapes: p.shapes.map(s => [2, ...s]) }
  checkVmap(runProgram(p), [programArguments(batch, 'f64')])
}
/** Against the reference interpreter, which knows calls, conditions and scans by itself. */
const passes = (p: Program): void => {
  const args = programArguments(p, 'f64')
  for (const f of [runProgram(p), (xs: readonly Tensor[]) => grad(programLoss(p))(xs)]) {
    const g = trace(f as (...a: never[]) => unknown, [args]).graph
    verify(g)
    const want = interpret(g, args)
    const agree = (what: string, got: readonly NDArray[]) => {
      want.forEach((w, i) => {
        assert.deepEqual([got[i].shape, got[i].dtype], [w.shape, w.dtype], `${what}: result ${i}`)
        const d = distance(got[i], w)
        // sums in another order: rounding of f64, grown by the program's few operations
        assert.ok(d.absolute <= 1e-10 * d.scale, `${what}: result ${i} differs by ${d.absolute}`)
      })
    }
    optimise(g, (pass, h) => {
      verify(h)
      agree(pass.name, interpret(h, args))
    })
    agree('the plan', runPlan(g, args))
  }
}

const structural = (Object.keys(primSteps) as StepName[]).filter(n => n !== 'map')

export const gradientProperties: readonly Property[] = [
  ...structural.flatMap(op => [
    property(`${op}: reverse mode, forward mode and differences agree, to the second order`, [10, 40], n =>
      onPrograms({ ...only(op), ties: false }, n, gradients),
    ),
    property(`${op}: vmap is the function example by example`, [8, 30], n =>
      onPrograms(only(op), n, batches),
    ),
    property(`${op}: every pass gives a valid graph with the same values`, [8, 30], n =>
      onPrograms(only(op), n, passes),
    ),
  ]),
  property('derivatives agree on random programs', [20, 60], n =>
    onPrograms({ length: 4, ties: false }, n, gradients),
  ),
  property('vmap of a random program is the program example by example', [20, 60], n =>
    onPrograms({ length: 4, empty: false }, n, batches),
  ),
  property('every pass gives a valid graph with the same values, on random programs', [20, 60], n =>
    onPrograms({ length: 4 }, n, passes),
  ),
]
