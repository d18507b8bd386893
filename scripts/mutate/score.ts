/** Mutation runs and their score. In: which mutants. Out: what became of them, and the report as text. */
import { key, permutationOf } from '../../src/dsl/threefry.ts'
import { allMutants, bundleSuite, schemas } from './bundle.ts'
import { equivalents } from './equivalents.ts'
import type { Mutant } from './mutants.ts'
import { runAll, surveyOf } from './pool.ts'
import { targets, whole } from './targets.ts'
import type { Job, Outcome } from './worker.ts'

/** The properties that the tests run too. */
export const suite = 'test/support/properties.ts'

export interface MutateOptions {
  /** A part of the file's path; empty: all files. */
  readonly file?: string
  /** One operator alone. */
  readonly only?: string
  /** The share of the mutants, drawn by the seed. */
  readonly fraction?: number
  readonly seed?: number
  readonly jobs?: number
  readonly report?: (done: number, total: number, mutant: Mutant, o: Outcome) => void
}

/** A mutant and what became of it. */
export interface Fate {
  readonly mutant: Mutant
  /** The check that failed; null: it survived. */
  readonly by: string | null
  /** The proof that it computes what the program computes. */
  readonly proof: string | null
}

export interface MutationResult {
  readonly fates: readonly Fate[]
  /** Listed as equivalent, but no such mutant exists, or a check tells it apart. */
  readonly stale: readonly string[]
  readonly complete: boolean
}

/** The name by which equivalents are listed. */
const nameOf = (m: Mutant): string => `${m.file} ${m.path}: ${m.code}`
const proofs = new Map(equivalents.flatMap(e => e.mutants.map(name => [`${e.file} ${name}`, e.proof])))

/** Runs the suite on the mutants. */
export async function mutate(options: MutateOptions = {}): Promise<MutationResult> {
  const { file = '', only, fraction = 1, seed = 1, jobs = 2, report } = options
  const programs = schemas(targets)
  const script = await bundleSuite(suite, programs)
  const everyMutant = allMutants(programs)
  const wanted = everyMutant.filter(m => m.file.includes(file) && (only === undefined || m.operator === only))
  const drawn = permutationOf(key(seed), wanted.length)
    .slice(0, Math.ceil(fraction * wanted.length))
    .map(i => wanted[i])

  const run = { script, seed, jobs }
  const survey = await surveyOf(run)
  // A place reports the first of its mutants.
  const early = reachedBy(everyMutant, programs, survey.early)
  const reach = survey.checks.map(c => reachedBy(everyMutant, programs, c.reached))
  const byTime = survey.checks.map((_, i) => i).sort((a, b) => survey.checks[a].ms - survey.checks[b].ms)
  const jobOf = (id: number, reaches: (check: number) => boolean): Job => ({
    id,
    checks: byTime.filter(reaches).map(index => ({ index, ticks: survey.checks[index].ticks })),
  })
  const list = drawn.map(m => jobOf(m.id, i => early.has(m.id) || reach[i].has(m.id)))
  const asIs = jobOf(-1, () => true)
  let done = 0
  const outcomes = await runAll(list, asIs, [...early], run, o =>
    report?.(++done, list.length, everyMutant[o.id], o),
  )
  const by = new Map(outcomes.map(o => [o.id, o.by]))
  const inOrder = [...drawn].sort((x, y) => x.id - y.id)
  const fates = inOrder.map(mutant => ({
    mutant,
    by: by.get(mutant.id) ?? null,
    proof: proofs.get(nameOf(mutant)) ?? null,
  }))
  const existing = new Set(everyMutant.map(nameOf))
  const gone = [...proofs.keys()].filter(name => !existing.has(name))
  const caught = fates.flatMap(f => (f.by !== null && f.proof !== null ? [nameOf(f.mutant)] : []))
  return { fates, stale: [...gone, ...caught], complete: drawn.length === everyMutant.length }
}

/** The mutants at the places that reported. */
function reachedBy(
  all: readonly Mutant[],
  programs: readonly { readonly places: ReadonlyMap<number, number> }[],
  firsts: readonly number[],
): Set<number> {
  const out = new Set<number>()
  for (const { places } of programs)
    for (const first of firsts) {
      const last = places.get(first)
      if (last !== undefined) for (let id = first; id <= last; id++) out.add(all[id].id)
    }
  return out
}

const scoreOf = (fates: readonly Fate[]) => {
  const counted = fates.filter(f => f.proof === null)
  const caught = counted.filter(f => f.by !== null).length
  return { caught, counted: counted.length, share: counted.length === 0 ? 1 : caught / counted.length }
}

/** Whether the score is high enough, and the list of equivalents true. */
export const passes = ({ fates, stale }: MutationResult): boolean =>
  stale.length === 0 &&
  scoreOf(fates.filter(f => whole.includes(f.mutant.group))).share === 1 &&
  scoreOf(fates).share >= 0.95

const row = (name: string, fates: readonly Fate[]): string => {
  const { caught, counted, share } = scoreOf(fates)
  const equal = fates.length - counted
  return `${name.padEnd(52)} ${`${caught} of ${counted}`.padStart(14)} ${(100 * share).toFixed(1).padStart(6)} %${equal ? `   ${equal} equivalent` : ''}`
}

const plural = (group: string): string => (group === 'pass' ? 'passes' : `${group}s`)

/** Where a mutant is, and what was done. */
export const place = (m: Mutant): string => `${m.file}:${m.line} ${m.operator}, in ${m.path}`

/** The report. */
export function summary({ fates, stale }: MutationResult): string {
  const parts = [...new Set(fates.map(f => `${f.mutant.file}: ${plural(f.mutant.group)}`))]
  const lost = fates.filter(f => f.by === null && f.proof === null)
  return [
    ...lost.flatMap(({ mutant: m }) => [place(m), `    ${m.code}`]),
    ...stale.map(e => `listed as equivalent, but it is caught or does not exist: ${e}`),
    '',
    ...parts.map(p =>
      row(
        p,
        fates.filter(f => `${f.mutant.file}: ${plural(f.mutant.group)}` === p),
      ),
    ),
    row('in all', fates),
  ].join('\n')
}
