/**
 * One thread of the loader. In: tasks, over its port. Out: samples, transformed and normalised, whose arrays move to
 * the other side without a copy. One at a time: what a thread holds is one decoded image, and its cache.
 */
import type { MessagePort } from 'node:worker_threads'
import { CotangentError, UsageError } from '../dsl/errors.ts'
import { finish } from './prepare.ts'
import { follow } from './recipe.ts'
import type { Sample, Source } from './sample.ts'
import type { Answer, Task, ThreadData } from './threads.ts'

/**
 * Answers every task on the port, in order.
 * @example serve(parentPort, workerData)
 */
export function serve(port: MessagePort, data: ThreadData): void {
  const ready = prepareOf(data)
  // The first task that awaits it reports its failure.
  ready.catch(() => {})
  let last = Promise.resolve()
  port.on('message', (task: Task) => {
    last = last.then(() => answer(port, ready, task))
  })
}

type Prepare = (task: Task) => Promise<Sample>

async function prepareOf({ reader, augment, normalisation }: ThreadData): Promise<Prepare> {
  const read = asFunction<(source: Source) => Promise<Sample>>(await follow(reader))
  const transform = augment && asFunction<(key: Task['key'], sample: Sample) => Sample>(await follow(augment))
  const steps = { normalisation, ...(transform ? { augment: transform } : {}) }
  return async ({ source, key }) => finish(await read(source), key, steps)
}

/** A recipe's result, as the function that its owner says it is: `Remote.reader` and `Transform.recipe` promise it. */
function asFunction<F>(made: unknown): F {
  if (typeof made !== 'function') throw new UsageError('recipe: its maker must give a function')
  return made as F
}

async function answer(port: MessagePort, ready: Promise<Prepare>, task: Task): Promise<void> {
  const { id } = task
  const post = (message: Answer, moved: ArrayBuffer[] = []): void => port.postMessage(message, moved)
  try {
    const sample = await (await ready)(task)
    post({ id, sample }, buffersOf(sample))
  } catch (error) {
    const tag = error instanceof CotangentError ? error.tag : undefined
    const message = error instanceof Error ? error.message : String(error)
    try {
      post({ id, error, tag, message })
    } catch {
      post({ id, error: new Error(message), tag, message })
    }
  }
}

/** What can move: an array that shares its memory with other threads stays, and is copied. */
const buffersOf = ({ image, label }: Sample): ArrayBuffer[] =>
  [image.buffer, label.buffer].filter(buffer => buffer instanceof ArrayBuffer)
