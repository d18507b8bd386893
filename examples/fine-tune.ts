/**
 * Fine-tuning from a safetensors file: a network is saved, loaded into one with other classes (the exception is named: all
 * else must fit) and trained on. The file could come from torchvision: the names are its names. Prints the losses.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as ct from 'cotangent'
import { nn } from 'cotangent'
import { batches, loadWeights, saveWeights, syntheticScenes } from 'cotangent/data'
import { openBackend } from 'cotangent/node'

const network = (classes: number) =>
  nn.fcn({ classes, backbone: nn.resnet({ depth: 18, width: 8, outputStride: 8 }) })
const net = network(6)
const optimiser = nn.sgd({ momentum: 0.9 })

export async function main(
  steps = 12,
): Promise<{ loaded: number; fresh: readonly string[]; losses: number[] }> {
  const folder = mkdtempSync(join(tmpdir(), 'cotangent-fine-tune-'))
  const file = join(folder, 'pretrained.safetensors')
  saveWeights(file, network(21).init(ct.keys.key(7)))
  const { variables, report } = loadWeights(net.init(ct.keys.key(0)), file, { allow: ['classifier.4.*'] })
  rmSync(folder, { recursive: true })

  const step = (s: nn.Tensors<typeof start>, image: ct.Tensor, label: ct.Tensor<ct.Shape, 'i32'>) => {
    const loss = (p: typeof s.params) => {
      const { out, state } = net.apply(p, s.state, image, { training: true, key: ct.random.keyTensor(0) })
      return [ct.crossEntropy(out.logits, label, { ignoreIndex: 255 }), state] as const
    }
    const [[value, after], grads] = ct.valueAuxAndGrad(loss)(s.params)
    const { params, state: moments } = optimiser.update(grads, s.moments, s.params, ct.tensor(0.05))
    return { next: { params, state: after, moments }, value }
  }
  const start = { ...variables, moments: optimiser.init(variables.params) }
  const backend = await ct.unwrap(openBackend('auto'))
  const types = [start, ct.spec([4, 3, 48, 48]), ct.spec([4, 48, 48], 'i32')] as const
  const run = await ct.unwrap(ct.compile(step, types, backend, { donate: [0] }))
  let now: Parameters<typeof run.resident>[0][0] = start
  const losses: number[] = []
  const scenes = syntheticScenes({ seed: 1, size: [48, 48], count: 40 })
  for await (const { image, label } of batches(scenes, { batch: 4, key: ct.keys.key(1), steps })) {
    const { next, value } = await run.resident([now, image, label])
    losses.push((await value.read()).data[0])
    now = next
  }
  backend.close()
  return { loaded: report.loaded.length, fresh: report.misshaped, losses }
}

if (process.argv[1]?.endsWith('fine-tune.ts')) console.log(await main())
