/**
 * Looks for the operation that made a NaN or an infinity. In: a function and its arguments; out: the operation, its
 * place in the function and its operands. Runs on the reference interpreter, which is slow and keeps every
 * intermediate: give it one small batch.
 */
import type { NDArray } from '../dsl/array.ts'
import { isFloat } from '../dsl/dtype.ts'
import { RunError } from '../dsl/errors.ts'
import type { Graph } from '../dsl/graph.ts'
import { range, type Shape, showType, size, strides } from '../dsl/shape.ts'
import { type Eqn, results, type Tensor } from '../dsl/tensor.ts'
import { isTensor, isType, trace } from '../dsl/trace.ts'
import { fillTree, leaves, type MapTree, mapTree } from '../dsl/tree.ts'
import type { Arrays } from './compile.ts'
import { interpret } from './cpu/reference.ts'
import { evaluate } from './cpu/reference-backend.ts'
import { inline } from './passes/inline.ts'

/** What an operation made its result from: the range of the elements that went into it, one of a map. */
export interface Operand {
  readonly type: string
  readonly least: number
  readonly greatest: number
}

/** The operation that made a NaN, or an infinity from finite operands. */
export interface NonFinite {
  /** The scalar operation of a map, the reduction of a reduce, else the primitive. */
  readonly op: string
  /** Its place in the function, as `scope` names it: 'head / crossEntropy'; empty outside every scope. */
  readonly scope: string
  /** Of the first such element of the result. */
  readonly index: Shape
  readonly operands: readonly Operand[]
  /** NaN, Infinity or -Infinity. */
  readonly value: number
  /** All this in words. */
  readonly message: string
}

/** A tree of tensors as a tree of host arrays or of tensors made from constants. */
type Values<T> = MapTree<T, Tensor, NDArray | Tensor>

/**
 * The first operation of a function that makes a NaN from operands without one, or an infinity from finite operands,
 * and whose value reaches a result. A NaN that a mask leaves out does not count.
 * @param args one tree of arrays, or of tensors made from constants, per argument
 * @returns null if the results are finite, or if what is not finite comes from an argument or a constant
 * @throws ShapeError, CompileError as tracing does
 * @example findNonFinite((x: Tensor) => log(x), [array([2], 'f32', [1, -1])])?.message
 */
export function findNonFinite<Args extends readonly unknown[]>(
  fn: (...args: Args) => unknown,
  args: { readonly [I in keyof Args]: Values<Args[I]> },
): NonFinite | null {
  return run(fn, args).found
}

/**
 * A function that runs on host arrays by the reference interpreter and stops at a NaN or an infinity.
 * @returns the results as arrays
 * @throws RunError with the operation, its place and its operands: see `findNonFinite`
 * @example nans(loss)(params, images)
 */
export const nans =
  <Args extends readonly unknown[], R>(fn: (...args: Args) => R) =>
  (...args: { readonly [I in keyof Args]: Values<Args[I]> }): Arrays<R> => {
    const { found, result } = run(fn, args)
    if (found) throw new RunError(found.message)
    return result as Arrays<R>
  }

function run(fn: (...args: never[]) => unknown, args: readonly unknown[]) {
  const arrays = args.map(tree => mapTree(tree, isTensor, t => evaluate(t)))
  const { graph, result } = trace(fn, arrays)
  const flat = inline(graph)
  const inputs = arrays.flatMap(tree => leaves(tree, isType).map(l => l.leaf as NDArray))
  const all = flat.eqns.flatMap(results)
  const values = new Map<Eqn, readonly NDArray[]>()
  flat.inputs.forEach((t, i) => {
    values.set(t.eqn, [inputs[i]])
  })
  const computed = interpret({ ...flat, outputs: all }, inputs)
  all.forEach((t, i) => {
    values.set(t.eqn, [...(values.get(t.eqn) ?? []), computed[i]])
  })
  const get = (t: Tensor): NDArray => (values.get(t.eqn) as readonly NDArray[])[t.output]
  return { found: search(flat, get), result: fillTree(result, isTensor, flat.outputs.map(get)) }
}

/** Backwards from the results along values that are not finite; of the makers on the way the first. */
function search(g: Graph, get: (t: Tensor) => NDArray): NonFinite | null {
  const seen = new Set<Eqn>()
  const stack = g.outputs.filter(t => !allFinite(get(t)))
  for (let t = stack.pop(); t !== undefined; t = stack.pop()) {
    if (seen.has(t.eqn)) continue
    seen.add(t.eqn)
    stack.push(...t.eqn.inputs.filter(x => !allFinite(get(x))))
  }
  for (const e of g.eqns)
    if (seen.has(e)) {
      const found = maker(e, results(e).map(get), e.inputs.map(get))
      if (found) return found
    }
  return null
}
const allFinite = (x: NDArray): boolean => !isFloat(x.dtype) || x.data.every(Number.isFinite)

/** The first element that the equation made not finite. What it only moved, or was given, does not count. */
function maker(e: Eqn, outputs: readonly NDArray[], inputs: readonly NDArray[]): NonFinite | null {
  if (e.op === 'const' || e.op === 'pad') return null
  // the elements of a map and of a reduce are known; else any element of an operand may matter
  const whole = e.op === 'map' || e.op === 'reduce' ? null : inputs.map(x => Array.from(x.data))
  for (const y of outputs)
    for (let k = 0; isFloat(y.dtype) && k < y.data.length; k++) {
      const value = y.data[k]
      if (Number.isFinite(value)) continue
      const from = whole ?? inputs.map(x => elementsFor(e, x, y, k))
      const made = Number.isNaN(value)
        ? !from.some(v => v.some(Number.isNaN))
        : from.every(v => v.every(Number.isFinite))
      if (made) return describe(e, y, k, inputs, from)
    }
  return null
}

/** The elements of the operand of a map or a reduce that an element of the result depends on. */
function elementsFor(e: Eqn, x: NDArray, y: NDArray, k: number): readonly number[] {
  if (e.op !== 'reduce') return [x.data[k]]
  const { axes } = e.params
  const by = strides(x.shape)
  const kept = range(x.shape.length).filter(a => !axes.includes(a))
  const base = indexOf(y.shape, k).reduce((n, v, i) => n + v * by[kept[i]], 0)
  const inner = axes.map(a => x.shape[a])
  return range(size(inner)).map(j => x.data[indexOf(inner, j).reduce((n, v, i) => n + v * by[axes[i]], base)])
}
const indexOf = (shape: Shape, flat: number): number[] =>
  strides(shape).map((by, a) => Math.floor(flat / by) % shape[a])

function describe(
  e: Eqn,
  y: NDArray,
  k: number,
  inputs: readonly NDArray[],
  from: readonly (readonly number[])[],
): NonFinite {
  const op = e.op === 'map' ? e.params.fn : e.op === 'reduce' ? e.params.how : e.op
  const index = indexOf(y.shape, k)
  const value = y.data[k]
  const operands = inputs.map((x, i) => ({
    type: showType(x),
    least: from[i].reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY),
    greatest: from[i].reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY),
  }))
  const show = (o: Operand): string =>
    o.least === o.greatest ? String(o.least) : `from ${o.least} to ${o.greatest}`
  const message = [
    `${op} makes ${Number.isNaN(value) ? 'NaN' : value} at [${index.join(', ')}] of ${showType(y)}`,
    ...operands.map(o => `  operand  ${show(o)}  (${o.type})`),
    ...(e.scope ? [`  in ${e.scope}`] : []),
  ].join('\n')
  return { op, scope: e.scope, index, operands, value, message }
}
