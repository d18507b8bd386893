/**
 * What every contender's process shares: the values that its inputs have, and the conversation with the bench.
 * In: one JSON message a line on stdin. Out: one marked JSON line a message on stdout. Plain JavaScript, because
 * it is copied next to the rivals' packages and runs there without a loader. Its types: harness.d.mts;
 * torch_bench.py says the same in Python.
 */
import { writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'

/** Lines that begin with it are answers; what libraries print on stdout is not. */
export const MARK = '@bench '

/** Steps that are not timed, and how long they may take together, in ms. */
const WARM_UP = { steps: 5, ms: 1500 }
/** A turn begins with untimed steps for so many ms, in which threads wake, a host gives each its core and caches fill; long steps go without. */
const WAKE = 400

/** Murmur3's finaliser of a seed and a position, as a number in [0, 1) with 24 bits. */
const unit = (seed, i) => {
  let h = (i + Math.imul(seed, 0x9e3779b1)) | 0
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return ((h ^ (h >>> 16)) >>> 8) / 2 ** 24
}

export const elements = shape => shape.reduce((n, d) => n * d, 1)

export function valuesOf({ shape, dtype, seed, scale = 1, offset = 0, below = 0 }) {
  const n = elements(shape)
  if (dtype === 'i32') return Int32Array.from({ length: n }, (_, i) => Math.floor(unit(seed, i) * below))
  const data = new Float32Array(n)
  for (let i = 0; i < n; i++) data[i] = offset + scale * (2 * unit(seed, i) - 1)
  return data
}

/** The message of anything thrown (TensorFlow.js throws plain objects), its first lines. */
const messageOf = e => String(e?.message ?? e).slice(0, 400)

export async function serve(description, setup) {
  const say = answer => process.stdout.write(`${MARK}${JSON.stringify(answer)}\n`)
  let job
  let last = 0
  const timed = async () => {
    const start = performance.now()
    const own = await job.step()
    last = typeof own === 'number' ? own : performance.now() - start
    return last
  }
  const handlers = {
    async setup({ workload, out }) {
      job = await setup(workload)
      const firstMs = await timed()
      if (out)
        writeFileSync(
          out,
          Buffer.concat((await job.outputs()).map(a => Buffer.from(a.buffer, a.byteOffset, a.byteLength))),
        )
      const start = performance.now()
      for (
        let i = 0;
        !job.once && i < WARM_UP.steps && performance.now() - start < WARM_UP.ms && firstMs < WARM_UP.ms;
        i++
      )
        await timed()
      return { firstMs, facts: job.facts ?? {} }
    },
    async measure({ reps, ms }) {
      // the caches hold the work of others
      const begin = performance.now()
      while (!job.once && last < WAKE && performance.now() - begin < WAKE) await timed()
      const times = []
      const start = performance.now()
      while (times.length < reps && (times.length === 0 || performance.now() - start < ms))
        times.push(await timed())
      return { times }
    },
    async drop() {
      await job?.drop?.()
      job = undefined
      return {}
    },
  }
  say({ description })
  for await (const line of createInterface({ input: process.stdin })) {
    const message = JSON.parse(line)
    try {
      say(await handlers[message.op](message))
    } catch (e) {
      say({ error: messageOf(e) })
    }
  }
  process.exit(0)
}

/** A wait for Dawn's promises that naps: a pending one polls, and takes a core from a software driver. */
export async function napping(promise) {
  let pending = true
  const cell = new Int32Array(new SharedArrayBuffer(4))
  const start = performance.now()
  let turns = 0
  const turn = () => {
    if (!pending) return
    if (turns++ > 32) Atomics.wait(cell, 0, 0, Math.min(1, Math.max(0.2, (performance.now() - start) / 10)))
    setImmediate(turn)
  }
  turn()
  try {
    return await promise
  } finally {
    pending = false
  }
}
