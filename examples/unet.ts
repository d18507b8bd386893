/** A U-Net learns synthetic scenes from their labels. Prints the mean IoU on scenes that it has not seen. */
import * as ct from 'cotangent'
import { nn } from 'cotangent'
import { batches, confusionMatrix, evaluation, scores, syntheticScenes, update } from 'cotangent/data'
import { openBackend } from 'cotangent/node'

const size = [48, 48] as const
const classes = 6
const net = nn.unet({ classes, width: 8, depth: 3 })
const optimiser = nn.adamw({ weightDecay: 1e-4 })
const { params, state } = net.init(ct.keys.key(0))
const initial = { params, state, moments: optimiser.init(params) }
type State = nn.Tensors<typeof initial>

const step = (s: State, image: ct.Tensor, label: ct.Tensor<ct.Shape, 'i32'>, rate: ct.Tensor) => {
  const loss = (p: State['params']) => {
    const { out, state } = net.apply(p, s.state, image, { training: true })
    return [ct.crossEntropy(out.logits, label, { ignoreIndex: 255 }), state] as const
  }
  const [[value, after], grads] = ct.valueAuxAndGrad(loss)(s.params)
  const { params, state: moments } = optimiser.update(grads, s.moments, s.params, rate)
  return { next: { params, state: after, moments }, value }
}
const predict = (s: Pick<State, 'params' | 'state'>, image: ct.Tensor) =>
  ct.argmax(net.apply(s.params, s.state, image, { training: false }).out.logits, { axis: 1 })

export async function main(steps = 300): Promise<{ losses: number[]; miou: number }> {
  const backend = await ct.unwrap(openBackend('auto'))
  const rate = nn.poly(0.03, steps)
  const train = ct.compile(
    step,
    [initial, ct.spec([8, 3, ...size]), ct.spec([8, ...size], 'i32'), ct.spec([])],
    backend,
    { donate: [0] },
  )
  const run = await ct.unwrap(train)
  let now: Parameters<typeof run.resident>[0][0] = initial
  const losses: number[] = []
  const scenes = syntheticScenes({ seed: 1, size, count: 400 })
  for await (const { image, label } of batches(scenes, { batch: 8, key: ct.keys.key(1), steps })) {
    const { next, value } = await run.resident([
      now,
      image,
      label,
      ct.array([], 'f32', [rate(losses.length)]),
    ])
    losses.push((await value.read()).data[0])
    now = next
  }

  const matrix = confusionMatrix(classes)
  const look = ct.jit(predict, backend)
  for await (const { image, label } of evaluation(syntheticScenes({ seed: 2, size, count: 16 }), {
    batch: 8,
  }))
    update(matrix, label.data, (await look({ params: now.params, state: now.state }, image)).data, classes)
  backend.close()
  return { losses, miou: scores(matrix, classes).miou }
}

if (process.argv[1]?.endsWith('unet.ts')) console.log(`mIoU ${(100 * (await main()).miou).toFixed(1)} %`)
