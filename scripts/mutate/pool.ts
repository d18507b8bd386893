/**
 * Runs mutants in worker threads of one process; a worker that does not answer in time is replaced, and its mutant
 * counts as caught. In: the suite's script, and mutants. Out: what became of each.
 */
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { buildSync } from 'esbuild'
import { root } from './bundle.ts'
import type { Job, Outcome, Survey, WorkerData } from './worker.ts'

/** Processor time that one check may take before its mutant counts as endless, in ms: most take some ms. */
const patience = 20_000

const workerCode = (): string =>
  buildSync({
    entryPoints: [join(root, 'scripts/mutate/worker.ts')],
    absWorkingDir: root,
    bundle: true,
    write: false,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    packages: 'external',
  }).outputFiles[0].text

/** A worker whose first answer is the survey, where one is asked for. */
function open(code: string, data: WorkerData): { readonly worker: Worker; readonly ready: Promise<unknown> } {
  // The code runs as text: its packages are looked for from the repository.
  const start = `const require = process.getBuiltinModule('node:module').createRequire(${JSON.stringify(`${root}package.json`)});${code}`
  const worker = new Worker(start, {
    eval: true,
    workerData: data,
    resourceLimits: { maxOldGenerationSizeMb: 2048, stackSizeMb: 4 },
  })
  const ready = new Promise((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
  })
  return { worker, ready }
}

/** How a run is set up. */
export interface RunOptions {
  readonly script: string
  readonly seed: number
  readonly jobs: number
}

/** Runs the suite as it is: how long each check takes, and which mutants it reaches. */
export async function surveyOf({ script, seed }: RunOptions): Promise<Survey> {
  const { worker, ready } = open(workerCode(), { script, root, seed, survey: true, early: [] })
  const survey = (await ready) as Survey
  await worker.terminate()
  return survey
}

/**
 * Runs the jobs. Every worker closes with the suite as it is: what one mutant leaves behind could pass for the next
 * one's failure.
 * @param asIs    the whole suite without a mutant
 * @param early   mutants that take effect while the modules load
 * @param report  called after each
 * @throws Error if a worker's modules no longer pass the suite
 */
export async function runAll(
  jobs: readonly Job[],
  asIs: Job,
  early: readonly number[],
  options: RunOptions,
  report: (done: Outcome) => void,
): Promise<Outcome[]> {
  const code = workerCode()
  const { script, seed } = options
  const waiting = [...jobs]
  const outcomes: Outcome[] = []
  const settle = (done: Outcome) => {
    outcomes.push(done)
    report(done)
  }
  const lanes = Math.max(1, Math.min(options.jobs, jobs.length))
  const lane = async (): Promise<void> => {
    let current: Worker | null = null
    for (let job = waiting.shift(); job !== undefined; job = waiting.shift()) {
      if (current === null) {
        const { worker, ready } = open(code, { script, root, seed, survey: false, early })
        await ready
        current = worker
      }
      const done = await ask(current, job, lanes)
      if (done.by === 'time') {
        await current.terminate()
        current = null
      }
      settle(done)
    }
    if (current === null) return
    const after = await ask(current, asIs, lanes)
    await current.terminate()
    if (after.by !== null)
      throw new Error(`a mutant has left something behind: '${after.by}' fails without one: ${after.why}`)
  }
  await Promise.all(Array.from({ length: lanes }, lane))
  return outcomes
}

/** What the process has worked since another time, in ms: a machine that is busy with other things does not count. */
const worked = (since: NodeJS.CpuUsage): number => {
  const { user, system } = process.cpuUsage(since)
  return (user + system) / 1000
}

/** One mutant; silence while a lane's share of the process works on, and a broken worker, count as `time`. */
const ask = (worker: Worker, job: Job, lanes: number): Promise<Outcome> =>
  new Promise(resolve => {
    const start = performance.now()
    let heard = process.cpuUsage()
    const end = (o: Outcome): void => {
      clearInterval(watch)
      worker.off('message', hear)
      worker.off('error', broken)
      resolve(o)
    }
    const lost = (why: string) => end({ id: job.id, by: 'time', why, ms: performance.now() - start })
    const broken = (e: unknown) => lost(e instanceof Error ? e.message : String(e))
    const watch = setInterval(() => {
      if (worked(heard) > patience * lanes) lost(`no answer in ${patience / 1000} s of work`)
    }, 500)
    const hear = (message: Outcome | 'alive'): void => {
      if (message === 'alive') heard = process.cpuUsage()
      else end(message)
    }
    worker.on('message', hear)
    worker.on('error', broken)
    worker.postMessage(job)
  })
