/**
 * From a function to an executable: trace, plan, and hand to a backend; then call it with arrays.
 * Errors of tracing and planning come back as values.
 */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import * as TE from 'fp-ts/lib/TaskEither.js'
import type { NDArray } from '../dsl/array.ts'
import { CompileError, CotangentError } from '../dsl/errors.ts'
import type { Graph } from '../dsl/graph.ts'
import { sameShape, showType } from '../dsl/shape.ts'
import type { Tensor, TensorType } from '../dsl/tensor.ts'
import { isTensor, isType, trace } from '../dsl/trace.ts'
import { fillTree, leaves, type MapTree, mapTree } from '../dsl/tree.ts'
import { type Argument, type Backend, isResident, type Program, type Resident } from './backend.ts'

/** A tree of tensors as a tree of what a caller passes: host arrays or arrays on the device. */
export type Arguments<T> = MapTree<T, Tensor, Argument>
/** A tree of tensors as a tree of host arrays. */
export type Arrays<T> = MapTree<T, Tensor, NDArray>
/** A tree of tensors as a tree of arrays on the device. */
export type Residents<T> = MapTree<T, Tensor, Resident>
/** A tree of tensors as a tree of their types. */
export type Types<T> = MapTree<T, Tensor, TensorType>

/** What `compile` may assume. */
export interface CompileOptions {
  /**
   * Positions of arguments that each call gives up: they are gone afterwards, and results are written in their
   * memory where they fit. A training step that donates its state updates it in place.
   */
  readonly donate?: readonly number[]
}

/** A compiled function. */
export interface Executable<Args extends readonly unknown[], R> {
  /**
   * Runs on arrays and gives arrays.
   * @throws CompileError if an argument's type is not the compiled one; DeviceError if the device fails
   */
  (...args: { readonly [I in keyof Args]: Arguments<Args[I]> }): Promise<Arrays<R>>
  /** Runs, and leaves the results on the device: parameters stay there from step to step. */
  resident(args: { readonly [I in keyof Args]: Arguments<Args[I]> }): Promise<Residents<R>>
  readonly graph: Graph
  readonly stats: Program['stats']
}

export const isArgument = (x: unknown): x is Argument =>
  (typeof x === 'object' && x !== null && 'read' in x && 'type' in x) || (isType(x) && 'data' in x)
const isResidentLeaf = (x: unknown): x is Resident => isArgument(x) && isResident(x)
const typeOf = (a: Argument): TensorType => (isResident(a) ? a.type : a)

/** Copies a tree of arrays on the device to the host. */
export async function read<T>(tree: T): Promise<MapTree<T, Resident, NDArray>> {
  const arrays = await Promise.all(leaves(tree, isResidentLeaf).map(l => l.leaf.read()))
  return fillTree(tree, isResidentLeaf, arrays) as MapTree<T, Resident, NDArray>
}

/** Frees a tree of arrays on the device now, not when the garbage collector comes round. */
export const dispose = (tree: unknown): void => {
  for (const { leaf } of leaves(tree, isResidentLeaf)) leaf.dispose()
}

/**
 * Compiles a function over trees of tensors for arguments of the given types.
 * @param fn pure: traced once, so what it does besides building tensors happens once
 * @param specs one tree of types per argument: `spec([8, 3, 64, 64])`, or arrays to take the types from
 * @param options.donate positions of arguments whose memory results may take over
 * @example const exe = await compile(step, [spec([2]), spec([8, 2])], backend)()
 */
export const compile = <Args extends readonly unknown[], R>(
  fn: (...args: Args) => R,
  specs: { readonly [I in keyof Args]: Types<Args[I]> },
  backend: Backend,
  { donate = [] }: CompileOptions = {},
): TE.TaskEither<CotangentError, Executable<Args, R>> => {
  const types = specs.map(toTypes)
  const donated = types.flatMap((tree, i) => leaves(tree, isType).map(() => donate.includes(i)))
  return pipe(
    TE.fromEither(attempt(() => trace(fn as (...args: never[]) => unknown, types))),
    TE.chainFirst(({ graph }) => TE.fromEither(checkDTypes(graph, backend))),
    TE.chain(({ graph, result }) =>
      pipe(
        backend.compile(graph, donated),
        TE.map(program => executable<Args, R>({ types, result, graph, program, donated })),
      ),
    ),
  )
}

const toTypes = (tree: unknown): unknown =>
  mapTree(
    tree,
    (x): x is Argument | TensorType => isArgument(x) || isType(x),
    x => ('read' in x ? x.type : { shape: x.shape, dtype: x.dtype }),
  )

/** Runs a body; errors that Cotangent raises on purpose become values, defects go on. */
export function attempt<T>(body: () => T): E.Either<CotangentError, T> {
  try {
    return E.right(body())
  } catch (e) {
    if (e instanceof CotangentError) return E.left(e)
    throw e
  }
}

function checkDTypes(g: Graph, backend: Backend): E.Either<CotangentError, void> {
  const all = [
    ...g.inputs.map(t => ({ t, scope: 'an argument' })),
    ...g.eqns.flatMap(e => e.types.map(t => ({ t, scope: e.scope }))),
  ]
  const bad = all.find(({ t }) => !backend.dtypes.includes(t.dtype))
  return bad
    ? E.left(
        new CompileError(
          `${backend.name} has no ${bad.t.dtype} (${showType(bad.t)}${bad.scope ? `, ${bad.scope}` : ''}); it has ${backend.dtypes.join(', ')}`,
        ),
      )
    : E.right(undefined)
}

/** A program, and what is known of the function that it was made of. */
interface Made {
  /** One tree per argument. */
  readonly types: readonly unknown[]
  readonly result: unknown
  readonly graph: Graph
  readonly program: Program
  /** By leaf of the arguments. */
  readonly donated: readonly boolean[]
}

function executable<Args extends readonly unknown[], R>({
  types,
  result,
  graph,
  program,
  donated,
}: Made): Executable<Args, R> {
  const wanted = types.map(tree => leaves(tree, isType))
  const gather = (args: readonly unknown[]): Argument[] =>
    wanted.flatMap((want, i) => {
      const got = leaves(args[i], isArgument)
      const missing = want.find(w => !got.some(g => g.path === w.path))
      if (missing || got.length !== want.length)
        throw new CompileError(
          `argument ${i}: ${missing ? `no array at '${missing.path}'` : `${got.length} arrays`}; it was compiled for ${want.length} arrays`,
        )
      const byPath = new Map(got.map(g => [g.path, g.leaf]))
      return want.map(w => {
        const leaf = byPath.get(w.path) as Argument
        const t = typeOf(leaf)
        if (t.dtype !== w.leaf.dtype || !sameShape(t.shape, w.leaf.shape))
          throw new CompileError(
            `argument ${i}${w.path ? `.${w.path}` : ''} is ${showType(t)}, it was compiled for ${showType(w.leaf)}`,
          )
        return leaf
      })
    })
  const resident = async (args: readonly unknown[]): Promise<readonly Resident[]> => {
    if (args.length !== types.length)
      throw new CompileError(`${args.length} arguments; the function takes ${types.length}`)
    return program.run(gather(args), donated)
  }
  const call = async (...args: readonly unknown[]) => {
    const out = await resident(args)
    const arrays = await Promise.all(out.map(r => r.read()))
    for (const r of out) r.dispose()
    return fillTree(result, isTensor, arrays)
  }
  return Object.assign(call, {
    resident: async (args: readonly unknown[]) => fillTree(result, isTensor, await resident(args)),
    graph,
    stats: program.stats,
  }) as unknown as Executable<Args, R>
}

/**
 * A function that compiles itself for the shapes that it meets, once for each.
 * @example const f = jit(model, backend); await f(params, image)
 */
export function jit<Args extends readonly unknown[], R>(
  fn: (...args: Args) => R,
  backend: Backend,
): (...args: { readonly [I in keyof Args]: Arguments<Args[I]> }) => Promise<Arrays<R>> {
  const known = new Map<string, Promise<Executable<Args, R>>>()
  return async (...args) => {
    const key = args
      .map(a =>
        leaves(a, isArgument)
          .map(l => `${l.path} ${showType(typeOf(l.leaf))}`)
          .join(),
      )
      .join(';')
    const exe =
      known.get(key) ??
      unwrap(compile(fn, args as unknown as { readonly [I in keyof Args]: Types<Args[I]> }, backend))
    known.set(key, exe)
    return (await exe)(...args)
  }
}

/** The value of a TaskEither, its error thrown: for the edge of a program. */
export const unwrap = async <T>(task: TE.TaskEither<CotangentError, T>): Promise<T> => {
  const result = await task()
  if (E.isLeft(result)) throw result.left
  return result.right
}
