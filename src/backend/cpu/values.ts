/**
 * The instructions of a kernel as WebAssembly. Values are pulled: asking for one computes what it needs, each in
 * the outermost loop where it is fixed, once per tile position that it depends on. A value that depends on the
 * vector axis is all lanes of a vector, any other one element.
 */
import { type DType, isFloat } from '../../dsl/dtype.ts'
import { axesOfGuard, dependencies } from '../depend.ts'
import { type Instr, instructions, type Kernel, type Load } from '../kernel.ts'
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
import {
  laneBytes,
  lanesOf,
  putBoolsOfWords,
  putConstant,
  putLane,
  putMaskAs,
  putSplat,
  putVector,
  shapeOf,
} from './lanes.ts'
import type { Nest } from './nest.ts'
import { type Operation, putScalar, registerOf } from './ops.ts'
import { type Choice, type Condition, choiceOf } from './select.ts'
import { type Code, put, type ValueType } from './wasm.ts'

/** A load that is read from a packed copy. */
export interface Packed {
  /** The address of the lanes (or the element) at a tile position. */
  locate(at: Shift): { readonly local: number; readonly offset: number }
}

/** The pulled values of one kernel. */
export interface Values extends IndexContext {
  readonly kernel: Kernel
  /** Whether an instruction's value is a vector. */
  isVector(id: number): boolean
  /** The local of a value. */
  value(id: number, at: Shift): number
  /** The local of a value as a vector. */
  lanes(id: number, at: Shift): number
  /** Results of accumulators, filled in after the reduce loops: by accumulator and parallel position. */
  readonly results: Map<string, number>
  readonly packed: Map<number, Packed>
}

export const load = (dtype: DType): string => `${registerOf(dtype)}.load`
export const bytesOf = (dtype: DType): 4 | 8 => (dtype === 'f64' ? 8 : 4)
/** The instructions that load one element into a vector. */
const wordOf = (dtype: DType) => `v128.load${8 * bytesOf(dtype)}`
export const align = (dtype: DType): number => (dtype === 'f64' ? 3 : 2)

/** The pulling functions over an emitter; `tiled` are the axes with tiles. */
export function makeValues(
  kernel: Kernel,
  emitter: Emitter,
  { vector, width }: Pick<Nest, 'vector' | 'width'>,
  tiled: number,
): Values {
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
    width,
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
        putLane(code, all[id].dtype, whole, lane, width),
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
        if (c.isVector(id)) put(code, 'v128.load', 4, a.offset)
        else put(code, load(x.dtype), align(x.dtype), a.offset)
      } else putValue(c, code, id, all, at, c.isVector(id))
      return memo(emitter, level, key, type, to => append(to, code))
    },
    lanes(id, at) {
      if (c.isVector(id)) return c.value(id, at)
      const x = all[id]
      const key = `s${id}${c.shiftKey(masks[id], at)}`
      const level = c.levelOf(masks[id])
      if (x.k === 'lit') return memo(emitter, 0, key, 'v128', code => putConstant(code, x.dtype, x.value))
      const packed = c.packed.get(id)
      if (x.k === 'load' && (packed || x.guard.length === 0) && x.dtype !== 'bool') {
        const known = emitter.scopes[level].known.get(key)
        if (known !== undefined) return known
        const a = packed ? packed.locate(at) : addressOf(c, x, at, 0)
        return memo(emitter, level, key, 'v128', code => {
          put(code, 'local.get', a.local)
          put(code, `${wordOf(x.dtype)}_splat`, align(x.dtype), a.offset)
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
      if (x.fn === 'select' && isFloat(x.dtype)) return putChoice(c, code, choiceOf(x, all), all, x.dtype, at)
      const shift =
        (x.fn === 'shl' || x.fn === 'shr') && !c.isVector(x.args[1]) ? c.value(x.args[1], at) : null
      const operands = shift === null ? x.args : [x.args[0]]
      const locals = operands.map(a => c.lanes(a, at))
      return putVector(c, code, o, locals, dtypes, shift)
    }
    case 'acc':
      throw new Error('cpu: an accumulator is no value of its own')
  }
}

/** A select between lanes of a float dtype. */
function putChoice(c: Values, code: Code, choice: Choice, all: readonly Instr[], dtype: DType, at: Shift) {
  const get = (id: number) => put(code, 'local.get', c.lanes(id, at))
  // operands are pulled before anything is pushed
  const pull = (...ids: number[]) => ids.forEach(id => void c.lanes(id, at))
  const shape = shapeOf(dtype)
  const test = (of: Condition) => {
    const ids = idsOf(of)
    ids.forEach(get)
    const tested = all[ids[0]].dtype
    if (typeof of !== 'number') put(code, `${shapeOf(tested)}.le`)
    putMaskAs(code, laneBytes(tested, c.width), laneBytes(dtype, c.width))
  }
  const idsOf = (of: Condition) => (typeof of === 'number' ? [of] : of.le)
  switch (choice.how) {
    case 'orNaN':
      pull(choice.x, choice.y)
      get(choice.y)
      get(choice.x)
      get(choice.x)
      put(code, `${shape}.ne`)
      return put(code, 'v128.or')
    case 'pmax':
    case 'pmin':
      pull(choice.p, choice.q)
      get(choice.p)
      get(choice.q)
      return put(code, `${shape}.${choice.how}`)
    case 'mask':
      pull(choice.value, ...idsOf(choice.condition))
      get(choice.value)
      test(choice.condition)
      return put(code, choice.where ? 'v128.and' : 'v128.andnot')
    case 'flip':
      pull(choice.value, ...idsOf(choice.condition))
      get(choice.value)
      putConstant(code, dtype, -0)
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
 * All lanes: neighbours by one load, any others one by one. Behind a guard that differs between neighbours the
 * load happens if any lane is inside; what the others read lies within 12 bytes of it and is masked.
 */
function putVectorLoad(c: Values, code: Code, x: Load, at: Shift) {
  const stride = laneStride(c, x.index)
  const guardMask = axesOfGuard(x.guard, c.dependsOn)
  const lanesDiffer = c.vector !== null && (guardMask & (1 << c.vector)) !== 0
  const mask = lanesDiffer ? insideVector(c, x.guard, at) : null
  const shared = () => (x.guard.length > 0 && mask === null ? insideElement(c, x.guard, at, 0) : null)
  const bytes = bytesOf(x.dtype)
  if (stride === 0) {
    const a = addressOf(c, x, at, 0)
    if (mask === null) throw new Error('cpu: a load without lanes')
    putAny(c, code, a, x.buffer, mask)
    put(code, `${wordOf(x.dtype)}_splat`, align(x.dtype), 0)
  } else if (stride === 1 || stride === -1) {
    const a = addressOf(c, x, at, stride === 1 ? 0 : c.width - 1)
    const guard = shared()
    if (mask !== null) putAny(c, code, a, x.buffer, mask)
    else if (guard !== null) putGuarded(code, a, x.buffer, guard)
    else put(code, 'local.get', a.local)
    const name = bytes * c.width === 16 ? 'v128.load' : 'v128.load64_zero'
    put(code, name, align(x.dtype), mask === null && guard === null ? a.offset : 0)
    if (stride === -1) putReversed(c, code, bytes)
  } else putGather(c, code, x, at)
  const guard = shared()
  if (mask !== null) {
    put(code, 'local.get', mask)
    putMaskAs(code, laneBytes('bool', c.width), bytes)
  } else if (guard !== null) putSplat(code, 'bool', guard)
  if (mask !== null || guard !== null) put(code, 'v128.and')
  if (x.dtype === 'bool') putBoolsOfWords(code, c.width)
}

/** Turns the order of the lanes of the vector on the stack, elements of 4 or 8 bytes. */
function putReversed(c: Values, code: Code, bytes: 4 | 8) {
  const kept = newLocal(c.emitter, 'v128')
  put(code, 'local.tee', kept)
  put(code, 'local.get', kept)
  const lanes = lanesOf(c.width).toReversed()
  const from = lanes.flatMap(lane => Array.from({ length: bytes }, (_, i) => lane * bytes + i))
  put(code, 'i8x16.shuffle', ...from, ...from.slice(0, 16 - from.length))
}

/** Pushes the address if any lane is inside, else the buffer's. */
function putAny(c: Values, code: Code, a: { local: number; offset: number }, base: number, mask: number) {
  const any = newLocal(c.emitter, 'i32')
  put(code, 'local.get', mask)
  put(code, 'v128.any_true')
  put(code, 'local.set', any)
  putGuarded(code, a, base, any)
}

/** Lanes one by one; outside the guard the buffer's first element. */
function putGather(c: Values, code: Code, x: Load, at: Shift) {
  const lanes = lanesOf(c.width).map(lane => ({
    a: addressOf(c, x, at, lane),
    guard: x.guard.length > 0 ? insideElement(c, x.guard, at, lane) : null,
  }))
  const guarded = x.guard.length > 0
  const first = lanes[0]
  const address = (l: (typeof lanes)[number]) => {
    if (l.guard !== null) putGuarded(code, l.a, x.buffer, l.guard)
    else put(code, 'local.get', l.a.local)
  }
  address(first)
  put(code, `${wordOf(x.dtype)}_splat`, align(x.dtype), guarded ? 0 : first.a.offset)
  const vector = newLocal(c.emitter, 'v128')
  put(code, 'local.set', vector)
  for (const [lane, l] of lanes.entries()) {
    if (lane === 0) continue
    address(l)
    put(code, 'local.get', vector)
    put(code, `${wordOf(x.dtype)}_lane`, align(x.dtype), guarded ? 0 : l.a.offset, lane)
    put(code, 'local.set', vector)
  }
  put(code, 'local.get', vector)
}
