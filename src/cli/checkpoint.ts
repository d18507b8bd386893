/**
 * Checkpoints of a training phase. In: its state by name, and the steps done. Out:
 * checkpoints/<phase>.safetensors in the run folder, and back.
 */
import type { Resident } from '../backend/backend.ts'
import { read } from '../backend/compile.ts'
import type { NDArray } from '../dsl/array.ts'
import { isFloat } from '../dsl/dtype.ts'
import { DataError, RunError } from '../dsl/errors.ts'
import { showType } from '../dsl/shape.ts'
import type { Named } from './named.ts'
import type { Run } from './run-folder.ts'

/** How far a phase has come. */
export interface Position {
  /** Steps done. */
  readonly step: number
  /** Milliseconds that training them took, evaluation and checkpoints not counted. */
  readonly milliseconds: number
}

/** A phase as its checkpoint has it. */
export interface Restored extends Position {
  readonly state: Named<NDArray>
}

/**
 * Writes the checkpoint of a phase.
 * @returns its path
 * @throws RunError if a value is not finite: the checkpoint before stays; DataError if the disk fails
 */
export async function saveCheckpoint(
  run: Run,
  phase: string,
  state: Named<Resident>,
  position: Position,
): Promise<string> {
  const arrays: Named<NDArray> = await read(state)
  const bad = Object.entries(arrays).find(([, a]) => isFloat(a.dtype) && !a.data.every(Number.isFinite))
  if (bad)
    throw new RunError(
      `${phase}: '${bad[0]}' is not finite after step ${position.step}; no checkpoint was written of it`,
    )
  return run.save(phase, new Map(Object.entries(arrays)), {
    phase,
    step: String(position.step),
    milliseconds: String(position.milliseconds),
  })
}

/**
 * The checkpoint of a phase, or undefined if there is none.
 * @param template  the state at step 0, for the names and types that are expected
 * @throws DataError if the file is damaged or is of another network
 */
export function loadCheckpoint(run: Run, phase: string, template: Named<NDArray>): Restored | undefined {
  const file = run.load(phase)
  if (file === undefined) return undefined
  const where = `${run.folder}: the checkpoint ${phase}`
  const number = (name: string): number => {
    const value = Number(file.metadata.get(name) ?? Number.NaN)
    if (!(value >= 0)) throw new DataError(`${where} has no ${name}; delete it to train this phase anew`)
    return value
  }
  const wrong = [...new Set([...Object.keys(template), ...file.tensors.keys()])].flatMap(name => {
    const [want, got] = [template[name], file.tensors.get(name)]
    const [is, should] = [got ? showType(got) : 'absent', want ? showType(want) : 'absent']
    return is === should ? [] : [`  ${name}: is ${is}, should be ${should}`]
  })
  if (wrong.length > 0)
    throw new DataError(
      [`${where} does not fit the network; delete it to train this phase anew:`, ...wrong].join('\n'),
    )
  return {
    state: Object.fromEntries(file.tensors),
    step: number('step'),
    milliseconds: number('milliseconds'),
  }
}
