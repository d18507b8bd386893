/** The README's example: a student learns from labels and from a teacher's feature. Prints the loss as it falls. */

import * as ct from 'cotangent'
import { openBackend } from 'cotangent/node'
import { pipe } from 'fp-ts/lib/function.js'

// --8<-- the README shows what lies between these marks
type Params = {
  readonly w1: ct.Tensor<readonly [16, 3, 3, 3], 'f32'>
  readonly w2: ct.Tensor<readonly [6, 16, 1, 1], 'f32'>
}
type Image = ct.Tensor<readonly [8, 3, 32, 32], 'f32'>
type Label = ct.Tensor<readonly [8, 32, 32], 'i32'>
type Feature = ct.Tensor<readonly [8, 16, 32, 32], 'f32'>

// NFD: mean of (N(student) - N(teacher))^2; N standardises every channel over height and width
const N = ct.standardise({ axes: [2, 3] })
const nfd = (student: Feature, teacher: Feature) =>
  pipe(N(student), ct.sub(N(ct.stopGradient(teacher))), ct.square, ct.mean())

const loss = ({ w1, w2 }: Params, image: Image, label: Label, teacher: Feature) => {
  const feature = pipe(image, ct.conv2d(w1, { padding: 1 }), ct.relu)
  const logits = pipe(feature, ct.conv2d(w2))
  return ct.add(ct.crossEntropy(logits, label), nfd(feature, teacher))
}

const step = (p: Params, image: Image, label: Label, teacher: Feature) => {
  const [value, g] = ct.valueAndGrad(loss)(p, image, label, teacher)
  return {
    value,
    params: { w1: ct.sub(p.w1, ct.mul(g.w1, 0.1)), w2: ct.sub(p.w2, ct.mul(g.w2, 0.1)) },
  }
}
// --8<--

/** Values in [-scale, scale] from a seed. */
const values = <const S extends ct.Shape>(seed: number, shape: S, scale: number) =>
  ct.array(
    shape,
    'f32',
    Array.from(
      { length: shape.reduce((a, b) => a * b, 1) },
      (_, i) => scale * (2 * ct.keys.uniformAt(ct.keys.key(seed), i) - 1),
    ),
  )

/** Runs `steps` of them and gives the losses. */
export async function main(steps = 20): Promise<number[]> {
  const backend = await ct.unwrap(openBackend('auto'))
  const image = values(1, [8, 3, 32, 32], 1)
  const label = ct.array(
    [8, 32, 32],
    'i32',
    Array.from({ length: 8192 }, (_, i) => (i >> 4) % 6),
  )
  const teacher = values(2, [8, 16, 32, 32], 1)
  let params: ct.Arrays<Params> = { w1: values(3, [16, 3, 3, 3], 0.3), w2: values(4, [6, 16, 1, 1], 0.3) }
  const exe = await ct.unwrap(ct.compile(step, [params, image, label, teacher], backend))
  const losses: number[] = []
  for (let i = 0; i < steps; i++) {
    const out = await exe(params, image, label, teacher)
    losses.push(out.value.data[0])
    params = out.params
  }
  backend.close()
  return losses
}

if (process.argv[1]?.endsWith('examples/nfd.ts')) for (const l of await main()) console.log(l.toFixed(4))
