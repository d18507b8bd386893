/**
 * Samples made ready in threads. In: a dataset and transforms that have recipes, a number of threads. Out: a preparer.
 * A sample always goes to the same thread (index mod threads), so that each thread's cache holds its own share of the
 * dataset; a thread works at one sample at a time, in the order of the calls. `decode-thread.ts` is the other side.
 */
import { Worker } from 'node:worker_threads'
import { DataError, UsageError } from '../dsl/errors.ts'
import type { Drawn, Preparer, Steps } from './prepare.ts'
import type { Recipe } from './recipe.ts'
import type { Dataset, Normalisation, Sample, Source } from './sample.ts'

/** What a thread is started with. */
export interface ThreadData {
  /** The module that serves, for the plain JavaScript that starts the thread. */
  readonly serve: string
  readonly reader: Recipe
  readonly augment?: Recipe
  readonly normalisation: Normalisation
}

/** What a thread is sent. */
export interface Task extends Pick<Drawn, 'key'> {
  readonly id: number
  readonly source: Source
}

/** What it answers: a sample, or an error with the tag that makes it ours again. */
export type Answer = { readonly id: number } & (
  | { readonly sample: Sample }
  | { readonly error: unknown; readonly tag: string | undefined; readonly message: string }
)

/**
 * Starts threads that make samples ready. They keep the process alive only while they have work.
 * @throws UsageError  if the dataset or the augmentation has no recipe: both must be made in a module
 * @example const preparer = inThreads(train, { augment, normalisation: imagenet }, 3)
 */
export function inThreads(dataset: Dataset, { augment, normalisation }: Steps, threads: number): Preparer {
  const { remote } = dataset.get
  if (!remote) throw new UsageError(noRecipe(`the dataset ${dataset.name}`))
  if (augment && !augment.recipe) throw new UsageError(noRecipe('the augmentation (or one in its pipeline)'))
  const data: ThreadData = {
    serve: beside('decode-thread'),
    reader: remote.reader(threads),
    normalisation,
    ...(augment?.recipe ? { augment: augment.recipe } : {}),
  }
  const pool = Array.from({ length: threads }, () => startThread(data))
  return {
    prepare: ({ index, key }) => pool[index % threads].ask(remote.source(index), key),
    close: async () => void (await Promise.all(pool.map(t => t.close()))),
  }
}

/** A module of this folder as it runs here: from source, or as it was built. */
const beside = (name: string): string =>
  new URL(`./${name}${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url).href

const noRecipe = (what: string): string =>
  `loader: ${what} has no recipe, so other threads cannot make it; export its maker from a module ` +
  'and wrap its result in remade(...), or take workers: 0'

interface Thread {
  readonly ask: (source: Source, key: Drawn['key']) => Promise<Sample>
  readonly close: () => Promise<void>
}

interface Pending {
  readonly name: string
  readonly resolve: (sample: Sample) => void
  readonly reject: (error: unknown) => void
}

function startThread(workerData: ThreadData): Thread {
  const worker = newWorker(workerData)
  const pending = new Map<number, Pending>()
  let next = 0
  let ended: string | undefined
  const end = (reason: string): void => {
    ended ??= reason
    for (const { name, reject } of pending.values()) reject(new DataError(`${name}: ${ended}`))
    pending.clear()
  }
  const settle = (id: number): Pending | undefined => {
    const found = pending.get(id)
    pending.delete(id)
    // Not after the end: what is being terminated must keep the process until it is gone.
    if (pending.size === 0 && ended === undefined) worker.unref()
    return found
  }
  worker.unref()
  worker.on('message', (answer: Answer) => {
    const waiting = settle(answer.id)
    if ('sample' in answer) waiting?.resolve(answer.sample)
    else waiting?.reject(revived(answer))
  })
  worker.on('error', error => end(`the thread that prepared it failed: ${String(error)}`))
  worker.on('exit', code => end(`the thread that prepared it ended with code ${code}`))
  return {
    ask: (source, key) =>
      new Promise((resolve, reject) => {
        if (ended !== undefined) return reject(new DataError(`${source.name}: ${ended}`))
        const task: Task = { id: next++, source, key }
        worker.postMessage(task)
        pending.set(task.id, { name: source.name, resolve, reject })
        worker.ref()
      }),
    close: async () => {
      end('the loader was stopped')
      await worker.terminate()
    },
  }
}

function newWorker(workerData: ThreadData): Worker {
  // From source the thread registers tsx itself; this process may not have been started with it.
  const options = workerData.serve.endsWith('.ts') ? { workerData, execArgv: [] } : { workerData }
  try {
    return new Worker(new URL('./decode-worker.js', import.meta.url), options)
  } catch (error) {
    throw new UsageError(`loader: the arguments of a recipe must be plain data: ${String(error)}`)
  }
}

/** The error as it was thrown there: classes do not survive the way between threads, tags do. */
function revived({ error, tag, message }: Extract<Answer, { error: unknown }>): unknown {
  if (tag === undefined) return error
  return tag === 'UsageError' ? new UsageError(message) : new DataError(message)
}
