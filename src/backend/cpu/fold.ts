/**
 * Accumulators as WebAssembly: registers that start from the identity, take values over the reduce loops and are
 * combined at the end, always in the same order.
 */
import type { DType } from '../../dsl/dtype.ts'
import { identity } from '../interpret.ts'
import type { Accumulator } from '../kernel.ts'
import { type Emitter, newLocal } from './emit.ts'
import { LANES } from './nest.ts'
import { putFloats, putInts, putLane, registerOf } from './ops.ts'
import { type Code, put } from './wasm.ts'

/** The registers of one accumulator at one tile position. */
export interface Fold {
  readonly accumulator: Accumulator
  readonly vector: boolean
  readonly best: number
  /** Arg reductions: where the best was. */
  readonly position: number | null
  /** Blocked sums: what finished blocks gave. */
  readonly total: number | null
}

export const isArg = (a: Accumulator): boolean => a.how === 'argmax' || a.how === 'argmin'
const shape = (f: Fold) => (f.accumulator.dtype === 'f32' ? 'f32x4' : 'i32x4')

/** New registers, set to the identity by `code`. */
export function startFold(
  e: Emitter,
  code: Code,
  accumulator: Accumulator,
  vector: boolean,
  blocked: boolean,
): Fold {
  const type = vector ? 'v128' : registerOf(accumulator.dtype)
  const sums = blocked && accumulator.how === 'sum' && accumulator.dtype === 'f32'
  const fold: Fold = {
    accumulator,
    vector,
    best: newLocal(e, type),
    position: isArg(accumulator) ? newLocal(e, vector ? 'v128' : 'i32') : null,
    total: sums ? newLocal(e, type) : null,
  }
  setIdentity(code, fold, fold.best)
  if (fold.total !== null) setIdentity(code, fold, fold.total)
  if (fold.position !== null) {
    if (vector) putInts(code, [0, 0, 0, 0])
    else put(code, 'i32.const', 0)
    put(code, 'local.set', fold.position)
  }
  return fold
}

function putIdentity(code: Code, f: Fold) {
  const { how, dtype } = f.accumulator
  const x = identity(how, dtype)
  if (!f.vector) put(code, `${registerOf(dtype)}.const`, x)
  else if (dtype === 'f32') putFloats(code, x)
  else putInts(code, new Array<number>(LANES).fill(dtype === 'bool' ? -x : x))
}
function setIdentity(code: Code, f: Fold, local: number) {
  putIdentity(code, f)
  put(code, 'local.set', local)
}

/** What combines two values on the stack, or null for integers without such an instruction. */
function combiner(f: Fold): string | null {
  const { how, dtype } = f.accumulator
  if (dtype === 'bool') return `${f.vector ? 'v128' : 'i32'}.${how === 'max' || how === 'sum' ? 'or' : 'and'}`
  const prefix = f.vector ? shape(f) : registerOf(dtype)
  if (how === 'sum') return `${prefix}.add`
  if (how === 'prod') return `${prefix}.mul`
  if (prefix === 'i32') return null
  return `${prefix}.${how}${prefix === 'i32x4' ? (dtype === 'u32' ? '_u' : '_s') : ''}`
}

/** Pushes whether x is a better extremum than y. */
function putBetter(code: Code, f: Fold, x: number, y: number) {
  const { how, dtype } = f.accumulator
  const greater = how === 'argmax' || how === 'max'
  const float = dtype === 'f32' || dtype === 'f64'
  const prefix = f.vector ? shape(f) : registerOf(dtype)
  // true is -1 in a mask
  const reversed = f.vector && dtype === 'bool'
  put(code, 'local.get', x)
  put(code, 'local.get', y)
  put(code, `${prefix}.${greater !== reversed ? 'gt' : 'lt'}${float ? '' : dtype === 'u32' ? '_u' : '_s'}`)
  if (!float) return
  putNaN(code, prefix, x)
  put(code, 'local.get', y)
  put(code, 'local.get', y)
  put(code, `${prefix}.eq`)
  put(code, f.vector ? 'v128.and' : 'i32.and')
  put(code, f.vector ? 'v128.or' : 'i32.or')
}
function putNaN(code: Code, prefix: string, x: number) {
  put(code, 'local.get', x)
  put(code, 'local.get', x)
  put(code, `${prefix}.ne`)
}

/** Chooses by the condition on the stack: target = condition ? x : target. */
function putChoice(e: Emitter, code: Code, f: Fold, pairs: readonly (readonly [number, number])[]) {
  const condition = newLocal(e, f.vector ? 'v128' : 'i32')
  put(code, 'local.set', condition)
  for (const [target, x] of pairs) {
    put(code, 'local.get', x)
    put(code, 'local.get', target)
    put(code, 'local.get', condition)
    put(code, f.vector ? 'v128.bitselect' : 'select')
    put(code, 'local.set', target)
  }
}

/**
 * Takes one value.
 * @param position  the local of its position, for arg reductions
 * @param skip      the first lanes that do not count
 */
export function putUpdate(
  e: Emitter,
  code: Code,
  f: Fold,
  value: number,
  position: number | null,
  skip: number,
) {
  const counted = () =>
    putInts(
      code,
      [0, 1, 2, 3].map(i => (i < skip ? 0 : -1)),
    )
  if (f.position !== null && position !== null) {
    putBetter(code, f, value, f.best)
    if (skip > 0) {
      counted()
      put(code, 'v128.and')
    }
    return putChoice(e, code, f, [
      [f.best, value],
      [f.position, position],
    ])
  }
  const name = combiner(f)
  if (name === null) {
    putBetter(code, f, value, f.best)
    return putChoice(e, code, f, [[f.best, value]])
  }
  put(code, 'local.get', f.best)
  put(code, 'local.get', value)
  if (skip > 0) {
    putIdentity(code, f)
    counted()
    put(code, 'v128.bitselect')
  }
  put(code, name)
  put(code, 'local.set', f.best)
}

/** Puts a finished block of a sum aside. */
export function putFlush(code: Code, f: Fold) {
  if (f.total === null) return
  put(code, 'local.get', f.total)
  put(code, 'local.get', f.best)
  put(code, `${f.vector ? 'f32x4' : 'f32'}.add`)
  put(code, 'local.set', f.total)
  setIdentity(code, f, f.best)
}

/** into = into and from; at equal extrema the smaller position. */
function putMerge(e: Emitter, code: Code, into: Fold, from: Fold) {
  if (into.position === null || from.position === null) return putUpdate(e, code, into, from.best, null, 0)
  const prefix = into.vector ? shape(into) : registerOf(into.accumulator.dtype)
  const logic = into.vector ? 'v128' : 'i32'
  putBetter(code, into, from.best, into.best)
  put(code, 'local.get', from.best)
  put(code, 'local.get', into.best)
  put(code, `${prefix}.eq`)
  const { dtype } = into.accumulator
  if (dtype === 'f32' || dtype === 'f64') {
    putNaN(code, prefix, from.best)
    putNaN(code, prefix, into.best)
    put(code, `${logic}.and`)
    put(code, `${logic}.or`)
  }
  put(code, 'local.get', from.position)
  put(code, 'local.get', into.position)
  put(code, into.vector ? 'i32x4.lt_s' : 'i32.lt_s')
  put(code, `${logic}.and`)
  put(code, `${logic}.or`)
  putChoice(e, code, into, [
    [into.best, from.best],
    [into.position, from.position],
  ])
}

/**
 * Combines the registers of one accumulator (several where the reduce axis has tiles), and their lanes where
 * the lanes run over a reduce axis. Gives the local of the result.
 */
export function putFinish(e: Emitter, code: Code, folds: readonly Fold[], combineLanes: boolean): number {
  for (const f of folds) {
    if (f.total === null) continue
    put(code, 'local.get', f.total)
    put(code, 'local.set', f.best)
  }
  for (let gap = 1; gap < folds.length; gap *= 2)
    for (let i = 0; i + gap < folds.length; i += 2 * gap) putMerge(e, code, folds[i], folds[i + gap])
  const first = folds[0]
  if (!combineLanes) return first.position ?? first.best
  const lanes = [0, 1, 2, 3].map(i => laneOf(e, code, first, i))
  putMerge(e, code, lanes[0], lanes[1])
  putMerge(e, code, lanes[2], lanes[3])
  putMerge(e, code, lanes[0], lanes[2])
  return lanes[0].position ?? lanes[0].best
}

function laneOf(e: Emitter, code: Code, f: Fold, lane: number): Fold {
  const take = (local: number, dtype: DType) => {
    const out = newLocal(e, registerOf(dtype))
    putLane(code, dtype, local, lane)
    put(code, 'local.set', out)
    return out
  }
  return {
    accumulator: f.accumulator,
    vector: false,
    best: take(f.best, f.accumulator.dtype),
    position: f.position === null ? null : take(f.position, 'i32'),
    total: null,
  }
}
