/**
 * The renderer of the CPU backend: a kernel and a schedule become one WebAssembly function, a loop nest whose
 * innermost body computes a tile of results in registers, all lanes of a vector at a time. Parallel axes that the
 * tile does not divide end with an overlapping tile (results are computed twice, equal); reduce axes with a masked
 * one.
 */
import type { Kernel, Schedule } from '../kernel.ts'
import { type Layout, layOut, putBlocks } from './blocks.ts'
import { append, emitter, innermost, inScope, memo, newLocal, putLoop, putMin } from './emit.ts'
import { iterations, type Loop, makeNest, type Span, step } from './nest.ts'
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
  const { nest, packing, blocks } = layout
  const outer = nest.parallel.find(l => iterations(l) > 1)
  const empty = kernel.axes.some(a => a.kind === 'parallel' && a.extent === 0)
  const some = kernel.axes.every(a => a.extent > 0)
  if (!empty) {
    const range = { loop: outer, scratch: buffers, from: buffers + 1, to: buffers + 2 }
    openParallel(c, 0, { layout, range, span: null, at: () => putTile(c, layout, some) })
  }
  const [scope] = e.scopes
  append(scope.head, scope.tail)
  return {
    fn: { name, params, locals: e.locals, code: scope.head },
    slices: empty ? 0 : outer === undefined ? 1 : iterations(outer),
    scratchBytes: (packing?.bytes ?? 0) + (blocks?.bytes ?? 0),
    packsEachCall: packing !== null && (outer === undefined || fixedOver(c, packing)(outer)),
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
  /** The loop whose range is a parameter, these parameters, and that of the scratch memory. */
  readonly range: {
    readonly loop: Loop | undefined
    readonly scratch: number
    readonly from: number
    readonly to: number
  }
  /** The block of the reduce loops that stands open. */
  readonly span: Span | null
  /** Writes what happens at a tile. */
  readonly at: () => void
}

/** Opens the i-th parallel loop and those inside it. */
function openParallel(c: Values, i: number, frame: Frame): void {
  const { layout, range, span } = frame
  const { nest, packing, blocks } = layout
  const e = c.emitter
  if (blocks !== null && i === blocks.inside) {
    const own = { ...layout, blocks: null }
    const totals = memo(e, 0, 'totals', 'i32', code => {
      put(code, 'local.get', range.scratch)
      put(code, 'i32.const', packing?.bytes ?? 0)
      put(code, 'i32.add')
    })
    putBlocks(c, nest, blocks, totals, (at, open) =>
      openParallel(c, i, { layout: own, range, span: open, at }),
    )
    return
  }
  if (packing !== null && blocks === null && !c.packed.has(packing.id)) {
    const fixed = fixedOver(c, packing)
    const cut = span && nest.block && { axis: nest.reduce[nest.block.loop].axis, span }
    if (nest.parallel.slice(i).every(fixed))
      putPacking(c, packing, baseOf(c, packing, range.scratch, cut), cut)
  }
  if (i === nest.parallel.length) {
    frame.at()
    return
  }
  const l = nest.parallel[i]
  const out = innermost(e).tail
  const level = e.scopes.length
  const inside = () => openParallel(c, i + 1, frame)
  if (iterations(l) === 1) {
    c.places[l.axis] = { local: null, base: 0, level }
    append(out, inScope(e, inside))
    return
  }
  const counter = newLocal(e, 'i32')
  const overlaps = l.extent % step(l) !== 0
  const position = overlaps ? newLocal(e, 'i32') : counter
  c.places[l.axis] = { local: position, base: 0, level }
  const body = inScope(e, () => {
    if (overlaps) putMin(innermost(e).head, counter, l.extent - step(l), position)
    inside()
  })
  const ranged = l === range.loop
  if (ranged) {
    put(out, 'local.get', range.from)
    put(out, 'i32.const', step(l))
    put(out, 'i32.mul')
  } else put(out, 'i32.const', 0)
  put(out, 'local.set', counter)
  putLoop(
    out,
    counter,
    step(l),
    code => {
      if (!ranged) return put(code, 'i32.const', iterations(l) * step(l))
      put(code, 'local.get', range.to)
      put(code, 'i32.const', step(l))
      put(code, 'i32.mul')
    },
    body,
  )
}
