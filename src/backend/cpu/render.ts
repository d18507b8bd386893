/**
 * The renderer of the CPU backend: a kernel and a schedule become one WebAssembly function, a loop nest whose
 * innermost body computes a tile of results in registers, all lanes of a vector at a time. Parallel axes that the
 * tile does not divide end with an overlapping tile (results are computed twice, equal); reduce axes with a masked
 * one.
 */
import type { Kernel, Schedule } from '../kernel.ts'
import { type Layout, layOut, putBlocks } from './blocks.ts'
import { append, emitter, innermost, inScope, memo, newLocal, putLoop, putMin } from './emit.ts'
import { iterations, makeNest, type Span, step } from './nest.ts'
import { baseOf, fixedOver, putPacking } from './pack.ts'
import { openReduce, putResults, startReduction } from './reduce.ts'
import { makeValues, type Values } from './values.ts'
import { put, type ValueType, type WasmFunction } from './wasm.ts'

/**
 * A rendered kernel. The function takes the addresses of the kernel's buffers and of the scratch memory, then `from` and `to`: it runs
 * that range of its `slices`, so that a caller can divide long kernels. Slices are independent.
 */
export interface Rendered {
  readonly fn: WasmFunction
  readonly slices: number
  /** Bytes at the address `scratch` that the function writes and reads for itself. */
  readonly scratchBytes: number
  /** Whether each call packs its operand anew, however few slices it runs: no slice has a part of its own to pack. */
  readonly packsEachCall: boolean
}

/**
 * Renders a kernel. Every schedule gives the same results, up to the rounding of float sums and products.
 * @param name   the name under which the function is exported
 * @param block  additions after which a partial sum is put aside, if not the usual number
 * @example encodeModule([renderKernel(kernel, schedule, 'k0').fn])
 */
export function renderKernel(kernel: Kernel, schedule: Schedule, name: string, block?: number): Rendered {
  const plain = makeNest(kernel, schedule, block)
  const buffers = kernel.buffers.length
  const params: ValueType[] = [...kernel.buffers.map((): ValueType => 'i32'), 'i32', 'i32', 'i32']
  const e = emitter(params.length)
  const tiled = [...plain.parallel, ...plain.reduce].reduce((m, l) => (l.tile > 1 ? m | (1 << l.axis) : m), 0)
  const c = makeValues(kernel, e, plain, tiled)
  const layout = layOut(c, plain)
  const { nest, packing, blocks, range } = layout
  const sliced = nest.parallel.slice(range.first, range.first + range.count)
  const empty = kernel.axes.some(a => a.kind === 'parallel' && a.extent === 0)
  const some = kernel.axes.every(a => a.extent > 0)
  if (!empty) {
    const given = { scratch: buffers, from: buffers + 1, to: buffers + 2 }
    openParallel(c, 0, { layout, given, span: null, at: () => putTile(c, layout, some) })
  }
  const [scope] = e.scopes
  append(scope.head, scope.tail)
  return {
    fn: { name, params, locals: e.locals, code: scope.head },
    slices: empty ? 0 : sliced.reduce((n, l) => n * iterations(l), 1),
    scratchBytes: (packing?.bytes ?? 0) + (blocks?.bytes ?? 0),
    packsEachCall: packing !== null && sliced.every(fixedOver(c, packing)),
  }
}

/** What happens at one tile of the parallel axes: the reduce loops, then the epilogue and the stores. */
function putTile(c: Values, { nest }: Layout, some: boolean): void {
  const tile = startReduction(c, nest, nest.block !== null)
  if (some && (tile.folds.length > 0 || tile.adds.length > 0)) openReduce(c, tile, 0)
  putResults(c, tile)
}

/** What the parallel loops that are still to be opened need. */
interface Frame {
  readonly layout: Layout
  /** The parameters after the buffers: the scratch memory, and the slices that are run. */
  readonly given: { readonly scratch: number; readonly from: number; readonly to: number }
  /** The block of the reduce loops that stands open. */
  readonly span: Span | null
  /** Writes what happens at a tile. */
  readonly at: () => void
}

/** Opens the i-th parallel loop and those inside it. */
function openParallel(c: Values, i: number, frame: Frame): void {
  const { layout, given, span } = frame
  const { nest, packing, blocks, range } = layout
  const e = c.emitter
  if (blocks !== null && i === blocks.inside) {
    const own = { ...layout, blocks: null }
    const totals = memo(e, 0, 'totals', 'i32', code => {
      put(code, 'local.get', given.scratch)
      put(code, 'i32.const', packing?.bytes ?? 0)
      put(code, 'i32.add')
    })
    putBlocks(c, nest, blocks, totals, (at, open) =>
      openParallel(c, i, { layout: own, given, span: open, at }),
    )
    return
  }
  if (packing !== null && blocks === null && !c.packed.has(packing.id)) {
    const fixed = fixedOver(c, packing)
    const cut = span && nest.block && { axis: nest.reduce[nest.block.loop].axis, span }
    if (nest.parallel.slice(i).every(fixed))
      putPacking(c, packing, baseOf(c, packing, given.scratch, cut), cut)
  }
  if (i === nest.parallel.length) {
    frame.at()
    return
  }
  if (i === range.first && range.count > 0) {
    openSlices(c, frame)
    return
  }
  const l = nest.parallel[i]
  const out = innermost(e).tail
  const inside = () => openParallel(c, i + 1, frame)
  if (iterations(l) === 1) {
    c.places[l.axis] = { local: null, base: 0, level: e.scopes.length }
    append(out, inScope(e, inside))
    return
  }
  const counter = newLocal(e, 'i32')
  const overlaps = l.extent % step(l) !== 0
  const position = overlaps ? newLocal(e, 'i32') : counter
  c.places[l.axis] = { local: position, base: 0, level: e.scopes.length }
  const body = inScope(e, () => {
    if (overlaps) putMin(innermost(e).head, counter, l.extent - step(l), position)
    inside()
  })
  put(out, 'i32.const', 0)
  put(out, 'local.set', counter)
  putLoop(out, counter, step(l), code => put(code, 'i32.const', iterations(l) * step(l)), body)
}

/** Opens the loops of the slices as one, over those that the function is given, and the loops inside. */
function openSlices(c: Values, frame: Frame): void {
  const { layout, given } = frame
  const { first, count } = layout.range
  const e = c.emitter
  const out = innermost(e).tail
  const slice = newLocal(e, 'i32')
  const level = e.scopes.length
  const body = inScope(e, () => {
    const { head } = innermost(e)
    let rest = slice
    for (let i = first + count - 1; i >= first; i--) {
      const l = layout.nest.parallel[i]
      const [position, quotient] = [newLocal(e, 'i32'), newLocal(e, 'i32')]
      c.places[l.axis] = { local: position, base: 0, level }
      put(head, 'local.get', rest)
      if (i > first) {
        put(head, 'local.get', rest)
        put(head, 'i32.const', iterations(l))
        put(head, 'i32.div_u')
        put(head, 'local.set', quotient)
        put(head, 'i32.const', iterations(l))
        put(head, 'i32.rem_u')
      }
      put(head, 'i32.const', step(l))
      put(head, 'i32.mul')
      put(head, 'local.set', position)
      if (l.extent % step(l) !== 0) putMin(head, position, l.extent - step(l), position)
      rest = quotient
    }
    openParallel(c, first + count, { ...frame, layout: { ...layout, range: { first: -1, count: 0 } } })
  })
  put(out, 'local.get', given.from)
  put(out, 'local.set', slice)
  putLoop(out, slice, 1, code => put(code, 'local.get', given.to), body)
}
