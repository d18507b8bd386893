/**
 * From terms to distillations: over pairs of typed taps (`features`) and over logits (`logits`). In: a name, a way to
 * align and a term. Out: a method, a function of the user's networks. A tap that a network does not have does not
 * compile, nor do taps whose channels differ where nothing aligns them.
 */
import { add, cast, div, map, mean, mul, select, stopGradient, sum } from '../dsl/build.ts'
import { CompileError, UsageError } from '../dsl/errors.ts'
import { showType } from '../dsl/shape.ts'
import { scope, type Tensor } from '../dsl/tensor.ts'
import { foldIn, type Key } from '../dsl/threefry.ts'
import { mismatch, type ShapeMismatch } from '../dsl/types/mismatch.ts'
import type { Channels } from '../nn/channels.ts'
import { type FeatureMap, type Floats, floats } from '../nn/feature.ts'
import type { Tensors } from '../nn/module.ts'
import { type Align, type Fit, resized } from './align.ts'
import { maskAt, type Term } from './compare.ts'
import { type Context, checkWeight, type Distillation, type None } from './distil.ts'

/** What a feature distillation needs to know of a network: a `SegmentationNet`, or anything that names its taps. */
export interface Tapped<C extends Channels> {
  readonly name: string
  readonly tapChannels: C
}

/** Pairs of taps: [the student's, the teacher's]. */
export type TapPairs<SC, TC> = readonly (readonly [keyof SC & string, keyof TC & string])[]
/** The taps that pairs read, of the student (0) or of the teacher (1). */
export type TapsAt<Pairs extends readonly (readonly [string, string])[], Who extends 0 | 1> = {
  readonly [K in Pairs[number][Who]]: FeatureMap
}

/** A sentence for channels that cannot be equal; `number` is checked when the method is made. */
type ChannelCheck<S extends number, T extends number> = [S & T] extends [never]
  ? ShapeMismatch<`the student's tap has ${S} channels, the teacher's ${T}: leave out align, or give conv1x1`>
  : unknown
/** The check of each pair, where nothing aligns the channels. */
export type PairsCheck<Pairs, SC extends Channels, TC extends Channels, F extends Fit> = F extends 'equal'
  ? {
      readonly [I in keyof Pairs]: Pairs[I] extends readonly [
        infer S extends keyof SC,
        infer T extends keyof TC,
      ]
        ? ChannelCheck<SC[S], TC[T]>
        : unknown
    }
  : unknown

/** What is compared, and how it counts. */
export interface FeatureOptions<SC extends Channels, TC extends Channels, Pairs, P, F extends Fit> {
  readonly student: Tapped<SC>
  readonly teacher: Tapped<TC>
  /** Pairs of taps, [student's, teacher's]; their terms add up. */
  readonly taps: Pairs & PairsCheck<Pairs, SC, TC, F>
  /** How the student's features come to the size and channels of the teacher's; the method's own unless given. */
  readonly align?: Align<P, F>
  /** lambda: 1. */
  readonly weight?: number
  /**
   * Divides each pair's term by the root mean square of the teacher's feature, to this power (2 suits squared
   * errors).
   */
  readonly perTeacherNorm?: 1 | 2
}

/** The parameters of aligners by pair of taps, `stage4-stage4`. Do not decay them. */
export type Aligners<P> = { readonly [pair: string]: P }

/** A feature distillation of the user's networks. @typeParam O the method's own options, @typeParam S its state */
export type FeatureMethod<O extends object, P0, F0 extends Fit = 'any', S = None> = <
  const SC extends Channels,
  const TC extends Channels,
  const Pairs extends TapPairs<SC, TC>,
  P = P0,
  F extends Fit = F0,
>(
  options: FeatureOptions<SC, TC, Pairs, P, F> & O,
) => Distillation<TapsAt<Pairs, 0>, TapsAt<Pairs, 1>, Aligners<P>, S>

/** A method's options as they are at run time: the types of taps and parameters forgotten. */
type Loose = FeatureOptions<Channels, Channels, readonly (readonly [string, string])[], unknown, Fit>
type LooseTaps = Readonly<Record<string, FeatureMap>>

/**
 * A feature method from a term:
 *   L = weight * sum over pairs of term(align(Fs), stopGradient(Ft))
 * Logs, before the weight: the sum under the method's name, and each pair under `name/student-teacher`.
 * @returns  options => distillation
 * @throws UsageError, when options are given, if there is no pair or one twice, a tap is unknown, or channels differ
 *   where nothing aligns them; ShapeError, while tracing, if a feature has other channels than its network says
 * @example const fitnet = features('fitnet', conv1x1, () => term(asIs, squaredError))
 */
export const features = <O extends object, P0, F0 extends Fit>(
  name: string,
  align: Align<P0, F0>,
  termOf: (options: O) => Term,
): FeatureMethod<O, P0, F0> =>
  methodOf(align, (options: Loose & O, how) => {
    const value = termOf(options)
    return featureDistillation(name, how, options, (_, s, t, context) => ({
      value: value(s, t, context),
      state: undefined,
    }))
  })

/** A term that remembers: its state, for the teacher's channels, goes in and comes out. */
export interface Memory<S> {
  readonly init: (key: Key, channels: number) => S
  readonly apply: (
    state: Tensors<S>,
    student: FeatureMap,
    teacher: FeatureMap,
    context: Context,
  ) => { readonly value: Floats; readonly state: Tensors<S> }
}
/** States by pair of taps, `stage4-stage4`. */
export type Memories<S> = { readonly [pair: string]: S }

/**
 * As `features`, from a term with a state for each pair.
 * @example const cirkdMemory = remembering('cirkdMemory', adapter, queues)
 */
export const remembering = <O extends object, P0, F0 extends Fit, S>(
  name: string,
  align: Align<P0, F0>,
  memoryOf: (options: O) => Memory<S>,
): FeatureMethod<O, P0, F0, Memories<S>> =>
  methodOf(align, (options: Loose & O, how) => {
    // each pair's state is of the memory's own making
    const memory = memoryOf(options) as unknown as Memory<unknown>
    return featureDistillation(name, how, options, memory.apply, memory.init)
  })

/**
 * A method with the types of taps and parameters that the user sees. The aligners' parameters go to the aligner
 * that made them and taps are asked for by the names in the pairs: inside, their types are not needed.
 */
const methodOf = <O extends object, P0, F0 extends Fit, S>(
  align: Align<P0, F0>,
  make: (options: Loose & O, align: Align<unknown, Fit>) => unknown,
): FeatureMethod<O, P0, F0, S> =>
  ((options: Loose & O) =>
    make(options, options.align ?? (align as unknown as Align<unknown, Fit>))) as unknown as FeatureMethod<
    O,
    P0,
    F0,
    S
  >

function featureDistillation(
  name: string,
  align: Align<unknown, Fit>,
  options: Loose,
  apply: Memory<unknown>['apply'],
  remember?: Memory<unknown>['init'],
): Distillation<LooseTaps, LooseTaps, Aligners<unknown>, Memories<unknown>> {
  const { weight = 1, perTeacherNorm } = options
  checkWeight(name, weight)
  const pairs = checkedPairs(name, align, options)
  return {
    init: key => ({
      params: Object.fromEntries(pairs.map((p, i) => [p.name, align.init(foldIn(key, i), p.from, p.to)])),
      state: remember
        ? Object.fromEntries(pairs.map((p, i) => [p.name, remember(foldIn(key, -1 - i), p.to)]))
        : {},
    }),
    loss: (params, state, student, teacher, context) =>
      scope(name, () => {
        const terms = pairs.map(pair =>
          scope(pair.name, () => {
            const source = tapOf(options.student.name, student.taps, pair.student, pair.from)
            const target = stopGradient(tapOf(options.teacher.name, teacher.taps, pair.teacher, pair.to))
            const aligned = align.apply(alignerOf(params, pair.name), source, target, context)
            const out = apply(state[pair.name], aligned, target, context)
            const scale = perTeacherNorm && teacherNorm(target, context, perTeacherNorm)
            return { ...out, value: scale ? div(out.value, scale) : out.value }
          }),
        )
        const total = terms.map((t): Tensor => t.value).reduce((a, b) => add(a, b))
        const named = <T>(prefix: string, of: (t: (typeof terms)[number]) => T) =>
          Object.fromEntries(terms.map((t, i) => [`${prefix}${pairs[i].name}`, of(t)]))
        return {
          loss: floats(name, mul(total, weight)),
          logs: { [name]: total, ...named(`${name}/`, t => t.value) },
          state: remember ? named('', t => t.state) : {},
        }
      }),
  }
}

/** The root mean square of the elements that count, to a power; 1 for a feature of zeros. */
function teacherNorm(x: FeatureMap, { mask }: Context, power: 1 | 2): Tensor {
  const counted = mask && maskAt(mask, x)
  const kept = counted ? select(counted, x, 0) : x
  const square = counted
    ? div(sum(mul(kept, kept)), map('max', mul(sum(cast(counted, x.dtype)), x.shape[1]), 1))
    : mean(mul(x, x))
  const positive = select(map('lt', 0, square), square, 1)
  return stopGradient(power === 2 ? positive : map('sqrt', positive))
}

/** A tap of an output, with the channels that its network promises. */
function tapOf(net: string, taps: LooseTaps, tap: string, channels: number): FeatureMap {
  const feature = taps[tap]
  if (feature === undefined)
    throw new CompileError(
      `${net} gave no tap '${tap}', only ${Object.keys(taps).join(', ')}; its apply must return every tap of tapChannels`,
    )
  if (feature.shape[1] !== channels)
    mismatch(
      'taps',
      `${net} promises ${channels} channels in its tap '${tap}', and gives ${feature.shape[1]}`,
      [`${tap}  ${showType(feature)}  [batch, channels, height, width]`],
    )
  return feature
}

/** A missing aligner must never pass for none. */
function alignerOf(params: Tensors<Aligners<unknown>>, pair: string): Tensors<unknown> {
  if (pair in params) return params[pair]
  throw new CompileError(
    `the distillation has no aligner '${pair}' among [${Object.keys(params).join(', ')}]; pass the parameters that its init made`,
  )
}

interface Pair {
  readonly name: string
  readonly student: string
  readonly teacher: string
  readonly from: number
  readonly to: number
}
/** The pairs with their names and channels. */
function checkedPairs(op: string, { fit }: Align<unknown, Fit>, options: Loose): readonly Pair[] {
  const { student, teacher, taps } = options
  if (taps.length === 0) throw new UsageError(`${op}: needs at least one pair of taps`)
  const channels = (net: Tapped<Channels>, tap: string): number => {
    if (Object.hasOwn(net.tapChannels, tap)) return net.tapChannels[tap]
    throw new UsageError(
      `${op}: ${net.name} has no tap '${tap}'; it has ${Object.keys(net.tapChannels).join(', ')}`,
    )
  }
  const pairs = taps.map(([s, t]) => ({
    name: `${s}-${t}`,
    student: s,
    teacher: t,
    from: channels(student, s),
    to: channels(teacher, t),
  }))
  const twice = pairs.find((p, i) => pairs.findIndex(q => q.name === p.name) !== i)
  if (twice) throw new UsageError(`${op}: the pair ${twice.name} occurs twice`)
  const unequal = fit === 'equal' && pairs.find(p => p.from !== p.to)
  if (unequal)
    throw new UsageError(
      `${op}: taps that nothing aligns need equal channels; ${unequal.name} has ${unequal.from} and ${unequal.to}. Leave out align, or give conv1x1`,
    )
  return pairs
}

/** A distillation of logits. @typeParam O the method's own options, all optional */
export type LogitMethod<O extends object> = (
  options?: O & {
    /** 1 */
    readonly weight?: number
  },
) => Distillation<unknown, unknown, None>

/**
 * A method on logits from a term. They are compared as the networks give them, upsampled to the size of the images;
 * the student's are resized bilinearly where the two sizes differ. Log: the method's name, before the weight.
 * @returns options => distillation; ShapeError while tracing if the classes differ
 * @example const kd = logits('kd', ({ temperature = 1 }) => term(logProbabilities('C', temperature), divergence('C')))
 */
export const logits =
  <O extends object>(name: string, termOf: (options: Partial<O>) => Term): LogitMethod<O> =>
  (options = {} as O) => {
    const { weight = 1 } = options
    checkWeight(name, weight)
    const term = termOf(options)
    return {
      init: () => ({ params: {}, state: {} }),
      loss: (_, state, student, teacher, context) =>
        scope(name, () => {
          const target = stopGradient(teacher.logits)
          const loss: Floats = term(resized(student.logits, target), target, context)
          return { loss: floats(name, mul(loss, weight)), logs: { [name]: loss }, state }
        }),
    }
  }
