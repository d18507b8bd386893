/**
 * Which run folder a command takes. In: the folder where they lie, a command, a name if one is given. Out: a free name for
 * a new run; for `--resume`, the run that the command changed last. Runs of different commands lie side by side: each is
 * known by its configuration.
 */
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { onDisk } from '../data/atomic.ts'
import { UsageError } from '../dsl/errors.ts'
import { readJson } from './json-file.ts'

/** The commands with `--resume`, each with a key that no other's configuration has. */
const marks = { train: 'network', distill: 'nfdWeight' } as const

/** A command whose runs go on with `--resume`. */
export type Resumable = keyof typeof marks

/** Which command's configuration this is; undefined for what is none. */
function commandOf(config: unknown): Resumable | undefined {
  if (typeof config !== 'object' || config === null) return undefined
  return (Object.keys(marks) as Resumable[]).find(command => marks[command] in config)
}

/**
 * Refuses the configuration of another command's run.
 * @param config  what the run folder's config.json holds
 * @throws UsageError that names the command it belongs to
 */
export function checkCommand(config: unknown, folder: string, command: Resumable): void {
  const owner = commandOf(config)
  if (owner !== undefined && owner !== command)
    throw new UsageError(`${folder} holds a run of \`cotangent ${owner}\`, not of \`cotangent ${command}\``)
}

/**
 * The name of the command's run in `out` that was changed last; runs of other commands are passed over. A damaged
 * configuration may be any command's: who opens it tells what is wrong.
 * @throws UsageError if there is none
 * @example latestRun('runs', 'train') // 'unet-synthetic-20250131-120500'
 */
export function latestRun(out: string, command: Resumable): string {
  const all = (existsSync(out) ? onDisk(`cannot read ${out}`, () => readdirSync(out)) : []).filter(name =>
    existsSync(join(out, name, 'config.json')),
  )
  const times = all
    .filter(name => mayBelong(join(out, name, 'config.json'), command))
    .map(name => ({
      name,
      time: statSync(join(out, name, 'checkpoints'), { throwIfNoEntry: false })?.mtimeMs ?? 0,
    }))
  const latest = times.reduce<(typeof times)[number] | undefined>(
    (a, b) => (a === undefined || b.time > a.time ? b : a),
    undefined,
  )
  if (!latest)
    throw new UsageError(
      `--resume: there is no run of \`cotangent ${command}\` in ${out}${all.length === 0 ? '' : `, only of other commands: ${all.join(', ')}`}; name its folder with --out and --name`,
    )
  return latest.name
}

function mayBelong(config: string, command: Resumable): boolean {
  try {
    return commandOf(readJson(config)) === command
  } catch {
    return true
  }
}

/** Tells on stderr which run `--resume` took, where it was not named. */
export const tellTaken = (out: string, name: string, command: Resumable): void =>
  void process.stderr.write(
    `--resume takes ${join(out, name)}, the run of \`${command}\` that was changed last\n`,
  )

/** The name, or with a number behind it where a run has it already: two runs may start in one second. */
export function freeName(out: string, name: string): string {
  for (let n = 1; ; n++) {
    const candidate = n === 1 ? name : `${name}-${n}`
    if (!existsSync(join(out, candidate))) return candidate
  }
}

/** Now, in UTC, as a part of a name: `20250131-120500`. */
export const timestamp = (): string =>
  new Date().toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '-')
