/** Runs in processes of their own. In: a job. Out: its entry, from a child that was given the job as a file. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { onDisk, writeAtomic } from '../../data/atomic.ts'
import { RunError } from '../../dsl/errors.ts'
import { Interrupted } from '../errors.ts'
import type { Interrupt } from '../interrupt.ts'
import { type Job, resultFile } from './job.ts'
import { type Entry, parseEntry } from './ledger.ts'

const bin = fileURLToPath(new URL('../../../bin/cotangent.js', import.meta.url))

/** Of the memory that is free, runs take at most this part. */
const share = 0.8

/**
 * How many runs may go on at once: what was asked for, or what the free memory holds. While nothing is known of a run's
 * memory, one.
 * @param free  bytes, before the first run started
 * @param peak  bytes of the largest run so far; 0 if none is known
 * @example affordable(4, 16e9, 5e9) // 2
 */
export const affordable = (jobs: number, free: number, peak: number): number =>
  peak === 0 ? 1 : Math.max(1, Math.min(jobs, Math.floor((share * free) / peak)))

/** How often a parent looks whether it was asked to stop, in milliseconds. */
const patience = 200

/**
 * Does a job in a child process. Its output goes to log.txt in the run's folder. An interrupt is passed on once: the child saves
 * its checkpoint.
 * @throws RunError with the end of the log if the child fails; Interrupted
 */
export async function runInChild(
  job: Job,
  interrupt: Interrupt,
  warn: (text: string) => void,
): Promise<Entry> {
  onDisk(`cannot make ${job.folder}`, () => mkdirSync(job.folder, { recursive: true }))
  const file = join(job.folder, 'job.json')
  writeAtomic(file, [`${JSON.stringify(job, undefined, 2)}\n`])
  const logPath = join(job.folder, 'log.txt')
  const log = onDisk(`cannot write ${logPath}`, () => openSync(logPath, 'w'))
  // a group of its own: the terminal's Ctrl-C reaches the parent alone, which passes it on
  const child = spawn(process.execPath, [bin, 'compare', '--job', file], {
    stdio: ['ignore', log, log],
    detached: true,
  })
  const stop = (): void => void child.kill('SIGTERM')
  process.once('exit', stop)
  let told = false
  const watch = setInterval(() => {
    if (interrupt.requested && !told) told = child.kill('SIGINT')
  }, patience)
  try {
    const [code] = await once(child, 'close')
    const text = readFileSync(logPath, 'utf8')
    for (const line of text.split('\n')) if (line.startsWith('warning: ')) warn(line.slice(9))
    if (code === 0) {
      const path = join(job.folder, resultFile)
      return parseEntry(
        onDisk(`cannot read ${path}`, () => readFileSync(path, 'utf8')),
        path,
      )
    }
    // a child that was still starting dies of the signal itself
    if (code === 130 || interrupt.requested) throw new Interrupted('stopped')
    throw new RunError(`${text.trim().split('\n').slice(-8).join('\n')}\n  (all of it: ${logPath})`)
  } finally {
    clearInterval(watch)
    process.off('exit', stop)
    closeSync(log)
  }
}
