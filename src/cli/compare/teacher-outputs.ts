/**
 * A teacher that is asked once for each view of an image. In: a teacher, the outputs that a study's methods read, a cache.
 * Out: batches with what the teacher says of them.
 */
import { type Argument, type Backend, isResident } from '../../backend/backend.ts'
import { compile, unwrap } from '../../backend/compile.ts'
import { cachedTeacher, contentHash, teacherCache } from '../../data/teacher-cache.ts'
import type { NDArray } from '../../dsl/array.ts'
import type { Tensor, TensorType } from '../../dsl/tensor.ts'
import { key } from '../../dsl/threefry.ts'
import { constantTeacher } from '../../nfd/distil.ts'
import type { Network } from '../models.ts'
import { type Named, namedTensors, tensorsLike, upload } from '../named.ts'
import type { TaughtBatch } from '../train-loop.ts'
import type { Reads } from './methods.ts'

/** The names of outputs: `logits`, `taps.stage4`. */
export const outputsOf = ({ logits, taps }: Reads): readonly string[] => [
  ...(logits ? ['logits'] : []),
  ...taps.map(tap => `taps.${tap}`),
]

/** Where a teacher is asked, and what it said is kept. */
export interface Asking {
  /** The type of a batch's images. */
  readonly image: TensorType
  readonly backend: Backend
  /** Null: nothing is kept. */
  readonly cache: { readonly folder: string; readonly maxBytes: number } | null
  readonly warn: (text: string) => void
}
/** Images => outputs by name, each of as many rows. */
export type Ask = (images: NDArray) => Promise<Named<Argument>>

/**
 * A teacher as a program of its own, whether its answers are kept or not: the student's step is then the same function of
 * the same numbers, and has equal bits with a cache and without one. (In one program with the step it may be summed in another order.)
 * @param values   its values by name
 * @param outputs  what is asked of it
 * @example const ask = await asking(teacher, values, ['taps.neck'], { image, backend, cache: null, warn })
 */
export async function asking(
  teacher: Network,
  values: Named<NDArray>,
  outputs: readonly string[],
  { image, backend, cache, warn }: Asking,
): Promise<Ask> {
  const { params, state } = teacher.init(key(0))
  const teach = constantTeacher(teacher)
  const said = (named: Named<Tensor>, x: Tensor): Named<Tensor> => {
    const tree = tensorsLike({ params: { net: params }, state }, named)
    const all = namedTensors(teach(tree.params.net, tree.state, x))
    return Object.fromEntries(outputs.map(name => [name, all[name]]))
  }
  const run = await unwrap(compile(said, [values, image], backend))
  const resident = await upload(values, backend)
  if (cache === null) return images => run.resident([resident, images])
  const hash = `${teacher.name} ${contentHash(values)} ${outputs.join(' ')}`
  return cachedTeacher(teacherCache({ ...cache, warn }), hash, images => run(resident, images))
}

/** Batches with what the teacher says of their images; it is freed when the next one is asked for. */
export async function* withTeacher(
  batches: AsyncIterable<TaughtBatch>,
  ask: Ask,
): AsyncGenerator<TaughtBatch> {
  for await (const batch of batches) {
    const taught = await ask(batch.image)
    try {
      yield { ...batch, taught }
    } finally {
      for (const a of Object.values(taught)) if (isResident(a)) a.dispose()
    }
  }
}
