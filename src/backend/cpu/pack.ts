/**
 * Packing: what the innermost parallel loops read again and again, lanes far apart or rows far apart in memory,
 * is copied once into a scratch buffer, in the order in which the reduce loops read it. In: a kernel's loops. Out:
 * the load that is copied, the code that copies it, and where its values lie then.
 */
import { add, axis, coefficient, constant, scale } from '../affine.ts'
import { type Load, loadsOf } from '../kernel.ts'
import { append, innermost, inScope, memo, newLocal, putLoop } from './emit.ts'
import { laneStride, type Shift, sum } from './indices.ts'
import { iterations, type Loop, type Nest, positions, type Span, type Split } from './nest.ts'
import { registerOf } from './ops.ts'
import { align, bytesOf, type Packed, type Values } from './values.ts'
import { put } from './wasm.ts'

/** What is packed: a load, and the reduce loops whose values a copy holds. */
export interface Packing {
  readonly id: number
  /** These loops, outermost first, and how many positions of each. */
  readonly axes: readonly { readonly axis: number; readonly extent: number }[]
  /** Tile positions of the load, as shifts. */
  readonly variants: readonly Shift[]
  /** Bytes of one of them: a vector's, or an element's. */
  readonly unit: number
  readonly bytes: number
}

/** Iterations that must share a copy. */
const REUSE = 8
/** Distance of rows in bytes from which lines of the first cache collide. */
const FAR = 1024
/** Neighbours in memory, in bytes, from which reading them in order is as good as a copy. */
const LINE = 64
/** A copy should stay in the second cache. Its bytes are rounded up to whole lines, for what comes after. */
const LIMIT = 1 << 22

/** Whether an instruction changes over a loop. */
export const changesOver = (c: Values, id: number, l: Loop): boolean =>
  (c.dependsOn(id) & (1 << l.axis)) !== 0

/** Whether a packed load does not change over a loop. */
export const fixedOver =
  (c: Values, { id }: Packing) =>
  (l: Loop): boolean =>
    !changesOver(c, id, l)

/**
 * The load of a kernel that is worth a copy, if any: lanes first, then single elements that all lanes take.
 * @param split  the loop that is cut into blocks, if any: a copy holds one block
 */
export function choosePacking(c: Values, nest: Nest, split: Split | null): Packing | null {
  if (c.kernel.stores.some(s => s.mode === 'add')) return null
  const loads = loadsOf(c.kernel)
  const lanes = nest.parallel.find(l => l.lanes > 1)
  if (lanes === undefined) return null
  const inBlock = nest.reduce.slice(split?.loop ?? 0)
  const extentOf = (l: Loop) => (split !== null && l === inBlock[0] ? split.size : l.extent)
  const [vectors, elements] = [true, false].map(v => loads.filter(o => changesOver(c, o.id, lanes) === v))
  for (const { id, x } of [...vectors, ...elements]) {
    const vector = changesOver(c, id, lanes)
    const axes = inBlock.filter(l => changesOver(c, id, l)).map(l => ({ axis: l.axis, extent: extentOf(l) }))
    const own = nest.parallel.filter(l => changesOver(c, id, l))
    const shared = nest.parallel.filter(l => !own.includes(l)).reduce((n, l) => n * iterations(l), 1)
    if (shared < REUSE || axes.length === 0) continue
    if (vector ? neighbours(c, x, inBlock) : !strewn(x, axes)) continue
    const variants = positions(c.kernel.axes.length, own)
    const unit = vector ? 16 : bytesOf(x.dtype)
    const bytes = LINE * Math.ceil(axes.reduce((n, a) => n * a.extent, unit * variants.length) / LINE)
    if (bytes > 0 && bytes <= LIMIT) return { id, axes, variants, unit, bytes }
  }
  return null
}

/** Whether lanes lie side by side, and the next of the innermost loop not far away. */
function neighbours(c: Values, x: Load, reduce: readonly Loop[]): boolean {
  const row = coefficient(x.index, reduce[reduce.length - 1].axis) ?? 0
  return laneStride(c, x.index) === 1 && Math.abs(row) * bytesOf(x.dtype) < FAR
}

/** Whether elements lie in short runs, far from each other. */
function strewn(x: Load, axes: Packing['axes']): boolean {
  if (x.dtype !== 'f32' && x.dtype !== 'f64') return false
  const strides = axes.map(a => ({ ...a, stride: Math.abs(coefficient(x.index, a.axis) ?? 0) }))
  if (strides.some(s => s.stride === 0) || x.index.terms.some(t => t.atom.k !== 'axis')) return false
  let run = 1
  for (const s of strides.sort((a, b) => a.stride - b.stride)) {
    if (s.stride !== run) return run * bytesOf(x.dtype) < LINE && s.stride * bytesOf(x.dtype) >= FAR
    run *= s.extent
  }
  return false
}

/**
 * Writes the loops that fill a copy.
 * @param base  the local of `baseOf`
 * @param cut   the block that it holds, if loops are cut
 */
export function putPacking(c: Values, p: Packing, base: number, cut: Cut | null): void {
  const e = c.emitter
  const locate = locator(c, p, base)
  const { dtype } = c.kernel.body[p.id]
  const open = (i: number) => {
    const scope = innermost(e)
    if (i === p.axes.length) {
      for (const at of p.variants) {
        const value = c.value(p.id, at)
        const { local, offset } = locate(at)
        put(scope.head, 'local.get', local)
        put(scope.head, 'local.get', value)
        if (p.unit === 16) put(scope.head, 'v128.store', 4, offset)
        else put(scope.head, `${registerOf(dtype)}.store`, align(dtype), offset)
      }
      return
    }
    const { axis: on, extent } = p.axes[i]
    const span = cut?.axis === on ? cut.span : null
    const counter = newLocal(e, 'i32')
    c.places[on] = { local: counter, base: 0, level: e.scopes.length }
    const body = inScope(e, () => open(i + 1))
    if (span === null) put(scope.tail, 'i32.const', 0)
    else put(scope.tail, 'local.get', span.from)
    put(scope.tail, 'local.set', counter)
    putLoop(
      scope.tail,
      counter,
      1,
      code => (span === null ? put(code, 'i32.const', extent) : put(code, 'local.get', span.to)),
      body,
    )
  }
  // a scope of its own, so that nothing of these loops is taken for known later
  const filling = inScope(e, () => open(0))
  append(innermost(e).tail, filling)
  c.packed.set(p.id, { locate })
}

/** The axis of the loop that is cut into blocks, and the block that stands open. */
export interface Cut {
  readonly axis: number
  readonly span: Span
}

/** The local of the address at which a copy would begin if its block began at 0; it starts at the local `scratch`. */
export function baseOf(c: Values, p: Packing, scratch: number, cut: Cut | null): number {
  const [first, ...rest] = p.axes
  if (cut === null || first.axis !== cut.axis) return scratch
  const stride = rest.reduce((n, a) => n * a.extent, p.unit * p.variants.length)
  const e = c.emitter
  return memo(e, e.scopes.length - 1, `base ${p.id}`, 'i32', code => {
    put(code, 'local.get', scratch)
    put(code, 'local.get', cut.span.from)
    put(code, 'i32.const', stride)
    put(code, 'i32.mul')
    put(code, 'i32.sub')
  })
}

/** Where in a copy the value at a tile position lies. */
function locator(c: Values, p: Packing, base: number): Packed['locate'] {
  let index = constant(0)
  let size = 1
  for (const a of [...p.axes].reverse()) {
    index = add(index, scale(axis(a.axis, c.kernel.axes[a.axis].extent), size))
    size *= a.extent
  }
  const mask = c.dependsOn(p.id)
  const places = new Map(p.variants.map((at, i) => [c.shiftKey(mask, at), p.unit * i]))
  const inside = (a: number) => p.axes.some(x => x.axis === a)
  return at => {
    const s = sum(c, index, at, 0, p.unit * p.variants.length, base)
    const own = at.map((x, a) => (inside(a) ? 0 : x))
    return { local: s.local ?? base, offset: s.offset + (places.get(c.shiftKey(mask, own)) ?? 0) }
  }
}
