/**
 * Long sums in blocks of terms. In: the loops of a kernel; out: the order in which they nest, what is packed, and
 * the code of the blocks.
 *
 * Note [Blocks]. A sum of more than two blocks is a sum of the blocks' sums (nest.ts). A product of large matrices, or
 * a convolution with many channels, reads so many terms for one tile of results that the next tile finds nothing of
 * them in the first cache. So the blocks go outside: all tiles of the inner parallel loops add up one block of terms,
 * which stays near, and put their sums aside in scratch memory; when all blocks are done the totals are read again
 * for the epilogue. The numbers are added in the order in which a tile by itself adds them.
 * After Goto and van de Geijn 2008, Anatomy of High-Performance Matrix Multiplication.
 */
import { coefficient, valuesOf } from '../affine.ts'
import { type Load, loadsOf } from '../kernel.ts'
import { append, innermost, inScope, memo, newLocal, putLoop, putMin } from './emit.ts'
import type { Fold } from './fold.ts'
import { iterations, type Loop, type Nest, type Span, type Split, segments, step } from './nest.ts'
import { changesOver, choosePacking, fixedOver, type Packing } from './pack.ts'
import { openSpan, putResults, type Reduction, startReduction } from './reduce.ts'
import { align, bytesOf, type Values } from './values.ts'
import { type Code, put } from './wasm.ts'

/** Which parallel loops run inside the blocks. */
export interface Blocks extends Split {
  /** The first of them. */
  readonly inside: number
  /** Bytes of the totals of all their tiles. */
  readonly bytes: number
}

/** How the loops of a kernel nest. */
export interface Layout {
  readonly nest: Nest
  readonly packing: Packing | null
  readonly blocks: Blocks | null
  /** The parallel loops whose iterations together are the slices: `count` from `first` on. */
  readonly range: { readonly first: number; readonly count: number }
}

/** Tiles that must share a block. */
const REUSE = 4
/** Totals beyond this crowd the second cache. */
const LIMIT = 1 << 20
/** Bytes that stay in the second cache beside what streams by. */
const NEAR = 1 << 18
/** Slices from which a kernel is easily shared between threads. */
const SLICES = 32
/** Slices that are enough where a better order has no more. */
const ENOUGH = 16

const product = (loops: readonly Loop[]): number => loops.reduce((n, l) => n * iterations(l), 1)

/** Chooses the layout: blocks where the sums are long and tiles share them, packed loads, loops that share them innermost. */
export function layOut(c: Values, plain: Nest): Layout {
  const split = splitOf(c, plain)
  if (split !== null) {
    const { fixed, ...arranged } = arrange(c, plain, split)
    const blocks = blocksOf(c, arranged.nest, fixed, split, arranged.range)
    if (blocks !== null) return { ...arranged, blocks }
  }
  const { nest, packing, range } = arrange(c, plain, null)
  return { nest, packing, range, blocks: null }
}

/** The loops in order, for sums that are cut or not; `fixed`: the loops over which what is packed does not change. */
function arrange(c: Values, plain: Nest, split: Split | null) {
  const packing = choosePacking(c, plain, split)
  const fixed = packing && fixedOver(c, packing)
  const nest = { ...plain, parallel: fixed === null ? inOrder(c, plain, split) : sharingLast(plain, fixed) }
  return { nest, packing, fixed, range: rangeOf(nest, fixed, split) }
}

/** The parallel loops, those innermost over which a packed load does not change; outermost one with many iterations. */
function sharingLast({ parallel }: Nest, fixed: (l: Loop) => boolean): readonly Loop[] {
  const others = parallel.filter(l => !fixed(l))
  return [...wideFirst(others), ...parallel.filter(fixed)]
}

/** The loops, the first one with enough iterations for many threads before the others, if the outermost has too few. */
function wideFirst(loops: readonly Loop[]): readonly Loop[] {
  const first = loops.find(l => iterations(l) > 1)
  const few = first !== undefined && iterations(first) < SLICES
  const wide = few ? loops.find(l => iterations(l) >= SLICES) : undefined
  return wide === undefined ? loops : [wide, ...loops.filter(l => l !== wide)]
}

/**
 * The parallel loops of what is not packed. In a contraction the loops over which its vectors change (of a convolution
 * the images and rows) go inside where all that they read of one block stays near: then the elements that all lanes
 * take, the weights, are read once for each iteration of the outermost loop. Otherwise they go outside: what a tile
 * reads lies strewn and stays near, while the weights come in order.
 */
function inOrder(c: Values, { parallel, reduce }: Nest, split: Split | null): readonly Loop[] {
  const lanes = parallel.find(l => l.lanes > 1)
  if (reduce.length === 0) return parallel
  if (lanes === undefined) return wideFirst(parallel)
  const vectors = loadsOf(c.kernel).filter(
    ({ id }) => changesOver(c, id, lanes) && reduce.some(l => changesOver(c, id, l)),
  )
  const others = parallel.filter(l => l !== lanes)
  const isMoving = (l: Loop) => vectors.some(({ id }) => changesOver(c, id, l))
  const [moving, still] = [others.filter(isMoving), others.filter(l => !isMoving(l))]
  if (product(moving) < ENOUGH) return wideFirst(parallel)
  const first = others.find(l => iterations(l) > 1)
  const rest = (l: Loop) => l !== first
  const block = reduce
    .slice(split?.loop ?? 0)
    .map((l, i) => (split && i === 0 ? { ...l, extent: split.size } : l))
  const inside = [...moving.filter(rest), lanes, ...block]
  const near = vectors.reduce((n, { x }) => n + touched(x, inside), 0) <= NEAR
  if (near && first) return [first, ...still.filter(rest), ...moving.filter(rest), lanes]
  return [...moving, ...still, lanes]
}

/** The bytes that a load reads over some loops, about; infinite where it depends on values. */
function touched({ index, dtype }: Load, loops: readonly Loop[]): number {
  if (valuesOf(index).length > 0) return Infinity
  const strides = loops.map(l => ({
    extent: l.extent,
    stride: Math.abs(coefficient(index, l.axis) ?? Infinity),
  }))
  let run = 1
  for (const { extent, stride } of strides.sort((a, b) => a.stride - b.stride))
    run = stride <= run ? run + stride * (extent - 1) : run * extent
  return run * bytesOf(dtype)
}

/** The outermost loops, as many as it takes for slices enough, but none that tiles should share something over. */
function rangeOf(
  { parallel }: Nest,
  fixed: ((l: Loop) => boolean) | null,
  split: Split | null,
): Layout['range'] {
  const first = parallel.findIndex(l => iterations(l) > 1)
  if (first < 0) return { first: 0, count: 0 }
  const mayJoin = (next: number) =>
    next < parallel.length - 1 &&
    product(parallel.slice(first, next)) < SLICES &&
    !fixed?.(parallel[next]) &&
    (split === null || product(parallel.slice(next + 1)) >= REUSE)
  let count = 1
  while (mayJoin(first + count)) count++
  return { first, count }
}

/** The loop that can be cut: in it and outside it no part of an iteration, and sums only. */
function splitOf({ kernel }: Values, { block, reduce }: Nest): Split | null {
  if (block === null || kernel.stores.some(s => s.mode === 'add')) return null
  if (kernel.accumulators.some(a => a.how !== 'sum' || a.dtype !== 'f32')) return null
  if (reduce.slice(0, block.loop + 1).some(l => segments(l).length > 1)) return null
  return { loop: block.loop, size: block.iterations * step(reduce[block.loop]) }
}

/** The loops that go inside: as many as have room for their totals, without those of the slices. */
function blocksOf(
  { kernel }: Values,
  { parallel, reduce }: Nest,
  fixed: ((l: Loop) => boolean) | null,
  split: Split,
  { first, count }: Layout['range'],
): Blocks | null {
  const registers = reduce.find(l => l.lanes > 1)?.tile ?? 1
  const tile = parallel.reduce((n, l) => n * l.tile, 16 * registers * kernel.accumulators.length)
  let tiles = 1
  let inside = parallel.length
  while (inside > first + count && (fixed === null || fixed(parallel[inside - 1]))) {
    const more = tiles * iterations(parallel[inside - 1])
    if (more * tile > LIMIT) break
    tiles = more
    inside--
  }
  return count > 0 && tiles >= REUSE ? { ...split, inside, bytes: tiles * tile } : null
}

/**
 * Writes the blocks.
 * @param totals  the local of the totals' address
 * @param open    opens the loops inside the blocks; `at` writes what happens at a tile
 */
export function putBlocks(
  c: Values,
  nest: Nest,
  blocks: Blocks,
  totals: number,
  open: (at: () => void, span: Span | null) => void,
): void {
  const e = c.emitter
  const slot = newLocal(e, 'i32')
  const rewind = (code: Code) => {
    put(code, 'local.get', totals)
    put(code, 'local.set', slot)
  }
  putZeros(c, innermost(e).tail, totals, blocks.bytes)
  const outside = (i: number) => {
    const out = innermost(e).tail
    const l = nest.reduce[i]
    const counter = newLocal(e, 'i32')
    put(out, 'i32.const', 0)
    put(out, 'local.set', counter)
    if (i === blocks.loop) {
      const to = newLocal(e, 'i32')
      const body = inScope(e, () => {
        const { head } = innermost(e)
        const next = newLocal(e, 'i32')
        put(head, 'local.get', counter)
        put(head, 'i32.const', blocks.size)
        put(head, 'i32.add')
        put(head, 'local.set', next)
        putMin(head, next, l.extent, to)
        rewind(innermost(e).tail)
        const span = { from: counter, to }
        open(() => putBlock(c, nest, blocks.loop, span, slot), span)
      })
      putLoop(out, counter, blocks.size, code => put(code, 'i32.const', l.extent), body)
      return
    }
    c.places[l.axis] = { local: counter, base: 0, level: e.scopes.length }
    const body = inScope(e, () => outside(i + 1))
    putLoop(out, counter, step(l), code => put(code, 'i32.const', l.extent), body)
  }
  outside(0)
  rewind(innermost(e).tail)
  const finish = inScope(e, () => open(() => putTotals(c, nest, slot), null))
  append(innermost(e).tail, finish)
}

/** Adds up one block at a tile. */
function putBlock(c: Values, nest: Nest, loop: number, span: Span, slot: number): void {
  const state = startReduction(c, nest, false)
  for (let i = 0; i < loop; i++) state.current[i] = segments(nest.reduce[i])[0]
  openSpan(c, state, loop, span)
  const { tail } = innermost(c.emitter)
  eachSlot(state, (f, offset) => {
    put(tail, 'local.get', slot)
    putRead(tail, f, slot, offset)
    put(tail, 'local.get', f.best)
    put(tail, f.width === null ? 'f32.add' : 'f32x4.add')
    if (f.width === null) put(tail, 'f32.store', align('f32'), offset)
    else put(tail, 'v128.store', 4, offset)
  })
  putNext(tail, state, slot)
}

/** Reads the totals of a tile, and writes its epilogue. */
function putTotals(c: Values, nest: Nest, slot: number): void {
  const state = startReduction(c, nest, false)
  const { head, tail } = innermost(c.emitter)
  eachSlot(state, (f, offset) => {
    putRead(head, f, slot, offset)
    put(head, 'local.set', f.best)
  })
  putResults(c, state)
  putNext(tail, state, slot)
}

/** Pushes a total. */
function putRead(code: Code, f: Fold, slot: number, offset: number): void {
  put(code, 'local.get', slot)
  if (f.width === null) put(code, 'f32.load', align('f32'), offset)
  else put(code, 'v128.load', 4, offset)
}

function eachSlot(s: Reduction, visit: (f: Fold, offset: number) => void): void {
  for (const [i, f] of s.folds.flat(2).entries()) visit(f, 16 * i)
}
/** The next tile's slot. */
function putNext(code: Code, s: Reduction, slot: number): void {
  put(code, 'local.get', slot)
  put(code, 'i32.const', 16 * s.folds.flat(2).length)
  put(code, 'i32.add')
  put(code, 'local.set', slot)
}

/** Fills `bytes` (a multiple of 16, at least one) at an address with zeros. */
function putZeros(c: Values, code: Code, at: number, bytes: number): void {
  const [place, end] = [newLocal(c.emitter, 'i32'), newLocal(c.emitter, 'i32')]
  put(code, 'local.get', at)
  put(code, 'local.tee', place)
  put(code, 'i32.const', bytes)
  put(code, 'i32.add')
  put(code, 'local.set', end)
  const body: Code = []
  const zero = memo(c.emitter, 0, 'zero', 'v128', head =>
    put(head, 'v128.const', ...new Array<number>(16).fill(0)),
  )
  put(body, 'local.get', place)
  put(body, 'local.get', zero)
  put(body, 'v128.store', 4, 0)
  putLoop(code, place, 16, to => put(to, 'local.get', end), body)
}
