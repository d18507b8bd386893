/**
 * Tuned schedules on disk: one JSON file for each adapter, driver and version of Cotangent. In: what identifies them.
 * Out: a store for the tuner. A file that cannot be read is a warning, and as good as none.
 */
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { writeAtomic } from './atomic.ts'

/** What schedules were measured on. */
export interface MeasuredOn {
  readonly adapter: string
  readonly driver: string
  /** Of Cotangent: other versions make other shaders. */
  readonly version: string
}

/** Values by key, on disk. */
export interface ScheduleCache {
  /** The file. */
  readonly path: string
  readonly get: (key: string) => unknown
  /** Adds values and writes the file; what other processes added meanwhile stays. */
  readonly put: (values: ReadonlyMap<string, unknown>) => void
}

/**
 * Opens the cache of an adapter.
 * @param folder  where the files lie; default: `cotangent/schedules` in the user's cache folder
 * @param warn    told of a file that is ignored, and of one that cannot be written
 * @example scheduleCache({ adapter: 'nvidia-h200', driver: '570.86', version: '0.1.0' })
 */
export function scheduleCache(
  on: MeasuredOn,
  folder: string = join(cacheFolder(), 'cotangent', 'schedules'),
  warn: (text: string) => void = text => void process.emitWarning(text),
): ScheduleCache {
  const identity = [on.adapter, on.driver, on.version]
  const hash = createHash('sha256').update(JSON.stringify(identity)).digest('hex').slice(0, 12)
  const path = join(folder, `${on.adapter.slice(0, 80).replace(/[^\w.-]+/g, '-')}-${hash}.json`)
  const load = (): ReadonlyMap<string, unknown> => {
    if (!existsSync(path)) return new Map()
    try {
      return kernelsIn(JSON.parse(readFileSync(path, 'utf8')), on)
    } catch (e) {
      warn(`${path} is ignored, for it cannot be read: ${e instanceof Error ? e.message : e}`)
      return new Map()
    }
  }
  let known = load()
  return {
    path,
    get: key => known.get(key),
    put: values => {
      known = new Map([...load(), ...known, ...values])
      try {
        writeAtomic(path, [`${JSON.stringify({ ...on, kernels: Object.fromEntries(known) }, null, 1)}\n`])
      } catch (e) {
        warn(`tuned schedules are not kept: ${e instanceof Error ? e.message : e}`)
      }
    },
  }
}

/** The kernels of a file's content. @throws Error if it is that of another adapter, or none at all */
function kernelsIn(content: unknown, on: MeasuredOn): ReadonlyMap<string, unknown> {
  const field = (name: string): unknown =>
    typeof content === 'object' && content !== null ? Reflect.get(content, name) : undefined
  for (const [name, value] of Object.entries(on))
    if (field(name) !== value)
      throw new Error(`"${name}" is ${JSON.stringify(field(name))}, not ${JSON.stringify(value)}`)
  const kernels = field('kernels')
  if (typeof kernels !== 'object' || kernels === null) throw new Error('"kernels" is missing')
  return new Map(Object.entries(kernels))
}

/** The folder for caches of this user. @see https://specifications.freedesktop.org/basedir-spec/latest/ */
function cacheFolder(): string {
  const { XDG_CACHE_HOME, LOCALAPPDATA } = process.env
  if (process.platform === 'win32') return LOCALAPPDATA || join(homedir(), 'AppData', 'Local')
  if (process.platform === 'darwin') return join(homedir(), 'Library', 'Caches')
  return XDG_CACHE_HOME || join(homedir(), '.cache')
}
