/** Every method's loss and gradient on the compiled backends, in f32, against the reference in f64. */
import { after, test } from 'node:test'
import { array, type NDArray } from '../../src/dsl/array.ts'
import type { Tensor } from '../../src/dsl/tensor.ts'
import { key } from '../../src/dsl/threefry.ts'
import { balanced, masked } from '../../src/nfd/combine.ts'
import { sum } from '../../src/nfd/distil.ts'
import { kd } from '../../src/nfd/kd.ts'
import { cirkdMemory } from '../../src/nfd/memory.ts'
import { nfd } from '../../src/nfd/nfd.ts'
import { checkBackends } from '../../src/testing/index.ts'
import { closeAll, cpu, webgpu } from '../support/backends.ts'
import { normals } from '../support/trees.ts'
import { methods } from './methods.ts'
import { constants, contextOf, labels, output, tapped } from './taps.ts'

after(closeAll)
const narrow = (a: NDArray): NDArray => array(a.shape, 'f32', Array.from(a.data, Number))
const [s, t] = [narrow(normals(1, [2, 3, 4, 4])), narrow(normals(2, [2, 3, 4, 4]))]
const context = contextOf({ label: labels([2, 4, 4], [0, 1, 255, 2, 1]) })

for (const [name, loss] of Object.entries(methods(3, masked(), 'f32')))
  test(`${name} is the same on the CPU backend`, async () => {
    await checkBackends((x: Tensor, y: Tensor) => loss(x, y, context), [s, t], [await cpu()])
  })

for (const name of ['nfd HW', 'pkd', 'cwd', 'ifvd', 'dist'])
  test(`${name} is the same on WebGPU`, async t0 => {
    const loss = methods(3, masked(), 'f32')[name]
    await checkBackends((x: Tensor, y: Tensor) => loss(x, y, context), [s, t], [await webgpu(t0)])
  })

test('a sum with a memory and a balance is the same on both', async t0 => {
  const pair = { student: tapped(3), teacher: tapped(3), taps: [['f', 'f']] } as const
  const d = sum(balanced(nfd(pair)), cirkdMemory({ ...pair, classes: 3, size: 2 }), kd())
  const { params, state } = d.init(key(1))
  const f = (x: Tensor, y: Tensor) =>
    d.loss(constants(params), constants(state), output(x), output(y), context)
  await checkBackends((x: Tensor, y: Tensor) => f(x, y).loss, [s, t], [await cpu(), await webgpu(t0)])
})
