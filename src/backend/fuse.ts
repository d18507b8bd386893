/**
 * Which equations get a kernel of their own. In: a simplified graph without calls. Out: groups in topological
 * order, each with a root that is stored; every other equation is computed where it is used.
 *
 * Note [Fusion]. Views and cheap elementwise work are recomputed in each consumer; a value is stored when
 *   - it is a result of the graph, or has a loop (reduce, contract, fold, scatterAdd),
 *   - it costs more than `cheap` and is used more than once, be it by two consumers, by a broadcast, by
 *     overlapping windows or by a gather,
 *   - it is an operand of a contraction that is no affine view of a buffer (the inner loops read plain addresses),
 *   - a kernel would read more buffers than a stage may bind.
 * A loop takes the elementwise work that follows it into its epilogue, as far as every use of its result leads
 * into the same stored value.
 */
import type { Graph } from '../dsl/graph.ts'
import { isDerived, type ScalarRecord, scalars } from '../dsl/scalar.ts'
import { size } from '../dsl/shape.ts'
import type { Eqn, Tensor } from '../dsl/tensor.ts'
import { axis } from './affine.ts'
import { forwardIndex } from './lower.ts'
import { uniformValue } from './passes/simplify.ts'

/** A kernel to be: `root` is stored; `head` is its loop, if it has one. */
export interface Group {
  readonly root: Eqn
  readonly head: Eqn | null
}
export interface Grouping {
  readonly groups: readonly Group[]
  readonly stored: ReadonlySet<Eqn>
  /** Why each stored equation is stored: what a printed plan says. */
  readonly reasons: ReadonlyMap<Eqn, string>
}

/** Scalar operations that are rather done twice than stored. */
const cheap = 3
/** Instructions at which a kernel's body is cut. */
const longest = 300
/** What an expansion costs, roughly: the operations of exp. */
const derivedCost = 20
/** Buffers that a kernel may read: WebGPU guarantees 8 bindings, one is the result. */
const maxBuffers = 7

const hasLoop = (e: Eqn): boolean =>
  e.op === 'reduce' || e.op === 'contract' || e.op === 'fold' || e.op === 'scatterAdd'
const isLeaf = (e: Eqn): boolean => e.op === 'input' || e.op === 'const'
const repeats = (e: Eqn): boolean =>
  e.op === 'broadcast' || e.op === 'unfold' || e.op === 'gather' || e.op === 'fold' || e.op === 'contract'

function ownCost(e: Eqn): number {
  if (e.op === 'randomBits') return 4 * derivedCost
  if (e.op === 'concat') return e.inputs.length
  if (e.op !== 'map') return 0
  const record: ScalarRecord = scalars[e.params.fn]
  return isDerived(record) ? derivedCost : 1
}

/** Decides what is stored. */
export function group(g: Graph): Grouping {
  const consumers = new Map<Eqn, Eqn[]>()
  for (const e of g.eqns)
    for (const x of new Set(e.inputs.map(t => t.eqn))) consumers.set(x, [...(consumers.get(x) ?? []), e])
  const results = new Set(g.outputs.map(t => t.eqn).filter(e => !isLeaf(e)))
  const stored = new Set<Eqn>(results)
  const reasons = new Map<Eqn, string>([...results].map(e => [e, 'a result']))
  for (const e of g.eqns) if (hasLoop(e)) stored.add(e)

  const inlined = new Map<Eqn, { cost: number; buffers: ReadonlySet<Eqn> }>()
  const seen = (t: Tensor): { cost: number; buffers: ReadonlySet<Eqn> } => {
    if (uniformValue(t) !== null) return { cost: 0, buffers: new Set() }
    if (isLeaf(t.eqn) || stored.has(t.eqn)) return { cost: 0, buffers: new Set([t.eqn]) }
    return inlined.get(t.eqn) ?? { cost: 0, buffers: new Set([t.eqn]) }
  }
  const store = (t: Tensor, why: string): void => {
    if (isLeaf(t.eqn) || stored.has(t.eqn) || uniformValue(t) !== null) return
    stored.add(t.eqn)
    reasons.set(t.eqn, why)
  }
  for (const e of g.eqns) {
    if (isLeaf(e)) continue
    for (const x of e.inputs) {
      if (e.op === 'contract' && !isAffineView(x, stored)) store(x, 'operand of a contraction')
      else if (repeats(e) && seen(x).cost > cheap && isRepeated(e, x))
        store(x, `costs ${seen(x).cost}, ${e.op} would repeat it`)
      else if (e.op === 'gather' && x === e.inputs[0] && seen(x).cost > 0) store(x, 'read by a gather')
    }
    const union = () => {
      const all = e.inputs.map(seen)
      return {
        cost: all.reduce((n, s) => n + s.cost, ownCost(e)),
        buffers: new Set(all.flatMap(s => [...s.buffers])),
      }
    }
    let mine = union()
    while (mine.buffers.size > maxBuffers || mine.cost > longest) {
      const open = e.inputs.filter(x => !isLeaf(x.eqn) && !stored.has(x.eqn) && uniformValue(x) === null)
      if (open.length === 0) break
      store(
        open.reduce((a, x) =>
          seen(x).buffers.size * 100 + seen(x).cost > seen(a).buffers.size * 100 + seen(a).cost ? x : a,
        ),
        mine.buffers.size > maxBuffers ? 'its reader has too many buffers' : 'its reader is too long',
      )
      mine = union()
    }
    inlined.set(e, mine)
    const uses = consumers.get(e)?.length ?? 0
    if (uses > 1 && mine.cost > cheap && !stored.has(e)) {
      stored.add(e)
      reasons.set(e, `used ${uses} times, costs ${mine.cost}`)
    }
  }
  return { groups: formGroups(g, consumers, results, stored), stored, reasons }
}

/** Whether a consumer asks for an element of x more than once. */
const isRepeated = (e: Eqn, x: Tensor): boolean =>
  e.op !== 'broadcast' || size(e.types[0].shape) > size(x.shape)

/** Whether x is a buffer behind moves that leave addresses affine and unconditional. */
function isAffineView(x: Tensor, stored: ReadonlySet<Eqn>): boolean {
  const e = x.eqn
  if (isLeaf(e) || stored.has(e)) return true
  if (e.op === 'permute' || e.op === 'slice' || e.op === 'flip' || e.op === 'broadcast')
    return isAffineView(e.inputs[0], stored)
  if (e.op !== 'reshape' || !isAffineView(e.inputs[0], stored)) return false
  // A reshape of a buffer, or one that only splits axes or drops ones: the flat position stays affine.
  const inner = e.inputs[0].eqn
  return isLeaf(inner) || stored.has(inner) || splitsOnly(e.inputs[0].shape, e.types[0].shape)
}
/** Each axis of `from` becomes a run of axes of `to`. */
function splitsOnly(from: readonly number[], to: readonly number[]): boolean {
  let at = 0
  for (const n of from) {
    let part = 1
    while (at < to.length && part < n) part *= to[at++]
    if (part !== n) return false
  }
  return to.slice(at).every(n => n === 1)
}

/** Gives every stored equation a group, and loops their epilogues. */
function formGroups(
  g: Graph,
  consumers: ReadonlyMap<Eqn, readonly Eqn[]>,
  results: ReadonlySet<Eqn>,
  stored: Set<Eqn>,
): Group[] {
  const heads = new Map<Eqn, Eqn>()
  for (const e of g.eqns) {
    if (!hasLoop(e) || e.op === 'scatterAdd' || results.has(e)) continue
    const root = epilogueOf(e, consumers, results, stored, heads)
    if (root === null) continue
    stored.delete(e)
    stored.add(root)
    heads.set(root, e)
  }
  const roots = g.eqns.filter(e => stored.has(e))
  return roots.map(root => ({
    root,
    head: heads.get(root) ?? (hasLoop(root) && root.op !== 'scatterAdd' ? root : null),
  }))
}

/**
 * The stored value into which every use of a loop's result leads by maps and moves alone, element by element;
 * null if there is none.
 */
function epilogueOf(
  head: Eqn,
  consumers: ReadonlyMap<Eqn, readonly Eqn[]>,
  results: ReadonlySet<Eqn>,
  stored: ReadonlySet<Eqn>,
  heads: ReadonlyMap<Eqn, Eqn>,
): Eqn | null {
  const n = size(head.types[0].shape)
  const region = new Set([head])
  const frontier = [...(consumers.get(head) ?? [])]
  let exit: Eqn | null = null
  while (frontier.length > 0) {
    frontier.sort((a, b) => a.id - b.id)
    const e = frontier.shift() as Eqn
    if (region.has(e)) continue
    const follows =
      (e.op === 'map' || e.op === 'reshape' || e.op === 'permute') &&
      size(e.types[0].shape) === n &&
      !heads.has(e)
    if (!follows || exit !== null) return null
    region.add(e)
    if (results.has(e) || stored.has(e)) exit = e
    else frontier.push(...(consumers.get(e) ?? []))
  }
  if (exit === null) return null
  const point = head.types[0].shape.map((extent, i) => axis(i, extent))
  const reads = new Set(
    [...region].flatMap(e => (e === head ? [] : e.inputs.map(x => x.eqn).filter(x => !region.has(x)))),
  )
  return reads.size + head.inputs.length <= maxBuffers - 2 && forwardIndex(head, exit, point) !== null
    ? exit
    : null
}
