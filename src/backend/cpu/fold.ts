/**
 * Accumulators as WebAssembly: registers that start from the identity, take values over the reduce loops and are
 * combined at the end, always in the same order.
 */
import type { DType } from '../../dsl/dtype.ts'
import { identity } from '../interpret.ts'
import type { Accumulator } from '../kernel.ts'
import { type Emitter, newLocal } from './emit.ts'
import { laneBytes, lanesOf, putConstant, putInts, putLane, putMaskAs, shapeOf } from './lanes.ts'
import type { Width } from './nest.ts'
import { registerOf } from './ops.ts'
import { type Code, put } from './wasm.ts'

/** The registers of one accumulator at one tile position. */
export interface Fold {
  readonly accumulator: Accumulator
  /** Lanes of the registers, or null for single elements. */
  readonly width: Width | null
  readonly best: number
  /** Arg reductions: where the best was. */
  readonly position: number | null
  /** Blocked sums: what finished blocks gave. */
  readonly total: number | null
}

export const isArg = (a: Accumulator): boolean => a.how === 'argmax' || a.how === 'argmin'
const prefixOf = ({ width, accumulator: { dtype } }: Fold) => (width === null ? registerOf : shapeOf)(dtype)

/** New registers, set to the identity by `code`. */
export function startFold(
  e: Emitter,
  code: Code,
  accumulator: Accumulator,
  width: Width | null,
  blocked: boolean,
): Fold {
  const type = width === null ? registerOf(accumulator.dtype) : 'v128'
  const sums = blocked && accumulator.how === 'sum' && accumulator.dtype === 'f32'
  const fold: Fold = {
    accumulator,
    width,
    best: newLocal(e, type),
    position: isArg(accumulator) ? newLocal(e, width === null ? 'i32' : 'v128') : null,
    total: sums ? newLocal(e, type) : null,
  }
  setIdentity(code, fold, fold.best)
  if (fold.total !== null) setIdentity(code, fold, fold.total)
  if (fold.position !== null) {
    if (width === null) put(code, 'i32.const', 0)
    else putInts(code, [0, 0, 0, 0])
    put(code, 'local.set', fold.position)
  }
  return fold
}

function putIdentity(code: Code, f: Fold) {
  const { how, dtype } = f.accumulator
  const x = identity(how, dtype)
  if (f.width === null) put(code, `${registerOf(dtype)}.const`, x)
  else putConstant(code, dtype, x)
}
function setIdentity(code: Code, f: Fold, local: number) {
  putIdentity(code, f)
  put(code, 'local.set', local)
}

/** The type whose and and or combine conditions. */
const logicOf = (f: Fold) => (f.width === null ? 'i32' : 'v128')

/** What combines two values on the stack, or null for integers without such an instruction. */
function combiner(f: Fold): string | null {
  const { how, dtype } = f.accumulator
  if (dtype === 'bool') return `${logicOf(f)}.${how === 'max' || how === 'sum' ? 'or' : 'and'}`
  const prefix = prefixOf(f)
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
  const prefix = prefixOf(f)
  // true is -1 in a mask
  const reversed = f.width !== null && dtype === 'bool'
  put(code, 'local.get', x)
  put(code, 'local.get', y)
  put(code, `${prefix}.${greater !== reversed ? 'gt' : 'lt'}${float ? '' : dtype === 'u32' ? '_u' : '_s'}`)
  if (!float) return
  putNaN(code, prefix, x)
  put(code, 'local.get', y)
  put(code, 'local.get', y)
  put(code, `${prefix}.eq`)
  put(code, `${logicOf(f)}.and`)
  put(code, `${logicOf(f)}.or`)
}
function putNaN(code: Code, prefix: string, x: number) {
  put(code, 'local.get', x)
  put(code, 'local.get', x)
  put(code, `${prefix}.ne`)
}

/** Bytes of a mask over accumulated values; a single element's condition is an i32. */
const maskBytes = (f: Fold) => (f.width === null ? 4 : laneBytes(f.accumulator.dtype, f.width))

/** Takes another value, and its position if any, where the condition on the stack holds. */
function putChoice(e: Emitter, code: Code, f: Fold, value: number, position: number | null) {
  const condition = newLocal(e, logicOf(f))
  put(code, 'local.set', condition)
  const choose = (target: number, x: number, bytes: 4 | 8) => {
    put(code, 'local.get', x)
    put(code, 'local.get', target)
    put(code, 'local.get', condition)
    putMaskAs(code, maskBytes(f), bytes)
    put(code, f.width === null ? 'select' : 'v128.bitselect')
    put(code, 'local.set', target)
  }
  choose(f.best, value, maskBytes(f))
  if (f.position !== null && position !== null) choose(f.position, position, 4)
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
  const words = (skip * maskBytes(f)) / 4
  const counted = () =>
    putInts(
      code,
      [0, 1, 2, 3].map(word => (word < words ? 0 : -1)),
    )
  if (f.position !== null && position !== null) {
    putBetter(code, f, value, f.best)
    if (skip > 0) {
      counted()
      put(code, 'v128.and')
    }
    return putChoice(e, code, f, value, position)
  }
  const name = combiner(f)
  if (name === null) {
    putBetter(code, f, value, f.best)
    return putChoice(e, code, f, value, null)
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
  put(code, `${prefixOf(f)}.add`)
  put(code, 'local.set', f.total)
  setIdentity(code, f, f.best)
}

/** into = into and from; at equal extrema the smaller position. */
function putMerge(e: Emitter, code: Code, into: Fold, from: Fold) {
  if (into.position === null || from.position === null) return putUpdate(e, code, into, from.best, null, 0)
  const prefix = prefixOf(into)
  const logic = logicOf(into)
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
  put(code, into.width === null ? 'i32.lt_s' : 'i32x4.lt_s')
  putMaskAs(code, 4, maskBytes(into))
  put(code, `${logic}.and`)
  put(code, `${logic}.or`)
  putChoice(e, code, into, from.best, from.position)
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
  const merged = putTree(e, code, folds)
  const { width } = merged
  if (!combineLanes || width === null) return merged.position ?? merged.best
  const lanes = lanesOf(width).map(lane => laneOf(e, code, merged, lane, width))
  const { position, best } = putTree(e, code, lanes)
  return position ?? best
}

/** Merges neighbours, then pairs of them, into the first. */
function putTree(e: Emitter, code: Code, folds: readonly Fold[]): Fold {
  for (let gap = 1; gap < folds.length; gap *= 2)
    for (let i = 0; i + gap < folds.length; i += 2 * gap) putMerge(e, code, folds[i], folds[i + gap])
  return folds[0]
}

function laneOf(e: Emitter, code: Code, f: Fold, lane: number, width: Width): Fold {
  const take = (local: number, dtype: DType) => {
    const out = newLocal(e, registerOf(dtype))
    putLane(code, dtype, local, lane, width)
    put(code, 'local.set', out)
    return out
  }
  return {
    accumulator: f.accumulator,
    width: null,
    best: take(f.best, f.accumulator.dtype),
    position: f.position === null ? null : take(f.position, 'i32'),
    total: null,
  }
}
