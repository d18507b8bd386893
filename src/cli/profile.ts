/**
 * Where the time of a program goes. In: the times of kernels, as the option `profile` of the backends gives them.
 * Out: a table, the dearest first, and a trace for chrome://tracing or https://ui.perfetto.dev.
 */
import { writeFileSync } from 'node:fs'
import { type Kernel, printKernel } from '../backend/kernel.ts'
import type { KernelTime } from '../backend/work.ts'
import { table } from './table.ts'

/** Collects runs. */
export interface Profiler {
  /** The backend's option `profile`. */
  readonly record: (times: readonly KernelTime[]) => void
  /** The table of the kernels, with totals; empty text where nothing ran. */
  readonly table: (rows?: number) => string
  /** The runs in the Trace Event Format. */
  readonly trace: () => { readonly traceEvents: readonly TraceEvent[] }
}

/** A complete event; times in microseconds. @see https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU */
export interface TraceEvent {
  readonly name: string
  readonly cat: string
  readonly ph: 'X'
  readonly ts: number
  readonly dur: number
  readonly pid: number
  readonly tid: number
  readonly args: Readonly<Record<string, string | number>>
}

/** Runs kept for the trace: a step of a network has hundreds of kernels. */
const RUNS_TRACED = 16

/**
 * Makes a profiler. The first run of each program is left out of the table: drivers finish compiling in it.
 * @example const profiler = makeProfiler()
 *   openBackend('webgpu', { profile: profiler.record }); ...; console.log(profiler.table())
 */
export function makeProfiler(): Profiler {
  const runs: (readonly KernelTime[])[] = []
  const warm = new WeakSet<Kernel>()
  const totals = new Map<string, Total>()
  return {
    record(times) {
      if (runs.length < RUNS_TRACED) runs.push(times)
      const first = times.some(t => !warm.has(t.kernel))
      for (const t of times) warm.add(t.kernel)
      if (first) return
      for (const t of times) {
        const key = `${t.kernel.name} ${printKernel(t.kernel)}`
        const sum = totals.get(key) ?? { ...t, time: 0, flops: 0, bytes: 0, calls: 0 }
        totals.set(key, {
          ...sum,
          time: sum.time + t.time,
          flops: sum.flops + t.flops,
          bytes: sum.bytes + t.bytes,
          calls: sum.calls + 1,
        })
      }
    },
    table: (rows = 40) => tableOf([...totals.values()], rows),
    trace: () => ({ traceEvents: traceOf(runs) }),
  }
}

type Total = KernelTime & { readonly calls: number }

/** The extents of a kernel's axes; those that are summed have a plus. */
const shapeOf = (k: Kernel): string =>
  k.axes.map(a => `${a.extent}${a.kind === 'reduce' ? '+' : ''}`).join(' x ')

function tableOf(totals: readonly Total[], rows: number): string {
  if (totals.length === 0) return ''
  const all = totals.reduce((n, t) => n + t.time, 0)
  const sorted = totals.toSorted((a, b) => b.time - a.time)
  const row = (name: string, shape: string, calls: number, t: Pick<Total, 'time' | 'flops' | 'bytes'>) => [
    name,
    shape,
    calls,
    t.time / 1000,
    t.time > 0 ? t.flops / t.time / 1000 : null,
    t.time > 0 ? t.bytes / t.time / 1000 : null,
    (100 * t.time) / Math.max(all, Number.MIN_VALUE),
  ]
  const sum = (pick: (t: Total) => number) => totals.reduce((n, t) => n + pick(t), 0)
  const shown = sorted
    .slice(0, rows)
    .map(t => row([t.scope, t.kernel.name].filter(Boolean).join(' / '), shapeOf(t.kernel), t.calls, t))
  const total = { time: all, flops: sum(t => t.flops), bytes: sum(t => t.bytes) }
  const last = row(
    `all ${totals.length} kernels`,
    '',
    sum(t => t.calls),
    total,
  )
  return table(['kernel', 'axes', 'calls', 'ms', 'GFLOP/s', 'GB/s', 'share %'], [...shown, last], {
    digits: 2,
  })
}

/** The runs one after another, on one line: each starts a little after the end of the one before. */
function traceOf(runs: readonly (readonly KernelTime[])[]): TraceEvent[] {
  const events: TraceEvent[] = []
  let origin = 0
  for (const [run, times] of runs.entries()) {
    for (const { kernel, scope, start, time, flops, bytes } of times)
      events.push({
        name: kernel.name,
        cat: 'kernel',
        ph: 'X',
        ts: origin + start,
        dur: time,
        pid: 0,
        tid: 0,
        args: { scope, axes: shapeOf(kernel), run, flops, bytes },
      })
    origin += Math.max(0, ...times.map(t => t.start + t.time)) + 100
  }
  return events
}

/** Writes the trace of a profiler as JSON. */
export const writeTrace = (profiler: Profiler, file: string): void =>
  writeFileSync(file, JSON.stringify(profiler.trace()))
