/**
 * The instructions of a kernel as WebAssembly. Values are pulled: asking for one computes what it needs, each in
 * the outermost loop where it is fixed, once per tile position that it depends on. A value that depends on the
 * vector axis is four lanes, any other one element.
 */
import type { DType } from '../../dsl/dtype.ts'
import { axesOfGuard, dependencies } from '../depend.ts'
import { type Instr, instructions, type Kernel } from '../kernel.ts'
import { append, type Emitter, memo, newLocal } from './emit.ts'
import {
  address,
  type IndexContext,
  index,
  indexVector,
  insideElement,
  insideVector,
  laneStride,
  type Place,
  type Shift,
} from './indices.ts'
import { LANES } from './nest.ts'
import {
  type Operation,
  putFloats,
  putInts,
  putLane,
  putScalar,
  putSplat,
  putVector,
  registerOf,
} from './ops.ts'
import { type Choice, type Condition, choiceOf } from './select.ts'
import { type Code, put, type ValueType } from './wasm.ts'

type Load = Extract<Instr, { k: 'load' }>

/** A load of four lanes that is read from a packed copy. */
export interface Packed {
  /** The address of the lanes at a tile position. */
  locate(at: Shift): { readonly local: number; readonly offset: number }
}

/** The pulled values of one kernel. */
export interface Values extends IndexContext {
  readonly kernel: Kernel
  /** Whether an instruction's value is four lanes. */
  isVector(id: number): boolean
  /** The local of a value. */
  value(id: number, at: Shift): number
  /** The local of a value as four lanes. */
  lanes(id: number, at: Shift): number
  /** Results of accumulators, filled in after the reduce loops: by accumulator and parallel position. */
  readonly results: Map<string, number>
  readonly packed: Map<number, Packed>
}

export const load = (dtype: DType): string => `${registerOf(dtype)}.load`
export const bytesOf = (dtype: DType): number => (dtype === 'f64' ? 8 : 4)
export const align = (dtype: DType): number => (dtype === 'f64' ? 3 : 2)
export const vectorShape = (dtype: DType): 'f32x4' | 'i32x4' => (dtype === 'f32' ? 'f32x4' : 'i32x4')

/** The pulling functions over an emitter; `vector` is the axis of the lanes, `tiled` the axes with tiles. */
export function makeValues(kernel: Kernel, emitter: Emitter, vector: number | null, tiled: number): Values {
  const all = instructions(kernel)
  const masks = dependencies(kernel)
  const places: Place[] = kernel.axes.map(() => ({ local: null, base: 0, level: 0 }))
  const after: Place = { local: null, base: 0, level: 0 }
  places[30] = after
  const c: Values = {
    kernel,
    emitter,
    places,
    vector,
    results: new Map(),
    packed: new Map(),
    levelOf(mask) {
      let level = 0
      for (let rest = mask; rest !== 0; rest &= rest - 1)
        level = Math.max(level, places[31 - Math.clz32(rest & -rest)].level)
      return level
    },
    dependsOn: id => masks[id],
    shiftKey: (mask, at) => {
      let key = ''
      for (let rest = mask & tiled; rest !== 0; rest &= rest - 1)
        key += `,${at[31 - Math.clz32(rest & -rest)]}`
      return key
    },
    isVector: id => vector !== null && (masks[id] & (1 << vector)) !== 0,
    element(id, at, lane) {
      const whole = c.value(id, at)
      if (!c.isVector(id)) return whole
      return memo(emitter, c.levelOf(masks[id]), `${whole}[${lane}]`, registerOf(all[id].dtype), code =>
        putLane(code, all[id].dtype, whole, lane),
      )
    },
    value(id, at) {
      const x = all[id]
      if (x.k === 'acc') return accumulated(c, x.accumulator, at)
      const level = c.levelOf(masks[id])
      const key = `v${id}${c.shiftKey(masks[id], at)}`
      const known = emitter.scopes[level].known.get(key)
      if (known !== undefined) return known
      const type: ValueType = c.isVector(id) ? 'v128' : registerOf(x.dtype)
      const code: Code = []
      const packed = c.packed.get(id)
      if (packed) {
        const a = packed.locate(at)
        put(code, 'local.get', a.local)
        put(code, 'v128.load', 4, a.offset)
      } else putValue(c, code, id, all, at, c.isVector(id))
      return memo(emitter, level, key, type, to => append(to, code))
    },
    lanes(id, at) {
      if (c.isVector(id)) return c.value(id, at)
      const x = all[id]
      const key = `s${id}${c.shiftKey(masks[id], at)}`
      const level = c.levelOf(masks[id])
      if (x.k === 'lit')
        return memo(emitter, 0, key, 'v128', code => {
          if (x.dtype === 'f32') putFloats(code, x.value)
          else putInts(code, new Array<number>(LANES).fill(x.dtype === 'bool' ? -x.value : x.value))
        })
      if (x.k === 'load' && x.guard.length === 0 && x.dtype !== 'bool') {
        const known = emitter.scopes[level].known.get(key)
        if (known !== undefined) return known
        const a = addressOf(c, x, at, 0)
        return memo(emitter, level, key, 'v128', code => {
          put(code, 'local.get', a.local)
          put(code, 'v128.load32_splat', 2, a.offset)
        })
      }
      const one = c.value(id, at)
      return memo(emitter, level, key, 'v128', code => putSplat(code, x.dtype, one))
    },
  }
  return c
}

function accumulated(c: Values, accumulator: number, at: Shift): number {
  const found = c.results.get(`${accumulator}:${at.join()}`)
  if (found === undefined)
    throw new Error(`cpu: accumulator ${accumulator} of ${c.kernel.name} is not finished`)
  return found
}

/** Pushes the value of an instruction. Operands are pulled first, so that nothing stands half on the stack. */
function putValue(c: Values, code: Code, id: number, all: readonly Instr[], at: Shift, vector: boolean) {
  const x = all[id]
  switch (x.k) {
    case 'lit':
      return put(code, `${registerOf(x.dtype)}.const`, x.value)
    case 'index':
      return put(code, 'local.get', vector ? indexVector(c, x.index, at) : index(c, x.index, at, 0))
    case 'inside':
      if (x.guard.length === 0) return put(code, 'i32.const', 1)
      return put(code, 'local.get', vector ? insideVector(c, x.guard, at) : insideElement(c, x.guard, at, 0))
    case 'load':
      return vector ? putVectorLoad(c, code, x, at) : putLoad(c, code, x, at, 0)
    case 'scalar': {
      const dtypes = x.args.map(a => all[a].dtype)
      const o: Operation = { fn: x.fn, from: dtypes[dtypes.length - 1], to: x.dtype }
      if (!vector) {
        putScalar(
          code,
          o,
          x.args.map(a => c.value(a, at)),
        )
        return
      }
      if (x.fn === 'select' && x.dtype === 'f32') return putChoice(c, code, choiceOf(x, all), at)
      const shift =
        (x.fn === 'shl' || x.fn === 'shr') && !c.isVector(x.args[1]) ? c.value(x.args[1], at) : null
      const operands = shift === null ? x.args : [x.args[0]]
      const locals = operands.map(a => c.lanes(a, at))
      return putVector(code, o, locals, dtypes, t => newLocal(c.emitter, t), shift)
    }
    case 'acc':
      throw new Error('cpu: an accumulator is no value of its own')
  }
}

/** A select of f32 lanes. */
function putChoice(c: Values, code: Code, choice: Choice, at: Shift) {
  const get = (id: number) => put(code, 'local.get', c.lanes(id, at))
  // operands are pulled before anything is pushed
  const pull = (...ids: number[]) => ids.forEach(id => void c.lanes(id, at))
  const test = (of: Condition) => {
    if (typeof of === 'number') return get(of)
    get(of.le[0])
    get(of.le[1])
    put(code, 'f32x4.le')
  }
  const idsOf = (of: Condition) => (typeof of === 'number' ? [of] : of.le)
  switch (choice.how) {
    case 'orNaN':
      pull(choice.x, choice.y)
      get(choice.y)
      get(choice.x)
      get(choice.x)
      put(code, 'f32x4.ne')
      return put(code, 'v128.or')
    case 'pmax':
    case 'pmin':
      pull(choice.p, choice.q)
      get(choice.p)
      get(choice.q)
      return put(code, `f32x4.${choice.how}`)
    case 'mask':
      pull(choice.value, ...idsOf(choice.condition))
      get(choice.value)
      test(choice.condition)
      return put(code, choice.where ? 'v128.and' : 'v128.andnot')
    case 'flip':
      pull(choice.value, ...idsOf(choice.condition))
      get(choice.value)
      putFloats(code, -0)
      test(choice.condition)
      put(code, choice.where ? 'v128.and' : 'v128.andnot')
      return put(code, 'v128.xor')
    case 'blend':
      pull(choice.a, choice.b, ...idsOf(choice.condition))
      get(choice.a)
      get(choice.b)
      test(choice.condition)
      return put(code, 'v128.bitselect')
  }
}

const addressOf = (c: Values, x: Load, at: Shift, lane: number) =>
  address(c, x.index, at, lane, bytesOf(x.dtype), x.buffer)

/** One element; behind a guard the address is the buffer's first element and the value 0. */
function putLoad(c: Values, code: Code, x: Load, at: Shift, lane: number) {
  const guard = x.guard.length > 0 ? insideElement(c, x.guard, at, lane) : null
  const a = addressOf(c, x, at, lane)
  if (guard === null) {
    put(code, 'local.get', a.local)
    return put(code, load(x.dtype), align(x.dtype), a.offset)
  }
  putGuarded(code, a, x.buffer, guard)
  put(code, load(x.dtype), align(x.dtype), 0)
  put(code, `${registerOf(x.dtype)}.const`, 0)
  put(code, 'local.get', guard)
  put(code, 'select')
}

/** Pushes guard ? address : base. */
function putGuarded(code: Code, a: { local: number; offset: number }, base: number, guard: number) {
  put(code, 'local.get', a.local)
  if (a.offset !== 0) {
    put(code, 'i32.const', a.offset)
    put(code, 'i32.add')
  }
  put(code, 'local.get', base)
  put(code, 'local.get', guard)
  put(code, 'select')
}

/**
 * Four lanes: neighbours by one load, any others one by one. Behind a guard that differs between neighbours the
 * load happens if any lane is inside; what the others read lies within 12 bytes of it and is masked.
 */
function putVectorLoad(c: Values, code: Code, x: Load, at: Shift) {
  const stride = laneStride(c, x.index)
  const guardMask = axesOfGuard(x.guard, c.dependsOn)
  const lanesDiffer = c.vector !== null && (guardMask & (1 << c.vector)) !== 0
  const mask = x.guard.length > 0 && lanesDiffer ? insideVector(c, x.guard, at) : null
  if (stride === 0) {
    const a = addressOf(c, x, at, 0)
    if (mask === null) throw new Error('cpu: a load without lanes')
    putAny(c, code, a, x.buffer, mask)
    put(code, 'v128.load32_splat', 2, 0)
  } else if (stride === 1 || stride === -1) {
    const a = addressOf(c, x, at, stride === 1 ? 0 : LANES - 1)
    const uniform = x.guard.length > 0 && mask === null ? insideElement(c, x.guard, at, 0) : null
    if (mask !== null) putAny(c, code, a, x.buffer, mask)
    else if (uniform !== null) putGuarded(code, a, x.buffer, uniform)
    else put(code, 'local.get', a.local)
    put(code, 'v128.load', 2, mask === null && uniform === null ? a.offset : 0)
    if (stride === -1) {
      const kept = newLocal(c.emitter, 'v128')
      put(code, 'local.tee', kept)
      put(code, 'local.get', kept)
      put(code, 'i8x16.shuffle', 12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3)
    }
    if (uniform !== null) {
      putSplat(code, 'bool', uniform)
      put(code, 'v128.and')
    }
  } else putGather(c, code, x, at)
  if (mask !== null) {
    put(code, 'local.get', mask)
    put(code, 'v128.and')
  }
  if (x.dtype === 'bool') put(code, 'i32x4.neg')
}

/** Pushes the address if any lane is inside, else the buffer's. */
function putAny(c: Values, code: Code, a: { local: number; offset: number }, base: number, mask: number) {
  const any = newLocal(c.emitter, 'i32')
  put(code, 'local.get', mask)
  put(code, 'v128.any_true')
  put(code, 'local.set', any)
  putGuarded(code, a, base, any)
}

function putGather(c: Values, code: Code, x: Load, at: Shift) {
  const lanes = [0, 1, 2, 3].map(lane => ({
    a: addressOf(c, x, at, lane),
    guard: x.guard.length > 0 ? insideElement(c, x.guard, at, lane) : null,
  }))
  const uniformGuard = x.guard.length > 0
  const first = lanes[0]
  const address = (l: (typeof lanes)[number]) => {
    if (l.guard !== null) putGuarded(code, l.a, x.buffer, l.guard)
    else put(code, 'local.get', l.a.local)
  }
  address(first)
  put(code, 'v128.load32_splat', 2, uniformGuard ? 0 : first.a.offset)
  const vector = newLocal(c.emitter, 'v128')
  put(code, 'local.set', vector)
  for (let lane = 1; lane < LANES; lane++) {
    address(lanes[lane])
    put(code, 'local.get', vector)
    put(code, 'v128.load32_lane', 2, uniformGuard ? 0 : lanes[lane].a.offset, lane)
    put(code, 'local.set', vector)
  }
  put(code, 'local.get', vector)
  // a guard that all lanes share has no mask of its own
  if (uniformGuard && !lanesDiffer(c, x)) {
    const guard = first.guard
    if (guard !== null) putSplat(code, 'bool', guard)
    put(code, 'v128.and')
  }
}
const lanesDiffer = (c: Values, x: Load) =>
  c.vector !== null && (axesOfGuard(x.guard, c.dependsOn) & (1 << c.vector)) !== 0
