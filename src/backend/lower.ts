/**
 * One group of equations becomes one kernel. In: the root equations of the group and which tensors have buffers.
 * Out: a Kernel, and the tensors that its buffers hold.
 * How an element's value becomes instructions is in `values.ts`.
 */
import { range, type Shape } from '../dsl/shape.ts'
import { type Eqn, results, type Tensor } from '../dsl/tensor.ts'
import type { Affine, Condition } from './affine.ts'
import * as ix from './affine.ts'
import type { Accumulator, Axis, Kernel, Store } from './kernel.ts'
import { flatten, type Index, KernelBuilder, unflatten } from './values.ts'

/** A kernel, and what its buffers hold: operands, then results. */
export interface Lowered {
  readonly kernel: Kernel
  readonly tensors: readonly Tensor[]
}

const named = (e: Eqn): string => (e.op === 'map' ? e.params.fn : e.op === 'reduce' ? e.params.how : e.op)

/**
 * The kernel that computes `root`.
 * @param head an equation with a loop of its own (reduce, contract, fold) that the kernel folds before the maps
 *   from it to `root`, or `root` itself
 * @param stored the equations whose results have buffers
 */
export function lowerKernel(root: Eqn, head: Eqn | null, stored: ReadonlySet<Eqn>): Lowered {
  const b = new KernelBuilder(stored)
  const result = resultOf(root)
  if (head === null) {
    const axes = result.shape.map((extent): Axis => ({ extent, kind: 'parallel' }))
    const index = axes.map((a, i) => ix.axis(i, a.extent))
    const value = b.value(withoutStore(root), index, [])
    return finish(b, root, axes, [], [{ index: flatten(index, result.shape), value }])
  }
  const loop = loopOf(b, head)
  const type = head.types[0]
  b.startEpilogue(head, 0, type.dtype)
  const point = range(type.shape.length).map(i => ix.axis(i, type.shape[i]))
  const index = forwardIndex(head, root, point)
  if (index === null) throw new Error(`${named(root)} does not follow from ${named(head)} element by element`)
  const value = root === head ? b.value(resultOf(head), point, []) : b.value(withoutStore(root), index, [])
  return finish(b, root, loop.axes, [loop.accumulator], [{ index: flatten(index, result.shape), value }])
}

const resultOf = (e: Eqn): Tensor => results(e)[0]
/** The root's value is computed here, though its buffer is where it goes. */
const withoutStore = (e: Eqn): Tensor => resultOf({ ...e } as Eqn)

function finish(
  b: KernelBuilder,
  root: Eqn,
  axes: readonly Axis[],
  accumulators: readonly Accumulator[],
  stores: readonly { index: Affine; value: number }[],
): Lowered {
  const buffer = b.buffer(resultOf(root), 'write')
  const kernel: Kernel = {
    name: named(root),
    axes,
    buffers: b.buffers,
    body: b.body,
    accumulators,
    epilogue: b.epilogue,
    stores: stores.map((x): Store => ({ ...x, buffer, mode: 'set', guard: [] })),
  }
  return { kernel, tensors: b.tensors }
}

/** The axes and the accumulated value of an equation with a loop of its own. */
function loopOf(
  b: KernelBuilder,
  e: Eqn,
): { readonly axes: readonly Axis[]; readonly accumulator: Accumulator } {
  const [x] = e.inputs
  const out = e.types[0].shape
  const parallel = out.map((extent): Axis => ({ extent, kind: 'parallel' }))
  const loops = (extents: readonly number[]) => [
    ...parallel,
    ...extents.map((extent): Axis => ({ extent, kind: 'reduce' })),
  ]
  const point = (axes: readonly Axis[]) => axes.map((a, i) => ix.axis(i, a.extent))
  switch (e.op) {
    case 'reduce': {
      const { axes: reduced, how } = e.params
      const kept = range(x.shape.length).filter(a => !reduced.includes(a))
      const axes = loops(reduced.map(a => x.shape[a]))
      const at = point(axes)
      const index = range(x.shape.length).map(a =>
        kept.includes(a) ? at[kept.indexOf(a)] : at[kept.length + reduced.indexOf(a)],
      )
      return { axes, accumulator: { how, value: b.value(x, index, []), dtype: x.dtype } }
    }
    case 'contract': {
      const { spec: c } = e.params
      const windowOf = (i: number) => c.windows.find(w => w.big === i)
      const summed = range(c.extents.length).filter(i => !c.out.includes(i) && !windowOf(i))
      const axes = loops(summed.map(i => c.extents[i]))
      const at = point(axes)
      const plain = (i: number): Affine =>
        c.out.includes(i) ? at[c.out.indexOf(i)] : at[c.out.length + summed.indexOf(i)]
      const affine = (i: number): Affine => {
        const w = windowOf(i)
        return w ? ix.addScaled(ix.scale(plain(w.out), w.stride), plain(w.tap), w.dilation) : plain(i)
      }
      const [l, r] = [c.lhs, c.rhs].map((indices, k) => b.value(e.inputs[k], indices.map(affine), []))
      const dtype = e.types[0].dtype
      return {
        axes,
        accumulator: { how: 'sum', value: b.emit({ k: 'scalar', fn: 'mul', args: [l, r], dtype }), dtype },
      }
    }
    case 'fold': {
      const { axes: slid, size: extents, stride, dilation } = e.params.sliding
      const axes = loops(extents)
      const at = point(axes)
      const guard: Condition[] = []
      const tap = (k: number) => at[out.length + k]
      const index = range(x.shape.length).map(a => {
        if (a >= out.length) return tap(a - out.length)
        const k = slid.indexOf(a)
        if (k < 0) return at[a]
        // o = (h - d t) / s, shifted by a multiple of s so that it is not negative
        const shift = Math.ceil((dilation[k] * (extents[k] - 1)) / stride[k])
        const j = ix.addConst(ix.addScaled(at[a], tap(k), -dilation[k]), shift * stride[k])
        const o = ix.addConst(ix.div(j, stride[k]), -shift)
        for (const c of [ix.condition(ix.mod(j, stride[k]), 0, 1), ix.condition(o, 0, x.shape[a])])
          if (c) guard.push(c)
        return o
      })
      const v = b.value(x, index, guard)
      const inside =
        guard.length > 0 && b.at(v).k !== 'load' ? b.emit({ k: 'inside', guard, dtype: 'bool' }) : null
      const value =
        inside === null
          ? v
          : b.emit({ k: 'scalar', fn: 'select', args: [inside, v, b.lit(0, x.dtype)], dtype: x.dtype })
      return { axes, accumulator: { how: 'sum', value, dtype: x.dtype } }
    }
    default:
      throw new Error(`${e.op} has no loop`)
  }
}

/**
 * Where an element of `head` lies in `root`, which is reached from it by maps, reshapes and permutes alone.
 * Null where it is not, or where two ways from head to root disagree (x + transpose(x)).
 */
export function forwardIndex(head: Eqn, root: Eqn, point: Index): Index | null {
  const memo = new Map<Eqn, Index | null>([[head, point]])
  let agree = true
  const walk = (e: Eqn): Index | null => {
    const known = memo.get(e)
    if (known !== undefined) return known
    let found: Index | null = null
    if (e.id > head.id && (e.op === 'map' || e.op === 'reshape' || e.op === 'permute'))
      for (const x of e.inputs) {
        const from = walk(x.eqn)
        if (from === null) continue
        const at = moved(e, from, x.shape)
        if (found !== null && found.map(ix.show).join() !== at.map(ix.show).join()) agree = false
        found = at
      }
    memo.set(e, found)
    return found
  }
  const index = walk(root)
  return agree ? index : null
}
const moved = (e: Eqn, at: Index, from: Shape): Index =>
  e.op === 'permute'
    ? e.params.order.map(a => at[a])
    : e.op === 'reshape'
      ? unflatten(flatten(at, from), e.types[0].shape)
      : at

/** Zeros, and then the updates in order: two kernels on one buffer. */
export function lowerScatter(e: Eqn<'scatterAdd'>, stored: ReadonlySet<Eqn>): Lowered[] {
  const out = e.types[0]
  const parallel = out.shape.map((extent): Axis => ({ extent, kind: 'parallel' }))
  const zeros = new KernelBuilder(stored)
  const whole = parallel.map((a, i) => ix.axis(i, a.extent))
  const clear = finish(
    zeros,
    e,
    parallel,
    [],
    [{ index: flatten(whole, out.shape), value: zeros.lit(0, out.dtype) }],
  )

  const b = new KernelBuilder(stored)
  const { axis, extent } = e.params
  const [indices, updates] = e.inputs
  const others = range(out.shape.length).filter(a => a !== axis)
  const axes: Axis[] = [
    ...others.map((a): Axis => parallel[a]),
    { extent: updates.shape[axis], kind: 'reduce' },
  ]
  const at = range(out.shape.length).map(a =>
    ix.axis(a === axis ? others.length : others.indexOf(a), updates.shape[a]),
  )
  const k = ix.value(b.value(indices, at, []))
  const value = b.value(updates, at, [])
  const buffer = b.buffer(resultOf(e), 'add')
  const index = flatten(
    at.map((i, a) => (a === axis ? k : i)),
    out.shape,
  )
  const store: Store = { buffer, index, value, mode: 'add', guard: [{ index: k, lo: 0, hi: extent }] }
  const add: Kernel = {
    name: 'scatterAdd',
    axes,
    buffers: b.buffers,
    body: b.body,
    accumulators: [],
    epilogue: [],
    stores: [store],
  }
  return [clear, { kernel: add, tensors: b.tensors }]
}
