/**
 * jax-js as a contender: node jaxjs.mjs wasm | webgpu [THREADS]. The workloads of bench/workloads.ts under the same
 * names, each one function under `jit`. Its arrays are consumed by whoever takes them; `.ref` keeps one. Runs where
 * its packages are installed; see peers/harness.mjs.
 */

import { installBrowser } from './browser.mjs'
import { napping, serve, valuesOf } from './harness.mjs'

const [device, threads] = process.argv.slice(2)
await installBrowser({ webgpu: device === 'webgpu', threads: Number(threads) })
const {
  init,
  defaultDevice,
  jit,
  vjp,
  valueAndGrad,
  numpy: np,
  lax,
  nn,
  blockUntilReady,
} = await import('@jax-js/jax')
const available = await init(device)
if (!available.includes(device)) throw new Error(`jax-js has no ${device} here`)
defaultDevice(device)

const same = [
  [1, 1],
  [1, 1],
]
const conv = (x, w) => lax.conv(x, w, [1, 1], same)
const chain = x => {
  const t = nn.relu(x.ref.mul(1.01).add(0.5))
  const e = np.exp(x.ref.mul(t).sub(x.ref))
  return np.tanh(np.array(1).sub(e).mul(0.5)).add(x)
}
const cheapChain = x => {
  let y = x
  for (let i = 0; i < 5; i++) y = y.mul(0.99).add(0.25)
  return y
}
const convBackward = (x, w, dy) => {
  const [y, pullback] = vjp(conv, [x, w])
  const [dx, dw] = pullback(dy)
  return [y, dx, dw]
}

/** The matrix of bilinear interpolation from n to m points; the outer edges stay. */
const bilinearMatrix = (n, m) => {
  const rows = Array.from({ length: m }, (_, i) => {
    const at = Math.max(0, ((i + 0.5) * n) / m - 0.5)
    const low = Math.min(n - 1, Math.floor(at))
    const row = new Array(n).fill(0)
    row[low] += 1 - (at - low)
    row[Math.min(n - 1, low + 1)] += at - low
    return row
  })
  return np.array(rows)
}

const axes = { keepdims: true }
/** The small CNN's loss and running statistics: see cnnStep in bench/training.ts. */
const cnnLoss = (p, running, image, label) => {
  let x = image
  const next = []
  for (let i = 0; i < 3; i++) {
    x = conv(x, p[3 * i])
    const [batch, c, h, w] = x.shape
    const n = batch * h * w
    const mean = np.mean(x.ref, [0, 2, 3], axes)
    const offset = x.sub(mean.ref)
    const variance = np.mean(np.square(offset.ref), [0, 2, 3], axes)
    next.push(running[2 * i].mul(0.9).add(mean.reshape([c]).mul(0.1)))
    next.push(running[2 * i + 1].mul(0.9).add(variance.ref.reshape([c]).mul((0.1 * n) / (n - 1))))
    const root = np.sqrt(variance.add(1e-5))
    const scaled = offset
      .div(root)
      .mul(p[3 * i + 1].reshape([c, 1, 1]))
      .add(p[3 * i + 2].reshape([c, 1, 1]))
    x = nn.relu(scaled).reshape([batch, c, h / 2, 2, w / 2, 2])
    x = np.max(x, [3, 5])
  }
  const small = lax.conv(x, p[9], [1, 1], 'VALID').add(p[10].reshape([-1, 1, 1]))
  const [, classes, n] = small.shape
  const side = label.shape[1]
  const up = np.transpose(bilinearMatrix(n, side))
  // [n, c, h, w] to [n, c, h, w'], [n, c, w', h], [n, c, w', h']
  const big = np.dot(np.transpose(np.dot(small, up.ref), [0, 1, 3, 2]), up)
  const target = nn.oneHot(label, classes)
  const rows = nn.logSoftmax(np.transpose(big, [0, 3, 2, 1]), -1)
  const loss = np.mean(np.sum(rows.mul(target), -1)).neg()
  return [loss, next]
}
const cnnStep = (params, running, image, label) => {
  const [[loss, next], grads] = valueAndGrad(p => cnnLoss(p, running, image, label), { hasAux: true })(
    params.map(p => p.ref),
  )
  return [loss, ...params.map((p, i) => p.sub(grads[i].mul(0.05))), ...next]
}

const functions = {
  conv: (x, w) => [conv(x, w)],
  'conv-backward': convBackward,
  chain: x => [chain(x)],
  'cheap-chain': x => [cheapChain(x)],
  softmax: x => [nn.softmax(x, -1)],
}

const wait = tree => (device === 'webgpu' ? napping(blockUntilReady(tree)) : blockUntilReady(tree))

await serve(`jax-js ${device}`, async task => {
  const inputs = task.inputs.map(i => np.array(valuesOf(i)).reshape(i.shape))
  let last = []
  const outputs = async () => {
    const all = []
    for (const x of last) all.push(Float32Array.from(await x.ref.data()))
    return all
  }
  if (task.name === 'cnn-step') {
    const f = jit(cnnStep)
    let params = inputs.slice(0, 11)
    let running = inputs.slice(11, 17)
    const [image, label] = inputs.slice(17)
    return {
      step: async () => {
        last[0]?.dispose()
        last = f(params, running, image.ref, label.ref)
        await wait(last)
        // kept for the check; the next step takes them
        params = last.slice(1, 12)
        running = last.slice(12)
      },
      outputs,
    }
  }
  const { name } = task
  const body = /^matmul/.test(name)
    ? (a, b) => [np.matmul(a, b)]
    : /^add/.test(name)
      ? (a, b) => [np.add(a, b)]
      : functions[name]
  if (!body) throw new Error(`not written for jax-js: ${name}`)
  const f = jit(body)
  return {
    step: async () => {
      for (const x of last) x.dispose()
      last = f(...inputs.map(x => x.ref))
      await wait(last)
    },
    outputs,
    drop: () => {
      for (const x of [...last, ...inputs]) x.dispose()
    },
  }
})
