/** Logistic regression on two noisy clusters, by gradient descent on the device. Prints the accuracy. */
import * as ct from 'cotangent'
import { openBackend } from 'cotangent/node'

const samples = 200
type Points = ct.Tensor<readonly [200, 2], 'f32'>
type Labels = ct.Tensor<readonly [200], 'f32'>
type Model = {
  readonly w: ct.Tensor<readonly [2, 1], 'f32'>
  readonly b: ct.Tensor<readonly [1], 'f32'>
}

const score = ({ w, b }: Model, x: Points) => ct.reshape(ct.add(ct.matmul(x, w), b), [200])
/** The mean of -log p(label) */
const loss = (model: Model, x: Points, y: Labels) => {
  const z = score(model, x)
  return ct.mean(ct.sub(ct.softplus(z), ct.mul(y, z)))
}
const step = (model: Model, x: Points, y: Labels) => {
  const g = ct.grad(loss)(model, x, y)
  return { w: ct.sub(model.w, g.w), b: ct.sub(model.b, g.b) }
}
const accuracy = (model: Model, x: Points, y: Labels) =>
  ct.mean(ct.cast(ct.equal(ct.cast(ct.greater(score(model, x), 0), 'f32'), y), 'f32'))

/** The clusters: points around (1, 1) with label 1, around (-1, -1) with label 0. */
function data(seed: number) {
  const noise = (i: number) => 3 * (ct.keys.uniformAt(ct.keys.key(seed), i) - 0.5)
  const labels = Array.from({ length: samples }, (_, i) => i % 2)
  return {
    x: ct.array(
      [samples, 2] as const,
      'f32',
      labels.flatMap((l, i) => [0, 1].map(k => 2 * l - 1 + noise(2 * i + k))),
    ),
    y: ct.array([samples] as const, 'f32', labels),
  }
}

export async function main(steps = 100): Promise<number> {
  const backend = await ct.unwrap(openBackend('auto'))
  const { x, y } = data(1)
  const start = { w: ct.array([2, 1], 'f32', [0, 0]), b: ct.array([1], 'f32', [0]) }
  const train = await ct.unwrap(ct.compile(step, [start, x, y], backend, { donate: [0] }))
  let model = await train.resident([start, x, y])
  for (let i = 1; i < steps; i++) model = await train.resident([model, x, y])
  const right = await ct.jit(accuracy, backend)(model, x, y)
  backend.close()
  return right.data[0]
}

if (process.argv[1]?.endsWith('logistic-regression.ts'))
  console.log(`${(100 * (await main())).toFixed(1)} % right`)
