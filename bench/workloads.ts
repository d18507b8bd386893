/**
 * The workloads: what is computed, on which inputs, and how far results may differ. In: nothing. Out: a list that
 * the bench walks. A workload's function is Cotangent's; the rivals implement the same under the same name, on
 * the same inputs, in bench/peers/.
 */
import * as ct from '../src/index.ts'
import type { InputSpec } from './peers/harness.mjs'
import { cnnStep, compileOnly, pspnetStep } from './training.ts'
import type { Workload } from './types.ts'

const f32 = (name: string, shape: readonly number[], seed: number, scale = 1): InputSpec => ({
  name,
  shape,
  dtype: 'f32',
  seed,
  scale,
})

/** The ten operations of the chain: two tests of fused transcendental functions. */
const chain = (x: ct.Tensor): ct.Tensor => {
  const t = ct.relu(float(ct.add(ct.mul(x, 1.01), 0.5)))
  const e = ct.exp(ct.sub(ct.mul(x, t), x))
  return ct.add(ct.tanh(ct.mul(ct.sub(1, e), 0.5)), x)
}
const cheapChain = (x: ct.Tensor): ct.Tensor => {
  let y = x
  for (let i = 0; i < 5; i++) y = ct.add(ct.mul(y, 0.99), 0.25)
  return y
}

/** A tensor that is a float one by the workload's inputs. */
const float = (x: ct.Tensor) => x as ct.Tensor<readonly number[], 'f32'>
const conv = (x: ct.Tensor, w: ct.Tensor): ct.Tensor =>
  ct.conv2d(x as ct.Tensor<readonly [number, number, number, number], 'f32'>, w as never, { padding: 1 })

const M = 2 ** 22
const convInputs = [f32('x', [4, 64, 64, 64], 1), f32('w', [64, 64, 3, 3], 2, 0.1)]
const convFlop = 2 * 4 * 64 * 64 * 64 * 64 * 9

const matmul = (n: number, group: Workload['group']): Workload => ({
  name: `matmul${n}`,
  title: `matmul ${n}`,
  group,
  kind: 'run',
  inputs: [f32('a', [n, n], 1), f32('b', [n, n], 2)],
  state: 0,
  compute: (a, b) => [ct.matmul(float(a), float(b) as never)],
  flop: 2 * n ** 3,
  tolerance: 1e-5,
})
const add = (n: number, name: string, title: string, group: Workload['group']): Workload => ({
  name,
  title,
  group,
  kind: 'run',
  inputs: [f32('a', [n], 1), f32('b', [n], 2)],
  state: 0,
  compute: (a, b) => [ct.add(a, b)],
  bytes: 12 * n,
  tolerance: 1e-6,
})

/** All workloads, in the order of the table. */
export const workloads: readonly Workload[] = [
  matmul(512, 'core'),
  matmul(1024, 'core'),
  {
    name: 'conv',
    title: 'conv forward',
    group: 'core',
    kind: 'run',
    inputs: convInputs,
    state: 0,
    compute: (x, w) => [conv(x, w)],
    flop: convFlop,
    tolerance: 1e-5,
  },
  {
    name: 'conv-backward',
    title: 'conv forward + backward',
    group: 'core',
    kind: 'run',
    inputs: [...convInputs, f32('dy', [4, 64, 64, 64], 3)],
    state: 0,
    compute: (x, w, dy) => {
      const [y, pullback] = ct.vjp((at: readonly [ct.Tensor, ct.Tensor]) => conv(...at), [x, w] as const)
      return [y, ...pullback(dy)]
    },
    flop: 3 * convFlop,
    tolerance: 1e-5,
  },
  cnnStep(),
  {
    name: 'chain',
    title: 'chain of ten, 4M',
    group: 'core',
    kind: 'run',
    inputs: [f32('x', [M], 1)],
    state: 0,
    compute: x => [chain(x)],
    bytes: 8 * M,
    tolerance: 1e-5,
  },
  {
    name: 'cheap-chain',
    title: 'cheap chain, 4M',
    group: 'core',
    kind: 'run',
    inputs: [f32('x', [M], 1)],
    state: 0,
    compute: x => [cheapChain(x)],
    bytes: 8 * M,
    tolerance: 1e-6,
  },
  {
    name: 'softmax',
    title: 'softmax 4096 x 1024',
    group: 'core',
    kind: 'run',
    inputs: [f32('x', [4096, 1024], 1, 5)],
    state: 0,
    compute: x => [ct.softmax(float(x), { axis: -1 })],
    bytes: 32 * M,
    tolerance: 1e-6,
  },
  add(M, 'add', 'addition, 4M', 'core'),
  {
    name: 'start',
    title: 'process start to first result',
    group: 'core',
    kind: 'start',
    inputs: [],
    state: 0,
    compute: () => [],
    tolerance: 0,
  },
  compileOnly('resnet18', [2, 2, 2, 2], 'basic', 'core'),
  pspnetStep('pspnet', 2, 128, 'long'),
  compileOnly('resnet34', [3, 4, 6, 3], 'basic', 'long'),
  compileOnly('resnet50', [3, 4, 6, 3], 'bottleneck', 'long'),
  compileOnly('resnet101', [3, 4, 23, 3], 'bottleneck', 'long'),
  matmul(4096, 'gpu'),
  add(16 * M, 'add64m', 'addition, 64M', 'gpu'),
  pspnetStep('pspnet512', 8, 512, 'gpu'),
]
