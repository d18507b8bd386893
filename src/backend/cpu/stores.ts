/**
 * The stores of a kernel as WebAssembly. In: a store, a tile position, the pulled values. Out: code in the
 * innermost scope.
 */
import { axesOfGuard } from '../depend.ts'
import { instructions, type Store } from '../kernel.ts'
import { append, innermost } from './emit.ts'
import { address, insideElement, laneStride, type Shift } from './indices.ts'
import { lanesOf, putLane, putWordsOfBools } from './lanes.ts'
import type { Nest } from './nest.ts'
import { registerOf } from './ops.ts'
import { align, bytesOf, load, type Values } from './values.ts'
import { type Code, EMPTY, put } from './wasm.ts'

/** Writes a store of mode 'set' at a tile position. */
export function putStore(c: Values, nest: Nest, s: Store, at: Shift): void {
  const { dtype } = instructions(c.kernel)[s.value]
  const lanes = nest.parallel.some(l => l.lanes > 1)
  const bit = nest.vector === null ? 0 : 1 << nest.vector
  const uniformGuard = (axesOfGuard(s.guard, c.dependsOn) & bit) === 0
  const stride = laneStride(c, s.index)
  if (!lanes) {
    putElement(c, s, at, 0, code => put(code, 'local.get', c.value(s.value, at)))
    return
  }
  const value = c.lanes(s.value, at)
  if (stride === 1 && uniformGuard) {
    const a = address(c, s.index, at, 0, bytesOf(dtype), s.buffer)
    const guard = s.guard.length > 0 ? insideElement(c, s.guard, at, 0) : null
    const code = innermost(c.emitter).head
    if (guard !== null) {
      put(code, 'local.get', guard)
      put(code, 'if', EMPTY)
    }
    put(code, 'local.get', a.local)
    put(code, 'local.get', value)
    if (dtype === 'bool') putWordsOfBools(code, c.width)
    if (bytesOf(dtype) * c.width === 16) put(code, 'v128.store', align(dtype), a.offset)
    else put(code, 'v128.store64_lane', align(dtype), a.offset, 0)
    if (guard !== null) put(code, 'end')
    return
  }
  // lanes that write one element: the last one wins, as in the loop
  for (const lane of stride === 0 && uniformGuard ? [c.width - 1] : lanesOf(c.width))
    putElement(c, s, at, lane, code => putLane(code, dtype, value, lane, c.width))
}

/** Stores one element, which `push` pushes. */
function putElement(c: Values, s: Store, at: Shift, lane: number, push: (code: Code) => void): void {
  const { dtype } = instructions(c.kernel)[s.value]
  const value: Code = []
  push(value)
  const a = address(c, s.index, at, lane, bytesOf(dtype), s.buffer)
  const guard = s.guard.length > 0 ? insideElement(c, s.guard, at, lane) : null
  const code = innermost(c.emitter).head
  if (guard !== null) {
    put(code, 'local.get', guard)
    put(code, 'if', EMPTY)
  }
  put(code, 'local.get', a.local)
  append(code, value)
  put(code, `${registerOf(dtype)}.store`, align(dtype), a.offset)
  if (guard !== null) put(code, 'end')
}

/** Writes buffer[index] += value, one element. */
export function putAdd(c: Values, s: Store, at: Shift): void {
  const { dtype } = instructions(c.kernel)[s.value]
  const value = c.value(s.value, at)
  const a = address(c, s.index, at, 0, bytesOf(dtype), s.buffer)
  putElement(c, s, at, 0, code => {
    put(code, 'local.get', a.local)
    put(code, load(dtype), align(dtype), a.offset)
    put(code, 'local.get', value)
    if (dtype === 'bool') put(code, 'i32.or')
    else put(code, `${registerOf(dtype)}.add`)
  })
}
