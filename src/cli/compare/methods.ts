/**
 * Methods by name, as `--methods` has them: `ce`, `kd`, `nfd:NHW`, `nfd+kd@0.5`. In: text and two networks. Out: a
 * distillation, and what of the teacher it reads.
 */

import { UsageError } from '../../dsl/errors.ts'
import { type Distillation, sum } from '../../nfd/distil.ts'
import { cwdLogits, dist, kd, standardisedKd } from '../../nfd/kd.ts'
import { cirkdMemory } from '../../nfd/memory.ts'
import { at, attnfd, cwd, fitnet, layerNormFd, mgd, nfd, pkd, simpleRecipe } from '../../nfd/nfd.ts'
import { cirkd, ifvd, skd } from '../../nfd/relations.ts'
import type { FeatureMap } from '../../nn/feature.ts'
import { axesChoices } from '../settings.ts'
import type { Networks } from './study.ts'

type Taps = Readonly<Record<string, FeatureMap>>
/** A distillation whose trees are known at run time only. */
export type AnyMethod = Distillation<Taps, Taps, unknown, unknown>

/** What a term is made of. */
interface Given extends Networks {
  readonly weight: number
  /** What stands behind the colon; undefined if nothing does. */
  readonly option: string | undefined
  readonly classes: number
}
interface Row {
  readonly reads: 'features' | 'logits'
  /** The usual weight of the table in src/nfd/README.md; 1 where it has none. */
  readonly weight: number
  /** What the option is, for messages; its default; absent: it takes none. */
  readonly option?: { readonly what: string; readonly default: string }
  readonly make: (given: Given) => AnyDistillation
}
/** Anything that a method gives: its parameters are its own business. */
type AnyDistillation = { readonly init: unknown; readonly loss: unknown }

const temperature = (option: string | undefined): { readonly temperature?: number } => {
  if (option === undefined) return {}
  const t = Number(option)
  if (option.trim() !== '' && t > 0 && Number.isFinite(t)) return { temperature: t }
  throw new UsageError(`--methods: a temperature is a number above 0, got '${option}'`)
}
const axes = (option = 'HW'): { readonly axes: (typeof axesChoices)[number] } => {
  const found = axesChoices.find(a => a.toLowerCase() === option.toLowerCase())
  if (found) return { axes: found }
  throw new UsageError(`--methods: nfd takes the axes ${axesChoices.join(', ')}, got '${option}'`)
}
const tau = (value: string) => ({ what: 'a temperature', default: value })

const feature = (make: Row['make'], weight = 1, option?: Row['option']): Row => ({
  reads: 'features',
  weight,
  make,
  ...(option ? { option } : {}),
})
const onLogits = (
  make: (options: { readonly temperature?: number; readonly weight: number }) => AnyDistillation,
  value: string,
  weight = 1,
): Row => ({
  reads: 'logits',
  weight,
  option: tau(value),
  make: g => make({ ...temperature(g.option), weight: g.weight }),
})

/** Every method that `--methods` knows besides `ce`. */
const rows: Readonly<Record<string, Row>> = {
  at: feature(at),
  attnfd: feature(attnfd, 2),
  cirkd: feature(g => cirkd({ ...g, ...temperature(g.option) }), 1, tau('0.1')),
  cirkdMemory: feature(cirkdMemory),
  cwd: feature(g => cwd({ ...g, ...temperature(g.option) }), 50, tau('4')),
  cwdLogits: onLogits(cwdLogits, '4', 3),
  dist: onLogits(dist, '1'),
  fitnet: feature(fitnet),
  ifvd: feature(ifvd),
  kd: onLogits(kd, '1'),
  layerNormFd: feature(layerNormFd),
  mgd: feature(mgd, 2e-5),
  nfd: feature(g => nfd({ ...g, ...axes(g.option) }), 1, { what: 'axes', default: 'HW' }),
  pkd: feature(pkd, 10),
  simpleRecipe: feature(simpleRecipe),
  skd: feature(skd),
  standardisedKd: onLogits(standardisedKd, '2'),
}

/** The names of the terms that `--methods` knows. */
export const methodNames: readonly string[] = ['ce', ...Object.keys(rows)]

/** One term of a method, its defaults filled in. */
interface Part {
  readonly name: string
  readonly option: string | undefined
  readonly weight: number
}
/** A method as a study knows it. */
export interface Method {
  /** As typed: `nfd+kd`. */
  readonly label: string
  /** With every default: `nfd:HW@1+kd:1@1`. */
  readonly full: string
  /** Empty for `ce`. */
  readonly parts: readonly Part[]
}

/** Cross-entropy alone, which every study has. */
export const baseline: Method = { label: 'ce', full: 'ce', parts: [] }

/**
 * The methods of a list, the baseline first.
 * @throws UsageError at a name, an option or a weight that it does not know, or a method that occurs twice
 * @example parseMethods('ce,kd,nfd:NHW,nfd+kd@0.5')
 */
export function parseMethods(text: string): readonly Method[] {
  const typed = text.split(',').map(t => parseMethod(t.trim()))
  const all = [baseline, ...typed.filter(m => m.full !== baseline.full)]
  const twice = all.find((m, i) => all.findIndex(o => o.full === m.full) !== i)
  if (twice) throw new UsageError(`--methods: ${twice.label} occurs twice (${twice.full})`)
  return all
}

function parseMethod(label: string): Method {
  if (label === 'ce') return baseline
  const parts = label.split('+').map(partOf)
  const full = parts.map(({ name, option, weight }) => `${name}${option ? `:${option}` : ''}@${weight}`)
  return { label, full: full.join('+'), parts }
}

function partOf(text: string): Part {
  const [, name = '', typed, weightText] = /^(\w+)(?::([\w.]+))?(?:@([\w.-]+))?$/.exec(text) ?? []
  if (!Object.hasOwn(rows, name))
    throw new UsageError(
      `--methods: there is no method '${text}'; there are ${methodNames.join(', ')}, with an option (nfd:NHW, kd:4), a weight (pkd@2) and sums (nfd+kd)`,
    )
  const row = rows[name]
  if (typed !== undefined && !row.option)
    throw new UsageError(`--methods: ${name} takes no option, got '${text}'`)
  const weight = weightText === undefined ? row.weight : Number(weightText)
  if (!(weight >= 0 && Number.isFinite(weight)))
    throw new UsageError(`--methods: a weight is a number, 0 or more, got '${text}'`)
  const option = typed ?? row.option?.default
  // `nfd:hw` and `nfd:HW` are one method, as are `kd:1` and `kd:1.0`
  const canonical =
    option === undefined
      ? undefined
      : name === 'nfd'
        ? axes(option).axes
        : String(temperature(option).temperature)
  return { name, option: canonical, weight }
}

/** What methods read of the teacher's output. */
export interface Reads {
  readonly logits: boolean
  readonly taps: readonly string[]
}

/** What at least one of the methods reads of the teacher. @example readsOf(parseMethods('ce,kd'), taps) */
export function readsOf(methods: readonly Method[], taps: Networks['taps']): Reads {
  const reads = methods.flatMap(m => m.parts.map(p => rows[p.name].reads))
  return {
    logits: reads.includes('logits'),
    taps: reads.includes('features') ? [...new Set(taps.map(([, t]) => t))] : [],
  }
}

/**
 * The distillation of a method between two networks; undefined for the baseline.
 * @throws UsageError if the networks do not fit it
 * @example distillationOf(method, networks, 6)
 */
export function distillationOf(
  { parts }: Method,
  networks: Networks,
  classes: number,
): AnyMethod | undefined {
  const terms = parts.map(({ name, option, weight }) =>
    // the parameters that a distillation makes come back to it alone, so that their types can be forgotten
    rows[name].make({ ...networks, option, weight, classes }),
  ) as unknown as readonly AnyMethod[]
  if (terms.length === 0) return undefined
  return terms.length === 1 ? terms[0] : (sum(...terms) as unknown as AnyMethod)
}
