/**
 * The command `compare`. In: a study, methods, seeds, a folder. Out: a ledger with a line for each run, and the table, the plot and
 * the report of it. Only what the ledger lacks is done, in this process or in several.
 */
import { mkdirSync, rmSync } from 'node:fs'
import { freemem } from 'node:os'
import { join } from 'node:path'
import { unwrap } from '../../backend/compile.ts'
import { onDisk, writeAtomic } from '../../data/atomic.ts'
import { majorityMiou } from '../../data/metrics.ts'
import { contentHash } from '../../data/teacher-cache.ts'
import { RunError } from '../../dsl/errors.ts'
import { openBackend } from '../../node.ts'
import { Interrupted } from '../errors.ts'
import { type Interrupt, watchSignals } from '../interrupt.ts'
import { lockFolder } from '../lock.ts'
import { dataOf } from './data.ts'
import { type Job, optionsOf, type Place, performJob } from './job.ts'
import { appendEntry, byHash, type Entry, entryOf, readLedger } from './ledger.ts'
import { distillationOf, type Method, parseMethods } from './methods.ts'
import { fileOf, picture, pictureImages } from './pictures.ts'
import { plot } from './plot.ts'
import { affordable, runInChild } from './processes.ts'
import { markdown, renderStudy, type StudyReport } from './report.ts'
import { networksOf, runHash, type Study } from './study.ts'
import { summarise, textTable } from './summary.ts'
import { type Teacher, teacherOf } from './teacher.ts'

/** A whole comparison. */
export interface Comparison {
  readonly study: Study
  /** As typed. */
  readonly methods: string
  readonly seeds: number
  readonly folder: string
  /** A checkpoint to take the teacher from; null: that of the folder, or one that is trained. */
  readonly teacher: string | null
  readonly place: Place
  /** Processes at once. */
  readonly jobs: number
  /** Null: each step asks the teacher itself. */
  readonly cache: Job['cache']
  /** What the user typed, for the report. */
  readonly command: string
  readonly print: (text: string) => void
  readonly warn: (text: string) => void
}

interface Planned {
  readonly method: Method
  readonly seed: number
  readonly hash: string
  readonly job: Job
}

/**
 * Does what is missing of a study and writes its report.
 * @returns the paths of what was written
 * @throws UsageError, DataError, DeviceError; RunError that names the runs that failed, after the others; Interrupted
 * @example await compareMethods({ study: studyOf({}), methods: 'ce,nfd', seeds: 5, folder: 'studies/a', ... })
 */
export async function compareMethods(c: Comparison): Promise<void> {
  const methods = parseMethods(c.methods)
  onDisk(`cannot make ${c.folder}`, () => mkdirSync(c.folder, { recursive: true }))
  const unlock = lockFolder(c.folder)
  const interrupt = watchSignals()
  try {
    await compareIn(c, methods, interrupt)
  } finally {
    interrupt.stop()
    unlock()
  }
}

async function compareIn(c: Comparison, methods: readonly Method[], interrupt: Interrupt): Promise<void> {
  const { study, folder, seeds } = c
  const ledger = join(folder, 'ledger.jsonl')
  const data = await dataOf(study)
  const { classes } = data.val
  const networks = networksOf(study, classes.length)
  // what is called wrongly fails before anything is trained
  for (const m of methods) distillationOf(m, networks, classes.length)
  const known = byHash(readLedger(ledger))
  const { teacher, entry, majority } = await prepared(c, interrupt, known)
  if (!known.has(entry.hash)) appendEntry(ledger, entry)
  const values = contentHash(teacher.values)
  const planned = Array.from({ length: seeds }, (_, seed) =>
    methods.map((method): Planned => {
      const hash = runHash(study, method.full, seed, method.parts.length > 0 ? values : null)
      return { method, seed, hash, job: jobOf(c, method, seed, hash, teacher.file) }
    }),
  ).flat()
  const pending = planned.filter(p => !known.has(p.hash))
  c.print(`teacher   ${networks.teacher.name}: mIoU ${(100 * entry.miou).toFixed(2)} (${teacher.file})`)
  c.print(`student   ${networks.student.name}`)
  c.print(
    `runs      ${planned.length - pending.length} of ${planned.length} are in ${ledger}, ${pending.length} to do`,
  )
  const failures = await doAll(c, pending, interrupt, ledger, known)

  const done = byHash(readLedger(ledger))
  const hashes = new Map(planned.map(p => [`${p.method.full} ${p.seed}`, p.hash]))
  const find = (m: Method, seed: number) => done.get(hashes.get(`${m.full} ${seed}`) ?? '')
  const summary = summarise(methods, seeds, find)
  const report: StudyReport = {
    study,
    summary,
    teacher: entry,
    classes,
    majority,
    folder,
    command: c.command,
  }
  writeAtomic(join(folder, 'table.md'), [markdown(report)])
  writeAtomic(join(folder, 'plot.svg'), [plot(summary)])
  writeAtomic(join(folder, 'report.html'), [renderStudy(report)])
  c.print(`\n${textTable(summary)}\n\nreport    ${join(folder, 'report.html')}`)
  if (failures.length > 0)
    throw new RunError(
      `${failures.length} of ${planned.length} runs failed; the same command does them again:\n${failures.join('\n')}`,
    )
  if (interrupt.requested) throw new Interrupted('stopped; go on with the same command')
}

/** The teacher and its entry, and the images of the report. */
async function prepared(
  c: Comparison,
  interrupt: Interrupt,
  known: ReadonlyMap<string, Entry>,
): Promise<{ readonly teacher: Teacher; readonly entry: Entry; readonly majority: number }> {
  const { study, folder, place } = c
  const backend = await unwrap(openBackend(place.backend, optionsOf(place)))
  try {
    const data = await dataOf(study)
    const net = networksOf(study, data.train.classes.length).teacher
    const workshop = { study, data, net, backend, interrupt, checkpointEvery: place.checkpointEvery }
    const teacher = await teacherOf(workshop, folder, c.teacher)
    const hash = runHash(study, 'teacher', study.teacherSeed, contentHash(teacher.values))
    const { evaluation, msPerStep } = teacher
    const entry =
      known.get(hash) ??
      entryOf({ method: 'teacher', seed: study.teacherSeed, hash }, evaluation, {
        steps: study.teacherSteps,
        msPerStep,
        backend,
      })
    picture(folder, 'teacher', evaluation.predictions, { size: study.size, palette: data.val.palette })
    await pictureImages(folder, data.val)
    return { teacher, entry, majority: majorityMiou(evaluation.matrix, data.val.classes.length) }
  } finally {
    backend.close()
  }
}

const jobOf = (c: Comparison, { label }: Method, seed: number, hash: string, teacher: string): Job => ({
  ...c.place,
  study: c.study,
  methods: c.methods,
  method: label,
  seed,
  folder: join(c.folder, 'runs', `${fileOf(label)}-seed${seed}-${hash.slice(0, 8)}`),
  studyFolder: c.folder,
  teacher,
  cache: c.cache,
})

/** Does runs, at most so many at once. @returns a line for each that failed */
async function doAll(
  c: Comparison,
  pending: readonly Planned[],
  interrupt: Interrupt,
  ledger: string,
  known: ReadonlyMap<string, Entry>,
): Promise<readonly string[]> {
  const failures: string[] = []
  const free = freemem()
  let peak = Math.max(0, ...[...known.values()].filter(e => e.method !== 'teacher').map(e => e.peakBytes))
  const queue = [...pending]
  const active = new Set<Promise<void>>()
  const one = async ({ method, seed, job }: Planned): Promise<void> => {
    const name = `${method.label} seed ${seed}`
    if (c.jobs > 1) c.print(`${name.padEnd(24)}started`)
    try {
      const entry =
        c.jobs === 1
          ? await performJob(job, { interrupt, warn: c.warn })
          : await runInChild(job, interrupt, text => c.warn(`${name}: ${text}`))
      appendEntry(ledger, entry)
      rmSync(join(job.folder, 'checkpoints'), { recursive: true, force: true })
      peak = Math.max(peak, entry.peakBytes)
      c.print(
        `${name.padEnd(24)}mIoU ${(100 * entry.miou).toFixed(2)}   ${entry.msPerStep.toFixed(1)} ms a step`,
      )
    } catch (error) {
      if (error instanceof Interrupted) return
      // the other runs do not depend on this one; a defect of ours stops all
      if (!(error instanceof RunError)) throw error
      failures.push(`  ${name}: ${error.message}`)
      c.warn(`${name} failed: ${error.message}`)
    }
  }
  while ((queue.length > 0 && !interrupt.requested) || active.size > 0) {
    const allowed = affordable(c.jobs, free, peak)
    while (queue.length > 0 && active.size < allowed && !interrupt.requested) {
      const next = queue.shift()
      if (next === undefined) break
      const running = one(next).finally(() => active.delete(running))
      active.add(running)
    }
    if (active.size > 0) await Promise.race(active)
  }
  return failures
}
