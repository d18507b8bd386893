/**
 * THE list of passes: read this first. A traced graph goes through `passes`, each a function from graph to
 * graph; then `group` decides what is stored, `lowerKernel` makes a kernel of each group, `normaliseKernel` merges and splits
 * its axes, `schedule` lays its loops on the target, and `placeInArena` gives every intermediate its place. Out: a Plan, which executors run.
 *
 * COTANGENT_TRACE=<pass> prints the graph after that pass, COTANGENT_TRACE=plan the kernels and why each is one.
 */

import { identity } from '../dsl/build.ts'
import type { TypedArray } from '../dsl/dtype.ts'
import { type Graph, makeGraph } from '../dsl/graph.ts'
import { printGraph } from '../dsl/print.ts'
import { size } from '../dsl/shape.ts'
import type { Eqn, Tensor } from '../dsl/tensor.ts'
import { type Donation, keepAll, takeOvers } from './donation.ts'
import { group } from './fuse.ts'
import type { Kernel, Schedule } from './kernel.ts'
import { lowerKernel, lowerScatter } from './lower.ts'
import { type Lifetime, placeInArena } from './memory.ts'
import { type Item, mergeKernels } from './merge.ts'
import { normaliseKernel } from './normalise.ts'
import { inline } from './passes/inline.ts'
import { share } from './passes/share.ts'
import { simplify, splitReductions } from './passes/simplify.ts'
import { splitContractions } from './passes/split-contraction.ts'
import { explicitWindows } from './passes/windows.ts'
import { type BufferRef, type Dispatch, deviceBytes, type Plan, printPlan } from './plan.ts'

/** A step from graph to graph that changes no value. */
export interface Pass {
  readonly name: string
  readonly why: string
  readonly run: (g: Graph) => Graph
}

/** The passes, in order. */
export const passes: readonly Pass[] = [
  { name: 'inline', why: 'calls become their bodies: backends know primitives only', run: inline },
  { name: 'simplify', why: 'drops what moves nothing, folds scalar constants', run: simplify },
  { name: 'share', why: 'computes equal subexpressions once', run: share },
  {
    name: 'windows',
    why: 'padding and holes of convolutions become explicit, so that inner loops have no conditions',
    run: explicitWindows,
  },
  {
    name: 'split contractions',
    why: 'cuts weight gradients in parts, summed in a fixed order',
    run: g => splitContractions(g),
  },
  {
    name: 'split',
    why: 'cuts long reductions with few results in two: parallel and more precise',
    run: splitReductions,
  },
  { name: 'tidy', why: 'simplifies and shares what the passes before made', run: g => share(simplify(g)) },
]

/** The hook that a pass's result goes through: verification in tests, printing on request. */
export type Observe = (pass: Pass, g: Graph) => void

const wanted = typeof process === 'object' ? process.env.COTANGENT_TRACE : undefined
const printTraced: Observe = (pass, g) => {
  if (wanted === pass.name) console.error(printGraph(g))
}

/** Runs the passes. */
export const optimise = (g: Graph, observe: Observe = printTraced, list: readonly Pass[] = passes): Graph =>
  list.reduce((h, pass) => {
    const out = pass.run(h)
    observe(pass, out)
    return out
  }, g)

/** A schedule for each kernel: what a target brings. */
export type Scheduler = (kernel: Kernel) => Schedule

/**
 * A graph as kernels with their places in memory.
 * @param donation which arguments' memory results may take over
 */
export function planGraph(traced: Graph, schedule: Scheduler, donation: Donation = keepAll): Plan {
  const g = materialiseOutputs(optimise(traced))
  const { groups, stored, reasons } = group(g)
  const constants: { type: Tensor; data: TypedArray }[] = []
  const refs = new Map<Eqn, BufferRef>()
  g.inputs.forEach((t, index) => {
    refs.set(t.eqn, { k: 'input', index })
  })
  const lowered: Item[] = groups.flatMap(({ root, head }) => {
    if (size(root.types[0].shape) === 0) return []
    const { scope } = root
    const why = reasons.get(root) ?? (head === null ? `a ${root.op}` : `the loop of a ${head.op}`)
    if (root.op === 'scatterAdd')
      return lowerScatter(root, stored).map(lowered => ({ lowered, scope, why, contracts: false }))
    return [{ lowered: lowerKernel(root, head, stored), scope, why, contracts: head?.op === 'contract' }]
  })
  const items = mergeKernels(lowered, new Set(g.outputs.map(t => t.eqn)))
  const placed = items.map(({ lowered: l }) => {
    const kernel = normaliseKernel(l.kernel)
    return { kernel, schedule: schedule(kernel), eqns: l.tensors.map(t => t.eqn) }
  })
  const takenOver = takeOvers(placed, g.inputs, g.outputs, donation)
  g.outputs.forEach((t, index) => {
    const input = takenOver.get(index)
    refs.set(t.eqn, input === undefined ? { k: 'output', index } : { k: 'input', index: input })
  })
  // Lifetimes of what lies in the arena: from the first kernel that touches it to the last.
  const lives = new Map<Eqn, { bytes: number; first: number; last: number }>()
  items.forEach(({ lowered: l }, step) => {
    for (const t of l.tensors) {
      if (t.eqn.op === 'const') {
        if (!refs.has(t.eqn)) {
          refs.set(t.eqn, { k: 'const', index: constants.length })
          constants.push({ type: t, data: t.eqn.params.data })
        }
      } else if (!refs.has(t.eqn)) {
        const life = lives.get(t.eqn)
        if (life) life.last = step
        else lives.set(t.eqn, { bytes: deviceBytes(t.dtype, size(t.shape)), first: step, last: step })
      }
    }
  })
  const values: [Eqn, Lifetime][] = [...lives]
  const { offsets, bytes } = placeInArena(values.map(([, life]) => life))
  values.forEach(([e, life], i) => {
    refs.set(e, { k: 'arena', offset: offsets[i], bytes: life.bytes })
  })
  const plan: Plan = {
    inputs: g.inputs.map(typeOf),
    outputs: g.outputs.map(typeOf),
    constants: constants.map(c => ({ type: typeOf(c.type), data: c.data })),
    takenOver,
    steps: placed.map(
      ({ kernel, schedule, eqns }, i): Dispatch => ({
        kernel,
        schedule,
        bindings: eqns.map(e => refs.get(e) as BufferRef), // every buffer is an argument, a result, a constant or in `lives`
        scope: items[i].scope,
        why: items[i].why,
      }),
    ),
    arenaBytes: bytes,
  }
  if (wanted === 'plan') console.error(printPlan(plan))
  return plan
}

const typeOf = ({ shape, dtype }: Tensor) => ({ shape, dtype })

/** Every result is a value of its own: an argument, a constant or a value returned twice is copied. */
function materialiseOutputs(g: Graph): Graph {
  const seen = new Set<Eqn>()
  const outputs = g.outputs.map(t => {
    const taken = t.eqn.op === 'input' || t.eqn.op === 'const' || seen.has(t.eqn)
    const own = taken ? identity(t) : t
    seen.add(own.eqn)
    return own
  })
  return outputs.every((t, i) => t === g.outputs[i]) ? g : makeGraph(g.inputs, outputs)
}
