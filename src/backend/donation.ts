/**
 * Results that take the place of donated arguments. In: kernels in order, what their buffers hold, and which
 * arguments are donated. Out: the results that are written in an argument's memory.
 *
 * A result may overwrite an argument of its type once nothing reads the argument any more. In the step that writes
 * it, every read must be of the very element that is written there: then an update of parameters is in place.
 */
import { range, size } from '../dsl/shape.ts'
import type { Eqn, TensorType } from '../dsl/tensor.ts'
import { show } from './affine.ts'
import { instructions, type Kernel, type Schedule } from './kernel.ts'
import { deviceBytes } from './plan.ts'

/** A kernel, its schedule, and what its buffers hold. */
export interface Placed {
  readonly kernel: Kernel
  readonly schedule: Schedule
  readonly eqns: readonly Eqn[]
}

/** A value of the graph with its type. */
export interface Argument extends TensorType {
  readonly eqn: Eqn
}

/** Which arguments are donated, and whether a target runs a kernel in place: each element is computed once, after its reads. */
export interface Donation {
  readonly donated: readonly boolean[]
  readonly inPlace: (kernel: Kernel, schedule: Schedule) => boolean
}

/** Nothing is donated. */
export const keepAll: Donation = { donated: [], inPlace: () => false }

/**
 * The argument whose memory each result takes over.
 * @returns  result -> argument, each argument at most once; the other results have memory of their own
 */
export function takeOvers(
  steps: readonly Placed[],
  inputs: readonly Argument[],
  outputs: readonly Argument[],
  { donated, inPlace }: Donation,
): Map<number, number> {
  const free = new Set(range(inputs.length).filter(i => donated[i]))
  const touches = (e: Eqn): number[] => steps.flatMap((s, i) => (s.eqns.includes(e) ? [i] : []))
  const lastRead = inputs.map(t => touches(t.eqn).at(-1) ?? -1)
  const written = outputs.map(t => touches(t.eqn)[0] ?? 0)
  const fits = (i: number, o: number) => bytes(inputs[i]) === bytes(outputs[o])
  const found = new Map<number, number>()
  const take = (allowed: (i: number, o: number) => boolean) => {
    for (const o of outputs.keys()) {
      if (found.has(o)) continue
      const i = [...free].find(k => fits(k, o) && allowed(k, o))
      if (i === undefined) continue
      free.delete(i)
      found.set(o, i)
    }
  }
  // The updated parameter first takes its own place; then what is left goes to whom it fits.
  take(
    (i, o) =>
      lastRead[i] === written[o] &&
      elementwise(steps[written[o]], inputs[i].eqn, outputs[o].eqn) &&
      inPlace(steps[written[o]].kernel, steps[written[o]].schedule),
  )
  take((i, o) => lastRead[i] < written[o])
  return found
}

const bytes = (t: TensorType): number => deviceBytes(t.dtype, size(t.shape))

/** Whether the step reads of `from` only the element that it is about to write to `to`. */
function elementwise({ kernel, eqns }: Placed, from: Eqn, to: Eqn): boolean {
  const [source, target] = [eqns.indexOf(from), eqns.indexOf(to)]
  const store = kernel.stores.find(s => s.buffer === target)
  if (store?.mode !== 'set' || store.guard.length > 0) return false
  const loops = kernel.axes.some(a => a.kind === 'reduce')
  const at = show(store.index)
  return instructions(kernel).every(
    (x, id) =>
      x.k !== 'load' ||
      x.buffer !== source ||
      (!(loops && id < kernel.body.length) && x.guard.length === 0 && show(x.index) === at),
  )
}
