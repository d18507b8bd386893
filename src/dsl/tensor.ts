/**
 * Traced tensors. A tensor is an output of an equation; an equation is a primitive applied to tensors. Both
 * are immutable, and ids ascend from operands to results, so sorting by id is a topological order and tracing
 * needs no global recorder. Nothing is computed here.
 */
import { type DType, makeData } from './dtype.ts'
import { CompileError, ShapeError } from './errors.ts'
import { infer } from './infer.ts'
import type { Op, Prims } from './prim.ts'
import { type Shape, showType, size } from './shape.ts'

/** What is known of a tensor before it has a value. */
export interface TensorType<S extends Shape = Shape, D extends DType = DType> {
  readonly shape: S
  readonly dtype: D
}

/** A primitive applied to tensors. `scope` is the place in the user's function. */
export type Eqn<K extends Op = Op> = {
  readonly [P in K]: {
    readonly id: number
    readonly op: P
    readonly params: Prims[P]
    readonly inputs: readonly Tensor[]
    readonly types: readonly TensorType[]
    readonly scope: string
  }
}[K]

/**
 * A value of a traced function: an array that will be.
 * @typeParam S the shape, literal where it is known (`readonly [8, 3, 64, 64]`); `number` is dynamic
 * @typeParam D the element type
 */
export class Tensor<out S extends Shape = Shape, out D extends DType = DType> implements TensorType<S, D> {
  readonly shape: S
  readonly dtype: D
  readonly eqn: Eqn
  readonly output: number
  constructor(shape: S, dtype: D, eqn: Eqn, output: number) {
    this.shape = shape
    this.dtype = dtype
    this.eqn = eqn
    this.output = output
  }
  get rank(): S['length'] {
    return this.shape.length
  }
  toString(): string {
    return showType(this)
  }
  /** A traced tensor has no value yet: coercion to a number, a string concatenation or a condition throws. */
  [Symbol.toPrimitive](hint: string): string {
    if (hint === 'string') return showType(this)
    throw new CompileError(
      `a traced ${showType(this)} has no value while the function is traced; use where() for a condition, evaluate() for a look`,
    )
  }
}

let nextId = 0
let scopePath = ''

/**
 * Runs `body` with a name added to the place that errors, printouts and profiles show.
 * @example scope('decoder', () => conv2d(x, w))
 */
export function scope<T>(name: string, body: () => T): T {
  const outer = scopePath
  scopePath = outer ? `${outer} / ${name}` : name
  try {
    return body()
  } finally {
    scopePath = outer
  }
}

/** Runs `body` at another place of the user's function: derivatives stand where their primal stands. */
export function atScope<T>(path: string, body: () => T): T {
  const outer = scopePath
  scopePath = path
  try {
    return body()
  } finally {
    scopePath = outer
  }
}

/** The results of an equation. */
export const results = (e: Eqn): readonly Tensor[] =>
  e.types.map((t, i) => new Tensor(t.shape, t.dtype, e, i))

/**
 * Applies a primitive: infers the result types and makes the equation.
 * @throws ShapeError if the operands break the primitive's rule
 */
export function bind<K extends Op>(op: K, params: Prims[K], inputs: readonly Tensor[]): readonly Tensor[] {
  const types = infer(op, params, inputs, scopePath)
  // The union of equations is indexed by op; TypeScript cannot see that op and params agree for a generic K.
  const eqn = { id: nextId++, op, params, inputs, types, scope: scopePath } as Eqn
  return types.map((t, i) => new Tensor(t.shape, t.dtype, eqn, i))
}

/** `bind` for the primitives with one result. */
export const bind1 = <K extends Op>(op: K, params: Prims[K], inputs: readonly Tensor[]): Tensor =>
  bind(op, params, inputs)[0]

/** The place where tracing is, for error messages. */
export const currentScope = (): string => scopePath

/**
 * A constant tensor.
 * @example tensor([1, 2, 3])            // f32[3]
 * @example tensor([[1, 2], [3, 4]], 'f64')
 * @throws ShapeError if nested lists are ragged
 */
export function tensor<D extends DType = 'f32'>(value: Nested, dtype?: D): Tensor<Shape, D> {
  const shape: number[] = []
  for (let v: Nested = value; typeof v !== 'number'; v = v[0] ?? 0) shape.push(v.length)
  const d = (dtype ?? 'f32') as D
  const data = makeData(d, size(shape))
  let n = 0
  const fill = (v: Nested, depth: number): void => {
    if (typeof v === 'number') {
      if (depth !== shape.length) throw new ShapeError('tensor', 'the nested lists are ragged')
      data[n++] = v
    } else {
      if (v.length !== shape[depth]) throw new ShapeError('tensor', 'the nested lists are ragged')
      for (const e of v) fill(e, depth + 1)
    }
  }
  fill(value, 0)
  return constant(shape, d, data)
}
/** Numbers, or lists of lists of numbers. */
export type Nested = number | readonly Nested[]

/** A constant tensor over existing data. */
export const constant = <const S extends Shape, D extends DType>(
  shape: S,
  dtype: D,
  data: Prims['const']['data'],
): Tensor<S, D> => bind1('const', { data, shape, dtype }, []) as Tensor<S, D>

/** A fresh argument of a function that is traced. */
export const input = <const S extends Shape, D extends DType>(
  name: string,
  type: TensorType<S, D>,
): Tensor<S, D> => bind1('input', { name, type }, []) as Tensor<S, D>
