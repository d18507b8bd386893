/** A user's pipeline: own student, own teacher from a safetensors file, two taps, NFD and KD. Gives the losses. */
import { pipe } from 'fp-ts/lib/function.js'
import { batches } from '../../src/data/loader.ts'
import { readSafetensors } from '../../src/data/safetensors.ts'
import { syntheticScenes } from '../../src/data/synthetic.ts'
import { unflattenTree } from '../../src/data/tree-io.ts'
import * as ct from '../../src/index.ts'
import { masked, scheduled } from '../../src/nfd/combine.ts'
import { sum } from '../../src/nfd/distil.ts'
import { kd } from '../../src/nfd/kd.ts'
import { learning } from '../../src/nfd/learn.ts'
import { nfd } from '../../src/nfd/nfd.ts'
import { warmUp } from '../../src/nfd/schedule.ts'
import { compose } from '../../src/nn/compose.ts'
import { conv, convBnRelu } from '../../src/nn/layers.ts'
import { sgd } from '../../src/nn/optim.ts'
import { openBackend } from '../../src/node.ts'

const net = (width: number) => ({
  ...compose(
    {
      low: convBnRelu(3, width, { kernel: 3, stride: 2 }),
      high: convBnRelu(width, 2 * width, { kernel: 3, dilation: 2 }),
      classifier: conv(2 * width, 6, { kernel: 1 }),
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
const features = nfd({
  student,
  teacher,
  taps: [
    ['low', 'low'],
    ['high', 'high'],
  ],
})
const distillation = sum(pipe(features, masked(), scheduled(warmUp(5))), kd({ temperature: 2, weight: 0.5 }))
const learn = learning({ student, teacher, distillation, optimiser: sgd({ momentum: 0.9 }) })

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
