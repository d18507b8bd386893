/**
 * Random changes of a sample, and how they are put together. In: a key and a sample. Out: a sample; a pure function
 * of both. Image and label are moved by the same geometry, so they stay aligned.
 * Second stage of the data side: readers -> transforms -> loader.
 */
import { foldIn, type Key } from '../../dsl/threefry.ts'
import { type Remade, remade } from '../recipe.ts'
import type { Sample } from '../sample.ts'

/**
 * A change of a sample: the same key and sample give equal numbers. With a recipe it runs in the loader's threads
 * too; a plain function runs in this one.
 */
export type Transform = Remade<(key: Key, sample: Sample) => Sample>

/**
 * Transforms one after the other, each under a key of its own (`foldIn(key, position)`).
 * @example
 *   pipeline([randomScale(), randomCrop({ size: [512, 512] }), randomFlip(), photometric(), normalise(), pad({ size: [512, 512] })])
 */
export function pipeline(transforms: readonly Transform[]): Transform {
  const run = (key: Key, sample: Sample): Sample =>
    transforms.reduce((s, transform, i) => transform(foldIn(key, i), s), sample)
  const recipes = transforms.map(t => t.recipe)
  return recipes.includes(undefined)
    ? run
    : remade({ module: import.meta.url, make: 'pipeline', args: [recipes] }, run)
}
