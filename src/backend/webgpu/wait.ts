/**
 * Waiting for Dawn without burning a core. In: a promise of Dawn's. Out: the same, while the main thread naps.
 *
 * Note [Naps]. While anything is pending, dawn.node polls its device in every turn of the event loop, which takes
 * a whole core, and from a software driver the very core it computes on. Sleeping a little in every turn leaves
 * it to others: the first turns run without a nap, for tiny readbacks; then naps grow with the time waited, so
 * that they add at most a tenth to it.
 */

/** Turns of the event loop without a nap: a tiny readback is over after about this many. */
const EAGER_TURNS = 32
/** Shortest and longest nap, in ms. Longer ones would delay timers and the user's Ctrl-C. */
const NAP = { min: 0.2, max: 1 }

const cell = new Int32Array(new SharedArrayBuffer(4))
let waiting = 0
let turning = false
let turns = 0
let start = 0

/**
 * The promise's result; until it is there the event loop turns slowly.
 * @example  await napUntil(queue.onSubmittedWorkDone())
 */
export const napUntil = async <A>(promise: Promise<A>): Promise<A> => {
  waiting++
  turns = 0
  start = performance.now()
  if (!turning) turn()
  try {
    return await promise
  } finally {
    waiting--
  }
}

/** One loop for all who wait, so that two waits do not nap twice a turn. */
const turn = (): void => {
  turning = waiting > 0
  if (!turning) return
  if (turns++ > EAGER_TURNS) {
    const nap = (performance.now() - start) / 10
    Atomics.wait(cell, 0, 0, Math.min(NAP.max, Math.max(NAP.min, nap)))
  }
  setImmediate(turn)
}
