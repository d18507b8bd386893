/**
 * Where a thread of the loader starts. Plain JavaScript, so that it starts without a loader of modules; from source it
 * lets Node read TypeScript first. The work is in `decode-thread.ts`.
 */
import { parentPort, workerData } from 'node:worker_threads'

if (workerData.serve.endsWith('.ts')) {
  const { register } = await import('tsx/esm/api')
  register()
}
const { serve } = await import(workerData.serve)
serve(parentPort, workerData)
