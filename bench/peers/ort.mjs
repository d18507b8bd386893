/**
 * onnxruntime-web as a contender: node ort.mjs wasm THREADS. Inference only: it has no gradients. The workloads of
 * bench/workloads.ts under the same names, as ONNX graphs. Runs where its packages are installed; see
 * peers/harness.mjs.
 */
import * as ort from 'onnxruntime-web'
import { serve, valuesOf } from './harness.mjs'
import { modelOf } from './onnx.mjs'

const [, threads] = process.argv.slice(2)
ort.env.wasm.numThreads = Number(threads) || 1

/** A line of nodes that ends in y: each takes the names that it is given, `_` for the one before. */
const line = (...steps) =>
  steps.map(([op, inputs, attributes], i) => ({
    op,
    inputs: inputs.map(x => (x === '_' ? `t${i - 1}` : x)),
    outputs: [i === steps.length - 1 ? 'y' : `t${i}`],
    attributes,
  }))

const cheap = Array.from({ length: 5 }, (_, i) => [
  ['Mul', [i === 0 ? 'x' : '_', 'k']],
  ['Add', ['_', 'c']],
]).flat()

const models = {
  conv: { nodes: line(['Conv', ['x', 'w'], { kernel_shape: [3, 3], pads: [1, 1, 1, 1] }]) },
  chain: {
    nodes: line(
      ['Mul', ['x', 'a']],
      ['Add', ['_', 'half']],
      ['Relu', ['_']],
      ['Mul', ['x', '_']],
      ['Sub', ['_', 'x']],
      ['Exp', ['_']],
      ['Sub', ['one', '_']],
      ['Mul', ['_', 'half']],
      ['Tanh', ['_']],
      ['Add', ['_', 'x']],
    ),
    constants: { a: 1.01, half: 0.5, one: 1 },
  },
  'cheap-chain': { nodes: line(...cheap), constants: { k: 0.99, c: 0.25 } },
  softmax: { nodes: line(['Softmax', ['x'], { axis: 1 }]) },
}
const modelFor = name => {
  if (/^matmul/.test(name)) return { nodes: line(['MatMul', ['a', 'b']]) }
  if (/^add/.test(name)) return { nodes: line(['Add', ['a', 'b']]) }
  if (models[name]) return models[name]
  throw new Error('onnxruntime-web runs inference only')
}

await serve(
  `onnxruntime-web ${ort.env.versions?.web ?? ''} wasm, ${ort.env.wasm.numThreads} threads`,
  async task => {
    const { nodes, constants } = modelFor(task.name)
    const session = await ort.InferenceSession.create(
      modelOf(nodes, task.inputs, [{ name: 'y' }], constants),
      {
        executionProviders: ['wasm'],
      },
    )
    const feeds = Object.fromEntries(
      task.inputs.map(i => [i.name, new ort.Tensor('float32', valuesOf(i), i.shape)]),
    )
    let last
    return {
      step: async () => {
        last = await session.run(feeds)
      },
      outputs: async () => [last.y.data],
      drop: () => session.release(),
    }
  },
)
