/** A whole network's gradient on WebGPU against the CPU's, and memory over 500 steps on both. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Backend } from '../../src/backend/backend.ts'
import { compile, isArgument, read, unwrap } from '../../src/backend/compile.ts'
import type { NDArray } from '../../src/dsl/array.ts'
import { leaves } from '../../src/dsl/tree.ts'
import { closeAll, cpu, webgpu } from '../support/backends.ts'
import { smallTraining } from '../support/training.ts'

after(closeAll)
const { step, state, batch, taught } = smallTraining()
setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void
/** Bytes that JavaScript holds, host arrays included, after a full garbage collection. */
const afterCollection = (): number => {
  collect()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}
const compiled = (backend: Backend) => unwrap(compile(step, [state, batch, taught], backend, { donate: [0] }))
const arraysOf = (tree: unknown): { readonly path: string; readonly leaf: NDArray }[] =>
  leaves(tree, (x): x is NDArray => isArgument(x))

test("WebGPU's gradient of PSPNet with cross-entropy and NFD agrees with the CPU's", async t => {
  const [a, b] = [await cpu(), await webgpu(t)]
  const [want, got] = [
    await (await compiled(a))(state, batch, taught),
    await (await compiled(b))(state, batch, taught),
  ]
  assert.ok(Math.abs(got.loss.data[0] - want.loss.data[0]) <= 1e-5 * Math.abs(want.loss.data[0]))
  const largest = Math.max(...arraysOf(want.gradient).flatMap(x => Array.from(x.leaf.data, Math.abs)))
  const expected = arraysOf(want.gradient)
  let worst = 0
  arraysOf(got.gradient).forEach(({ path, leaf }, i) => {
    leaf.data.forEach((v, k) => {
      const error = Math.abs(v - expected[i].leaf.data[k])
      worst = Math.max(worst, error / largest)
      // f32 through some 60 layers, forwards and back, batch norm among them: 1e-4 of the largest component
      assert.ok(error <= 1e-4 * largest, `${path}[${k}] is ${v}, the CPU has ${expected[i].leaf.data[k]}`)
    })
  })
  t.diagnostic(
    `${expected.length} parameters, worst error ${worst.toExponential(1)} of the largest component`,
  )
})

for (const name of ['cpu', 'webgpu'] as const)
  test(`500 steps of training hold memory constant on ${name}`, async t => {
    const backend = name === 'cpu' ? await cpu() : await webgpu(t)
    const exe = await compiled(backend)
    let current: unknown = state
    const readings: { buffers: number; bytes: number; heap: number }[] = []
    for (let i = 0; i < 500; i++) {
      const out = await exe.resident([current as typeof state, batch, taught])
      const loss = await read(out.loss)
      assert.ok(Number.isFinite(loss.data[0]), `step ${i}`)
      current = out.state
      for (const { leaf } of leaves(
        { l: out.loss, g: out.gradient },
        (x): x is { dispose(): void } => typeof x === 'object' && x !== null && 'dispose' in x,
      ))
        leaf.dispose()
      if (i === 150 || i === 499) readings.push({ ...backend.memory(), heap: afterCollection() })
    }
    const [early, late] = readings
    t.diagnostic(
      `device ${early.bytes} bytes in ${early.buffers} buffers, then ${late.bytes} in ${late.buffers}; JavaScript ${Math.round(early.heap / 2 ** 20)} MiB, then ${Math.round(late.heap / 2 ** 20)} MiB`,
    )
    assert.ok(late.bytes <= early.bytes && late.buffers <= early.buffers, 'device memory grew')
    // What is left after a collection: compiled code and caches grow by a few MiB, 350 steps' worth of arrays by more.
    assert.ok(late.heap - early.heap < 16 * 2 ** 20, `the process grew by ${late.heap - early.heap} bytes`)
  })
