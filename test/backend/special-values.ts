/** What a backend must do with NaN and infinities in f32: keep what PyTorch keeps, and let nothing through a mask. */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import type { Backend, NDArray, Shape, Tensor } from '../../src/index.ts'
import * as ct from '../../src/index.ts'

type F32 = Tensor<Shape, 'f32'>
const vector = (data: readonly number[]) => ct.array([data.length], 'f32', data)

/** NaN reaches the result of whatever meets it. */
export async function keepsNaN(_: TestContext, backend: Backend): Promise<void> {
  const x = ct.array(
    [3, 5],
    'f32',
    Float32Array.of(1, NaN, 3, -4, 0, NaN, 2, 1, 0, NaN, -1, -2, -3, Infinity, 5),
  )
  const one = (f: (a: F32) => Tensor) => f
  const elementwise = {
    max: one(a => ct.maximum(a, 2)),
    maxOf2: one(a => ct.maximum(ct.full([1], 2), a)),
    min: one(a => ct.minimum(a, -2)),
    minOf2: one(a => ct.minimum(ct.full([1], -2), a)),
    relu: one(a => ct.relu(a)),
    relu6: one(a => ct.relu6(a)),
    clamp: one(a => ct.clamp(a, { min: -1, max: 1 })),
    leakyRelu: one(a => ct.leakyRelu(a)),
    elu: one(a => ct.elu(a)),
    hardswish: one(a => ct.hardswish(a)),
    sign: one(a => ct.sign(a)),
    abs: one(a => ct.abs(a)),
  }
  const reductions = {
    max: one(a => ct.max(a, { axes: [1] })),
    min: one(a => ct.min(a, { axes: [1] })),
    sum: one(a => ct.sum(a, { axes: [1] })),
    mean: one(a => ct.mean(a, { axes: [1] })),
    prod: one(a => ct.prod(a, { axes: [1] })),
    norm: one(a => ct.norm(a, { axes: [1] })),
    logsumexp: one(a => ct.logsumexp(a, { axes: [1] })),
    softmax: one(a => ct.sum(ct.softmax(a, { axis: 1 }), { axes: [1] })),
    variance: one(a => ct.variance(a, { axes: [1] })),
    pool: one(a => ct.reshape(ct.maxPool2d(ct.reshape(a, [3, 1, 1, 5]), { kernel: [1, 5] }), [3])),
    sorted: one(a =>
      ct.reshape(ct.slice(ct.sort(a, { axis: 1 }).values, { starts: [0, 4], stops: [3, 5] }), [3]),
    ),
  }
  const all = (fs: Readonly<Record<string, (a: F32) => Tensor>>, a: F32) =>
    Object.fromEntries(Object.entries(fs).map(([k, f]) => [k, f(a)]))
  const run = await ct.unwrap(
    ct.compile(
      (a: F32) => ({
        elementwise: all(elementwise, a),
        reductions: all(reductions, a),
        argmax: ct.argmax(a, { axis: 1 }),
        argmin: ct.argmin(a, { axis: 1 }),
        isNaN: ct.isNaN(a),
      }),
      [ct.spec([3, 5])],
      backend,
    ),
  )
  const out = await run(x)
  const where = Array.from(x.data, Number.isNaN)
  const named = (group: Readonly<Record<string, NDArray>>, want: (name: string) => readonly boolean[]) => {
    for (const [name, y] of Object.entries(group))
      assert.deepEqual(Array.from(y.data, Number.isNaN), want(name), name)
  }
  named(out.elementwise, () => where)
  // the third row has no NaN, but an infinity: its variance and norm
  named(out.reductions, name => [true, true, name === 'variance' || name === 'softmax'])
  assert.deepEqual(Array.from(out.isNaN.data, Boolean), where)
  // the first NaN is the extremum, as in PyTorch
  assert.deepEqual([...out.argmax.data], [1, 0, 3])
  assert.deepEqual([...out.argmin.data], [1, 0, 2])
}

/** What a condition leaves out does not reach the value, and in the library's own functions nor the gradient. */
export async function masksHold(_: TestContext, backend: Backend): Promise<void> {
  const x = [-1, 0, 4, -Infinity, Infinity, NaN, 1e30, -1e30, 200, -200]
  const finite = x.map(v => (Number.isFinite(v) ? v : 1))
  const smooth = (a: F32) =>
    ct.sum(ct.add(ct.add(ct.elu(a), ct.softplus(a)), ct.add(ct.sigmoid(a), ct.logSigmoid(a))))
  const logits = [-Infinity, 0, 1, 300, -300, 2]
  const labels = [1, 255, 1]
  const run = await ct.unwrap(
    ct.compile(
      (a: F32, b: F32, l: F32, y: Tensor<Shape, 'i32'>) => ({
        log: ct.where(ct.less(0, b), ct.log(b), 0),
        other: ct.where(ct.isNaN(a), 0, ct.where(ct.less(ct.abs(a), 1e38), a, 7)),
        quotient: ct.where(ct.equal(b, 0), 1, ct.div(ct.sin(b), b)),
        slope: ct.grad(smooth)(b),
        deviation: ct.grad((v: F32) => ct.add(ct.std(ct.mul(v, 0)), ct.norm(ct.mul(v, 0))))(b),
        loss: ct.crossEntropy(l, y),
        lossSlope: ct.grad((v: F32) => ct.crossEntropy(v, y))(l),
      }),
      [ct.spec([x.length]), ct.spec([x.length]), ct.spec([3, 2]), ct.spec([3], 'i32')],
      backend,
    ),
  )
  const out = await run(
    vector(x),
    vector(finite),
    ct.array([3, 2], 'f32', logits),
    ct.array([3], 'i32', labels),
  )
  assert.deepEqual([...out.other.data], [-1, 0, 4, 7, 7, 0, 1e30, -1e30, 200, -200].map(Math.fround))
  for (const name of ['log', 'quotient', 'slope', 'deviation', 'loss', 'lossSlope'] as const)
    assert.ok(Array.from(out[name].data).every(Number.isFinite), `${name} is ${[...out[name].data]}`)
}
