/**
 * The loop of the probe (cores.ts), and a thread that runs it: it waits for the number of its turn in `words[0]`, spins, and
 * counts itself in `words[1]`. Plain JavaScript, so that a thread starts without a loader. Its types: cores-thread.d.mts.
 */
import { workerData } from 'node:worker_threads'

/** Calls `run` for `span` ms, and gives how often it came about in a millisecond. */
export function spin(run, span) {
  const start = performance.now()
  for (let calls = 1; ; calls++) {
    run()
    const ms = performance.now() - start
    if (ms >= span) return calls / ms
  }
}

if (workerData?.probe) {
  const { words, rates, module, index, span } = workerData.probe
  const env = { memory: new WebAssembly.Memory({ initial: 1 }) }
  const { run } = new WebAssembly.Instance(module, { env }).exports
  for (let turn = 0; ; turn++) {
    Atomics.wait(words, 0, turn)
    rates[index] = spin(run, span)
    Atomics.add(words, 1, 1)
    Atomics.notify(words, 1)
  }
}
