/**
 * A convolutional classifier: which way do the stripes run? The network, its running statistics and the optimiser's state
 * are one tree, given up to each step and updated in place. Prints the accuracy on images that it has not seen.
 */

import * as ct from 'cotangent'
import { nn } from 'cotangent'
import { openBackend } from 'cotangent/node'
import { pipe } from 'fp-ts/lib/function.js'

const [batch, side, classes] = [32, 12, 4]

const net = nn.compose(
  {
    conv1: nn.convBnRelu(1, 8, { kernel: 3 }),
    conv2: nn.convBnRelu(8, 16, { kernel: 3, stride: 2 }),
    classifier: nn.linear(16, classes),
  },
  (call, image: ct.Tensor) => {
    const features = pipe(image, call.conv1, call.conv2)
    return call.classifier(ct.mean(features, { axes: [2, 3] }))
  },
)
const optimiser = nn.adamw({ weightDecay: 1e-2 })
const { params, state } = net.init(ct.keys.key(0))
const initial = { params, state, moments: optimiser.init(params) }
type State = nn.Tensors<typeof initial>

type Labels = ct.Tensor<ct.Shape, 'i32'>
const step = (s: State, image: ct.Tensor, label: Labels) => {
  const loss = (p: State['params']) => {
    const { out, state } = net.apply(p, s.state, image, { training: true })
    return [ct.crossEntropy(out, label), state] as const
  }
  const [[value, after], grads] = ct.valueAuxAndGrad(loss)(s.params)
  const { params, state: moments } = optimiser.update(grads, s.moments, s.params, ct.tensor(0.01))
  return { next: { params, state: after, moments }, value }
}
const accuracy = (s: State, image: ct.Tensor, label: Labels) => {
  const { out } = net.apply(s.params, s.state, image, { training: false })
  return ct.mean(ct.cast(ct.equal(ct.argmax(out, { axis: 1 }), label), 'f32'))
}

/** Noisy stripes in four directions. */
function stripes(seed: number) {
  const random = (i: number) => ct.keys.uniformAt(ct.keys.key(seed), i)
  const directions = [
    [1, 0],
    [0, 1],
    [1, 1],
    [1, -1],
  ] as const
  const label = Array.from({ length: batch }, (_, i) => Math.floor(random(i) * classes))
  const pixels = label.flatMap((d, n) =>
    Array.from({ length: side * side }, (_, i) => {
      const [x, y] = [i % side, Math.floor(i / side)]
      const [dx, dy] = directions[d]
      return Math.sin(1.5 * (dx * x + dy * y) + 6 * random(1000 + n)) + random(2000 + n * side * side + i)
    }),
  )
  return [ct.array([batch, 1, side, side], 'f32', pixels), ct.array([batch], 'i32', label)] as const
}

export async function main(steps = 60): Promise<number> {
  const backend = await ct.unwrap(openBackend('auto'))
  const train = await ct.unwrap(ct.compile(step, [initial, ...stripes(0)], backend, { donate: [0] }))
  let { next } = await train.resident([initial, ...stripes(1)])
  for (let i = 2; i <= steps; i++) next = (await train.resident([next, ...stripes(i)])).next
  const right = await ct.jit(accuracy, backend)(next, ...stripes(-1))
  backend.close()
  return right.data[0]
}

if (process.argv[1]?.endsWith('classifier.ts')) console.log(`${(100 * (await main())).toFixed(1)} % right`)
