/**
 * One thread of the CPU backend: claims chunks of the job in the control words, and runs them. Plain JavaScript, so
 * that it starts without a loader. The protocol is in `threads.ts`, Note [Claims].
 */
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'

const { control, memory, index, words, spins } = workerData
const c = new Int32Array(control)
const programs = new Map()

/** The kernels of a program; they were posted before its first job. */
function kernelsOf(program) {
  while (!programs.has(program)) {
    const { message } = receiveMessageOnPort(parentPort)
    if (message.module === null) programs.delete(message.program)
    else programs.set(message.program, new WebAssembly.Instance(message.module, { env: { memory } }).exports)
  }
  return programs.get(program)
}

/** A copy of the job, as it stands in the control words; it is this one if the claim that follows succeeds. */
const job = () => ({
  program: c[words.program],
  kernel: c[words.kernel],
  from: c[words.from],
  to: c[words.to],
  chunks: c[words.chunks],
  addresses: [
    ...c.subarray(words.addresses, words.addresses + c[words.count]),
    c[words.scratch] + index * c[words.scratchBytes],
  ],
})

Atomics.add(c, words.ready, 1)
for (;;) {
  const claim = Atomics.load(c, words.claim)
  if (claim === words.STOP) break
  const chunk = claim & 0xffff
  const j = job()
  if (chunk >= j.chunks || Atomics.load(c, words.claim) !== claim) {
    for (let i = 0; Atomics.load(c, words.claim) === claim; i++)
      if (i > spins) Atomics.wait(c, words.claim, claim)
    continue
  }
  let run
  try {
    run = kernelsOf(j.program)[`k${j.kernel}`]
  } catch {
    // no memory for the module: the other threads do the work
    break
  }
  if (Atomics.compareExchange(c, words.claim, claim, claim + 1) !== claim) continue
  const n = j.to - j.from
  const at = k => j.from + Math.floor((n * k) / j.chunks)
  try {
    run(...j.addresses, at(chunk), at(chunk + 1))
  } catch (e) {
    Atomics.store(c, words.failed, 1)
    console.error(`cotangent: a thread of the CPU backend failed: ${e}`)
  }
  Atomics.add(c, words.done, 1)
  Atomics.notify(c, words.done)
}
