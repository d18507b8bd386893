/**
 * The values of a kernel. In: tensors, and the index at which an element is asked for. Out: instructions.
 *
 * Note [Views]. reshape, permute, broadcast, slice, flip, pad, concat, unfold and gather move data; here they
 * only change the index at which their operand is asked for. `value(t, index)` walks down from a result to the
 * buffers, rewriting the index at every view and emitting an instruction at every scalar operation.
 */
import { isFloat } from '../dsl/dtype.ts'
import { cast, type Ex, isDerived, type ScalarRecord, s, scalars } from '../dsl/scalar.ts'
import { range, type Shape, size, strides } from '../dsl/shape.ts'
import type { Eqn, Tensor, TensorType } from '../dsl/tensor.ts'
import { parity, rotations, rounds } from '../dsl/threefry.ts'
import type { Affine, Condition } from './affine.ts'
import * as ix from './affine.ts'
import type { Instr, KernelBuffer } from './kernel.ts'
import { uniformValue } from './passes/simplify.ts'

/** An index expression per axis. */
export type Index = readonly Affine[]
/** Conditions that must all hold. */
export type Guard = readonly Condition[]

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
export class KernelBuilder {
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
/** A text that is equal for instructions that compute the same. */
export const instrKey = (x: Instr): string => {
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
