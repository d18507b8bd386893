/** A dataset and transforms for the loader's threads: they count, wait and fail as they are told. */
import { remade } from '../../src/data/recipe.ts'
import { type Dataset, getter, type Sample, type Source } from '../../src/data/sample.ts'
import type { Transform } from '../../src/data/transforms/transform.ts'
import { DataError } from '../../src/dsl/errors.ts'

interface Numbered extends Source {
  readonly index: number
}
interface Behaviour {
  /** i32[2], shared: samples begun, and threads that began one (a bit each). */
  readonly seen: SharedArrayBuffer
  /** Sample i fails so: with an error of ours, with another, or by ending its thread. */
  readonly failures?: Readonly<Record<number, 'data' | 'defect' | 'exit' | 'hang'>>
}

/** A reader of made-up samples of 2 x 3, which counts what it reads. */
export const countingReader = (behaviour: Behaviour) =>
  remade(
    { module: import.meta.url, make: 'countingReader', args: [behaviour] },
    async ({ name, index }: Numbered): Promise<Sample> => {
      Atomics.add(new Int32Array(behaviour.seen), 0, 1)
      const failure = behaviour.failures?.[index]
      if (failure === 'data') throw new DataError(`${name}: broken`)
      if (failure === 'defect') throw new TypeError(`${name}: our own mistake`)
      if (failure === 'exit') process.exit(3)
      if (failure === 'hang') await new Promise(() => {})
      return {
        name,
        height: 2,
        width: 3,
        image: Float32Array.from({ length: 18 }, (_, i) => (index + i) / 64),
        label: new Uint8Array(6).fill(index),
      }
    },
  )

/** A dataset that a thread can read, of so many samples. */
export function counted(size: number, behaviour: Behaviour): Dataset {
  const about = { name: 'counted', classes: [], palette: [], size }
  const read = countingReader(behaviour)
  const source = (index: number): Numbered => ({ name: `folder/${index}.png`, index })
  return {
    ...about,
    get: getter(about, i => read(source(i)), { source, reader: () => read.recipe }),
  }
}

/** A transform of a user's own, with its recipe. */
export const darken = (factor: number): Transform =>
  remade({ module: import.meta.url, make: 'darken', args: [factor] }, (_key, sample) => ({
    ...sample,
    image: sample.image.map(x => factor * x),
  }))

/** How often a sample was begun. */
export const begun = (seen: SharedArrayBuffer): number => Atomics.load(new Int32Array(seen), 0)
