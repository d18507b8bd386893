/**
 * The time from a process's start to its first result, of the rivals in JavaScript: node start.mjs tfjs | ort |
 * jaxjs wasm. Multiplies two matrices and prints a number, with nothing loaded that this does not need.
 */
const side = 256
const ones = new Float32Array(side * side).fill(1)

const programs = {
  async tfjs() {
    const { default: tf } = await import('@tensorflow/tfjs-core')
    await import('@tensorflow/tfjs-backend-wasm')
    await tf.setBackend('wasm')
    await tf.ready()
    const a = tf.tensor(ones, [side, side])
    return (await tf.matMul(a, a).data())[0]
  },
  async jaxjs() {
    const { installBrowser } = await import('./browser.mjs')
    await installBrowser({ webgpu: false, threads: 1 })
    const { init, defaultDevice, numpy: np } = await import('@jax-js/jax')
    await init('wasm')
    defaultDevice('wasm')
    const a = np.array(ones).reshape([side, side])
    return (await np.matmul(a.ref, a).data())[0]
  },
  async ort() {
    const ort = await import('onnxruntime-web')
    const { modelOf } = await import('./onnx.mjs')
    ort.env.wasm.numThreads = 1
    const inputs = ['a', 'b'].map(name => ({ name, shape: [side, side] }))
    const nodes = [{ op: 'MatMul', inputs: ['a', 'b'], outputs: ['y'] }]
    const session = await ort.InferenceSession.create(modelOf(nodes, inputs, [{ name: 'y' }]))
    const a = new ort.Tensor('float32', ones, [side, side])
    return (await session.run({ a, b: a })).y.data[0]
  },
}
console.log(await programs[process.argv[2]]())
process.exit(0)
