/**
 * What the doctor measures, as pure functions to be traced. In: a pipeline. Out: by name, the teacher's outputs (`ask`), the
 * student's, each term's loss and its gradient (`look`), and how far each term moves the total at a step (`probe`), which
 * needs the outputs alone and is cheap.
 */
import { fence, pullback } from '../autodiff/transform.ts'
import { add, eq, mul, reshape, scalar, select, sum } from '../dsl/build.ts'
import { concat } from '../dsl/ops/shape.ts'
import type { Shape } from '../dsl/shape.ts'
import type { Tensor } from '../dsl/tensor.ts'
import { isTensor } from '../dsl/trace.ts'
import { fillTree, leaves } from '../dsl/tree.ts'
import type { FeatureMap } from '../nn/feature.ts'
import type { Module } from '../nn/module.ts'
import type { SegmentationOutput } from '../nn/segmentation.ts'
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

/** The leaves of a tree, fenced, so that several gradients are taken with respect to them. */
function fenced(tree: unknown) {
  const found = leaves(tree, isTensor)
  const xs = found.map(l => fence(l.leaf))
  const paths = found.map(l => l.path)
  const quoted = paths.map(p => `'${p}'`)
  return {
    tree: fillTree(tree, isTensor, xs),
    paths,
    gradient: (loss: Tensor): readonly Tensor[] => pullback([loss], xs, [scalar(1, loss.dtype)], quoted),
  }
}
const dot = (a: readonly Tensor[], b: readonly Tensor[]): Tensor =>
  a.map((x, i) => sum(mul(x, b[i]))).reduce((x, y) => add(x, y), scalar(0, 'f32') as Tensor)
const prefixed = (prefix: string, xs: readonly (readonly [string, Tensor])[]): Measured =>
  Object.fromEntries(xs.map(([name, x]) => [`${prefix}${name}`, x]))

/** The teacher's outputs for a batch. */
export const ask =
  (p: Pipeline, noticed: Noticed) =>
  (taught: Values['taught'], image: Tensor, key: Tensor): Measured => {
    const spied: AnyNetwork = {
      ...p.teacher,
      apply: (params, state, x, mode) => {
        noticed.teacherTraining.add(mode.training)
        return p.teacher.apply(params, state, x, mode)
      },
    }
    return Object.fromEntries(named(p.teach(spied)(taught.params, taught.state, image, key)))
  }

/**
 * One look at a batch and at one loss: 0 is the task, i the term i - 1.
 *   student.*   the outputs
 *   loss.<t>    of the task and each term, before weights
 *   grad.*      the gradient of the loss that was picked, by parameter: `grad.net.*`, `grad.aligners.*`
 * @param teacher  its outputs
 * @param pick     i32[]
 */
export const look =
  (p: Pipeline, noticed: Noticed) =>
  (v: Omit<Values, 'taught'>, teacher: Output, b: Batch, pick: Tensor): Measured => {
    const { tree, paths, gradient } = fenced({ net: v.net, aligners: v.aligners })
    // the tree has the form that was fenced
    const { net, aligners } = tree as Pick<Values, 'net' | 'aligners'>
    const { out } = p.student.apply(net, v.running, b.image, { training: true, key: b.key })
    const d = p.distillation.loss(aligners, v.memory, out, watched(teacher, noticed.read), b)
    const terms = termsOf(d.logs, d.loss)
    noticed.terms = Object.keys(terms)
    const losses = [p.task(out.logits, b.label), ...Object.values(terms)]
    // one backward pass serves all of them; what is not picked is 0, whatever it holds
    const picked = losses.map((loss, i) => select(eq(pick, i), loss, 0)).reduce((x, y) => add(x, y))
    const grads = gradient(picked)
    return {
      ...prefixed('student.', named(out)),
      ...prefixed('loss.', [
        ['task', losses[0]],
        ...Object.entries(prefixed('term.', Object.entries(terms))),
      ]),
      ...prefixed(
        'grad.',
        paths.map((path, i) => [path, grads[i]]),
      ),
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
    const { tree, gradient } = fenced({ student: outputs.student, aligners: v.aligners })
    // the tree has the form that was fenced
    const { student, aligners } = tree as { readonly student: Output; readonly aligners: unknown }
    const d = p.distillation.loss(aligners, v.memory, student, outputs.teacher, b)
    const own = Object.values(termsOf(d.logs, d.loss)).map(gradient)
    const total = gradient(d.loss)
    const flat = (xs: readonly Tensor[]) =>
      concat(
        xs.map(x => reshape(x, [1])),
        { axis: 0 },
      )
    return {
      gram: reshape(flat(own.flatMap(a => own.map(c => dot(a, c)))), [own.length, own.length]),
      product: flat(own.map(a => dot(a, total))),
    }
  }
