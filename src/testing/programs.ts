/**
 * Random well-typed programs over the whole registry, as plain data: a list of choices that always builds, so that
 * a failing program shrinks to a small one and prints. In: choices. Out: a function of tensors, its loss, its arguments.
 */
import fc from 'fast-check'
import { array, type NDArray } from '../dsl/array.ts'
import * as b from '../dsl/build.ts'
import type { FloatDType } from '../dsl/dtype.ts'
import { equations } from '../dsl/graph.ts'
import type { Closed, Op } from '../dsl/prim.ts'
import type { ScalarOp } from '../dsl/scalar.ts'
import { range, type Shape, size } from '../dsl/shape.ts'
import type { Eqn, Tensor } from '../dsl/tensor.ts'
import { key, uniformAt } from '../dsl/threefry.ts'
import { bounded, maxSize, type Step, scalarSteps } from './scalar-steps.ts'
import { primSteps } from './steps.ts'

/** The steps by name: structural primitives (but `map`), then scalar operations. */
export const programSteps = { ...primSteps, ...scalarSteps } as const satisfies {
  readonly [K in Op | ScalarOp]: Step
}
/** The name of a step: a structural primitive or a scalar operation. */
export type StepName = keyof typeof programSteps

/** A random program. A step's `x` and `y` count back from the latest of at most four values, `p` fixes the rest. */
export interface Program {
  readonly shapes: readonly Shape[]
  readonly steps: readonly {
    readonly op: StepName
    readonly x: number
    readonly y: number
    readonly p: number
  }[]
  /** Of the arguments' values. */
  readonly seed: number
  /** `uniform` in [-1, 1], or `ties`: from -1, -1/2, 0, 1/2, 1, where kinks and equal elements are. */
  readonly values: 'uniform' | 'ties'
}

/** How programs are drawn. */
export interface ProgramOptions {
  /** The most steps, 8 by default. */
  readonly length?: number
  /** Whether extents of 0 occur (true). */
  readonly empty?: boolean
  /** Whether arguments with ties and zeros occur (true). */
  readonly ties?: boolean
  /** Steps that are left out. */
  readonly without?: readonly StepName[]
}

/** The simplest first: shrinking goes there. */
const simplest: readonly StepName[] = ['neg', 'add', 'mul', 'sin', 'reshape', 'reduce']
const names = (Object.keys(programSteps) as StepName[]).sort(
  (a, c) => (simplest.indexOf(a) + 1 || 99) - (simplest.indexOf(c) + 1 || 99),
)

/** Extents with few multiples of 4, and now and then none at all. */
const extentOf = (empty: boolean): fc.Arbitrary<number> =>
  fc.oneof(
    { arbitrary: fc.integer({ min: 1, max: 5 }), weight: 30 },
    { arbitrary: fc.constantFrom(3, 5, 7, 9), weight: 10 },
    ...(empty ? [{ arbitrary: fc.constant(0), weight: 1 }] : []),
  )

/**
 * Random programs on two arguments.
 * @example fc.assert(fc.property(programs({ length: 5 }), p => { checkGrads(programLoss(p), [programArguments(p, 'f64')]) }))
 */
export function programs({
  length = 8,
  empty = true,
  ties = true,
  without = [],
}: ProgramOptions = {}): fc.Arbitrary<Program> {
  const shape = fc
    .array(extentOf(empty), { maxLength: 4 })
    .map(s => (size(s) <= maxSize / 4 ? s : s.slice(0, 2)))
  return fc.record({
    shapes: fc.tuple(shape, shape),
    steps: fc.array(
      fc.record({
        op: fc.constantFrom(...names.filter(n => !without.includes(n))),
        x: fc.nat(3),
        y: fc.nat(3),
        p: fc.nat(255),
      }),
      { minLength: 1, maxLength: length, size: 'max' },
    ),
    seed: fc.nat(1e6),
    values: fc.constantFrom('uniform', 'uniform', 'uniform', 'uniform', ties ? 'ties' : 'uniform'),
  })
}

/** The program as a function of its arguments: every value that no other value uses. */
export const runProgram =
  (program: Program) =>
  (args: readonly Tensor[]): Tensor[] => {
    const values = [...args]
    for (const { op, x, y, p } of program.steps) {
      const from = (i: number) => values[values.length - 1 - (i % Math.min(values.length, 4))]
      const next = programSteps[op](from(x), from(y), p, args)
      if (size(next.shape) <= 2 * maxSize && next.rank <= 6) values.push(next)
    }
    const used = new Set<Eqn>(args.map(a => a.eqn))
    for (const e of equations(values, args)) for (const x of e.inputs) used.add(x.eqn)
    const last = values.filter(v => !used.has(v.eqn))
    return last.length > 0 ? last : [values[values.length - 1]]
  }

/** A scalar of all values: the sum of bounded means, so that gradients neither vanish nor overflow. */
export const lossOf = (values: readonly Tensor[]): Tensor =>
  values.map(y => b.mul(b.sum(bounded(y)), 1 / Math.max(size(y.shape), 1))).reduce((x, y) => b.add(x, y))

/** A scalar of the whole program. */
export const programLoss =
  (program: Program) =>
  (args: readonly Tensor[]): Tensor =>
    lossOf(runProgram(program)(args))

/** Arguments for a program. */
export const programArguments = (program: Program, dtype: FloatDType): NDArray[] =>
  program.shapes.map((shape, k) => {
    const uniform = range(size(shape)).map(i => 2 * uniformAt(key(program.seed * 2 + k), i) - 1)
    return array(shape, dtype, program.values === 'ties' ? uniform.map(v => Math.round(2 * v) / 2) : uniform)
  })

/** How often each primitive and scalar operation occurs in what the tensors are computed from, bodies included. */
export function countOps(of: readonly Tensor[], counts = new Map<string, number>()): Map<string, number> {
  const count = (name: string) => counts.set(name, (counts.get(name) ?? 0) + 1)
  const inside = (f: Closed) => {
    countOps(f.body, counts)
  }
  for (const e of equations(of)) {
    count(e.op)
    if (e.op === 'map') count(e.params.fn)
    if (e.op === 'call') inside(e.params)
    if (e.op === 'scan') inside(e.params.step)
    if (e.op === 'cond') [e.params.onTrue, e.params.onFalse].forEach(inside)
  }
  return counts
}
