/**
 * Ctrl-C that loses nothing. In: SIGINT and SIGTERM. Out: a flag that the training loop looks at between
 * steps. The second signal ends the process at once.
 */

/** Whether the user asked to stop. */
export interface Interrupt {
  readonly requested: boolean
}

/** An interrupt that never comes: for tests and for use as a library. */
export const uninterrupted: Interrupt = { requested: false }

/**
 * Listens for signals until `stop` is called.
 * @example
 * const interrupt = watchSignals()
 * while (!interrupt.requested) await step()
 * interrupt.stop()
 */
export function watchSignals(
  say: (text: string) => void = text => void process.stderr.write(text),
): Interrupt & { stop(): void } {
  let requested = false
  const onSignal = (): void => {
    if (requested) process.exit(130)
    requested = true
    say('\nstopping after this step and saving a checkpoint; press Ctrl-C again to stop at once\n')
  }
  const signals = ['SIGINT', 'SIGTERM'] as const
  for (const signal of signals) process.on(signal, onSignal)
  return {
    get requested() {
      return requested
    },
    stop() {
      for (const signal of signals) process.off(signal, onSignal)
    },
  }
}

/** Lets signals, timers and files have their turn: promises alone never let the event loop go on. */
export const nextTurn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))
