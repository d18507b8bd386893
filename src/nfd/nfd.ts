/**
 * Normalised feature distillation, and FitNets as its case without normalisation. In: two networks with typed taps.
 * Out: a `Distillation`. A wrong name of a tap does not compile.
 * @see Liu, Yang, Chen 2022, arXiv:2207.05256 (NFD); Romero et al. 2015, arXiv:1412.6550 (FitNets)
 */
import type { NDArray } from '../dsl/array.ts'
import { add, mul, stopGradient } from '../dsl/build.ts'
import { CompileError, UsageError } from '../dsl/errors.ts'
import { scope, type Tensor } from '../dsl/tensor.ts'
import { foldIn } from '../dsl/threefry.ts'
import type { FeatureMap } from '../nn/feature.ts'
import { kaimingNormal } from '../nn/init.ts'
import type { Tensors } from '../nn/module.ts'
import {
  align,
  type Compare,
  meanSquaredError,
  type Normalise,
  type NormaliseOptions,
  normalise,
  validPixels,
} from './algebra.ts'
import { checkWeight, type Distillation, type Tapped } from './distil.ts'

/** A method of feature distillation: a row of the table. */
export interface FeatureMethod {
  /** What its logs are called. */
  readonly name: string
  readonly normalise: Normalise
  readonly compare: Compare
}

/** Features by name. */
export type TapMap<Taps> = { readonly [K in keyof Taps]: FeatureMap }
/** Pairs of taps: [the student's, the teacher's]. */
export type TapPairs<STaps, TTaps> = readonly (readonly [keyof STaps & string, keyof TTaps & string])[]

/** What is compared, and how it counts. */
export interface FeatureOptions<STaps, TTaps> {
  readonly student: Tapped<STaps>
  readonly teacher: Tapped<TTaps>
  readonly taps: TapPairs<STaps, TTaps>
  /** lambda: 1. */
  readonly weight?: number
  /** 'conv': a 1 x 1 convolution without bias (the default); 'none': nothing, for taps of equal channels. */
  readonly align?: 'conv' | 'none'
  /** Whether pixels of the label `ignoreIndex` leave the statistics and the mean: false. */
  readonly mask?: boolean
  /** 255 */
  readonly ignoreIndex?: number
}

/** The aligners by pair of taps (`stage4-stage4`): `weight` [teacher's channels, student's, 1, 1]. Do not decay them. */
export type Aligners = { readonly [pair: string]: { readonly weight: NDArray } }

/**
 * A feature distillation from its row:
 *   L = weight * sum over pairs of compare(normalise(align(Fs)), normalise(stopGradient(Ft)))
 * Logs, before the weight: the sum under the method's name, and each pair under `name/student-teacher`.
 * @throws UsageError if there is no pair or one twice, a tap is unknown, or 'none' meets unequal channels
 * @example featureDistillation({ name: 'fitnet', normalise: x => x, compare: meanSquaredError }, options)
 */
export function featureDistillation<STaps extends TapMap<STaps>, TTaps extends TapMap<TTaps>>(
  method: FeatureMethod,
  options: FeatureOptions<STaps, TTaps>,
): Distillation<STaps, TTaps, Aligners> {
  const { taps, weight = 1, mask = false, ignoreIndex = 255 } = options
  const aligned = (options.align ?? 'conv') === 'conv'
  checkWeight(method.name, weight)
  const pairs = checkedPairs(method.name, options)
  return {
    init: key =>
      Object.fromEntries(
        (aligned ? pairs : []).map(({ name, from, to }, i) => [
          name,
          { weight: kaimingNormal(foldIn(key, i), [to, from, 1, 1], { gain: 1 }) },
        ]),
      ),
    loss: (params, s, t, batch) =>
      scope(method.name, () => {
        const terms = taps.map(([from, to], i) =>
          scope(pairs[i].name, () => {
            const target = stopGradient(t.taps[to])
            const valid = mask ? validPixels(batch.label, ignoreIndex, target) : undefined
            const source = align(s.taps[from], aligned ? alignerOf(params, pairs[i].name) : undefined, target)
            return method.compare(method.normalise(source, valid), method.normalise(target, valid), valid)
          }),
        )
        const total = terms.slice(1).reduce<Tensor>((a, b) => add(a, b), terms[0])
        const each = terms.map((term, i) => [`${method.name}/${pairs[i].name}`, term])
        return { loss: mul(total, weight), logs: { [method.name]: total, ...Object.fromEntries(each) } }
      }),
  }
}

/** A missing aligner must never pass for none. */
function alignerOf(params: Tensors<Aligners>, pair: string): Tensor {
  const aligner = params[pair]
  if (aligner) return aligner.weight
  throw new CompileError(
    `the distillation has no aligner '${pair}' among [${Object.keys(params).join(', ')}]; pass the parameters that its init made`,
  )
}

/** The pairs with their names and channels. */
function checkedPairs<STaps, TTaps>(
  op: string,
  { student, teacher, taps, align: how }: FeatureOptions<STaps, TTaps>,
): readonly { readonly name: string; readonly from: number; readonly to: number }[] {
  if (taps.length === 0) throw new UsageError(`${op}: needs at least one pair of taps`)
  const channels = <T>(net: Tapped<T>, tap: keyof T & string): number => {
    const n = net.tapChannels[tap]
    if (n === undefined)
      throw new UsageError(
        `${op}: ${net.name} has no tap '${tap}'; it has ${Object.keys(net.tapChannels).join(', ')}`,
      )
    return n
  }
  const pairs = taps.map(([s, t]) => ({
    name: `${s}-${t}`,
    from: channels(student, s),
    to: channels(teacher, t),
  }))
  const twice = pairs.find((p, i) => pairs.findIndex(q => q.name === p.name) !== i)
  if (twice) throw new UsageError(`${op}: the pair ${twice.name} occurs twice`)
  const unequal = how === 'none' && pairs.find(p => p.from !== p.to)
  if (unequal)
    throw new UsageError(
      `${op}: align 'none' needs equal channels; ${unequal.name} has ${unequal.from} and ${unequal.to}. Use align 'conv'`,
    )
  return pairs
}

/**
 * Normalised feature distillation:
 *   L = weight * sum over pairs of mean((N(align(Fs)) - N(stopGradient(Ft)))^2)
 *   N(F) = (F - mean F) / sqrt(var F + eps) over the axes, population variance
 * With eps = 0 a term over HW is 2 (1 - r), r the mean Pearson correlation of the channels' planes: in [0, 4].
 * @param options axes ('HW'), eps (1e-5), epsMode ('absolute'); see `FeatureOptions`
 * @throws UsageError as `featureDistillation` and `normalise`
 * @see Liu, Yang, Chen 2022, arXiv:2207.05256; the weight, eps and population variance are ours
 * @example nfd({ student, teacher, taps: [['stage4', 'stage4'], ['neck', 'neck']], weight: 5 })
 */
export const nfd = <STaps extends TapMap<STaps>, TTaps extends TapMap<TTaps>>(
  options: FeatureOptions<STaps, TTaps> & NormaliseOptions,
): Distillation<STaps, TTaps, Aligners> =>
  featureDistillation({ name: 'nfd', normalise: normalise(options), compare: meanSquaredError }, options)

/**
 * FitNets: mean((align(Fs) - stopGradient(Ft))^2), which also asks for the magnitude of the teacher's features.
 * @throws UsageError as `featureDistillation`
 * @see Romero et al. 2015, arXiv:1412.6550 (their stages of training are not reproduced: the term joins the loss)
 * @example fitnet({ student, teacher, taps: [['stage4', 'stage4']] })
 */
export const fitnet = <STaps extends TapMap<STaps>, TTaps extends TapMap<TTaps>>(
  options: FeatureOptions<STaps, TTaps>,
): Distillation<STaps, TTaps, Aligners> =>
  featureDistillation(
    { name: 'fitnet', normalise: normalise({ axes: 'none' }), compare: meanSquaredError },
    options,
  )
