/**
 * One group of equations becomes one kernel. In: the root equations of the group and which tensors have buffers.
 * Out: a Kernel, and the tensors that its buffers hold.
 *
 * Note [Views]. reshape, permute, broadcast, slice, flip, pad, concat, unfold and gather move data; here they
 * only change the index at which their operand is asked for. `value(t, index)` walks down from a result to the
 * buffers, rewriting the index at every view and emitting an instruction at every scalar operation.
 */
import { isFloat } from '../dsl/dtype.ts'
import { cast, type Ex, isDerived, type ScalarRecord, s, scalars } from '../dsl/scalar.ts'
import { range, type Shape, size, strides } from '../dsl/shape.ts'
import { type Eqn, results, type Tensor, type TensorType } from '../dsl/tensor.ts'
import { parity, rotations, rounds } from '../dsl/threefry.ts'
import type { Affine, Condition } from './affine.ts'
import * as ix from './affine.ts'
import type { Accumulator, Axis, Instr, Kernel, KernelBuffer, Store } from './kernel.ts'
import { uniformValue } from './passes/simplify.ts'

/** A kernel, and what its buffers hold: operands, then results. */
export interface Lowered {
  readonly kernel: Kernel
  readonly tensors: readonly Tensor[]
}

type Index = readonly Affine[]
type Guard = readonly Condition[]

/** A flat row-major position. */
export const flatten = (index: Index, shape: Shape): Affine => {
  const by = strides(shape)
  return index.reduce((n, i, a) => ix.addScaled(n, i, by[a]), ix.constant(0))
}
/** The index of a flat position. */
export const unflatten = (flat: Affine, shape: Shape): Affine[] => {
  const by = strides(shape)
  return shape.map((n, a) => {
    const q = ix.div(flat, by[a])
    // The outermost quotient is below its extent as it is.
    return a === 0 && size(shape) > 0 ? q : ix.mod(q, n)
  })
}

/** Collects the instructions of one kernel; equal instructions are one. */
class Builder {
  readonly buffers: KernelBuffer[] = []
  readonly tensors: Tensor[] = []
  readonly body: Instr[] = []
  readonly epilogue: Instr[] = []
  private readonly ids = new Map<string, number>()
  private readonly values = new Map<string, number>()
  private inEpilogue = false
  private readonly stored: ReadonlySet<Eqn>
  /** In the epilogue: the equation whose value is the accumulator's. */
  private accumulated: { readonly eqn: Eqn; readonly id: number } | null = null

  constructor(stored: ReadonlySet<Eqn>) {
    this.stored = stored
  }

  emit(instr: Instr): number {
    const key = instrKey(instr)
    const known = this.ids.get(key)
    if (known !== undefined) return known
    const id = this.body.length + this.epilogue.length
    if (this.inEpilogue) this.epilogue.push(instr)
    else this.body.push(instr)
    this.ids.set(key, id)
    return id
  }

  /** From here on instructions run once per parallel point; the body's values are gone. */
  startEpilogue(eqn: Eqn, accumulator: number, dtype: Tensor['dtype']): void {
    this.ids.clear()
    this.values.clear()
    this.inEpilogue = true
    this.accumulated = { eqn, id: this.emit({ k: 'acc', accumulator, dtype }) }
  }

  buffer(t: Tensor, access: KernelBuffer['access']): number {
    const at = this.tensors.findIndex(x => x.eqn === t.eqn && x.output === t.output)
    if (at >= 0) return at
    this.tensors.push(t)
    this.buffers.push({ dtype: t.dtype, size: size(t.shape), access })
    return this.tensors.length - 1
  }

  lit = (value: number, dtype: Tensor['dtype']): number => this.emit({ k: 'lit', value, dtype })
  index = (index: Affine): number => this.emit({ k: 'index', index, dtype: 'i32' })

  /** A scalar expression over instructions; derived operations are expanded. */
  expression(ex: Ex, args: readonly number[], memo = new Map<Ex, number>()): number {
    const known = memo.get(ex)
    if (known !== undefined) return known
    let id: number
    if (ex.k === 'arg') id = args[ex.i]
    else if (ex.k === 'lit') id = this.lit(ex.value, ex.dtype)
    else {
      const record: ScalarRecord = scalars[ex.fn]
      id = isDerived(record)
        ? this.expression((record.expand as (...x: readonly Ex[]) => Ex)(...ex.args), args, memo)
        : this.emit({
            k: 'scalar',
            fn: ex.fn,
            args: ex.args.map(a => this.expression(a, args, memo)),
            dtype: ex.dtype,
          })
    }
    memo.set(ex, id)
    return id
  }

  /** The instruction that holds t[index]; nothing is accessed where the guard does not hold. */
  value(t: Tensor, index: Index, guard: Guard): number {
    const e = t.eqn
    if (this.accumulated?.eqn === e) return this.accumulated.id
    const known = uniformValue(t)
    if (known !== null) return this.lit(known, t.dtype)
    if (this.stored.has(e) || e.op === 'input' || e.op === 'const')
      return this.emit({
        k: 'load',
        buffer: this.buffer(t, 'read'),
        index: flatten(index, t.shape),
        guard,
        dtype: t.dtype,
      })
    const key = `${e.id}|${index.map(ix.show).join()}|${guardKey(guard)}`
    const memo = this.values.get(key)
    if (memo !== undefined) return memo
    const id = this.computed(e, t, index, guard)
    this.values.set(key, id)
    return id
  }

  private computed(e: Eqn, t: TensorType, index: Index, guard: Guard): number {
    const [x] = e.inputs
    switch (e.op) {
      case 'map': {
        const args = e.inputs.map(operand => this.value(operand, index, guard))
        const xs: Ex[] = e.inputs.map((operand, i) => ({ k: 'arg', i, dtype: operand.dtype }))
        return this.expression({ k: 'op', fn: e.params.fn, args: xs, dtype: t.dtype }, args)
      }
      case 'reshape':
        return this.value(x, unflatten(flatten(index, t.shape), x.shape), guard)
      case 'barrier':
        return this.value(x, index, guard)
      case 'permute': {
        const { order } = e.params
        return this.value(
          x,
          range(order.length).map(a => index[order.indexOf(a)]),
          guard,
        )
      }
      case 'broadcast':
        return this.value(
          x,
          e.params.dims.map((d, a) => (x.shape[a] === 1 ? ix.constant(0) : index[d])),
          guard,
        )
      case 'slice':
        return this.value(
          x,
          index.map((i, a) => ix.addConst(ix.scale(i, e.params.step[a]), e.params.start[a])),
          guard,
        )
      case 'flip':
        return this.value(
          x,
          index.map((i, a) => (e.params.axes.includes(a) ? ix.addConst(ix.scale(i, -1), x.shape[a] - 1) : i)),
          guard,
        )
      case 'pad':
        return this.padded(e, t, index, guard)
      case 'concat':
        return this.concatenated(e, t, index, guard)
      case 'iota': {
        const i = this.index(index[e.params.axis])
        return t.dtype === 'i32' ? i : this.expression(cast({ k: 'arg', i: 0, dtype: 'i32' }, t.dtype), [i])
      }
      case 'unfold': {
        const { axes, stride, dilation } = e.params.sliding
        const at = (a: number) => {
          const k = axes.indexOf(a)
          return k < 0
            ? index[a]
            : ix.addScaled(ix.scale(index[a], stride[k]), index[x.shape.length + k], dilation[k])
        }
        return this.value(x, range(x.shape.length).map(at), guard)
      }
      case 'gather': {
        const { axis } = e.params
        const k = ix.value(this.value(e.inputs[1], index, guard))
        const inside = [{ index: k, lo: 0, hi: x.shape[axis] }]
        const v = this.value(
          x,
          index.map((i, a) => (a === axis ? k : i)),
          [...guard, ...inside],
        )
        return this.choose(inside, v, Number.NaN, t.dtype)
      }
      case 'randomBits':
        return this.threefry(x, index, e.params.shape, guard)
      default:
        throw new Error(`${e.op} has no value at a single index; it needs a kernel of its own`)
    }
  }

  private choose(guard: Guard, v: number, otherwise: number, dtype: Tensor['dtype']): number {
    if (guard.length === 0) return v
    const inside = this.emit({ k: 'inside', guard, dtype: 'bool' })
    const other = isFloat(dtype) || !Number.isNaN(otherwise) ? otherwise : 0
    return this.emit({ k: 'scalar', fn: 'select', args: [inside, v, this.lit(other, dtype)], dtype })
  }

  private padded(e: Eqn<'pad'>, t: TensorType, index: Index, guard: Guard): number {
    const [x] = e.inputs
    const { low, interior, value } = e.params
    const conditions: Condition[] = []
    const need = (c: Condition | null) => {
      if (c) conditions.push(c)
    }
    const inner = index.map((i, a) => {
      const step = interior[a] + 1
      // Shifted by a multiple of the step, so that quotients are taken of numbers that are not negative.
      const shift = Math.ceil(Math.max(low[a], 0) / step)
      const j = ix.addConst(i, shift * step - low[a])
      need(ix.condition(ix.mod(j, step), 0, 1))
      const at = ix.addConst(ix.div(j, step), -shift)
      need(ix.condition(at, 0, x.shape[a]))
      return at
    })
    const v = this.value(x, inner, [...guard, ...conditions])
    // A guarded load is 0 outside already.
    const instr = this.at(v)
    return instr.k === 'load' && value === 0 && conditions.length > 0 && isSuffix(instr.guard, conditions)
      ? v
      : this.choose(conditions, v, value, t.dtype)
  }

  at = (id: number): Instr => (id < this.body.length ? this.body[id] : this.epilogue[id - this.body.length])

  private concatenated(e: Eqn<'concat'>, t: TensorType, index: Index, guard: Guard): number {
    const { axis } = e.params
    let from = 0
    const parts = e.inputs.map(x => {
      const start = from
      from += x.shape[axis]
      const inside = ix.condition(index[axis], start, from)
      const own = inside === null ? [] : [inside]
      const at = index.map((i, a) => (a === axis ? ix.addConst(i, -start) : i))
      return { inside: own, v: x.shape[axis] === 0 ? null : this.value(x, at, [...guard, ...own]) }
    })
    let out = this.lit(0, t.dtype)
    for (const { inside, v } of parts.reverse()) {
      if (v === null) continue
      const instr: Instr | null = inside.length > 0 ? { k: 'inside', guard: inside, dtype: 'bool' } : null
      out =
        instr === null
          ? v
          : this.emit({ k: 'scalar', fn: 'select', args: [this.emit(instr), v, out], dtype: t.dtype })
    }
    return out
  }

  /** The rounds of `threefry2x32` at the counter (flat index, 0) of each key, in scalar operations. */
  private threefry(key: Tensor, index: Index, shape: Shape, guard: Guard): number {
    const lead = key.shape.length - 1
    const flat = flatten(index.slice(lead), shape)
    const word = (i: number): Ex => ({ k: 'arg', i, dtype: 'u32' })
    const literal = (value: number): Ex => ({ k: 'lit', value: value >>> 0, dtype: 'u32' })
    const ks = [word(0), word(1), s.xor(s.xor(word(0), word(1)), literal(parity))]
    let x0 = s.add(cast({ k: 'arg', i: 2, dtype: 'i32' }, 'u32'), ks[0])
    let x1 = ks[1]
    for (let i = 0; i < rounds; i++) {
      const r = rotations[i % 8]
      x0 = s.add(x0, x1)
      x1 = s.xor(s.or(s.shl(x1, r), s.shr(x1, 32 - r)), x0)
      if (i % 4 === 3) {
        const n = (i + 1) / 4
        x0 = s.add(x0, ks[n % 3])
        x1 = s.add(s.add(x1, ks[(n + 1) % 3]), n)
      }
    }
    const words = [0, 1].map(i => this.value(key, [...index.slice(0, lead), ix.constant(i)], guard))
    return this.expression(x0, [...words, this.index(flat)])
  }
}

const isSuffix = (whole: Guard, end: Guard): boolean =>
  end.every((c, i) => whole[whole.length - end.length + i] === c)
const guardKey = (g: Guard): string => g.map(c => `${c.lo}<=${ix.show(c.index)}<${c.hi}`).join('&')
const instrKey = (x: Instr): string => {
  switch (x.k) {
    case 'lit':
      return `lit ${x.dtype} ${Object.is(x.value, -0) ? '-0' : x.value}`
    case 'index':
      return `index ${ix.show(x.index)}`
    case 'inside':
      return `inside ${guardKey(x.guard)}`
    case 'load':
      return `load ${x.buffer} ${ix.show(x.index)} ${guardKey(x.guard)}`
    case 'scalar':
      return `${x.fn} ${x.dtype} ${x.args.join()}`
    case 'acc':
      return `acc ${x.accumulator}`
  }
}

const named = (e: Eqn): string => (e.op === 'map' ? e.params.fn : e.op === 'reduce' ? e.params.how : e.op)

/**
 * The kernel that computes `root`.
 * @param head an equation with a loop of its own (reduce, contract, fold) that the kernel folds before the maps
 *   from it to `root`, or `root` itself
 * @param stored the equations whose results have buffers
 */
export function lowerKernel(root: Eqn, head: Eqn | null, stored: ReadonlySet<Eqn>): Lowered {
  const b = new Builder(stored)
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
  b: Builder,
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
function loopOf(b: Builder, e: Eqn): { readonly axes: readonly Axis[]; readonly accumulator: Accumulator } {
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
  const zeros = new Builder(stored)
  const whole = parallel.map((a, i) => ix.axis(i, a.extent))
  const clear = finish(
    zeros,
    e,
    parallel,
    [],
    [{ index: flatten(whole, out.shape), value: zeros.lit(0, out.dtype) }],
  )

  const b = new Builder(stored)
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
