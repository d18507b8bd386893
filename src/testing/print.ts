/**
 * A traced function as TypeScript that one can paste and run: public operations where there is one of the very
 * meaning, `primitive(...)` for the rest, data written out. In: a graph. Out: text.
 */

import { uniformValue } from '../backend/passes/simplify.ts'
import type { NDArray } from '../dsl/array.ts'
import type { DType, TypedArray } from '../dsl/dtype.ts'
import { equations, type Graph } from '../dsl/graph.ts'
import type { Closed, CustomRule, Op, Prims } from '../dsl/prim.ts'
import type { ScalarOp } from '../dsl/scalar.ts'
import { range } from '../dsl/shape.ts'
import { bind, type Eqn, input, results, type Tensor, type TensorType } from '../dsl/tensor.ts'

/**
 * Applies a primitive: what printed programs are made of where no public operation has its very meaning.
 * @throws ShapeError if the operands break the primitive's rule
 * @example const [y] = primitive('flip', { axes: [0] }, [x])
 */
export const primitive = <K extends Op>(
  op: K,
  params: Prims[K],
  inputs: readonly Tensor[],
): readonly Tensor[] => bind(op, params, inputs)

/**
 * A function as data, for the primitives that hold functions.
 * @example primitive('cond', { onTrue: closed([x], z => [neg(z)]), onFalse: closed([x], z => [z]) }, [c, x])
 */
export function closed(
  types: readonly TensorType[],
  body: (...params: readonly Tensor[]) => readonly Tensor[],
): Closed {
  const params = types.map(t => input('parameter', { shape: t.shape, dtype: t.dtype }))
  return { params, body: body(...params) }
}

/** Scalar operations whose public name or form differs; null: there is none of the very meaning. */
// biome-ignore format: a table
const publicScalars: { readonly [K in ScalarOp]: string | null } = {
  add: 'add', sub: 'sub', mul: 'mul', div: 'div', rem: null, max: 'maximum', min: 'minimum', neg: 'neg', abs: 'abs',
  sqrt: 'sqrt', floor: 'floor', ceil: 'ceil', round: 'round', trunc: 'trunc', eq: 'equal', ne: 'notEqual',
  lt: 'less', le: 'lessEqual', and: null, or: null, xor: null, not: 'logicalNot', shl: null, shr: null,
  select: 'where', cast: 'cast', bitcast: null, isnan: 'isNaN', opaque: null, exp2i: null, exponent: null,
  exp: 'exp', expm1: 'expm1', log: 'log', log1p: 'log1p', sin: 'sin', cos: 'cos', tanh: 'tanh', erf: 'erf',
  pow: 'pow', sign: 'sign',
}

const list = (xs: readonly unknown[]): string => `[${xs.join(', ')}]`
const number = (v: number): string => (Object.is(v, -0) ? '-0' : String(v))
const typed = (data: TypedArray): string =>
  `${data.constructor.name}.from(${list(Array.from<number>(data).map(number))})`
/** The shortest decimal that rounds to the value in its dtype. */
const decimal = (v: number, dtype: DType): string => {
  for (let digits = 1; dtype === 'f32' && digits < 9; digits++) {
    const short = Number(v.toPrecision(digits))
    if (Object.is(Math.fround(short), v)) return number(short)
  }
  return number(v)
}
/** An operand that public operations take as a number: one value everywhere, beside a tensor. */
function literalOperand(e: Eqn, i: number): string | null {
  if (e.op !== 'map' || publicScalars[e.params.fn] === null) return null
  const last = e.inputs.length - 1
  // pow(x, 2) means another graph; a number alone, or as the condition, has no dtype to take.
  if (e.params.fn === 'pow' || e.inputs.length < 2 || (e.params.fn === 'select' && i === 0)) return null
  const values = e.inputs.map(uniformValue)
  const other = e.params.fn === 'select' ? 3 - i : last - i
  return values[i] === null || values[other] !== null ? null : decimal(values[i], e.inputs[i].dtype)
}
/** Parameters as an object literal. */
const literal = (v: unknown): string => {
  if (typeof v === 'number') return number(v)
  if (Array.isArray(v)) return list(v.map(literal))
  if (ArrayBuffer.isView(v)) return typed(v as TypedArray)
  if (typeof v === 'object' && v !== null)
    return `{ ${Object.entries(v)
      .filter(([, x]) => x !== undefined)
      .map(([k, x]) => `${k}: ${literal(x)}`)
      .join(', ')} }`
  return typeof v === 'string' ? `'${v}'` : String(v)
}
const typeText = (t: TensorType): string => `{ shape: ${list(t.shape)}, dtype: '${t.dtype}' }`

/** Writes the bodies of functions; remembers what they import. */
class Printer {
  readonly imports = new Set<string>()
  readonly testing = new Set<string>()
  private next = 0
  private readonly rules: ReadonlyMap<CustomRule, string>
  constructor(rules: ReadonlyMap<CustomRule, string>) {
    this.rules = rules
  }

  /** The lines between parameters and results, and the list of results. */
  body(
    params: readonly Tensor[],
    names: readonly string[],
    outputs: readonly Tensor[],
    indent: string,
  ): string {
    const known = new Map<Eqn, readonly string[]>(params.map((p, i) => [p.eqn, [names[i]]]))
    const get = (t: Tensor): string => known.get(t.eqn)?.[t.output] ?? '?'
    const eqns = equations(outputs, params)
    // What occurs only as a number in another line needs none of its own.
    const needed = new Set(outputs.map(t => t.eqn))
    for (const e of [...eqns].reverse())
      if (needed.has(e))
        for (const [i, x] of e.inputs.entries()) if (literalOperand(e, i) === null) needed.add(x.eqn)
    const lines = eqns
      .filter(e => needed.has(e))
      .map(e => {
        const own = results(e).map((_, i) => `v${this.next}${e.types.length > 1 ? `_${i}` : ''}`)
        this.next++
        known.set(e, own)
        const operands = e.inputs.map((x, i) => literalOperand(e, i) ?? get(x))
        const plain = e.types.length === 1 ? this.publicCall(e, operands) : null
        return `${indent}const ${plain === null ? list(own) : own[0]} = ${plain ?? this.primitiveCall(e, operands, indent)}`
      })
    return [...lines, `${indent}return ${list(outputs.map(get))}`].join('\n')
  }

  private call(name: string, ...args: readonly string[]): string {
    this.imports.add(name)
    return `${name}(${args.join(', ')})`
  }

  /** The equation as a public operation, or null. */
  private publicCall(e: Eqn, xs: readonly string[]): string | null {
    switch (e.op) {
      case 'map': {
        const name = publicScalars[e.params.fn]
        if (name === null) return null
        return this.call(name, ...xs, ...(e.params.to ? [`'${e.params.to}'`] : []))
      }
      case 'const':
        return e.params.shape.length === 0
          ? this.call('tensor', decimal(e.params.data[0], e.params.dtype), `'${e.params.dtype}'`)
          : null
      case 'reshape':
        return this.call('reshape', xs[0], list(e.params.shape))
      case 'permute':
        return this.call('permute', xs[0], list(e.params.order))
      case 'broadcast': {
        const lead = e.params.shape.length - e.params.dims.length
        return e.params.dims.every((d, i) => d === i + lead)
          ? this.call('broadcastTo', xs[0], list(e.params.shape))
          : null
      }
      case 'reduce':
        return e.params.how === 'sum' || e.params.how === 'prod'
          ? this.call(e.params.how, xs[0], `{ axes: ${list(e.params.axes)} }`)
          : null
      case 'concat':
        return this.call('concat', list(xs), `{ axis: ${e.params.axis} }`)
      case 'stopGradient':
        return this.call('stopGradient', xs[0])
      default:
        return null
    }
  }

  private closed(f: Closed, indent: string): string {
    this.testing.add('closed')
    const names = f.params.map((_, i) => `p${this.next}_${i}`)
    this.next++
    const body = this.body(f.params, names, f.body, `${indent}  `)
    return `closed(${list(f.params.map(typeText))}, (${names.join(', ')}) => {\n${body}\n${indent}})`
  }

  private primitiveCall(e: Eqn, xs: readonly string[], indent: string): string {
    this.testing.add('primitive')
    return `primitive('${e.op}', ${this.parameters(e, indent)}, ${list(xs)})`
  }

  private parameters(e: Eqn, indent: string): string {
    switch (e.op) {
      case 'call': {
        const { params, body, rule, name, remat } = e.params
        const known = this.rules.get(rule)
        if (known !== undefined) this.testing.add(known.split('.')[0])
        const own =
          known ?? (Object.keys(rule).length === 0 ? '{}' : '{} /* its own derivative is not printed */')
        return `{ ...${this.closed({ params, body }, indent)}, name: '${name}', rule: ${own}${remat ? ', remat: true' : ''} }`
      }
      case 'cond':
        return `{ onTrue: ${this.closed(e.params.onTrue, indent)}, onFalse: ${this.closed(e.params.onFalse, indent)} }`
      case 'scan':
        return `{ ...${literal({ ...e.params, step: undefined })}, step: ${this.closed(e.params.step, indent)} }`
      default:
        return literal(e.params)
    }
  }
}

/** Where a printed program is to run, and how to name rules that cannot be printed. */
export interface PrintOptions {
  /** The backend that `checkBackends` opens in the printed text. */
  readonly backend?: 'reference' | 'cpu' | 'webgpu'
  /** Names in `cotangent/testing` of custom rules. */
  readonly rules?: ReadonlyMap<CustomRule, string>
}

/**
 * A graph and arguments as a file that checks them: gradients against differences, and a backend against the
 * reference.
 * @example console.log(printCheck(trace(f, [spec([2])]).graph, [array([2], 'f32', [1, 2])]))
 */
export function printCheck(
  g: Graph,
  args: readonly NDArray[],
  { backend = 'reference', rules = new Map() }: PrintOptions = {},
): string {
  const printer = new Printer(rules)
  const names = range(args.length).map(i => `x${i}`)
  const body = printer.body(g.inputs, names, g.outputs, '  ')
  const data = args.map(
    a =>
      `  array(${list(a.shape)}, '${a.dtype}', ${list(Array.from<number, string>(a.data, v => decimal(v, a.dtype)))}),`,
  )
  return [
    `import { ${[...printer.imports, 'array', 'type Tensor', 'unwrap'].sort().join(', ')} } from 'cotangent'`,
    `import { openBackend } from 'cotangent/node'`,
    `import { ${['checkBackends', 'checkGrads', ...printer.testing].sort().join(', ')} } from 'cotangent/testing'`,
    '',
    `const args = [\n${data.join('\n')}\n]`,
    `const f = (${names.map(n => `${n}: Tensor`).join(', ')}) => {\n${body}\n}`,
    `const backend = await unwrap(openBackend('${backend}'))`,
    'console.log(await checkBackends(f, args, [backend]))',
    'console.log(checkGrads(f, args))',
    'backend.close()',
    '',
  ].join('\n')
}
