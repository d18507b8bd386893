/** A user's pipeline: own student, own teacher from a safetensors file, two taps, NFD and KD. Gives the losses. */

import * as ct from 'cotangent'
import { distil, nn } from 'cotangent'
import { batches, readSafetensors, syntheticScenes, unflattenTree } from 'cotangent/data'
import { openBackend } from 'cotangent/node'
import { pipe } from 'fp-ts/lib/function.js'

const net = (width: number) => ({
  ...nn.compose(
    {
      low: nn.convBnRelu(3, width, { kernel: 3, stride: 2 }),
      high: nn.convBnRelu(width, 2 * width, { kernel: 3, dilation: 2 }),
      classifier: nn.conv(2 * width, 6, { kernel: 1 }),
    },
    (call, x: ct.Tensor) => {
      const low = call.low(x)
      const high = call.high(low)
      return {
        logits: pipe(high, call.classifier, ct.resizeBilinear({ size: [32, 32] })),
        taps: { low, high },
      }
    },
  ),
  name: `mine of width ${width}`,
  tapChannels: { low: width, high: 2 * width },
})
export const [student, teacher] = [net(4), net(8)]
const features = distil.nfd({
  student,
  teacher,
  taps: [
    ['low', 'low'],
    ['high', 'high'],
  ],
})
const distillation = distil.sum(
  pipe(features, distil.masked(), distil.scheduled(distil.warmUp(5))),
  distil.kd({ temperature: 2, weight: 0.5 }),
)
const learn = distil.learning({ student, teacher, distillation, optimiser: nn.sgd({ momentum: 0.9 }) })

export async function train(file: string, steps: number): Promise<readonly number[]> {
  const { params, state } = unflattenTree(teacher.init([0, 0]), readSafetensors(file).tensors, file)
  const taught = { params, state }
  const backend = await ct.unwrap(openBackend('cpu'))
  const rate = ct.array([], 'f32', [0.05])
  const [image, label] = [ct.spec([4, 3, 32, 32]), ct.spec([4, 32, 32], 'i32')]
  const start = learn.init(ct.keys.key(1))
  const step = await ct.unwrap(
    ct.compile(learn.step, [start, { image, label, rate, key: ct.spec([2], 'u32') }, taught], backend),
  )
  let [now, losses]: [ct.Arrays<Parameters<typeof learn.step>[0]>, number[]] = [start, []]
  for await (const b of batches(syntheticScenes({ seed: 1, size: [32, 32], count: 64 }), {
    batch: 4,
    key: [0, 3],
    steps,
  })) {
    const key = ct.array([2], 'u32', [7, losses.length])
    const out = await step(now, { image: b.image, label: b.label, rate, key }, taught)
    now = out.state
    losses = [...losses, out.logs.loss.data[0]]
  }
  backend.close()
  return losses
}
