/**
 * The folder of a training run, which a crash at any moment leaves usable. In: its path and configuration.
 * Out: a locked, open run.
 *   lock           who has the folder open
 *   config.json    what the run was started with
 *   metrics.jsonl  one line a measurement: {"phase":"teacher","step":10,"loss":1.2}
 *   checkpoints/   safetensors, each replaced in one step
 */
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
} from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { z } from 'zod'
import { onDisk, temporarySuffix, writeAtomic } from '../data/atomic.ts'
import { readSafetensors, type SafeTensors, writeSafetensors } from '../data/safetensors.ts'
import type { NDArray } from '../dsl/array.ts'
import { DataError, UsageError } from '../dsl/errors.ts'
import { lockFolder } from './lock.ts'

/** What can be written as JSON and read back the same. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }

/** One measurement. JSON has no NaN and no infinity: they are read back as null. */
export interface Metric {
  readonly phase: string
  readonly step: number
  readonly [name: string]: number | string | null
}

/** An open run; `close` (or the end of the process) unlocks its folder. */
export interface Run {
  readonly folder: string
  /** True if the folder held this run before. */
  readonly resumed: boolean
  /** Appends a line to metrics.jsonl. */
  log(metric: Metric): void
  /** All measurements so far, oldest first. */
  metrics(): Metric[]
  /** Drops the measurements of `phase` with step >= `step`: what a resumed phase will measure again. */
  rewind(phase: string, step: number): void
  /** Replaces checkpoints/<name>.safetensors and returns its path. */
  save(
    name: string,
    tensors: ReadonlyMap<string, NDArray>,
    metadata?: Readonly<Record<string, string>>,
  ): string
  /** Reads checkpoints/<name>.safetensors; undefined if there is none. */
  load(name: string): SafeTensors | undefined
  /** Replaces a file of the folder, such as report.html, and returns its path. */
  write(file: string, content: string | Uint8Array): string
  close(): void
}

/**
 * Opens the run in `folder`, making it if it is not there, and resumes it if it is.
 * @param config  anything that JSON holds; on a resume it must equal the one the run was started with
 * @throws UsageError if another process has it open, or if its configuration differs (the keys are listed)
 * @throws DataError if the folder cannot be written or what is in it is damaged
 * @example
 * const run = openRun('runs/pets', { seed: 1, student: 'resnet18' })
 * run.log({ phase: 'teacher', step: 10, loss: 1.2 })
 * run.close()
 */
export function openRun(folder: string, config: Json): Run {
  const checkpoints = join(folder, 'checkpoints')
  const metricsPath = join(folder, 'metrics.jsonl')
  onDisk(`cannot make the run folder ${folder}`, () => mkdirSync(checkpoints, { recursive: true }))
  const unlock = lockFolder(folder)
  try {
    const resumed = adoptConfig(join(folder, 'config.json'), folder, config)
    clearTemporaries([folder, checkpoints])
    dropTornLine(metricsPath)
    const checkpoint = (name: string): string => join(checkpoints, `${fileName(name)}.safetensors`)
    const metrics = (): Metric[] => readMetrics(metricsPath)
    return {
      folder,
      resumed,
      metrics,
      log: metric =>
        onDisk(`cannot write ${metricsPath}`, () =>
          appendFileSync(metricsPath, `${JSON.stringify(metric)}\n`),
        ),
      rewind(phase, step) {
        const kept = metrics().filter(metric => metric.phase !== phase || metric.step < step)
        writeAtomic(
          metricsPath,
          kept.map(metric => `${JSON.stringify(metric)}\n`),
        )
      },
      save(name, tensors, metadata) {
        writeSafetensors(checkpoint(name), tensors, metadata)
        return checkpoint(name)
      },
      load: name => (existsSync(checkpoint(name)) ? readSafetensors(checkpoint(name)) : undefined),
      write(file, content) {
        const path = join(folder, fileName(file))
        writeAtomic(path, [content])
        return path
      },
      close: unlock,
    }
  } catch (error) {
    unlock()
    throw error
  }
}

function adoptConfig(path: string, folder: string, config: Json): boolean {
  const wanted: Json = JSON.parse(JSON.stringify(config))
  if (!existsSync(path)) {
    writeAtomic(path, [`${JSON.stringify(wanted, undefined, 2)}\n`])
    return false
  }
  const differences = differ(parseJson(path, readText(path)), wanted, '')
  if (differences.length > 0)
    throw new UsageError(
      [
        `${folder} holds a run with another configuration; name another folder, or run it with the same:`,
        ...differences.map(line => `  ${line}`),
      ].join('\n'),
    )
  return true
}

function differ(was: unknown, is: unknown, key: string): string[] {
  if (isDeepStrictEqual(was, is)) return []
  if (isRecord(was) && isRecord(is))
    return [...new Set([...Object.keys(was), ...Object.keys(is)])].flatMap(k =>
      differ(was[k], is[k], key === '' ? k : `${key}.${k}`),
    )
  const show = (value: unknown): string => (value === undefined ? 'absent' : JSON.stringify(value))
  return [`${key || 'config'}: was ${show(was)}, is ${show(is)}`]
}

const isRecord = (x: unknown): x is Record<string, unknown> =>
  typeof x === 'object' && x !== null && !Array.isArray(x)

// A crash in the middle of an atomic write leaves its temporary behind; we hold the lock, so nobody writes.
function clearTemporaries(folders: readonly string[]): void {
  for (const folder of folders)
    for (const file of readdirSync(folder))
      if (file.endsWith(temporarySuffix)) rmSync(join(folder, file), { force: true })
}

// A crash in the middle of an append leaves a line without its end.
function dropTornLine(path: string): void {
  if (!existsSync(path)) return
  const bytes = readFileSync(path)
  const whole = bytes.lastIndexOf(0x0a) + 1
  if (whole < bytes.length) truncateSync(path, whole)
}

const metricSchema = z
  .object({ phase: z.string(), step: z.number() })
  .catchall(z.union([z.number(), z.string(), z.null()]))

function readMetrics(path: string): Metric[] {
  if (!existsSync(path)) return []
  const lines = readText(path).split('\n').slice(0, -1)
  return lines.map((line, i) => {
    const parsed = metricSchema.safeParse(parseJson(`${path}, line ${i + 1}`, line))
    if (!parsed.success)
      throw new DataError(`${path}, line ${i + 1}: ${z.prettifyError(parsed.error)}; delete the line`)
    return parsed.data
  })
}

const readText = (path: string): string => onDisk(`cannot read ${path}`, () => readFileSync(path, 'utf8'))

function parseJson(where: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new DataError(`${where}: no JSON: ${error instanceof Error ? error.message : error}`)
  }
}

function fileName(name: string): string {
  if (!/^\w[\w.-]*$/.test(name))
    throw new UsageError(`"${name}" is no file name for a run folder; use letters, digits, ".", "-" and "_"`)
  return name
}
