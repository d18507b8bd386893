/**
 * Plan -> Plan: intermediates in f16, half the memory and its traffic; all arithmetic and all sums stay f32.
 *
 * Note [What is held as f16]. An intermediate of f32 with more than 1,024 elements that is computed element by element
 * or by a contraction (a sum of products: matmul, convolution). In f32 stay
 *   arguments, results and constants, so parameters, gradients that are returned and the optimiser's state,
 *   what is small: scalars, biases, statistics of channels,
 *   what another reduction writes: means, variances, sums of softmax, pooled features,
 *   the parts of a sum that was cut in two, and what is added to in place,
 *   what is made into a result element by element, over any number of kernels: the optimiser's part of a step, whose
 *   squares of gradients are too small for f16.
 * f16 has 11 bits and ends at 65504: gradients below 6e-8 are 0, so scale the loss.
 */
import { type Instr, instructions, type Kernel } from '../kernel.ts'
import { alignment, placeInArena } from '../memory.ts'
import type { BufferRef, Dispatch, Plan } from '../plan.ts'

type ArenaRef = Extract<BufferRef, { k: 'arena' }>

/** Intermediates up to this size stay f32. */
const SMALL = 1024

/**
 * The plan with its large intermediates in f16: see Note [What is held as f16]. Values are told apart by the identity
 * of their `BufferRef`.
 */
export function storeHalf(plan: Plan): Plan {
  const values = new Map<ArenaRef, Value>()
  for (const [step, dispatch] of plan.steps.entries())
    for (const [i, ref] of dispatch.bindings.entries()) {
      if (ref.k !== 'arena') continue
      const v = values.get(ref) ?? { uses: [], first: step, last: step }
      v.uses.push({ dispatch, buffer: i })
      v.last = step
      values.set(ref, v)
    }
  const exact = leadingToResults(plan)
  const halves = new Set([...values].flatMap(([ref, v]) => (canBeHalf(v) && !exact.has(ref) ? [ref] : [])))
  const of = (half: boolean) => [...values].filter(([ref]) => halves.has(ref) === half)
  const place = (group: [ArenaRef, Value][], bytesOf: (bytes: number) => number) => {
    const sized = group.map(([ref, v]) => ({ bytes: bytesOf(ref.bytes), first: v.first, last: v.last }))
    return { ...placeInArena(sized), sized }
  }
  // two parts, so that no binding spans both kinds
  const [whole, half] = [place(of(false), n => n), place(of(true), n => Math.ceil(n / 8) * 4)]
  const base = Math.ceil(whole.bytes / alignment) * alignment
  const moved = new Map<BufferRef, BufferRef>()
  for (const [i, [ref]] of of(false).entries())
    moved.set(ref, { k: 'arena', offset: whole.offsets[i], bytes: whole.sized[i].bytes })
  for (const [i, [ref]] of of(true).entries())
    moved.set(ref, { k: 'arena', offset: base + half.offsets[i], bytes: half.sized[i].bytes })
  const isHalf = (ref: BufferRef) => ref.k === 'arena' && halves.has(ref)
  return {
    ...plan,
    arenaBytes: base + half.bytes,
    steps: plan.steps.map(s => ({
      ...s,
      kernel: {
        ...s.kernel,
        buffers: s.kernel.buffers.map((b, i) => (isHalf(s.bindings[i]) ? { ...b, storage: 'f16' } : b)),
      },
      bindings: s.bindings.map(ref => moved.get(ref) ?? ref),
    })),
  }
}

interface Value {
  readonly uses: { readonly dispatch: Dispatch; readonly buffer: number }[]
  readonly first: number
  last: number
}

/** The intermediates from which a result is computed element by element, from the last kernel back. */
function leadingToResults({ steps }: Plan): ReadonlySet<BufferRef> {
  const leading = new Set<BufferRef>()
  for (const { kernel, bindings } of steps.toReversed()) {
    const { buffers, body, epilogue, accumulators } = kernel
    const leads = bindings.some(
      (ref, i) => buffers[i].access !== 'read' && (ref.k !== 'arena' || leading.has(ref)),
    )
    if (!leads) continue
    // what a kernel sums is not an element of its result; what it loads behind the sum is
    for (const x of accumulators.length > 0 ? epilogue : [...body, ...epilogue])
      if (x.k === 'load' && bindings[x.buffer].k === 'arena') leading.add(bindings[x.buffer])
  }
  return leading
}

function canBeHalf({ uses }: Value): boolean {
  const buffers = uses.map(u => u.dispatch.kernel.buffers[u.buffer])
  if (buffers.some(b => b.dtype !== 'f32' || b.access === 'add' || b.size <= SMALL)) return false
  const written = uses.filter((_, i) => buffers[i].access === 'write').map(u => u.dispatch.kernel)
  const folded = written.some(k => k.accumulators.length > 0)
  if (folded && !written.every(isContraction)) return false
  const read = uses.filter((_, i) => buffers[i].access === 'read')
  return !folded || !read.every(u => isSummedOnly(u.dispatch.kernel, u.buffer))
}

/** Whether a kernel sums products of two values. */
const isContraction = ({ body, accumulators }: Kernel): boolean =>
  accumulators.length > 0 &&
  accumulators.every(({ how, value }) => {
    const x: Instr = body[value]
    return how === 'sum' && x.k === 'scalar' && x.fn === 'mul' && x.args[0] !== x.args[1]
  })

/** Whether a kernel does nothing with the elements of a buffer but sum them. */
const isSummedOnly = (k: Kernel, buffer: number): boolean => {
  const all = instructions(k)
  const loads = all.flatMap((x, id) => (x.k === 'load' && x.buffer === buffer ? [id] : []))
  return loads.every(
    id =>
      k.accumulators.some(a => a.value === id && a.how === 'sum') &&
      !all.some(x => x.k === 'scalar' && x.args.includes(id)) &&
      !k.stores.some(s => s.value === id),
  )
}
