/**
 * `npm run conformance -- FILE... [--backend B] [--precision P] [--only OP]`: runs cases whose values and
 * gradients another library computed, and prints passed and failed per operation.
 */
import { readFileSync } from 'node:fs'
import { Command, Option } from 'commander'
import * as z from 'zod'
import { vjp } from '../autodiff/grad.ts'
import type { Backend } from '../backend/backend.ts'
import { compile, unwrap } from '../backend/compile.ts'
import { array, type NDArray } from '../dsl/array.ts'
import { type DType, type FloatDType, isFloat } from '../dsl/dtype.ts'
import { DataError, UsageError } from '../dsl/errors.ts'
import { size } from '../dsl/shape.ts'
import { constant, type Tensor } from '../dsl/tensor.ts'
import { openBackend } from '../node.ts'
import { Attributes, caseOps } from './conformance-ops.ts'
import { describeFailure, exitCodeOf } from './errors.ts'
import { table } from './table.ts'

const number = z.union([
  z.number(),
  z.enum(['nan', 'inf', '-inf', 'NaN', 'Infinity', '-Infinity']).transform(toNumber),
  z.boolean().transform(Number),
])
const tensorSchema = z.object({
  dtype: z.enum(['float64', 'int64', 'bool']),
  shape: z.array(z.number().int().nonnegative()),
  data: z.array(number),
})
const caseSchema = z.object({
  id: z.string(),
  op: z.string(),
  attrs: z.record(z.string(), z.unknown()).default({}),
  inputs: z.array(tensorSchema),
  outputs: z.array(tensorSchema),
  cotangents: z.array(tensorSchema.nullable()),
  grads: z.array(tensorSchema.nullable()),
})
const fileSchema = z.object({ source: z.string().optional(), cases: z.array(caseSchema) })

/** A tensor and a case as the file has them. */
export type CaseTensor = z.infer<typeof tensorSchema>
export type Case = z.infer<typeof caseSchema>

function toNumber(s: string): number {
  return /nan/i.test(s) ? Number.NaN : s.startsWith('-') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY
}

/** Reads and checks a file. @throws DataError with the path, and what is wrong first */
export function readCases(path: string): readonly Case[] {
  let text: unknown
  try {
    text = JSON.parse(readFileSync(path, 'utf8'))
  } catch (e) {
    throw new DataError(`${path}: ${e instanceof Error ? e.message : e}`)
  }
  const parsed = fileSchema.safeParse(text)
  if (!parsed.success) throw new DataError(`${path}: no conformance file: ${z.prettifyError(parsed.error)}`)
  return parsed.data.cases
}

/** Tolerances: errors are relative to the largest magnitude of the tensor. */
const tolerances = { f64: { value: 1e-9, gradient: 1e-9 }, f32: { value: 1e-5, gradient: 1e-4 } } as const

/** What came of a case: the largest relative error, and what failed first. */
export interface Outcome {
  readonly error: number
  readonly failure: string | null
}

const dtypeOf = (t: CaseTensor, float: FloatDType): DType =>
  t.dtype === 'float64' ? float : t.dtype === 'int64' ? 'i32' : 'bool'
const toArray = (t: CaseTensor, float: FloatDType): NDArray => array(t.shape, dtypeOf(t, float), t.data)

/** A case as a function of its inputs: the results, then the gradients that it asks for. */
function caseFunction(c: Case, float: FloatDType): (inputs: readonly Tensor[]) => readonly Tensor[] {
  const op = caseOps[c.op]
  if (op === undefined) throw new UsageError(`unknown operation ${c.op}`)
  const wanted = c.grads.flatMap((g, i) => (g ? [i] : []))
  return inputs => {
    const attributes = new Attributes(c.attrs)
    const f = (xs: readonly Tensor[]) => {
      const all = [...inputs]
      wanted.forEach((i, k) => {
        all[i] = xs[k]
      })
      return op(all, attributes)
    }
    const plain = f(wanted.map(i => inputs[i]))
    const unread = attributes.unread()
    if (unread.length > 0) throw new UsageError(`${c.op}: unknown attribute ${unread.join(', ')}`)
    if (wanted.length === 0) return plain
    const seeded = (xs: readonly Tensor[]) => f(xs).filter((_, i) => c.cotangents[i])
    const [, back] = vjp(
      seeded,
      wanted.map(i => inputs[i]),
    )
    const cotangents = c.cotangents.flatMap(t =>
      t ? [constant(t.shape, float, toArray(t, float).data)] : [],
    )
    return [...plain, ...back(cotangents)]
  }
}

/** The largest error relative to the largest magnitude, and the first element beyond the tolerance. */
function compare(name: string, got: NDArray, want: NDArray | CaseTensor, tolerance: number): Outcome {
  if (got.shape.join() !== want.shape.join())
    return {
      error: Number.POSITIVE_INFINITY,
      failure: `${name} has the shape [${got.shape}], expected [${want.shape}]`,
    }
  const scale = Math.max(...Array.from(want.data, v => (Number.isFinite(v) ? Math.abs(v) : 0)), 1e-30)
  let error = 0
  let failure: string | null = null
  for (let i = 0; i < size(got.shape); i++) {
    const [g, w] = [got.data[i], Number(want.data[i])]
    if (Object.is(g, w) || g === w) continue
    const e = Math.abs(g - w) / scale
    if (!(e <= error)) error = e
    if (!(e <= tolerance))
      failure ??= `${name}[${i}] is ${g}, expected ${w} (relative error ${e.toExponential(1)})`
  }
  return { error, failure }
}

/**
 * Runs a case. In f64 against the file's values; in f32 against the f64 reference on inputs rounded to f32.
 */
export async function runCase(
  c: Case,
  backend: Backend,
  reference: Backend,
  float: FloatDType,
): Promise<Outcome> {
  try {
    const inputs = c.inputs.map(t => toArray(t, float))
    const exe = await unwrap(compile(caseFunction(c, float), [inputs], backend))
    const got = await exe(inputs)
    const gradients = c.grads.flatMap((g, i) => (g ? [{ g, i }] : []))
    const exact = float === 'f32' ? await doubleOracle(c, inputs, reference) : null
    const want: readonly (NDArray | CaseTensor)[] = exact
      ? await exact(1)
      : [...c.outputs, ...gradients.map(x => x.g)]
    const names = [
      ...c.outputs.map((_, i) => `output ${i}`),
      ...gradients.map(x => `gradient of input ${x.i}`),
    ]
    if (got.length !== want.length)
      return { error: Number.POSITIVE_INFINITY, failure: `${got.length} results, expected ${want.length}` }
    const outcomes = want.map((w, i) =>
      compare(names[i], got[i], w, tolerances[float][i < c.outputs.length ? 'value' : 'gradient']),
    )
    const failed = outcomes.findIndex(o => o.failure !== null)
    const condition =
      exact && failed >= 0 ? `; condition number ${await conditionOf(exact, failed, want[failed])}` : ''
    return {
      error: Math.max(...outcomes.map(o => o.error)),
      failure: failed < 0 ? null : `${outcomes[failed].failure}${condition}`,
    }
  } catch (e) {
    return { error: Number.POSITIVE_INFINITY, failure: e instanceof Error ? e.message : String(e) }
  }
}
/**
 * The case on the reference in f64, on inputs rounded to f32 whose elements are multiplied by `factor` or divided by
 * it in turn.
 */
async function doubleOracle(
  c: Case,
  inputs: readonly NDArray[],
  reference: Backend,
): Promise<(factor: number) => Promise<readonly NDArray[]>> {
  const moved = (factor: number) =>
    inputs.map(x => {
      const values = Array.from(x.data, (v, i) => (i % 2 ? v / factor : v * factor))
      return isFloat(x.dtype) ? array(x.shape, 'f64', values) : x
    })
  const f = caseFunction({ ...c, cotangents: c.cotangents.map(rounding) }, 'f64')
  const exe = await unwrap(compile(f, [moved(1)], reference))
  return factor => exe(moved(factor))
}
/**
 * How much a relative change of the inputs is magnified in a result: what no arithmetic of that precision can avoid.
 * A lower bound, from one change of half an ULP of f32 in every element.
 */
async function conditionOf(
  exact: (factor: number) => Promise<readonly NDArray[]>,
  result: number,
  want: NDArray | CaseTensor,
): Promise<string> {
  const change = 2 ** -24
  const moved = (await exact(1 + change))[result]
  return `about ${(compare('', moved, want, Number.POSITIVE_INFINITY).error / change).toExponential(0)}`
}
const rounding = (t: CaseTensor | null): CaseTensor | null => t && { ...t, data: t.data.map(Math.fround) }

/** Runs the cases of a file one after another. */
export async function runCases(
  cases: readonly Case[],
  backend: Backend,
  reference: Backend,
  float: FloatDType,
): Promise<ReadonlyMap<Case, Outcome>> {
  const outcomes = new Map<Case, Outcome>()
  for (const c of cases) outcomes.set(c, await runCase(c, backend, reference, float))
  return outcomes
}

const byOperation = (outcomes: ReadonlyMap<Case, Outcome>): string => {
  const ops = [...new Set([...outcomes.keys()].map(c => c.op))].sort()
  const rows = ops.map(op => {
    const own = [...outcomes].filter(([c]) => c.op === op).map(([, o]) => o)
    const failed = own.filter(o => o.failure !== null).length
    return [
      op,
      String(own.length - failed),
      String(failed),
      Math.max(...own.map(o => o.error)).toExponential(1),
    ]
  })
  return table(['operation', 'passed', 'failed', 'largest error'], rows)
}

interface Options {
  readonly backend: 'reference' | 'cpu' | 'webgpu'
  readonly precision: FloatDType
  readonly only?: string
  readonly adapter?: string
}

async function main(files: readonly string[], options: Options): Promise<void> {
  const cases = files
    .flatMap(f => readCases(f))
    .filter(c => options.only === undefined || c.op === options.only)
  if (cases.length === 0)
    throw new UsageError(options.only ? `no case of the operation ${options.only}` : 'no cases')
  const backend = await unwrap(
    openBackend(options.backend, options.adapter ? { adapter: options.adapter } : {}),
  )
  const reference = await unwrap(openBackend('reference'))
  console.log(`backend ${backend.name}: ${backend.description}; precision ${options.precision}`)
  const outcomes = await runCases(cases, backend, reference, options.precision)
  console.log(byOperation(outcomes))
  const failed = [...outcomes].filter(([, o]) => o.failure !== null)
  for (const [c, o] of failed) console.log(`FAIL ${c.id}: ${o.failure}`)
  console.log(`${outcomes.size - failed.length} passed, ${failed.length} failed, of ${outcomes.size} cases`)
  backend.close()
  if (failed.length > 0) process.exitCode = 1
}

/** The command; `npm run conformance -- --help` shows it. */
export const conformanceCommand = (): Command =>
  new Command('conformance')
    .description('runs cases computed by another library, and prints passed and failed per operation')
    .argument('<file...>', 'conformance files')
    .addOption(
      new Option('--backend <name>', 'where to run')
        .choices(['reference', 'cpu', 'webgpu'])
        .default('reference'),
    )
    .addOption(
      new Option('--precision <dtype>', 'f64 against the file, f32 against the f64 reference')
        .choices(['f64', 'f32'])
        .default('f64'),
    )
    .option('--only <op>', 'one operation')
    .option('--adapter <name>', 'a part of the GPU adapter’s name')
    .action(main)

if (process.argv[1]?.endsWith('conformance.ts'))
  await conformanceCommand()
    .parseAsync()
    .catch((e: unknown) => {
      process.stderr.write(describeFailure(e, false))
      process.exitCode = exitCodeOf(e)
    })
