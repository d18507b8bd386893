/**
 * Kernels that become one. In: lowered kernels in order. Out: fewer, with several results each.
 *
 * Note [Merging]. A kernel joins an earlier one where both run over the same points:
 *   - two maps, or two reductions, of the same axes: what both read is read once (the two sums of a batch norm's
 *     gradient, the running statistics);
 *   - a map over the results of a loop joins its epilogue (the new momentum is stored by the kernel that computes
 *     the weight's gradient, and the new weight with it: the optimiser has no kernels of its own).
 * What the later kernel reads of the earlier one's results must be the element that is stored at the same point; all
 * else that it reads must exist before the earlier one runs. They must have something in common, or be small, so that
 * only the launch is saved. Large results are not computed long before they are used: that would hold memory.
 */
import { size } from '../dsl/shape.ts'
import type { Eqn } from '../dsl/tensor.ts'
import { show, valuesOf } from './affine.ts'
import { indicesOf } from './collapse.ts'
import { type Instr, instructions, type Kernel, type KernelBuffer, type Store } from './kernel.ts'
import type { Lowered } from './lower.ts'
import { instrKey } from './values.ts'

/** A kernel with what is known of it. */
export interface Item {
  readonly lowered: Lowered
  /** The place in the user's function. */
  readonly scope: string
  /** Why its results are stored. */
  readonly why: string
  /** Whether its loop is a product: two of these do not merge, each needs the registers. */
  readonly contracts: boolean
}

/** Buffers of a merged kernel: what WebGPU guarantees a stage. */
const mostBuffers = 8
/** Instructions of a merged kernel. */
const longest = 300
/** Accumulators of a merged kernel: registers are few. */
const mostAccumulators = 4
/** Points up to which a launch costs more than the work. */
const small = 2 ** 14
/** Kernels between two that merge, unless the later one's result is small or a result of the graph. */
const near = 12

/**
 * Merges what can be merged.
 * @param items    kernels in an order in which they can run
 * @param results  the results of the graph: their memory is there in any case
 */
export function mergeKernels(items: readonly Item[], results: ReadonlySet<Eqn>): Item[] {
  const slots: Item[] = []
  const producer = new Map<Eqn, number>()
  const readers = new Map<Eqn, number[]>()
  for (const item of items) {
    const reads = eqnsOf(item, 'read')
    const writes = eqnsOf(item, 'write')
    const lasting = writes.every(e => results.has(e) || size(e.types[0].shape) <= small)
    const from = lasting ? 0 : slots.length - near
    const after = Math.max(-1, ...reads.map(e => producer.get(e) ?? -1))
    const related = [...reads.flatMap(e => [producer.get(e) ?? -1, ...(readers.get(e) ?? [])])]
    const tiny = points(item.lowered.kernel) <= small
    const others = tiny ? slots.keys() : []
    const place = [...new Set([...related, ...others])]
      .filter(at => at >= Math.max(from, after, 0))
      .sort((a, b) => b - a)
      .find(at => {
        const merged = (related.includes(at) || slots.length - at <= near) && merge(slots[at], item)
        if (merged) slots[at] = merged
        return merged
      })
    const at = place ?? slots.push(item) - 1
    for (const e of writes) producer.set(e, at)
    for (const e of reads) readers.set(e, [...(readers.get(e) ?? []), at])
  }
  return slots
}

const eqnsOf = ({ lowered: { kernel, tensors } }: Item, access: 'read' | 'write'): Eqn[] =>
  kernel.buffers.flatMap((b, i) => ((b.access === 'read') === (access === 'read') ? [tensors[i].eqn] : []))
const points = (k: Kernel): number => k.axes.reduce((n, a) => n * a.extent, 1)
const isMap = (k: Kernel): boolean => k.accumulators.length === 0 && k.epilogue.length === 0
const parallel = (k: Kernel): string => k.axes.flatMap(a => (a.kind === 'parallel' ? [a.extent] : [])).join()
const allAxes = (k: Kernel): string => k.axes.map(a => `${a.extent}${a.kind}`).join()

/** One kernel that does what `first` and then `then` do, or null. */
function merge(first: Item, then: Item): Item | null {
  const [a, b] = [first.lowered, then.lowered]
  const [x, y] = [a.kernel, b.kernel]
  if ([...x.stores, ...y.stores].some(s => s.mode !== 'set' || s.guard.length > 0)) return null
  const same = allAxes(x) === allAxes(y) && isMap(x) === isMap(y)
  const follows = !isMap(x) && isMap(y) && parallel(x) === parallel(y)
  if (!same && !follows) return null
  if (same && !isMap(x) && (first.contracts || then.contracts)) return null
  if (x.accumulators.length + y.accumulators.length > mostAccumulators) return null
  if (instructions(x).length + instructions(y).length > longest) return null
  const lowered = join(a, b, follows)
  return lowered && { ...first, lowered, why: `${first.why}; ${then.lowered.kernel.name}: ${then.why}` }
}

/** @param late whether the second kernel, a map, runs in the first one's epilogue */
function join(a: Lowered, b: Lowered, late: boolean): Lowered | null {
  const [x, y] = [a.kernel, b.kernel]
  if ([...indicesOf(x), ...indicesOf(y)].some(i => valuesOf(i).length > 0)) return null
  const tensors = [...a.tensors]
  const buffers: KernelBuffer[] = [...x.buffers]
  const bufferOf = b.tensors.map((t, i) => {
    const known = tensors.findIndex(u => u.eqn === t.eqn && u.output === t.output)
    return known >= 0 ? known : buffers.push(y.buffers[i]) && tensors.push(t) - 1
  })
  if (buffers.length > mostBuffers) return null

  // Instructions of both, equal ones once; numbered by place here, and anew when all are known.
  const all: { readonly instr: Instr; readonly late: boolean }[] = []
  const known = new Map<string, number>()
  const put = (instr: Instr, after: boolean): number => {
    const key = `${after} ${instrKey(instr)}`
    const at = known.get(key) ?? all.push({ instr, late: after }) - 1
    known.set(key, at)
    return at
  }
  const ofX: number[] = []
  for (const [id, instr] of instructions(x).entries())
    ofX.push(put(withArgs(instr, ofX), id >= x.body.length))
  const stored = new Map(x.stores.map(s => [s.buffer, s]))
  const ofY: number[] = []
  for (const [id, instr] of instructions(y).entries()) {
    const after = late || id >= y.body.length
    const written = instr.k === 'load' ? stored.get(bufferOf[instr.buffer]) : undefined
    if (instr.k === 'load' && written) {
      const here = show(instr.index) === show(written.index) && instr.guard.length === 0
      if (!here || (!after && !isMap(x))) return null
      ofY.push(ofX[written.value])
    } else ofY.push(put(moved(withArgs(instr, ofY), bufferOf, x.accumulators.length), after))
  }
  const order = [...all.filter(e => !e.late), ...all.filter(e => e.late)]
  const place = new Map(order.map((e, i) => [e, i]))
  const number = all.map(e => place.get(e) as number) // every entry is in the order
  const finished = (after: boolean) => order.filter(e => e.late === after).map(e => withArgs(e.instr, number))
  const kernel: Kernel = {
    name: x.name,
    axes: x.axes,
    buffers,
    body: finished(false),
    accumulators: [
      ...x.accumulators.map(c => ({ ...c, value: number[ofX[c.value]] })),
      ...y.accumulators.map(c => ({ ...c, value: number[ofY[c.value]] })),
    ],
    epilogue: finished(true),
    stores: [
      ...x.stores.map((s): Store => ({ ...s, value: number[ofX[s.value]] })),
      ...y.stores.map((s): Store => ({ ...s, buffer: bufferOf[s.buffer], value: number[ofY[s.value]] })),
    ],
  }
  return { kernel, tensors }
}

const withArgs = (x: Instr, ids: readonly number[]): Instr =>
  x.k === 'scalar' ? { ...x, args: x.args.map(i => ids[i]) } : x
/** An instruction of the second kernel, with the numbers of buffers and accumulators in the merged one. */
function moved(x: Instr, bufferOf: readonly number[], accumulators: number): Instr {
  if (x.k === 'load') return { ...x, buffer: bufferOf[x.buffer] }
  return x.k === 'acc' ? { ...x, accumulator: x.accumulator + accumulators } : x
}
