/**
 * Where a configuration comes from. In: the path of a TypeScript, JavaScript or JSON file, and `path=value` texts of the
 * command line. Out: a complete configuration; and that of a run folder.
 */
import { existsSync } from 'node:fs'
import { extname, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { tsImport } from 'tsx/esm/api'
import { DataError, UsageError } from '../dsl/errors.ts'
import { type Config, parseConfig } from './config.ts'
import { readJson } from './json-file.ts'
import { checkCommand } from './run-names.ts'

/**
 * The configuration in a file, changed by overrides.
 * @param file       .ts, .js, .mjs (its default export) or .json; undefined for defaults
 * @param overrides  such as `optimiser.lr=0.01`; the value is JSON, or else text
 * @throws UsageError that lists every mistake; DataError if the file cannot be read
 * @example await readConfig('camvid.config.ts', ['train.batch=4'])
 */
export async function readConfig(
  file: string | undefined,
  overrides: readonly string[] = [],
): Promise<Config> {
  const raw = file === undefined ? {} : await rawConfig(file)
  const source = file ?? 'the configuration'
  return parseConfig(overrides.reduce(override, raw), source)
}

/**
 * The configuration that a run folder keeps, changed by overrides.
 * @throws DataError if there is none or it is damaged; UsageError if it is another command's, or an override is wrong
 * @example readRunConfig('runs/camvid', ['evaluation.flip=true']).network.name
 */
export function readRunConfig(folder: string, overrides: readonly string[] = []): Config {
  const path = join(folder, 'config.json')
  if (!existsSync(path))
    throw new DataError(
      `${folder} holds no run: there is no config.json; name a folder that \`cotangent train\` made`,
    )
  const config = readJson(path)
  checkCommand(config, folder, 'train')
  return parseStored(config, path, overrides)
}

/**
 * A configuration that was written by a run, changed by overrides.
 * @throws DataError if it is damaged; UsageError if an override is wrong
 */
export function parseStored(raw: unknown, source: string, overrides: readonly string[] = []): Config {
  const stored = asData(() => parseConfig(raw, source))
  return overrides.length === 0 ? stored : parseConfig(overrides.reduce<unknown>(override, stored), source)
}

/** What a run wrote is data, not a call. */
function asData<T>(parse: () => T): T {
  try {
    return parse()
  } catch (error) {
    if (error instanceof UsageError) throw new DataError(error.message, { cause: error })
    throw error
  }
}

async function rawConfig(file: string): Promise<unknown> {
  const path = resolve(file)
  if (!existsSync(path)) throw new UsageError(`there is no configuration file ${file}`)
  if (extname(path) === '.json') return readJson(path)
  if (!['.ts', '.mts', '.js', '.mjs'].includes(extname(path)))
    throw new UsageError(`${file}: a configuration is a .ts, .js, .mjs or .json file`)
  // tsx reads TypeScript whatever the package around the file says of its modules.
  const module: unknown = await tsImport(pathToFileURL(path).href, import.meta.url).catch(error => {
    throw new DataError(`${file} cannot be loaded: ${error instanceof Error ? error.message : error}`, {
      cause: error,
    })
  })
  const exported = defaultOf(module)
  // Compiled to the older kind of module, a file has its exports below `default`, and this mark.
  const compiled = typeof exported === 'object' && exported !== null && '__esModule' in exported
  const config = compiled ? defaultOf(exported) : exported
  if (config === undefined)
    throw new UsageError(`${file} has no default export; write: export default defineConfig({ ... })`)
  return config
}

const defaultOf = (x: unknown): unknown =>
  typeof x === 'object' && x !== null ? Reflect.get(x, 'default') : undefined

/** A copy of `tree` with one value replaced: `train.batch=4`. */
function override(tree: unknown, text: string): unknown {
  const at = text.indexOf('=')
  const path = text.slice(0, at).trim()
  if (at < 1 || !/^[\w-]+(\.[\w-]+)*$/.test(path))
    throw new UsageError(`--set ${text}: write PATH=VALUE, such as --set optimiser.lr=0.01`)
  return replaced(tree, path.split('.'), jsonOrText(text.slice(at + 1).trim()))
}

function replaced(tree: unknown, [key, ...rest]: readonly string[], value: unknown): unknown {
  if (key === undefined) return value
  if (Array.isArray(tree))
    return Object.assign([...tree], { [key]: replaced(tree[Number(key)], rest, value) })
  const record = typeof tree === 'object' && tree !== null ? tree : {}
  return { ...record, [key]: replaced(Reflect.get(record, key), rest, value) }
}

function jsonOrText(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}
