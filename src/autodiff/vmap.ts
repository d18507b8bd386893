/**
 * `vmap`: a function of one example as a function of a batch. Each primitive has a rule that says what it is with
 * a further first axis; what does not depend on a batched argument stays as it is.
 */
import * as b from '../dsl/build.ts'
import { ShapeError } from '../dsl/errors.ts'
import { equations } from '../dsl/graph.ts'
import type { Closed, Op } from '../dsl/prim.ts'
import { range } from '../dsl/shape.ts'
import { atScope, bind, bind1, currentScope, type Eqn, input, type Tensor } from '../dsl/tensor.ts'
import { isTensor } from '../dsl/trace.ts'
import { fillTree, leaves, mapTree } from '../dsl/tree.ts'

/** An operand: batched along axis 0, or the same for the whole batch. */
interface Batched {
  readonly x: Tensor
  readonly batched: boolean
}
/** The results of an equation on operands of which at least one is batched; all results are batched. */
type BatchRule<K extends Op> = (e: Eqn<K>, xs: readonly Batched[], n: number) => readonly Tensor[]
/** One rule per primitive. */
export type BatchRules = { readonly [K in Op]: BatchRule<K> }

/** The operand with the batch as its first axis. */
const whole = (v: Batched, n: number): Tensor => (v.batched ? v.x : b.broadcastTo(v.x, [n, ...v.x.shape]))
const one = (y: Tensor): readonly Tensor[] => [y]
const up = (axes: readonly number[]): number[] => axes.map(a => a + 1)
const never = (): never => {
  throw new Error('an equation without operands is not batched')
}

/** A function as data on operands of which some are batched: all its results are. */
function batchClosed(rules: BatchRules, f: Closed, batched: readonly boolean[], n: number): Closed {
  const params = f.params.map((p, i) =>
    input('operand', { shape: batched[i] ? [n, ...p.shape] : p.shape, dtype: p.dtype }),
  )
  const inner = params.map((x, i) => ({ x, batched: batched[i] }))
  return { params, body: batchTensors(rules, f.body, f.params, inner, n).map(v => whole(v, n)) }
}

/** The batching rules. */
// biome-ignore format: a table
export const batchRules: BatchRules = {
  input: never, const: never, iota: never,
  map: (e, xs, n) => one(bind1('map', e.params, xs.map(v => whole(v, n)))),
  reduce: (e, [v], n) => one(bind1('reduce', { ...e.params, axes: up(e.params.axes) }, [whole(v, n)])),
  reshape: (e, [v], n) => one(bind1('reshape', { shape: [n, ...e.params.shape] }, [whole(v, n)])),
  permute: (e, [v], n) => one(bind1('permute', { order: [0, ...up(e.params.order)] }, [whole(v, n)])),
  broadcast: (e, [v], n) => one(bind1('broadcast', { shape: [n, ...e.params.shape], dims: [0, ...up(e.params.dims)] }, [whole(v, n)])),
  pad: ({ params: p }, [v], n) => one(bind1('pad', { low: [0, ...p.low], high: [0, ...p.high], interior: [0, ...p.interior], value: p.value }, [whole(v, n)])),
  slice: ({ params: p }, [v], n) => one(bind1('slice', { start: [0, ...p.start], stop: [n, ...p.stop], step: [1, ...p.step] }, [whole(v, n)])),
  flip: (e, [v], n) => one(bind1('flip', { axes: up(e.params.axes) }, [whole(v, n)])),
  concat: (e, xs, n) => one(bind1('concat', { axis: e.params.axis + 1 }, xs.map(v => whole(v, n)))),
  contract: ({ params: { spec: c } }, [l, r], n) => {
    const index = c.extents.length
    const lead = (v: Batched, own: readonly number[]) => (v.batched ? [index, ...own] : own)
    return one(b.contract({ ...c, extents: [...c.extents, n], lhs: lead(l, c.lhs), rhs: lead(r, c.rhs), out: [index, ...c.out] }, l.x, r.x))
  },
  unfold: (e, [v], n) => one(b.unfold(whole(v, n), { ...e.params.sliding, axes: up(e.params.sliding.axes) })),
  fold: (e, [v], n) => one(b.fold(whole(v, n), { ...e.params.sliding, axes: up(e.params.sliding.axes) }, [n, ...e.params.shape])),
  gather: (e, [x, i], n) => one(b.gather(whole(x, n), whole(i, n), e.params.axis + 1)),
  scatterAdd: (e, [i, u], n) => one(b.scatterAdd(whole(i, n), whole(u, n), e.params.axis + 1, e.params.extent)),
  randomBits: (e, [v]) => one(bind1('randomBits', e.params, [v.x])),
  stopGradient: (_, [v]) => one(b.stopGradient(v.x)),
  barrier: (_, [v]) => one(b.barrier(v.x)),
  call: (e, xs, n) => {
    const { rule, name, remat } = e.params
    const batched = xs.map(v => v.batched)
    const { vjp, jvp } = rule
    // A rule of one example is a rule of a batch by vmap again.
    const lifted = {
      ...(vjp && { vjp: (x: readonly Tensor[], y: readonly Tensor[], dy: readonly Tensor[]) => {
        const given = mapBatch((...t) => vjp(t.slice(0, x.length), t.slice(x.length, x.length + y.length), t.slice(x.length + y.length)), [...x, ...y, ...dy], [...batched, ...y.map(() => true), ...dy.map(() => true)], n)
        // an operand that the whole batch shares gets the sum of the examples' cotangents
        return given.map((d, i) => (d === null || batched[i] ? d : b.sum(d, 0)))
      } }),
      ...(jvp && { jvp: (x: readonly Tensor[], y: readonly Tensor[], dx: readonly Tensor[]) =>
        mapBatch((...t) => jvp(t.slice(0, x.length), t.slice(x.length, x.length + y.length), t.slice(x.length + y.length)), [...x, ...y, ...dx], [...batched, ...y.map(() => true), ...batched], n).map(d => d as Tensor) }),
    }
    return bind('call', { name, rule: lifted, remat, ...batchClosed(batchRules, e.params, batched, n) }, xs.map(v => v.x))
  },
  cond: (e, [c, ...xs], n) => {
    const batched = xs.map(v => v.batched)
    const [onTrue, onFalse] = [e.params.onTrue, e.params.onFalse].map(f => batchClosed(batchRules, f, batched, n))
    if (!c.batched) return bind('cond', { onTrue, onFalse }, [c.x, ...xs.map(v => v.x)])
    // A condition of its own for each example: both branches, chosen by element.
    const run = (f: Closed) => bind('call', { name: 'branch', rule: {}, ...f }, xs.map(v => v.x))
    const [yes, no] = [run(onTrue), run(onFalse)]
    return yes.map((y, i) => b.select(b.broadcastTo(b.reshape(c.x, [n, ...y.shape.slice(1).map(() => 1)]), y.shape), y, no[i]))
  },
  scan: (e, xs, n) => {
    const { constants, carries, step } = e.params
    // A sequence keeps its steps first: the batch is the second axis, the first of each slice. Carries are all batched.
    const operands = xs.map((v, i) => (i < constants ? v.x : i < constants + carries ? whole(v, n) : v.batched ? b.permute(v.x, [1, 0, ...range(v.x.shape.length).slice(2)]) : v.x))
    const batched = xs.map((v, i) => (i >= constants && i < constants + carries) || v.batched)
    const out = bind('scan', { ...e.params, step: batchClosed(batchRules, step, batched, n) }, operands)
    return out.map((y, i) => (i < carries ? y : b.permute(y, [1, 0, ...range(y.shape.length).slice(2)])))
  },
}

/** The values of `outputs` where `from` are replaced by operands of which some are batched. */
function batchTensors(
  rules: BatchRules,
  outputs: readonly Tensor[],
  from: readonly Tensor[],
  to: readonly Batched[],
  n: number,
): Batched[] {
  const known = new Map<Eqn, readonly Batched[]>()
  from.forEach((t, i) => {
    known.set(t.eqn, [to[i]])
  })
  const get = (t: Tensor): Batched => known.get(t.eqn)?.[t.output] ?? { x: t, batched: false }
  for (const e of equations(outputs, from)) {
    const xs = e.inputs.map(get)
    const rule = rules[e.op] as unknown as BatchRule<Op>
    if (xs.some(v => v.batched))
      known.set(
        e,
        atScope(e.scope, () => rule(e, xs, n)).map(x => ({ x, batched: true })),
      )
    else if (xs.some((v, i) => v.x !== e.inputs[i]))
      known.set(
        e,
        bind(
          e.op,
          e.params,
          xs.map(v => v.x),
        ).map(x => ({ x, batched: false })),
      )
  }
  return outputs.map(get)
}

/** A function of lists of tensors over a batch; a null among its results stays null. */
function mapBatch(
  f: (...xs: readonly Tensor[]) => readonly (Tensor | null)[],
  xs: readonly Tensor[],
  batched: readonly boolean[],
  n: number,
  rules = batchRules,
): (Tensor | null)[] {
  const params = xs.map((x, i) =>
    input('vmap', { shape: batched[i] ? x.shape.slice(1) : x.shape, dtype: x.dtype }),
  )
  const ys = f(...params)
  const made = batchTensors(
    rules,
    ys.filter(y => y !== null),
    params,
    xs.map((x, i) => ({ x, batched: batched[i] })),
    n,
  )
  return ys.map(y => (y === null ? null : whole(made.shift() as Batched, n)))
}

/** Which arguments are batched: per argument 0 (its leaves along their first axis) or null (the same for all). */
export type InAxes = readonly (0 | null)[]

/**
 * A function of one example, applied to a batch: the leading axis of the batched arguments, and of every result.
 * @param f       a function over trees of tensors
 * @param inAxes  per argument: 0 if its leaves have the batch first (default), null if it is shared
 * @throws ShapeError if no argument is batched, or their batches differ
 * @see jax.vmap
 * @example vmap(grad(loss), [null, 0])(params, examples) // a gradient per example
 */
export const vmap =
  <Xs extends readonly unknown[], Y>(f: (...xs: Xs) => Y, inAxes?: InAxes) =>
  (...args: Xs): Y => {
    const isBatched = args.map((_, i) => (inAxes === undefined ? true : inAxes[i] === 0))
    const xs = args.map(a => leaves(a, isTensor).map(l => l.leaf))
    const sizes = new Set(xs.flatMap((list, i) => (isBatched[i] ? list.map(x => x.shape[0]) : [])))
    const [n] = sizes
    if (n === undefined || sizes.size > 1)
      throw new ShapeError(
        'vmap',
        sizes.size > 1 ? `the batches differ: ${[...sizes].join(', ')}` : 'no argument has a batch axis',
        [],
        currentScope(),
      )
    const shapes: unknown[] = []
    const made = mapBatch(
      (...params) => {
        let at = 0
        const inner = args.map(a => mapTree(a, isTensor, () => params[at++]))
        const y = (f as unknown as (...t: unknown[]) => unknown)(...inner)
        shapes.push(y)
        return leaves(y, isTensor).map(l => l.leaf)
      },
      xs.flat(),
      xs.flatMap((list, i) => list.map(() => isBatched[i])),
      n,
    )
    return fillTree(shapes[0], isTensor, made) as Y
  }
