/**
 * The two walks over equations: `pushforward` (tangents, operands first) and `pullback` (cotangents, results
 * first). In: tensors that were traced. Out: tensors. The rules are an argument, so that tests can break one.
 */
import * as b from '../dsl/build.ts'
import { isFloat } from '../dsl/dtype.ts'
import { GradientError } from '../dsl/errors.ts'
import { equations, rebind } from '../dsl/graph.ts'
import type { Op } from '../dsl/prim.ts'
import { type ScalarRecord, scalars } from '../dsl/scalar.ts'
import { range } from '../dsl/shape.ts'
import { atScope, type Eqn, results, type Tensor } from '../dsl/tensor.ts'
import type { Walks } from './control.ts'
import type { Reach, ReachOf } from './reach.ts'
import { type Rule, type Rules, rules as standardRules } from './vjp.ts'

const ruleOf = (rules: Rules, e: Eqn): Rule<Op> => rules[e.op] as unknown as Rule<Op>

/** The operands through which an equation has a derivative. */
function dataOperands(rules: Rules, e: Eqn): number[] {
  if (e.types.every(t => !isFloat(t.dtype))) return []
  const rule = ruleOf(rules, e)
  if (rule.kind === 'none') return []
  const all = range(e.inputs.length).filter(i => isFloat(e.inputs[i].dtype))
  if (rule.kind === 'linear') {
    const { data } = rule
    return data === 'all' ? all : all.filter(i => data.includes(i))
  }
  if (e.op === 'map' && e.params.fn !== 'cast') {
    const record: ScalarRecord = scalars[e.params.fn]
    return record.partials === null ? [] : all
  }
  return all
}

/** The equations with a derivative with respect to the inputs. */
function activeEquations(rules: Rules, eqns: readonly Eqn[], inputs: readonly Tensor[]): Set<Eqn> {
  const active = new Set(inputs.map(t => t.eqn))
  for (const e of eqns) if (dataOperands(rules, e).some(i => active.has(e.inputs[i].eqn))) active.add(e)
  return active
}

const describe = (e: Eqn): string =>
  `${e.op === 'map' ? e.params.fn : e.op === 'reduce' ? e.params.how : e.op === 'call' ? e.params.name : e.op}${e.scope ? ` (in ${e.scope})` : ''}`

const nothing: ReadonlySet<number> = new Set()
/** Results of equations, by position. */
class Marks {
  readonly #marks = new Map<Eqn, Set<number>>()
  add(t: Tensor): void {
    const own = this.#marks.get(t.eqn)
    if (own) own.add(t.output)
    else this.#marks.set(t.eqn, new Set([t.output]))
  }
  of = (e: Eqn): ReadonlySet<number> => this.#marks.get(e) ?? nothing
  among = (ts: readonly Tensor[]): ReadonlySet<number> =>
    new Set(range(ts.length).filter(i => this.of(ts[i].eqn).has(ts[i].output)))
}

/** Of all between `inputs` and the outputs that count, what these move with and depend on. */
function marksOf(rules: Rules, outputs: readonly Tensor[], to: Reach, inputs: readonly Tensor[]) {
  const [moves, depends] = [new Marks(), new Marks()]
  const mark = (ts: readonly Tensor[], reach: Reach): void => {
    for (const i of reach.moves) moves.add(ts[i])
    for (const i of reach.depends) depends.add(ts[i])
  }
  const of: ReachOf = (ys, on, xs) => {
    const marks = marksOf(rules, ys, on, xs)
    return { moves: marks.moves.among(xs), depends: marks.depends.among(xs) }
  }
  mark(outputs, to)
  for (const e of equations(outputs, inputs).reverse()) {
    const own: Reach = { moves: moves.of(e), depends: depends.of(e) }
    if (e.op === 'stopGradient' || own.depends.size === 0) continue
    const rule = ruleOf(rules, e)
    const data = own.moves.size > 0 ? dataOperands(rules, e) : []
    mark(
      e.inputs,
      rule.kind === 'own'
        ? rule.reach(e, own, of)
        : { moves: new Set(data), depends: new Set(range(e.inputs.length)) },
    )
  }
  return { moves, depends }
}

/**
 * A result that depends on an input only through operations without a derivative has no gradient: that is an
 * error with the operation's name, never a zero. `stopGradient` says that it is meant.
 */
function checkReached(
  rules: Rules,
  inputs: readonly Tensor[],
  outputs: readonly Tensor[],
  names: readonly string[],
): void {
  const all = new Set(range(outputs.length))
  const { moves, depends } = marksOf(rules, outputs, { moves: all, depends: all }, inputs)
  const moving = moves.among(inputs)
  const lost = [...depends.among(inputs)].find(i => !moving.has(i))
  if (lost === undefined) return
  const on = new Set([inputs[lost].eqn])
  for (const e of equations(outputs, inputs)) {
    if (e.op === 'stopGradient' || depends.of(e).size === 0 || !e.inputs.some(x => on.has(x.eqn))) continue
    on.add(e)
    // it moves the result, but not with this input; or it cannot
    if (moves.of(e).size > 0 || !dataOperands(rules, e).some(i => on.has(e.inputs[i].eqn)))
      throw new GradientError(
        `grad: the result depends on ${names[lost]} only through ${describe(e)}, which has no derivative; ` +
          'if that is meant, put stopGradient() there',
      )
  }
}

/**
 * Reverse mode: the cotangents of `inputs`, given those of `outputs`.
 * @param inputs the results of equations that nothing else but the function under the derivative uses
 * @param names the inputs' paths, for errors
 */
export function pullback(
  outputs: readonly Tensor[],
  inputs: readonly Tensor[],
  cotangents: readonly Tensor[],
  names: readonly string[] = inputs.map((_, i) => `argument ${i}`),
  rules: Rules = standardRules,
): Tensor[] {
  const eqns = equations(outputs, inputs)
  const active = activeEquations(rules, eqns, inputs)
  const cot = new Map<Eqn, (Tensor | undefined)[]>()
  const accumulate = (x: Tensor, d: Tensor): void => {
    if (!active.has(x.eqn) || !isFloat(x.dtype)) return
    const list = cot.get(x.eqn) ?? []
    const old = list[x.output]
    list[x.output] = old === undefined ? d : b.add(old, d)
    cot.set(x.eqn, list)
  }
  outputs.forEach((o, i) => {
    accumulate(o, cotangents[i])
  })
  for (const e of eqns.reverse()) {
    const ds = cot.get(e)
    if (ds === undefined || !active.has(e)) continue
    atScope(e.scope, () => {
      for (const [i, d] of transposeEquation(rules, e, ds, active)) accumulate(e.inputs[i], d)
    })
    cot.delete(e)
  }
  checkReached(rules, inputs, outputs, names)
  return inputs.map(t => cot.get(t.eqn)?.[t.output] ?? b.zerosLike(t))
}

const walksOf = (rules: Rules): Walks => ({
  pullback: (ys, xs, dys, names) => pullback(ys, xs, dys, names, rules),
  pushforward: (ys, xs, dxs) => pushforward(ys, xs, dxs, rules),
})

/** The cotangents of an equation's operands. */
function transposeEquation(
  rules: Rules,
  e: Eqn,
  ds: readonly (Tensor | undefined)[],
  active: Set<Eqn>,
): [number, Tensor][] {
  const wanted = dataOperands(rules, e).filter(i => active.has(e.inputs[i].eqn))
  const rule = ruleOf(rules, e)
  if (rule.kind === 'own') {
    const full = results(e).map((y, i) => ds[i] ?? b.zerosLike(y))
    const made = rule.cotangents(e, full, wanted, walksOf(rules), describe(e))
    return wanted.map((i, k) => [i, made[k]])
  }
  const dy = ds[0]
  if (dy === undefined) return []
  if (rule.kind === 'partials') {
    const factors = rule.partials(e, results(e)[0])
    return wanted.map(i => [i, factors[i](dy, 'vjp')])
  }
  if (rule.kind === 'none') throw new GradientError(`grad: ${describe(e)} has no derivative rule`)
  return wanted.map(i => [i, rule.transpose(e, dy, i)])
}

/**
 * Forward mode: the tangents of `outputs`, given those of `inputs`. Where nothing moves the tangent is null.
 */
export function pushforward(
  outputs: readonly Tensor[],
  inputs: readonly Tensor[],
  tangents: readonly Tensor[],
  rules: Rules = standardRules,
): (Tensor | null)[] {
  const eqns = equations(outputs, inputs)
  const active = activeEquations(rules, eqns, inputs)
  const tan = new Map<Eqn, readonly (Tensor | null)[]>()
  inputs.forEach((t, i) => {
    tan.set(t.eqn, [tangents[i]])
  })
  const get = (t: Tensor): Tensor | null => tan.get(t.eqn)?.[t.output] ?? null
  for (const e of eqns)
    if (active.has(e) && !tan.has(e))
      tan.set(
        e,
        atScope(e.scope, () => tangentsOf(rules, e, get)),
      )
  return outputs.map(get)
}

function tangentsOf(rules: Rules, e: Eqn, get: (t: Tensor) => Tensor | null): readonly (Tensor | null)[] {
  const rule = ruleOf(rules, e)
  const moving = dataOperands(rules, e).filter(i => get(e.inputs[i]) !== null)
  if (moving.length === 0) return e.types.map(() => null)
  const full = (i: number): Tensor => get(e.inputs[i]) ?? b.zerosLike(e.inputs[i])
  const sum = (ds: readonly Tensor[]): Tensor => ds.reduce((x, y) => b.add(x, y))
  if (rule.kind === 'own')
    return rule.tangents(
      e,
      e.inputs.map((_, i) => (moving.includes(i) ? full(i) : null)),
      walksOf(rules),
      describe(e),
    )
  if (rule.kind === 'partials') {
    const factors = rule.partials(e, results(e)[0])
    return [sum(moving.map(i => factors[i](full(i), 'jvp')))]
  }
  if (rule.kind === 'linear') {
    if (rule.tangent) return [rule.tangent(e, full(0))]
    const data = dataOperands(rules, e)
    return rebind(
      e,
      e.inputs.map((x, i) => (data.includes(i) ? full(i) : x)),
    )
  }
  if (rule.kind === 'bilinear')
    return [
      sum(
        moving.map(
          i =>
            rebind(
              e,
              e.inputs.map((x, k) => (k === i ? full(i) : x)),
            )[0],
        ),
      ),
    ]
  throw new GradientError(`jvp: ${describe(e)} has no derivative rule`)
}

/** The same value as a result of its own: what depends on it depends on nothing else of the outer function. */
export const fence = <T extends Tensor>(x: T): T => b.identity(x) as T
