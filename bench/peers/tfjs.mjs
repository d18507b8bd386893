/**
 * TensorFlow.js as a contender: node tfjs.mjs wasm | webgpu [THREADS]. The workloads of bench/workloads.ts under
 * the same names. Images are [batch, height, width, channels] on the device, its native layout; results are
 * transposed for the comparison. Runs where its packages are installed; see peers/harness.mjs.
 */
import tf from '@tensorflow/tfjs'
import { installBrowser } from './browser.mjs'
import { elements, napping, serve, valuesOf } from './harness.mjs'

const [name] = process.argv.slice(2)
if (name === 'webgpu') await installBrowser({ webgpu: true })
await import(name === 'webgpu' ? '@tensorflow/tfjs-backend-webgpu' : '@tensorflow/tfjs-backend-wasm')
await tf.setBackend(name)
await tf.ready()
if (tf.getBackend() !== name) throw new Error(`TensorFlow.js has no backend ${name} here`)
const backend = tf.backend()

/** NCHW to NHWC, OIHW to HWIO. */
const layout = (x, kernel) => (x.rank === 4 ? tf.transpose(x, kernel ? [2, 3, 1, 0] : [0, 2, 3, 1]) : x)
const upload = spec =>
  tf.tidy(() => {
    const kernel = /kernel|^w$/.test(spec.name)
    return layout(tf.tensor(valuesOf(spec), spec.shape, spec.dtype === 'i32' ? 'int32' : 'float32'), kernel)
  })
/** As on the host: images back to NCHW (`how` image), kernels to OIHW (kernel). */
const download = async (x, how) => {
  const y =
    how === 'image' ? tf.transpose(x, [0, 3, 1, 2]) : how === 'kernel' ? tf.transpose(x, [3, 2, 0, 1]) : x
  return Float32Array.from(await napping(y.data()))
}

/** Waits for the device: WebAssembly has worked already; WebGPU's commands may not even be submitted. */
const finish = () => {
  if (name !== 'webgpu') return
  backend.endComputePassEncoder()
  backend.submitQueue()
  return napping(backend.queue.onSubmittedWorkDone())
}

const conv = (x, w) => tf.conv2d(x, w, 1, 'same')
const chain = x => {
  const t = tf.relu(tf.add(tf.mul(x, 1.01), 0.5))
  const e = tf.exp(tf.sub(tf.mul(x, t), x))
  return tf.add(tf.tanh(tf.mul(tf.sub(1, e), 0.5)), x)
}
const cheapChain = x => {
  let y = x
  for (let i = 0; i < 5; i++) y = tf.add(tf.mul(y, 0.99), 0.25)
  return y
}

/** The matrix of bilinear interpolation from n to m points (the outer edges stay): tfjs's own gradient is another. */
const bilinearMatrix = (n, m) => {
  const matrix = new Float32Array(m * n)
  for (let i = 0; i < m; i++) {
    const at = Math.max(0, ((i + 0.5) * n) / m - 0.5)
    const low = Math.min(n - 1, Math.floor(at))
    matrix[i * n + low] += 1 - (at - low)
    matrix[i * n + Math.min(n - 1, low + 1)] += at - low
  }
  return tf.tensor(matrix, [m, n])
}

/** The small CNN's step: see cnnStep in bench/training.ts. */
function cnnStep(inputs) {
  let [params, running] = [inputs.slice(0, 11), inputs.slice(11, 17)]
  const [image, label] = inputs.slice(17)
  const [batch, side, ,] = image.shape
  const classes = params[10].size
  const up = bilinearMatrix(side / 8, side)
  const target = tf.oneHot(tf.reshape(label, [-1]), classes, 1, 0, 'float32')
  // outlives the scope in which the gradient is taken
  const kept = (a, b) => tf.keep(tf.add(a, b))
  const lossOf = (p, next) => {
    let x = image
    for (let i = 0; i < 3; i++) {
      x = conv(x, p[3 * i])
      const mean = tf.mean(x, [0, 1, 2])
      const offset = tf.sub(x, mean)
      const variance = tf.mean(tf.square(offset), [0, 1, 2])
      const n = x.size / x.shape[3]
      next.push(kept(tf.mul(running[2 * i], 0.9), tf.mul(mean, 0.1)))
      next.push(kept(tf.mul(running[2 * i + 1], 0.9), tf.mul(variance, (0.1 * n) / (n - 1))))
      const root = tf.rsqrt(tf.add(variance, 1e-5))
      x = tf.add(tf.mul(offset, tf.mul(root, p[3 * i + 1])), p[3 * i + 2])
      x = tf.maxPool(tf.relu(x), 2, 2, 'valid')
    }
    const logits = tf.add(tf.conv2d(x, p[9], 1, 'same'), p[10])
    const n = side / 8
    const wide = tf.matMul(up, tf.reshape(tf.transpose(logits, [0, 3, 1, 2]), [-1, n, n]))
    const big = tf.matMul(wide, up, false, true)
    const rows = tf.reshape(tf.transpose(tf.reshape(big, [batch, classes, side, side]), [0, 2, 3, 1]), [
      -1,
      classes,
    ])
    return tf.neg(tf.mean(tf.sum(tf.mul(tf.logSoftmax(rows), target), 1)))
  }
  const step = () =>
    tf.tidy(() => {
      const next = []
      const gradients = tf.valueAndGrads((...p) => {
        next.length = 0
        return lossOf(p, next)
      })
      const { value, grads } = gradients(params)
      return [value, ...params.map((p, i) => tf.sub(p, tf.mul(grads[i], 0.05))), ...next]
    })
  return () => {
    const out = step()
    tf.dispose([params, running])
    params = out.slice(1, 12)
    running = out.slice(12)
    return out
  }
}

const convBackward = ([x, w, dy]) =>
  tf.tidy(() => {
    const { value, grads } = tf.valueAndGrads((a, b) => conv(a, b))([x, w], dy)
    return [value, ...grads]
  })

/** A workload's function of its inputs, and the kind of each result. */
function programOf(task, inputs) {
  const one = (f, how) => ({ run: () => [tf.tidy(() => f(...inputs))], hows: [how] })
  if (/^matmul/.test(task.name)) return one((a, b) => tf.matMul(a, b))
  if (/^add/.test(task.name)) return one((a, b) => tf.add(a, b))
  const simple = {
    conv: () => one(conv, 'image'),
    chain: () => one(chain),
    'cheap-chain': () => one(cheapChain),
    softmax: () => one(x => tf.softmax(x, -1)),
    'conv-backward': () => ({ run: () => convBackward(inputs), hows: ['image', 'image', 'kernel'] }),
    'cnn-step': () => ({
      run: cnnStep(inputs),
      hows: [
        undefined,
        ...task.inputs.slice(0, task.state).map(i => (i.shape.length === 4 ? 'kernel' : undefined)),
      ],
    }),
  }
  const make = simple[task.name]
  if (!make) throw new Error(`not written for TensorFlow.js: ${task.name}`)
  return make()
}

await serve(`TensorFlow.js ${tf.version.tfjs} ${name}`, async task => {
  const size = task.inputs.reduce((n, i) => n + elements(i.shape), 0)
  if (size > 2 ** 26) throw new Error('too large for TensorFlow.js')
  const inputs = task.inputs.map(upload)
  const { run, hows } = programOf(task, inputs)
  let last = []
  return {
    step: async () => {
      if (task.state === 0) tf.dispose(last)
      else tf.dispose(last.slice(0, 1))
      last = run()
      await finish()
    },
    outputs: async () => {
      const all = []
      for (const [i, x] of last.entries()) all.push(await download(x, hows[i]))
      return all
    },
    drop: () => tf.disposeVariables() ?? tf.dispose([last, inputs]),
  }
})
