/**
 * Weights made by a formula from their names in torchvision's state dict, as docs/weights.md documents it;
 * bench/torchvision/formula.py is the twin. In: names and shapes. Out: values, the same to the last bit in both.
 */
import { array, type NDArray } from '../../src/dsl/array.ts'
import { type Shape, size } from '../../src/dsl/shape.ts'
import { arraysOf, mapArrays } from '../support/trees.ts'

/** FNV-1a, 32 bits, of the name's bytes. */
const seedOf = (name: string): number => {
  let h = 0x811c9dc5
  for (const byte of new TextEncoder().encode(name)) h = Math.imul(h ^ byte, 0x01000193)
  return h >>> 0
}

/** The i-th number in [-1, 1) of a seed, a multiple of 2^-23: murmur3's finaliser. */
const signedAt = (seed: number, i: number): number => {
  let x = (seed + Math.imul(i, 0x9e3779b9)) | 0
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b)
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35)
  x ^= x >>> 16
  return (x >>> 8) * 2 ** -23 - 1
}

/** The tensor of a name and a shape. */
export function formulaValue(name: string, shape: Shape): NDArray {
  const seed = seedOf(name)
  const data = new Float32Array(size(shape))
  const bound = Math.sqrt(6 / size(shape.slice(1)))
  const aroundOne = name.endsWith('.running_var') || name.endsWith('weight')
  for (let i = 0; i < data.length; i++) {
    const t = signedAt(seed, i)
    data[i] = shape.length > 1 ? t * bound : (aroundOne ? 1 : 0) + t / 4
  }
  return array(shape, 'f32', data)
}

/** Images [batch, 3, side, side] in [-2, 2). */
export function formulaImage(batch: number, side: number): NDArray {
  const shape = [batch, 3, side, side]
  const seed = seedOf('image')
  return array(
    shape,
    'f32',
    Float32Array.from({ length: size(shape) }, (_, i) => 2 * signedAt(seed, i)),
  )
}

/** The state dict's name of a path in our trees: running statistics have PyTorch's names. */
export const torchName = (path: string): string =>
  path.replace(/(^|\.)mean$/, '$1running_mean').replace(/(^|\.)variance$/, '$1running_var')

/** The trees with the formula's values. */
export const filledByName = <T>(tree: T): T =>
  mapArrays(tree, (a, path) => formulaValue(torchName(path), a.shape))

/** The state dict's names of a module's variables. */
export const torchNames = (variables: { readonly params: unknown; readonly state: unknown }): string[] =>
  [...arraysOf(variables.params), ...arraysOf(variables.state)].map(l => torchName(l.path))
