/** Runs the command line as users do, in a child process. In: arguments. Out: its output and exit code. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Metric } from '../../src/cli/run-folder.ts'
import { readSafetensors } from '../../src/data/safetensors.ts'

const bin = fileURLToPath(new URL('../../bin/cotangent.js', import.meta.url))

/** What a finished command left. */
export interface Finished {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/**
 * Starts `cotangent ...args` and waits for its end.
 * @param watch  called with all of stderr so far, whenever there is more
 */
export async function cotangent(
  args: readonly string[],
  watch: (stderr: string, child: ChildProcessWithoutNullStreams) => void = () => {},
): Promise<Finished> {
  const child = spawn(process.execPath, [bin, ...args])
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', data => {
    stdout += data
  })
  child.stderr.on('data', data => {
    stderr += data
    watch(stderr, child)
  })
  const [code] = await once(child, 'close')
  return { code, stdout, stderr }
}

/** Settings of a run that takes seconds: 4 steps each, on scenes of 16 x 16 pixels. */
export const tiny: readonly string[] = [
  ...['distill', '--backend', 'cpu', '--net', 'encdec', '--width', '2', '--teacher-width', '3'],
  ...['--size', '16x16', '--batch', '2', '--steps', '4', '--teacher-steps', '4'],
  ...['--train-images', '8', '--val-images', '3'],
]

/** The measurements of a run folder. */
export const metricsOf = (folder: string): Metric[] =>
  readFileSync(join(folder, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line): Metric => JSON.parse(line))

/** The arrays of a checkpoint, as numbers by name. */
export const checkpointOf = (folder: string, phase: string): Record<string, number[]> =>
  Object.fromEntries(
    [...readSafetensors(join(folder, 'checkpoints', `${phase}.safetensors`)).tensors].map(([name, a]) => [
      name,
      Array.from(a.data),
    ]),
  )
