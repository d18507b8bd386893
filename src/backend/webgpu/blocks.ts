/**
 * A contraction over other coordinates. In: a kernel, the matrix product that it is, a stage. Out: the same kernel over
 * (batch, block of rows, block of columns; invocation, step; positions), in which both operands are values of what an
 * invocation copies to workgroup memory, and the epilogue is of the results that it keeps. staged.ts makes text of it.
 *
 * Only index expressions change; the edges of blocks and of the last step are conditions of loads and stores. So guards
 * (padding, phases of strides), run-time indices, prologues and epilogues stay what they are.
 */
import * as ix from '../affine.ts'
import { dependencies } from '../depend.ts'
import type { Axis, Instr, Kernel, Stage, Store } from '../kernel.ts'
import {
  type Contraction,
  copier,
  type Edge,
  type Flat,
  mover,
  type Place,
  type View,
} from './contraction.ts'
import { type At, LANES, quadBindings, type Slot, type Tile } from './tiles.ts'

/**
 * What an invocation copies at a time, of the rows of an operand's block:
 *   quads       four rows of a term, a vector in memory
 *   transposed  four terms of four rows, in memory a vector a row
 *   terms       four rows of a term; neighbouring invocations copy neighbouring terms
 *   rows        four rows of a term, a quarter of the block apart; neighbouring invocations copy neighbouring rows
 */
export type Fill = 'quads' | 'transposed' | 'terms' | 'rows'

/** An operand: its rows are the product's rows, or its columns. */
export interface Side {
  readonly fill: Fill
  /** Instructions of the new kernel: what is copied, to which quad of the block's memory. */
  readonly value: number
  readonly address: number
  /** The instruction for the invocation's place along the block, in [0, lanes). */
  readonly place: number
  readonly lanes: number
  /** Copies of the block in all, and of an invocation. */
  readonly units: number
  readonly copies: number
  /** The new axes of an invocation's copies, of the quads of its tile, and of the rows of a quad. */
  readonly axes: { readonly copy: number; readonly quad: number; readonly within: number }
}

/** A contraction in blocks. */
export interface Blocks {
  readonly kernel: Kernel
  readonly tiles: readonly Tile[]
  readonly rows: Side
  readonly columns: Side
  /** Axes: the invocation in its workgroup, the step, and the term among the four of a transposed copy. */
  readonly axes: { readonly invocation: number; readonly step: number; readonly term: number }
  /** The position with these places on these axes, 0 on the others. */
  at(places: Readonly<Record<number, number>>): At
}

/** Rewrites a contraction; `slots` decide where memory is read in vectors. */
export function inBlocks(k: Kernel, slots: readonly Slot[], stage: Stage, product: Contraction): Blocks {
  const masks = dependencies(k)
  const { terms, batch } = product
  const { depth } = stage
  const size = (stage.block[0] / stage.tile[0]) * (stage.block[1] / stage.tile[1])
  const lanes = stage.block.map((b, n) => b / stage.tile[n])

  const extents: Axis[] = []
  const add = (extent: number, kind: Axis['kind'] = 'parallel') => extents.push({ extent, kind }) - 1
  const axis = (i: number) => ix.axis(i, extents[i].extent)
  const batches: Place = batch.axes.map(i => {
    const { extent } = k.axes[i]
    return { flat: { axes: [i], mask: 1 << i, extent }, at: axis(add(extent)) }
  })
  const flats = [product.rows, product.columns]
  const groups = flats.map((f, n) => add(Math.ceil(f.extent / stage.block[n])))
  const invocation = add(size, 'reduce')
  const step = add(Math.ceil(terms.extent / depth), 'reduce')
  const term = add(LANES)
  const tileAxes = stage.tile.map(t => ({ within: add(LANES), quad: add(t / LANES), copy: add(1) }))
  const axes = { invocation, step, term }
  /** The invocation's place along rows and columns: neighbours along columns. */
  const own = [ix.div(axis(invocation), lanes[1]), ix.mod(axis(invocation), lanes[1])]
  const tiles = (): Tile[] =>
    [term, ...tileAxes.flatMap(t => [t.within, t.quad, t.copy])].map(a => ({
      axis: a,
      size: extents[a].extent,
      groups: 1,
      together: true,
      quads: a === term || tileAxes.some(t => t.within === a),
    }))

  /** The row of a quad's place: see Fill. */
  const row = (n: number, fill: Fill, quad: ix.Affine): ix.Affine => {
    const within = axis(tileAxes[n].within)
    const first = ix.scale(axis(groups[n]), stage.block[n])
    return ix.add(
      first,
      fill === 'rows'
        ? ix.addScaled(quad, within, stage.block[n] / LANES)
        : ix.add(ix.scale(quad, LANES), within),
    )
  }
  /** That a number which counts by `lane` is below a limit; of whole quads by their first. */
  const below = (a: ix.Affine, limit: number, lane: number, quads: boolean): ix.Condition[] => {
    const c = ix.condition(quads && limit % LANES === 0 ? ix.addScaled(a, axis(lane), -1) : a, 0, limit)
    return c === null ? [] : [c]
  }
  const edge = (n: number, fill: Fill, at: ix.Affine): Edge => ({
    mask: flats[n].mask,
    guard: below(at, flats[n].extent, tileAxes[n].within, fill !== 'rows'),
  })

  /** An operand's instructions, copied by a fill to the end of a body. */
  const operand = (n: number, fill: Fill, body: Instr[]): Side => {
    const quads = stage.block[n] / LANES
    const units = fill === 'transposed' ? (quads * depth) / LANES : quads * depth
    const copies = Math.ceil(units / size)
    extents[tileAxes[n].copy] = { extent: copies, kind: 'parallel' }
    const unit = ix.addScaled(axis(invocation), axis(tileAxes[n].copy), size)
    const wide = fill === 'transposed' ? LANES : 1
    const inStep = depth / wide
    const [quad, t] =
      fill === 'quads' || fill === 'rows'
        ? [ix.mod(unit, quads), ix.div(unit, quads)]
        : [ix.div(unit, inStep), ix.scale(ix.mod(unit, inStep), wide)]
    const ofStep = wide === 1 ? t : ix.add(t, axis(term))
    const at = row(n, fill, quad)
    const ofAll = ix.add(ix.scale(axis(step), depth), ofStep)
    const last = below(ofAll, terms.extent, term, fill === 'transposed')
    const unitEdge = ix.condition(unit, 0, units)
    const edges: Edge[] = [
      edge(n, fill, at),
      { mask: terms.mask, guard: last },
      { mask: flats[n].mask | terms.mask, guard: unitEdge === null ? [] : [unitEdge] },
    ]
    const where = [...batches, { flat: flats[n], at }, { flat: terms, at: ofAll }]
    const id = n === 0 ? product.operands.rows : product.operands.columns
    let value = copier(k, masks, { where, edges }, body)(id)
    const push = (x: Instr) => body.push(x) - 1
    // no such term: a load gives 0 by its guard, everything else is made 0
    if (last.length > 0 && !(k.body[id].k === 'load' && masks[id] & terms.mask)) {
      const inside = push({ k: 'inside', guard: last, dtype: 'bool' })
      const zero = push({ k: 'lit', value: 0, dtype: 'f32' })
      value = push({ k: 'scalar', fn: 'select', args: [inside, value, zero], dtype: 'f32' })
    }
    const address = push({ k: 'index', index: ix.addScaled(quad, ofStep, quads), dtype: 'i32' })
    return {
      fill,
      value,
      address,
      place: push({ k: 'index', index: own[n], dtype: 'i32' }),
      lanes: lanes[n],
      units,
      copies,
      axes: tileAxes[n],
    }
  }
  /** Whether a fill reads vectors. */
  const isVector = (n: number, fill: Fill): boolean => {
    const body: Instr[] = []
    operand(n, fill, body)
    const alone: Kernel = { ...k, axes: extents, body, accumulators: [], epilogue: [], stores: [] }
    const found = quadBindings(alone, slots, tiles())
    const loads = body.filter(x => x.k === 'load')
    return loads.length > 0 && loads.every(x => found.has(slots[x.buffer].binding))
  }
  /** Elements that lie beside each other as a flat number counts. */
  const run = (id: number, { axes }: Flat): number => {
    const x = k.body[id]
    const last = axes.at(-1)
    const beside = x.k === 'load' && last !== undefined && Math.abs(ix.coefficient(x.index, last) ?? 0) === 1
    return beside ? k.axes[last].extent : 1
  }
  const body: Instr[] = []
  const [rows, columns] = [product.operands.rows, product.operands.columns].map((id, n) => {
    const single = run(id, terms) > run(id, flats[n]) ? 'terms' : 'rows'
    return operand(n, (['quads', 'transposed'] as const).find(f => isVector(n, f)) ?? single, body)
  })

  const results = [rows, columns].map(({ fill, lanes, axes }, n) => {
    const at = row(n, fill, ix.addScaled(own[n], axis(axes.quad), lanes))
    return { at, edge: edge(n, fill, at) }
  })
  const view: View = {
    where: [...batches, ...results.map(({ at }, n) => ({ flat: flats[n], at }))],
    edges: results.map(r => r.edge),
  }
  const copy = copier(k, masks, view, body)
  const outside = new Map(
    k.body.flatMap((_, id) => (masks[id] & terms.mask ? [] : [[id, copy(id)] as const])),
  )
  const renamed = (id: number): number => {
    const known = id < k.body.length ? outside.get(id) : id - k.body.length + body.length
    if (known === undefined)
      throw new Error(`webgpu: the epilogue of kernel ${k.name} uses what exists only inside the reduce loop`)
    return known
  }
  const move = mover(k, view, renamed)
  const kernel: Kernel = {
    ...k,
    axes: extents,
    body,
    epilogue: k.epilogue.map((x, i) => move.instr(x, masks[k.body.length + i])),
    stores: k.stores.map(
      (s): Store => ({
        ...s,
        index: move.index(s.index),
        value: renamed(s.value),
        guard: [...move.guard(s.guard), ...view.edges.flatMap(e => e.guard)],
      }),
    ),
    accumulators: k.accumulators.map(a => ({ ...a, value: rows.value })),
  }
  const all = tiles()
  return { kernel, tiles: all, rows, columns, axes, at: places => all.map(t => places[t.axis] ?? 0) }
}
