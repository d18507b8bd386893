/**
 * The derivatives of equations that hold functions: call, cond and scan. In: the equation and the derivatives of
 * its results (or operands). Out: derivatives of its operands (or results), as equations that hold functions again,
 * so that any order works. The two walks are arguments, for they need these rules themselves.
 */
import * as b from '../dsl/build.ts'
import { isFloat } from '../dsl/dtype.ts'
import { GradientError } from '../dsl/errors.ts'
import { substitute } from '../dsl/graph.ts'
import type { Closed } from '../dsl/prim.ts'
import { range, showType } from '../dsl/shape.ts'
import { bind, type Eqn, input, results, type Tensor, type TensorType } from '../dsl/tensor.ts'

/** The walks of `transform.ts`, with the rules in use. */
export interface Walks {
  readonly pullback: (
    ys: readonly Tensor[],
    xs: readonly Tensor[],
    dys: readonly Tensor[],
    names: readonly string[],
  ) => Tensor[]
  readonly pushforward: (
    ys: readonly Tensor[],
    xs: readonly Tensor[],
    dxs: readonly Tensor[],
  ) => (Tensor | null)[]
}
type Cotangents<E> = (
  e: E,
  dys: readonly Tensor[],
  wanted: readonly number[],
  walks: Walks,
  place: string,
) => readonly Tensor[]
type Tangents<E> = (
  e: E,
  dxs: readonly (Tensor | null)[],
  walks: Walks,
  place: string,
) => readonly (Tensor | null)[]

const floats = (ts: readonly TensorType[]): number[] => range(ts.length).filter(i => isFloat(ts[i].dtype))
const pick = <T>(list: readonly T[], at: readonly number[]): T[] => at.map(i => list[i])
const fresh = (name: string, types: readonly TensorType[]): Tensor[] =>
  types.map((t, i) => input(`${name} ${i}`, t))
const zeroOr = (d: Tensor | null | undefined, x: Tensor): Tensor => d ?? b.zerosLike(x)
const names = (what: string, at: readonly number[]): string[] => at.map(i => `${what} ${i}`)

/** A function's body on new operands. */
const applied = (f: Closed, xs: readonly Tensor[]): readonly Tensor[] => substitute(f.body, f.params, xs)

/** Reverse mode through a call: its own rule, or its body's derivative, computed again where `remat` says so. */
export const callCotangents: Cotangents<Eqn<'call'>> = (e, dys, wanted, walks, place) => {
  const { rule, name, remat } = e.params
  if (rule.vjp !== undefined) {
    const given = rule.vjp(e.inputs, results(e), dys)
    return wanted.map(i => {
      const d = given[i]
      if (d === null || d === undefined)
        throw new GradientError(
          `grad: the rule of ${place} gives no cotangent for its argument ${i}, which needs one`,
        )
      if (showType(d) !== showType(e.inputs[i]))
        throw new GradientError(
          `grad: the rule of ${place} gives ${showType(d)} for its argument ${i}, a ${showType(e.inputs[i])}`,
        )
      return d
    })
  }
  if (rule.jvp !== undefined)
    throw new GradientError(`grad: ${place} has a forward rule (jvp) only; give it a vjp`)
  const xs = e.inputs.map(remat ? b.barrier : b.identity)
  const out = floats(e.types)
  const ys = pick(applied(e.params, xs), out)
  return walks.pullback(ys, pick(xs, wanted), pick(dys, out), names(`${name}'s argument`, wanted))
}

/** Forward mode through a call. */
export const callTangents: Tangents<Eqn<'call'>> = (e, dxs, walks, place) => {
  const { rule } = e.params
  if (rule.jvp !== undefined)
    return rule.jvp(
      e.inputs,
      results(e),
      e.inputs.map((x, i) => zeroOr(dxs[i], x)),
    )
  if (rule.vjp !== undefined)
    throw new GradientError(`jvp: ${place} has a reverse rule (vjp) only; give it a jvp`)
  const moving = range(dxs.length).filter(i => dxs[i] !== null)
  const xs = e.inputs.map(b.identity)
  return walks.pushforward(
    applied(e.params, xs),
    pick(xs, moving),
    moving.map(i => zeroOr(dxs[i], e.inputs[i])),
  )
}

/** The derivative of a condition is a condition of the branches' derivatives: what is not taken adds nothing. */
export const condCotangents: Cotangents<Eqn<'cond'>> = (e, dys, wanted, walks) => {
  const [condition, ...operands] = e.inputs
  const out = floats(e.types)
  const at = wanted.map(i => i - 1)
  const branch = (f: Closed): Closed => {
    const [xs, ds] = [fresh('operand', operands), fresh('cotangent', pick(e.types, out))]
    return {
      params: [...xs, ...ds],
      body: walks.pullback(pick(applied(f, xs), out), pick(xs, at), ds, names('operand', at)),
    }
  }
  const params = { onTrue: branch(e.params.onTrue), onFalse: branch(e.params.onFalse) }
  return bind('cond', params, [condition, ...operands, ...pick(dys, out)])
}

export const condTangents: Tangents<Eqn<'cond'>> = (e, dxs, walks) => {
  const [condition, ...operands] = e.inputs
  const out = floats(e.types)
  const moving = range(operands.length).filter(i => dxs[i + 1] !== null)
  const branch = (f: Closed): Closed => {
    const [xs, ds] = [fresh('operand', operands), fresh('tangent', pick(operands, moving))]
    const ys = pick(applied(f, xs), out)
    return {
      params: [...xs, ...ds],
      body: walks.pushforward(ys, pick(xs, moving), ds).map((d, i) => zeroOr(d, ys[i])),
    }
  }
  const params = { onTrue: branch(e.params.onTrue), onFalse: branch(e.params.onFalse) }
  const made = bind('cond', params, [
    condition,
    ...operands,
    ...moving.map(i => zeroOr(dxs[i + 1], operands[i])),
  ])
  return e.types.map((_, i) => (out.includes(i) ? made[out.indexOf(i)] : null))
}

/** The operands of a scan by their roles, as positions. */
const roles = ({ params: p, inputs }: Eqn<'scan'>) => ({
  constants: range(p.constants),
  carries: range(p.carries).map(i => p.constants + i),
  sequences: range(inputs.length - p.constants - p.carries).map(i => p.constants + p.carries + i),
})

/**
 * Note [Scan backwards]. The forward scan is run once more with the carry before each step among its results
 * (sharing makes it the only one); a scan in the other direction carries the carries' cotangents and the sums of
 * the constants' cotangents, and gives the sequences' cotangents slice by slice.
 */
export const scanCotangents: Cotangents<Eqn<'scan'>> = (e, dys, wanted, walks) => {
  const { step, length, reverse } = e.params
  const r = roles(e)
  const saving: Closed = { params: step.params, body: [...step.body, ...pick(step.params, r.carries)] }
  const full = bind('scan', { ...e.params, step: saving }, e.inputs)
  const saved = full.slice(e.types.length)
  const isF = (at: readonly number[]) => at.filter(i => isFloat(step.params[i].dtype))
  const [k, c, x] = [isF(r.constants), isF(r.carries), isF(r.sequences)]
  const outCarries = floats(step.body.slice(0, r.carries.length))
  const outSlices = floats(step.body).filter(i => i >= r.carries.length)

  const constants = fresh('constant', pick(step.params, r.constants))
  const dk = fresh('cotangent of constant', pick(step.params, k))
  const dc = fresh('cotangent of carry', pick(step.params, c))
  const before = fresh('carry', pick(step.params, r.carries))
  const slices = fresh('slice', pick(step.params, r.sequences))
  const dy = fresh('cotangent of slice', pick(step.body, outSlices))
  const xs = [...constants, ...before, ...slices]
  const ys = applied(step, xs)
  const at = [...k, ...c, ...x]
  const ds = walks.pullback(
    pick(ys, [...outCarries, ...outSlices]),
    pick(xs, at),
    [...dc, ...dy],
    names('operand', at),
  )
  const sums = dk.map((d, i) => b.add(d, ds[i]))
  const back: Closed = {
    params: [...constants, ...dk, ...dc, ...before, ...slices, ...dy],
    body: [...sums, ...ds.slice(k.length)],
  }
  const made = bind(
    'scan',
    { step: back, length, reverse: !reverse, constants: constants.length, carries: dk.length + dc.length },
    [
      ...pick(e.inputs, r.constants),
      ...pick(e.inputs, k).map(b.zerosLike),
      ...pick(dys, outCarries),
      ...saved,
      ...pick(e.inputs, r.sequences),
      ...pick(dys, outSlices),
    ],
  )
  return wanted.map(i => made[at.indexOf(i)])
}

/** The tangent of a scan is a scan of values and tangents side by side. */
export const scanTangents: Tangents<Eqn<'scan'>> = (e, dxs, walks) => {
  const { step, constants, carries } = e.params
  const r = roles(e)
  const isF = (at: readonly number[]) => at.filter(i => isFloat(step.params[i].dtype))
  const [k, c, x] = [isF(r.constants), isF(r.carries), isF(r.sequences)]
  const xs = fresh('operand', step.params)
  const [tk, tc, tx] = [k, c, x].map(at => fresh('tangent', pick(step.params, at)))
  const ys = applied(step, xs)
  const out = floats(step.body)
  const ts = walks
    .pushforward(pick(ys, out), pick(xs, [...k, ...c, ...x]), [...tk, ...tc, ...tx])
    .map((d, i) => zeroOr(d, ys[out[i]]))
  const moved = (from: number, to: number) => out.flatMap((o, i) => (o >= from && o < to ? [ts[i]] : []))
  const both: Closed = {
    params: [...pick(xs, r.constants), ...tk, ...pick(xs, r.carries), ...tc, ...pick(xs, r.sequences), ...tx],
    body: [...ys.slice(0, carries), ...moved(0, carries), ...ys.slice(carries), ...moved(carries, ys.length)],
  }
  const d = (at: readonly number[]) => at.map(i => zeroOr(dxs[i], e.inputs[i]))
  const made = bind(
    'scan',
    { ...e.params, step: both, constants: constants + k.length, carries: carries + c.length },
    [
      ...pick(e.inputs, r.constants),
      ...d(k),
      ...pick(e.inputs, r.carries),
      ...d(c),
      ...pick(e.inputs, r.sequences),
      ...d(x),
    ],
  )
  const position = (o: number): number => {
    const own = out.filter(i => (o < carries ? i < carries : i >= carries))
    const lead = o < carries ? carries : carries + c.length + (ys.length - carries)
    return lead + own.indexOf(o)
  }
  return e.types.map((_, o) => (out.includes(o) ? made[position(o)] : null))
}
