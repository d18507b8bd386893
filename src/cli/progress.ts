/**
 * Progress of a long phase, on stderr. In: the steps done, the loss and the speed. Out: a live bar on a
 * terminal; elsewhere (a file, a pipe) a plain line about every tenth of the way.
 */
import { SingleBar } from 'cli-progress'

/** What is shown beside the step; what is absent is left out. */
export interface ProgressValues {
  readonly loss?: number
  readonly imagesPerSecond?: number
  /** Of device memory. */
  readonly bytes?: number
}

/** A running display. Call `stop` also when the phase fails: a live bar keeps the process awake. */
export interface Progress {
  /** `step` counts the steps done, 0 .. total. The first call sets where the phase began (a resumed one: not at 0). */
  update(step: number, values?: ProgressValues): void
  stop(): void
}

/** Where to show it and what time it is (milliseconds); tests give their own. */
export interface ProgressOptions {
  readonly stream?: NodeJS.WritableStream & { readonly isTTY?: boolean }
  readonly now?: () => number
}

/**
 * Shows a phase of `total` steps.
 * @example
 * const bar = progress(1000, 'teacher')
 * bar.update(10, { loss: 2.31, imagesPerSecond: 84 })
 * bar.stop()
 */
export function progress(total: number, label: string, options: ProgressOptions = {}): Progress {
  const { stream = process.stderr, now = () => performance.now() } = options
  const show = stream.isTTY === true ? liveBar(total, label, stream) : plainLines(total, label, stream)
  let first: { readonly step: number; readonly time: number } | undefined
  return {
    update(step, values = {}) {
      first ??= { step, time: now() }
      const perStep = (now() - first.time) / (step - first.step)
      show.update(step, describe(values, step > first.step ? perStep * (total - step) : undefined))
    },
    stop: () => show.stop(),
  }
}

/**
 * A duration in the two units that matter, such as `1 h 02 min`, `3 min 20 s`, `12 s`.
 * @example duration(200_000) // '3 min 20 s'
 */
export function duration(milliseconds: number): string {
  const s = Math.round(milliseconds / 1000)
  const two = (n: number): string => String(n).padStart(2, '0')
  if (s < 60) return `${s} s`
  if (s < 3600) return `${Math.floor(s / 60)} min ${two(s % 60)} s`
  return `${Math.floor(s / 3600)} h ${two(Math.floor((s % 3600) / 60))} min`
}

interface Display {
  update(step: number, text: string): void
  stop(): void
}

function liveBar(total: number, label: string, stream: NodeJS.WritableStream): Display {
  const bar = new SingleBar({
    stream,
    format: `${label.padEnd(12)} {bar} {value}/{total}{text}`,
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: 24,
    fps: 10,
    // Its handler would swallow the first Ctrl-C; the run decides what an interrupt does.
    gracefulExit: false,
  })
  bar.start(total, 0, { text: '' })
  return { update: (step, text) => bar.update(step, { text }), stop: () => bar.stop() }
}

function plainLines(total: number, label: string, stream: NodeJS.WritableStream): Display {
  let tenth: number | undefined
  return {
    update(step, text) {
      const reached = Math.floor((step * 10) / total)
      if (tenth !== undefined && reached > tenth)
        stream.write(`${label}  ${step}/${total} (${Math.floor((step * 100) / total)} %)${text}\n`)
      tenth = Math.max(reached, tenth ?? 0)
    },
    stop() {},
  }
}

const describe = ({ loss, imagesPerSecond, bytes }: ProgressValues, left: number | undefined): string =>
  [
    ...(loss === undefined ? [] : [`loss ${loss.toPrecision(4)}`]),
    ...(imagesPerSecond === undefined ? [] : [`${imagesPerSecond.toPrecision(3)} images/s`]),
    ...(bytes === undefined ? [] : [`${(bytes / 2 ** 20).toFixed(0)} MiB`]),
    ...(left === undefined ? [] : [`${duration(left)} left`]),
  ]
    .map(text => `  ${text}`)
    .join('')
