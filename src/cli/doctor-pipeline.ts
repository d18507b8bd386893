/**
 * The doctor before a run of the command line. In: networks, a method, the teacher's values by name, the run's data. Out:
 * warnings told, errors thrown.
 */
import type { Backend } from '../backend/backend.ts'
import { jit } from '../backend/compile.ts'
import { batchAt } from '../data/loader.ts'
import type { NDArray } from '../dsl/array.ts'
import { RunError } from '../dsl/errors.ts'
import type { Key } from '../dsl/threefry.ts'
import type { Distillation } from '../nfd/distil.ts'
import { diagnose } from '../nfd/doctor.ts'
import type { Finding } from '../nfd/doctor-findings.ts'
import type { FeatureMap } from '../nn/feature.ts'
import { valuesOf } from './compare/teacher.ts'
import type { Data } from './dataset.ts'
import type { Network } from './models.ts'
import type { Named } from './named.ts'

/** A student that is about to learn. */
export interface Examined<P, S> {
  /** The run, in messages. */
  readonly name: string
  readonly student: Network
  readonly teacher: Network
  readonly distillation: Distillation<
    Readonly<Record<string, FeatureMap>>,
    Readonly<Record<string, FeatureMap>>,
    P,
    S
  >
  /** The teacher's values, `params.net.*` and `state.*`. */
  readonly taught: Named<NDArray>
  readonly data: Data
  readonly batch: number
  readonly steps: number
  /** Of the student's initial values, and of the order and the changes of samples. */
  readonly initKey: Key
  readonly dataKey: Key
}

/** So many images show what is broken. */
const images = 4

/**
 * Examines a run on its first images.
 * @throws RunError with the sentence of every error
 * @example await examine({ name: 'student-nfd', student, teacher, ... }, backend, console.error)
 */
export async function examine<P, S>(
  run: Examined<P, S>,
  backend: Backend,
  warn: (text: string) => void,
): Promise<void> {
  const { student, teacher, distillation, data, steps, initKey } = run
  const drawn = { batch: Math.min(Math.max(run.batch, 2), images), key: run.dataKey, augment: data.augment }
  const batch = await batchAt(data.train, drawn, 0)
  const taught = valuesOf(teacher, run.taught)
  const patient = { student, teacher, distillation, taught, batch, steps, key: initKey }
  heed(run.name, (await diagnose(patient, f => jit(f, backend))).findings, warn)
}

/**
 * Tells warnings, and stops at errors.
 * @throws RunError with the sentence of every error
 */
export function heed(name: string, findings: readonly Finding[], warn: (text: string) => void): void {
  for (const { level, message } of findings) if (level === 'warning') warn(`${name}: ${message}`)
  const errors = findings.filter(f => f.level === 'error')
  if (errors.length > 0)
    throw new RunError(
      [
        `${name}: the doctor found what makes this run worthless`,
        ...errors.map(f => `  ${f.message}`),
        '  mend it, or go on in spite of it with --no-doctor',
      ].join('\n'),
    )
}
