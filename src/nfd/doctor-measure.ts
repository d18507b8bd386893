/**
 * Runs what the doctor measures. In: a pipeline, arrays, a way to run functions. Out: numbers.
 */
import { array, type NDArray } from '../dsl/array.ts'
import type { Tensor } from '../dsl/tensor.ts'
import { isType } from '../dsl/trace.ts'
import { fillTree, leaves } from '../dsl/tree.ts'
import { type Arrays, under } from './doctor-findings.ts'
import {
  type Batch,
  look,
  type Measured,
  type Noticed,
  type Pipeline,
  probe,
  type Values,
} from './doctor-look.ts'
import { leastSquares, probedSteps } from './doctor-shares.ts'

/** Runs a function of tensors on arrays: `f => jit(f, backend)`. */
export type Run = (
  f: (...xs: readonly Tensor[]) => readonly Tensor[],
) => (...xs: readonly NDArray[]) => Promise<readonly NDArray[]>

const isArray = (x: unknown): x is NDArray => isType(x) && 'data' in x
export const arraysOf = (tree: unknown): Arrays =>
  Object.fromEntries(leaves(tree, isArray).map(({ path, leaf }) => [path, leaf]))

/** A function of a tree, run on trees of arrays; what it makes comes back by name. */
export function onTrees<T>(run: Run, f: (tree: T) => Measured, template: unknown) {
  let names: readonly string[] = []
  const call = run((...xs) => {
    // the form of the template, whose arrays are traced
    const out = f(fillTree(template, isArray, xs) as T)
    names = Object.keys(out)
    return Object.values(out)
  })
  return async (tree: unknown): Promise<Arrays> => {
    const out = await call(...leaves(tree, isArray).map(l => l.leaf))
    return Object.fromEntries(names.map((name, i) => [name, out[i]]))
  }
}

/** What is known after a look at every loss; lists have the task first, then the terms. */
export interface Looked {
  /** The student's outputs and the losses, by name. */
  readonly outputs: Arrays
  /** Of gradients over the student's parameters, before weights. */
  readonly norms: readonly number[]
  /** With the task's gradient. */
  readonly products: readonly number[]
  /** Parameters, `net.*` and `aligners.*`, whose gradient is 0 everywhere for every loss. */
  readonly dead: ReadonlySet<string>
}

type Own = Omit<Values, 'taught'>
type Seen = {
  readonly v: Own
  readonly teacher: Parameters<ReturnType<typeof look>>[1]
  readonly b: Batch
  readonly pick: Tensor
}

/** A look at the task and at every term, in turn, by one compiled function. */
export function looks(
  pipeline: Pipeline,
  noticed: Noticed,
  run: Run,
  template: Own,
  seen: { readonly teacher: unknown; readonly b: unknown },
): (values: Own) => Promise<Looked> {
  const f = (t: Seen): Measured => look(pipeline, noticed)(t.v, t.teacher, t.b, t.pick)
  const looking = onTrees(run, f, { v: template, ...seen, pick: stepArray(0) })
  return async v => {
    const at = (pick: number) => looking({ v, ...seen, pick: stepArray(pick) })
    const first = await at(0)
    const task = under('grad.', first)
    const [norms, products, alive] = [[] as number[], [] as number[], new Set<string>()]
    for (let pick = 0; pick <= noticed.terms.length; pick++) {
      const gradients = pick === 0 ? task : under('grad.', await at(pick))
      let [square, product] = [0, 0]
      gradients.forEach(([name, g], i) => {
        if (g.data.some(x => x !== 0)) alive.add(name)
        if (!name.startsWith('net.')) return
        const other = task[i][1].data
        for (let k = 0; k < g.data.length; k++) {
          square += Number(g.data[k]) ** 2
          product += Number(g.data[k]) * Number(other[k])
        }
      })
      norms.push(Math.sqrt(square))
      products.push(product)
    }
    const outputs = Object.fromEntries(Object.entries(first).filter(([name]) => !name.startsWith('grad.')))
    return { outputs, norms, products, dead: new Set(task.map(([name]) => name).filter(n => !alive.has(n))) }
  }
}

/** How much each term counts: least squares of the total's gradient over the terms', at the step where that is most. */
export async function sharesOf(
  pipeline: Pipeline,
  run: Run,
  looked: Arrays,
  read: ReadonlySet<string>,
  at: {
    readonly values: Pick<Values, 'aligners' | 'memory'>
    readonly context: { readonly label: NDArray; readonly key: NDArray; readonly step: NDArray }
    readonly steps: number
  },
): Promise<readonly number[]> {
  const { aligners, memory } = at.values
  const seen = {
    outputs: {
      student: outputOf(under('student.', looked)),
      teacher: outputOf(under('teacher.', looked).filter(([name]) => read.has(name))),
    },
    v: { aligners, memory },
    b: at.context,
  }
  type Seen = {
    readonly outputs: Parameters<ReturnType<typeof probe>>[0]
    readonly v: typeof seen.v
    readonly b: Omit<Batch, 'image'>
  }
  const probing = onTrees(run, (t: Seen) => probe(pipeline)(t.outputs, t.v, t.b), seen)
  let most: readonly number[] = []
  for (const step of probedSteps(at.steps)) {
    const { gram, product } = await probing({ ...seen, b: { ...at.context, step: stepArray(step) } })
    const shares = leastSquares(gram, product)
    most = shares.map((w, i) => (Math.abs(w) > Math.abs(most[i] ?? 0) ? w : (most[i] ?? 0)))
    if (most.every(w => w !== 0)) break
  }
  return most
}

/** An output from its leaves by name. */
export function outputOf(entries: readonly (readonly [string, NDArray])[]): unknown {
  const plain = entries.filter(([name]) => !name.startsWith('taps.'))
  const taps = entries.filter(([name]) => name.startsWith('taps.'))
  return {
    ...Object.fromEntries(plain),
    taps: Object.fromEntries(taps.map(([name, a]) => [name.slice(5), a])),
  }
}

export const stepArray = (step: number): NDArray => array([], 'i32', [step])
export const numberAt = (all: Arrays, name: string): number => Number(all[name]?.data[0] ?? Number.NaN)
/** The images with every one but the first replaced by its negative. */
export function otherRows(image: NDArray): NDArray {
  const n = image.data.length / image.shape[0]
  return array(
    image.shape,
    image.dtype,
    Array.from(image.data, (x, i) => (i < n ? Number(x) : -Number(x))),
  )
}

/** Every parameter a hundredth higher. */
export const shifted = <T>(tree: T): T =>
  fillTree(
    tree,
    isArray,
    leaves(tree, isArray).map(({ leaf }) =>
      array(
        leaf.shape,
        leaf.dtype,
        Array.from(leaf.data, x => Number(x) + 0.01),
      ),
    ),
  ) as T // each array is replaced by one of its type
