/**
 * What the doctor measures, as two pure functions to be traced. In: a pipeline. Out: by name, the networks' outputs, each
 * term's loss, its gradient's norm and its product with the task's gradient, and the largest gradient of each parameter
 * (`look`); and how far each term moves the total at a step (`probe`), which needs the outputs alone and is cheap.
 */
import { fence, pullback } from '../autodiff/transform.ts'
import { add, map, mul, reduce, reshape, scalar, sum } from '../dsl/build.ts'
import { concat } from '../dsl/ops/shape.ts'
import type { Shape } from '../dsl/shape.ts'
import type { Tensor } from '../dsl/tensor.ts'
import { isTensor } from '../dsl/trace.ts'
import { fillTree, leaves } from '../dsl/tree.ts'
import type { FeatureMap } from '../nn/feature.ts'
import type { Module } from '../nn/module.ts'
import type { SegmentationOutput } from '../nn/pspnet.ts'
import type { Distillation } from './distil.ts'

/** Tensors by name. */
export type Measured = { readonly [name: string]: Tensor }
type Output = SegmentationOutput<unknown>
/** A network whose trees are its own business. */
export type AnyNetwork = Module<Tensor, Output, unknown, unknown>
/** As `constantTeacher`: a network as a function of its values and the images, or one that sees them through a view. */
export type Teach = (
  net: AnyNetwork,
) => (params: unknown, state: unknown, image: Tensor, key: Tensor) => Output

/** The functions of a pipeline. */
export interface Pipeline {
  readonly student: AnyNetwork
  readonly teacher: AnyNetwork
  readonly teach: Teach
  readonly distillation: Distillation<unknown, unknown, unknown, unknown>
  readonly task: (logits: FeatureMap, label: Tensor<Shape, 'i32'>) => Tensor
}
/** What a step sees. */
export type Batch = {
  readonly image: Tensor
  readonly label: Tensor<Shape, 'i32'>
  readonly key: Tensor
  readonly step: Tensor
}
/** The values of a pipeline, traced. */
export type Values = {
  readonly net: unknown
  readonly aligners: unknown
  readonly running: unknown
  readonly memory: unknown
  readonly taught: { readonly params: unknown; readonly state: unknown }
}

/** What tracing alone tells. */
export interface Noticed {
  /** The teacher's outputs that the distillation read: `logits`, `taps.stage4`. */
  readonly read: Set<string>
  /** The modes in which the teacher was called. */
  readonly teacherTraining: Set<boolean>
  /** The terms, in the order of their logs. */
  terms: readonly string[]
}
export const noticing = (): Noticed => ({ read: new Set(), teacherTraining: new Set(), terms: [] })

/** The name under which a distillation without logs is measured. */
export const whole = 'distillation'

/** The terms' losses before weights: the logs, without those of single pairs. */
function termsOf(logs: Measured, loss: Tensor): Measured {
  const own = Object.entries(logs).filter(([name]) => !name.includes('/'))
  return own.length > 0 ? Object.fromEntries(own) : { [whole]: loss }
}

/** Leaves of a tree by name. */
export const named = (tree: unknown): readonly (readonly [string, Tensor])[] =>
  leaves(tree, isTensor).map(({ path, leaf }) => [path, leaf])

/** A tree whose leaves tell `seen` their names when they are read. */
function watched<T>(tree: T, seen: Set<string>, path = ''): T {
  if (typeof tree !== 'object' || tree === null || isTensor(tree)) return tree
  const entries = Object.entries(tree).map(([k, value]) => {
    const name = path === '' ? k : `${path}.${k}`
    const inner = watched(value, seen, name)
    const get = (): unknown => {
      if (isTensor(value)) seen.add(name)
      return inner
    }
    return [k, { enumerable: true, get }]
  })
  // every property is there, with its value
  return Object.defineProperties({}, Object.fromEntries(entries)) as T
}

/** Gradients of several losses with respect to the leaves of one tree, in one trace. */
function gradients(
  tree: unknown,
  f: (tree: unknown) => Measured,
): { readonly losses: Measured; readonly of: (name: string) => readonly Tensor[]; readonly paths: string[] } {
  const found = leaves(tree, isTensor)
  const xs = found.map(l => fence(l.leaf))
  const losses = f(fillTree(tree, isTensor, xs))
  const paths = found.map(l => l.path)
  const quoted = paths.map(p => `'${p}'`)
  return {
    losses,
    paths,
    of: name => pullback([losses[name]], xs, [scalar(1, losses[name].dtype)], quoted),
  }
}
const dot = (a: readonly Tensor[], b: readonly Tensor[]): Tensor =>
  a.map((x, i) => sum(mul(x, b[i]))).reduce((x, y) => add(x, y), scalar(0, 'f32') as Tensor)
/** The largest magnitude of each tensor, as a vector. */
const largest = (xs: readonly Tensor[]): Tensor =>
  concat(
    xs.map(x => reshape(reduce('max', map('abs', x)), [1])),
    { axis: 0 },
  )
const prefixed = (prefix: string, xs: readonly (readonly [string, Tensor])[]): Measured =>
  Object.fromEntries(xs.map(([name, x]) => [`${prefix}${name}`, x]))

/**
 * One look at a batch:
 *   student.*, teacher.*          the outputs
 *   other.*                       the teacher's, for a batch of the same first image and other ones
 *   loss.<t>, norm.<t>, dot.<t>   of the task and each term, before weights; over the student's parameters
 *   leaf.net, leaf.aligners       the largest gradient that a parameter gets of the task or a term
 */
export const look =
  (p: Pipeline, noticed: Noticed) =>
  (v: Values, b: Batch, otherImage: Tensor): Measured => {
    const spied: AnyNetwork = {
      ...p.teacher,
      apply: (params, state, x, mode) => {
        noticed.teacherTraining.add(mode.training)
        return p.teacher.apply(params, state, x, mode)
      },
    }
    const teach = p.teach(spied)
    const target = teach(v.taught.params, v.taught.state, b.image, b.key)
    const other = teach(v.taught.params, v.taught.state, otherImage, b.key)
    let out: Output | undefined
    const params = { net: v.net, aligners: v.aligners }
    const g = gradients(params, tree => {
      // the tree has the form of `params`
      const { net, aligners } = tree as typeof params
      const applied = p.student.apply(net, v.running, b.image, { training: true, key: b.key })
      out = applied.out
      const seen = watched(target, noticed.read)
      const d = p.distillation.loss(aligners, v.memory, out, seen, b)
      const terms = termsOf(d.logs, d.loss)
      noticed.terms = Object.keys(terms)
      return { ...prefixed('term.', Object.entries(terms)), task: p.task(out.logits, b.label) }
    })
    const names = Object.keys(g.losses)
    const all = new Map(names.map(name => [name, g.of(name)]))
    const inNet = g.paths.map(path => path.startsWith('net.'))
    const netPart = (xs: readonly Tensor[]) => xs.filter((_, i) => inNet[i])
    const gradOf = (name: string): readonly Tensor[] => all.get(name) ?? []
    const most = g.paths.map((_, i) =>
      names.map(name => map('abs', gradOf(name)[i])).reduce((x, y) => map('max', x, y)),
    )
    const aligners = most.filter((_, i) => !inNet[i])
    const task = netPart(gradOf('task'))
    return {
      ...prefixed('student.', named(out)),
      ...prefixed('teacher.', named(target)),
      ...prefixed('other.', named(other)),
      ...prefixed('loss.', Object.entries(g.losses)),
      ...prefixed(
        'norm.',
        names.map(n => [n, map('sqrt', dot(netPart(gradOf(n)), netPart(gradOf(n))))]),
      ),
      ...prefixed(
        'dot.',
        names.map(n => [n, dot(netPart(gradOf(n)), task)]),
      ),
      'leaf.net': largest(netPart(most)),
      ...(aligners.length > 0 ? { 'leaf.aligners': largest(aligners) } : {}),
    }
  }
/**
 * How much each term has to do with the total at a step, from the outputs alone: Gram matrix of the terms' gradients with respect to the
 * student's outputs and the aligners, and products with the total's.
 *   gram [terms, terms], product [terms]
 */
export const probe =
  (p: Pipeline) =>
  (
    outputs: { readonly student: Output; readonly teacher: Output },
    v: Pick<Values, 'aligners' | 'memory'>,
    b: Omit<Batch, 'image'>,
  ): Measured => {
    const tree = { student: outputs.student, aligners: v.aligners }
    const g = gradients(tree, t => {
      const { student, aligners } = t as typeof tree // the same form
      const d = p.distillation.loss(aligners, v.memory, student, outputs.teacher, b)
      const terms = termsOf(d.logs, d.loss)
      return { ...prefixed('term.', Object.entries(terms)), total: d.loss }
    })
    const terms = Object.keys(g.losses).filter(name => name !== 'total')
    const [total, own] = [g.of('total'), terms.map(g.of)]
    const flat = (xs: readonly Tensor[]) =>
      concat(
        xs.map(x => reshape(x, [1])),
        { axis: 0 },
      )
    return {
      gram: reshape(flat(own.flatMap(a => own.map(c => dot(a, c)))), [terms.length, terms.length]),
      product: flat(own.map(a => dot(a, total))),
    }
  }
