/** What was measured for a kernel, and a line of it; apart from autotune.ts, which brings all of WebGPU along. */
import type { Schedule } from '../kernel.ts'

/** What was found for a kernel. */
export interface Choice {
  /** Its name and the extents of its axes; summed ones have a plus. */
  readonly kernel: string
  readonly schedule: Schedule
  /** Microseconds of a run with it, and with the schedule that is chosen without measuring. */
  readonly time: number
  readonly untuned: number
}

/** A choice as a line: `softmax / sum 4096 x 1024+: vector 1, team 64; 12.3 us, 20.1 us untuned`. */
export const describeChoice = ({
  kernel,
  schedule: { vector, tiles, team, stage },
  time,
  untuned,
}: Choice): string => {
  const inRegisters = [
    ...(vector === null ? [] : [`vector ${vector}`]),
    ...tiles.map(t => `tile ${t.axis} by ${t.size}`),
    ...(team === undefined ? [] : [`team ${team}`]),
  ]
  const parts =
    stage === undefined
      ? inRegisters
      : [
          `blocks of ${stage.block.join(' x ')}`,
          `tiles of ${stage.tile.join(' x ')}`,
          `depth ${stage.depth}`,
          `${stage.buffers} buffer${stage.buffers > 1 ? 's' : ''}`,
          ...(stage.matrix === undefined
            ? []
            : [`matrices of ${stage.matrix.m} x ${stage.matrix.n} x ${stage.matrix.k}`]),
        ]
  return `${kernel}: ${parts.join(', ') || 'plain'}; ${time.toFixed(1)} us, ${untuned.toFixed(1)} us untuned`
}
