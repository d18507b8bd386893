/**
 * Index expressions as WebAssembly: sums of loop positions in locals, every partial sum in the outermost loop
 * where it is fixed. In: affine expressions, the places of the axes; out: locals and constant offsets.
 */
import { type Affine, type Atom, bounds, type Condition, coefficient, show } from '../affine.ts'
import { axesOf, axesOfGuard } from '../depend.ts'
import { memo } from './emit.ts'
import { laneBytes, lanesOf, putInts, putMaskAs, type Vectors } from './lanes.ts'
import { put } from './wasm.ts'

/** Where an axis stands: the position of the first lane is `local` (if any) + `base`. */
export interface Place {
  readonly local: number | null
  readonly base: number
  readonly level: number
}
/** Distance of a tile's position from the first, per axis. */
export type Shift = readonly number[]

/** What index expressions need of the renderer. Masks are sets of axes as bits. */
export interface IndexContext extends Vectors {
  readonly places: Place[]
  readonly vector: number | null
  /** The innermost scope in which all axes of the mask stand. */
  levelOf(mask: number): number
  /** The axes on which an instruction depends. */
  dependsOn(id: number): number
  /** The local of a run-time index. */
  element(id: number, at: Shift, lane: number): number
  /** The part of a shift that matters for the axes of the mask, as text. */
  shiftKey(mask: number, at: Shift): string
}

/** local + offset; without a local a constant. */
export interface Sum {
  readonly local: number | null
  readonly offset: number
}

const addLocals = (c: IndexContext, level: number, a: number, b: number): number =>
  memo(c.emitter, level, `${a}+${b}`, 'i32', code => {
    put(code, 'local.get', a)
    put(code, 'local.get', b)
    put(code, 'i32.add')
  })
const addConstant = (c: IndexContext, level: number, a: number, k: number): number =>
  k === 0
    ? a
    : memo(c.emitter, level, `${a}+#${k}`, 'i32', code => {
        put(code, 'local.get', a)
        put(code, 'i32.const', k)
        put(code, 'i32.add')
      })
const times = (c: IndexContext, level: number, a: number, k: number): number =>
  k === 1
    ? a
    : memo(c.emitter, level, `${a}*${k}`, 'i32', code => {
        const shift = Math.log2(k)
        put(code, 'local.get', a)
        put(code, 'i32.const', Number.isInteger(shift) ? shift : k)
        put(code, Number.isInteger(shift) ? 'i32.shl' : 'i32.mul')
      })
const constantLocal = (c: IndexContext, k: number): number =>
  memo(c.emitter, 0, `#${k}`, 'i32', code => put(code, 'i32.const', k))

/**
 * start + unit * a, for one lane of one tile position.
 * @param start  a local of the function's scope (a buffer's address), or null
 */
export function sum(
  c: IndexContext,
  a: Affine,
  at: Shift,
  lane: number,
  unit: number,
  start: number | null,
): Sum {
  let offset = a.offset * unit
  const parts: { level: number; local: number; coef: number }[] = []
  for (const { atom, coef } of a.terms) {
    const k = coef * unit
    if (atom.k === 'axis') {
      const place = c.places[atom.axis]
      offset += k * (place.base + at[atom.axis] + (atom.axis === c.vector ? lane : 0))
      if (place.local !== null) parts.push({ level: place.level, local: place.local, coef: k })
    } else if (atom.k === 'value') {
      const level = c.levelOf(c.dependsOn(atom.value))
      parts.push({ level, local: c.element(atom.value, at, lane), coef: k })
    } else {
      const q = quotient(c, atom, at, lane)
      offset += k * q.offset
      if (q.local !== null)
        parts.push({ level: c.levelOf(axesOf(atom.of, c.dependsOn)), local: q.local, coef: k })
    }
  }
  parts.sort((x, y) => x.level - y.level)
  let local = start
  for (const p of parts) {
    const product = times(c, p.level, p.local, p.coef)
    local = local === null ? product : addLocals(c, p.level, local, product)
  }
  return { local, offset }
}

/** A whole sum in one local. */
export function index(c: IndexContext, a: Affine, at: Shift, lane: number): number {
  const s = sum(c, a, at, lane, 1, null)
  if (s.local === null) return constantLocal(c, s.offset)
  return addConstant(c, c.levelOf(axesOf(a, c.dependsOn)), s.local, s.offset)
}

/** An address for a load or store: a local and the offset of the instruction. */
export interface Address {
  readonly local: number
  readonly offset: number
}

/** The address of an element; the constant goes into the instruction where no term can be negative. */
export function address(
  c: IndexContext,
  a: Affine,
  at: Shift,
  lane: number,
  bytes: number,
  base: number,
): Address {
  const s = sum(c, a, at, lane, bytes, base)
  const local = s.local ?? base
  const growing = a.terms.every(t => t.coef > 0 && t.atom.k !== 'value')
  if (growing && s.offset >= 0) return { local, offset: s.offset }
  return { local: addConstant(c, c.levelOf(axesOf(a, c.dependsOn)), local, s.offset), offset: 0 }
}

/** floor(of / by) or of mod by. */
function quotient(c: IndexContext, t: Extract<Atom, { k: 'div' | 'mod' }>, at: Shift, lane: number): Sum {
  const level = c.levelOf(axesOf(t.of, c.dependsOn))
  const s = sum(c, t.of, at, lane, 1, null)
  if (s.local === null) {
    const q = Math.floor(s.offset / t.by)
    return { local: null, offset: t.k === 'div' ? q : s.offset - t.by * q }
  }
  const x = addConstant(c, level, s.local, s.offset)
  const b = bounds(t.of)
  const binary = (name: string, a: number, k: number) =>
    memo(c.emitter, level, `${name} ${a} ${k}`, 'i32', code => {
      put(code, 'local.get', a)
      put(code, 'i32.const', k)
      put(code, name)
    })
  if (b !== null && b[0] >= 0)
    return { local: binary(t.k === 'div' ? 'i32.div_u' : 'i32.rem_u', x, t.by), offset: 0 }
  // a remainder that is never negative: r + (r < 0 ? by : 0)
  const r = binary('i32.rem_s', x, t.by)
  const mod = memo(c.emitter, level, `mod ${x} ${t.by}`, 'i32', code => {
    put(code, 'local.get', r)
    put(code, 'i32.const', t.by)
    put(code, 'i32.const', 0)
    put(code, 'local.get', r)
    put(code, 'i32.const', 0)
    put(code, 'i32.lt_s')
    put(code, 'select')
    put(code, 'i32.add')
  })
  if (t.k === 'mod') return { local: mod, offset: 0 }
  const q = memo(c.emitter, level, `floor ${x} ${t.by}`, 'i32', code => {
    put(code, 'local.get', x)
    put(code, 'local.get', mod)
    put(code, 'i32.sub')
    put(code, 'i32.const', t.by)
    put(code, 'i32.div_s')
  })
  return { local: q, offset: 0 }
}

/** The coefficient of the vector axis, or null where the lanes' indices are not in arithmetic progression. */
export function laneStride(c: IndexContext, a: Affine): number | null {
  if (c.vector === null) return 0
  const bit = 1 << c.vector
  const hidden = a.terms.some(
    ({ atom }) => atom.k !== 'axis' && axesOf({ terms: [{ atom, coef: 1 }], offset: 0 }, c.dependsOn) & bit,
  )
  return hidden ? null : coefficient(a, c.vector)
}

/** The lanes' values of an expression, as a vector of i32. */
export function indexVector(c: IndexContext, a: Affine, at: Shift): number {
  const mask = axesOf(a, c.dependsOn)
  const level = c.levelOf(mask)
  const stride = laneStride(c, a)
  return memo(c.emitter, level, `lanes ${show(a)} ${c.shiftKey(mask, at)}`, 'v128', code => {
    if (stride !== null) {
      const first = index(c, a, at, 0)
      put(code, 'local.get', first)
      put(code, 'i32x4.splat')
      if (stride === 0) return
      putInts(code, [0, stride, 2 * stride, 3 * stride])
      return put(code, 'i32x4.add')
    }
    const lanes = lanesOf(c.width).map(lane => index(c, a, at, lane))
    put(code, 'local.get', lanes[0])
    put(code, 'i32x4.splat')
    for (let i = 1; i < lanes.length; i++) {
      put(code, 'local.get', lanes[i])
      put(code, 'i32x4.replace_lane', i)
    }
  })
}

/** Whether all conditions hold for one lane: 0 or 1 in a local. */
export function insideElement(c: IndexContext, g: readonly Condition[], at: Shift, lane: number): number {
  const mask = axesOfGuard(g, c.dependsOn)
  const key = `inside ${guardKey(g)} ${c.shiftKey(mask, at)} ${lane}`
  return memo(c.emitter, c.levelOf(mask), key, 'i32', code => {
    const found = g.map(x => index(c, x.index, at, lane))
    put(code, 'i32.const', 1)
    for (const [i, x] of g.entries()) {
      // lo <= x < hi in one unsigned comparison
      put(code, 'local.get', found[i])
      put(code, 'i32.const', x.lo)
      put(code, 'i32.sub')
      put(code, 'i32.const', Math.max(0, x.hi - x.lo))
      put(code, 'i32.lt_u')
      put(code, 'i32.and')
    }
  })
}

/** The same for all lanes, as a vector of bools. */
export function insideVector(c: IndexContext, g: readonly Condition[], at: Shift): number {
  const mask = axesOfGuard(g, c.dependsOn)
  const key = `insides ${guardKey(g)} ${c.shiftKey(mask, at)}`
  return memo(c.emitter, c.levelOf(mask), key, 'v128', code => {
    const found = g.map(x => indexVector(c, x.index, at))
    for (const [i, x] of g.entries()) {
      put(code, 'local.get', found[i])
      putInts(code, [x.lo, x.lo, x.lo, x.lo])
      put(code, 'i32x4.sub')
      const width = Math.max(0, x.hi - x.lo)
      putInts(code, [width, width, width, width])
      put(code, 'i32x4.lt_u')
      if (i > 0) put(code, 'v128.and')
    }
    putMaskAs(code, 4, laneBytes('bool', c.width))
  })
}
const guardKey = (g: readonly Condition[]) => g.map(x => `${x.lo},${x.hi},${show(x.index)}`).join(';')
